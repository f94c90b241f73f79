// Package delivery owns the lanes: it sends what was committed, in order per
// (endpoint, thread) and at least once, retries, watches the health of
// endpoints, and keeps dead letters.
//
// It must not change threads; it meets the conversation package only in the
// outbox. Invariants: of a lane only the delivery done+1 is ever in flight, and
// only by the replica that holds the lane's fence; a delivery is settled by a
// 2xx or by becoming a dead letter, never by being forgotten; no endpoint slows
// another.
package delivery

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tract/internal/safehttp"
	"tract/internal/sign"
	"tract/internal/store"
)

// caller makes one call; *safehttp.Client is one.
type caller interface {
	Do(ctx context.Context, req *http.Request) (*safehttp.Response, error)
}

// Config is what a Dispatcher needs. Fields with a default may be left out.
type Config struct {
	Store  *store.Store
	HTTP   caller // ends every call by a deadline of its own
	Sealer *sign.Sealer
	Log    *slog.Logger
	Now    func() time.Time
	// Bot answers one turn; it settles the turn in its own transaction.
	Bot func(ctx context.Context, payload []byte, lane store.LaneKey, seq int64) error

	Name      string          // of this process, for people
	Ladder    []time.Duration // waits between attempts; DefaultLadder
	InFlight  int             // calls at once over all endpoints; 1024
	PerClient int             // calls at once for one client; 512
	Metrics   *Metrics        // nil counts nowhere
	Observe   func(Event)     // hears of every attempt; must be quick and not call back
	Alarm     func(code string, client, endpoint int64)
}

// Event is one attempt as it ended, for those who look on.
type Event struct {
	Client, Thread, Endpoint int64
	Kind                     string
	Tool                     string
	Name                     string // category/subcategory, or "channel", "bot"
	DeliveryID               string
	Entry                    int64
	DeliverySeq              int64
	Attempt                  int
	Status                   int
	Error                    string
	Latency                  time.Duration
	Outcome                  string // delivered | retry | dead | disabled | held
	NextAt                   time.Time
}

// Bounds of what is kept in memory; beyond them the outbox is read.
const (
	lanePayloads   = 16
	payloadBytes   = 64 << 20
	heartbeatEvery = 3 * time.Second
	lookEvery      = 500 * time.Millisecond // what a dead replica had is taken over so soon after its lease ended
	sweepAlone     = 5 * time.Second        // where there is no other replica
	// closeAfter is how long nothing waits in a lane before the store is told: one
	// that is busy stays open between its deliveries.
	closeAfter = 10 * time.Second
	// leaseMargin is the time since the last heartbeat after which nothing new
	// is sent: an attempt begun before then ends before others take over.
	leaseMargin = 8 * time.Second
)

// Dispatcher sends what lanes hold.
type Dispatcher struct {
	cfg  Config
	done chan struct{} // closed when Run's work must stop being begun
	wg   sync.WaitGroup

	marked chan struct{} // a token when there are marks, or no more will come
	kick   chan struct{} // a token when lanes are in doubt
	nudge  chan struct{} // a token when others changed what a sweep finds
	beatAt atomic.Int64  // unix nanoseconds of the last heartbeat; 0 = not running

	mu        sync.Mutex // guards everything below
	lanes     map[store.LaneKey]*lane
	endpoints map[int64]*endpoint
	ring      []*endpoint // those with something ready, in turn
	inFlight  int
	retrying  int
	clients   map[int64]int // in flight, by client
	bytes     int           // of payloads in memory
	living    []int64       // replicas that share the endpoints, as they were read last
	sweeps    int           // that are due
	looks     int           // since the last sweep
	marks     []*mark       // not yet written, in the order of the attempts
	unmarked  bool          // no more marks will come
	stopping  bool
	meetings  map[introduction]*meeting   // create_user calls not yet tried
	doubts    map[store.LaneKey]time.Time // lanes to be read anew, at least until then
	settled   map[store.LaneKey]time.Time // lanes in which nothing waits any more, and since when
}

// New makes a dispatcher and lets it hear of commits. Nothing is sent before Run.
func New(cfg Config) *Dispatcher {
	if cfg.Ladder == nil {
		cfg.Ladder = DefaultLadder()
	}
	if cfg.InFlight == 0 {
		cfg.InFlight = 1024
	}
	if cfg.PerClient == 0 {
		cfg.PerClient = cfg.InFlight / 2
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	d := &Dispatcher{cfg: cfg, done: make(chan struct{}), marked: make(chan struct{}, 1), kick: make(chan struct{}, 1), nudge: make(chan struct{}, 1),
		lanes: map[store.LaneKey]*lane{}, endpoints: map[int64]*endpoint{}, clients: map[int64]int{}, meetings: map[introduction]*meeting{}, doubts: map[store.LaneKey]time.Time{}, settled: map[store.LaneKey]time.Time{}}
	cfg.Store.Watch(d)
	return d
}

// Run registers this process, takes over what nobody sends, and dispatches until
// ctx ends; then it lets calls in flight finish and gives its lanes back.
func (d *Dispatcher) Run(ctx context.Context) error {
	if _, err := d.cfg.Store.RegisterReplica(ctx, d.cfg.Name); err != nil {
		if ctx.Err() != nil {
			return nil // it was told to stop before it began
		}
		return err
	}
	d.beatAt.Store(d.cfg.Now().UnixNano())
	var marker, beater sync.WaitGroup
	marker.Go(d.markLoop)
	// The lease is kept until the last call has ended, and apart from the sweeps:
	// a long one must not cost it.
	alive, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	beater.Go(func() { d.beatLoop(alive) })
	d.sweep(ctx)
	sweeps := time.NewTicker(d.sweepEvery())
	defer sweeps.Stop()
	for {
		select {
		case <-ctx.Done():
			d.stop(&marker)
			leave()
			beater.Wait()
			d.leave()
			return nil
		case <-sweeps.C:
			d.look(ctx)
			d.closeLanes(ctx)
		case <-d.nudge:
			d.sweep(ctx)
		case <-d.kick:
			d.resolve(ctx)
		}
	}
}

// Ready says whether the dispatcher runs and holds its lease.
func (d *Dispatcher) Ready() bool { return d.leased() }

func (d *Dispatcher) leased() bool {
	at := d.beatAt.Load()
	return at != 0 && d.cfg.Now().Sub(time.Unix(0, at)) < leaseMargin
}

func (d *Dispatcher) beatLoop(ctx context.Context) {
	beats := time.NewTicker(heartbeatEvery)
	defer beats.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beats.C:
			d.heartbeat(ctx)
		}
	}
}

func (d *Dispatcher) heartbeat(ctx context.Context) {
	begun := d.cfg.Now()
	alive, err := d.cfg.Store.Heartbeat(ctx)
	if err == nil && !alive {
		d.cfg.Log.Warn("lease lost")
		begun = d.cfg.Now()
		err = d.reregister(ctx)
	}
	if err != nil {
		if ctx.Err() == nil {
			d.cfg.Log.Warn("heartbeat failed", "error", err)
		}
		return
	}
	d.beatAt.Store(begun.UnixNano())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pump()
}

// reregister begins anew after the lease was lost: others may have taken over
// what we had under the old number. The sweep takes the rest.
func (d *Dispatcher) reregister(ctx context.Context) error {
	d.beatAt.Store(0)
	id, err := d.cfg.Store.RegisterReplica(ctx, d.cfg.Name)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lanes {
		if l.known && l.owner != id { // some may have been claimed under the new number already
			d.forget(l)
		}
	}
	return nil
}

// stop lets what is in flight end and writes what came of it.
func (d *Dispatcher) stop(marker *sync.WaitGroup) {
	d.mu.Lock()
	d.stopping = true
	for _, l := range d.lanes {
		l.stopTimer()
	}
	d.mu.Unlock()
	close(d.done)
	d.handBack()
	d.wg.Wait()
	d.mu.Lock()
	d.unmarked = true
	d.mu.Unlock()
	token(d.marked)
	marker.Wait()
}

func (d *Dispatcher) stopped() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// leave gives the lanes back.
func (d *Dispatcher) leave() {
	d.beatAt.Store(0)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	d.writeHealth(ctx)
	if err := d.cfg.Store.LeaveReplica(ctx); err != nil {
		d.cfg.Log.Warn("leaving failed", "error", err)
	}
}

// insist does what must not be given up because the store does not answer.
func (d *Dispatcher) insist(what string, do func(context.Context) error) {
	d.wg.Go(func() {
		for {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			err := do(ctx)
			cancel()
			if err == nil {
				return
			}
			d.cfg.Log.Warn("store did not answer; trying again", "doing", what, "error", err)
			select {
			case <-d.done:
				return
			case <-time.After(time.Second):
			}
		}
	})
}

// token wakes the loop that reads ch, if it is not about to wake anyway.
func token(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// The three methods of store.Watcher.

// Appending keeps the lanes in memory until their commit is answered, so that a
// late answer cannot bring back what was settled meanwhile.
func (d *Dispatcher) Appending(keys []store.LaneKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range keys {
		d.lane(k).pins++
	}
}

// Aborted ends an Appending whose commit failed, or seemed to: where the answer
// was lost the store knows better, and the commit may yet come to pass.
func (d *Dispatcher) Aborted(keys []store.LaneKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range keys {
		l := d.lane(k)
		l.pins--
		d.tidy(l)
		d.doubt(k, commitLimit)
	}
}

// commitLimit is the time after which a commit without an answer has either
// happened or will not.
const commitLimit = 20 * time.Second

// Committed takes what a commit appended.
func (d *Dispatcher) Committed(c *store.Commit) {
	d.nudged(c)
	if len(c.Appends) == 0 && len(c.Endpoints) == 0 && len(c.Withdrawn) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range c.Appends {
		d.appended(&c.Appends[i])
	}
	for _, k := range c.Withdrawn {
		if l := d.lanes[k]; l != nil {
			d.freePayloads(l)
			l.doubted = true
			d.doubt(k, 0)
		}
	}
	for _, id := range c.Endpoints {
		if e := d.endpoints[id]; e != nil {
			d.load(e)
		}
	}
	d.pump()
}

func (d *Dispatcher) appended(a *store.Append) {
	l := d.lane(a.Lane)
	l.pins--
	if !d.cfg.Store.IsReplica(a.State.Owner) || d.stopping {
		if !slices.Contains(d.living, a.State.Owner) {
			d.sweeps = max(d.sweeps, 1) // it died while this was on its way
		}
		d.tidy(l)
		return
	}
	d.merge(l, a.State)
	if l.known && int64(len(l.queue)) == a.Seq-1-l.done && len(l.queue) < lanePayloads && d.bytes+len(a.Payload) <= payloadBytes {
		l.queue = append(l.queue, a.Delivery)
		d.bytes += len(a.Payload)
	}
	if a.Tool != "" && a.DeliverySeq == 0 {
		d.meet(l, introduction{a.Lane.Thread, string(a.Tool)})
	} else {
		d.join(l, &a.Delivery)
	}
	d.offer(l)
}

// adoptLanes takes lanes that the store says are ours.
func (d *Dispatcher) adoptLanes(lanes []store.Lane) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range lanes {
		d.adopt(s)
	}
	d.pump()
}

func (d *Dispatcher) adopt(s store.Lane) {
	if !d.cfg.Store.IsReplica(s.Owner) {
		return // claimed under a number that we lost meanwhile
	}
	l := d.lane(s.LaneKey)
	d.merge(l, s)
	d.offer(l)
}
