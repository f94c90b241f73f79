package tract_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tract"
)

// step decides once and holds the outcome against every law that one step can
// break. All tests of the state machine go through it.
func step(t rapid.TB, before tract.Thread, s *tract.Settings, cmd tract.Command, now time.Time) (tract.Outcome, error) {
	t.Helper()
	thread, inputs := clone(before), show(s, cmd)
	out, err := tract.Decide(before, s, cmd, now)
	again, errAgain := tract.Decide(before, s, cmd, now)
	if d := cmp.Diff(out, again); d != "" || fmt.Sprint(err) != fmt.Sprint(errAgain) {
		t.Fatalf("%T: the second decision differs: %v, %v\n%s", cmd, err, errAgain, d)
	}
	if d := cmp.Diff(thread, before); d != "" {
		t.Fatalf("%T modified the thread it was given:\n%s", cmd, d)
	}
	if got := show(s, cmd); got != inputs {
		t.Fatalf("%T modified its inputs:\n%s\n%s", cmd, inputs, got)
	}
	if err != nil {
		refusalLaw(t, before, cmd, out, err)
		return out, err
	}
	ownerLaw(t, before, s, cmd, out)
	stateLaw(t, before, cmd, out)
	logLaw(t, before, cmd, out)
	timerLaw(t, before, s, out)
	return out, nil
}

func clone(t tract.Thread) tract.Thread {
	if t.Pending != nil {
		p := *t.Pending
		t.Pending = &p
	}
	if t.Countdown != nil {
		c := *t.Countdown
		t.Countdown = &c
	}
	return t
}

func show(s *tract.Settings, cmd tract.Command) string {
	text := fmt.Sprintf("%+v %+v", *s, cmd)
	if send, ok := cmd.(tract.Send); ok && send.Then != nil {
		text += fmt.Sprintf(" then %+v", *send.Then)
	}
	return text
}

// asked is the operation that a command carries.
func asked(cmd tract.Command) (tract.Control, bool) {
	switch c := cmd.(type) {
	case tract.Control:
		return c, true
	case tract.Send:
		if c.Then != nil && c.Sender != tract.SenderSystem {
			then := *c.Then
			then.By = c.By
			return then, true
		}
	}
	return tract.Control{}, false
}

// refusalLaw: a refusal changes nothing, is classified, and leaves at most its
// own line in the ledger.
func refusalLaw(t rapid.TB, before tract.Thread, cmd tract.Command, out tract.Outcome, err error) {
	t.Helper()
	var e *tract.Error
	if !errors.As(err, &e) || e.Kind == tract.KindInternal {
		t.Fatalf("%T refused with an unclassified error: %v", cmd, err)
	}
	if d := cmp.Diff(tract.Outcome{Thread: before, BotTurn: -1, Ledger: out.Ledger}, out); d != "" {
		t.Fatalf("%T was refused (%v) and yet:\n%s", cmd, err, d)
	}
	op, ok := asked(cmd)
	if _, alone := cmd.(tract.Control); alone && len(out.Ledger) != 1 {
		t.Fatalf("a refused %s left %d lines in the ledger", op.Op, len(out.Ledger))
	}
	for _, l := range out.Ledger {
		to := op.To
		switch op.Op {
		case tract.OpTake, tract.OpRequest, tract.OpAccept, tract.OpDecline:
			to = op.By
		case tract.OpRelease:
			to = l.To // the default receiver, which the settings know
		}
		if !op.Op.Valid() {
			to = op.By
		}
		want := tract.LedgerEntry{Op: op.Op, Requester: op.By, From: before.Owner, To: to, Code: e.Code, Reason: op.Reason, Metadata: op.Metadata, Epoch: before.Epoch}
		if d := cmp.Diff(want, l); !ok || d != "" {
			t.Fatalf("ledger of a refused %T:\n%s", cmd, d)
		}
	}
}

// ownerLaw: one owner; the epoch counts its changes; each is in the ledger and
// in the log; nothing that was open about the old owner survives.
func ownerLaw(t rapid.TB, before tract.Thread, s *tract.Settings, cmd tract.Command, out tract.Outcome) {
	t.Helper()
	after := out.Thread
	if op, ok := asked(cmd); ok && op.Epoch != 0 && op.Epoch != before.Epoch {
		t.Fatalf("%s believed in epoch %d, not %d, and was granted", op.Op, op.Epoch, before.Epoch)
	}
	if before.Owner == after.Owner {
		if after.Epoch != before.Epoch {
			t.Fatalf("%T: epoch %d → %d and the owner is still %q", cmd, before.Epoch, after.Epoch, after.Owner)
		}
		if out.HandedTo != "" {
			t.Fatalf("%T: handed to %q without a change of owner", cmd, out.HandedTo)
		}
		return
	}
	if after.Epoch != before.Epoch+1 {
		t.Fatalf("%T: %q → %q took the epoch from %d to %d", cmd, before.Owner, after.Owner, before.Epoch, after.Epoch)
	}
	if _, known := s.Receiver(after.Owner); !known && (after.Owner != "" || s.Default != "") {
		t.Fatalf("%T: the new owner %q is not attached (default %q)", cmd, after.Owner, s.Default)
	}
	if after.Pending != nil || after.Countdown != nil {
		t.Fatalf("%T: %+v, %+v survived a change of owner", cmd, after.Pending, after.Countdown)
	}
	if !slices.ContainsFunc(out.Ledger, func(l tract.LedgerEntry) bool {
		return l.Granted && l.From == before.Owner && l.To == after.Owner && l.Epoch == after.Epoch
	}) {
		t.Fatalf("%T: %q → %q is not in the ledger: %+v", cmd, before.Owner, after.Owner, out.Ledger)
	}
	if before.Owner != "" && !slices.ContainsFunc(out.Entries, func(e tract.Entry) bool {
		return e.Event.Control() && e.From == before.Owner && e.To == after.Owner && e.Epoch == after.Epoch
	}) {
		t.Fatalf("%T: %q → %q is not announced: %+v", cmd, before.Owner, after.Owner, out.Entries)
	}
	if out.HandedTo != "" && (out.HandedTo != after.Owner || !after.State.Open()) {
		t.Fatalf("%T: handed to %q; the owner is %q, the state %q", cmd, out.HandedTo, after.Owner, after.State)
	}
}

// arrivals are the commands that may bring a conversation from one state into
// another: the table of states, read by its ends.
var arrivals = map[[2]tract.State][]string{
	{tract.StateNone, tract.StateBot}:                {"UserMessage"},
	{tract.StateNone, tract.StateQueued}:             {"UserMessage"},
	{tract.StateComplete, tract.StateBot}:            {"UserMessage"},
	{tract.StateComplete, tract.StateQueued}:         {"UserMessage"},
	{tract.StateBot, tract.StateQueued}:              {"BotAnswer", "Control", "Then", "Reset", "Failover", "Fire ack", "Fire countdown", "Adopt", "UserMessage"},
	{tract.StateBot, tract.StateComplete}:            {"RaiseEvent", "Fire auto", "Close"},
	{tract.StateQueued, tract.StateBot}:              {"Control", "Then", "Reset", "Failover", "Fire ack", "Fire release", "Fire countdown", "Adopt", "UserMessage"},
	{tract.StateQueued, tract.StateAssigned}:         {"Send", "RaiseEvent", "Then"},
	{tract.StateQueued, tract.StateComplete}:         {"RaiseEvent", "Control", "Then", "Close"},
	{tract.StateAssigned, tract.StateBot}:            {"Control", "Then", "Reset", "Failover", "Fire ack", "Fire release", "Fire countdown", "Adopt"},
	{tract.StateAssigned, tract.StateQueued}:         {"Control", "Then", "Reset", "Failover", "Fire ack", "Fire release", "Fire countdown", "Adopt", "Reassign"},
	{tract.StateAssigned, tract.StateWaitingForUser}: {"RaiseEvent"},
	{tract.StateAssigned, tract.StateComplete}:       {"RaiseEvent", "Control", "Then", "Close"},
	{tract.StateWaitingForUser, tract.StateAssigned}: {"UserMessage"},
	{tract.StateWaitingForUser, tract.StateQueued}:   {"UserMessage", "Control", "Then", "Reset", "Failover", "Fire ack", "Fire release", "Fire countdown", "Adopt", "Reassign"},
	{tract.StateWaitingForUser, tract.StateBot}:      {"Control", "Then", "Reset", "Failover", "Fire ack", "Fire release", "Fire countdown", "Adopt"},
	{tract.StateWaitingForUser, tract.StateComplete}: {"RaiseEvent", "Control", "Then", "Fire auto", "Close"},
}

func kindOf(cmd tract.Command) string {
	if f, ok := cmd.(tract.Fire); ok {
		return "Fire " + string(f.Timer)
	}
	if _, alone := cmd.(tract.Control); !alone {
		if _, then := asked(cmd); then {
			return "Then"
		}
	}
	return fmt.Sprintf("%T", cmd)[len("tract."):]
}

// announces says which event a state is entered with.
var announces = map[tract.State]tract.Event{
	tract.StateBot: tract.EventBot, tract.StateQueued: tract.EventWaiting, tract.StateAssigned: tract.EventPinned,
	tract.StateWaitingForUser: tract.EventWaitingForUser, tract.StateComplete: tract.EventComplete,
}

// stateLaw: states change along the table only, each change is an event, and
// the numbers of conversations have no gaps.
func stateLaw(t rapid.TB, before tract.Thread, cmd tract.Command, out tract.Outcome) {
	t.Helper()
	after := out.Thread
	begun := 0
	if _, user := cmd.(tract.UserMessage); user && !before.State.Open() {
		begun = 1
	}
	if after.Conversation != before.Conversation+begun {
		t.Fatalf("%T: conversation %d (%s) → %d", cmd, before.Conversation, before.State, after.Conversation)
	}
	if after.State.Open() && (after.State == tract.StateBot) != (after.Owner == tract.IVA) {
		t.Fatalf("%T: state %s with owner %q", cmd, after.State, after.Owner)
	}
	if (after.Conversation == 0) != (after.State == tract.StateNone) {
		t.Fatalf("%T: conversation %d is %q", cmd, after.Conversation, after.State)
	}
	if after.State == before.State {
		return
	}
	if !slices.Contains(arrivals[[2]tract.State{before.State, after.State}], kindOf(cmd)) {
		t.Fatalf("%s took the conversation from %q to %q", kindOf(cmd), before.State, after.State)
	}
	told := func(e tract.Entry) bool { return e.Event == announces[after.State] }
	if after.Owner != "" && !slices.ContainsFunc(out.Entries, told) {
		t.Fatalf("%T: %q → %q without %s: %v", cmd, before.State, after.State, announces[after.State], lines(out))
	}
	if after.State == tract.StateComplete && (after.Reason == "" || after.Team != "" || !after.UnansweredSince.IsZero()) {
		t.Fatalf("%T: completed without a reason, or with leftovers: %+v", cmd, after)
	}
}

// logLaw: only the owner speaks to the user, what was accepted is in the log
// once, and no entry knows the future or another conversation.
func logLaw(t rapid.TB, before tract.Thread, cmd tract.Command, out tract.Outcome) {
	t.Helper()
	after, epoch, users := out.Thread, before.Epoch, 0
	for i, e := range out.Entries {
		if e.Epoch < epoch || e.Epoch > after.Epoch {
			t.Fatalf("%T: entry %d has epoch %d; %d → %d", cmd, i, e.Epoch, before.Epoch, after.Epoch)
		}
		epoch = e.Epoch
		if holder := map[int64]tract.ReceiverID{before.Epoch: before.Owner, after.Epoch: after.Owner}[e.Epoch]; e.Owner != holder {
			t.Fatalf("%T: entry %d says %q at epoch %d, which was %q's", cmd, i, e.Owner, e.Epoch, holder)
		}
		if e.Conversation != after.Conversation {
			t.Fatalf("%T: entry %d of conversation %d in %d", cmd, i, e.Conversation, after.Conversation)
		}
		switch {
		case e.Event != "":
		case e.Sender == tract.SenderCEU:
			users++
			if out.BotTurn != -1 && out.BotTurn != i {
				t.Fatalf("the bot's turn is entry %d, the user's message %d", out.BotTurn, i)
			}
		case e.Sender != tract.SenderSystem && (e.By != before.Owner || e.Epoch != before.Epoch || !before.State.Open()):
			t.Fatalf("%T: a message of %q reached the user; the owner was %q, the conversation %q", cmd, e.By, before.Owner, before.State)
		}
	}
	_, user := cmd.(tract.UserMessage)
	if want := map[bool]int{true: 1}[user]; users != want {
		t.Fatalf("%T: %d messages of the user in the log", cmd, users)
	}
	if turn := user && after.Owner == tract.IVA; (out.BotTurn >= 0) != turn {
		t.Fatalf("%T: owner %q, bot turn %d", cmd, after.Owner, out.BotTurn)
	}
	if out.Orphaned != (user && after.Owner == "") || out.Orphaned && out.Alarm == "" {
		t.Fatalf("%T: owner %q, orphaned %v, alarm %q", cmd, after.Owner, out.Orphaned, out.Alarm)
	}
}

// timerLaw: a timer is armed only where it means something.
func timerLaw(t rapid.TB, before tract.Thread, s *tract.Settings, out tract.Outcome) {
	t.Helper()
	after := out.Thread
	if !after.State.Open() {
		if got := after.Timers(); len(got) != 0 || after.Pending != nil || after.Countdown != nil || after.Agent != (tract.Agent{}) {
			t.Fatalf("left over in state %q: %v, %+v", after.State, got, after)
		}
	}
	silent := after.State == tract.StateBot || after.State == tract.StateWaitingForUser
	if armed := !after.AutoDue.IsZero(); armed != (silent && s.AutoComplete > 0) {
		t.Fatalf("auto-complete armed: %v in state %q with %v", armed, after.State, s.AutoComplete)
	}
	tool := after.Owner != "" && !after.Owner.Primary()
	if !tool && !(after.AckDue.IsZero() && after.ReleaseDue.IsZero()) {
		t.Fatalf("acknowledgement or idle timer with owner %q", after.Owner)
	}
	if after.AckDue.After(before.AckDue) && s.AckTimeout == 0 || after.ReleaseDue.After(before.ReleaseDue) && s.ReleaseAfter == 0 {
		t.Fatalf("armed without a setting: acknowledgement %v, idle %v", after.AckDue, after.ReleaseDue)
	}
}

// TestLaws drives threads with random commands under settings that change, and
// a clock that jumps to timers: step holds each outcome against the laws.
func TestLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := noon
		s := anySettings(t)
		var thread tract.Thread
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = anyMoment(t, thread, now)
			if rapid.IntRange(0, 19).Draw(t, "reconfigure") == 0 {
				s = anySettings(t)
			}
			out, _ := step(t, thread, s, anyCommand(t, thread, s), now)
			thread = out.Thread
		}
	})
}

// TestLawsOneWinner holds that of two operations decided on the same epoch only
// one can be granted when the first moved the thread.
func TestLawsOneWinner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySettings(t)
		var thread tract.Thread
		for range rapid.IntRange(1, 10).Draw(t, "steps") {
			out, _ := step(t, thread, s, anyCommand(t, thread, s), noon)
			thread = out.Thread
		}
		first, second := anyControl(t, thread, s), anyControl(t, thread, s)
		first.Epoch, second.Epoch = thread.Epoch, thread.Epoch
		out, _ := step(t, thread, s, first, noon)
		if _, err := step(t, out.Thread, s, second, noon); thread.Epoch != 0 && out.Thread.Epoch != thread.Epoch && err == nil {
			t.Fatalf("%s and %s were both granted at epoch %d", first.Op, second.Op, thread.Epoch)
		}
	})
}

// TestOrphan: where no default receiver exists a message is stored and alarms,
// and the thread is handed over as soon as there is one.
func TestOrphan(t *testing.T) {
	orphan := func() *chat {
		c := fresh(t, settings(byDefault("")))
		out := c.do(tract.UserMessage{Body: "anyone?"})
		if e := out.Entries[len(out.Entries)-1]; e.Body != "anyone?" || !out.Orphaned || out.Alarm != "no_default_receiver" {
			t.Fatalf("got %+v", out)
		}
		if c.thread.State != tract.StateQueued || c.thread.Conversation != 1 {
			t.Fatalf("got %+v", c.thread)
		}
		return c
	}
	c := orphan()
	wrote(t, c.do(tract.Adopt{})) // still nobody
	c.s = settings(byDefault(tract.SAC))
	out := c.do(tract.Adopt{})
	if c.thread.Owner != tract.SAC || c.thread.State != tract.StateQueued || c.thread.Team != "Support" || out.HandedTo != tract.SAC {
		t.Errorf("got %+v", out)
	}
	wrote(t, c.do(tract.Adopt{})) // it has a receiver

	c = orphan()
	c.s = settings()
	out = c.do(tract.UserMessage{Body: "still here"})
	if c.thread.Owner != tract.IVA || c.thread.State != tract.StateBot || out.Orphaned || out.BotTurn < 0 || c.thread.Conversation != 1 {
		t.Errorf("got %+v", out)
	}

	// The default goes while nothing is open: the next message is the orphan.
	c = at(t, settings(), tract.IVA, tract.StateComplete)
	c.s = settings(byDefault(""), without(tract.IVA))
	c.do(tract.UserMessage{Body: "?"})
	c.is("", 2, 2, tract.StateQueued)
}

// TestReset: an operator, or a tool that was removed.
func TestReset(t *testing.T) {
	c := at(t, settings(), "one", tract.StateAssigned)
	c.s = settings(without("one"))
	wrote(t, c.do(tract.Reset{Reason: "tool_removed"}),
		"thread_control/reset from one to iva because tool_removed [iva 3]",
		"conversation_state/bot because tool_removed [iva 3]",
		`= reset granted by "": "one" to "iva", epoch 3`)

	c = at(t, settings(byDefault(tract.SAC)), "one", tract.StateWaitingForUser)
	wrote(t, c.do(tract.Reset{Reason: tract.ReasonOperator}),
		"thread_control/reset from one to sac team Support because operator [sac 3]",
		"conversation_state/waiting to sac team Support because operator [sac 3]",
		`= reset granted by "": "one" to "sac", epoch 3`)
	wrote(t, c.do(tract.Reset{Reason: tract.ReasonOperator})) // it is there already

	wrote(t, fresh(t, settings()).do(tract.Reset{Reason: tract.ReasonOperator})) // nothing has begun

	c = at(t, settings(), "one", tract.StateAssigned)
	c.s = settings(byDefault(""))
	out := c.do(tract.Reset{Reason: "tool_removed"})
	wrote(t, out, "thread_control/reset from one because tool_removed [ 3]", `= reset granted by "": "one" to "", epoch 3`)
	if out.Alarm != "no_default_receiver" {
		t.Errorf("alarm %q", out.Alarm)
	}
	c.is("", 3, 1, tract.StateQueued)
}

// TestAutoComplete: silence completes with the bot and while waiting for the
// user, measured from the last thing that anyone but the hub said.
func TestAutoComplete(t *testing.T) {
	silence := tract.Fire{Timer: tract.TimerAuto}
	for _, tt := range []struct {
		owner tract.ReceiverID
		state tract.State
		talk  tract.Command
	}{
		{tract.IVA, tract.StateBot, tract.UserMessage{Body: "x"}},
		{tract.IVA, tract.StateBot, tract.BotAnswer{Bodies: []string{"x"}}},
		{"one", tract.StateWaitingForUser, tract.Send{By: "one", Sender: tract.SenderAEU, Body: "x"}},
	} {
		c := at(t, settings(), tt.owner, tt.state)
		c.later(5 * time.Minute).do(tt.talk)
		wrote(t, c.later(3*time.Minute).do(silence))
		if want := noon.Add(13 * time.Minute); !c.thread.AutoDue.Equal(want) {
			t.Fatalf("%T: armed for %v, want %v", tt.talk, c.thread.AutoDue, want)
		}
		c.do(tract.Send{Sender: tract.SenderSystem, Body: "still there?"})
		out := c.later(5 * time.Minute).do(silence)
		if e := out.Entries[0]; e.Event != tract.EventComplete || e.Reason != tract.ReasonAuto || e.By != "" {
			t.Errorf("%T: %v", tt.talk, lines(out))
		}
	}
	for _, state := range []tract.State{tract.StateQueued, tract.StateAssigned} {
		c := at(t, settings(), "one", state)
		wrote(t, c.later(24*time.Hour).do(silence))
	}
	off := func(s *tract.Settings) { s.AutoComplete = 0 }
	wrote(t, at(t, settings(off), tract.IVA, tract.StateBot).later(24*time.Hour).do(silence))
}

// TestLoop: beyond twenty changes of owner in a minute there is an alarm, and
// the hub moves the thread by itself no more until the minute is over.
func TestLoop(t *testing.T) {
	looping := func(changes int) *chat {
		c := at(t, settings(failover(tract.SAC)), tract.IVA, tract.StateBot) // the first change
		for i := 1; i < changes; i++ {
			by := []tract.ReceiverID{tract.IVA, "trusted"}[i%2]
			if out := c.do(tract.Control{Op: tract.OpTake, By: by}); out.Alarm != "" {
				t.Fatalf("alarm %q at change %d", out.Alarm, i+1)
			}
		}
		return c
	}
	c := looping(20)
	if out := c.do(tract.Control{Op: tract.OpTake, By: tract.SAC}); out.Alarm != "control_loop" {
		t.Errorf("alarm %q at the 21st change", out.Alarm)
	}
	if out := c.do(tract.Control{Op: tract.OpTake, By: tract.IVA}); out.Alarm != "" {
		t.Errorf("alarm %q again", out.Alarm)
	}
	c.do(tract.BotAnswer{Handoff: tract.ReasonBotBreak, BreakBody: "sorry"})
	if c.thread.Owner != tract.IVA {
		t.Errorf("the bot handed over in a loop, to %s", c.thread.Owner)
	}
	c.later(time.Minute).do(tract.BotAnswer{Handoff: tract.ReasonBotBreak})
	if c.thread.Owner != tract.SAC || c.thread.Changes != 1 {
		t.Errorf("the minute is over: owner %s, %d changes", c.thread.Owner, c.thread.Changes)
	}

	c = looping(20)
	if out := c.do(tract.Failover{From: c.thread.Owner}); out.Alarm == "" || c.thread.Epoch != 20 {
		t.Errorf("failover in a loop: %+v", out)
	}
	c = looping(20)
	c.s.ReleaseAfter = time.Second
	c.thread.ReleaseDue = c.now
	if c.later(time.Second).try(tract.Fire{Timer: tract.TimerRelease}); c.thread.Epoch != 20 {
		t.Errorf("idle release in a loop, to %s", c.thread.Owner)
	}
	c = looping(19)
	if out := c.do(tract.Failover{From: c.thread.Owner}); out.Alarm != "" || c.thread.Owner != tract.SAC {
		t.Errorf("failover before the limit: %+v", out)
	}
}

func anySettings(t *rapid.T) *tract.Settings {
	yes := func(label string) bool { return rapid.Bool().Draw(t, label) }
	mostly := func(label string) bool { return rapid.IntRange(0, 4).Draw(t, label) > 0 }
	s := &tract.Settings{
		HumanAssistance: mostly("assistance"), DefaultTeam: rapid.SampledFrom([]string{"", "Support", "Closed"}).Draw(t, "default team"),
		Teams:        map[string]bool{"Support": true, "Sales": true, "Closed": false},
		AckTimeout:   rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "ack"),
		ReleaseAfter: rapid.SampledFrom([]time.Duration{0, 5 * time.Minute}).Draw(t, "release"),
		AutoComplete: rapid.SampledFrom([]time.Duration{0, 8 * time.Minute}).Draw(t, "auto"),
		PendingFor:   time.Minute,
	}
	if yes("failover text") {
		s.FailoverMessage = "one moment"
	}
	var ids []tract.ReceiverID
	add := func(id tract.ReceiverID, p tract.Permissions) {
		s.Receivers = append(s.Receivers, tract.Receiver{ID: id, Available: mostly("available"), Permissions: p})
		ids = append(ids, id)
	}
	if mostly("bot") {
		add(tract.IVA, tract.Permissions{})
	}
	if mostly("desk") {
		add(tract.SAC, tract.Permissions{})
	}
	for _, id := range []tract.ReceiverID{"one", "two", "three"}[:rapid.IntRange(1, 3).Draw(t, "tools")] {
		add(id, tract.Permissions{Take: yes("take"), Request: yes("request"), PassTo: rapid.SampledFrom([]string{"default", "any"}).Draw(t, "pass_to")})
	}
	if rapid.IntRange(0, 9).Draw(t, "no default") > 0 {
		s.Default = rapid.SampledFrom(ids).Draw(t, "default")
	}
	s.Failover = rapid.SliceOfNDistinct(rapid.SampledFrom(ids), 0, len(ids), rapid.ID[tract.ReceiverID]).Draw(t, "failover")
	s.HandoverTo = rapid.SampledFrom(append(ids, "")).Draw(t, "handover to")
	return s
}

// anyMoment moves on by a little, or to when a timer is due.
func anyMoment(t *rapid.T, thread tract.Thread, now time.Time) time.Time {
	next := now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second)
	if rapid.IntRange(0, 3).Draw(t, "jump") == 0 {
		for _, at := range thread.Timers() {
			if at.After(next) {
				next = at
			}
		}
	}
	return next
}

func anyReceiver(t *rapid.T, thread tract.Thread, s *tract.Settings, label string) tract.ReceiverID {
	ids := []tract.ReceiverID{thread.Owner, thread.Owner, thread.Owner, "stranger"}
	for _, r := range s.Receivers {
		ids = append(ids, r.ID)
	}
	if p := thread.Pending; p != nil {
		ids = append(ids, p.Receiver, p.Receiver, p.Receiver)
	}
	id := rapid.SampledFrom(ids).Draw(t, label)
	if id == "" { // nobody acts in the name of nobody
		id = "stranger"
	}
	return id
}

func anyEpoch(t *rapid.T, thread tract.Thread) int64 {
	return rapid.SampledFrom([]int64{0, 0, 0, thread.Epoch, thread.Epoch + 1, max(0, thread.Epoch-1)}).Draw(t, "epoch")
}

func anyControl(t *rapid.T, thread tract.Thread, s *tract.Settings) tract.Control {
	c := tract.Control{
		Op: rapid.SampledFrom([]tract.Op{tract.OpPass, tract.OpPass, tract.OpTake, tract.OpRequest, tract.OpOffer, tract.OpOffer, tract.OpAccept, tract.OpDecline, tract.OpRelease}).Draw(t, "op"),
		By: anyReceiver(t, thread, s, "by"), Reason: "why", Metadata: map[string]any{"case": 7},
		Team: rapid.SampledFrom([]string{"", "Sales", "Closed"}).Draw(t, "team"), Epoch: anyEpoch(t, thread), Force: rapid.Bool().Draw(t, "force"),
	}
	if c.Op == tract.OpPass || c.Op == tract.OpOffer {
		c.To = anyReceiver(t, thread, s, "to")
	}
	return c
}

func anyCommand(t *rapid.T, thread tract.Thread, s *tract.Settings) tract.Command {
	switch rapid.IntRange(0, 13).Draw(t, "command") {
	case 0, 1, 2:
		return tract.UserMessage{Body: "u", AgentFree: rapid.Bool().Draw(t, "agent free")}
	case 3, 4:
		c := tract.Send{By: anyReceiver(t, thread, s, "by"), Sender: tract.SenderECT, Body: "m", Epoch: anyEpoch(t, thread)}
		switch rapid.IntRange(0, 4).Draw(t, "kind of message") {
		case 0:
			c.Sender, c.By = tract.SenderSystem, ""
		case 1:
			then := anyControl(t, thread, s)
			c.Then = &then
		}
		return c
	case 5, 6:
		return tract.RaiseEvent{By: anyReceiver(t, thread, s, "by"), Agent: tract.Agent{Name: "Mia"}, Event: rapid.SampledFrom([]tract.Event{
			tract.EventComplete, tract.EventWaiting, tract.EventWaiting, tract.EventReceived, tract.EventAllocated, tract.EventAllocated, tract.EventUserTimeout,
		}).Draw(t, "event")}
	case 7:
		return tract.BotAnswer{Epoch: anyEpoch(t, thread), Bodies: []string{"a"}, HandoverBody: "h", BreakBody: "b", Handoff: rapid.SampledFrom([]string{"", tract.ReasonBotBreak}).Draw(t, "handoff")}
	case 8:
		return tract.MoveLater{To: anyReceiver(t, thread, s, "to"), Team: "Sales", Delay: 7 * time.Second}
	case 9:
		return rapid.SampledFrom([]tract.Command{tract.Reset{Reason: "operator"}, tract.Adopt{}, tract.Close{}, tract.Reassign{Team: "Sales"}, tract.Failover{From: thread.Owner, Reason: "hook_disabled"}}).Draw(t, "of the hub")
	case 10, 11:
		return tract.Fire{Heard: rapid.Bool().Draw(t, "heard"), Timer: rapid.SampledFrom([]tract.TimerKind{
			tract.TimerAck, tract.TimerPending, tract.TimerCountdown, tract.TimerAuto, tract.TimerRelease,
		}).Draw(t, "timer")}
	}
	return anyControl(t, thread, s)
}
