package tract

import "time"

// control judges and carries out one thread control operation. A refusal is
// noted for the ledger.
func (m *machine) control(c Control) error {
	if p := m.t.Pending; p != nil && !p.ExpiresAt.After(m.now) {
		m.expire("timeout") // its timer is late
	}
	err := m.judge(c)
	if err == nil {
		err = m.operate(c)
	}
	if err != nil {
		m.refused = []LedgerEntry{{Op: c.Op, Requester: c.By, From: m.t.Owner, To: m.target(c), Code: CodeOf(err), Reason: c.Reason, Metadata: c.Metadata, Epoch: m.t.Epoch}}
	}
	return err
}

// judge refuses in the documented order; what is particular to an operation
// comes in operate.
func (m *machine) judge(c Control) error {
	self, known := m.s.Receiver(c.By)
	facts := func(e *Error) error { return e.Fact("thread_owner", m.t.Owner).Fact("control_epoch", m.t.Epoch) }
	switch {
	case !known:
		return facts(ErrUnknownReceiver.With("%s is not attached to this business", c.By))
	case !c.Op.Valid():
		return facts(ErrNotSupported.With("%s is no operation of a receiver", c.Op))
	case c.Op == OpTake && !c.By.Primary() && !self.Permissions.Take:
		return facts(ErrNotSupported.With("%s has no permission to take control", c.By))
	case c.Op == OpRequest && !c.By.Primary() && !self.Permissions.Request:
		return facts(ErrNotSupported.With("%s has no permission to request control", c.By))
	case !m.t.State.Open():
		return facts(ErrConversationComplete.With("conversation %d is complete", m.t.Conversation))
	case m.needsOwner(c) && c.By != m.t.Owner:
		return m.notOwner()
	case c.Epoch != 0 && c.Epoch != m.t.Epoch:
		return m.epochMismatch(c.Epoch)
	}
	return m.judgeTarget(c, facts)
}

// needsOwner: a primary receiver may give away what it does not have.
func (m *machine) needsOwner(c Control) bool {
	switch c.Op {
	case OpPass, OpOffer:
		return !c.By.Primary()
	case OpRelease:
		return true
	}
	return false
}

// target is who would have the thread after the operation.
func (m *machine) target(c Control) ReceiverID {
	switch c.Op {
	case OpPass, OpOffer:
		return c.To
	case OpRelease:
		return m.s.Default
	}
	return c.By
}

func (m *machine) judgeTarget(c Control, facts func(*Error) error) error {
	if c.Op == OpAccept || c.Op == OpDecline {
		p := m.t.Pending
		if p == nil || p.Type != OpOffer || p.Receiver != c.By {
			return facts(ErrNoOffer.With("there is no open offer to %s", c.By))
		}
		if c.Op == OpDecline {
			return nil
		}
		c.Team = p.Team
	}
	to := m.target(c)
	r, known := m.s.Receiver(to)
	self, _ := m.s.Receiver(c.By)
	switch {
	case c.Op == OpRelease && to == "":
		return facts(ErrReceiverUnavailable.With("the business has no default receiver"))
	case !known && to != SAC:
		return facts(ErrUnknownReceiver.With("there is no receiver %q on this thread", to))
	case !known:
		return facts(ErrReceiverUnavailable.With("sac is not available: the desk is disabled"))
	case to == m.t.Owner:
		return facts(ErrAlreadyOwner.With("%s has the thread already", to))
	case (c.Op == OpTake || c.Op == OpRequest) && c.To != "" && c.To != c.By:
		return facts(ErrReceiverNotAllowed.With("%s can %s control for itself only", c.By, c.Op))
	case (c.Op == OpPass || c.Op == OpOffer) && !c.By.Primary() && self.Permissions.PassTo != "any" && !to.Primary() && to != m.s.Default:
		return facts(ErrReceiverNotAllowed.With("%s may give control to sac, iva or the default receiver only", c.By))
	case !c.Force && !r.Available:
		return facts(ErrReceiverUnavailable.With("%s is not available: %s", to, r.Why))
	case !c.Force && to == SAC && c.Op != OpTake && !m.teamOpen(c.Team):
		return facts(ErrReceiverUnavailable.With("the desk has no active team %q", m.teamFor(SAC, c.Team)))
	}
	return nil
}

// teamOpen: a chat can only go into the queue of an active team; without a name
// and without a default team any will do.
func (m *machine) teamOpen(asked string) bool {
	team := m.teamFor(SAC, asked)
	return team == "" || m.s.Teams[team]
}

func (m *machine) operate(c Control) error {
	m.touch(c.By)
	switch c.Op {
	case OpPass:
		if c.To == IVA {
			m.transferToIVA(c)
			return nil
		}
		m.hand(c, c.To, EventPassed)
	case OpTake:
		m.hand(c, c.By, EventTaken)
	case OpRelease:
		m.hand(c, m.s.Default, EventReleased)
	case OpAccept:
		c.Team = m.t.Pending.Team
		m.hand(c, c.By, EventAccepted)
	case OpDecline:
		offerer := m.t.Pending.By
		m.t.Pending = nil
		m.note(c, EventDeclined, offerer)
	case OpRequest:
		if m.t.Pending != nil {
			return ErrRequestPending.With("an open %s to %s must end first", m.t.Pending.Type, m.t.Pending.Receiver)
		}
		m.t.Pending = &Pending{Type: OpRequest, Receiver: c.By, By: c.By, ExpiresAt: m.now.Add(m.s.PendingFor)}
		m.note(c, EventRequested, c.By)
	case OpOffer:
		m.offer(c)
	}
	return nil
}

// touch notes a sign of life of the owner.
func (m *machine) touch(by ReceiverID) {
	if by == m.t.Owner {
		m.t.LastOwnerAt = m.now
	}
}

func (m *machine) hand(c Control, to ReceiverID, e Event) {
	m.move(change{to: to, op: c.Op, event: e, by: c.By, reason: c.Reason, team: m.teamFor(to, c.Team), metadata: c.Metadata})
	reason := c.Reason
	if reason == "" {
		reason = string(c.Op)
	}
	m.place(c.By, reason)
}

// note records an operation that moves nothing.
func (m *machine) note(c Control, e Event, to ReceiverID) {
	m.out.Ledger = append(m.out.Ledger, LedgerEntry{Op: c.Op, Requester: c.By, From: m.t.Owner, To: to, Granted: true, Reason: c.Reason, Metadata: c.Metadata, Epoch: m.t.Epoch})
	m.say(Entry{By: c.By, Event: e, Op: c.Op, Reason: c.Reason, From: m.t.Owner, To: to, Metadata: c.Metadata})
}

// offer replaces what was open. The bot needs no asking: it has the thread at once.
func (m *machine) offer(c Control) {
	if c.To == IVA {
		m.hand(c, IVA, EventAccepted)
		return
	}
	if m.t.Pending != nil {
		m.expire("superseded")
	}
	m.t.Pending = &Pending{Type: OpOffer, Receiver: c.To, By: c.By, Team: c.Team, ExpiresAt: m.now.Add(m.s.PendingFor)}
	m.note(c, EventOffered, c.To)
}

func (m *machine) expire(reason string) {
	p := m.t.Pending
	m.t.Pending = nil
	m.out.Ledger = append(m.out.Ledger, LedgerEntry{Op: OpExpire, From: p.By, To: p.Receiver, Granted: true, Reason: reason, Epoch: m.t.Epoch})
	m.say(Entry{Event: EventExpired, Op: p.Type, Reason: reason, From: p.By, To: p.Receiver})
}

// transferToIVA completes the conversation, so that the bot meets the user's
// next message with a new one.
func (m *machine) transferToIVA(c Control) {
	m.move(change{to: IVA, op: c.Op, event: EventPassed, by: c.By, reason: c.Reason, metadata: c.Metadata})
	m.complete(c.By, ReasonTransferToIVA, nil)
	m.out.HandedTo = ""
}

func (m *machine) botAnswer(c BotAnswer) error {
	if err := m.mayAct(IVA, c.Epoch); err != nil {
		return err
	}
	if c.Conversation != 0 && c.Conversation != m.t.Conversation {
		return ErrConversationComplete.With("the question was asked in conversation %d; it is %d now", c.Conversation, m.t.Conversation)
	}
	for i, body := range c.Bodies {
		mark := ""
		if i == len(c.Bodies)-1 {
			mark = c.Mark
		}
		m.say(botEntry(body, mark))
	}
	last, mark := "", ""
	to, ok := m.s.Receiver(m.s.HandoverTo)
	handOver := c.Handoff != "" && m.s.HumanAssistance && ok && to.Available && to.ID != IVA && (to.ID != SAC || m.teamOpen("")) && !m.looping()
	switch {
	case handOver:
		last = c.HandoverBody
	case c.Handoff != "":
		last, mark = c.BreakBody, MarkMisunderstood
	}
	if last != "" {
		m.say(botEntry(last, mark))
	}
	if !handOver {
		if last != "" || len(c.Bodies) > 0 {
			m.answered()
		}
		return nil
	}
	m.move(change{to: to.ID, op: OpPass, event: EventPassed, by: IVA, reason: c.Handoff, team: m.teamFor(to.ID, "")})
	m.place(IVA, c.Handoff)
	return nil
}

func botEntry(body, mark string) Entry {
	e := Entry{By: IVA, Sender: SenderIVA, Body: body}
	if mark != "" {
		e.Metadata = map[string]any{MarkKey: mark}
	}
	return e
}

func (m *machine) moveLater(c MoveLater) error {
	if !m.t.State.Open() {
		return m.mayAct(m.t.Owner, 0)
	}
	m.t.Countdown = &Countdown{DueAt: m.now.Add(c.Delay), To: c.To, Team: c.Team}
	return nil
}

// reassign puts a chat of the desk into another queue.
func (m *machine) reassign(c Reassign) error {
	if err := m.mayAct(SAC, 0); err != nil {
		return err
	}
	if !m.teamOpen(c.Team) {
		return ErrReceiverUnavailable.With("the desk has no active team %q", c.Team)
	}
	m.t.Team, m.t.Agent, m.t.Countdown = m.teamFor(SAC, c.Team), Agent{}, nil
	m.place(SAC, "reassigned")
	return nil
}

// close completes a conversation for an operator, whoever has it.
func (m *machine) close(c Close) error {
	if !m.t.State.Open() {
		return ErrConversationComplete.With("conversation %d is complete", m.t.Conversation)
	}
	m.complete("", ReasonOperator, c.Metadata)
	return nil
}

func (m *machine) reset(c Reset) {
	to := m.s.Default
	if to == m.t.Owner || m.t.Conversation == 0 {
		return
	}
	m.move(change{to: to, op: OpReset, event: EventReset, reason: c.Reason, team: m.teamFor(to, "")})
	switch {
	case !m.t.State.Open():
		m.out.HandedTo = ""
	case to == "":
		m.t.State, m.out.Alarm = StateQueued, "no_default_receiver"
	default:
		m.place("", c.Reason)
	}
}

// failover moves the thread from a dead owner to the next available receiver of
// the list.
func (m *machine) failover(from ReceiverID, reason string) {
	if m.t.Owner != from || !m.t.State.Open() || len(m.s.Failover) == 0 {
		return
	}
	to, ok := m.nextInLine(from)
	if !ok {
		m.out.Alarm = "failover_exhausted"
		return
	}
	if m.looping() {
		if m.s.AckTimeout > 0 && !from.Primary() {
			m.t.AckDue = m.now.Add(m.s.AckTimeout)
		}
		return
	}
	m.move(change{to: to, op: OpFailover, event: EventFailedOver, reason: reason, team: m.teamFor(to, "")})
	m.place("", ReasonFailover)
	if m.s.FailoverMessage != "" && !m.t.FailoverSaid {
		m.t.FailoverSaid = true
		m.say(Entry{Sender: SenderSystem, Text: m.s.FailoverMessage})
	}
}

func (m *machine) nextInLine(owner ReceiverID) (ReceiverID, bool) {
	list := m.s.Failover
	for i, id := range list {
		if id == owner {
			list = list[i+1:]
			break
		}
	}
	for _, id := range list {
		if r, ok := m.s.Receiver(id); ok && id != owner && r.Available {
			return id, true
		}
	}
	return "", false
}

// fire looks again at what a timer was set for: activity does not move timers.
func (m *machine) fire(c Fire) {
	m.tidy() // what was switched off meanwhile
	t := &m.t
	due := t.Timers()[c.Timer]
	if due.IsZero() || due.After(m.now) {
		return
	}
	switch c.Timer {
	case TimerAck:
		t.AckDue = time.Time{}
		if !c.Heard {
			m.failover(t.Owner, "ack_timeout")
		}
	case TimerPending:
		m.expire("timeout")
	case TimerCountdown:
		m.countDown(*t.Countdown)
	case TimerAuto:
		t.AutoDue = time.Time{}
		if again := t.LastTalkAt.Add(m.s.AutoComplete); again.After(m.now) {
			t.AutoDue = again
		} else {
			m.complete("", ReasonAuto, nil)
		}
	case TimerRelease:
		t.ReleaseDue = time.Time{}
		if again := t.LastOwnerAt.Add(m.s.ReleaseAfter); again.After(m.now) {
			t.ReleaseDue = again
		} else if to := m.s.Default; to == "" || to == t.Owner {
			return
		} else if m.looping() {
			t.ReleaseDue = m.now.Add(time.Minute)
		} else {
			m.move(change{to: to, op: OpRelease, event: EventReleased, reason: "idle", team: m.teamFor(to, "")})
			m.place("", "idle")
		}
	}
}

func (m *machine) countDown(c Countdown) {
	t := &m.t
	t.Countdown = nil
	r, ok := m.s.Receiver(c.To)
	switch {
	case !ok || !r.Available:
		m.out.Alarm = "countdown_receiver_unavailable"
	case t.Owner == c.To:
		t.Team, t.Agent = m.teamFor(c.To, c.Team), Agent{}
		m.place("", ReasonAPI)
	default:
		m.move(change{to: c.To, op: OpPass, event: EventPassed, reason: ReasonAPI, team: m.teamFor(c.To, c.Team)})
		m.place("", ReasonAPI)
	}
}
