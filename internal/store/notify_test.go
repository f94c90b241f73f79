package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tract/internal/store"
	"tract/internal/tracttest"
)

// ear hears what a store tells its watchers.
type ear struct{ heard chan store.Commit }

func (e *ear) Appending([]store.LaneKey) {}
func (e *ear) Aborted([]store.LaneKey)   {}

func (e *ear) Committed(c *store.Commit) { e.heard <- *c }

// until waits for a commit that fits, and counts what came before.
func (e *ear) until(t *testing.T, what string, fits func(c store.Commit) bool) (before int) {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case c := <-e.heard:
			if fits(c) {
				return before
			}
			before++
		case <-late:
			t.Fatalf("%s was not heard of", what)
		}
	}
}

// replica opens a store that dispatches and hears.
func replica(t *testing.T, o store.Options, name string) (*store.Store, *ear) {
	t.Helper()
	s, e := tracttest.Open(t, o), &ear{make(chan store.Commit, 10_000)}
	s.Watch(e)
	if _, err := s.RegisterReplica(context.Background(), name); err != nil {
		t.Fatal(err)
	}
	e.until(t, "the beginning", func(c store.Commit) bool { return c.Missed })
	if !s.Hinted() {
		t.Error("a store that listens does not say so")
	}
	return s, e
}

func TestHints(t *testing.T) {
	o := tracttest.Fresh(t, "postgres")
	o.Now = tracttest.NewClock().Now
	one, _ := replica(t, o, "one")
	w := newLaneWorld(t, one) // registers "one" again: its lanes are free
	_, heard := replica(t, o, "two")
	for _, tt := range []struct {
		what   string
		change func(tx *store.Tx) error
		fits   func(c store.Commit) bool
	}{
		{"a changed endpoint", func(tx *store.Tx) error { _, err := tx.DisableEndpoint(w.e, store.DisabledByOwner); return err },
			func(c store.Commit) bool {
				return slices.Equal(c.Endpoints, []int64{w.e.ID}) && slices.Equal(c.Configs, []int64{w.client})
			}},
		{"a changed configuration", func(tx *store.Tx) error { return tx.BumpConfig(w.client) },
			func(c store.Commit) bool { return slices.Equal(c.Configs, []int64{w.client}) && len(c.Endpoints) == 0 }},
		{"a job", func(tx *store.Tx) error { return tx.InsertJob(store.JobAdopt, w.client, struct{}{}, tx.Now) },
			func(c store.Commit) bool { return c.Jobs }},
		{"an import", func(tx *store.Tx) error { return tx.QueueTask(1) }, func(c store.Commit) bool { return c.Tasks }},
	} {
		update(t, one, tt.change)
		heard.until(t, tt.what, tt.fits)
	}
	w.add(one, w.k, "a") // what is not waited for is not told
	if err := one.LeaveReplica(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := heard.until(t, "a process that left", func(c store.Commit) bool { return c.Lanes }); n != 0 {
		t.Errorf("%d other hints came", n)
	}
	// One that does not dispatch, like a command, says it when it closes.
	cmd, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	update(t, cmd, func(tx *store.Tx) error { return tx.BumpConfig(w.client) })
	if cmd.Hinted() {
		t.Error("a store that does not listen says that it hears")
	}
	if err := cmd.Close(); err != nil {
		t.Fatal(err)
	}
	heard.until(t, "a command's change", func(c store.Commit) bool { return len(c.Configs) == 1 })
	// What others hold of it in memory is not to be sent any more.
	update(t, one, func(tx *store.Tx) error {
		l, err := tx.LockThread(w.thread)
		if err != nil {
			return err
		}
		return tx.InsertErasure("era_1", l.User, []*store.Locked{l}, []byte("subject"))
	})
	heard.until(t, "an erased user's lane", func(c store.Commit) bool { return slices.Equal(c.Withdrawn, []store.LaneKey{w.k}) })
}

// Many changes in a short time are one hint, and too many are told as such.
func TestHintsAreCoalesced(t *testing.T) {
	o := tracttest.Fresh(t, "postgres")
	o.Now = tracttest.NewClock().Now
	one, _ := replica(t, o, "one")
	w := newLaneWorld(t, one)
	_, heard := replica(t, o, "two")
	begun := time.Now()
	const changes = 300
	for range changes {
		update(t, one, func(tx *store.Tx) error { return tx.BumpConfig(w.client) })
	}
	update(t, one, func(tx *store.Tx) error { return tx.InsertJob(store.JobAdopt, w.client, struct{}{}, tx.Now) })
	n := heard.until(t, "the last change", func(c store.Commit) bool { return c.Jobs })
	if most := 2 + int(time.Since(begun)/(20*time.Millisecond)); n > most {
		t.Errorf("%d hints for %d changes, at most %d were lawful", n, changes, most)
	}
	update(t, one, func(tx *store.Tx) error {
		for i := range 3000 {
			if _, err := tx.PutEndpoint(store.Endpoint{Client: w.client, Kind: store.EndpointHook, Tool: "crm", Category: "x", Subcategory: fmt.Sprint(i), URL: "https://tool/"}); err != nil {
				return err
			}
		}
		return nil
	})
	heard.until(t, "a change of everything", func(c store.Commit) bool { return c.Missed })
}

// A connection that was lost is made anew, and then anything may have changed.
func TestHintsComeBack(t *testing.T) {
	o := tracttest.Fresh(t, "postgres")
	o.Now = tracttest.NewClock().Now
	one, _ := replica(t, o, "one")
	w := newLaneWorld(t, one)
	_, heard := replica(t, o, "two")
	c, err := pgx.Connect(t.Context(), o.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	var cut int
	if err := c.QueryRow(t.Context(), `select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'tract hints' and datname = current_database()`).Scan(&cut); err != nil || cut != 2 {
		t.Fatalf("cut %d connections, %v", cut, err)
	}
	heard.until(t, "the connection", func(c store.Commit) bool { return c.Missed })
	for told := false; !told; { // the other one may still be away
		update(t, one, func(tx *store.Tx) error { return tx.BumpConfig(w.client) })
		told = one.Hinted()
	}
	heard.until(t, "a change after it", func(c store.Commit) bool { return len(c.Configs) == 1 })
}
