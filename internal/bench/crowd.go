package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// crowd measures many tools, first when all of them answer, then when some of
// them do not: the others must not feel it.
func (r *round) crowd(ctx context.Context) (samples []Sample, err error) {
	scene, err := r.crowdScene(1, r.size.crowd, r.size.threads/r.size.crowd)
	if err != nil {
		return nil, err
	}
	h, err := r.ownHub(ctx, "crowd", scene)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	if err := h.setUp(ctx); err != nil {
		return nil, err
	}
	l := r.crowdLoad(h, "crowd", h.scene.tools())
	l.rate = r.size.crowdRate
	if samples, err = r.measure(ctx, l, h.replicas); err != nil {
		return nil, err
	}
	hung := l.places[:r.size.hanging]
	l.name, l.hung = "crowd-hanging", func(place string) bool { return slices.Contains(hung, place) }
	s, err := r.run(ctx, l, h.replicas...)
	return append(samples, s), err
}

// ownHub starts a hub for one workload on an empty store.
func (r *round) ownHub(ctx context.Context, name string, s scene, env ...string) (*hub, error) {
	home, err := r.home(ctx, name)
	if err != nil {
		return nil, err
	}
	return r.startHub(ctx, name, home, r.cfg.Replicas, s, env...)
}

// crowdLoad is one user's message after the other, each to the next tool.
func (r *round) crowdLoad(h *hub, name string, tools []*tool) load {
	var headers []http.Header
	l := load{name: name, urls: h.urls(messagePath), threads: h.scene.users * len(tools), senders: r.size.senders, spread: true, drain: r.size.drain}
	for _, t := range tools {
		l.places = append(l.places, t.path())
		headers = append(headers, clientHeader(t.client))
	}
	l.header = func(thread int) http.Header { return headers[thread%len(tools)] }
	l.body = func(b []byte, f *flow, thread, seq int) []byte {
		return userText(b, f, thread/len(tools), tools[thread%len(tools)].business, thread, seq)
	}
	return l
}

// Of the memory workload.
const (
	settleTime = 2 * time.Second
	hangWait   = 5 * time.Second
)

// memory measures what the hub needs when nothing happens, and when tools have
// stopped to answer while users go on writing.
func (r *round) memory(ctx context.Context) (samples []Sample, err error) {
	scene, err := r.crowdScene(r.size.queueClients, r.size.queueTools, r.size.queueEach)
	if err != nil {
		return nil, err
	}
	h, err := r.ownHub(ctx, "memory", scene, "TRACT_HOOK_TIMEOUT=7s")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	settled := time.NewTimer(min(settleTime, r.size.duration))
	defer settled.Stop()
	select {
	case <-settled.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	samples = append(samples, Sample{Workload: "memory-idle", Memory: memoryOf(h.replicas)})
	if err := h.setUp(ctx); err != nil {
		return nil, err
	}
	s, err := r.queue(ctx, h)
	return append(samples, s), err
}

// queue sends one message to each of many threads whose tools do not answer, and
// looks on until all calls hang that the hub makes at once.
func (r *round) queue(ctx context.Context, h *hub) (Sample, error) {
	l := r.crowdLoad(h, "memory-queued", h.scene.tools())
	l.count = l.threads
	all := l.places
	l.places, l.spread, l.hung = nil, false, func(place string) bool { return slices.Contains(all, place) }
	l.after = func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, min(hangWait, 10*r.size.duration))
		defer cancel()
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for r.sink.hanging.Load() < windowAtStart*int64(len(all)) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}
	s, err := r.run(ctx, l, h.replicas...)
	if err == nil && s.Hanging == 0 {
		err = fmt.Errorf("%s: no call was hanging", l.name)
	}
	return s, err
}

// windowAtStart is how many calls the hub makes at once to a tool that has not
// answered yet.
const windowAtStart = 8

func (s scene) tools() (out []*tool) {
	for _, c := range s.clients {
		out = append(out, c.tools...)
	}
	return out
}
