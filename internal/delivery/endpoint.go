package delivery

import (
	"context"
	"errors"
	"time"

	"tract/internal/store"
)

// Calls in flight to one endpoint: where it starts, how far it grows, how low
// it falls.
const (
	windowStart = 8
	windowMost  = 256
	windowLeast = 2
)

// botWindow is how many turns a bot answers at once: they cost CPU, not waiting.
const botWindow = 32

// endpoint is what the dispatcher knows of an endpoint, guarded by its mutex.
type endpoint struct {
	id      int64
	client  int64
	row     store.Endpoint
	secrets []string // opened, newest first
	loaded  bool
	loading bool
	stale   bool // it was changed and is to be read anew: no call begins before
	reread  bool // it was changed while it was being read
	gone    bool // it does not exist any more
	burying bool

	lanes    int
	ready    []*lane
	retries  []*lane
	inRing   bool
	inFlight int
	retrying int

	size   float64 // the window
	cutAt  time.Time
	health store.Health
	dirty  bool // health not yet written
}

func (d *Dispatcher) endpoint(id int64) *endpoint {
	e := d.endpoints[id]
	if e == nil {
		e = &endpoint{id: id, size: windowStart}
		d.endpoints[id] = e
	}
	return e
}

func (e *endpoint) usable() bool { return !e.loaded || (!e.gone && e.row.Enabled) }

// window is how many calls this process may have in flight: the replicas share.
func (d *Dispatcher) window(e *endpoint) int {
	if e.row.Kind == store.EndpointBot {
		return botWindow
	}
	return max(1, int(e.size)/max(1, len(d.living)))
}

// grow widens the window after a success while it is in use.
func (d *Dispatcher) grow(e *endpoint) {
	if e.inFlight+1 >= d.window(e) {
		e.size = min(windowMost, e.size+1)
	}
}

// shrink halves the window, at most once a second: one storm is one sign.
func (e *endpoint) shrink(now time.Time) {
	if now.Sub(e.cutAt) >= time.Second {
		e.cutAt = now
		e.size = max(windowLeast, e.size/2)
	}
}

// load reads an endpoint anew, in the background. No call to it begins until
// then: what was changed counts from the answer to whoever changed it.
func (d *Dispatcher) load(e *endpoint) {
	if d.stopping {
		return
	}
	e.stale = true
	if e.loading {
		e.reread = true
		return
	}
	e.loading, e.reread = true, false
	d.wg.Go(func() {
		row, health, err := d.readEndpoint(e.id)
		d.mu.Lock()
		defer d.mu.Unlock()
		e.loading = false
		switch {
		case e.reread:
			d.load(e)
		case err != nil && !errors.Is(err, store.ErrNotFound):
			d.cfg.Log.Error("endpoint read failed", "endpoint", e.id, "error", err)
			time.AfterFunc(time.Second, func() { d.mu.Lock(); defer d.mu.Unlock(); d.load(e) })
		default:
			d.loadedEndpoint(e, row, health, err != nil)
		}
	})
}

func (d *Dispatcher) readEndpoint(id int64) (row store.Endpoint, h store.Health, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = d.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		if row, err = tx.Endpoint(id); err != nil {
			return err
		}
		h, err = tx.Health(id)
		return err
	})
	return row, h, err
}

// loadedEndpoint takes a row in. An endpoint that was enabled again begins
// slowly with everything that waited for it.
func (d *Dispatcher) loadedEndpoint(e *endpoint, row store.Endpoint, h store.Health, gone bool) {
	e.stale = false
	back := e.loaded && !gone && row.Enabled && (!e.usable() || row.EnabledAt.After(e.row.EnabledAt))
	if !e.loaded {
		e.health = h
	}
	e.loaded, e.gone, e.row = true, gone, row
	if row.Client != 0 {
		e.client = row.Client
	}
	e.secrets = d.openSecrets(row)
	if back {
		e.size = windowLeast
		e.health.ConsecutiveFailures = 0
		d.claimEndpoint(e.id)
	}
	if !e.usable() {
		d.quiet(e)
	}
	d.pump()
}

// quiet lets go of everything that was to be sent to an endpoint.
func (d *Dispatcher) quiet(e *endpoint) {
	for _, l := range d.lanes {
		if l.ep == e && !l.busy && !l.queued {
			l.stopTimer()
			d.offer(l)
		}
	}
	d.unqueue(e)
	if e.gone && e.lanes == 0 {
		delete(d.endpoints, e.id)
	}
}

// bury makes dead letters of what was appended for an endpoint that was removed
// at the same moment: nobody else would ever look at it.
func (d *Dispatcher) bury(id int64) {
	e := d.endpoints[id]
	if e == nil || e.burying || d.stopping {
		return
	}
	e.burying = true
	d.insist("bury what a removed endpoint left", func(ctx context.Context) error {
		if err := d.cfg.Store.Update(ctx, func(tx *store.Tx) error { return tx.BuryOrphans(id) }); err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		e.burying = false
		return nil
	})
}

// openSecrets opens an endpoint's secrets; one that cannot be opened is "".
func (d *Dispatcher) openSecrets(row store.Endpoint) []string {
	out := make([]string, len(row.Secrets))
	for i, sealed := range row.Secrets {
		plain, err := d.cfg.Sealer.Open(sealed, store.SecretContext(row.Client))
		if err != nil {
			d.cfg.Log.Error("secret cannot be opened", "endpoint", row.ID, "error", err)
			continue
		}
		out[i] = string(plain)
	}
	return out
}

// valid picks the secrets to sign with now: the newest, and the older ones
// while they are being replaced.
func valid(row *store.Endpoint, secrets []string, now time.Time) (out []string) {
	for i, s := range secrets {
		if s != "" && (i == 0 || !now.After(row.SecretUntil)) {
			out = append(out, s)
		}
	}
	return out
}

// claimEndpoint takes everything of ours that waits for one endpoint; the sweep
// takes what dead replicas left.
func (d *Dispatcher) claimEndpoint(id int64) {
	after := int64(0)
	d.insist("take up an endpoint's lanes", func(ctx context.Context) error {
		for {
			var lanes []store.Lane
			if err := d.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
				lanes, err = tx.ListOwnLanes(id, after, claimPage)
				return err
			}); err != nil {
				return err
			}
			d.adoptLanes(lanes)
			if len(lanes) < claimPage || d.stopped() {
				return nil
			}
			after = lanes[len(lanes)-1].Thread
		}
	})
}

// refresh looks whether known endpoints were changed by others.
func (d *Dispatcher) refresh(ctx context.Context) {
	if d.alone() {
		return
	}
	d.mu.Lock()
	known := make(map[int64]int64, len(d.endpoints))
	for id, e := range d.endpoints {
		if e.loaded && !e.gone {
			known[id] = e.row.Generation
		}
	}
	d.mu.Unlock()
	var changed []int64
	if err := d.cfg.Store.View(ctx, func(tx *store.Tx) (err error) { changed, err = tx.ListChangedEndpoints(known); return err }); err != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range changed {
		if e := d.endpoints[id]; e != nil {
			d.load(e)
		}
	}
}

// writeHealth stores what was seen of endpoints since the last time.
func (d *Dispatcher) writeHealth(ctx context.Context) {
	d.mu.Lock()
	seen := map[int64]store.Health{}
	for id, e := range d.endpoints {
		if e.dirty && !e.gone && e.row.Kind != store.EndpointBot {
			e.dirty = false
			seen[id] = e.health
		}
	}
	d.mu.Unlock()
	if len(seen) == 0 {
		return
	}
	err := d.cfg.Store.Update(ctx, func(tx *store.Tx) error { return tx.PutHealths(seen) })
	if err == nil {
		return
	}
	d.cfg.Log.Warn("health not written", "error", err)
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range seen {
		if e := d.endpoints[id]; e != nil {
			e.dirty = true
		}
	}
}
