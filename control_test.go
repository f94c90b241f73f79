package tract_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
)

// TestOperations: what each operation does when it is granted.
func TestOperations(t *testing.T) {
	const queued, assigned = tract.StateQueued, tract.StateAssigned
	tests := []struct {
		name  string
		owner tract.ReceiverID
		state tract.State
		cmd   tract.Control
		want  []string
	}{
		{"owner passes to a primary", "one", assigned, tract.Control{Op: tract.OpPass, By: "one", To: tract.SAC, Team: "Sales"}, []string{
			"thread_control/passed by one from one to sac team Sales [sac 3]",
			"conversation_state/waiting by one to sac team Sales because pass [sac 3]",
			`= pass granted by "one": "one" to "sac", epoch 3`}},
		{"owner passes to the desk's default team", "one", queued, tract.Control{Op: tract.OpPass, By: "one", To: tract.SAC, Reason: "tired"}, []string{
			"thread_control/passed by one from one to sac team Support because tired [sac 3]",
			"conversation_state/waiting by one to sac team Support because tired [sac 3]",
			`= pass granted by "one": "one" to "sac", epoch 3`}},
		{"a primary gives away what it does not have", "one", assigned, tract.Control{Op: tract.OpPass, By: tract.SAC, To: "two", Team: "vip"}, []string{
			"thread_control/passed by sac from one to two team vip [two 3]",
			"conversation_state/waiting by sac to two team vip because pass [two 3]",
			`= pass granted by "sac": "one" to "two", epoch 3`}},
		{"pass to any, as negotiated", "trusted", assigned, tract.Control{Op: tract.OpPass, By: "trusted", To: "two"}, []string{
			"thread_control/passed by trusted from trusted to two [two 3]",
			"conversation_state/waiting by trusted to two because pass [two 3]",
			`= pass granted by "trusted": "trusted" to "two", epoch 3`}},
		{"transfer to the bot", "one", assigned, tract.Control{Op: tract.OpPass, By: "one", To: tract.IVA, Reason: "done"}, []string{
			"thread_control/passed by one from one to iva because done [iva 3]",
			"conversation_state/complete by one because transfer_to_iva [iva 3]",
			`= pass granted by "one": "one" to "iva", epoch 3`}},
		{"the desk takes", "one", assigned, tract.Control{Op: tract.OpTake, By: tract.SAC}, []string{
			"thread_control/taken by sac from one to sac team Support [sac 3]",
			"conversation_state/waiting by sac to sac team Support because take [sac 3]",
			`= take granted by "sac": "one" to "sac", epoch 3`}},
		{"the bot takes", "one", assigned, tract.Control{Op: tract.OpTake, By: tract.IVA}, []string{
			"thread_control/taken by iva from one to iva [iva 3]",
			"conversation_state/bot by iva because take [iva 3]",
			`= take granted by "iva": "one" to "iva", epoch 3`}},
		{"a tool takes, as negotiated", tract.SAC, assigned, tract.Control{Op: tract.OpTake, By: "trusted", To: "trusted"}, []string{
			"thread_control/taken by trusted from sac to trusted [trusted 3]",
			"conversation_state/waiting by trusted to trusted because take [trusted 3]",
			`= take granted by "trusted": "sac" to "trusted", epoch 3`}},
		{"release", "one", assigned, tract.Control{Op: tract.OpRelease, By: "one"}, []string{
			"thread_control/released by one from one to iva [iva 3]",
			"conversation_state/bot by one because release [iva 3]",
			`= release granted by "one": "one" to "iva", epoch 3`}},
		{"a tool requests, as negotiated", "one", assigned, tract.Control{Op: tract.OpRequest, By: "trusted", Reason: "vip"}, []string{
			"thread_control/requested by trusted from one to trusted because vip [one 2]",
			`= request granted by "trusted": "one" to "trusted", epoch 2`}},
		{"a primary requests", "one", queued, tract.Control{Op: tract.OpRequest, By: tract.SAC}, []string{
			"thread_control/requested by sac from one to sac [one 2]",
			`= request granted by "sac": "one" to "sac", epoch 2`}},
		{"owner offers", "trusted", queued, tract.Control{Op: tract.OpOffer, By: "trusted", To: "one"}, []string{
			"thread_control/offered by trusted from trusted to one [trusted 2]",
			`= offer granted by "trusted": "trusted" to "one", epoch 2`}},
		{"a primary offers what it does not have", "one", queued, tract.Control{Op: tract.OpOffer, By: tract.IVA, To: "two"}, []string{
			"thread_control/offered by iva from one to two [one 2]",
			`= offer granted by "iva": "one" to "two", epoch 2`}},
		{"the bot needs no asking", "one", queued, tract.Control{Op: tract.OpOffer, By: "one", To: tract.IVA}, []string{
			"thread_control/accepted by one from one to iva [iva 3]",
			"conversation_state/bot by one because offer [iva 3]",
			`= offer granted by "one": "one" to "iva", epoch 3`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := at(t, settings(), tt.owner, tt.state).later(time.Minute)
			tt.cmd.Metadata, tt.cmd.Epoch = map[string]any{"case": 7}, c.thread.Epoch
			out := c.do(tt.cmd)
			wrote(t, out, tt.want...)
			if l := out.Ledger[0]; l.Metadata["case"] != 7 || l.Reason != tt.cmd.Reason || out.Entries[0].Metadata["case"] != 7 || out.Entries[0].Op != tt.cmd.Op {
				t.Errorf("metadata, reason or verb is lost: %+v", out)
			}
			if gained := c.thread.Epoch == 3; gained != c.thread.GainedAt.Equal(c.now) || gained && !c.thread.LastOwnerAt.Equal(c.now) || (out.HandedTo != "") != (gained && c.thread.State.Open()) {
				t.Errorf("gained at %v, handed to %q", c.thread.GainedAt, out.HandedTo)
			}
		})
	}
}

// TestRefusalOrder: when several refusals apply, the first of the documented
// order is given. Each case has every later cause, too, as far as that is possible.
func TestRefusalOrder(t *testing.T) {
	const stale = 99
	type allows struct{ permissions, open, owner, epoch bool }
	tests := []struct {
		op   tract.Op
		by   tract.ReceiverID
		have allows
		to   tract.ReceiverID
		want *tract.Error
	}{
		{tract.OpPass, "one", allows{}, "nobody", tract.ErrConversationComplete},
		{tract.OpPass, "one", allows{open: true}, "nobody", tract.ErrNotOwner},
		{tract.OpPass, "one", allows{open: true, owner: true}, "nobody", tract.ErrEpochMismatch},
		{tract.OpPass, "one", allows{open: true, owner: true, epoch: true}, "nobody", tract.ErrUnknownReceiver},
		{tract.OpPass, "one", allows{open: true, owner: true, epoch: true}, "", tract.ErrUnknownReceiver},
		{tract.OpPass, "one", allows{open: true, owner: true, epoch: true}, "one", tract.ErrAlreadyOwner},
		{tract.OpPass, "one", allows{open: true, owner: true, epoch: true}, "two", tract.ErrReceiverNotAllowed},
		{tract.OpPass, "one", allows{open: true, owner: true, epoch: true}, tract.SAC, tract.ErrReceiverUnavailable},

		{tract.OpOffer, "one", allows{}, "nobody", tract.ErrConversationComplete},
		{tract.OpOffer, "one", allows{open: true}, "nobody", tract.ErrNotOwner},
		{tract.OpOffer, "one", allows{open: true, owner: true}, "nobody", tract.ErrEpochMismatch},
		{tract.OpOffer, "one", allows{open: true, owner: true, epoch: true}, "nobody", tract.ErrUnknownReceiver},
		{tract.OpOffer, "one", allows{open: true, owner: true, epoch: true}, "one", tract.ErrAlreadyOwner},
		{tract.OpOffer, "one", allows{open: true, owner: true, epoch: true}, "two", tract.ErrReceiverNotAllowed},
		{tract.OpOffer, "one", allows{open: true, owner: true, epoch: true}, tract.SAC, tract.ErrReceiverUnavailable},

		{tract.OpTake, "one", allows{}, "two", tract.ErrNotSupported},
		{tract.OpTake, "one", allows{open: true, owner: true, epoch: true}, "", tract.ErrNotSupported},
		{tract.OpTake, "one", allows{permissions: true}, "two", tract.ErrConversationComplete},
		{tract.OpTake, "one", allows{permissions: true, open: true}, "two", tract.ErrEpochMismatch},
		{tract.OpTake, "one", allows{permissions: true, open: true, owner: true, epoch: true}, "two", tract.ErrAlreadyOwner},
		{tract.OpTake, "one", allows{permissions: true, open: true, epoch: true}, "two", tract.ErrReceiverNotAllowed},
		{tract.OpTake, "one", allows{permissions: true, open: true, epoch: true}, "", tract.ErrReceiverUnavailable},

		{tract.OpRequest, "one", allows{}, "two", tract.ErrNotSupported},
		{tract.OpRequest, "one", allows{permissions: true}, "two", tract.ErrConversationComplete},
		{tract.OpRequest, "one", allows{permissions: true, open: true}, "two", tract.ErrEpochMismatch},
		{tract.OpRequest, "one", allows{permissions: true, open: true, owner: true, epoch: true}, "two", tract.ErrAlreadyOwner},
		{tract.OpRequest, "one", allows{permissions: true, open: true, epoch: true}, "two", tract.ErrReceiverNotAllowed},
		{tract.OpRequest, "one", allows{permissions: true, open: true, epoch: true}, "one", tract.ErrReceiverUnavailable},

		{tract.OpAccept, "one", allows{}, "", tract.ErrConversationComplete},
		{tract.OpAccept, "one", allows{open: true}, "", tract.ErrEpochMismatch},
		{tract.OpAccept, "one", allows{open: true, epoch: true}, "", tract.ErrNoOffer},
		{tract.OpDecline, "one", allows{}, "", tract.ErrConversationComplete},
		{tract.OpDecline, "one", allows{open: true}, "", tract.ErrEpochMismatch},
		{tract.OpDecline, "one", allows{open: true, epoch: true}, "", tract.ErrNoOffer},

		{tract.OpRelease, "one", allows{}, "", tract.ErrConversationComplete},
		{tract.OpRelease, "one", allows{open: true}, "", tract.ErrNotOwner},
		{tract.OpRelease, "one", allows{open: true, owner: true}, "", tract.ErrEpochMismatch},
		{tract.OpRelease, "one", allows{open: true, owner: true, epoch: true}, "", tract.ErrReceiverUnavailable},
		{tract.OpRelease, tract.SAC, allows{open: true}, "", tract.ErrNotOwner}, // not even a primary
		{tract.OpRelease, tract.IVA, allows{open: true, owner: true, epoch: true}, "", tract.ErrAlreadyOwner},

		{tract.OpPass, "stranger", allows{open: true}, "nobody", tract.ErrUnknownReceiver},
		{tract.OpTake, "stranger", allows{open: true}, "", tract.ErrUnknownReceiver},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s by %s %+v to %s", tt.op, tt.by, tt.have, tt.to), func(t *testing.T) {
			owner, state := tract.ReceiverID("trusted"), tract.StateAssigned
			if tt.have.owner {
				owner = tt.by
			}
			if owner == tract.IVA {
				state = tract.StateBot
			}
			if !tt.have.open {
				state = tract.StateComplete
			}
			c := at(t, settings(), owner, state)
			c.s = settings(down(tract.IVA, tract.SAC, "one", "two", "trusted"), func(s *tract.Settings) {
				if tt.have.permissions {
					s.Receivers[2].Permissions = tract.Permissions{Take: true, Request: true}
				}
			})
			cmd := tract.Control{Op: tt.op, By: tt.by, To: tt.to, Epoch: stale, Reason: "why", Metadata: map[string]any{"case": 7}}
			if tt.have.epoch {
				cmd.Epoch = c.thread.Epoch
			}
			e := c.refused(cmd, tt.want) // the ledger's line is checked by the laws
			facts := map[string]any{"thread_owner": c.thread.Owner, "control_epoch": c.thread.Epoch}
			if d := cmp.Diff(facts, e.Fields); d != "" {
				t.Errorf("facts of %v:\n%s", e, d)
			}
		})
	}
}

// TestPassTargets: to whom a tool may give control.
func TestPassTargets(t *testing.T) {
	tests := []struct {
		by, to, standard tract.ReceiverID
		want             *tract.Error
	}{
		{"one", tract.SAC, tract.IVA, nil},
		{"one", tract.IVA, tract.IVA, nil},
		{"one", "two", "two", nil},
		{"one", "two", tract.IVA, tract.ErrReceiverNotAllowed},
		{"trusted", "two", tract.IVA, nil},
	}
	for _, tt := range tests {
		for _, op := range []tract.Op{tract.OpPass, tract.OpOffer} {
			c := at(t, settings(byDefault(tt.standard)), tt.by, tract.StateQueued)
			cmd := tract.Control{Op: op, By: tt.by, To: tt.to}
			if tt.want != nil {
				c.refused(cmd, tt.want)
				continue
			}
			c.do(cmd)
		}
	}
}

// TestUnavailable: a pass to who is not available is refused unless forced; the
// desk is also unavailable for a team that is unknown or inactive.
func TestUnavailable(t *testing.T) {
	tests := []struct {
		name string
		s    *tract.Settings
		to   tract.ReceiverID
		team string
		want string
	}{
		{"tool", settings(down("two")), "two", "", "two is not available: it sleeps"},
		{"bot", settings(down(tract.IVA)), tract.IVA, "", "iva is not available: it sleeps"},
		{"desk", settings(down(tract.SAC)), tract.SAC, "", "sac is not available: it sleeps"},
		{"unknown team", settings(), tract.SAC, "Marketing", `the desk has no active team "Marketing"`},
		{"inactive team", settings(), tract.SAC, "Closed", `the desk has no active team "Closed"`},
		{"inactive default team", settings(func(s *tract.Settings) { s.DefaultTeam = "Closed" }), tract.SAC, "", `the desk has no active team "Closed"`},
		{"active team", settings(), tract.SAC, "Sales", ""},
		{"any team", settings(func(s *tract.Settings) { s.DefaultTeam = "" }), tract.SAC, "", ""},
		{"a tool's own team", settings(), "two", "Marketing", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := at(t, tt.s, "trusted", tract.StateQueued)
			pass := tract.Control{Op: tract.OpPass, By: "trusted", To: tt.to, Team: tt.team}
			if tt.want != "" {
				if e := c.refused(pass, tract.ErrReceiverUnavailable); e.Error() != tt.want {
					t.Errorf("got %q, want %q", e, tt.want)
				}
				pass.Force = true
			}
			c.do(pass)
			if c.thread.Owner != tt.to {
				t.Errorf("owner %s", c.thread.Owner)
			}
		})
	}
	c := at(t, settings(func(s *tract.Settings) { s.DefaultTeam = "Closed" }), "one", tract.StateQueued)
	c.do(tract.Control{Op: tract.OpTake, By: tract.SAC}) // an agent who takes needs no queue
}

// TestTransferKeepsBot: after a transfer the bot has the next conversation, and
// only that, also where the default receiver is another.
func TestTransferKeepsBot(t *testing.T) {
	c := at(t, settings(byDefault(tract.SAC)), "one", tract.StateAssigned)
	c.do(tract.Control{Op: tract.OpPass, By: "one", To: tract.IVA})
	c.is(tract.IVA, 3, 1, tract.StateComplete)
	if out := c.do(tract.UserMessage{Body: "hi"}); out.BotTurn != 1 {
		t.Errorf("bot turn %d", out.BotTurn)
	}
	c.is(tract.IVA, 3, 2, tract.StateBot)
	c.do(tract.RaiseEvent{By: tract.IVA, Event: tract.EventComplete})
	c.is(tract.SAC, 4, 2, tract.StateComplete)
	c.do(tract.UserMessage{Body: "hi"})
	c.is(tract.SAC, 4, 3, tract.StateQueued)

	for name, gone := range map[string]func(*tract.Settings){"inactive": down(tract.IVA), "removed": without(tract.IVA)} {
		c = at(t, settings(byDefault(tract.SAC)), "one", tract.StateAssigned)
		c.do(tract.Control{Op: tract.OpPass, By: "one", To: tract.IVA})
		c.s = settings(byDefault(tract.SAC), gone)
		c.do(tract.UserMessage{Body: "hi"})
		if c.thread.Owner != tract.SAC {
			t.Errorf("bot %s: the thread is with %s", name, c.thread.Owner)
		}
	}

	c = at(t, settings(byDefault(tract.SAC)), "one", tract.StateAssigned)
	c.do(tract.Control{Op: tract.OpPass, By: "one", To: tract.IVA})
	c.do(tract.Reset{Reason: tract.ReasonOperator})
	c.is(tract.SAC, 4, 1, tract.StateComplete)
	c.do(tract.UserMessage{Body: "hi"})
	c.is(tract.SAC, 4, 2, tract.StateQueued)
}

// TestRequest: one stands at a time, it runs out, and a change of owner ends it.
func TestRequest(t *testing.T) {
	request := tract.Control{Op: tract.OpRequest, By: "trusted"}
	c := at(t, settings(), "one", tract.StateAssigned)
	if out := c.do(request); out.Entries[0].Pending != "" {
		t.Errorf("who requests has no offer: %+v", out.Entries[0])
	}
	want := &tract.Pending{Type: tract.OpRequest, Receiver: "trusted", By: "trusted", ExpiresAt: noon.Add(time.Minute)}
	if d := cmp.Diff(want, c.thread.Pending); d != "" {
		t.Fatal(d)
	}
	c.refused(request, tract.ErrRequestPending)
	c.refused(tract.Control{Op: tract.OpRequest, By: tract.SAC}, tract.ErrRequestPending)
	c.refused(tract.Control{Op: tract.OpAccept, By: "trusted"}, tract.ErrNoOffer) // a request is no offer

	wrote(t, c.later(59*time.Second).do(tract.Fire{Timer: tract.TimerPending}))
	wrote(t, c.later(time.Second).do(tract.Fire{Timer: tract.TimerPending}),
		"thread_control/expired from trusted to trusted because timeout [one 2]",
		`= expire granted by "": "trusted" to "trusted", epoch 2`)
	if c.thread.Pending != nil {
		t.Errorf("expired and still open: %+v", c.thread.Pending)
	}

	c.do(request)
	c.do(tract.Control{Op: tract.OpPass, By: tract.SAC, To: "trusted"}) // this is how it is answered
	c.is("trusted", 3, 1, tract.StateQueued)
	wrote(t, c.later(time.Hour).do(tract.Fire{Timer: tract.TimerPending}))

	c = at(t, settings(), tract.IVA, tract.StateBot)
	c.do(request)
	c.do(tract.RaiseEvent{By: tract.IVA, Event: tract.EventComplete}) // control stays, the request does not
	if c.thread.Pending != nil {
		t.Errorf("complete and still open: %+v", c.thread.Pending)
	}
}

// TestOffer: the owner keeps the thread until the receiver accepts.
func TestOffer(t *testing.T) {
	offer := tract.Control{Op: tract.OpOffer, By: "trusted", To: "one", Team: "vip"}
	pending := func() *chat {
		c := at(t, settings(), "trusted", tract.StateAssigned)
		out := c.do(offer)
		want := &tract.Pending{Type: tract.OpOffer, Receiver: "one", By: "trusted", Team: "vip", ExpiresAt: noon.Add(time.Minute)}
		if d := cmp.Diff(want, c.thread.Pending); d != "" || out.Entries[0].Pending != "one" {
			t.Fatalf("%+v\n%s", out, d)
		}
		return c
	}
	none := func(c *chat) {
		t.Helper()
		if c.thread.Pending != nil {
			t.Errorf("still open: %+v", c.thread.Pending)
		}
	}

	c := pending()
	if out := c.do(tract.UserMessage{Body: "hello?"}); out.Entries[0].Pending != "one" || out.Entries[0].Owner != "trusted" {
		t.Errorf("a message while an offer is open: %+v", out.Entries[0])
	}
	c.do(tract.Send{By: "trusted", Sender: tract.SenderAEU, Body: "one moment"})
	c.refused(tract.Send{By: "one", Sender: tract.SenderAEU, Body: "me"}, tract.ErrNotOwner)
	c.refused(tract.Control{Op: tract.OpAccept, By: "two"}, tract.ErrNoOffer)
	c.refused(tract.Control{Op: tract.OpDecline, By: tract.SAC}, tract.ErrNoOffer)
	c.refused(tract.Control{Op: tract.OpRequest, By: tract.SAC}, tract.ErrRequestPending)
	wrote(t, c.do(tract.Control{Op: tract.OpAccept, By: "one", Epoch: 2}),
		"thread_control/accepted by one from trusted to one team vip [one 3]",
		"conversation_state/waiting by one to one team vip because accept [one 3]",
		`= accept granted by "one": "trusted" to "one", epoch 3`)
	none(c)

	c = pending()
	wrote(t, c.do(tract.Control{Op: tract.OpDecline, By: "one", Reason: "busy"}),
		"thread_control/declined by one from trusted to trusted because busy [trusted 2]",
		`= decline granted by "one": "trusted" to "trusted", epoch 2`)
	none(c)
	c.refused(tract.Control{Op: tract.OpAccept, By: "one"}, tract.ErrNoOffer)

	c = pending()
	c.s = settings(down("one"))
	c.do(tract.Control{Op: tract.OpDecline, By: "one"}) // one can always say no
	none(c)

	c = pending()
	wrote(t, c.do(tract.Control{Op: tract.OpOffer, By: "trusted", To: "two"}),
		"thread_control/expired from trusted to one because superseded [trusted 2]",
		"thread_control/offered by trusted from trusted to two [trusted 2]",
		`= expire granted by "": "trusted" to "one", epoch 2`,
		`= offer granted by "trusted": "trusted" to "two", epoch 2`)
	c.refused(tract.Control{Op: tract.OpAccept, By: "one"}, tract.ErrNoOffer)

	c = pending()
	c.do(tract.RaiseEvent{By: "trusted", Event: tract.EventComplete})
	none(c)

	c = pending()
	c.s = settings(down("one"))
	c.refused(tract.Control{Op: tract.OpAccept, By: "one"}, tract.ErrReceiverUnavailable)
	wrote(t, c.later(time.Minute).do(tract.Fire{Timer: tract.TimerPending}),
		"thread_control/expired from trusted to one because timeout [trusted 2]",
		`= expire granted by "": "trusted" to "one", epoch 2`)
	none(c)
}

// TestEpochs: an operation that carries the epoch it believes in is judged by it.
func TestEpochs(t *testing.T) {
	c := at(t, settings(), "one", tract.StateAssigned)
	pass := tract.Control{Op: tract.OpPass, By: "one", To: tract.SAC}
	for _, believed := range []int64{1, 3} {
		pass.Epoch = believed
		e := c.refused(pass, tract.ErrEpochMismatch)
		if want := fmt.Sprintf("control_epoch is 2, not %d; the thread is controlled by one", believed); e.Error() != want || e.Kind != tract.KindConflict {
			t.Errorf("got %q, want %q", e, want)
		}
	}
	pass.Epoch = 2
	c.do(pass)
	c.refused(tract.Control{Op: tract.OpTake, By: "trusted", Epoch: 2}, tract.ErrEpochMismatch)
	c.do(tract.Control{Op: tract.OpTake, By: "trusted"}) // without one: as it stands at the commit
	c.is("trusted", 4, 1, tract.StateQueued)
}

// TestFailover: from a dead owner to the next available receiver in the list.
func TestFailover(t *testing.T) {
	tests := []struct {
		name  string
		owner tract.ReceiverID
		s     *tract.Settings
		want  tract.ReceiverID // "" = exhausted
	}{
		{"first of the list", "one", settings(failover("two", tract.SAC)), "two"},
		{"after the owner", "one", settings(failover("two", "one", tract.SAC)), tract.SAC},
		{"next available", "one", settings(failover("two", "gone", tract.SAC), down("two")), tract.SAC},
		{"to the bot", "one", settings(failover(tract.IVA)), tract.IVA},
		{"end of the list", "one", settings(failover("two", "one")), ""},
		{"nobody available", "one", settings(failover("two"), down("two")), ""},
		{"only itself", "one", settings(failover("one")), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := at(t, tt.s, tt.owner, tract.StateQueued)
			out := c.do(tract.Failover{From: tt.owner, Reason: "hook_disabled"})
			if tt.want == "" {
				if wrote(t, out); out.Alarm != "failover_exhausted" || c.thread.Owner != tt.owner {
					t.Errorf("alarm %q, owner %s", out.Alarm, c.thread.Owner)
				}
				return
			}
			if c.thread.Owner != tt.want || out.Alarm != "" || out.HandedTo != tt.want {
				t.Errorf("owner %s, alarm %q, handed to %q", c.thread.Owner, out.Alarm, out.HandedTo)
			}
		})
	}
	c := at(t, settings(), "one", tract.StateQueued) // no list: no failover
	if out := c.do(tract.Failover{From: "one"}); out.Alarm != "" || len(out.Entries) != 0 {
		t.Errorf("got %+v", out)
	}
}

// TestAcknowledgement: a tool that gives no sign of life within the time loses
// the thread; the user is told once in a conversation.
func TestAcknowledgement(t *testing.T) {
	s := settings(failover("two", tract.SAC))
	overdue := tract.Fire{Timer: tract.TimerAck}
	c := at(t, s, "one", tract.StateQueued)
	wrote(t, c.later(59*time.Second).do(overdue))
	wrote(t, c.later(time.Second).do(overdue),
		"thread_control/failed_over from one to two because ack_timeout [two 3]",
		"conversation_state/waiting to two because failover [two 3]",
		"haptik: One moment please. [two 3]",
		`= failover granted by "": "one" to "two", epoch 3`)
	wrote(t, c.later(time.Minute).do(overdue), // the next is dead, too
		"thread_control/failed_over from two to sac team Support because ack_timeout [sac 4]",
		"conversation_state/waiting to sac team Support because failover [sac 4]",
		`= failover granted by "": "two" to "sac", epoch 4`)
	wrote(t, c.later(time.Hour).do(overdue)) // the desk needs no waking
	c.do(tract.RaiseEvent{By: tract.SAC, Event: tract.EventComplete})
	c.do(tract.UserMessage{})
	c.do(tract.Control{Op: tract.OpPass, By: tract.SAC, To: "one"})
	if out := c.later(time.Minute).do(overdue); len(out.Entries) != 3 || out.Entries[2].Text != "One moment please." {
		t.Errorf("the user is told again in the next conversation; got %v", lines(out))
	}

	signs := map[string]tract.Command{
		"message":   tract.Send{By: "one", Sender: tract.SenderECT, Body: "x"},
		"received":  tract.RaiseEvent{By: "one", Event: tract.EventReceived},
		"allocated": tract.RaiseEvent{By: "one", Event: tract.EventAllocated},
		"complete":  tract.RaiseEvent{By: "one", Event: tract.EventComplete},
	}
	for name, sign := range signs {
		c := at(t, s, "one", tract.StateQueued)
		c.later(30 * time.Second).do(sign)
		wrote(t, c.later(time.Hour).do(overdue))
		if !c.thread.AckDue.IsZero() {
			t.Errorf("%s did not stop the timer", name)
		}
	}

	c = at(t, s, "one", tract.StateQueued) // the hook answered 2xx
	wrote(t, c.later(time.Minute).do(tract.Fire{Timer: tract.TimerAck, Heard: true}))
	c.is("one", 2, 1, tract.StateQueued)
	wrote(t, c.later(time.Hour).do(overdue))

	if c := at(t, settings(), "one", tract.StateQueued); !c.thread.AckDue.IsZero() {
		t.Errorf("no timeout is set, and yet there is a timer at %v", c.thread.AckDue)
	}
	c = at(t, s, "one", tract.StateQueued)
	c.do(tract.Control{Op: tract.OpTake, By: "trusted"})
	if !c.thread.AckDue.IsZero() {
		t.Error("a tool that took the thread itself need not acknowledge it")
	}
}

// TestIdleRelease: a tool that gives no sign of life in a thread gives it back.
func TestIdleRelease(t *testing.T) {
	releasing := func(s *tract.Settings) { s.ReleaseAfter = 10 * time.Minute }
	idle := tract.Fire{Timer: tract.TimerRelease}
	c := at(t, settings(releasing), "one", tract.StateQueued)
	c.later(4 * time.Minute).do(tract.RaiseEvent{By: "one", Event: tract.EventReceived})
	c.later(2 * time.Minute).do(tract.UserMessage{Body: "anyone?"}) // not the tool's doing
	wrote(t, c.later(4*time.Minute).do(idle))
	c.do(tract.Control{Op: tract.OpOffer, By: "one", To: tract.SAC}) // a sign of life, too
	wrote(t, c.later(4*time.Minute).do(idle))
	c.later(2 * time.Minute).do(tract.Send{By: "one", Sender: tract.SenderAEU, Body: "x"})
	wrote(t, c.later(4*time.Minute).do(idle))
	c.later(time.Minute).do(tract.Control{Op: tract.OpOffer, By: tract.SAC, To: "two"}) // nor this
	wrote(t, c.later(5*time.Minute).do(idle),
		"thread_control/released from one to iva because idle [iva 3]",
		"conversation_state/bot because idle [iva 3]",
		`= release granted by "": "one" to "iva", epoch 3`)

	c = at(t, settings(releasing, byDefault("one")), "one", tract.StateQueued)
	wrote(t, c.later(time.Hour).do(idle))
	c.is("one", 1, 1, tract.StateQueued)
	if !c.thread.ReleaseDue.IsZero() {
		t.Errorf("the default receiver is asked again at %v", c.thread.ReleaseDue)
	}

	c = at(t, settings(releasing), "one", tract.StateQueued)
	c.s = settings(releasing, byDefault("")) // nobody to give it to
	wrote(t, c.later(time.Hour).do(idle))
	c.is("one", 2, 1, tract.StateQueued)
}

// TestCountdown: a delayed move fires once, is replaced by the next, and is
// dropped when the conversation is completed or taken before.
func TestCountdown(t *testing.T) {
	move := tract.MoveLater{To: tract.SAC, Team: "Sales", Delay: 10 * time.Second}
	due := tract.Fire{Timer: tract.TimerCountdown}
	counting := func(owner tract.ReceiverID, state tract.State) *chat {
		c := at(t, settings(), owner, state)
		wrote(t, c.do(move))
		return c
	}
	c := counting(tract.IVA, tract.StateBot)
	c.do(tract.BotAnswer{Bodies: []string{"meanwhile"}})
	wrote(t, c.later(9*time.Second).do(due))
	wrote(t, c.later(time.Second).do(due),
		"thread_control/passed from iva to sac team Sales because api [sac 2]",
		"conversation_state/waiting to sac team Sales because api [sac 2]",
		`= pass granted by "": "iva" to "sac", epoch 2`)
	wrote(t, c.later(time.Minute).do(due))

	c = counting(tract.IVA, tract.StateBot)
	c.later(5 * time.Second).do(tract.MoveLater{To: "one", Team: "vip", Delay: 7 * time.Second})
	wrote(t, c.later(5*time.Second).do(due)) // when the first would have been
	c.later(2 * time.Second).do(due)
	if c.is("one", 2, 1, tract.StateQueued); c.thread.Team != "vip" {
		t.Errorf("team %q", c.thread.Team)
	}

	c = counting(tract.IVA, tract.StateBot)
	c.do(tract.RaiseEvent{By: tract.IVA, Event: tract.EventComplete})
	c.do(tract.UserMessage{Body: "next"})
	wrote(t, c.later(time.Minute).do(due))
	c.is(tract.IVA, 1, 2, tract.StateBot)

	c = counting(tract.IVA, tract.StateBot)
	c.do(tract.Control{Op: tract.OpTake, By: "trusted"})
	wrote(t, c.later(time.Minute).do(due))
	c.is("trusted", 2, 1, tract.StateQueued)

	c = counting(tract.SAC, tract.StateAssigned) // the desk has it: to the other queue
	wrote(t, c.later(time.Minute).do(due), "conversation_state/waiting to sac team Sales because api [sac 2]")
	if c.thread.Agent != (tract.Agent{}) || c.thread.Team != "Sales" {
		t.Errorf("got %+v", c.thread)
	}

	c = counting(tract.IVA, tract.StateBot)
	c.s = settings(down(tract.SAC))
	if out := c.later(time.Minute).do(due); out.Alarm != "countdown_receiver_unavailable" || c.thread.Countdown != nil {
		t.Errorf("got %+v", out)
	}
}
