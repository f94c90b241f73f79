package delivery_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/safehttp"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// newcomer is a tool that wants to hear everything. Each of its hooks has a host
// of its own, named after its event.
type newcomer struct {
	*world
	hooks map[string]store.Endpoint
}

// newNewcomer registers the hooks against the order in which they are first
// heard: nothing but the log may decide that.
func newNewcomer(w *world) *newcomer {
	w.t.Helper()
	n := &newcomer{world: w, hooks: map[string]store.Endpoint{}}
	for _, h := range [][2]string{{"conversation_state", "complete"}, {"thread_control", "passed"}, {"conversation_state", "waiting"}, {"message", "receive"}, {"user_events", "create_user"}} {
		w.net.host(h[1], answer(200, ""))
		n.hooks[h[1]] = w.hook("crm", h[0], h[1], "https://"+h[1]+"/")
	}
	return n
}

// first is what a thread that a tool has never heard of brings it at once.
var first = []string{"create_user", "receive", "waiting", "passed"}

// tell appends to the lanes of some hooks, in one commit. A user has no number
// among what the tool hears of a thread.
func (n *newcomer) tell(thread int64, hooks ...string) {
	n.t.Helper()
	if err := add(n.s, thread, func(tx *store.Tx, l *store.Locked, id tract.MessageID) error {
		for _, h := range hooks {
			d := store.Delivery{Entry: id, Tool: "crm", Payload: fmt.Append(nil, thread)}
			if h != "create_user" {
				d.DeliverySeq = l.NextDeliverySeq("crm")
			}
			if err := tx.AppendDelivery(l, n.hooks[h].ID, d); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		n.t.Fatal(err)
	}
}

// stage is a newcomer whose hooks answer when they are told to.
type stage struct {
	*newcomer
	begun  chan string
	answer map[string]chan int
}

// newStage has two threads and a tool that has heard of the first.
func newStage(t *testing.T, o store.Options) *stage {
	t.Helper()
	w, _ := loop(t, o, 2)
	w.cfg.Ladder = []time.Duration{time.Hour} // nothing is tried twice here
	s := &stage{newcomer: newNewcomer(w), begun: make(chan string, 16), answer: map[string]chan int{}}
	w.run()
	await(t, "registration", nil, w.d.Ready)
	s.tell(w.threads[0], first...)
	s.tell(w.threads[0], "complete")
	for _, h := range s.hooks {
		await(t, "the first thread", nil, func() bool { return w.settled(h.ID) })
	}
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	for h := range s.hooks {
		s.answer[h] = make(chan int)
		w.net.host(h, func(c *call) *safehttp.Response {
			s.begun <- h
			select {
			case status := <-s.answer[h]:
				return answer(status, "")(c)
			case <-end:
				return answer(200, "")(c)
			}
		})
	}
	return s
}

// begins checks what is called next, and that nothing else is but what was not answered.
func (s *stage) begins(hook string, underWay int) {
	s.t.Helper()
	select {
	case got := <-s.begun:
		if got != hook {
			s.t.Fatalf("%s was called, want %s", got, hook)
		}
	case <-time.After(20 * time.Second):
		s.t.Fatalf("%s was not called", hook)
	}
	if _, n, _ := s.d.Load(); n != underWay {
		s.t.Fatalf("%d calls are under way with that of %s, want %d", n, hook, underWay)
	}
}

// What a tool first hears of a thread begins in the order of the log, although
// it goes to different hooks: each call waits until the one before it has ended,
// however that ends and however long it takes.
func TestFirstCallsInOrder(t *testing.T) {
	tests := []struct {
		name  string
		tell  [][]string // commits
		fails map[string]int
		ends  func(tx *store.Tx, e store.Endpoint) error // what happens to message/receive during the first call
		want  []string
	}{
		{name: "one commit", tell: [][]string{first}, want: first},
		{name: "a commit each", tell: [][]string{{"create_user"}, {"receive"}, {"waiting"}, {"passed"}}, want: first},
		{name: "events alone", tell: [][]string{{"create_user", "waiting"}, {"passed"}}, want: []string{"create_user", "waiting", "passed"}},
		{name: "the event comes first", tell: [][]string{{"create_user", "passed", "receive"}, {"waiting"}}, want: []string{"create_user", "passed", "receive", "waiting"}},
		{name: "the user is refused", tell: [][]string{first}, fails: map[string]int{"create_user": 500}, want: first},
		{name: "the message is refused", tell: [][]string{first}, fails: map[string]int{"receive": 500}, want: first},
		{name: "the hook of messages is gone", tell: [][]string{first}, fails: map[string]int{"receive": 410}, want: first},
		{name: "the hook of messages is switched off", tell: [][]string{first}, want: []string{"create_user", "waiting", "passed"},
			ends: func(tx *store.Tx, e store.Endpoint) error {
				_, err := tx.DisableEndpoint(e, store.DisabledByOwner)
				return err
			}},
		{name: "the hook of messages is deleted", tell: [][]string{first}, want: []string{"create_user", "waiting", "passed"},
			ends: (*store.Tx).DeleteEndpoint},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tracttest.Engines(t, func(t *testing.T, o store.Options) {
				s := newStage(t, o)
				for _, commit := range tt.tell {
					s.tell(s.threads[1], commit...)
				}
				for i, hook := range tt.want {
					s.begins(hook, 1)
					if i == 0 && tt.ends != nil {
						s.update(func(tx *store.Tx) error { return tt.ends(tx, s.hooks["receive"]) })
					}
					s.answer[hook] <- max(200, tt.fails[hook])
				}
				await(t, "the end of the meeting", nil, func() bool { _, _, _, meetings, _ := s.d.Leftovers(); return meetings == 0 })
			})
		})
	}
}

// After its first call a lane waits for no other, and others do not wait for it.
func TestHooksAreApartAfterTheFirstCall(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		s := newStage(t, o)
		thread := s.threads[1]
		s.tell(thread, first...)
		for _, hook := range first[:3] {
			s.begins(hook, 1)
			s.answer[hook] <- 200
		}
		s.begins("passed", 1) // and is not answered yet
		s.tell(thread, "receive")
		s.begins("receive", 2)
		s.tell(thread, "waiting")
		s.begins("waiting", 3)
		s.tell(thread, "complete") // its first
		s.answer["passed"] <- 200
		s.begins("complete", 3)
		s.tell(thread, "passed")
		s.begins("passed", 4)
		s.answer["waiting"] <- 200 // what came last ends first
		s.tell(thread, "waiting")
		s.begins("waiting", 4)
	})
}

// One tool meets many threads at once, through hooks that were never called.
func TestManyFirstCallsInOrder(t *testing.T) {
	bubble(t, 40, func(t *testing.T, w *world) {
		n := newNewcomer(w)
		w.run()
		for _, thread := range w.threads {
			n.tell(thread, first...)
		}
		pass(time.Hour)
		got := map[string][]string{}
		for _, c := range w.net.calls {
			got[c.body] = append(got[c.body], c.host)
		}
		for _, thread := range w.threads {
			if diff := cmp.Diff(first, got[fmt.Sprint(thread)]); diff != "" {
				t.Errorf("thread %d: %s", thread, diff)
			}
		}
		w.empty()
	})
}
