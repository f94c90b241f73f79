package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tract"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// queued makes tasks for a bot of a new client.
func queued(t *testing.T, s *store.Store, n int) (tasks []store.Task) {
	t.Helper()
	if err := s.Update(t.Context(), func(tx *store.Tx) error {
		tasks = nil
		client, err := tx.PutClient(tract.Client{ID: "acme", Active: true})
		if err != nil {
			return err
		}
		for i := range n {
			k := store.Task{ID: fmt.Sprint("task", i), Client: client, Domain: "faq"}
			if k.Seq, err = tx.InsertTask(k); err != nil {
				return err
			}
			if err := tx.QueueTask(k.Seq); err != nil {
				return err
			}
			tasks = append(tasks, k)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return tasks
}

func stepsOf(names ...string) (out []tract.Step) {
	for _, n := range names {
		out = append(out, tract.Step{Name: n, Questions: []string{"q"}, Answers: []string{"a"}})
	}
	return out
}

// Of eight who want to work on a bot's tasks at once, one does, on the first.
func TestClaimTask(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		tasks := queued(t, s, 3)
		var all sync.WaitGroup
		var claimed [3]atomic.Int64
		for i := range 8 {
			all.Go(func() {
				want := tasks[i%3]
				err := s.Update(context.Background(), func(tx *store.Tx) error {
					_, ok, err := tx.ClaimTask(want, time.Minute)
					if ok {
						claimed[i%3].Add(1)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if claimed[0].Load() != 1 || claimed[1].Load() != 0 || claimed[2].Load() != 0 {
			t.Errorf("claimed: %d %d %d", claimed[0].Load(), claimed[1].Load(), claimed[2].Load())
		}
	})
}

// Steps that were staged on an older version cannot become the active ones, and
// what is staged is seen by nobody.
func TestSwitchSteps(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		tasks := queued(t, s, 1)
		k := tasks[0]
		update := func(fn func(tx *store.Tx) error) {
			t.Helper()
			if err := s.Update(t.Context(), fn); err != nil {
				t.Fatal(err)
			}
		}
		names := func(active bool) (out []string) {
			t.Helper()
			update(func(tx *store.Tx) error {
				out = nil
				return tx.EachStep(k.Client, k.Domain, active, func(s tract.Step) error { out = append(out, s.Name); return nil })
			})
			return out
		}
		want := func(what string, active, inactive []string) {
			t.Helper()
			if a, i := names(true), names(false); !slices.Equal(a, active) || !slices.Equal(i, inactive) {
				t.Errorf("%s: active %v, inactive %v, want %v and %v", what, a, i, active, inactive)
			}
		}
		update(func(tx *store.Tx) error { return tx.PutSteps(k.Client, k.Domain, "h", stepsOf("A", "B")) })
		update(func(tx *store.Tx) error { return tx.PutSteps(k.Client, k.Domain, "h", stepsOf("B", "C")) })
		want("put twice", []string{"B", "C"}, []string{"A"})

		stage := func() {
			t.Helper()
			update(func(tx *store.Tx) error {
				if err := tx.BeginSteps(&k); err != nil {
					return err
				}
				return tx.StageSteps(&k, stepsOf("a", "C", "D"))
			})
		}
		stage()
		if k.Created != 1 || k.Updated != 2 || k.Kept != 1 || k.Done != 3 {
			t.Errorf("counted: %+v", k)
		}
		want("staged", []string{"B", "C"}, []string{"A"})
		update(func(tx *store.Tx) error { return tx.PutSteps(k.Client, k.Domain, "h", stepsOf("B")) })
		switched := func() (ok bool) {
			t.Helper()
			update(func(tx *store.Tx) (err error) { ok, err = tx.SwitchSteps(&k); return err })
			return ok
		}
		if switched() {
			t.Error("switched from a version that is not the present one")
		}
		update(func(tx *store.Tx) error { return tx.DeleteStaged(&k, 0, 10) })
		want("given up", []string{"B"}, []string{"A", "C"})
		stage()
		k.Total = 3
		if !switched() {
			t.Fatal("not switched")
		}
		want("switched", []string{"a", "C", "D"}, []string{"B"})
		update(func(tx *store.Tx) error { return tx.DeleteStaged(&k, 0, 10) }) // active by now
		update(func(tx *store.Tx) error { return tx.DeleteSuperseded(&k, 0, 10) })
		want("cleared", []string{"a", "C", "D"}, []string{"B"})
		update(func(tx *store.Tx) error { return tx.PutSteps(k.Client, k.Domain, "", nil) })
		want("a bot that is gone", nil, []string{"a", "B", "C", "D"})
	})
}

// Who does not hold a task any more cannot change it.
func TestSaveTaskIsFenced(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		k := queued(t, s, 1)[0]
		claim := func() (out store.Task) {
			t.Helper()
			if err := s.Update(t.Context(), func(tx *store.Tx) (err error) {
				var ok bool
				if out, ok, err = tx.ClaimTask(k, 0); err == nil && !ok {
					err = errors.New("not claimed")
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return out
		}
		first, second := claim(), claim() // the first lease was over at once
		save := func(k store.Task) error {
			return s.Update(t.Context(), func(tx *store.Tx) error { return tx.SaveTask(&k, time.Minute) })
		}
		if err := save(first); !errors.Is(err, store.ErrTaskLost) {
			t.Errorf("the first: %v", err)
		}
		second.State = store.TaskDone
		if err := save(second); err != nil {
			t.Errorf("the second: %v", err)
		}
		if err := save(second); !errors.Is(err, store.ErrTaskLost) {
			t.Errorf("a task that is over: %v", err)
		}
	})
}
