package bench

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// LatencyOf gives the percentiles.
func LatencyOf(ds []time.Duration) Latency { return latencyOf(ds) }

// Place is where the messages of a Flow arrive.
const Place = "/place"

// Flow is a run of messages that a test sends by hand.
type Flow struct {
	*flow
	load load
}

// NewFlow makes one with room for ten messages a thread.
func NewFlow(threads int, now func() time.Time) *Flow {
	return &Flow{newFlow(1, threads, 10*threads, now, []string{Place}), load{places: []string{Place}}}
}

// Send is a message that is accepted; it gives the text.
func (f *Flow) Send(thread int) []byte {
	number, seq, ok := f.begin(thread, f.clock())
	if !ok {
		return nil
	}
	f.answered[number] = f.clock()
	return f.appendText(nil, thread, seq)
}

// Arrive is a delivery of a text to the place.
func (f *Flow) Arrive(body []byte) bool {
	run, thread, seq, ok := readMark(body)
	if ok && run == f.run {
		f.arrive(f.places[0], thread, seq, f.clock())
	}
	return ok
}

// ArriveOf is a delivery without a mark for the user of a thread.
func (f *Flow) ArriveOf(thread int) { f.byUser = true; f.counted(f.places[0], thread, f.clock()) }

// Sample sums it up.
func (f *Flow) Sample() Sample { return f.sample(&f.load) }

// Send sends users' messages to a server at a rate for a while, or 16 to each
// thread as fast as they are answered, and expects them at a receiver of its own, whose URL the server gets
// from aim. The receiver checks signatures with secret.
func Send(ctx context.Context, server, token, secret string, threads, senders, rate int, duration time.Duration, now func() time.Time, aim func(receiver string)) (Sample, error) {
	c := Config{Duration: duration, Now: now}
	b := &bench{cfg: c, size: c.sizes(), http: newCaller(), sink: newSink(now)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait, err := b.sink.serve(ctx)
	if err != nil {
		return Sample{}, err
	}
	b.sink.setSecret(Place, secret)
	u, err := url.Parse(server + messagePath)
	if err != nil {
		return Sample{}, err
	}
	l := load{name: "test", urls: []*url.URL{u}, header: func(int) http.Header {
		return http.Header{"Authorization": {"Bearer " + token}, "Content-Type": jsonType}
	}, body: userBody(1), threads: threads, senders: senders, rate: rate, drain: 10 * time.Second}
	if rate == 0 {
		l.count = 16 * threads
	}
	if aim != nil {
		aim(b.sink.url + Place)
		l.places = []string{Place}
	}
	s, err := b.run(ctx, l)
	b.http.client.CloseIdle()
	if e := wait(); err == nil {
		err = e
	}
	return s, err
}

// Judge holds values against a limit.
func Judge(must, aim float64, less bool, values ...float64) string {
	l := limit{must: must, aim: aim, less: less}
	return l.judge(SQLite, values).Verdict
}
