package tract_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
)

// The tests drive threads by commands, from a fixed moment on.
var (
	noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	mia  = tract.Agent{Name: "Mia"}
)

// settings are those of a business with a bot, the desk, two plain tools ("one",
// "two") and one with every permission ("trusted"). The bot is the default.
func settings(edits ...func(*tract.Settings)) *tract.Settings {
	s := &tract.Settings{
		Receivers: []tract.Receiver{
			{ID: tract.IVA, Available: true}, {ID: tract.SAC, Available: true}, {ID: "one", Available: true}, {ID: "two", Available: true},
			{ID: "trusted", Available: true, Permissions: tract.Permissions{Take: true, Request: true, PassTo: "any"}},
		},
		Default: tract.IVA, HumanAssistance: true, HandoverTo: tract.SAC,
		DefaultTeam: "Support", Teams: map[string]bool{"Support": true, "Sales": true, "Closed": false},
		AutoComplete: 8 * time.Minute, PendingFor: time.Minute,
	}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

func byDefault(id tract.ReceiverID) func(*tract.Settings) {
	return func(s *tract.Settings) { s.Default = id }
}

func failover(ids ...tract.ReceiverID) func(*tract.Settings) {
	return func(s *tract.Settings) {
		s.Failover, s.AckTimeout, s.FailoverMessage = ids, time.Minute, "One moment please."
	}
}

// down makes receivers unavailable; without removes them.
func down(ids ...tract.ReceiverID) func(*tract.Settings) {
	return func(s *tract.Settings) {
		for i := range s.Receivers {
			for _, id := range ids {
				if s.Receivers[i].ID == id {
					s.Receivers[i].Available, s.Receivers[i].Why = false, "it sleeps"
				}
			}
		}
	}
}

func without(id tract.ReceiverID) func(*tract.Settings) {
	return func(s *tract.Settings) {
		var left []tract.Receiver
		for _, r := range s.Receivers {
			if r.ID != id {
				left = append(left, r)
			}
		}
		s.Receivers = left
	}
}

// chat is one thread under test.
type chat struct {
	t      *testing.T
	s      *tract.Settings
	thread tract.Thread
	now    time.Time
}

func fresh(t *testing.T, s *tract.Settings) *chat {
	t.Helper()
	return &chat{t: t, s: s, now: noon}
}

// at brings a new thread to a state by commands; in an open state the owner has it.
func at(t *testing.T, s *tract.Settings, owner tract.ReceiverID, state tract.State) *chat {
	t.Helper()
	c := fresh(t, s)
	if state == tract.StateNone {
		return c
	}
	c.do(tract.UserMessage{Body: "hello"})
	switch {
	case c.thread.Owner == owner:
	case owner.Primary():
		c.do(tract.Control{Op: tract.OpTake, By: owner, Force: true})
	default:
		c.do(tract.Control{Op: tract.OpPass, By: tract.SAC, To: owner, Force: true})
	}
	if state == tract.StateAssigned || state == tract.StateWaitingForUser {
		c.do(tract.RaiseEvent{By: owner, Event: tract.EventAllocated, Agent: mia})
	}
	if state == tract.StateWaitingForUser {
		c.do(tract.RaiseEvent{By: owner, Event: tract.EventWaiting})
	}
	if state == tract.StateComplete {
		c.do(tract.RaiseEvent{By: owner, Event: tract.EventComplete})
	}
	if c.thread.State != state {
		t.Fatalf("set up: state %q, not %q", c.thread.State, state)
	}
	return c
}

func (c *chat) try(cmd tract.Command) (tract.Outcome, error) {
	c.t.Helper()
	out, err := step(c.t, c.thread, c.s, cmd, c.now)
	c.thread = out.Thread
	return out, err
}

func (c *chat) do(cmd tract.Command) tract.Outcome {
	c.t.Helper()
	out, err := c.try(cmd)
	if err != nil {
		c.t.Fatalf("%+v refused: %v", cmd, err)
	}
	return out
}

func (c *chat) refused(cmd tract.Command, want *tract.Error) *tract.Error {
	c.t.Helper()
	out, err := c.try(cmd)
	if !errors.Is(err, want) {
		c.t.Fatalf("%+v: got %v, want %s\n%v", cmd, err, want.Code, lines(out))
	}
	var e *tract.Error
	errors.As(err, &e)
	return e
}

func (c *chat) later(d time.Duration) *chat {
	c.now = c.now.Add(d)
	return c
}

// is checks who has the thread and where the conversation stands.
func (c *chat) is(owner tract.ReceiverID, epoch int64, conversation int, state tract.State) {
	c.t.Helper()
	got := fmt.Sprintf("%s, epoch %d, conversation %d %s", c.thread.Owner, c.thread.Epoch, c.thread.Conversation, c.thread.State)
	if want := fmt.Sprintf("%s, epoch %d, conversation %d %s", owner, epoch, conversation, state); got != want {
		c.t.Fatalf("got  %s\nwant %s", got, want)
	}
}

// lines writes the log of an outcome, one line per entry, and its ledger.
func lines(out tract.Outcome) []string {
	var all []string
	part := func(b *strings.Builder, label, value string) {
		if value != "" {
			b.WriteString(" " + label + value)
		}
	}
	for _, e := range out.Entries {
		var b strings.Builder
		if e.Event == "" {
			b.WriteString(string(e.Sender) + ": " + e.Body + e.Text)
		} else {
			b.WriteString(string(e.Event))
		}
		part(&b, "by ", string(e.By))
		part(&b, "from ", string(e.From))
		part(&b, "to ", string(e.To))
		part(&b, "team ", e.Team)
		part(&b, "agent ", e.Agent.Name)
		part(&b, "because ", e.Reason)
		all = append(all, fmt.Sprintf("%s [%s %d]", b.String(), e.Owner, e.Epoch))
	}
	for _, l := range out.Ledger {
		verdict := "granted"
		if !l.Granted {
			verdict = l.Code
		}
		all = append(all, fmt.Sprintf("= %s %s by %q: %q to %q, epoch %d", l.Op, verdict, l.Requester, l.From, l.To, l.Epoch))
	}
	return all
}

func wrote(t *testing.T, out tract.Outcome, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, lines(out)); d != "" {
		t.Fatalf("log and ledger (-want +got):\n%s", d)
	}
}

// TestStateTable holds every pair of state and command against the table of
// conversation states. The columns are the states; in bot the IVA has the
// thread, else the tool or the desk, as the row says; the default is the bot.
// A cell is the state after the command, or the code of the refusal after "!".
func TestStateTable(t *testing.T) {
	type commands func(owner tract.ReceiverID) tract.Command
	fixed := func(c tract.Command) commands { return func(tract.ReceiverID) tract.Command { return c } }
	raise := func(e tract.Event) commands {
		return func(o tract.ReceiverID) tract.Command { return tract.RaiseEvent{By: o, Event: e, Agent: mia} }
	}
	ask := func(op tract.Op, by, to tract.ReceiverID) commands {
		return func(o tract.ReceiverID) tract.Command {
			if by == "" {
				return tract.Control{Op: op, By: o, To: to}
			}
			return tract.Control{Op: op, By: by, To: to}
		}
	}
	states := []tract.State{tract.StateNone, tract.StateBot, tract.StateQueued, tract.StateAssigned, tract.StateWaitingForUser, tract.StateComplete}
	const tool, desk = tract.ReceiverID("one"), tract.SAC
	rows := []struct {
		name  string
		owner tract.ReceiverID
		cmd   commands
		want  string // of states, in their order
	}{
		{"user writes, agent free", desk, fixed(tract.UserMessage{AgentFree: true}), "bot bot queued assigned assigned bot"},
		{"user writes, agent busy", desk, fixed(tract.UserMessage{}), "bot bot queued assigned queued bot"},
		{"user writes to a tool", tool, fixed(tract.UserMessage{}), "bot bot queued assigned assigned bot"},

		{"owner writes", tool, func(o tract.ReceiverID) tract.Command { return tract.Send{By: o, Sender: tract.SenderAEU} }, "!conversation_complete bot assigned assigned waiting_for_user !conversation_complete"},
		{"desk writes", desk, func(o tract.ReceiverID) tract.Command { return tract.Send{By: o, Sender: tract.SenderAEU} }, "!conversation_complete bot assigned assigned waiting_for_user !conversation_complete"},
		{"another writes", tool, fixed(tract.Send{By: "two", Sender: tract.SenderAEU}), "!conversation_complete !not_owner !not_owner !not_owner !not_owner !conversation_complete"},
		{"the hub writes", tool, fixed(tract.Send{Sender: tract.SenderSystem}), "- bot queued assigned waiting_for_user complete"},

		{"received", tool, raise(tract.EventReceived), "!conversation_complete bot queued assigned waiting_for_user !conversation_complete"},
		{"allocated", tool, raise(tract.EventAllocated), "!conversation_complete !invalid_transition assigned assigned !invalid_transition !conversation_complete"},
		{"desk assigns", desk, raise(tract.EventAllocated), "!conversation_complete !invalid_transition assigned assigned !invalid_transition !conversation_complete"},
		{"waiting", tool, raise(tract.EventWaiting), "!conversation_complete !invalid_transition !invalid_transition waiting_for_user !invalid_transition !conversation_complete"},
		{"complete", tool, raise(tract.EventComplete), "- complete complete complete complete complete"},
		{"user timeout", tool, raise(tract.EventUserTimeout), "!conversation_complete complete complete complete complete !conversation_complete"},
		{"another says received", tool, fixed(tract.RaiseEvent{By: "two", Event: tract.EventReceived}), "!conversation_complete !not_owner !not_owner !not_owner !not_owner !conversation_complete"},
		{"another says allocated", tool, fixed(tract.RaiseEvent{By: "two", Event: tract.EventAllocated}), "!conversation_complete !not_owner !not_owner !not_owner !not_owner !conversation_complete"},
		{"another says waiting", tool, fixed(tract.RaiseEvent{By: desk, Event: tract.EventWaiting}), "!conversation_complete !not_owner !not_owner !not_owner !not_owner !conversation_complete"},
		{"another says complete", tool, fixed(tract.RaiseEvent{By: desk, Event: tract.EventComplete}), "- !not_owner !not_owner !not_owner !not_owner complete"},
		{"another says user timeout", tool, fixed(tract.RaiseEvent{By: "two", Event: tract.EventUserTimeout}), "!conversation_complete !not_owner !not_owner !not_owner !not_owner !conversation_complete"},

		{"bot knows", tool, fixed(tract.BotAnswer{Bodies: []string{"a"}}), "!conversation_complete bot !not_owner !not_owner !not_owner !conversation_complete"},
		{"bot hands over", tool, fixed(tract.BotAnswer{Handoff: tract.ReasonUserAsked}), "!conversation_complete queued !not_owner !not_owner !not_owner !conversation_complete"},

		{"pass to the desk", tool, ask(tract.OpPass, "", desk), "!conversation_complete queued queued queued queued !conversation_complete"},
		{"pass to a tool", desk, ask(tract.OpPass, "", tool), "!conversation_complete queued queued queued queued !conversation_complete"},
		{"pass to the bot", tool, ask(tract.OpPass, "", tract.IVA), "!conversation_complete !already_owner complete complete complete !conversation_complete"},
		{"take by the desk", tool, ask(tract.OpTake, desk, ""), "!conversation_complete queued queued queued queued !conversation_complete"},
		{"take by the bot", tool, ask(tract.OpTake, tract.IVA, ""), "!conversation_complete !already_owner bot bot bot !conversation_complete"},
		{"take by a tool", tool, ask(tract.OpTake, "trusted", ""), "!conversation_complete queued queued queued queued !conversation_complete"},
		{"release", tool, ask(tract.OpRelease, "", ""), "!conversation_complete !already_owner bot bot bot !conversation_complete"},
		{"request", tool, ask(tract.OpRequest, "trusted", ""), "!conversation_complete bot queued assigned waiting_for_user !conversation_complete"},
		{"offer", tool, ask(tract.OpOffer, desk, "two"), "!conversation_complete bot queued assigned waiting_for_user !conversation_complete"},
		{"offer to the bot", tool, ask(tract.OpOffer, "", tract.IVA), "!conversation_complete !already_owner bot bot bot !conversation_complete"},
		{"accept without an offer", tool, ask(tract.OpAccept, "two", ""), "!conversation_complete !no_offer !no_offer !no_offer !no_offer !conversation_complete"},
		{"decline without an offer", tool, ask(tract.OpDecline, "two", ""), "!conversation_complete !no_offer !no_offer !no_offer !no_offer !conversation_complete"},

		{"reset", tool, fixed(tract.Reset{Reason: tract.ReasonOperator}), " bot bot bot bot complete"},
		{"failover", tool, func(o tract.ReceiverID) tract.Command { return tract.Failover{From: o} }, " queued queued queued queued complete"},
		{"failover of another", tool, fixed(tract.Failover{From: "trusted"}), " bot queued assigned waiting_for_user complete"},
		{"adopt", tool, fixed(tract.Adopt{}), " bot queued assigned waiting_for_user complete"},
		{"move later", tool, fixed(tract.MoveLater{To: desk, Delay: time.Second}), "!conversation_complete bot queued assigned waiting_for_user !conversation_complete"},
		{"timers that are not set", tool, fixed(tract.Fire{Timer: tract.TimerPending}), " bot queued assigned waiting_for_user complete"},
		{"an hour of silence", tool, fixed(tract.Fire{Timer: tract.TimerAuto}), " complete queued assigned complete complete"},
	}
	for _, row := range rows {
		for i, want := range strings.Split(row.want, " ") {
			if want == "-" { // nothing that the table speaks of
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", row.name, states[i]), func(t *testing.T) {
				owner := row.owner
				if states[i] == tract.StateBot {
					owner = tract.IVA
				}
				c := at(t, settings(failover(tract.SAC, "two")), owner, states[i]).later(time.Hour)
				_, err := c.try(row.cmd(owner))
				got := string(c.thread.State)
				if err != nil {
					got = "!" + tract.CodeOf(err)
				}
				if got != want {
					t.Errorf("got %q, want %q (%v)", got, want, err)
				}
			})
		}
	}
}

// TestFirstMessage: the default receiver gets what a user writes first.
func TestFirstMessage(t *testing.T) {
	tests := []struct {
		receiver tract.ReceiverID
		want     []string
	}{
		{tract.IVA, []string{"conversation_state/bot because new_conversation [iva 1]", "ceu: hi [iva 1]", `= begin granted by "": "" to "iva", epoch 1`}},
		{tract.SAC, []string{"conversation_state/waiting to sac team Support because new_conversation [sac 1]", "ceu: hi [sac 1]", `= begin granted by "": "" to "sac", epoch 1`}},
		{"one", []string{"conversation_state/waiting to one because new_conversation [one 1]", "ceu: hi [one 1]", `= begin granted by "": "" to "one", epoch 1`}},
	}
	for _, tt := range tests {
		c := fresh(t, settings(byDefault(tt.receiver)))
		out := c.do(tract.UserMessage{Body: "hi", MessageType: tract.TypeImage})
		wrote(t, out, tt.want...)
		if out.HandedTo != tt.receiver || out.Entries[1].MessageType != tract.TypeImage {
			t.Errorf("%s: %+v", tt.receiver, out)
		}
		if (out.BotTurn == 1) != (tt.receiver == tract.IVA) {
			t.Errorf("%s: bot turn %d", tt.receiver, out.BotTurn)
		}
	}
}

// TestConversations: a completed conversation goes back to the default receiver,
// and the next message begins the next number there.
func TestConversations(t *testing.T) {
	c := at(t, settings(), "one", tract.StateAssigned)
	c.is("one", 2, 1, tract.StateAssigned)
	out := c.do(tract.RaiseEvent{By: "one", Event: tract.EventComplete, Metadata: map[string]any{"note": "solved"}})
	wrote(t, out,
		"conversation_state/complete by one agent Mia because tool [one 2]",
		"thread_control/reset by one from one to iva because complete [iva 3]",
		`= reset granted by "one": "one" to "iva", epoch 3`)
	if out.Entries[0].Metadata["note"] != "solved" || out.HandedTo != "" {
		t.Errorf("got %+v", out)
	}
	c.is(tract.IVA, 3, 1, tract.StateComplete)
	wrote(t, c.do(tract.RaiseEvent{By: "two", Event: tract.EventComplete})) // said again

	out = c.later(time.Hour).do(tract.UserMessage{Body: "again"})
	wrote(t, out, "conversation_state/bot because new_conversation [iva 3]", "ceu: again [iva 3]")
	c.is(tract.IVA, 3, 2, tract.StateBot)
	if c.thread.Reason != "" || !c.thread.GainedAt.Equal(c.now) || c.thread.Answered {
		t.Errorf("the second conversation begins with the first's traces: %+v", c.thread)
	}

	// The receiver stays the same, and yet everything begins anew.
	c.s = settings(byDefault(tract.SAC))
	c.do(tract.Control{Op: tract.OpTake, By: tract.SAC})
	c.do(tract.Send{By: tract.SAC, Sender: tract.SenderAEU, Body: "x"})
	c.do(tract.RaiseEvent{By: tract.SAC, Event: tract.EventComplete})
	c.later(time.Hour).do(tract.UserMessage{Body: "third"})
	c.is(tract.SAC, 4, 3, tract.StateQueued)
	if c.thread.Team != "Support" || c.thread.Answered || !c.thread.LastOwnerAt.Equal(c.now) || !c.thread.GainedAt.Equal(c.now) {
		t.Errorf("the third conversation begins with the second's traces: %+v", c.thread)
	}

	// The default is another by the time the user writes.
	c.do(tract.RaiseEvent{By: tract.SAC, Event: tract.EventComplete})
	c.s = settings(byDefault("two"))
	wrote(t, c.do(tract.UserMessage{Body: "fourth"}),
		"thread_control/reset from sac to two because new_conversation [two 5]",
		"conversation_state/waiting to two because new_conversation [two 5]",
		"ceu: fourth [two 5]",
		`= begin granted by "": "sac" to "two", epoch 5`)
	c.is("two", 5, 4, tract.StateQueued)
}

// TestCompletionWithoutDefault: control stays where it is.
func TestCompletionWithoutDefault(t *testing.T) {
	c := at(t, settings(), "one", tract.StateQueued)
	c.s = settings(byDefault(""))
	c.do(tract.RaiseEvent{By: "one", Event: tract.EventComplete})
	c.is("one", 2, 1, tract.StateComplete)
}

func TestCompletionReasons(t *testing.T) {
	tests := []struct {
		owner tract.ReceiverID
		state tract.State
		cmd   tract.Command
		want  string
	}{
		{"one", tract.StateQueued, tract.RaiseEvent{By: "one", Event: tract.EventComplete}, tract.ReasonTool},
		{tract.SAC, tract.StateAssigned, tract.RaiseEvent{By: tract.SAC, Event: tract.EventComplete}, tract.ReasonAgent},
		{tract.IVA, tract.StateBot, tract.RaiseEvent{By: tract.IVA, Event: tract.EventComplete}, tract.ReasonBot},
		{tract.SAC, tract.StateQueued, tract.RaiseEvent{By: tract.SAC, Event: tract.EventComplete, Reason: tract.ReasonOperator}, tract.ReasonOperator},
		{"one", tract.StateAssigned, tract.RaiseEvent{By: "one", Event: tract.EventUserTimeout}, tract.ReasonUserTimeout},
		{"one", tract.StateAssigned, tract.Control{Op: tract.OpPass, By: "one", To: tract.IVA}, tract.ReasonTransferToIVA},
		{tract.IVA, tract.StateBot, tract.Fire{Timer: tract.TimerAuto}, tract.ReasonAuto},
	}
	for _, tt := range tests {
		c := at(t, settings(), tt.owner, tt.state).later(time.Hour)
		c.do(tt.cmd)
		if c.thread.State != tract.StateComplete || c.thread.Reason != tt.want {
			t.Errorf("%+v: %s because %q, want %q", tt.cmd, c.thread.State, c.thread.Reason, tt.want)
		}
	}
}

// TestUserReplies: the message comes before what it causes, and the agent keeps
// the chat, at once or by the agent's own queue.
func TestUserReplies(t *testing.T) {
	tests := []struct {
		name  string
		owner tract.ReceiverID
		free  bool
		want  string
	}{
		{"free", tract.SAC, true, "conversation_state/pinned agent Mia because user_replied [sac 2]"},
		{"busy", tract.SAC, false, "conversation_state/waiting to sac team Support agent Mia because user_replied [sac 2]"},
		{"tool", "one", false, "conversation_state/pinned agent Mia because user_replied [one 2]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := at(t, settings(), tt.owner, tract.StateWaitingForUser)
			out := c.do(tract.UserMessage{Body: "back", AgentFree: tt.free})
			wrote(t, out, fmt.Sprintf("ceu: back [%s 2]", tt.owner), tt.want)
			if c.thread.Agent != mia {
				t.Errorf("agent %+v", c.thread.Agent)
			}
		})
	}
}

// TestAgents: the first message of a queued chat's owner assigns it, an
// allocation names the agent, and another allocation another.
func TestAgents(t *testing.T) {
	c := at(t, settings(), "one", tract.StateQueued)
	out := c.do(tract.Send{By: "one", Sender: tract.SenderAEU, Agent: mia, Body: "Mia here", MessageType: tract.TypeDocument})
	wrote(t, out, "conversation_state/pinned by one agent Mia [one 2]", "aeu: Mia here by one agent Mia [one 2]")
	if out.Entries[1].MessageType != tract.TypeDocument {
		t.Errorf("got %+v", out.Entries[1])
	}
	wrote(t, c.do(tract.Send{By: "one", Sender: tract.SenderAEU, Body: "and more"}), "aeu: and more by one [one 2]")
	if c.thread.Agent != mia {
		t.Errorf("agent %+v", c.thread.Agent)
	}
	ravi := tract.Agent{Name: "Ravi", Email: "ravi@acme.example"}
	wrote(t, c.do(tract.RaiseEvent{By: "one", Event: tract.EventAllocated, Agent: ravi}), "conversation_state/pinned by one agent Ravi [one 2]")
	wrote(t, c.do(tract.RaiseEvent{By: "one", Event: tract.EventWaiting}), "conversation_state/waiting_for_user by one agent Ravi [one 2]")
	if c.thread.Agent != ravi {
		t.Errorf("agent %+v", c.thread.Agent)
	}
	c.do(tract.Control{Op: tract.OpPass, By: "one", To: tract.SAC})
	if c.thread.Agent != (tract.Agent{}) {
		t.Errorf("the agent went with the chat: %+v", c.thread.Agent)
	}

	c = at(t, settings(), "one", tract.StateQueued)
	c.do(tract.Send{By: "one", Sender: tract.SenderECT, Body: "automatic"})
	c.do(tract.Send{By: "one", Sender: tract.SenderAEU, Agent: mia, Body: "a person"})
	if c.thread.Agent != mia {
		t.Errorf("the agent who wrote after the tool itself: %+v", c.thread.Agent)
	}
}

// TestFirstAnswer: the owner's first message since it gained the thread is marked, once.
func TestFirstAnswer(t *testing.T) {
	c := at(t, settings(), "one", tract.StateQueued)
	send := func(by tract.ReceiverID) bool {
		return c.later(time.Second).do(tract.Send{By: by, Sender: tract.SenderAEU, Body: "x"}).FirstAnswer
	}
	if c.do(tract.RaiseEvent{By: "one", Event: tract.EventReceived}).FirstAnswer || c.do(tract.Send{Sender: tract.SenderSystem, Body: "queue"}).FirstAnswer {
		t.Error("an acknowledgement or a system message counted as an answer")
	}
	if c.thread.UnansweredSince != noon {
		t.Errorf("unanswered since %v", c.thread.UnansweredSince)
	}
	if !send("one") || send("one") {
		t.Error("one: want the first message marked and no other")
	}
	if !c.thread.UnansweredSince.IsZero() {
		t.Errorf("answered, and yet unanswered since %v", c.thread.UnansweredSince)
	}
	c.do(tract.Control{Op: tract.OpTake, By: tract.SAC})
	if !send(tract.SAC) || send(tract.SAC) {
		t.Error("sac: want the first message marked and no other")
	}
	c.do(tract.UserMessage{Body: "?"})
	asked := c.now
	c.later(time.Minute).do(tract.UserMessage{Body: "??"})
	if c.thread.UnansweredSince != asked || c.thread.LastUserAt != c.now || c.thread.LastTalkAt != c.now {
		t.Errorf("got %+v", c.thread)
	}
}

func TestBotAnswer(t *testing.T) {
	handoff := tract.BotAnswer{Bodies: []string{"partly"}, Handoff: tract.ReasonBotBreak, HandoverBody: "a colleague", BreakBody: "sorry"}
	noAssistance := func(s *tract.Settings) { s.HumanAssistance = false }
	to := func(id tract.ReceiverID) func(*tract.Settings) {
		return func(s *tract.Settings) { s.HandoverTo = id }
	}
	tests := []struct {
		name string
		s    *tract.Settings
		cmd  tract.BotAnswer
		want []string
	}{
		{"answer", settings(), tract.BotAnswer{Bodies: []string{"one", "two"}, HandoverBody: "h", BreakBody: "b"}, []string{"iva: one by iva [iva 1]", "iva: two by iva [iva 1]"}},
		{"hand over", settings(), handoff, []string{"iva: partly by iva [iva 1]", "iva: a colleague by iva [iva 1]",
			"thread_control/passed by iva from iva to sac team Support because bot_break [sac 2]",
			"conversation_state/waiting by iva to sac team Support because bot_break [sac 2]",
			`= pass granted by "iva": "iva" to "sac", epoch 2`}},
		{"to a tool, silently", settings(to("one")), tract.BotAnswer{Handoff: tract.ReasonUserAsked}, []string{
			"thread_control/passed by iva from iva to one because user_asked [one 2]",
			"conversation_state/waiting by iva to one because user_asked [one 2]",
			`= pass granted by "iva": "iva" to "one", epoch 2`}},
		{"no assistance", settings(noAssistance), handoff, []string{"iva: partly by iva [iva 1]", "iva: sorry by iva [iva 1]"}},
		{"desk not available", settings(down(tract.SAC)), handoff, []string{"iva: partly by iva [iva 1]", "iva: sorry by iva [iva 1]"}},
		{"default team inactive", settings(func(s *tract.Settings) { s.DefaultTeam = "Closed" }), handoff, []string{"iva: partly by iva [iva 1]", "iva: sorry by iva [iva 1]"}},
		{"nobody to hand over to", settings(to("")), handoff, []string{"iva: partly by iva [iva 1]", "iva: sorry by iva [iva 1]"}},
		{"to itself", settings(to(tract.IVA)), handoff, []string{"iva: partly by iva [iva 1]", "iva: sorry by iva [iva 1]"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := at(t, tt.s, tract.IVA, tract.StateBot)
			tt.cmd.Epoch = c.thread.Epoch
			out := c.do(tt.cmd)
			wrote(t, out, tt.want...)
			if stays := c.thread.Owner == tract.IVA; out.FirstAnswer != stays || c.thread.UnansweredSince.IsZero() != stays {
				t.Errorf("owner %s, first answer %v, unanswered since %v", c.thread.Owner, out.FirstAnswer, c.thread.UnansweredSince)
			}
		})
	}
}

// TestBotLostControl: an answer from before a change of owner is dropped, also
// when the bot has the thread again.
func TestBotLostControl(t *testing.T) {
	c := at(t, settings(), tract.IVA, tract.StateBot)
	asked := c.thread.Epoch
	c.do(tract.Control{Op: tract.OpTake, By: tract.SAC})
	c.refused(tract.BotAnswer{Epoch: asked, Bodies: []string{"late"}}, tract.ErrNotOwner)
	c.do(tract.Control{Op: tract.OpRelease, By: tract.SAC})
	c.refused(tract.BotAnswer{Epoch: asked, Bodies: []string{"later"}}, tract.ErrEpochMismatch)
}

// TestSendAndPass: the message and the operation are both done or neither.
func TestSendAndPass(t *testing.T) {
	c := at(t, settings(), "one", tract.StateQueued)
	bye := tract.Send{By: "one", Sender: tract.SenderAEU, Agent: mia, Body: "bye"}
	bye.Then = &tract.Control{Op: tract.OpPass, By: "two", To: "two"} // whose operation it is, the message says
	c.refused(bye, tract.ErrReceiverNotAllowed)
	bye.Then = &tract.Control{Op: tract.OpPass, To: tract.SAC, Team: "Sales", Reason: "sales"}
	wrote(t, c.do(bye),
		"conversation_state/pinned by one agent Mia [one 2]",
		"aeu: bye by one agent Mia [one 2]",
		"thread_control/passed by one from one to sac team Sales because sales [sac 3]",
		"conversation_state/waiting by one to sac team Sales because sales [sac 3]",
		`= pass granted by "one": "one" to "sac", epoch 3`)
	out, err := c.try(bye)
	if !errors.Is(err, tract.ErrNotOwner) || len(out.Ledger) != 0 {
		t.Errorf("a message that may not be sent: %v, %+v", err, out.Ledger)
	}
}

// TestSendRefusals: the error names the owner and the epoch.
func TestSendRefusals(t *testing.T) {
	c := at(t, settings(), "one", tract.StateAssigned)
	facts := map[string]any{"thread_owner": tract.ReceiverID("one"), "control_epoch": int64(2)}
	for _, tt := range []struct {
		cmd  tract.Send
		want *tract.Error
		kind tract.Kind
		text string
	}{
		{tract.Send{By: "two", Sender: tract.SenderAEU, Epoch: 1}, tract.ErrNotOwner, tract.KindForbidden, "thread is controlled by one"},
		{tract.Send{By: tract.SAC, Sender: tract.SenderAEU}, tract.ErrNotOwner, tract.KindForbidden, "thread is controlled by one"},
		{tract.Send{By: "one", Sender: tract.SenderAEU, Epoch: 1}, tract.ErrEpochMismatch, tract.KindConflict, "control_epoch is 2, not 1; the thread is controlled by one"},
		{tract.Send{By: "one", Sender: tract.SenderAEU, Epoch: 3}, tract.ErrEpochMismatch, tract.KindConflict, "control_epoch is 2, not 3; the thread is controlled by one"},
	} {
		e := c.refused(tt.cmd, tt.want)
		if d := cmp.Diff(facts, e.Fields); d != "" || e.Kind != tt.kind || e.Error() != tt.text {
			t.Errorf("%+v: %d %q\n%s", tt.cmd, e.Kind, e, d)
		}
	}
	c.do(tract.Send{By: "one", Sender: tract.SenderAEU, Epoch: 2})
	c.do(tract.RaiseEvent{By: "one", Event: tract.EventComplete})
	e := c.refused(tract.Send{By: "one", Sender: tract.SenderAEU, Epoch: 1}, tract.ErrConversationComplete)
	if e.Kind != tract.KindConflict || e.Fields["thread_owner"] != tract.IVA || e.Fields["control_epoch"] != int64(3) {
		t.Errorf("got %d %v", e.Kind, e.Fields)
	}
}
