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
	gone    bool // it does not exist any more

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

func (e *endpoint) window() int {
	if e.row.Kind == store.EndpointBot {
		return botWindow
	}
	return int(e.size)
}

// grow widens the window after a success while it is in use.
func (e *endpoint) grow() {
	if e.inFlight+1 >= int(e.size) {
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

// load reads an endpoint anew, in the background.
func (d *Dispatcher) load(e *endpoint) {
	if e.loading || d.stopping {
		return
	}
	e.loading = true
	d.wg.Go(func() {
		row, health, err := d.readEndpoint(e.id)
		d.mu.Lock()
		defer d.mu.Unlock()
		e.loading = false
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			d.cfg.Log.Error("endpoint read failed", "endpoint", e.id, "error", err)
			time.AfterFunc(time.Second, func() { d.mu.Lock(); defer d.mu.Unlock(); d.load(e) })
			return
		}
		d.loadedEndpoint(e, row, health, err != nil)
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
	wasOff := e.loaded && !e.usable()
	if e.loaded && row.Generation < e.row.Generation {
		return
	}
	if !e.loaded {
		e.health = h
	}
	e.loaded, e.gone, e.row = true, gone, row
	if row.Client != 0 {
		e.client = row.Client
	}
	e.secrets = d.openSecrets(row)
	if wasOff && e.usable() {
		e.size = windowLeast
		e.health.ConsecutiveFailures = 0
		d.wg.Go(func() { d.claimEndpoint(e.id) })
	}
	if !e.usable() {
		for _, l := range d.lanes {
			if l.ep == e && !l.busy {
				l.stopTimer()
				d.freePayloads(l)
				if !l.queued {
					d.tidy(l)
				}
			}
		}
	}
	d.pump()
}

func (d *Dispatcher) openSecrets(row store.Endpoint) []string {
	var out []string
	for i, sealed := range row.Secrets {
		if i > 0 && d.cfg.Now().After(row.SecretUntil) {
			break
		}
		plain, err := d.cfg.Sealer.Open(sealed, store.SecretContext(row.Client))
		if err != nil {
			d.cfg.Log.Error("secret cannot be opened", "endpoint", row.ID, "error", err)
			continue
		}
		out = append(out, string(plain))
	}
	return out
}

// claimEndpoint takes everything that waits for one endpoint.
func (d *Dispatcher) claimEndpoint(id int64) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	after := int64(0)
	for {
		var lanes, taken []store.Lane
		err := d.cfg.Store.Update(ctx, func(tx *store.Tx) (err error) {
			if taken, err = tx.ClaimLanes(0, claimPage); err != nil {
				return err
			}
			lanes, err = tx.ListOwnLanes(id, after, claimPage)
			return err
		})
		if err != nil {
			d.cfg.Log.Warn("taking an endpoint's lanes failed", "endpoint", id, "error", err)
			return
		}
		d.adoptLanes(taken)
		d.adoptLanes(lanes)
		if len(lanes) < claimPage && len(taken) < claimPage {
			return
		}
		if len(lanes) > 0 {
			after = lanes[len(lanes)-1].Thread
		}
	}
}

// refresh looks whether known endpoints were changed by others.
func (d *Dispatcher) refresh(ctx context.Context) {
	if d.cfg.Store.Engine() == "sqlite" {
		return // every change is this process' own
	}
	d.mu.Lock()
	known := make(map[int64]int64, len(d.endpoints))
	for id, e := range d.endpoints {
		if e.loaded {
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
		d.load(d.endpoint(id))
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
	if err := d.cfg.Store.Update(ctx, func(tx *store.Tx) error { return tx.PutHealths(seen) }); err != nil && ctx.Err() == nil {
		d.cfg.Log.Warn("health not written", "error", err)
	}
}
