package bench

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Each text begins with a mark that says which run, thread and message of the
// thread it is, so that whoever receives it knows what should have come.
const (
	markKey   = "bench-"
	markWidth = len(markKey) + 6 + 1 + 6 + 1 + 8 // bench-RRRRRR-TTTTTT-SSSSSSSS
	textBytes = 200                              // makes a request of about 300 bytes
)

// flow is one run of messages over some threads: when each was to be sent, was
// answered and arrived. Instants are nanoseconds since base; 0 = never.
//
// A message has a number, seq*threads+thread. Each thread is written by one
// sender, one message after the other, so that its order is known.
type flow struct {
	run     int
	threads int
	limit   int // messages at most
	base    time.Time
	now     func() time.Time

	sent, answered []int64 // by number
	next           []int   // by thread: messages begun
	refused        atomic.Int64
	firstError     atomic.Pointer[string]

	places []*arrivals
	learn  func(thread int, body []byte) // looks at each arrival; nil = nobody does
	byUser bool                          // arrivals carry no marks: each is the next of its user
}

// arrivals are the deliveries of a flow at one place: a hook or a channel.
type arrivals struct {
	place string

	mu         sync.Mutex // guards everything below
	at         []int64    // by number
	last       []int      // by thread: highest seq that came, plus 1
	got        int        // different messages
	duplicates int
	disorder   int // came after a later one
	unsigned   int // of those looked at
	looked     int
}

// newFlow has room for limit messages, and some to fill the last turn of threads.
func newFlow(run, threads, limit int, now func() time.Time, places []string) *flow {
	limit = (limit + threads - 1) / threads * threads
	f := &flow{run: run, threads: threads, limit: limit, base: now().Add(-time.Nanosecond), now: now, sent: make([]int64, limit), answered: make([]int64, limit), next: make([]int, threads)}
	for _, p := range places {
		f.places = append(f.places, &arrivals{place: p, at: make([]int64, limit), last: make([]int, threads)})
	}
	return f
}

func (f *flow) clock() int64 { return int64(f.now().Sub(f.base)) }

// begin gives the next message of a thread; ok is false when the limit is
// reached.
func (f *flow) begin(thread int, due int64) (number, seq int, ok bool) {
	seq = f.next[thread]
	number = seq*f.threads + thread
	if number >= f.limit {
		return 0, 0, false
	}
	f.next[thread]++
	f.sent[number] = due
	return number, seq, true
}

// refuse counts a message that was not accepted and keeps the first reason.
func (f *flow) refuse(why string) {
	f.refused.Add(1)
	f.firstError.CompareAndSwap(nil, &why)
}

// appendText writes the text of a message.
func (f *flow) appendText(b []byte, thread, seq int) []byte {
	b = fmt.Appendf(b, "%s%06d-%06d-%08d", markKey, f.run, thread, seq)
	for range textBytes - markWidth {
		b = append(b, '.')
	}
	return b
}

// readMark finds the mark in a payload.
func readMark(body []byte) (run, thread, seq int, ok bool) {
	i := bytes.Index(body, []byte(markKey))
	if i < 0 || len(body) < i+markWidth {
		return 0, 0, 0, false
	}
	mark := body[i+len(markKey) : i+markWidth]
	run, err1 := strconv.Atoi(string(mark[:6]))
	thread, err2 := strconv.Atoi(string(mark[7:13]))
	seq, err3 := strconv.Atoi(string(mark[14:]))
	return run, thread, seq, err1 == nil && err2 == nil && err3 == nil
}

// arrive notes that a message reached a place.
func (f *flow) arrive(a *arrivals, thread, seq int, at int64) {
	number := seq*f.threads + thread
	if thread >= f.threads || number >= f.limit {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.at[number] != 0:
		a.duplicates++
		return
	case seq < a.last[thread]:
		a.disorder++
	default:
		a.last[thread] = seq + 1
	}
	a.at[number] = at
	a.got++
}

// counted notes an arrival that carries no mark of ours, such as a bot's answer:
// the n-th one of a thread is taken for that of its n-th message.
func (f *flow) counted(a *arrivals, thread int, at int64) {
	if thread >= f.threads {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if number := a.last[thread]*f.threads + thread; number < f.limit {
		a.at[number] = at
	}
	a.last[thread]++
	a.got++
}

// surplus is how often something arrived that nothing was sent for.
func (f *flow) surplus(a *arrivals) (n int) {
	for thread, sent := range f.next {
		n += max(0, a.last[thread]-sent)
	}
	return n
}

// place finds where a path belongs; nil when the flow expects nothing there.
func (f *flow) place(path string) *arrivals {
	for _, a := range f.places {
		if a.place == path {
			return a
		}
	}
	return nil
}

// arrived is how many messages have come to all places together.
func (f *flow) arrived() (n int) {
	for _, a := range f.places {
		a.mu.Lock()
		n += a.got
		a.mu.Unlock()
	}
	return n
}
