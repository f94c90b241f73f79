package ect

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"tract"
)

const maxEntries = 500 // of one transcript; the oldest go first

// Thread is what the tool knows of one user's chat with one business.
type Thread struct {
	Number       int         `json:"number"` // 1, 2, 3 … as they were first heard of
	UserID       string      `json:"user_id"`
	Name         string      `json:"name"`
	ThirdParty   string      `json:"third_party_user_id"`
	Platform     string      `json:"platform"`
	Conversation string      `json:"conversation_number"`
	State        tract.State `json:"state"`
	Owner        string      `json:"owner"`
	Mine         bool        `json:"mine"` // the tool owns it
	Epoch        int64       `json:"control_epoch"`
	Pending      string      `json:"pending"` // who has been offered the thread, or asks for it
	Agent        string      `json:"agent"`
	LastSeq      int64       `json:"last_delivery_seq"` // all up to here were heard
	Missing      int64       `json:"missing"`           // how many later ones are known to be missing
	Entries      []Entry     `json:"entries"`
}

// Entry is one line of a transcript: a message, or an event.
type Entry struct {
	At        time.Time    `json:"at"`
	Seq       int64        `json:"delivery_seq,omitempty"` // 0 for what the tool did itself
	MessageID int64        `json:"message_id,omitempty"`
	Event     tract.Event  `json:"event,omitempty"` // "" for a message
	Sender    tract.Sender `json:"sender,omitempty"`
	Agent     string       `json:"agent,omitempty"`
	Text      string       `json:"text"`
	Mine      bool         `json:"mine,omitempty"`      // sent by this tool
	CaughtUp  bool         `json:"caught_up,omitempty"` // from the feed, not from a hook
}

// thread is a Thread with what the tool needs to keep it right.
type thread struct {
	Thread
	seqs       sequence
	stateSeq   int64 // delivery_seq that State stands for: events overtake each other between hooks
	pendingSeq int64
	takenIn    string // the hand-over that the allocate rule has dealt with
	assigned   string // the hand-over that has led to an agent
	replies    int    // by rule, in this conversation
	activity   int    // raised by every message; a silence timer that finds another number is out of date
	silence    *time.Timer
	silenceOf  int // the activity that silence was armed for
	gap        *time.Timer
}

// note puts an entry where its sequence number belongs. What the tool did itself
// has none and stays where it was done.
func (th *thread) note(e Entry) {
	at := len(th.Entries)
	if e.Seq > 0 {
		for i := len(th.Entries) - 1; i >= 0; i-- {
			if seq := th.Entries[i].Seq; seq > e.Seq {
				at = i
			} else if seq > 0 {
				break
			}
		}
	}
	th.Entries = slices.Insert(th.Entries, at, e)
	if extra := len(th.Entries) - maxEntries; extra > 0 {
		th.Entries = slices.Delete(th.Entries, 0, extra)
	}
}

// own records who has the thread. Epochs only grow, so an older one is news that
// was overtaken.
func (th *thread) own(self, owner string, epoch int64) {
	if owner == "" || epoch < th.Epoch {
		return
	}
	if epoch > th.Epoch {
		th.Pending = ""
	}
	th.Owner, th.Epoch, th.Mine = owner, epoch, owner == self
}

// converse moves on to a later conversation; false when number is an older one.
func (th *thread) converse(number string) bool {
	now, err := strconv.Atoi(number)
	if err != nil {
		return true
	}
	before, _ := strconv.Atoi(th.Conversation) // "" counts as 0
	if now > before {
		th.Conversation, th.Agent, th.replies, th.State = number, "", 0, tract.StateNone
	}
	return now >= before
}

// apply brings the thread up to date with what was heard.
func (th *thread) apply(it item, self string) {
	th.own(self, it.facts.Owner, it.facts.Epoch)
	if !th.converse(it.Conversation) {
		return
	}
	if it.event == tract.EventMessage {
		th.activity++
		if it.Sender == string(tract.SenderCEU) && th.State == tract.StateWaitingForUser {
			th.State = tract.StateAssigned
		}
	}
	// One hand-over is told by several hooks. What is still on its way must not
	// undo that an agent has the chat by now.
	late := it.event == tract.EventWaiting && th.assigned == handover(it.Conversation, it.facts.Epoch)
	if seq := it.facts.Seq; seq >= th.stateSeq && !late {
		if state, ok := stateAfter(it.event); ok {
			th.State, th.stateSeq = state, seq
			if agent := string(it.facts.Agent); it.event == tract.EventPinned && agent != "" {
				th.Agent = agent
			}
			if state != tract.StateAssigned {
				th.Agent = ""
			}
		}
	}
	if seq := it.facts.Seq; seq >= th.pendingSeq {
		switch it.event {
		case tract.EventOffered:
			th.Pending, th.pendingSeq = it.facts.receiver(), seq
		case tract.EventRequested:
			th.Pending, th.pendingSeq = it.facts.requester(), seq
		case tract.EventDeclined, tract.EventExpired, tract.EventAccepted:
			th.Pending, th.pendingSeq = "", seq
		}
	}
}

// assign notes that an agent has the chat.
func (th *thread) assign(agent string) {
	th.State, th.Agent, th.assigned = tract.StateAssigned, agent, handover(th.Conversation, th.Epoch)
}

// handover names one gain of the thread, by whatever events it is told.
func handover(conversation string, epoch int64) string {
	return conversation + "/" + strconv.FormatInt(epoch, 10)
}

func stateAfter(e tract.Event) (tract.State, bool) {
	switch e {
	case tract.EventBot:
		return tract.StateBot, true
	case tract.EventWaiting:
		return tract.StateQueued, true
	case tract.EventPinned:
		return tract.StateAssigned, true
	case tract.EventComplete:
		return tract.StateComplete, true
	}
	return "", false
}

// show is a copy that the caller may keep.
func (th *thread) show() Thread {
	out := th.Thread
	out.LastSeq, out.Missing = th.seqs.last, th.seqs.missing()
	out.Entries = slices.Clone(th.Entries)
	return out
}

// sequence proves that nothing was missed: all numbers up to last were seen, and
// those in ahead, which arrived before an earlier one.
type sequence struct {
	last  int64
	ahead map[int64]bool
}

// see records n; false when it was seen before. 0 means "not numbered".
func (s *sequence) see(n int64) bool {
	if n == 0 {
		return true
	}
	if n < 0 || n <= s.last || s.ahead[n] {
		return false
	}
	if s.ahead == nil {
		s.ahead = map[int64]bool{}
	}
	s.ahead[n] = true
	s.advance()
	return true
}

// highest is the last number seen.
func (s *sequence) highest() int64 {
	top := s.last
	for n := range s.ahead {
		top = max(top, n)
	}
	return top
}

// missing counts the numbers below the highest that were not seen.
func (s *sequence) missing() int64 {
	return s.highest() - s.last - int64(len(s.ahead))
}

// settle gives up on what is missing up to n and says how many those are.
func (s *sequence) settle(n int64) (lost int64) {
	if n <= s.last {
		return 0
	}
	lost, s.last = n-s.last, n
	for k := range s.ahead {
		if k <= n {
			delete(s.ahead, k)
			lost--
		}
	}
	s.advance()
	return lost
}

// advance moves last over what is ahead without a gap.
func (s *sequence) advance() {
	for s.ahead[s.last+1] {
		s.last++
		delete(s.ahead, s.last)
	}
}

// recent remembers the last n ids.
type recent struct {
	ring []string
	at   int
	have map[string]bool
}

func newRecent(n int) *recent {
	return &recent{ring: make([]string, n), have: map[string]bool{}}
}

// add is false when the id is there already.
func (r *recent) add(id string) bool {
	if r.have[id] {
		return false
	}
	delete(r.have, r.ring[r.at])
	r.ring[r.at] = id
	r.at = (r.at + 1) % len(r.ring)
	r.have[id] = true
	return true
}

// split gives category and subcategory of an event name.
func split(e tract.Event) (category, subcategory string) {
	category, subcategory, _ = strings.Cut(string(e), "/")
	return category, subcategory
}
