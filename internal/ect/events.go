package ect

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"time"

	"tract"
)

// Kind says what sort of thing happened.
type Kind string

// The kinds of events.
const (
	KindReady     Kind = "ready"     // every hook is registered
	KindMessage   Kind = "message"   // a message was heard
	KindEvent     Kind = "event"     // an event was heard
	KindUser      Kind = "user"      // the hub introduced a user
	KindPing      Kind = "ping"      // the hub tried the hook
	KindSent      Kind = "sent"      // the hub took a message of the tool
	KindDone      Kind = "done"      // the hub did what the tool asked for
	KindDuplicate Kind = "duplicate" // a call was dropped because it had been acted upon
	KindRefused   Kind = "refused"   // a call was refused because a signature is wrong
	KindFault     Kind = "fault"     // a call was failed on purpose
	KindGap       Kind = "gap"       // delivery numbers are missing; the feed is asked for them
	KindLost      Kind = "lost"      // numbers are missing that the feed does not have either
	KindProblem   Kind = "problem"   // something did not work; Err says what
)

// Event is something that happened at the tool.
type Event struct {
	At      time.Time
	Kind    Kind
	UserID  string
	Name    string      // of the user, if known
	Owner   string      // of the thread, as the tool now knows it
	Epoch   int64       // of control
	Hook    tract.Event // which hook, "" where none is involved
	Attempt int         // of the hook call; 0 = not told
	Entry   Entry       // what was heard, sent or done
	Note    string
	Err     error
}

// Stats counts hook calls.
type Stats struct {
	Received   int `json:"received"`   // acted upon
	Duplicates int `json:"duplicates"` // dropped
	Refused    int `json:"refused"`    // bad signature
	Failed     int `json:"failed"`     // on purpose
	Gaps       int `json:"gaps"`       // times numbers were missing after the grace
	CaughtUp   int `json:"caught_up"`  // entries learned from the feed
	Lost       int `json:"lost"`       // numbers that not even the feed had
}

// Subscribe calls fn with everything that happens from now on. fn must be quick
// and may be called concurrently. stop ends it.
func (t *Tool) Subscribe(fn func(Event)) (stop func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := t.nextID
	t.nextID++
	t.listeners[id] = fn
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.listeners, id)
	}
}

// Threads gives a copy of every thread, in the order they were first heard of.
func (t *Tool) Threads() []Thread {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]Thread, 0, len(t.order))
	for _, user := range t.order {
		out = append(out, t.threads[user].show())
	}
	return out
}

// Thread gives a copy of one user's thread.
func (t *Tool) Thread(user string) (Thread, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	th, ok := t.threads[user]
	if !ok {
		return Thread{}, false
	}
	return th.show(), true
}

// Stats gives the counts so far.
func (t *Tool) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

// Faults gives the present faults.
func (t *Tool) Faults() Faults {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.faults
}

// SetFaults decides how the tool misbehaves from the next hook call on.
func (t *Tool) SetFaults(f Faults) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = f
}

// emit tells the listeners, filling in what the tool knows of the thread.
func (t *Tool) emit(e Event) {
	e.At = t.cfg.Now()
	t.mu.Lock()
	if th := t.threads[e.UserID]; th != nil {
		e.Name, e.Owner, e.Epoch = th.Name, th.Owner, th.Epoch
	}
	ids := make([]int, 0, len(t.listeners))
	for id := range t.listeners {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	tell := make([]func(Event), len(ids))
	for i, id := range ids {
		tell[i] = t.listeners[id]
	}
	t.mu.Unlock()
	for _, fn := range tell {
		fn(e)
	}
}

func (t *Tool) problem(user string, hook tract.Event, err error) {
	t.log.Warn("tool has a problem", "hook", hook, "error", err)
	t.emit(Event{Kind: KindProblem, UserID: user, Hook: hook, Err: err})
}

func (t *Tool) count(f func(*Stats)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.stats)
}

// userID is the tool's own id for a user: the same after a restart, because the
// hub keeps what it was told.
func (t *Tool) userID(user string) string {
	sum := sha256.Sum256([]byte(t.cfg.ReceiverID + "\x00" + user))
	return t.cfg.ReceiverID + "-" + hex.EncodeToString(sum[:6])
}

// thread finds or begins a thread. It is called with the lock held.
func (t *Tool) thread(user string) *thread {
	th := t.threads[user]
	if th == nil {
		th = &thread{Thread: Thread{Number: len(t.order) + 1, UserID: user}}
		t.threads[user] = th
		t.order = append(t.order, user)
	}
	return th
}

func parsePositive(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err == nil && n == 0 {
		err = strconv.ErrRange
	}
	return int(n), err
}
