package delivery

import (
	"context"
	"slices"
	"time"

	"tract/internal/store"
)

// Figures of the looks for what others left.
const (
	claimPage = 500
	// looksAWhole is how many looks, at most, lie between two sweeps.
	looksAWhole = 20
	// sweepsAfter is how many sweeps follow a change of who lives: one passes
	// over lanes that a commit holds just then.
	sweepsAfter = 3
)

func (d *Dispatcher) sweepEvery() time.Duration {
	if d.alone() {
		return sweepAlone
	}
	return lookEvery
}

// alone says that no other process can send from this store, or change it.
func (d *Dispatcher) alone() bool { return d.cfg.Store.Engine() == "sqlite" }

// nudged has a sweep made at once when a commit, here or elsewhere, set lanes
// free or changed endpoints.
func (d *Dispatcher) nudged(c *store.Commit) {
	if !d.alone() && (c.Lanes || c.Missed || len(c.Endpoints) > 0) {
		token(d.nudge)
	}
}

// look sweeps if there may be something to find. A sweep costs the more the more
// lanes wait; nothing becomes free while the same replicas live, but through
// what a hint tells.
func (d *Dispatcher) look(ctx context.Context) {
	if d.alone() || !d.cfg.Store.Hinted() {
		d.sweep(ctx)
		return
	}
	var living []int64
	if err := d.cfg.Store.View(ctx, func(tx *store.Tx) (err error) { living, err = tx.ListReplicas(); return err }); err != nil {
		if ctx.Err() == nil {
			d.cfg.Log.Warn("replicas not read", "error", err)
		}
		return
	}
	d.mu.Lock()
	d.live(living)
	d.looks++
	due := d.sweeps > 0 || d.looks >= looksAWhole
	d.mu.Unlock()
	if due {
		d.sweep(ctx)
		return
	}
	d.resolve(ctx)
	d.writeHealth(ctx)
}

// live takes in who lives.
func (d *Dispatcher) live(ids []int64) {
	if !slices.Equal(ids, d.living) {
		d.living, d.sweeps = ids, sweepsAfter
	}
}

// sweep takes over open lanes whose owner is dead, looks at those in doubt, and
// whether endpoints changed elsewhere.
func (d *Dispatcher) sweep(ctx context.Context) {
	d.mu.Lock()
	d.sweeps, d.looks = max(d.sweeps-1, 0), 0
	d.mu.Unlock()
	for ctx.Err() == nil {
		var taken []store.Lane
		var living []int64
		err := d.cfg.Store.Update(ctx, func(tx *store.Tx) (err error) {
			if taken, err = tx.ClaimLanes(claimPage); err != nil {
				return err
			}
			living, err = tx.ListReplicas()
			return err
		})
		if err != nil {
			if ctx.Err() == nil {
				d.cfg.Log.Warn("take-over failed", "error", err)
			}
			d.mu.Lock()
			d.sweeps = max(d.sweeps, 1)
			d.mu.Unlock()
			return
		}
		d.mu.Lock()
		d.live(living)
		d.mu.Unlock()
		d.adoptLanes(taken)
		if len(taken) < claimPage {
			break
		}
	}
	d.closeOrphans(ctx)
	d.resolve(ctx)
	d.refresh(ctx)
	d.writeHealth(ctx)
}

// handBack gives back what waits, before the calls in flight have ended: the
// slowest of them keeps no other lane from being taken up.
func (d *Dispatcher) handBack() {
	if d.alone() {
		return
	}
	var waiting []store.Lane
	d.mu.Lock()
	for k, l := range d.lanes {
		if l.open() && !l.busy && l.marks == 0 {
			waiting = append(waiting, store.Lane{LaneKey: k, Fence: l.fence})
			d.forget(l)
		}
	}
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for page := range slices.Chunk(waiting, claimPage) {
		if err := d.cfg.Store.Update(ctx, func(tx *store.Tx) error { return tx.FreeLanes(page) }); err != nil {
			d.cfg.Log.Warn("lanes not handed back", "error", err)
			return // they are when the process has left
		}
	}
}

// closeOrphans closes what the dead left open though nothing waits in it.
func (d *Dispatcher) closeOrphans(ctx context.Context) {
	for closed := claimPage; closed == claimPage; {
		if err := d.cfg.Store.UpdateLow(ctx, func(tx *store.Tx) (err error) { closed, err = tx.CloseOrphans(claimPage); return err }); err != nil {
			if ctx.Err() == nil {
				d.cfg.Log.Warn("lanes not closed", "error", err)
			}
			return
		}
	}
}

// closeLanes tells the store of lanes in which nothing waits, and has not for a
// while. That may be late, or left to others: who reads open lanes looks what waits.
func (d *Dispatcher) closeLanes(ctx context.Context) {
	before := d.cfg.Now().Add(-closeAfter)
	var idle []store.LaneKey
	d.mu.Lock()
	for k, since := range d.settled {
		if since.After(before) {
			continue
		}
		delete(d.settled, k)
		if d.lanes[k] == nil {
			idle = append(idle, k)
		}
	}
	d.mu.Unlock()
	for page := range slices.Chunk(idle, claimPage) {
		if err := d.cfg.Store.UpdateLow(ctx, func(tx *store.Tx) error { return tx.CloseLanes(page) }); err != nil {
			if ctx.Err() == nil {
				d.cfg.Log.Warn("lanes not closed", "error", err)
			}
			return
		}
	}
}
