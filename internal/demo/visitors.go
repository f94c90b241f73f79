package demo

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tract"
)

const (
	mostVisitors  = 200
	mostCustomers = 2000 // over the life of the demo: the tools remember each
	mostLines     = 300  // of one chat
)

// errFull keeps the memory of a demo that is left open bounded.
var errFull = &tract.Error{Kind: tract.KindUnavailable, Code: "demo_full", Msg: "this demo has too many visitors, or has seen too many customers; start it again"}

// visitors are the browser sessions that look at the demo, each with a customer
// of its own.
type visitors struct {
	now func() time.Time

	mu        sync.Mutex // guards the fields below and those of every visitor; never held across I/O
	byID      map[string]*visitor
	byAuth    map[string]*visitor
	byThread  map[int64]*visitor
	byUser    map[string]*visitor // by the user_id that tools know
	customers int
}

// visitor is one browser session.
type visitor struct {
	id       string
	life     string        // tells event ids of this visitor from those of one forgotten
	turn     chan struct{} // held while a message is on its way: they stay in order
	draw     chan struct{} // held while the page's sections are made
	current  *customer
	wakes    map[chan struct{}]bool
	sections map[string]section
	seq      int64
	usedAt   time.Time
}

// customer is the person a visitor writes as. registered belongs to whoever
// holds the visitor's turn; authID and name never change.
type customer struct {
	authID, name string
	registered   bool
	thread       int64
	user         string
	lines        []chatLine
	steps        [4]bool
}

// chatLine is what stands in the customer's chat window.
type chatLine struct {
	ID      int64    `json:"id"`
	At      string   `json:"at"`
	From    string   `json:"from"` // me | bot | agent | notice
	Name    string   `json:"name"`
	Text    string   `json:"text"`
	Choices []string `json:"choices,omitempty"`
}

// section is one part of the page's state, as JSON, numbered by its last change.
type section struct {
	name string
	seq  int64
	data []byte
}

func newVisitors(now func() time.Time) *visitors {
	return &visitors{now: now, byID: map[string]*visitor{}, byAuth: map[string]*visitor{}, byThread: map[int64]*visitor{}, byUser: map[string]*visitor{}}
}

// get finds or begins the visitor with an id.
func (s *visitors) get(id string) (*visitor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.byID[id]
	if v == nil {
		if s.makeRoom(); len(s.byID) >= mostVisitors {
			return nil, errFull
		}
		v = &visitor{id: id, life: rand.Text()[:8], turn: make(chan struct{}, 1), draw: make(chan struct{}, 1), wakes: map[chan struct{}]bool{}, sections: map[string]section{}}
		s.byID[id] = v
	}
	v.usedAt = s.now()
	return v, nil
}

// makeRoom forgets the visitor that was away longest.
func (s *visitors) makeRoom() {
	if len(s.byID) < mostVisitors {
		return
	}
	var oldest *visitor
	for _, v := range s.byID {
		if len(v.wakes) == 0 && (oldest == nil || v.usedAt.Before(oldest.usedAt)) {
			oldest = v
		}
	}
	if oldest != nil {
		s.part(oldest)
		delete(s.byID, oldest.id)
	}
}

// part forgets a visitor's customer.
func (s *visitors) part(v *visitor) {
	if c := v.current; c != nil {
		delete(s.byAuth, c.authID)
		delete(s.byThread, c.thread)
		delete(s.byUser, c.user)
		v.current = nil
	}
}

// customerName is the name of the nth customer.
func customerName(n int) string {
	names := []string{"Alex Morgan", "Priya Nair", "Jonas Weber", "Mei Tanaka", "Lucía Ortega", "Sam Okafor", "Ines Duarte", "Tom Hansen"}
	return names[n%len(names)]
}

// customer gives the visitor's present customer, or begins one.
func (s *visitors) customer(v *visitor) (*customer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.current != nil {
		return v.current, nil
	}
	if s.customers >= mostCustomers {
		return nil, errFull
	}
	c := &customer{authID: "web-" + strings.ToLower(rand.Text()[:12]), name: customerName(s.customers)}
	s.customers++
	v.current = c
	s.byAuth[c.authID] = v
	return c, nil
}

// renew begins a new customer and forgets the present one.
func (s *visitors) renew(v *visitor) error {
	s.mu.Lock()
	s.part(v)
	s.mu.Unlock()
	if _, err := s.customer(v); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v.wake()
	return nil
}

// know notes which thread a customer has.
func (s *visitors) know(v *visitor, c *customer, thread int64, user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.thread, c.user = thread, user
	if v.current == c {
		s.byThread[thread], s.byUser[user] = v, v
	}
}

// hear puts a line into a customer's chat, where the order of the log has it.
func (s *visitors) hear(authID string, l chatLine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.byAuth[authID]
	if v == nil {
		return // a customer that was forgotten
	}
	c := v.current
	at, _ := slices.BinarySearchFunc(c.lines, l.ID, func(have chatLine, id int64) int { return cmp.Compare(have.ID, id) })
	c.lines = slices.Insert(c.lines, at, l)
	if extra := len(c.lines) - mostLines; extra > 0 {
		c.lines = slices.Delete(c.lines, 0, extra)
	}
	v.wake()
}

// wake lets every page of a visitor look again. It is called with the lock held.
func (v *visitor) wake() {
	for ch := range v.wakes {
		select {
		case ch <- struct{}{}:
		default: // it has not looked since the last wake
		}
	}
}

func (s *visitors) wakeThread(thread int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.byThread[thread]; v != nil {
		v.wake()
	}
}

func (s *visitors) wakeUser(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.byUser[user]; v != nil {
		v.wake()
	}
}

func (s *visitors) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.byID {
		v.wake()
	}
}

// mostStreams bounds how many pages one visitor may have open.
const mostStreams = 8

// watch gives a channel that has something when a page is to be drawn anew; ok
// is false when the visitor has too many pages open.
func (s *visitors) watch(v *visitor) (wake chan struct{}, stop func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(v.wakes) >= mostStreams {
		return nil, nil, false
	}
	wake = make(chan struct{}, 1)
	v.wakes[wake] = true
	return wake, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(v.wakes, wake)
	}, true
}

// publish takes the sections that were made for a customer; those that did not
// change keep their number.
func (s *visitors) publish(v *visitor, c *customer, made []section) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.current != c {
		return // a new customer began meanwhile: the next drawing shows that one
	}
	for _, m := range made {
		if bytes.Equal(v.sections[m.name].data, m.data) {
			continue
		}
		v.seq++
		m.seq = v.seq
		v.sections[m.name] = m
	}
}

// since gives the sections that changed after a number, in the order they did.
func (s *visitors) since(v *visitor, after int64) []section {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []section
	for _, one := range v.sections {
		if one.seq > after {
			out = append(out, one)
		}
	}
	slices.SortFunc(out, func(a, b section) int { return cmp.Compare(a.seq, b.seq) })
	return out
}

// eventID names a section's change on the stream.
func (v *visitor) eventID(seq int64) string { return v.life + "." + strconv.FormatInt(seq, 10) }

// after reads the last event id that a page has seen; 0 for none of this visitor.
func (v *visitor) after(id string) int64 {
	life, number, _ := strings.Cut(id, ".")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || life != v.life {
		return 0
	}
	return n
}

// begin waits for the visitor's turn.
func (v *visitor) begin(ctx context.Context) error { return hold(ctx, v.turn) }

func (v *visitor) end() { <-v.turn }

func hold(ctx context.Context, slot chan struct{}) error {
	select {
	case slot <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
