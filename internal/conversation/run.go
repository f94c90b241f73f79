package conversation

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"tract"
	"tract/internal/store"
)

type toolJob struct {
	Tool tract.ReceiverID `json:"tool"`
}

// look is how often the time is compared with that of the next timer or job.
const look = 200 * time.Millisecond

// lookAnyway is how many looks later the store is read whatever this process
// knows: who sets a timer fires it, but may die before.
const lookAnyway = 10

// page is how many threads, timers or jobs are taken at a time.
const page = 100

// Run fires timers and does jobs until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for idle := lookAnyway; ; idle++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if idle < lookAnyway && !s.watches.due(s.Store.Now()) {
			continue
		}
		idle = 0
		s.watches.looked()
		if _, err := s.FireDue(ctx); err != nil && ctx.Err() == nil {
			s.Log.Error("timers failed", "error", err)
		}
		if _, err := s.DoJobs(ctx); err != nil && ctx.Err() == nil {
			s.Log.Error("jobs failed", "error", err)
		}
		var next time.Time
		if err := s.Store.View(ctx, func(tx *store.Tx) (err error) { next, err = tx.NextWork(); return err }); err == nil {
			s.watches.until(next)
		}
	}
}

// FireDue fires every timer that is due and says how many. Several replicas may
// do it at once: the thread's state says whether a timer still stands.
func (s *Service) FireDue(ctx context.Context) (int, error) {
	fired := 0
	for {
		var due []store.DueTimer
		err := s.Store.View(ctx, func(tx *store.Tx) (err error) {
			due, err = tx.ListDueTimers(tx.Now, page)
			return err
		})
		if err != nil {
			return fired, err
		}
		for _, d := range due {
			if err := s.fire(ctx, d); err != nil {
				return fired, err
			}
			fired++
		}
		if len(due) < page {
			return fired, nil
		}
	}
}

func (s *Service) fire(ctx context.Context, d store.DueTimer) error {
	_, err := s.Do(ctx, d.Thread, tract.Fire{Timer: d.Kind})
	if err == nil || ctx.Err() != nil || errors.Is(err, store.ErrUnavailable) {
		return err
	}
	if errors.Is(err, ErrErased) {
		return nil // its timers are gone, too
	}
	// One thread that cannot be handled must not keep the others waiting.
	s.Log.Error("timer failed", "thread", d.Thread, "timer", string(d.Kind), "error", err)
	return s.Store.Update(ctx, func(tx *store.Tx) error { return tx.PostponeTimer(d, tx.Now.Add(time.Minute)) })
}

// DoJobs does every job that is due and says how many.
func (s *Service) DoJobs(ctx context.Context) (int, error) {
	var due bool
	if err := s.Store.View(ctx, func(tx *store.Tx) (err error) { due, err = tx.JobsDue(); return err }); err != nil || !due {
		return 0, err
	}
	var jobs []store.Job
	if err := s.Store.Update(ctx, func(tx *store.Tx) (err error) { jobs, err = tx.ClaimJobs(page); return err }); err != nil {
		return 0, err
	}
	for _, j := range jobs {
		done, next, err := s.job(ctx, j)
		if err == nil && !done {
			err = s.Store.Update(ctx, func(tx *store.Tx) error { return tx.PostponeJob(j.ID, tx.Now.Add(next)) })
			if err == nil {
				continue
			}
		}
		if err != nil {
			s.Log.Error("job failed", "job", j.Kind, "client", j.Client, "attempt", j.Attempts, "error", err)
			continue // claimed for a minute, then tried again
		}
		if err := s.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteJob(j.ID) }); err != nil {
			return 0, err
		}
	}
	return len(jobs), nil
}

// job does a job, or some of it: then it is to be done again after next.
func (s *Service) job(ctx context.Context, j store.Job) (done bool, next time.Duration, err error) {
	if j.Kind == store.JobErase {
		return s.erase(ctx, j)
	}
	return true, 0, s.toolJob(ctx, j)
}

func (s *Service) toolJob(ctx context.Context, j store.Job) error {
	var t toolJob
	if err := json.Unmarshal(j.Body, &t); err != nil {
		return err
	}
	switch j.Kind {
	case store.JobHookDisabled:
		return s.each(ctx, j.Client, t.Tool, all, tract.Failover{From: t.Tool, Reason: store.JobHookDisabled})
	case store.JobToolGone:
		return s.each(ctx, j.Client, t.Tool, all, tract.Reset{Reason: "tool_removed"})
	case store.JobAdopt:
		return s.adopt(ctx, j.Client)
	}
	return tract.Invalid("unknown_job", "no job is called %q", j.Kind)
}

// adopt finds receivers for threads that have none: those without an owner, and
// those of a tool that is not attached to their business any more.
func (s *Service) adopt(ctx context.Context, client int64) error {
	var cfg *tract.Config
	if err := s.Store.View(ctx, func(tx *store.Tx) (err error) { cfg, err = s.Config(tx, client); return err }); err != nil {
		return err
	}
	if err := s.each(ctx, client, "", all, tract.Adopt{}); err != nil {
		return err
	}
	for id := range cfg.Tools {
		detached := func(business int64) bool { return !attached(cfg, business, id) }
		if err := s.each(ctx, client, id, detached, tract.Adopt{}); err != nil {
			return err
		}
	}
	return nil
}

func all(int64) bool { return true }

// each applies a command to the threads that a receiver owns in some businesses,
// one transaction a thread. A thread whose business is gone is passed over.
func (s *Service) each(ctx context.Context, client int64, owner tract.ReceiverID, of func(business int64) bool, c tract.Command) error {
	after := int64(0)
	for {
		var owned []store.OwnedThread
		if err := s.Store.View(ctx, func(tx *store.Tx) (err error) {
			owned, err = tx.ListThreadsOwnedBy(client, owner, after, page)
			return err
		}); err != nil {
			return err
		}
		for _, t := range owned {
			after = t.ID
			if !of(t.Business) {
				continue
			}
			if _, err := s.Do(ctx, t.ID, c); err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, ErrErased) {
				return err
			}
		}
		if len(owned) < page {
			return nil
		}
	}
}

// watches wakes those who wait for a thread to change.
type watches struct {
	mu   sync.Mutex // guards all
	all  map[int64]map[chan struct{}]struct{}
	each map[chan store.ThreadChange]int64 // by client; 0 = every client
	work bool                              // timers or jobs changed since they were looked at
	next time.Time                         // when the next of them is due; zero = none
}

// due says whether a timer or job may be due.
func (w *watches) due(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.work || !w.next.IsZero() && !now.Before(w.next)
}

// looked is called before timers and jobs are read, until after.
func (w *watches) looked() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.work, w.next = false, time.Time{}
}

func (w *watches) until(next time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = next
}

func (w *watches) Appending([]store.LaneKey) {}
func (w *watches) Aborted([]store.LaneKey)   {}

func (w *watches) Committed(c *store.Commit) {
	work := c.Timers || c.Jobs || c.Missed
	if len(c.Threads) == 0 && !work {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.work = w.work || work
	for _, t := range c.Threads {
		for ch := range w.all[t.Thread] {
			select {
			case ch <- struct{}{}:
			default: // it has not looked since the last wake
			}
		}
		for ch, client := range w.each {
			if client == 0 || client == t.Client {
				select {
				case ch <- t:
				default: // a slow listener looks again by itself
				}
			}
		}
	}
}

// Watch gives a channel that gets a token after each commit on a thread by this
// process. Changes by other replicas are not seen: look again now and then.
func (s *Service) Watch(thread int64) (changed <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	w := &s.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[int64]map[chan struct{}]struct{}{}
	}
	if w.all[thread] == nil {
		w.all[thread] = map[chan struct{}]struct{}{}
	}
	w.all[thread][ch] = struct{}{}
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all[thread], ch)
		if len(w.all[thread]) == 0 {
			delete(w.all, thread)
		}
	}
}

// WatchClient gives a channel of the threads of a client (0 = all) as they
// change; a listener that falls behind misses some and must look for itself.
func (s *Service) WatchClient(client int64) (changes <-chan store.ThreadChange, stop func()) {
	ch := make(chan store.ThreadChange, 64)
	w := &s.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.each == nil {
		w.each = map[chan store.ThreadChange]int64{}
	}
	w.each[ch] = client
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.each, ch)
	}
}
