package delivery

import (
	"context"
	"time"

	"tract/internal/store"
)

// doubt has a lane read anew, now and until some time has passed: the store has
// said something of it that memory did not expect, or has not answered.
func (d *Dispatcher) doubt(k store.LaneKey, within time.Duration) {
	if d.stopping {
		return
	}
	until := d.cfg.Now().Add(within)
	if until.After(d.doubts[k]) {
		d.doubts[k] = until
	}
	token(d.kick)
}

// resolve reads the lanes in doubt. Without it a lane that is ours in the store
// but unknown here would never be looked at again.
func (d *Dispatcher) resolve(ctx context.Context) {
	d.mu.Lock()
	keys := make([]store.LaneKey, 0, len(d.doubts))
	for k := range d.doubts {
		keys = append(keys, k)
	}
	d.mu.Unlock()
	for len(keys) > 0 {
		n := min(len(keys), claimPage)
		if !d.resolveSome(ctx, keys[:n]) {
			return // the next sweep tries again
		}
		keys = keys[n:]
	}
}

func (d *Dispatcher) resolveSome(ctx context.Context, keys []store.LaneKey) bool {
	begun := d.cfg.Now()
	rows := make([]store.Lane, len(keys))
	err := d.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		for i, k := range keys {
			if rows[i], _, err = tx.Lane(k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		if ctx.Err() == nil {
			d.cfg.Log.Warn("lanes in doubt not read", "error", err)
		}
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, k := range keys {
		if !d.doubts[k].After(begun) {
			delete(d.doubts, k)
		}
		if l := d.lanes[k]; l != nil {
			l.doubted = false
		}
		d.recall(k, rows[i])
	}
	d.pump()
	return true
}

// recall takes in what was just read of a lane, which may be nothing.
func (d *Dispatcher) recall(k store.LaneKey, s store.Lane) {
	switch l := d.lanes[k]; {
	case l == nil && s.Last == s.Done: // nothing is open
	case d.cfg.Store.IsReplica(s.Owner):
		d.adopt(s)
	case l == nil:
	case l.known && s.Fence > l.fence:
		d.forget(l) // another replica has it
	default:
		d.offer(l)
	}
}
