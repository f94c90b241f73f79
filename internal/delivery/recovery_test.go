package delivery_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tract"
	"tract/internal/clock"
	"tract/internal/delivery"
	"tract/internal/safehttp"
	"tract/internal/sign"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// receiver is a tool on loopback that keeps what it was sent.
type receiver struct {
	*httptest.Server
	fail func() bool // answers 500

	mu    sync.Mutex // guards calls
	calls []call
	grew  chan struct{}
}

func newReceiver(t *testing.T, fail func() bool) *receiver {
	r := &receiver{fail: fail, grew: make(chan struct{}, 1)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	at := clock.System()
	body, _ := io.ReadAll(req.Body)
	status := 200
	if r.fail() {
		status = 500
	}
	if sign.Verify(testSecret, req.Header, body, at, time.Hour) != nil {
		status = 401
	}
	attempt, _ := strconv.Atoi(req.Header.Get("X-Tract-Attempt"))
	r.mu.Lock()
	r.calls = append(r.calls, call{at: at, body: string(body), id: req.Header.Get("Webhook-Id"), attempt: attempt, status: status})
	r.mu.Unlock()
	w.WriteHeader(status)
	select {
	case r.grew <- struct{}{}:
	default:
	}
}

func (r *receiver) all() []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]call(nil), r.calls...)
}

func never() bool { return false }

// await waits until a condition holds that can only change when something comes.
func await(t *testing.T, what string, signal <-chan struct{}, holds func() bool) {
	t.Helper()
	limit := time.After(60 * time.Second)
	for !holds() {
		select {
		case <-signal:
		case <-time.After(20 * time.Millisecond): // what is not signalled, such as marks
		case <-limit:
			t.Fatalf("%s did not happen", what)
		}
	}
}

// settled says whether every lane of an endpoint is.
func (w *world) settled(endpoint int64) bool {
	open := false
	w.view(func(tx *store.Tx) error {
		open = false
		for _, thread := range w.threads {
			l, _, err := tx.Lane(store.LaneKey{Thread: thread, Endpoint: endpoint})
			if err != nil {
				return err
			}
			open = open || l.Last > l.Done
		}
		return nil
	})
	return !open
}

// cutOff passes calls on until it is cut; then neither calls nor answers come
// through, as if the process had been killed, until the test ends.
type cutOff struct {
	http     *safehttp.Client
	cut, end chan struct{}
}

func newCutOff() *cutOff {
	return &cutOff{http: safehttp.New(safehttp.Config{Policy: safehttp.Policy{AllowPrivate: true}}), cut: make(chan struct{}), end: make(chan struct{})}
}

func (c *cutOff) Do(ctx context.Context, req *http.Request) (*safehttp.Response, error) {
	select {
	case <-c.cut:
		<-c.end
	default:
	}
	res, err := c.http.Do(ctx, req)
	select {
	case <-c.cut:
		<-c.end
	default:
	}
	return res, err
}

// quick is a ladder that is never used up by failures at random.
func quick() []time.Duration {
	out := make([]time.Duration, 30)
	for i := range out {
		out[i] = time.Millisecond
	}
	return out
}

// drift is the machine's clock, which can be moved.
type drift struct{ by atomic.Int64 }

func (d *drift) Now() time.Time { return clock.System().Add(time.Duration(d.by.Load())).UTC() }

// loop is a world on loopback, in real time.
func loop(t *testing.T, o store.Options, threads int) (*world, *drift) {
	t.Helper()
	d := &drift{}
	o.Now = d.Now
	w := newWorld(t, tracttest.Open(t, o), threads)
	w.cfg.Now, w.cfg.Ladder = d.Now, quick()
	return w, d
}

// pour appends each messages to every thread, all threads at once.
func pour(t *testing.T, s *store.Store, threads []int64, endpoint int64, from, each int) {
	var all sync.WaitGroup
	for _, thread := range threads {
		all.Go(func() {
			for n := from; n < from+each; n++ {
				if err := add(s, thread, func(tx *store.Tx, l *store.Locked, id tract.MessageID) error {
					return tx.AppendDelivery(l, endpoint, store.Delivery{Entry: id, Tool: "crm", DeliverySeq: l.NextDeliverySeq("crm"), Payload: fmt.Appendf(nil, "%d %d", thread, n)})
				}); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestOrderOverHotThreads(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		const threads, each = 8, 100
		w, _ := loop(t, o, threads)
		tool := newReceiver(t, func() bool { return rand.Float64() < 0.2 })
		w.cfg.HTTP = newCutOff()
		e := w.hook("crm", "message", "receive", tool.URL)
		w.run()
		pour(t, w.s, w.threads, e.ID, 0, each)
		await(t, "delivery", tool.grew, func() bool { return w.settled(e.ID) })
		done := checkOrder(t, tool.all())
		good := map[string]int{}
		for _, c := range tool.all() {
			if c.status == 200 {
				good[c.body]++
			}
		}
		for _, thread := range w.threads {
			if done[fmt.Sprint(thread)] != each {
				t.Errorf("thread %d got %d of %d", thread, done[fmt.Sprint(thread)], each)
			}
		}
		for body, n := range good {
			if n != 1 {
				t.Errorf("%q was delivered %d times without a fault", body, n)
			}
		}
	})
}

func TestCrashRecovery(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		const threads, each, crashes = 8, 30, 4
		clk := &drift{}
		o.Now = clk.Now
		open := func() *store.Store {
			s, err := store.Open(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		w := newWorld(t, open(), threads)
		w.cfg.Now, w.cfg.Ladder = clk.Now, quick()
		tool := newReceiver(t, func() bool { return rand.Float64() < 0.2 })
		e := w.hook("crm", "message", "receive", tool.URL)
		for round := range crashes {
			wire := newCutOff()
			w.cfg.HTTP = wire
			w.run()
			t.Cleanup(func() { close(wire.end) }) // before it is waited for
			first := len(tool.all())
			var pouring sync.WaitGroup
			pouring.Go(func() { pour(t, w.s, w.threads, e.ID, round*each, each) })
			await(t, "some delivery", tool.grew, func() bool { return len(tool.all()) > first+threads*each/3 })
			close(wire.cut) // nothing goes out, no answer comes in, nothing in flight is marked
			w.cancel()      // and nothing is taken up any more
			pouring.Wait()
			w.s.Close()
			clk.by.Add(int64(20 * time.Second)) // its lease ends
			w.s = open()
			w.cfg.Store = w.s
		}
		last := w.s
		t.Cleanup(func() { last.Close() })
		w.cfg.HTTP = newCutOff()
		w.run()
		await(t, "recovery", tool.grew, func() bool { return w.settled(e.ID) })
		done := checkOrderAtLeastOnce(t, tool.all())
		for _, thread := range w.threads {
			if n := done[fmt.Sprint(thread)]; n != crashes*each {
				t.Errorf("thread %d got %d of %d", thread, n, crashes*each)
			}
		}
	})
}

// checkOrderAtLeastOnce is checkOrder where an answer may have been lost: what
// comes again has the same id.
func checkOrderAtLeastOnce(t *testing.T, calls []call) map[string]int {
	t.Helper()
	ids := map[string]string{}
	for _, c := range calls {
		if id, ok := ids[c.body]; ok && id != c.id {
			t.Errorf("%q came under %q and %q", c.body, id, c.id)
		}
		ids[c.body] = c.id
	}
	return checkOrder(t, calls)
}

// two opens a second replica on the same database.
func (w *world) two(t *testing.T, o store.Options, now func() time.Time) *world {
	t.Helper()
	o.Now = now
	other := *w
	other.s = tracttest.Open(t, o)
	other.cfg.Store, other.cfg.Now, other.cfg.Name = other.s, now, "other"
	return &other
}

func TestTwoReplicas(t *testing.T) {
	o := tracttest.Fresh(t, "postgres")
	const threads, each = 8, 60
	a, clk := loop(t, o, threads)
	b := a.two(t, o, clk.Now)
	tool := newReceiver(t, func() bool { return rand.Float64() < 0.1 })
	a.cfg.HTTP, b.cfg.HTTP = newCutOff(), newCutOff()
	e := a.hook("crm", "message", "receive", tool.URL)
	bot := a.put(store.Endpoint{Kind: store.EndpointBot, Business: 343})
	var mu sync.Mutex // guards turns
	turns := map[store.LaneKey][]int64{}
	for _, w := range []*world{a, b} {
		w.cfg.Bot = func(ctx context.Context, _ []byte, k store.LaneKey, seq int64) error {
			return w.s.Update(ctx, func(tx *store.Tx) error {
				open, err := tx.SettleTurn(k, seq)
				if open && err == nil {
					mu.Lock()
					turns[k] = append(turns[k], seq)
					mu.Unlock()
				}
				return err
			})
		}
		w.run()
	}
	var pouring sync.WaitGroup
	for i, w := range []*world{a, b} { // the same threads from both sides
		pouring.Go(func() {
			for n := range each {
				for _, thread := range w.threads {
					if err := add(w.s, thread, func(tx *store.Tx, l *store.Locked, id tract.MessageID) error {
						if err := tx.AppendDelivery(l, bot.ID, store.Delivery{Entry: id, Payload: []byte("turn")}); err != nil {
							return err
						}
						seq := l.NextDeliverySeq("crm") // also the place in the thread
						return tx.AppendDelivery(l, e.ID, store.Delivery{Entry: id, Tool: "crm", DeliverySeq: seq, Payload: fmt.Appendf(nil, "%d %d", thread, seq-1)})
					}); err != nil {
						t.Errorf("replica %d, %d: %v", i, n, err)
						return
					}
				}
			}
		})
	}
	pouring.Wait()
	await(t, "delivery of everything", tool.grew, func() bool { return a.settled(e.ID) && a.settled(bot.ID) })
	done := checkOrderAtLeastOnce(t, tool.all())
	for _, thread := range a.threads {
		if n := done[fmt.Sprint(thread)]; n != 2*each {
			t.Errorf("thread %d got %d of %d", thread, n, 2*each)
		}
		for i, seq := range turns[store.LaneKey{Thread: thread, Endpoint: bot.ID}] {
			if seq != int64(i+1) {
				t.Errorf("thread %d: turn %d was answered as number %d", thread, seq, i+1)
			}
		}
	}
}

// A turn that another replica appends while the bot answers is not forgotten.
func TestTurnAppendedElsewhereWhileTheBotAnswers(t *testing.T) {
	o := tracttest.Fresh(t, "postgres")
	a, clk := loop(t, o, 1)
	b := a.two(t, o, clk.Now)
	bot := a.put(store.Endpoint{Kind: store.EndpointBot, Business: 343})
	asked, answer := make(chan int64, 8), make(chan struct{})
	a.cfg.Bot = func(_ context.Context, _ []byte, k store.LaneKey, seq int64) error {
		asked <- seq
		<-answer
		return settle(a.s, k, seq)
	}
	a.run()
	await(t, "registration", nil, a.d.Ready)
	a.turn(a.threads[0], bot.ID, "one")
	<-asked
	b.turn(a.threads[0], bot.ID, "two") // a owns the lane and is not told
	close(answer)
	select {
	case seq := <-asked:
		if seq != 2 {
			t.Errorf("asked for turn %d", seq)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the second turn was forgotten")
	}
	await(t, "the answer", nil, func() bool { return a.settled(bot.ID) })
}

// A replica that was taken for dead finishes its call: what it has to say does
// not count, and it does not send the lane on.
func TestLateMarksChangeNothing(t *testing.T) {
	o := tracttest.Fresh(t, "postgres")
	a, _ := loop(t, o, 1)
	bClock := &drift{}
	b := a.two(t, o, bClock.Now)
	arrived, answerA := make(chan struct{}, 8), make(chan int)
	a.net.host("tool", func(c *call) *safehttp.Response {
		arrived <- struct{}{}
		return answer(<-answerA, "from a")(c)
	})
	b.net = newNetwork()
	b.cfg.HTTP = b.net
	b.net.host("tool", answer(200, ""))
	e := a.hook("crm", "message", "receive", "https://tool/")
	a.cfg.Ladder, b.cfg.Ladder = delivery.DefaultLadder(), delivery.DefaultLadder()
	a.run()
	await(t, "registration", nil, a.d.Ready)
	for n := range 3 {
		a.add(a.threads[0], e.ID, "crm", fmt.Sprint("x ", n))
	}
	<-arrived
	before := a.lane(a.threads[0], e.ID)
	bClock.by.Add(int64(20 * time.Second)) // to b the other seems dead
	b.run()
	await(t, "take-over", nil, func() bool { return b.settled(e.ID) })
	after := b.lane(a.threads[0], e.ID)
	if after.Fence <= before.Fence || after.Owner == before.Owner || after.Done != 3 {
		t.Fatalf("lane before %+v, after %+v", before, after)
	}
	answerA <- 500 // the late mark of a failure
	await(t, "the late mark", nil, func() bool { lanes, _, _, _, doubts := a.d.Leftovers(); return lanes == 0 && doubts == 0 })
	if now := b.lane(a.threads[0], e.ID); now != after {
		t.Errorf("a late mark changed the lane:\n%+v\n%+v", after, now)
	}
	a.view(func(tx *store.Tx) error {
		attempts, err := tx.ListAttempts(store.LaneKey{Thread: a.threads[0], Endpoint: e.ID}, 1)
		if len(attempts) != 0 {
			t.Errorf("a late mark left attempts: %+v", attempts)
		}
		return err
	})
	if n := len(a.net.to("tool")); n != 1 {
		t.Errorf("the replica that lost the lane sent %d", n)
	}
	if diff := fmt.Sprint(b.net.bodies("tool")); diff != "[x 0 x 1 x 2]" {
		t.Errorf("the other sent %s", diff)
	}
}

// A process that stops gives back what waits at once, and what it is calling for
// when the call has ended.
func TestHandBack(t *testing.T) {
	o := tracttest.Fresh(t, "postgres")
	a, clk := loop(t, o, 3)
	b := a.two(t, o, clk.Now)
	arrived, end := make(chan struct{}, 8), make(chan struct{})
	a.net.host("tool", func(c *call) *safehttp.Response {
		arrived <- struct{}{}
		<-end
		return answer(200, "")(c)
	})
	b.net = newNetwork()
	b.cfg.HTTP = b.net
	b.net.host("tool", answer(200, ""))
	e := a.hook("crm", "message", "receive", "https://tool/")
	a.cfg.InFlight, a.cfg.PerClient = 1, 1
	a.run()
	b.run()
	await(t, "registration", nil, func() bool { return a.d.Ready() && b.d.Ready() })
	for _, thread := range a.threads {
		a.add(thread, e.ID, "crm", fmt.Sprint(thread))
	}
	a.add(a.threads[0], e.ID, "crm", "next")
	<-arrived
	a.cancel()
	others := fmt.Sprintf("[%d %d]", a.threads[1], a.threads[2])
	await(t, "what waited", nil, func() bool {
		sent := b.net.bodies("tool")
		slices.Sort(sent)
		return fmt.Sprint(sent) == others
	})
	close(end)
	await(t, "what was being called for", nil, func() bool { return b.settled(e.ID) })
	if sent := b.net.bodies("tool"); len(sent) != 3 || sent[2] != "next" {
		t.Errorf("the other sent %v", sent)
	}
	if n := len(a.net.to("tool")); n != 1 {
		t.Errorf("the one that stopped sent %d", n)
	}
}

// A process that stood still for longer than its lease begins anew and forgets
// nothing, whatever is appended meanwhile.
func TestLeaseLost(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		const threads, each = 8, 40
		w, clk := loop(t, o, threads)
		tool := newReceiver(t, never)
		w.cfg.HTTP = newCutOff()
		e := w.hook("crm", "message", "receive", tool.URL)
		w.run()
		await(t, "registration", nil, w.d.Ready)
		for round := range 5 {
			var pouring sync.WaitGroup
			pouring.Go(func() { pour(t, w.s, w.threads, e.ID, round*each, each) })
			clk.by.Add(int64(16 * time.Second))
			w.d.Heartbeat(t.Context())
			pouring.Wait()
		}
		w.d.Heartbeat(t.Context())
		await(t, "delivery", tool.grew, func() bool { return w.settled(e.ID) })
		done := checkOrderAtLeastOnce(t, tool.all())
		for _, thread := range w.threads {
			if n := done[fmt.Sprint(thread)]; n != 5*each {
				t.Errorf("thread %d got %d of %d", thread, n, 5*each)
			}
		}
	})
}

// A commit whose answer was lost may have happened: the store knows.
func TestCommitWithoutAnswer(t *testing.T) {
	o := tracttest.Fresh(t, "postgres")
	w, _ := loop(t, o, 1)
	tool := newReceiver(t, never)
	w.cfg.HTTP = newCutOff()
	e := w.hook("crm", "message", "receive", tool.URL)
	w.run()
	await(t, "registration", nil, w.d.Ready)
	thread := w.threads[0]
	w.add(thread, e.ID, "crm", "x 0")
	await(t, "the first", tool.grew, func() bool { return w.settled(e.ID) })
	// What this process appends next is committed, and then the connection breaks.
	k := store.LaneKey{Thread: thread, Endpoint: e.ID}
	w.d.Appending([]store.LaneKey{k})
	c, err := pgx.Connect(t.Context(), o.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	for _, q := range []string{
		`insert into outbox select thread, endpoint, 2, entry, tool, 2, 0, 'x 1', created_at from outbox where seq = 1`,
		`update lanes set last = 2`,
	} {
		if _, err := c.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	w.d.Aborted([]store.LaneKey{k})
	await(t, "the second", tool.grew, func() bool { return len(tool.all()) == 2 })
	if calls := tool.all(); calls[1].body != "x 1" {
		t.Errorf("calls %+v", calls)
	}
}

// What a tool says must never keep marks from being written, on any engine.
func TestWhatToolsSayCanBeStored(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		w, _ := loop(t, o, 1)
		says := []string{`{"error": "a\u0000b"}`, "{\"error\": [\"\xff\xfe\"]}", `{"error": "\ud800"}`, "\x00\x00", `{"ect_user_id": "\u0000"}`, "{\"ect_user_id\": \"\xff\"}"}
		for i, body := range says {
			w.net.host(fmt.Sprint("tool", i), answer(200+i%2, body))
		}
		w.run()
		var hooks []store.Endpoint
		for i := range says {
			category := []string{"message", "user_events"}[i/4]
			e := w.hook("crm", category, fmt.Sprint(i), fmt.Sprint("https://tool", i, "/"))
			w.add(w.threads[0], e.ID, "crm", "x")
			hooks = append(hooks, e)
		}
		for _, e := range hooks {
			await(t, "the mark", nil, func() bool { return w.settled(e.ID) })
		}
	})
}

// Held deliveries on both engines: the caller or the lane, never both.
func TestHoldRaceOnBothEngines(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		w, _ := loop(t, o, 8)
		w.net.host("channel", answer(200, ""))
		e := w.put(store.Endpoint{Kind: store.EndpointChannel, Business: 343, URL: "https://channel/"}, "raw")
		w.run()
		await(t, "registration", nil, w.d.Ready)
		var mu sync.Mutex // guards taken
		taken := map[string]bool{}
		var all sync.WaitGroup
		const rounds = 25
		for _, thread := range w.threads {
			all.Go(func() {
				for round := range rounds {
					body := fmt.Sprint(thread, " ", round)
					until := w.cfg.Now().Add(15 * time.Millisecond).Truncate(time.Microsecond)
					w.held(thread, e.ID, until, body)
					<-time.After(until.Sub(w.cfg.Now()))
					n := w.take(thread, e.ID, until)
					mu.Lock()
					taken[body] = n == 1
					mu.Unlock()
				}
			})
		}
		all.Wait()
		await(t, "the rest", nil, func() bool { return w.settled(e.ID) })
		sent := map[string]int{}
		for _, c := range w.net.to("channel") {
			sent[c.body]++
		}
		count := 0
		for body, was := range taken {
			if n := sent[body]; n > 1 || was == (n == 1) {
				t.Errorf("%q: taken %v, sent %d times", body, was, n)
			}
			if was {
				count++
			}
		}
		t.Logf("%d of %d were taken", count, len(taken))
	})
}
