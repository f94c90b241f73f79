package bench

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// load is messages over threads: who sends them, how fast, to where.
type load struct {
	name    string
	urls    []*url.URL // the replicas in turn
	header  func(thread int) http.Header
	body    func(b []byte, f *flow, thread, seq int) []byte
	threads int
	senders int
	rate    int           // messages a second, sent when they are due; 0 = each sender sends when it was answered
	count   int           // messages in all; 0 = as many as fit into the duration
	think   time.Duration // of the receivers
	places  []string      // where messages must come
	spread  bool          // a thread's messages go to one of the places, in turn; else to all
	byUser  bool          // what comes has no marks: it is the next of its user
	drain   time.Duration // how long what was accepted may take to arrive

	hung   func(place string) bool       // of these nothing is awaited and nothing is measured; nil = none
	learn  func(thread int, body []byte) // looks at what arrives; nil = nobody does
	before *load                         // of which one message a thread goes before the warm-up
	after  func(ctx context.Context)     // looks on when everything is sent; nil = nobody does
}

// openSenders bounds how many messages of an open loop are under way; a request
// has about requestBytes.
const (
	openSenders  = 256
	requestBytes = 320
	countTime    = 2 * time.Minute // for a number of messages, however slow the machine is
	// An open loop sleeps until the next message is due, within these bounds.
	shortRest, longRest = 500 * time.Microsecond, 10 * time.Millisecond
)

// run sends the load and waits until what was accepted has arrived.
func (b *bench) run(ctx context.Context, l load, children ...*child) (Sample, error) {
	f := newFlow(b.nextRun(), l.threads, b.limitOf(l), b.cfg.Now, l.places)
	f.byUser, f.learn = l.byUser, l.learn
	b.sink.behave(l.think, l.hung)
	defer b.sink.behave(0, nil)
	b.sink.current.Store(f)
	defer b.sink.current.Store(nil)
	watch := observe(children)
	sending, cancel := context.WithTimeout(ctx, b.sendTime(&l)+callTime)
	defer cancel()
	if l.rate > 0 {
		b.openLoop(sending, &l, f)
	} else {
		b.closedLoop(sending, &l, f)
	}
	b.drain(ctx, &l, f)
	if l.after != nil {
		l.after(ctx)
	}
	s := f.sample(&l)
	s.Hanging = int(b.sink.most.Load())
	watch.end(&s)
	if err := ctx.Err(); err != nil {
		return s, err
	}
	if s.Accepted == 0 {
		why := "nothing was sent"
		if p := f.firstError.Load(); p != nil {
			why = *p
		}
		return s, fmt.Errorf("%s: no message was accepted: %s", l.name, why)
	}
	return s, nil
}

func (b *bench) limitOf(l load) int {
	switch {
	case l.count > 0:
		return l.count
	case l.rate > 0:
		return max(1, int(b.size.duration.Seconds()*float64(l.rate)))
	}
	return b.size.mostMessages
}

// sendTime is how long new messages are sent.
func (b *bench) sendTime(l *load) time.Duration {
	if l.count > 0 {
		return countTime
	}
	return b.size.duration
}

// closedLoop lets each sender write to its own threads in turn, the next
// message when the one before was answered.
func (b *bench) closedLoop(ctx context.Context, l *load, f *flow) {
	end := int64(b.sendTime(l))
	var wg sync.WaitGroup
	for w := range min(l.senders, l.threads) {
		wg.Go(func() {
			for thread := w; ctx.Err() == nil; {
				now := f.clock()
				if now > end {
					return
				}
				number, seq, ok := f.begin(thread, now)
				if !ok {
					return
				}
				b.send(ctx, l, f, thread, seq, number)
				if thread += l.senders; thread >= l.threads {
					thread = w
				}
			}
		})
	}
	wg.Wait()
}

// openLoop sends each message when it is due, whatever became of those before.
// Latencies count from that instant, so that a slow answer is also felt by what
// waits behind it.
func (b *bench) openLoop(ctx context.Context, l *load, f *flow) {
	type due struct {
		thread, seq, number int
	}
	senders := min(openSenders, l.threads)
	queues := make([]chan due, senders)
	total := b.limitOf(*l)
	var wg sync.WaitGroup
	for w := range queues {
		queues[w] = make(chan due, total/senders+l.threads)
		wg.Go(func() {
			for d := range queues[w] {
				b.send(ctx, l, f, d.thread, d.seq, d.number)
			}
		})
	}
	interval := time.Second / time.Duration(l.rate)
	for sent := 0; sent < total && ctx.Err() == nil; {
		for now := f.clock(); sent < total && int64(sent)*int64(interval) <= now; sent++ {
			thread := sent % l.threads
			number, seq, _ := f.begin(thread, max(1, int64(sent)*int64(interval)))
			queues[thread%senders] <- due{thread, seq, number}
		}
		rest(min(max(time.Duration(int64(sent)*int64(interval)-f.clock()), shortRest), longRest))
	}
	for _, q := range queues {
		close(q)
	}
	wg.Wait()
}

// send makes one call and notes when it was answered.
func (b *bench) send(ctx context.Context, l *load, f *flow, thread, seq, number int) {
	body := l.body(make([]byte, 0, requestBytes), f, thread, seq)
	status, err := b.http.post(ctx, l.urls[thread%len(l.urls)], l.header(thread), body)
	switch {
	case err != nil:
		f.refuse(err.Error())
	case status != http.StatusOK:
		f.refuse("status " + strconv.Itoa(status))
	default:
		f.answered[number] = f.clock()
	}
}

// drain waits until everything accepted is everywhere where it belongs.
func (b *bench) drain(ctx context.Context, l *load, f *flow) {
	ctx, cancel := context.WithTimeout(ctx, l.drain)
	defer cancel()
	expected := 0
	for number, at := range f.answered {
		if at != 0 {
			expected += len(l.placesOf(number % f.threads))
		}
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for f.arrived() < expected || f.missing(l) > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// placesOf are the indexes of the places where messages of a thread must come.
func (l *load) placesOf(thread int) (out []int) {
	for i, p := range l.places {
		if l.spread && i != thread%len(l.places) || l.hung != nil && l.hung(p) {
			continue
		}
		out = append(out, i)
	}
	return out
}

// missing is how many arrivals of accepted messages are still to come.
func (f *flow) missing(l *load) (n int) {
	for thread := range f.threads {
		for _, p := range l.placesOf(thread) {
			n += f.missingAt(f.places[p], thread)
		}
	}
	return n
}

func (f *flow) missingAt(a *arrivals, thread int) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for number := thread; number < f.limit; number += f.threads {
		if f.answered[number] != 0 && (f.byUser || a.at[number] == 0) {
			n++
		}
	}
	if f.byUser {
		n = max(0, n-a.last[thread])
	}
	return n
}

// userBody is a user's message to a business; each user has one thread there.
func userBody(business int) func([]byte, *flow, int, int) []byte {
	return func(b []byte, f *flow, thread, seq int) []byte { return userText(b, f, thread, business, thread, seq) }
}

// userText is a user's message with the mark of a thread.
func userText(b []byte, f *flow, user, business, thread, seq int) []byte {
	b = append(b, `{"user":{"auth_id":"`...)
	b = append(b, userOf(user)...)
	b = append(b, `"},"message_body":"`...)
	b = f.appendText(b, thread, seq)
	b = append(b, `","message_type":0,"business_id":`...)
	b = strconv.AppendInt(b, int64(business), 10)
	return append(b, '}')
}

// question is a message that the bot can answer.
func question(b []byte, _ *flow, thread, _ int) []byte {
	return fmt.Appendf(b, `{"user":{"auth_id":%q},"message_body":%q,"message_type":0,"business_id":%d}`, userOf(thread), answerable, businessBot)
}

// pxutOf reads the user_id of a hook's payload.
func pxutOf(body []byte) string {
	_, rest, ok := bytes.Cut(body, []byte(`"user_id":"`))
	if !ok {
		return ""
	}
	id, _, _ := strings.Cut(string(rest), `"`)
	return id
}
