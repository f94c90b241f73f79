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
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tract/internal/safehttp"
	"tract/internal/sign"
	"tract/internal/store"
)

// Config is what a Dispatcher needs. Fields with a default may be left out.
type Config struct {
	Store  *store.Store
	HTTP   *safehttp.Client
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
	Observe   func(Event)     // hears of every attempt; must be quick
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
	sweepEvery     = 5 * time.Second
	// leaseMargin is the time since the last heartbeat after which nothing new
	// is sent: an attempt begun before then ends before others take over.
	leaseMargin = 8 * time.Second
)

// Dispatcher sends what lanes hold.
type Dispatcher struct {
	cfg  Config
	done chan struct{} // closed when Run's work must stop being begun
	wg   sync.WaitGroup

	marks  chan *mark
	kick   chan struct{}
	beatAt atomic.Int64 // unix nanoseconds of the last heartbeat; 0 = not running

	mu        sync.Mutex // guards everything below
	lanes     map[store.LaneKey]*lane
	endpoints map[int64]*endpoint
	ring      []*endpoint // those with something ready, in turn
	inFlight  int
	retrying  int
	clients   map[int64]int // in flight, by client
	bytes     int           // of payloads in memory
	stopping  bool
	meetings  map[introduction]*meeting // create_user calls not yet tried
}

// introduction is a tool's first meeting with a thread.
type introduction struct {
	thread int64
	tool   string
}

// meeting is a create_user call with the lanes that wait for its first attempt.
type meeting struct {
	lane    *lane
	waiting []*lane
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
	d := &Dispatcher{cfg: cfg, done: make(chan struct{}), marks: make(chan *mark, 4096), kick: make(chan struct{}, 1),
		lanes: map[store.LaneKey]*lane{}, endpoints: map[int64]*endpoint{}, clients: map[int64]int{}, meetings: map[introduction]*meeting{}}
	cfg.Store.Watch(d)
	return d
}

// Run registers this process, takes over what nobody sends, and dispatches until
// ctx ends; then it lets calls in flight finish and gives its lanes back.
func (d *Dispatcher) Run(ctx context.Context) error {
	if _, err := d.cfg.Store.RegisterReplica(ctx, d.cfg.Name); err != nil {
		return err
	}
	d.beat()
	var marker sync.WaitGroup
	marker.Go(d.markLoop)
	d.sweep(ctx)
	beats, sweeps := time.NewTicker(heartbeatEvery), time.NewTicker(sweepEvery)
	defer beats.Stop()
	defer sweeps.Stop()
	for {
		select {
		case <-ctx.Done():
			d.stop(&marker)
			return nil
		case <-beats.C:
			d.heartbeat(ctx)
		case <-sweeps.C:
			d.sweep(ctx)
		case <-d.kick:
			d.sweep(ctx)
		}
	}
}

// Ready says whether the dispatcher runs and holds its lease.
func (d *Dispatcher) Ready() bool { return d.leased() }

func (d *Dispatcher) beat() { d.beatAt.Store(d.cfg.Now().UnixNano()) }

func (d *Dispatcher) leased() bool {
	at := d.beatAt.Load()
	return at != 0 && d.cfg.Now().Sub(time.Unix(0, at)) < leaseMargin
}

func (d *Dispatcher) heartbeat(ctx context.Context) {
	begun := d.cfg.Now()
	alive, err := d.cfg.Store.Heartbeat(ctx)
	if err != nil {
		d.cfg.Log.Warn("heartbeat failed", "error", err)
		return
	}
	if !alive {
		// Others may have taken our lanes over: forget them and begin anew.
		d.cfg.Log.Warn("lease lost")
		if _, err := d.cfg.Store.RegisterReplica(ctx, d.cfg.Name); err != nil {
			d.cfg.Log.Error("register failed", "error", err)
			return
		}
		d.mu.Lock()
		for _, l := range d.lanes {
			d.forget(l)
		}
		d.mu.Unlock()
		begun = d.cfg.Now()
	}
	d.beatAt.Store(begun.UnixNano())
	d.mu.Lock()
	d.pump()
	d.mu.Unlock()
	if !alive {
		d.sweep(ctx)
	}
}

// sweep takes over open lanes whose owner is dead, and looks whether endpoints
// changed elsewhere.
func (d *Dispatcher) sweep(ctx context.Context) {
	for ctx.Err() == nil {
		var taken []store.Lane
		err := d.cfg.Store.Update(ctx, func(tx *store.Tx) (err error) {
			taken, err = tx.ClaimLanes(0, claimPage)
			return err
		})
		if err != nil {
			if ctx.Err() == nil {
				d.cfg.Log.Warn("take-over failed", "error", err)
			}
			return
		}
		d.adoptLanes(taken)
		if len(taken) < claimPage {
			break
		}
	}
	d.refresh(ctx)
	d.writeHealth(ctx)
}

const claimPage = 500

func (d *Dispatcher) stop(marker *sync.WaitGroup) {
	d.mu.Lock()
	d.stopping = true
	for _, l := range d.lanes {
		l.stopTimer()
	}
	d.mu.Unlock()
	close(d.done)
	d.wg.Wait()
	close(d.marks)
	marker.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	d.writeHealth(ctx)
	if err := d.cfg.Store.LeaveReplica(ctx); err != nil {
		d.cfg.Log.Warn("leaving failed", "error", err)
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

// Aborted ends an Appending whose commit failed.
func (d *Dispatcher) Aborted(keys []store.LaneKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range keys {
		l := d.lane(k)
		l.pins--
		d.tidy(l)
	}
}

// Committed takes what a commit appended.
func (d *Dispatcher) Committed(c *store.Commit) {
	if len(c.Appends) == 0 && len(c.Endpoints) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range c.Appends {
		d.appended(&c.Appends[i])
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
	if a.State.Owner == 0 || !d.cfg.Store.IsReplica(a.State.Owner) || d.stopping {
		d.tidy(l)
		return
	}
	d.merge(l, a.State)
	if len(l.queue) == int(a.Seq-1-l.done) && len(l.queue) < lanePayloads && d.bytes+len(a.Payload) <= payloadBytes {
		l.queue = append(l.queue, a.Delivery)
		d.bytes += len(a.Payload)
	}
	if a.Tool != "" && a.DeliverySeq == 0 && l.attempt == 0 {
		d.meetings[introduction{a.Lane.Thread, string(a.Tool)}] = &meeting{lane: l}
	}
	d.offer(l)
}

// adoptLanes takes lanes read from the store.
func (d *Dispatcher) adoptLanes(lanes []store.Lane) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range lanes {
		l := d.lane(s.LaneKey)
		d.merge(l, s)
		d.offer(l)
	}
	d.pump()
}

func (d *Dispatcher) random() float64 { return rand.Float64() }
