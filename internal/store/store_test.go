package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"tract"
	"tract/internal/store"
	"tract/internal/tracttest"
)

func update(t *testing.T, s *store.Store, fn func(*store.Tx) error) {
	t.Helper()
	if err := s.Update(context.Background(), fn); err != nil {
		t.Fatalf("update: %v", err)
	}
}

// newThread makes a client, a user and a thread.
func newThread(t *testing.T, s *store.Store) (client, thread int64) {
	t.Helper()
	update(t, s, func(tx *store.Tx) error {
		var err error
		if client, err = tx.PutClient(tract.Client{ID: "acme", Name: "Acme", Active: true}); err != nil {
			return err
		}
		u, err := tx.PutUser(store.User{Client: client, AuthID: "asha", UserName: "u1"})
		if err != nil {
			return err
		}
		thread, err = tx.InsertThread(client, 343, u.ID, "pxut-1", tract.PlatformWebhook)
		return err
	})
	return client, thread
}

func TestThreadRoundTrip(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		_, id := newThread(t, s)
		want := tract.Thread{Owner: "desk-one", Epoch: 3, Conversation: 2, State: tract.StateAssigned, Team: "Support", Agent: tract.Agent{Name: "Mia", Email: "mia@acme.example"},
			Pending: &tract.Pending{Type: tract.OpOffer, Receiver: "sac", By: "desk-one", ExpiresAt: time.Date(2026, 11, 20, 11, 0, 0, 0, time.UTC)}, Changes: 17}
		var first time.Time
		update(t, s, func(tx *store.Tx) error {
			l, err := tx.LockThread(id)
			if err != nil {
				return err
			}
			first = tx.Now
			mid, err := tx.NextID()
			if err != nil {
				return err
			}
			if err := tx.InsertEntry(l, &store.Entry{ID: mid, Thread: id, Conversation: 2, Sender: tract.SenderCEU, Body: `{"text":"hi"}`, At: tx.Now}); err != nil {
				return err
			}
			if err := tx.AppendDelivery(l, 7, store.Delivery{Entry: mid, Tool: "desk-one", DeliverySeq: l.NextDeliverySeq("desk-one"), Payload: []byte(`{}`)}); err != nil {
				return err
			}
			return tx.SaveThread(l, want)
		})
		update(t, s, func(tx *store.Tx) error {
			l, err := tx.LockThread(id)
			if err != nil {
				return err
			}
			if l.State.Owner != want.Owner || l.State.Epoch != 3 || l.State.State != want.State || l.State.Agent != want.Agent || *l.State.Pending != *want.Pending || l.State.Changes != 17 {
				t.Errorf("state = %+v", l.State)
			}
			if !tx.Now.After(first) {
				t.Errorf("time did not move on: %v then %v", first, tx.Now)
			}
			if l.Lanes.Get(7).Last != 1 || l.Lanes.Get(7).Done != 0 || l.Tools.Get("desk-one").DeliverySeq != 1 {
				t.Errorf("lanes %+v, tools %+v", l.Lanes, l.Tools)
			}
			due, err := tx.ListDueTimers(want.Pending.ExpiresAt, 10)
			if err != nil || len(due) != 1 || due[0].Kind != tract.TimerPending || due[0].Thread != id {
				t.Errorf("due timers %+v, %v", due, err)
			}
			return nil
		})
	})
}

func TestFailedClosureLeavesOthersAlone(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		client, _ := newThread(t, s)
		bad := errors.New("no")
		var wg sync.WaitGroup
		results := make([]error, 40)
		for i := range results {
			wg.Go(func() {
				results[i] = s.Update(context.Background(), func(tx *store.Tx) error {
					if err := tx.InsertAudit(client, "test", "write", "x", i); err != nil {
						return err
					}
					switch i % 4 {
					case 1:
						return bad
					case 2:
						panic("boom")
					}
					return nil
				})
			})
		}
		wg.Wait()
		for i, err := range results {
			switch {
			case i%4 == 1 && !errors.Is(err, bad):
				t.Errorf("closure %d: %v", i, err)
			case i%4 == 2 && err == nil:
				t.Errorf("closure %d: a panic was no error", i)
			case i%4 != 1 && i%4 != 2 && err != nil:
				t.Errorf("closure %d: %v", i, err)
			}
		}
		if err := s.View(context.Background(), func(tx *store.Tx) error {
			lines, err := tx.ListAudit(client, 100)
			if len(lines) != 20 {
				t.Errorf("%d lines were kept, want 20", len(lines))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestUpdateInsideUpdateIsRefused(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		// A nested update with the outer context would wait for itself for ever.
		err := s.Update(context.Background(), func(tx *store.Tx) error {
			return s.Update(tx.Context(), func(*store.Tx) error { return nil })
		})
		if err == nil {
			t.Fatal("a nested update was taken")
		}
	})
}

func TestViewCannotWrite(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		client, _ := newThread(t, s)
		_ = s.View(context.Background(), func(tx *store.Tx) error { return tx.InsertAudit(client, "a", "b", "c", 1) })
		if err := s.View(context.Background(), func(tx *store.Tx) error {
			lines, err := tx.ListAudit(client, 10)
			if len(lines) != 0 {
				t.Error("a view wrote")
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSecondProcessIsRefused(t *testing.T) {
	o := tracttest.Fresh(t, "sqlite")
	tracttest.Open(t, o)
	if _, err := store.Open(context.Background(), o); !errors.Is(err, store.ErrBusy) {
		t.Fatalf("second open: %v", err)
	}
}

func TestDamagedFileIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"header":    func(t *testing.T, path string) { overwrite(t, path, 0, []byte("not a database at all")) },
		"page size": func(t *testing.T, path string) { overwrite(t, path, 16, []byte{0, 77}) },
		"truncated": func(t *testing.T, path string) {
			if err := os.Truncate(path, 5000); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := store.Options{Dir: t.TempDir()}
			s, err := store.Open(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			spoil(t, filepath.Join(o.Dir, "tract.db"))
			if s, err := store.Open(context.Background(), o); !errors.Is(err, store.ErrCorrupt) {
				if s != nil {
					s.Close()
				}
				t.Fatalf("open: %v", err)
			}
		})
	}
}

func overwrite(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// A program goes on with the schema of a later one, as long as that says that it can.
func TestNewerSchema(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		open := func() (*store.Store, error) { return store.Open(context.Background(), o) }
		s, err := open()
		if err != nil {
			t.Fatal(err)
		}
		update(t, s, func(tx *store.Tx) error { return store.PretendNewer(tx) })
		s.Close()
		if s, err = open(); err != nil {
			t.Fatalf("a later schema that can be used: %v", err)
		}
		newClient(t, s, "acme")
		update(t, s, func(tx *store.Tx) error { return tx.SetMeta("schema_usable_from", "9998") })
		s.Close()
		if s, err := open(); !errors.Is(err, store.ErrNewer) {
			if s != nil {
				s.Close()
			}
			t.Fatalf("a later schema that cannot be used: %v", err)
		}
	})
}

// Of more threads than it may remember the SQLite writer remembers some, rightly:
// tests compare what it remembers with what is stored.
func TestRememberedThreadsAreBounded(t *testing.T) {
	s := tracttest.Open(t, tracttest.Fresh(t, "sqlite"))
	const most, all = 5, 40
	have := store.RememberFew(s, most)
	client := newClient(t, s, "acme")
	var threads []int64
	update(t, s, func(tx *store.Tx) error {
		threads = threads[:0]
		for i := range all {
			u, err := tx.PutUser(store.User{Client: client, AuthID: fmt.Sprint("a", i/2), UserName: fmt.Sprint("n", i/2)})
			if err != nil {
				return err
			}
			id, err := tx.InsertThread(client, int64(i), u.ID, fmt.Sprint("p", i), tract.PlatformWebhook)
			if err != nil {
				return err
			}
			threads = append(threads, id)
		}
		return nil
	})
	for round := range int64(3) {
		for i, thread := range threads {
			update(t, s, func(tx *store.Tx) error {
				l, err := tx.LockThread(thread)
				if err != nil {
					return err
				}
				if l.State.Epoch != round {
					t.Errorf("thread %d is at epoch %d in round %d", i, l.State.Epoch, round)
				}
				if i%7 == 3 { // taken, and not saved
					if _, err := tx.LockThread(threads[(i+1)%all]); err != nil {
						return err
					}
				}
				next := l.State
				next.Epoch++
				return tx.SaveThread(l, next)
			})
			if n := have(); n > most {
				t.Fatalf("%d threads are remembered", n)
			}
		}
	}
}

// What the SQLite writer remembers of threads is what the store holds, whoever
// changed it, also after a rollback; and what it gives out is the caller's own.
func TestRememberedThreads(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		client := newClient(t, s, "acme")
		var thread, other int64
		user := store.User{Client: client, AuthID: "ann", UserName: "u1"}
		update(t, s, func(tx *store.Tx) (err error) {
			if user, err = tx.PutUser(user); err != nil {
				return err
			}
			if thread, err = tx.InsertThread(client, 1, user.ID, "p1", 13); err != nil {
				return err
			}
			other, err = tx.InsertThread(client, 2, user.ID, "p2", 13)
			return err
		})
		look := func(tx *store.Tx) (*store.Locked, error) {
			l, err := tx.LockThread(thread)
			if err == nil {
				_, err = tx.LockThread(other)
			}
			return l, err
		}
		move := func(tx *store.Tx, owner tract.ReceiverID) error {
			l, err := look(tx)
			if err != nil {
				return err
			}
			if err := tx.AppendDelivery(l, 7, store.Delivery{Entry: 1, Tool: "desk", DeliverySeq: l.NextDeliverySeq("desk"), Payload: []byte("{}")}); err != nil {
				return err
			}
			next := l.State
			next.Owner, next.Epoch = owner, next.Epoch+1
			return tx.SaveThread(l, next)
		}
		failed := errors.New("rolled back")
		for _, change := range []struct {
			name string
			do   func(tx *store.Tx) error
			fail error
		}{
			{"nothing", func(*store.Tx) error { return nil }, nil},
			{"saved", func(tx *store.Tx) error { return move(tx, "desk") }, nil},
			{"saved twice in one transaction", func(tx *store.Tx) error { return errors.Join(move(tx, "a"), move(tx, "b")) }, nil},
			{"rolled back", func(tx *store.Tx) error { return errors.Join(move(tx, "c"), failed) }, failed},
			{"the user's details", func(tx *store.Tx) error {
				u := user
				u.Details = store.Details{Name: "Ann", Custom: map[string]any{"tier": "gold"}}
				_, err := tx.PutUser(u)
				return err
			}, nil},
			{"a tool's name for the user", func(tx *store.Tx) error { return tx.SetECTUserID(thread, "desk", "e-1") }, nil},
			{"the configuration", func(tx *store.Tx) error {
				_, err := tx.PutClient(tract.Client{ID: "acme", Name: "Acme Stores", Active: true})
				return err
			}, nil},
		} {
			err := s.Update(t.Context(), func(tx *store.Tx) error {
				if _, err := look(tx); err != nil {
					return err
				}
				if err := change.do(tx); err != nil {
					return err
				}
				l, err := look(tx)
				if err == nil { // a copy: nobody else sees this
					l.State.Owner = "nobody"
					l.Lanes.Put(99, store.Lane{})
					l.Tools.Put("x", store.ToolThread{})
				}
				return err
			})
			if !errors.Is(err, change.fail) {
				t.Fatalf("%s: %v", change.name, err)
			}
			update(t, s, func(tx *store.Tx) error { _, err := look(tx); return err })
		}
		if err := s.AfterRestore(t.Context()); err != nil { // a statement the memory knows nothing of
			t.Fatal(err)
		}
		update(t, s, func(tx *store.Tx) error {
			l, err := look(tx)
			if err == nil && l.Tools.Get("desk").DeliverySeq < 1_000_000 {
				t.Errorf("after a restore: %+v", l.Tools)
			}
			return err
		})
	})
}

// Commands on many threads share transactions: each has its own result, one that
// fails takes nothing of the others with it, and ids and times grow per thread.
func TestSharedTransactions(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		client := newClient(t, s, "acme")
		const threads, rounds = 40, 8
		ids := make([]int64, threads)
		update(t, s, func(tx *store.Tx) error {
			for i := range ids {
				u, err := tx.PutUser(store.User{Client: client, AuthID: fmt.Sprint("u", i), UserName: fmt.Sprint("n", i)})
				if err != nil {
					return err
				}
				if ids[i], err = tx.InsertThread(client, 1, u.ID, fmt.Sprint("p", i), 13); err != nil {
					return err
				}
			}
			return nil
		})
		refused, late := errors.New("before writing"), errors.New("after writing")
		write := func(thread int64, n int, end error) func(tx *store.Tx) error {
			return func(tx *store.Tx) error {
				l, err := tx.LockThread(thread)
				if err != nil {
					return err
				}
				if errors.Is(end, refused) {
					return end
				}
				id, err := tx.NextID()
				if err != nil {
					return err
				}
				if err := tx.InsertEntry(l, &store.Entry{ID: id, Thread: thread, Conversation: 1, Sender: tract.SenderCEU, Body: fmt.Sprint(n), At: tx.Now}); err != nil {
					return err
				}
				if err := tx.AppendDelivery(l, 7, store.Delivery{Entry: id, Tool: "desk", DeliverySeq: l.NextDeliverySeq("desk"), Payload: []byte("{}")}); err != nil {
					return err
				}
				next := l.State
				next.Conversation, next.Epoch = 1, next.Epoch+1
				return errors.Join(tx.SaveThread(l, next), end)
			}
		}
		var all sync.WaitGroup
		for i, thread := range ids {
			all.Go(func() {
				for n := range rounds {
					var end error
					switch {
					case i == 3 && n == 2:
						end = refused
					case i == 5 && n == 4:
						end = late
					}
					if err := s.ShareThread(t.Context(), thread, write(thread, n, end)); !errors.Is(err, end) {
						t.Errorf("thread %d, round %d: %v", i, n, err)
					}
				}
			})
		}
		all.Go(func() {
			if err := s.ShareThread(t.Context(), 1<<40, write(1<<40, 0, nil)); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("no such thread: %v", err)
			}
		})
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.ShareThread(gone, ids[0], write(ids[0], 99, nil)); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a caller who left: %v", err)
		}
		all.Wait()
		for i, thread := range ids {
			want := rounds
			if i == 3 || i == 5 {
				want--
			}
			update(t, s, func(tx *store.Tx) error {
				l, err := tx.LockThread(thread)
				if err != nil {
					return err
				}
				es, err := tx.ListEntries(thread, 0, 100)
				if len(es) != want || l.State.Epoch != int64(want) || l.Lanes.Get(7).Last != int64(want) || l.Tools.Get("desk").DeliverySeq != int64(want) {
					t.Errorf("thread %d: %d entries, epoch %d, lane %d, want %d", i, len(es), l.State.Epoch, l.Lanes.Get(7).Last, want)
				}
				if !slices.IsSortedFunc(es, func(a, b store.Entry) int { return a.At.Compare(b.At) }) {
					t.Errorf("thread %d: times run back", i)
				}
				return err
			})
		}
		if s.Engine() == "postgres" { // a thread that is held elsewhere keeps nobody but its own command waiting
			held, release := make(chan struct{}), make(chan struct{})
			all.Go(func() {
				if err := s.Update(t.Context(), func(tx *store.Tx) error {
					_, err := tx.LockThread(ids[0])
					close(held)
					<-release
					return err
				}); err != nil {
					t.Errorf("the holder: %v", err)
				}
			})
			<-held
			last := make(chan error, 1)
			go func() { last <- s.ShareThread(t.Context(), ids[0], write(ids[0], 100, nil)) }()
			for range 3 {
				var others sync.WaitGroup
				for _, thread := range ids[1:] {
					others.Go(func() {
						if err := s.ShareThread(t.Context(), thread, write(thread, 100, nil)); err != nil {
							t.Errorf("thread %d: %v", thread, err)
						}
					})
				}
				others.Wait()
			}
			select {
			case err := <-last:
				t.Errorf("a held thread was written: %v", err)
			default:
			}
			close(release)
			if err := <-last; err != nil {
				t.Errorf("the waiting command: %v", err)
			}
			all.Wait()
		}
		if err := s.ShareThread(t.Context(), ids[0], func(tx *store.Tx) error {
			return s.ShareThread(tx.Context(), ids[1], func(*store.Tx) error { return nil })
		}); err == nil {
			t.Error("an update inside an update passed")
		}
	})
}

// A folder may be named as it likes: its store lies in it and nowhere else.
func TestFolderWithOddName(t *testing.T) {
	above := t.TempDir()
	for _, name := range []string{"a#b", "a?mode=memory", "a%41", "a b&c", "ä'\""} {
		dir := filepath.Join(above, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(t.Context(), store.Options{Dir: dir})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := s.Update(t.Context(), func(tx *store.Tx) error { return tx.SetMeta("name", name) }); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "tract.db")); err != nil || !bytes.Contains(b, []byte("CREATE TABLE")) {
			t.Errorf("%s: the store is not in its folder: %v", name, err)
		}
		copied := filepath.Join(dir, "copy.db")
		if err := store.Backup(t.Context(), dir, copied); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := store.Restore(t.Context(), copied, dir, true); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	left, err := os.ReadDir(above)
	if err != nil || len(left) != 5 {
		t.Errorf("beside the folders there are %v %v", left, err)
	}
}
