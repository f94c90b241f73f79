package bench

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// workload is one line of the table, measured once a round.
type workload struct {
	name     string
	does     string
	controls []string // what it is compared with
	engine   string   // "" = on both
	fill     bool     // needs Config.Fill
	run      func(*round, context.Context) ([]Sample, error)
}

// workloads are in the order in which a round runs them: each control stands
// beside what is compared with it.
func workloads() []workload {
	return []workload{
		{name: "fdatasync", does: "F: an append of 400 bytes and fdatasync, one after the other, in the data folder", run: (*round).rawSync},
		{name: "batched", does: "B: 256 messages with their outbox rows inserted in one transaction, no hub", run: (*round).rawBatches},
		{name: "single", does: "N: one message in one transaction after the other through the hub's own code, no HTTP", run: (*round).rawSingles},
		{name: "intake", does: "users' messages that are stored and go nowhere", controls: []string{"fdatasync", "single"}, run: (*round).intake},
		{name: "relay", does: "R: the webhook path without a store", run: (*round).relayed},
		{name: "webhook", does: "users' messages to a tool's webhook: durable, signed, in order, attempt logged", controls: []string{"relay"}, run: (*round).webhook},
	}
}

// hub starts the hub that most workloads use, when the first of them comes.
func (r *round) hub(ctx context.Context) (*hub, error) {
	if r.main != nil {
		return r.main, nil
	}
	home, err := r.home(ctx, "hub")
	if err != nil {
		return nil, err
	}
	scene, err := r.mainScene()
	if err != nil {
		return nil, err
	}
	if r.main, err = r.startHub(ctx, "hub", home, r.cfg.Replicas, scene); err != nil {
		return nil, err
	}
	return r.main, r.main.setUp(ctx)
}

const messagePath = "/v1.0/log_message_from_user/"

// userLoad is users' messages to a business of the main scene.
func (r *round) userLoad(h *hub, name string, business int, places ...string) load {
	header := clientHeader(clientName)
	return load{name: name, urls: h.urls(messagePath), header: func(int) http.Header { return header }, body: userBody(business), threads: r.size.threads, senders: r.size.senders, places: places, drain: r.size.drain}
}

// warm sends one message to each thread, so that threads and lanes exist.
func (r *round) warm(ctx context.Context, l load) error {
	l.rate, l.count, l.name = 0, l.threads, "warm-up of "+l.name
	s, err := r.run(ctx, l)
	if err == nil && (s.Lost > 0 || s.Refused > 0) {
		err = fmt.Errorf("%s: %d messages were refused, %d lost: %s", l.name, s.Refused, s.Lost, s.Error)
	}
	return err
}

// measure warms up and runs a load on a hub.
func (r *round) measure(ctx context.Context, h *hub, l load) ([]Sample, error) {
	if err := r.warm(ctx, l); err != nil {
		return nil, err
	}
	s, err := r.run(ctx, l, h.replicas...)
	return []Sample{s}, err
}

func (r *round) intake(ctx context.Context) ([]Sample, error) {
	h, err := r.hub(ctx)
	if err != nil {
		return nil, err
	}
	return r.measure(ctx, h, r.userLoad(h, "intake", businessIntake))
}

// toolOne is where the hook of the main scene's first tool is.
const toolOne, toolTwo = "/" + clientName + "/one", "/" + clientName + "/two"

func (r *round) webhook(ctx context.Context) ([]Sample, error) {
	h, err := r.hub(ctx)
	if err != nil {
		return nil, err
	}
	return r.measure(ctx, h, r.userLoad(h, "webhook", businessOne, toolOne))
}

// relayLoad is userLoad for the control R, which it starts.
func (r *round) relayLoad(ctx context.Context, name string) (load, error) {
	if r.relay == nil {
		var err error
		r.sink.setSecret(relayPath, channelSecret)
		if r.relay, err = r.startChild(ctx, "relay", []string{"bench-relay", "--target", r.sink.url + relayPath, "--token", clientToken + clientName, "--secret", channelSecret}); err != nil {
			return load{}, err
		}
	}
	header := clientHeader(clientName)
	return load{name: name, urls: []*url.URL{{Scheme: "http", Host: r.relay.addr, Path: messagePath}}, header: func(int) http.Header { return header }, body: userBody(businessOne),
		threads: r.size.threads, senders: r.size.senders, places: []string{relayPath}, drain: r.size.drain}, nil
}

const relayPath = "/relay"

func (r *round) relayed(ctx context.Context) ([]Sample, error) {
	l, err := r.relayLoad(ctx, "relay")
	if err != nil {
		return nil, err
	}
	if err := r.warm(ctx, l); err != nil {
		return nil, err
	}
	s, err := r.run(ctx, l, r.relay)
	return []Sample{s}, err
}

// raw is the sample of a control that is no hub.
func raw(name string, n int, took time.Duration, ds []time.Duration) []Sample {
	return []Sample{{Workload: name, Sent: n, Accepted: n, AcceptRate: perSecond(n, int64(took)), Accept: latencyOf(ds)}}
}
