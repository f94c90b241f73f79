package tract_test

import (
	"testing"
	"time"

	"tract"
)

func TestAckOnNextConversation(t *testing.T) {
	c := at(t, settings(byDefault("one"), failover(tract.SAC)), "one", tract.StateComplete)
	c.do(tract.UserMessage{Body: "again"}) // the tool is dead by now
	c.later(time.Minute).do(tract.Fire{Timer: tract.TimerAck})
	c.is(tract.SAC, 2, 2, tract.StateQueued)
}

func TestAcceptJudgedByOfferedTeam(t *testing.T) {
	c := at(t, settings(func(s *tract.Settings) { s.DefaultTeam = "Closed" }), "one", tract.StateAssigned)
	c.do(tract.Control{Op: tract.OpOffer, By: "one", To: tract.SAC, Team: "Sales"})
	c.do(tract.Control{Op: tract.OpAccept, By: tract.SAC})
	c.is(tract.SAC, 3, 1, tract.StateQueued)
}

func TestAcceptIntoTeamGoneInactive(t *testing.T) {
	c := at(t, settings(), "one", tract.StateAssigned)
	c.do(tract.Control{Op: tract.OpOffer, By: "one", To: tract.SAC, Team: "Sales"})
	c.s = settings(func(s *tract.Settings) { s.Teams["Sales"] = false })
	c.refused(tract.Control{Op: tract.OpAccept, By: tract.SAC}, tract.ErrReceiverUnavailable)
}

func TestAutoSwitchedOff(t *testing.T) {
	c := at(t, settings(), tract.IVA, tract.StateBot)
	c.s = settings(func(s *tract.Settings) { s.AutoComplete = 0 })
	c.later(time.Hour).do(tract.Fire{Timer: tract.TimerAuto})
	c.is(tract.IVA, 1, 1, tract.StateBot)
}

func TestReleaseSwitchedOff(t *testing.T) {
	c := at(t, settings(func(s *tract.Settings) { s.ReleaseAfter = time.Minute }), "one", tract.StateAssigned)
	c.s = settings() // release_after: 0 = never
	c.later(time.Hour).do(tract.Fire{Timer: tract.TimerRelease})
	c.is("one", 2, 1, tract.StateAssigned)
}

func TestAckSwitchedOff(t *testing.T) {
	c := at(t, settings(failover(tract.SAC)), "one", tract.StateQueued)
	c.s = settings(failover(tract.SAC), func(s *tract.Settings) { s.AckTimeout = 0 })
	c.later(time.Hour).do(tract.Fire{Timer: tract.TimerAck})
	c.is("one", 2, 1, tract.StateQueued)
}

func TestCountdownYanksAssigned(t *testing.T) {
	c := at(t, settings(), tract.SAC, tract.StateQueued)
	c.do(tract.MoveLater{To: tract.SAC, Team: "Sales", Delay: 10 * time.Second})
	c.later(2 * time.Second).do(tract.RaiseEvent{By: tract.SAC, Event: tract.EventAllocated, Agent: mia})
	c.later(8 * time.Second).do(tract.Fire{Timer: tract.TimerCountdown})
	c.is(tract.SAC, 2, 1, tract.StateAssigned)
}

func TestAcceptAfterExpiry(t *testing.T) {
	c := at(t, settings(), "trusted", tract.StateAssigned)
	c.do(tract.Control{Op: tract.OpOffer, By: "trusted", To: "one"})
	c.later(2*time.Minute).refused(tract.Control{Op: tract.OpAccept, By: "one"}, tract.ErrNoOffer)
}

func TestRequestBlockedByExpired(t *testing.T) {
	c := at(t, settings(), "one", tract.StateAssigned)
	c.do(tract.Control{Op: tract.OpRequest, By: "trusted"})
	c.later(2 * time.Minute).do(tract.Control{Op: tract.OpRequest, By: tract.SAC})
}

func TestOrphanNoEvent(t *testing.T) {
	out := fresh(t, settings(byDefault(""))).do(tract.UserMessage{Body: "?"})
	if out.Entries[0].Event != tract.EventWaiting {
		t.Fatalf("no event for none → queued: %v", lines(out))
	}
}

func TestLoopIdleReleaseLost(t *testing.T) {
	c := at(t, settings(func(s *tract.Settings) { s.ReleaseAfter = 10 * time.Second }), tract.IVA, tract.StateBot)
	for i := 1; i < 20; i++ {
		c.do(tract.Control{Op: tract.OpTake, By: []tract.ReceiverID{tract.IVA, "trusted"}[i%2]})
	}
	c.later(10 * time.Second)
	out := c.do(tract.Fire{Timer: tract.TimerRelease})
	if c.thread.Owner == "trusted" && (c.thread.ReleaseDue.IsZero() || out.Alarm == "") {
		t.Fatalf("owner %s keeps it for ever: release timer %v, alarm %q", c.thread.Owner, c.thread.ReleaseDue, out.Alarm)
	}
}

func TestLoopBotNoAlarm(t *testing.T) {
	c := at(t, settings(), tract.IVA, tract.StateBot)
	for i := 1; i < 18; i++ {
		c.do(tract.Control{Op: tract.OpTake, By: []tract.ReceiverID{tract.IVA, "trusted"}[i%2]})
	}
	c.do(tract.Control{Op: tract.OpTake, By: tract.SAC})
	c.do(tract.Control{Op: tract.OpTake, By: tract.IVA}) // the 20th change
	out := c.do(tract.BotAnswer{Handoff: tract.ReasonBotBreak})
	if c.thread.Owner == tract.IVA && out.Alarm == "" {
		t.Fatal("the hub stopped moving and nobody is told")
	}
}

func TestUnknownEventAccepted(t *testing.T) {
	c := at(t, settings(failover(tract.SAC)), "one", tract.StateQueued)
	c.refused(tract.RaiseEvent{By: "one", Event: tract.EventPinned}, tract.ErrInvalidTransition)
}

func TestHubOpAccepted(t *testing.T) {
	c := at(t, settings(), "one", tract.StateQueued)
	c.refused(tract.Control{Op: tract.OpReset, By: tract.SAC}, tract.ErrNotSupported)
}

func TestNobodySpeaks(t *testing.T) {
	c := fresh(t, settings(byDefault("")))
	c.do(tract.UserMessage{Body: "?"})
	c.refused(tract.Send{Sender: tract.SenderAEU, Body: "ghost"}, tract.ErrNotOwner)
}

func TestDeskDisabledIsUnavailable(t *testing.T) {
	c := at(t, settings(), "one", tract.StateQueued)
	c.s = settings(without(tract.SAC))
	c.refused(tract.Control{Op: tract.OpPass, By: "one", To: tract.SAC}, tract.ErrReceiverUnavailable)
}

func TestStaleBotAnswer(t *testing.T) {
	c := at(t, settings(), tract.IVA, tract.StateBot)
	epoch := c.thread.Epoch
	c.do(tract.RaiseEvent{By: tract.IVA, Event: tract.EventComplete, Reason: tract.ReasonOperator})
	c.do(tract.UserMessage{Body: "other question"})
	c.refused(tract.BotAnswer{Epoch: epoch, Conversation: 1, Bodies: []string{"to conversation 1"}}, tract.ErrConversationComplete)
}

func TestDeclineTellsOwnerNotOfferer(t *testing.T) {
	c := at(t, settings(), "one", tract.StateAssigned)
	c.do(tract.Control{Op: tract.OpOffer, By: tract.SAC, To: "two"})
	out := c.do(tract.Control{Op: tract.OpDecline, By: "two"})
	if e := out.Entries[0]; e.To != tract.SAC || e.Pending != "" {
		t.Fatalf("declined: to %s, pending %q", e.To, e.Pending)
	}
}

func TestSystemBeforeBegin(t *testing.T) {
	out, err := tract.Decide(tract.Thread{}, settings(), tract.Send{Sender: tract.SenderSystem, Body: "x"}, noon)
	if err == nil {
		t.Fatalf("entry of conversation %d", out.Entries[0].Conversation)
	}
}

func TestSilentBotAnswer(t *testing.T) {
	c := at(t, settings(down(tract.SAC)), tract.IVA, tract.StateBot)
	if out := c.do(tract.BotAnswer{Handoff: tract.ReasonBotBreak}); out.FirstAnswer {
		t.Fatal("nothing was said, and yet the first answer")
	}
}

func TestForceAccept(t *testing.T) {
	c := at(t, settings(), "trusted", tract.StateAssigned)
	c.do(tract.Control{Op: tract.OpOffer, By: "trusted", To: tract.SAC, Team: "Closed", Force: true})
	c.refused(tract.Control{Op: tract.OpAccept, By: tract.SAC}, tract.ErrReceiverUnavailable)
}

func TestReleaseNoDefault(t *testing.T) {
	c := at(t, settings(), "one", tract.StateAssigned)
	c.s = settings(byDefault(""))
	c.refused(tract.Control{Op: tract.OpRelease, By: "one"}, tract.ErrReceiverUnavailable)
}

func TestRefusedTakeTo(t *testing.T) {
	c := at(t, settings(), tract.SAC, tract.StateAssigned)
	out, _ := c.try(tract.Control{Op: tract.OpTake, By: "one"})
	if out.Ledger[0].To != "one" {
		t.Fatalf("to %q", out.Ledger[0].To)
	}
}

func TestReassignWithinTheDesk(t *testing.T) {
	c := at(t, settings(), tract.SAC, tract.StateAssigned)
	c.do(tract.Reassign{Team: "Sales"})
	c.is(tract.SAC, c.thread.Epoch, 1, tract.StateQueued)
	if c.thread.Team != "Sales" || c.thread.Agent.Name != "" {
		t.Fatalf("team %q, agent %q", c.thread.Team, c.thread.Agent.Name)
	}
	c.refused(tract.Reassign{Team: "Closed"}, tract.ErrReceiverUnavailable)
	at(t, settings(), "one", tract.StateAssigned).refused(tract.Reassign{Team: "Sales"}, tract.ErrNotOwner)
}

func TestCloseByAnOperator(t *testing.T) {
	c := at(t, settings(), "one", tract.StateAssigned)
	out := c.do(tract.Close{Metadata: map[string]any{"comment": "spam"}})
	if e := out.Entries[0]; e.Event != tract.EventComplete || e.By != "" || e.Reason != tract.ReasonOperator || c.thread.State != tract.StateComplete {
		t.Fatalf("%+v, state %s", e, c.thread.State)
	}
	c.refused(tract.Close{}, tract.ErrConversationComplete)
}
