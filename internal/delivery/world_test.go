package delivery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tract"
	"tract/internal/clock"
	"tract/internal/delivery"
	"tract/internal/safehttp"
	"tract/internal/sign"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// call is one request as a receiver met it.
type call struct {
	at, ended time.Time
	host      string
	attempt   int
	id        string
	header    http.Header
	body      string
	status    int // 0: no answer
}

// network stands for everything outside: hosts answer in memory, so that time
// may be the bubble's.
type network struct {
	mu      sync.Mutex // guards everything below
	hosts   map[string]func(*call) *safehttp.Response
	calls   []*call
	running map[string]int
	most    map[string]int // at once

	hanging *safehttp.Client
}

func newNetwork() *network {
	return &network{hosts: map[string]func(*call) *safehttp.Response{}, running: map[string]int{}, most: map[string]int{},
		hanging: safehttp.New(safehttp.Config{Policy: safehttp.Policy{AllowPrivate: true, Resolver: deaf{}}})}
}

// deaf never answers: the real client then meets its real deadline.
type deaf struct{}

func (deaf) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// host sets what a host answers from now on.
func (n *network) host(name string, answer func(*call) *safehttp.Response) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[name] = answer
}

// hang is an answer that never comes.
func hang(*call) *safehttp.Response { return nil }

func answer(status int, body string) func(*call) *safehttp.Response {
	return func(*call) *safehttp.Response {
		return &safehttp.Response{Status: status, Header: http.Header{}, Body: []byte(body)}
	}
}

// slow answers 200 after a while.
func slow(d time.Duration) func(*call) *safehttp.Response {
	return func(*call) *safehttp.Response {
		<-time.After(d)
		return &safehttp.Response{Status: 200, Header: http.Header{}}
	}
}

func (n *network) Do(ctx context.Context, req *http.Request) (*safehttp.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	c := &call{at: clock.System(), host: req.URL.Hostname(), id: req.Header.Get("Webhook-Id"), header: req.Header, body: string(body)}
	c.attempt, _ = strconv.Atoi(req.Header.Get("X-Tract-Attempt"))
	n.mu.Lock()
	n.calls = append(n.calls, c)
	n.running[c.host]++
	n.most[c.host] = max(n.most[c.host], n.running[c.host])
	reply := n.hosts[c.host]
	n.mu.Unlock()
	var res *safehttp.Response
	err = errors.New("no such host")
	if reply != nil {
		if res, err = reply(c), nil; res == nil {
			req.Body = io.NopCloser(bytes.NewReader(body))
			res, err = n.hanging.Do(ctx, req)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.running[c.host]--
	c.ended = clock.System()
	if res != nil {
		c.status = res.Status
	}
	return res, err
}

// to lists the calls to a host so far.
func (n *network) to(host string) (out []call) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.calls {
		if c.host == host {
			out = append(out, *c)
		}
	}
	return out
}

func (n *network) bodies(host string) (out []string) {
	for _, c := range n.to(host) {
		out = append(out, c.body)
	}
	return out
}

// world is a store with a client, threads, and a dispatcher to come.
type world struct {
	t       *testing.T
	s       *store.Store
	net     *network
	sealer  *sign.Sealer
	client  int64
	threads []int64
	cfg     delivery.Config
	d       *delivery.Dispatcher
	cancel  context.CancelFunc // ends it without waiting
	stop    func() error       // ends it and waits
	bubbled bool               // time is the bubble's
}

func newWorld(t *testing.T, s *store.Store, threads int) *world {
	t.Helper()
	sealer, err := sign.NewSealer(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, s: s, net: newNetwork(), sealer: sealer}
	w.cfg = delivery.Config{Store: s, HTTP: w.net, Sealer: sealer, Now: clock.System, Name: "test"}
	w.update(func(tx *store.Tx) (err error) {
		w.threads = nil
		if w.client, err = tx.PutClient(tract.Client{ID: "acme", Name: "Acme", Active: true}); err != nil {
			return err
		}
		for i := range threads {
			u, err := tx.PutUser(store.User{Client: w.client, AuthID: fmt.Sprint("u", i), UserName: fmt.Sprint("n", i)})
			if err != nil {
				return err
			}
			id, err := tx.InsertThread(w.client, 343, u.ID, fmt.Sprint("pxut", i), tract.PlatformWebhook)
			if err != nil {
				return err
			}
			w.threads = append(w.threads, id)
		}
		return nil
	})
	return w
}

func (w *world) update(fn func(*store.Tx) error) {
	w.t.Helper()
	if err := w.s.Update(context.Background(), fn); err != nil {
		w.t.Fatalf("update: %v", err)
	}
}

func (w *world) view(fn func(*store.Tx) error) {
	w.t.Helper()
	if err := w.s.View(context.Background(), fn); err != nil {
		w.t.Fatalf("view: %v", err)
	}
}

const testSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// hook registers a tool's hook.
func (w *world) hook(tool tract.ReceiverID, category, subcategory, url string) store.Endpoint {
	w.t.Helper()
	return w.put(store.Endpoint{Kind: store.EndpointHook, Tool: tool, Category: category, Subcategory: subcategory, URL: url}, testSecret)
}

func (w *world) put(e store.Endpoint, secrets ...string) store.Endpoint {
	w.t.Helper()
	e.Client = w.client
	for _, s := range secrets {
		sealed, err := w.sealer.Seal([]byte(s), store.SecretContext(w.client))
		if err != nil {
			w.t.Fatal(err)
		}
		e.Secrets = append(e.Secrets, sealed)
	}
	var out store.Endpoint
	w.update(func(tx *store.Tx) error {
		put, err := tx.PutEndpoint(e)
		if err != nil {
			return err
		}
		out, err = tx.Endpoint(put.ID)
		return err
	})
	return out
}

func (w *world) endpoint(id int64) (e store.Endpoint) {
	w.t.Helper()
	w.view(func(tx *store.Tx) (err error) { e, err = tx.Endpoint(id); return err })
	return e
}

// add appends one delivery for a tool to a lane.
func (w *world) add(thread, endpoint int64, tool tract.ReceiverID, payload string) {
	w.t.Helper()
	if err := add(w.s, thread, func(tx *store.Tx, l *store.Locked, id tract.MessageID) error {
		return tx.AppendDelivery(l, endpoint, store.Delivery{Entry: id, Tool: tool, DeliverySeq: l.NextDeliverySeq(tool), Payload: []byte(payload)})
	}); err != nil {
		w.t.Fatalf("append: %v", err)
	}
}

// add locks a thread and appends to its lanes.
func add(s *store.Store, thread int64, fn func(tx *store.Tx, l *store.Locked, id tract.MessageID) error) error {
	return s.UpdateThread(context.Background(), thread, func(tx *store.Tx) error {
		l, err := tx.LockThread(thread)
		if err != nil {
			return err
		}
		id, err := tx.NextID()
		if err != nil {
			return err
		}
		if err := fn(tx, l, id); err != nil {
			return err
		}
		return tx.SaveThread(l, l.State)
	})
}

// run starts a dispatcher, which ends with the test or by w.stop.
func (w *world) run() {
	w.t.Helper()
	w.d = delivery.New(w.cfg)
	w.start()
	if w.bubbled {
		synctest.Wait() // until it has registered
	}
}

func (w *world) start() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	d := w.d
	go func() { ended <- d.Run(ctx) }()
	w.cancel = cancel
	w.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	stop := w.stop
	w.t.Cleanup(func() {
		if err := stop(); err != nil {
			w.t.Errorf("run: %v", err)
		}
	})
}

func (w *world) lane(thread, endpoint int64) (l store.Lane) {
	w.t.Helper()
	w.view(func(tx *store.Tx) (err error) {
		l, _, err = tx.Lane(store.LaneKey{Thread: thread, Endpoint: endpoint})
		return err
	})
	return l
}

// log is the delivery log of an endpoint, oldest first.
func (w *world) log(endpoint int64) (out []store.LogLine) {
	w.t.Helper()
	w.view(func(tx *store.Tx) (err error) {
		out, _, err = tx.ListLog(store.LogFilter{Endpoints: []store.LogEndpoint{{Endpoint: store.Endpoint{ID: endpoint}}}, Limit: 1999, Payloads: true})
		return err
	})
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

func (w *world) states(endpoint int64) (out []string) {
	for _, l := range w.log(endpoint) {
		out = append(out, string(l.Payload)+" "+l.State)
	}
	return out
}

// empty checks that a dispatcher with nothing open keeps nothing.
func (w *world) empty() {
	w.t.Helper()
	if lanes, _, bytes, meetings, doubts := w.d.Leftovers(); lanes+bytes+meetings+doubts != 0 {
		w.t.Errorf("left in memory: %d lanes, %d bytes, %d meetings, %d doubts", lanes, bytes, meetings, doubts)
	}
}

// bubble runs a test on a real SQLite file in fake time.
func bubble(t *testing.T, threads int, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, tracttest.Open(t, tracttest.SQLiteIn(t, memoryDir(t))), threads)
		w.bubbled = true
		test(t, w)
	})
}

// memoryDir is a folder whose syncs cost nothing, where there is one: hours of
// fake time hold thousands of heartbeats.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "tract-delivery-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// pass lets fake time go by and everything settle.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
