package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"tract/internal/store"
)

// Of filling.
const (
	fillChunk   = 1000 // messages in one transaction
	fillWriters = 4
	fillEach    = 500 // messages of a thread, about
	diskEach    = 500 // bytes that a message takes, log and index in it
	fillSay     = 1_000_000
)

// intakeFilled measures intake on a store that holds many messages. It is
// filled once, for all rounds.
func (r *round) intakeFilled(ctx context.Context) ([]Sample, error) {
	if r.filled.dir == "" {
		home, err := r.newHome(ctx, "filled", r.cfg.Engine)
		r.filled = home
		if err == nil {
			err = r.fill(ctx, home)
		}
		if err != nil {
			return nil, fmt.Errorf("fill the store: %w", err)
		}
	}
	return r.intakeOn(ctx, "intake-filled", r.filled, r.cfg.Replicas)
}

// fill writes messages straight into the log, past the hub: through it this
// would take hours.
func (r *round) fill(ctx context.Context, home homeOf) (err error) {
	if free, ok := freeDisk(r.dir); ok && home.url == "" && free < r.cfg.Fill*diskEach {
		return fmt.Errorf("%d messages need about %d MiB of disk; %d MiB are free", r.cfg.Fill, r.cfg.Fill*diskEach>>20, free>>20)
	}
	users := min(max(int(r.cfg.Fill/fillEach), r.size.threads), 20*r.size.threads)
	w, err := r.openRaw(ctx, home, users)
	if err != nil {
		return err
	}
	threads, err := w.threads(ctx)
	if err = errors.Join(err, w.Store.Close()); err != nil {
		return err
	}
	st, err := store.Open(ctx, store.Options{URL: home.url, Dir: home.dir, Now: clockFor(home, r.cfg.Now)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	body := rawBody()
	var done atomic.Int64
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(fillWriters)
	for from := int64(0); from < r.cfg.Fill && each.Err() == nil; from += fillChunk {
		n := min(fillChunk, r.cfg.Fill-from)
		g.Go(func() error {
			some := make([]*store.Locked, n)
			for i := range some {
				own := *threads[(int(from)+i)%len(threads)] // others write to the same thread
				some[i] = &own
			}
			if err := st.Update(each, func(tx *store.Tx) error { return insert(tx, some, body, nil) }); err != nil {
				return err
			}
			if sum := done.Add(n); sum%fillSay == 0 {
				r.cfg.Say("filled %d of %d", sum, r.cfg.Fill)
			}
			return nil
		})
	}
	return errors.Join(g.Wait(), ctx.Err())
}
