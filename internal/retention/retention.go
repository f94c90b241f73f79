// Package retention removes what is older than it is to be kept, so that old data
// costs nothing: deliveries with their attempts, dead letters, the log, the ledger,
// the audit log, idempotency keys.
//
// It owns how long what is kept and the pace. It must not know how rows are found:
// that is the store's.
//
// Invariants: what is not settled, and what an open conversation holds, stays
// however old it is. One process at a time works, in transactions of some hundred
// rows at low priority; how far it is stands in the store and moves in the
// same transaction as the rows go, so that another process goes on there. Whatever
// goes is counted.
package retention

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tract/internal/store"
)

// Settings say how long rows are kept; 0 is for ever.
type Settings struct {
	Deliveries time.Duration // settled deliveries and their attempts
	Dead       time.Duration // dead letters, replayed or not, with their payloads
	Log        time.Duration // completed conversations: log, briefs, files; and the ledger
	Audit      time.Duration
}

// Config is what a Sweeper is made from. Store, Name and Now are required.
type Config struct {
	Keep  Settings
	Store *store.Store
	Name  string // of this process: no living one has the same
	Now   func() time.Time
	Log   *slog.Logger          // nil is silent
	Count prometheus.Registerer // nil counts nowhere
	Rows  int                   // of one transaction at most; 200, which take a writer some 20 ms
}

// Sweeper removes old rows.
type Sweeper struct {
	cfg     Config
	removed *prometheus.CounterVec
	began   time.Time // of the last step's closure
}

// New makes a sweeper; Run starts it.
func New(cfg Config) *Sweeper {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Rows == 0 {
		cfg.Rows = 200
	}
	s := &Sweeper{cfg: cfg, removed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tract_retention_removed_total", Help: "Rows removed because of their age."}, []string{"kind"})}
	for _, kind := range []string{store.RemovedDeliveries, store.RemovedAttempts, store.RemovedDead, store.RemovedEntries, store.RemovedBriefs, store.RemovedLedger, store.RemovedAudit, store.RemovedKeys} {
		s.removed.WithLabelValues(kind)
	}
	if cfg.Count != nil {
		cfg.Count.MustRegister(s.removed)
	}
	return s
}

const (
	keyMemory = 24 * time.Hour   // of answers under idempotency keys
	passEvery = 10 * time.Minute // a table is looked through again
	leaseFor  = 30 * time.Second // without a step another process goes on
	idle      = time.Minute
	// share is the part of the writer's time that may be taken: one in twenty.
	share = 20
	rest  = 10 * time.Millisecond // between two steps at least
)

// Run removes what is too old, in steps, until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	wait := time.NewTimer(rest)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		}
		worked, err := s.Step(ctx)
		pause := max(rest, (share-1)*s.cfg.Now().Sub(s.began))
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("old rows cannot be removed now", "error", err)
			worked = false
		}
		if !worked {
			pause = idle
		}
		wait.Reset(pause)
	}
}

// key names the row of the store that says how far the work is.
const key = "retention"

// progress is that row.
type progress struct {
	Holder string           `json:"holder"`
	Until  time.Time        `json:"until"` // the holder's alone until then
	Last   int              `json:"last"`  // task that was worked on
	Tasks  map[string]*task `json:"tasks"`
}

// task is one pass over one table.
type task struct {
	Due    time.Time        `json:"due"` // of the next pass
	Going  bool             `json:"going"`
	Before time.Time        `json:"before"` // what is older goes
	Below  int64            `json:"below"`  // ids from which on nothing is older
	Place  store.SweepPlace `json:"place"`
}

// Step removes the rows of one transaction. worked is false when there is
// nothing to do now, or when another process does it.
func (s *Sweeper) Step(ctx context.Context) (worked bool, err error) {
	var removed store.Removed
	err = s.cfg.Store.UpdateLow(ctx, func(tx *store.Tx) error {
		s.began, worked, removed = s.cfg.Now(), false, nil
		p, err := load(tx)
		if err != nil || p.Holder != s.cfg.Name && tx.Now.Before(p.Until) {
			return err
		}
		name, do := s.next(p, tx.Now)
		if do == nil {
			return nil
		}
		worked = true
		t := p.Tasks[name]
		if removed, err = s.step(tx, t, do); err != nil {
			return err
		}
		p.Holder, p.Until = s.cfg.Name, tx.Now.Add(leaseFor)
		text, err := json.Marshal(p)
		if err != nil {
			return err
		}
		return tx.SetMeta(key, string(text))
	})
	if err != nil {
		return false, err
	}
	for kind, n := range removed {
		s.removed.WithLabelValues(kind).Add(float64(n))
	}
	return worked, nil
}

func load(tx *store.Tx) (*progress, error) {
	p := &progress{}
	text, err := tx.LockMeta(key)
	if err != nil {
		return nil, err
	}
	if json.Unmarshal([]byte(text), p) != nil {
		*p = progress{} // unset, or of another version: begin anew
	}
	if p.Tasks == nil {
		p.Tasks = map[string]*task{}
	}
	return p, nil
}

// step begins a pass, or goes on with it.
func (s *Sweeper) step(tx *store.Tx, t *task, do *work) (store.Removed, error) {
	if !t.Going {
		t.Going, t.Before, t.Place = true, tx.Now.Add(-do.keep), store.SweepPlace{}
		if do.below != nil {
			var err error
			if t.Below, err = do.below(tx, t.Before); err != nil {
				return nil, err
			}
		}
	}
	next, removed, more, err := do.remove(tx, t, s.cfg.Rows)
	t.Place = next
	if !more {
		t.Going, t.Due = false, tx.Now.Add(passEvery)
	}
	return removed, err
}

// work is how one table is looked through.
type work struct {
	name   string
	keep   time.Duration
	below  func(tx *store.Tx, before time.Time) (int64, error)
	remove func(tx *store.Tx, t *task, rows int) (store.SweepPlace, store.Removed, bool, error)
}

// next is the task whose turn it is, nil when none is due. They take turns, so
// that a long pass over one table holds up no other.
func (s *Sweeper) next(p *progress, now time.Time) (string, *work) {
	all := s.all()
	for i := range all {
		at := (p.Last + 1 + i) % len(all)
		w := &all[at]
		if w.keep == 0 {
			continue
		}
		t := p.Tasks[w.name]
		if t == nil {
			t = &task{}
			p.Tasks[w.name] = t
		}
		if t.Going || !now.Before(t.Due) {
			p.Last = at
			return w.name, w
		}
	}
	return "", nil
}

func (s *Sweeper) all() []work {
	return []work{
		{"keys", keyMemory, nil, removeKeys},
		{"deliveries", s.cfg.Keep.Deliveries, (*store.Tx).EntriesSince, func(tx *store.Tx, t *task, rows int) (store.SweepPlace, store.Removed, bool, error) {
			return tx.DeleteOldDeliveries(t.Before, t.Below, t.Place, rows)
		}},
		{"dead", s.cfg.Keep.Dead, nil, func(tx *store.Tx, t *task, rows int) (store.SweepPlace, store.Removed, bool, error) {
			return tx.DeleteOldDead(t.Before, t.Place, rows)
		}},
		{"log", s.cfg.Keep.Log, (*store.Tx).EntriesSince, func(tx *store.Tx, t *task, rows int) (store.SweepPlace, store.Removed, bool, error) {
			return tx.DeleteOldEntries(t.Below, t.Place, rows)
		}},
		{"ledger", s.cfg.Keep.Log, (*store.Tx).LedgerSince, func(tx *store.Tx, t *task, rows int) (store.SweepPlace, store.Removed, bool, error) {
			return tx.DeleteOldLedger(t.Below, t.Place, rows)
		}},
		{"audit", s.cfg.Keep.Audit, (*store.Tx).AuditSince, func(tx *store.Tx, t *task, rows int) (store.SweepPlace, store.Removed, bool, error) {
			return tx.DeleteOldAudit(t.Below, t.Place, rows)
		}},
	}
}

func removeKeys(tx *store.Tx, t *task, rows int) (store.SweepPlace, store.Removed, bool, error) {
	bodies, err := tx.DeleteExpired(rows)
	if err != nil {
		return t.Place, nil, false, err
	}
	answers, err := tx.DeleteIdempotencyBefore(t.Before, rows)
	return t.Place, store.Removed{store.RemovedKeys: bodies + answers}, max(bodies, answers) >= int64(rows), err
}
