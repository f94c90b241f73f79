package store_test

import (
	"strings"
	"testing"
	"time"

	"tract"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// No list reads a table from end to end, nor sorts all that a big client has.
func TestPlansOfLists(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		update(t, s, func(tx *store.Tx) error { return store.Crowd(tx, 15_000) })
		update(t, s, func(tx *store.Tx) error { return store.Analyze(tx) })
		base := store.ThreadFilter{Client: 1, Limit: 50}
		filters := map[string]func(f *store.ThreadFilter){
			"all":       func(*store.ThreadFilter) {},
			"next page": func(f *store.ThreadFilter) { f.Before = store.ThreadCursor{At: time.UnixMicro(10_000), ID: 10_000} },
			"since":     func(f *store.ThreadFilter) { f.Since = time.UnixMicro(14_000) },
			"until":     func(f *store.ThreadFilter) { f.Until = time.UnixMicro(300) },
			"open":      func(f *store.ThreadFilter) { f.Open = true },
			"complete":  func(f *store.ThreadFilter) { f.State = tract.StateComplete },
			"queued":    func(f *store.ThreadFilter) { f.State = tract.StateQueued },
			"owner":     func(f *store.ThreadFilter) { f.Owner = "desk-one" },
			"team":      func(f *store.ThreadFilter) { f.Team = "Support" },
			"agent":     func(f *store.ThreadFilter) { f.Agent = "Mia" },
			"business":  func(f *store.ThreadFilter) { f.Business = 344 },
			"platform":  func(f *store.ThreadFilter) { f.Platform = 14 },
			"user":      func(f *store.ThreadFilter) { f.User = 77 },
			"thread":    func(f *store.ThreadFilter) { f.Thread = 77 },
			"all at once": func(f *store.ThreadFilter) {
				f.State, f.Owner, f.Team, f.Business = tract.StateQueued, "sac", "Support", 343
			},
		}
		for name, change := range filters {
			f := base
			change(&f)
			check(t, name, explain(t, s, func(tx *store.Tx) error { _, _, err := tx.ListThreads(f); return err }))
			if name == "queued" || name == "team" || name == "agent" {
				view(t, s, func(tx *store.Tx) error {
					ts, next, err := tx.ListThreads(f)
					if len(ts) == 0 || next != nil {
						t.Errorf("%s: found %d at once, more %v", name, len(ts), next)
					}
					return err
				})
			}
		}
		ends := []store.LogEndpoint{{Endpoint: store.Endpoint{ID: 1}}, {Endpoint: store.Endpoint{ID: 2}}}
		for name, f := range map[string]store.LogFilter{
			"log":            {Endpoints: ends, Limit: 50},
			"log, next":      {Endpoints: ends, Limit: 50, Before: store.LogCursor{Entry: 9000, Endpoint: 1, Seq: 1}},
			"log, delivered": {Endpoints: ends, Limit: 50, States: []string{store.DeliveryDelivered}},
			"log, waiting":   {Endpoints: ends, Limit: 50, States: []string{store.DeliveryQueued, store.DeliveryRetrying}},
			"log, retrying":  {Endpoints: ends, Limit: 50, States: []string{store.DeliveryRetrying}},
			"log, thread":    {Endpoints: ends, Limit: 50, Thread: 77},
		} {
			check(t, name, explain(t, s, func(tx *store.Tx) error { _, _, err := tx.ListLog(f); return err }))
		}
		check(t, "dead", explain(t, s, func(tx *store.Tx) error {
			_, _, err := tx.ListDead(1, store.LogFilter{Endpoints: ends, Limit: 50, States: []string{store.DeliveryDead}}, store.DeadCursor{})
			return err
		}))
		check(t, "log page", explain(t, s, func(tx *store.Tx) error {
			_, _, _, err := tx.ListLogPage(store.LogPage{Thread: 77, Newest: true, Limit: 50})
			return err
		}))
		check(t, "ledger page", explain(t, s, func(tx *store.Tx) error { _, err := tx.ListLedgerPage(77, 0, 50); return err }))
		check(t, "endpoints", explain(t, s, func(tx *store.Tx) error { _, err := tx.ListThreadLanes(77); return err }))
	})
}

// A thread that few match is found by going on, and every page ends.
func TestFewOfMany(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		update(t, s, func(tx *store.Tx) error { return store.Crowd(tx, 12_000) })
		f := store.ThreadFilter{Client: 1, Business: 344, Limit: 50}
		found, pages := 0, 0
		for {
			var next *store.ThreadCursor
			view(t, s, func(tx *store.Tx) error {
				ts, at, err := tx.ListThreads(f)
				found += len(ts)
				next = at
				return err
			})
			if pages++; next == nil || pages > 10 {
				break
			}
			f.Before = *next
		}
		if found != 12 || pages != 3 {
			t.Errorf("%d threads in %d pages, want 12 in 3", found, pages)
		}
	})
}

// explain gives the plans of the reads that fn makes.
func explain(t *testing.T, s *store.Store, fn func(*store.Tx) error) (plans []string) {
	t.Helper()
	view(t, s, func(tx *store.Tx) (err error) { plans, err = store.Explain(tx, fn); return err })
	if len(plans) == 0 {
		t.Fatal("nothing was read")
	}
	return plans
}

// check refuses plans that read one of the tables that grow from end to end.
func check(t *testing.T, name string, plans []string) {
	t.Helper()
	for _, p := range plans {
		for line := range strings.SplitSeq(p, "\n") {
			for _, table := range []string{"threads", "users", "entries", "outbox", "attempts", "dead", "ledger"} {
				if scans(line, table) {
					t.Errorf("%s reads all of %s:\n%s", name, table, p)
				}
			}
		}
	}
}

// scans says whether a line of a plan is a scan without an index: "SCAN t" of
// SQLite, where an alias stands for the table, "Seq Scan on threads" of PostgreSQL.
func scans(line, table string) bool {
	if strings.Contains(line, "Seq Scan on "+table+" ") || strings.HasSuffix(line, "Seq Scan on "+table) {
		return true
	}
	if i := strings.Index(line, "SCAN "); i >= 0 {
		of := strings.Fields(line[i:])
		return len(of) > 1 && of[1] == table && !strings.Contains(line, "USING")
	}
	return false
}
