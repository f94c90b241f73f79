package tract

import "time"

// Refusals of the state machine. The texts are completed where they are raised.
var (
	ErrNotOwner             = &Error{Kind: KindForbidden, Code: "not_owner", Msg: "the thread is controlled by another receiver"}
	ErrEpochMismatch        = &Error{Kind: KindConflict, Code: "epoch_mismatch", Msg: "the control epoch is another by now"}
	ErrConversationComplete = &Error{Kind: KindConflict, Code: "conversation_complete", Msg: "the conversation is complete"}
	ErrInvalidTransition    = &Error{Kind: KindConflict, Code: "invalid_transition", Msg: "the conversation's state does not allow this"}
	ErrNotSupported         = &Error{Kind: KindConflict, Code: "not_supported", Msg: "this receiver may not do this"}
	ErrUnknownReceiver      = &Error{Kind: KindConflict, Code: "unknown_receiver", Msg: "no such receiver on this thread"}
	ErrAlreadyOwner         = &Error{Kind: KindConflict, Code: "already_owner", Msg: "the receiver has the thread already"}
	ErrReceiverNotAllowed   = &Error{Kind: KindConflict, Code: "receiver_not_allowed", Msg: "control may not be given to this receiver"}
	ErrReceiverUnavailable  = &Error{Kind: KindConflict, Code: "receiver_unavailable", Msg: "the receiver is not available"}
	ErrNoOffer              = &Error{Kind: KindConflict, Code: "no_offer", Msg: "there is no open offer to this receiver"}
	ErrRequestPending       = &Error{Kind: KindConflict, Code: "request_pending", Msg: "another offer or request is open"}
	ErrConflict             = &Error{Kind: KindConflict, Code: "conflict", Msg: "the thread changed meanwhile"}
)

// maxChanges is how many changes of owner a thread may see in a minute before
// the hub stops moving it by itself and raises an alarm.
const maxChanges = 20

// Decide applies one command to a thread. It gives the new state with what is to
// be written and sent, or a refusal that changes nothing (its Outcome may still
// hold a line for the ledger). It has no clock: now is the time of the commit.
func Decide(t Thread, s *Settings, c Command, now time.Time) (Outcome, error) {
	m := &machine{t: t, s: s, now: now, out: Outcome{BotTurn: -1}}
	err := m.apply(c)
	if err != nil {
		return Outcome{Thread: t, BotTurn: -1, Ledger: m.refused}, err
	}
	m.tidy()
	m.out.Thread = m.t
	return m.out, nil
}

type machine struct {
	t       Thread
	s       *Settings
	now     time.Time
	out     Outcome
	refused []LedgerEntry
}

func (m *machine) apply(c Command) error {
	switch c := c.(type) {
	case UserMessage:
		m.userMessage(c)
	case Send:
		return m.send(c)
	case RaiseEvent:
		return m.raise(c)
	case Control:
		return m.control(c)
	case BotAnswer:
		return m.botAnswer(c)
	case MoveLater:
		return m.moveLater(c)
	case Reassign:
		return m.reassign(c)
	case Close:
		return m.close(c)
	case Reset:
		m.reset(c)
	case Failover:
		m.failover(c.From, c.Reason)
	case Adopt:
		m.adopt()
	case Fire:
		m.fire(c)
	}
	return nil
}

// tidy keeps the timers that belong to a state in step with it.
func (m *machine) tidy() {
	silent := m.t.State == StateBot || m.t.State == StateWaitingForUser
	switch {
	case !silent || m.s.AutoComplete == 0:
		m.t.AutoDue = time.Time{}
	case m.t.AutoDue.IsZero():
		m.t.AutoDue = m.now.Add(m.s.AutoComplete)
	}
	if !m.t.State.Open() || m.s.AckTimeout == 0 {
		m.t.AckDue = time.Time{}
	}
	if !m.t.State.Open() || m.s.ReleaseAfter == 0 {
		m.t.ReleaseDue = time.Time{}
	}
}

// say appends to the log what is seen from the present state.
func (m *machine) say(e Entry) int {
	e.Conversation, e.Owner, e.Epoch = m.t.Conversation, m.t.Owner, m.t.Epoch
	if p := m.t.Pending; p != nil && p.Type == OpOffer {
		e.Pending = p.Receiver
	}
	m.out.Entries = append(m.out.Entries, e)
	return len(m.out.Entries) - 1
}

// change is one change of owner.
type change struct {
	to       ReceiverID
	op       Op
	event    Event // "" = none is announced
	by       ReceiverID
	reason   string
	team     string
	metadata map[string]any
}

// move gives the thread to another owner. Everything that was open about the
// old one ends.
func (m *machine) move(c change) {
	t := &m.t
	from := t.Owner
	t.Owner = c.to
	t.Epoch++
	t.GainedAt, t.Answered, t.LastOwnerAt = m.now, false, m.now
	t.Pending, t.Countdown, t.Agent, t.Team = nil, nil, Agent{}, c.team
	m.watch(c.by)
	if m.now.Sub(t.ChangesSince) >= time.Minute {
		t.ChangesSince, t.Changes = m.now, 0
	}
	if t.Changes++; t.Changes == maxChanges+1 {
		m.out.Alarm = "control_loop"
	}
	m.out.Ledger = append(m.out.Ledger, LedgerEntry{Op: c.op, Requester: c.by, From: from, To: c.to, Granted: true, Reason: c.reason, Metadata: c.metadata, Epoch: t.Epoch})
	m.out.HandedTo = c.to
	if c.event != "" {
		m.say(Entry{By: c.by, Event: c.event, Op: c.op, Reason: c.reason, From: from, To: c.to, Team: c.team, Metadata: c.metadata})
	}
}

// watch arms the timers of a tool that begins with a thread.
func (m *machine) watch(by ReceiverID) {
	t := &m.t
	t.AckDue, t.ReleaseDue = time.Time{}, time.Time{}
	if t.Owner == "" || t.Owner.Primary() {
		return
	}
	if m.s.AckTimeout > 0 && by != t.Owner { // who asked for it needs no waking
		t.AckDue = m.now.Add(m.s.AckTimeout)
	}
	if m.s.ReleaseAfter > 0 {
		t.ReleaseDue = m.now.Add(m.s.ReleaseAfter)
	}
}

// looping says that the hub must not move this thread by itself any more.
func (m *machine) looping() bool {
	if m.t.Changes < maxChanges || m.now.Sub(m.t.ChangesSince) >= time.Minute {
		return false
	}
	m.out.Alarm = "control_loop"
	return true
}

// place puts the conversation where its owner begins: with the bot, or queued.
func (m *machine) place(by ReceiverID, reason string) {
	if m.t.Owner == IVA {
		m.t.State = StateBot
		m.say(Entry{By: by, Event: EventBot, Reason: reason})
		return
	}
	m.t.State = StateQueued
	m.say(Entry{By: by, Event: EventWaiting, Reason: reason, To: m.t.Owner, Team: m.t.Team})
}

// teamFor is the team whose queue the desk puts a chat into.
func (m *machine) teamFor(to ReceiverID, asked string) string {
	if asked == "" && to == SAC {
		return m.s.DefaultTeam
	}
	return asked
}

func (m *machine) userMessage(c UserMessage) {
	if !m.t.State.Open() {
		m.begin()
	} else if m.t.Owner == "" {
		m.adopt()
	}
	i := m.say(Entry{Sender: SenderCEU, Body: c.Body, MessageType: c.MessageType})
	t := &m.t
	t.LastUserAt, t.LastTalkAt = m.now, m.now
	if t.UnansweredSince.IsZero() {
		t.UnansweredSince = m.now
	}
	switch {
	case t.Owner == "":
		m.out.Orphaned, m.out.Alarm = true, "no_default_receiver"
	case t.Owner == IVA:
		m.out.BotTurn = i
	case t.State == StateWaitingForUser && (c.AgentFree || !t.Owner.Primary()):
		t.State = StateAssigned
		m.say(Entry{Event: EventPinned, Agent: t.Agent, Reason: "user_replied"})
	case t.State == StateWaitingForUser:
		t.State = StateQueued
		m.say(Entry{Event: EventWaiting, Agent: t.Agent, Reason: "user_replied", To: t.Owner, Team: t.Team})
	}
}

// begin starts the next conversation with the default receiver, or with the
// bot where it was just given the thread.
func (m *machine) begin() {
	t := &m.t
	to := m.s.Default
	if iva, ok := m.s.Receiver(IVA); ok && iva.Available && t.Owner == IVA && t.Reason == ReasonTransferToIVA {
		to = IVA
	}
	t.Conversation++
	t.Reason, t.FailoverSaid, t.UnansweredSince = "", false, time.Time{}
	team := m.teamFor(to, "")
	if to != t.Owner {
		c := change{to: to, op: OpBegin, reason: "new_conversation", team: team}
		if t.Owner != "" {
			c.event = EventReset
		}
		m.move(c)
	} else {
		t.GainedAt, t.Answered, t.LastOwnerAt, t.Team, t.Agent = m.now, false, m.now, team, Agent{}
		m.watch("")
	}
	if to == "" {
		t.State = StateQueued
		m.say(Entry{Event: EventWaiting, Reason: "no_default_receiver"})
		return
	}
	m.place("", "new_conversation")
}

// adopt gives a thread without a receiver, or whose owner is none of the
// business' receivers any more, to the default one.
func (m *machine) adopt() {
	if _, attached := m.s.Receiver(m.t.Owner); attached || !m.t.State.Open() || m.s.Default == "" {
		return
	}
	m.move(change{to: m.s.Default, op: OpBegin, event: EventReset, reason: "default_receiver_found", team: m.teamFor(m.s.Default, "")})
	m.place("", "default_receiver_found")
}

func (m *machine) notOwner() error {
	return ErrNotOwner.With("thread is controlled by %s", m.t.Owner).Fact("thread_owner", m.t.Owner).Fact("control_epoch", m.t.Epoch)
}

// mayAct is what every act of an owner needs: an open conversation, ownership,
// and the epoch it believes in.
func (m *machine) mayAct(by ReceiverID, epoch int64) error {
	switch {
	case !m.t.State.Open():
		return ErrConversationComplete.With("conversation %d is complete; the next message of the user begins another", m.t.Conversation).Fact("thread_owner", m.t.Owner).Fact("control_epoch", m.t.Epoch)
	case by == "" || by != m.t.Owner:
		return m.notOwner()
	case epoch != 0 && epoch != m.t.Epoch:
		return m.epochMismatch(epoch)
	}
	return nil
}

func (m *machine) epochMismatch(believed int64) error {
	return ErrEpochMismatch.With("control_epoch is %d, not %d; the thread is controlled by %s", m.t.Epoch, believed, m.t.Owner).Fact("thread_owner", m.t.Owner).Fact("control_epoch", m.t.Epoch)
}

func (m *machine) send(c Send) error {
	if c.Sender == SenderSystem {
		if m.t.Conversation == 0 {
			return ErrConversationComplete.With("there is no conversation yet")
		}
		m.say(Entry{Sender: SenderSystem, Body: c.Body, MessageType: c.MessageType})
		return nil
	}
	if err := m.mayAct(c.By, c.Epoch); err != nil {
		return err
	}
	if m.t.State == StateQueued {
		m.assign(c.By, c.Agent)
	} else if m.t.Agent.Name == "" {
		m.t.Agent = c.Agent
	}
	m.say(Entry{By: c.By, Sender: c.Sender, Agent: c.Agent, Body: c.Body, MessageType: c.MessageType})
	m.answered()
	if c.Then == nil {
		return nil
	}
	then := *c.Then
	then.By = c.By
	return m.control(then)
}

func (m *machine) assign(by ReceiverID, a Agent) {
	if m.t.State == StateQueued {
		m.t.Countdown = nil // taken by someone
	}
	m.t.State, m.t.Agent = StateAssigned, a
	m.say(Entry{By: by, Event: EventPinned, Agent: a, Team: m.t.Team})
}

// answered notes a message of the owner to the user.
func (m *machine) answered() {
	t := &m.t
	t.LastTalkAt, t.LastOwnerAt, t.UnansweredSince, t.AckDue = m.now, m.now, time.Time{}, time.Time{}
	if !t.Answered {
		t.Answered, m.out.FirstAnswer = true, true
	}
}

func (m *machine) raise(c RaiseEvent) error {
	if !m.t.State.Open() {
		if c.Event == EventComplete {
			return nil // said again: nothing changes
		}
		return m.mayAct(c.By, 0)
	}
	if err := m.mayAct(c.By, 0); err != nil {
		return err
	}
	m.t.LastOwnerAt, m.t.AckDue = m.now, time.Time{}
	switch c.Event {
	case EventComplete:
		reason := c.Reason
		if reason == "" {
			reason = completedBy(c.By)
		}
		m.complete(c.By, reason, c.Metadata)
	case EventUserTimeout:
		m.complete(c.By, ReasonUserTimeout, c.Metadata)
	case EventReceived:
		m.say(Entry{By: c.By, Event: EventReceived, Metadata: c.Metadata})
	case EventAllocated:
		if m.t.State != StateQueued && m.t.State != StateAssigned {
			return m.notFrom(c.Event)
		}
		m.assign(c.By, c.Agent)
	case EventWaiting:
		if m.t.State != StateAssigned {
			return m.notFrom(c.Event)
		}
		m.t.State = StateWaitingForUser
		m.say(Entry{By: c.By, Event: EventWaitingForUser, Agent: m.t.Agent, Metadata: c.Metadata})
	default:
		return m.notFrom(c.Event)
	}
	return nil
}

func (m *machine) notFrom(e Event) error {
	return ErrInvalidTransition.With("%s is not possible while the conversation is %s", e, m.t.State).Fact("state", m.t.State)
}

func completedBy(r ReceiverID) string {
	switch r {
	case IVA:
		return ReasonBot
	case SAC:
		return ReasonAgent
	}
	return ReasonTool
}

// complete ends the conversation and resets control; after a transfer to the
// bot the bot keeps the thread for the next conversation.
func (m *machine) complete(by ReceiverID, reason string, metadata map[string]any) {
	t := &m.t
	m.say(Entry{By: by, Event: EventComplete, Reason: reason, Agent: t.Agent, Team: t.Team, Metadata: metadata})
	t.State, t.Reason = StateComplete, reason
	t.Pending, t.Countdown, t.Agent, t.Team, t.UnansweredSince = nil, nil, Agent{}, "", time.Time{}
	if reason != ReasonTransferToIVA && m.s.Default != "" && m.s.Default != t.Owner {
		m.move(change{to: m.s.Default, op: OpReset, event: EventReset, by: by, reason: "complete"})
		m.out.HandedTo = "" // nothing to hand over
	}
}
