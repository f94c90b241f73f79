package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
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
		{name: "intake-sqlite", does: "the same on SQLite, to compare PostgreSQL with", engine: Postgres, controls: []string{"intake"}, run: (*round).intakeSQLite},
		{name: "intake-filled", does: "the same with many messages in the store", controls: []string{"intake"}, fill: true, run: (*round).intakeFilled},
		{name: "relay", does: "R: the webhook path without a store", run: (*round).relayed},
		{name: "webhook", does: "users' messages to a tool's webhook: durable, signed, in order, attempt logged", controls: []string{"relay"}, run: (*round).webhook},
		{name: "think", does: "the same to four tools that think for 50 ms, on twice the threads", controls: []string{"webhook"}, run: (*round).think},
		{name: "hot", does: "the same on 8 busy threads, one sender each", run: (*round).hot},
		{name: "two", does: "the same to two tools: each message is delivered twice", run: (*round).two},
		{name: "reply", does: "a tool's answers to the channel's webhook", run: (*round).reply},
		{name: "bot", does: "users' questions that the bot answers to the channel's webhook", run: (*round).bot},
		{name: "open-200", does: "the webhook path at 200 messages a second, sent when due", run: open(200)},
		{name: "relay-1000", does: "R at 1,000 messages a second, sent when due", run: (*round).relayedOpen},
		{name: "open-1000", does: "the webhook path at 1,000 a second", controls: []string{"relay-1000"}, run: open(1000)},
		{name: "open-3000", does: "the webhook path at 3,000 a second", run: open(3000)},
		{name: "crowd", does: "500 a second to 20 tools, then the same while 3 of them do not answer", run: (*round).crowd},
		{name: "memory", does: "memory of an idle hub, then with 10,000 messages queued behind 1,000 calls that do not end", run: (*round).memory},
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
	if l.before != nil {
		if err := r.warm(ctx, *l.before); err != nil {
			return err
		}
	}
	key := fmt.Sprint(l.urls[0].Host, l.places, string(l.body(nil, &flow{}, 0, 0)))
	if r.warmed[key] >= l.threads {
		return nil
	}
	l.senders, l.rate, l.count, l.name = r.size.senders, 0, l.threads, "warm-up of "+l.name
	s, err := r.run(ctx, l)
	if err == nil && (s.Lost > 0 || s.Refused > 0) {
		err = fmt.Errorf("%s: %d messages were refused, %d lost: %s", l.name, s.Refused, s.Lost, s.Error)
	}
	r.warmed[key] = l.threads
	return err
}

// measure warms up and runs a load.
func (r *round) measure(ctx context.Context, l load, children []*child) ([]Sample, error) {
	if err := r.warm(ctx, l); err != nil {
		return nil, err
	}
	s, err := r.run(ctx, l, children...)
	return []Sample{s}, err
}

// onMain measures a load that is made for the main hub.
func (r *round) onMain(ctx context.Context, make func(*hub) load) ([]Sample, error) {
	h, err := r.hub(ctx)
	if err != nil {
		return nil, err
	}
	return r.measure(ctx, make(h), h.replicas)
}

func (r *round) intake(ctx context.Context) ([]Sample, error) {
	return r.onMain(ctx, func(h *hub) load { return r.userLoad(h, "intake", businessIntake) })
}

// Where the hooks of the main scene's tools are.
const (
	toolOne = "/" + clientName + "/one"
	toolTwo = "/" + clientName + "/two"
)

func (r *round) webhook(ctx context.Context) ([]Sample, error) {
	return r.onMain(ctx, func(h *hub) load { return r.userLoad(h, "webhook", businessOne, toolOne) })
}

// A tool gets at most 256 calls at once, so one that thinks for 50 ms gets at most
// 5,120 messages a second: it takes several to see what thinking costs the hub.
const (
	thinkTime = 50 * time.Millisecond
	slowTools = 4
)

func (r *round) think(ctx context.Context) ([]Sample, error) {
	return r.onMain(ctx, func(h *hub) load {
		var slow []*tool
		for _, t := range h.scene.tools() {
			if t.business >= businessThink {
				slow = append(slow, t)
			}
		}
		l := r.crowdLoad(h, "think", slow)
		l.threads, l.think = r.size.slowThreads, thinkTime
		return l
	})
}

const hotThreads = 8

func (r *round) hot(ctx context.Context) ([]Sample, error) {
	return r.onMain(ctx, func(h *hub) load {
		l := r.userLoad(h, "hot", businessOne, toolOne)
		l.threads, l.senders = hotThreads, hotThreads
		return l
	})
}

func (r *round) two(ctx context.Context) ([]Sample, error) {
	return r.onMain(ctx, func(h *hub) load { return r.userLoad(h, "two", businessTwo, toolOne, toolTwo) })
}

// reply lets users write first: the tool then knows the threads by name.
func (r *round) reply(ctx context.Context) ([]Sample, error) {
	return r.onMain(ctx, func(h *hub) load {
		before := r.userLoad(h, "reply", businessReply, toolOne)
		pxuts := make([]string, before.threads)
		var mu sync.Mutex // guards pxuts
		before.learn = func(thread int, body []byte) {
			mu.Lock()
			defer mu.Unlock()
			pxuts[thread] = pxutOf(body)
		}
		l := r.userLoad(h, "reply", businessReply, channelPath)
		l.urls, l.before = h.urls("/tract/message/send/"), &before
		header := http.Header{"Authorization": {"Bearer " + h.scene.clients[0].tools[0].token}, "Content-Type": jsonType}
		l.header = func(int) http.Header { return header }
		l.body = func(b []byte, f *flow, thread, seq int) []byte {
			b = append(b, `{"user_id":"`...)
			b = append(b, pxuts[thread]...)
			b = append(b, `","sender":"aeu","message_body":"`...)
			return append(f.appendText(b, thread, seq), `"}`...)
		}
		return l
	})
}

func (r *round) bot(ctx context.Context) ([]Sample, error) {
	return r.onMain(ctx, func(h *hub) load {
		l := r.userLoad(h, "bot", businessBot, channelPath)
		l.body, l.byUser = question, true
		return l
	})
}

// open is the webhook path at a rate.
func open(rate int) func(*round, context.Context) ([]Sample, error) {
	return func(r *round, ctx context.Context) ([]Sample, error) {
		return r.onMain(ctx, func(h *hub) load {
			l := r.userLoad(h, fmt.Sprint("open-", rate), businessOne, toolOne)
			l.rate = rate
			return l
		})
	}
}

func (r *round) intakeSQLite(ctx context.Context) ([]Sample, error) {
	home, err := r.newHome(ctx, "sqlite", SQLite)
	if err != nil {
		return nil, err
	}
	return r.intakeOn(ctx, "intake-sqlite", home, 1)
}

// intakeOn measures intake on a hub of its own.
func (r *round) intakeOn(ctx context.Context, name string, home homeOf, replicas int) (samples []Sample, err error) {
	h, err := r.startHub(ctx, name, home, replicas, r.quietScene())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	if err := h.setUp(ctx); err != nil {
		return nil, err
	}
	return r.measure(ctx, r.userLoad(h, name, businessIntake), h.replicas)
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
	return r.measure(ctx, l, []*child{r.relay})
}

func (r *round) relayedOpen(ctx context.Context) ([]Sample, error) {
	l, err := r.relayLoad(ctx, "relay-1000")
	if err != nil {
		return nil, err
	}
	l.rate = 1000
	return r.measure(ctx, l, []*child{r.relay})
}
