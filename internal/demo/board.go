package demo

import (
	"math"
	"slices"
	"sync"
	"time"

	"tract"
	"tract/internal/delivery"
	"tract/internal/store"
)

const (
	mostThreads    = 500
	mostDeliveries = 150 // of one thread
	mostAttempts   = 12  // of one delivery
)

// board remembers the attempts of the dispatcher as they ended. The store does
// not keep clean first successes, and it learns of the others a moment later.
type board struct {
	mu      sync.Mutex // guards the fields below
	threads map[int64][]*tracked
	order   []int64                  // of threads, the oldest first
	failing map[tract.ReceiverID]int // calls of a tool that failed in a row
}

// tracked is one delivery that was attempted.
type tracked struct {
	id       string
	seq      int64 // in its lane
	endpoint int64
	to       string
	name     string
	entry    int64
	toolSeq  int64
	state    string
	why      string
	nextAt   time.Time
	attempts []attempt
}

type attempt struct {
	Number    int     `json:"n"`
	Status    int     `json:"status"`
	Error     string  `json:"error"`
	LatencyMS float64 `json:"ms"`
	OK        bool    `json:"ok"`
}

// States of a delivery as the page shows it.
const (
	stateQueued    = "queued"
	stateRetrying  = "retrying"
	stateDisabled  = "disabled"
	stateDelivered = "delivered"
	stateDead      = "dead"
)

func newBoard() *board {
	return &board{threads: map[int64][]*tracked{}, failing: map[tract.ReceiverID]int{}}
}

// observe hears of an attempt. It is called with the dispatcher's lock held.
func (d *demo) observe(ev delivery.Event) {
	if d.board.record(&ev) {
		d.visitors.wakeAll() // a tool's health is everybody's
	}
	d.visitors.wakeThread(ev.Thread)
}

// record keeps an attempt and says whether the health of a tool changed.
func (b *board) record(ev *delivery.Event) (healthChanged bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.tracked(ev)
	t.attempts = append(t.attempts, attempt{ev.Attempt, ev.Status, ev.Error, math.Round(float64(ev.Latency.Microseconds())/100) / 10, ev.Outcome == "delivered"})
	if len(t.attempts) > mostAttempts {
		t.attempts = slices.Delete(t.attempts, 0, len(t.attempts)-mostAttempts)
	}
	t.nextAt, t.why = ev.NextAt, ev.Error
	switch ev.Outcome {
	case "delivered", "held":
		t.state = stateDelivered
	case "retry":
		t.state = stateRetrying
	case "disabled":
		t.state = stateDisabled
	case "dead":
		t.state = stateDead
	}
	if ev.Kind != store.EndpointHook {
		return false
	}
	tool := tract.ReceiverID(ev.Tool)
	before := b.failing[tool]
	if ev.Outcome == "delivered" {
		b.failing[tool] = 0
		return before > 0
	}
	b.failing[tool] = before + 1
	return true
}

// tracked finds or begins the record of a delivery.
func (b *board) tracked(ev *delivery.Event) *tracked {
	list, known := b.threads[ev.Thread]
	if i := slices.IndexFunc(list, func(t *tracked) bool { return t.id == ev.DeliveryID }); i >= 0 {
		return list[i]
	}
	if !known {
		b.order = append(b.order, ev.Thread)
		if len(b.order) > mostThreads {
			delete(b.threads, b.order[0])
			b.order = b.order[1:]
		}
	}
	_, seq, _ := store.ParseDeliveryID(ev.DeliveryID)
	t := &tracked{id: ev.DeliveryID, seq: seq, endpoint: ev.Endpoint, to: recipient(ev.Kind, ev.Tool), name: ev.Name, entry: ev.Entry, toolSeq: toolSeq(ev.Kind, ev.DeliverySeq)}
	if list = append(list, t); len(list) > mostDeliveries {
		list = slices.Delete(list, 0, len(list)-mostDeliveries)
	}
	b.threads[ev.Thread] = list
	return t
}

// recipient is whom the page shows as the one who is called.
func recipient(kind, tool string) string {
	switch kind {
	case store.EndpointBot:
		return string(tract.IVA)
	case store.EndpointChannel:
		return "customer"
	}
	return tool
}

// of gives copies of what is known of a thread's deliveries, in the order they
// were first attempted.
func (b *board) of(thread int64) []tracked {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]tracked, 0, len(b.threads[thread]))
	for _, t := range b.threads[thread] {
		c := *t
		c.attempts = slices.Clone(t.attempts)
		out = append(out, c)
	}
	return out
}

// failures counts how many calls of a tool have failed since one was answered.
func (b *board) failures(tool tract.ReceiverID) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failing[tool]
}

// seen remembers the last n ids.
type seen struct {
	mu   sync.Mutex // guards the fields below
	ring []string
	at   int
	have map[string]bool
}

func newSeen(n int) *seen { return &seen{ring: make([]string, n), have: map[string]bool{}} }

// add is false when the id is there already.
func (s *seen) add(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.have[id] {
		return false
	}
	delete(s.have, s.ring[s.at])
	s.ring[s.at] = id
	s.at = (s.at + 1) % len(s.ring)
	s.have[id] = true
	return true
}
