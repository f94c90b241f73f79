package conversation_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/conversation"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// stopper ends a context at the first commit, as if the process had died there.
type stopper struct{ end context.CancelFunc }

func (s *stopper) Appending([]store.LaneKey) {}
func (s *stopper) Aborted([]store.LaneKey)   {}
func (s *stopper) Committed(*store.Commit) {
	if s.end != nil {
		s.end()
	}
}

// An erasure that is stopped at every commit goes on where it was, by whoever
// comes next, and two who do it at the same time do each step once.
func TestErasureStoppedAtEveryCommit(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		r := newRoom(t, o, nil)
		r.c.Log = slog.New(slog.DiscardHandler)
		s := &stopper{}
		r.s.Watch(s)
		for n := range 700 { // more than one step's worth
			r.update(func(tx *store.Tx) error {
				l, err := tx.LockThread(r.thread)
				if err != nil {
					return err
				}
				id, err := tx.NextID()
				if err != nil {
					return err
				}
				e := store.Entry{ID: id, Thread: r.thread, Conversation: 1, Sender: tract.SenderCEU, Body: fmt.Sprintf("secret %d", n), At: tx.Now}
				if err := tx.InsertEntry(l, &e); err != nil {
					return err
				}
				return tx.SaveThread(l, l.State)
			})
		}
		r.says("secret")
		before := r.counts()
		r.update(func(tx *store.Tx) error {
			_, err := r.c.Erase(tx, r.client, "asha", "ers_1", []byte("subject"))
			return err
		})
		rounds := 0
		for ; r.erasure().State != store.ErasureDone && rounds < 60; rounds++ {
			ctx, cancel := context.WithCancel(t.Context())
			s.end = cancel
			if _, err := r.c.DoJobs(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, store.ErrUnavailable) {
				t.Fatal(err)
			}
			cancel()
			s.end = nil
			if rounds%3 == 0 { // somebody else does a step of it
				r.update(func(tx *store.Tx) error { _, err := tx.EraseSome("ers_1"); return err })
			}
			r.clock.Advance(61 * time.Second) // whoever claimed the job is dead
			r.c = conversation.New(r.s, "https://hub.example", slog.New(slog.DiscardHandler))
		}
		if r.erasure().State != store.ErasureDone {
			t.Fatalf("not done in %d rounds: %+v", rounds, r.erasure())
		}
		if rounds < 4 {
			t.Errorf("it was stopped only %d times", rounds)
		}
		// What is counted has not changed; the completion came to it.
		after := r.counts()
		after.entries -= 1
		if diff := cmp.Diff(fmt.Sprint(before), fmt.Sprint(after)); diff != "" {
			t.Error(diff)
		}
		if got := r.erasure().Counts["entries"]; got != int64(before.entries+1) {
			t.Errorf("%d entries were emptied, of %d", got, before.entries+1)
		}
		r.view(func(tx *store.Tx) error {
			es, err := tx.ListEntries(r.thread, 0, 10_000)
			for _, e := range es {
				if e.Body != "" || e.Meta.Metadata != nil {
					t.Errorf("entry %d still says %q", e.ID, e.Body)
				}
			}
			return errors.Join(err, tx.CheckAll())
		})
		if _, err := r.c.DoJobs(t.Context()); err != nil {
			t.Error(err)
		}
		r.clock.Advance(2 * time.Minute)
		if n, err := r.c.DoJobs(t.Context()); n != 0 || err != nil {
			t.Errorf("%d jobs are left, %v", n, err)
		}
	})
}

type counted struct{ entries, ledger, one int }

func (r *room) counts() (c counted) {
	r.t.Helper()
	r.view(func(tx *store.Tx) error {
		es, err := tx.ListEntries(r.thread, 0, 10_000)
		if err != nil {
			return err
		}
		ls, err := tx.ListLedger(r.thread)
		if err != nil {
			return err
		}
		ds, err := tx.ListFeed(r.thread, "one", 0, 10_000)
		c = counted{entries: len(es), ledger: len(ls), one: len(ds)}
		return err
	})
	return c
}

func (r *room) erasure() (e store.Erasure) {
	r.t.Helper()
	r.view(func(tx *store.Tx) (err error) { e, err = tx.Erasure(r.client, "ers_1"); return err })
	return e
}

// Every command on an erased thread is refused as if there were none.
func TestCommandsOnAnErasedThread(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		r := newRoom(t, o, nil)
		r.says("hello")
		r.update(func(tx *store.Tx) error {
			_, err := r.c.Erase(tx, r.client, "asha", "ers_1", []byte("s"))
			return err
		})
		for _, c := range []tract.Command{tract.UserMessage{Body: "{}"}, tract.Send{By: "one", Sender: tract.SenderAEU, Body: "{}"}, tract.Close{}, tract.Reset{}, tract.Fire{Timer: tract.TimerAuto}} {
			if _, err := r.c.Do(t.Context(), r.thread, c); !errors.Is(err, conversation.ErrErased) {
				t.Errorf("%T: %v", c, err)
			}
		}
		r.update(func(tx *store.Tx) error {
			if err := tx.SetECTUserID(r.thread, "one", "late"); err != nil {
				return err
			}
			if id, err := r.c.Open(tx, r.client, 344, r.user.ID, tract.PlatformWebhook); id != 0 || err != nil {
				t.Errorf("a new thread %d, %v", id, err)
			}
			ks, err := tx.ListToolThreads(r.thread)
			for _, k := range ks {
				if k.ECTUserID != "" {
					t.Errorf("%s knows the user as %q", k.Tool, k.ECTUserID)
				}
			}
			_, err2 := r.c.Erase(tx, r.client, "asha", "ers_2", []byte("s"))
			if !errors.Is(err2, store.ErrNotFound) {
				t.Errorf("erased twice: %v", err2)
			}
			return err
		})
		r.clock.Advance(time.Hour)
		if n, err := r.c.FireDue(t.Context()); n != 0 || err != nil {
			t.Errorf("%d timers fired, %v", n, err)
		}
	})
}
