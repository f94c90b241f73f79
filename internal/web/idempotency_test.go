package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"tract"
	"tract/internal/store"
	"tract/internal/tracttest"
	"tract/internal/web"
)

func keyed(t *testing.T, idem *web.Idempotency, key, body string, scope ...string) *web.Keyed {
	t.Helper()
	r := httptest.NewRequest("POST", "/x", nil)
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	k, err := idem.Key(r, []byte(body), scope...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// effect is a command that can be counted: it adds a job and answers with what
// only this run can know.
func effect(runs *atomic.Int64) func(*store.Tx) (web.Answer, error) {
	return func(tx *store.Tx) (web.Answer, error) {
		n := runs.Add(1)
		return web.JSON(http.StatusCreated, map[string]any{"run": n}), tx.InsertJob("effect", 1, n, tx.Now)
	}
}

// effects counts what effect left in the store.
func effects(t *testing.T, s *store.Store) (n int) {
	t.Helper()
	undo := errors.New("undo")
	err := s.Update(background(), func(tx *store.Tx) error {
		jobs, err := tx.ClaimJobs(1000)
		n = len(jobs)
		return errors.Join(err, undo)
	})
	if !errors.Is(err, undo) {
		t.Fatal(err)
	}
	return n
}

func TestIdempotencyKeyHeader(t *testing.T) {
	idem := &web.Idempotency{}
	tests := []struct {
		name   string
		values []string
		good   bool
	}{
		{"none", nil, true},
		{"one", []string{"5f1e2a7c"}, true},
		{"printable", []string{"a b~!\"{}"}, true},
		{"longest", []string{strings.Repeat("k", 255)}, true},
		{"too long", []string{strings.Repeat("k", 256)}, false},
		{"empty", []string{""}, false},
		{"two", []string{"a", "a"}, false},
		{"tab", []string{"a\tb"}, false},
		{"DEL", []string{"a\x7f"}, false},
		{"not ASCII", []string{"clé"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/x", nil)
			r.Header["Idempotency-Key"] = tt.values
			_, err := idem.Key(r, nil, "acme")
			if (err == nil) != tt.good || err != nil && (tract.KindOf(err) != tract.KindInvalid || tract.CodeOf(err) != "invalid_idempotency_key") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRepeatedCalls(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		idem := &web.Idempotency{Store: s}
		var runs atomic.Int64
		call := func(key, body string, scope ...string) (web.Answer, error) {
			return keyed(t, idem, key, body, scope...).Update(background(), 0, effect(&runs))
		}
		answer := func(wantRun int, a web.Answer, err error) {
			t.Helper()
			if want := fmt.Sprintf(`201 {"run":%d}`, wantRun); err != nil || fmt.Sprintf("%d %s", a.Status, a.Body) != want {
				t.Errorf("got %d %s, %v; want %s", a.Status, a.Body, err, want)
			}
		}
		scope := []string{"acme", "desk-one", "send"}
		a, err := call("k", "body", scope...)
		answer(1, a, err)
		a, err = call("k", "body", scope...)
		answer(1, a, err)
		if _, err := call("k", "other body", scope...); !errors.Is(err, web.ErrKeyMismatch) || tract.KindOf(err) != tract.KindMismatch {
			t.Errorf("HT-17: other body: %v", err)
		}
		a, err = call("k2", "body", scope...)
		answer(2, a, err)
		a, err = call("k", "body", "umbrella", "desk-one", "send")
		answer(3, a, err)
		a, err = call("k", "body", "acme", "desk-two", "send")
		answer(4, a, err)
		a, err = call("k", "body", "acme", "desk-one", "events")
		answer(5, a, err)
		a, err = call("k", "body", "acmedesk", "-one", "send")
		answer(6, a, err)
		a, err = call("", "body", scope...)
		answer(7, a, err)
		a, err = call("", "body", scope...)
		answer(8, a, err)
		if n := effects(t, s); n != 8 {
			t.Errorf("%d effects, want 8", n)
		}
	})
}

func TestOnlySuccessIsRemembered(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		idem := &web.Idempotency{Store: s}
		var runs atomic.Int64
		k := func() *web.Keyed { return keyed(t, idem, "k", "body", "acme") }
		refused := &tract.Error{Kind: tract.KindForbidden, Code: "not_owner", Msg: "no"}
		if _, err := k().Update(background(), 0, func(*store.Tx) (web.Answer, error) { return web.Answer{}, refused }); !errors.Is(err, refused) {
			t.Errorf("got %v", err)
		}
		a, err := k().Update(background(), 0, func(*store.Tx) (web.Answer, error) { return web.JSON(409, "no"), nil })
		if a.Status != 409 || err != nil {
			t.Errorf("got %v, %v", a, err)
		}
		bad := func(tx *store.Tx) (web.Answer, error) {
			_, err := effect(&runs)(tx)
			return web.JSON(200, func() {}), err
		}
		if _, err := k().Update(background(), 0, bad); err == nil {
			t.Error("an answer that cannot be written is committed")
		}
		text := func(tx *store.Tx) (web.Answer, error) {
			return web.Answer{Status: 200, Type: "text/csv"}, nil
		}
		if _, err := k().Update(background(), 0, text); err == nil {
			t.Error("an answer that is not JSON is remembered as JSON")
		}
		if n := effects(t, s); n != 0 {
			t.Errorf("%d effects before any success", n)
		}
		a, err = k().Update(background(), 0, effect(&runs))
		if a.Status != 201 || err != nil || effects(t, s) != 1 {
			t.Errorf("got %d, %v", a.Status, err)
		}
		b, err := k().Update(background(), 0, func(*store.Tx) (web.Answer, error) { return web.Answer{}, refused })
		if err != nil || b.Status != 201 || string(b.Body) != string(a.Body) {
			t.Errorf("after the success: %v %v", b, err)
		}
	})
}

func TestEmptyAnswersAreRemembered(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		idem := &web.Idempotency{Store: s}
		for range 2 {
			a, err := keyed(t, idem, "k", "", "acme").Update(background(), 0, func(*store.Tx) (web.Answer, error) { return web.NoContent(), nil })
			if err != nil || a.Status != 204 || len(a.Body) != 0 {
				t.Errorf("got %v, %v", a, err)
			}
		}
	})
}

func TestAnswersAreForgottenAfterADay(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		clock := tracttest.NewClock()
		o.Now = clock.Now
		s := tracttest.Open(t, o)
		idem := &web.Idempotency{Store: s}
		var runs atomic.Int64
		run := func(body string) string {
			a, err := keyed(t, idem, "k", body, "acme").Update(background(), 0, effect(&runs))
			return fmt.Sprint(string(a.Body), err)
		}
		got := []string{run("one")}
		clock.Advance(24 * time.Hour)
		got = append(got, run("one"))
		clock.Advance(time.Microsecond)
		got = append(got, run("two"), run("two"))
		want := []string{`{"run":1}<nil>`, `{"run":1}<nil>`, `{"run":2}<nil>`, `{"run":2}<nil>`}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}

// Fifty calls with one key arrive together, at two processes where the engine
// has more than one. Each closure runs twice, the first time rolled back.
func TestConcurrentCallsHaveOneEffect(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		o.Now = tracttest.NewClock().Now
		o.Rerun = true
		s := tracttest.Open(t, o)
		replicas := []*web.Idempotency{{Store: s}, {Store: s}}
		if o.URL != "" {
			replicas[1].Store = tracttest.Open(t, o)
		}
		for round := range 3 {
			before := effects(t, s)
			var runs atomic.Int64
			var wg sync.WaitGroup
			answers := make([]string, 50)
			for i := range answers {
				k := keyed(t, replicas[i%2], fmt.Sprint("k", round), "body", "acme")
				wg.Go(func() {
					a, err := k.Update(background(), 7, effect(&runs))
					answers[i] = fmt.Sprint(a.Status, " ", string(a.Body), " ", err)
				})
			}
			wg.Wait()
			slices.Sort(answers)
			if got := slices.Compact(answers); len(got) != 1 || !strings.HasPrefix(got[0], "201 ") {
				t.Errorf("answers: %q", got)
			}
			if n := replicas[0].Inside() + replicas[1].Inside(); n != 0 {
				t.Errorf("%d keys are held after the calls", n)
			}
			if n := effects(t, s) - before; n != 1 {
				t.Errorf("%d effects, want 1", n)
			}
		}
	})
}

// While the first call is inside, a second one waits and then gets its answer,
// also when the state changed so much that the command would now be refused.
func TestSecondProcessWaitsForTheFirst(t *testing.T) {
	o := tracttest.Fresh(t, "postgres")
	one, two := &web.Idempotency{Store: tracttest.Open(t, o)}, &web.Idempotency{Store: tracttest.Open(t, o)}
	inside, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	var runs atomic.Int64
	var first, second web.Answer
	var errFirst, errSecond error
	kOne, kTwo := keyed(t, one, "k", "body", "acme"), keyed(t, two, "k", "body", "acme")
	wg.Go(func() {
		first, errFirst = kOne.Update(background(), 0, func(tx *store.Tx) (web.Answer, error) {
			close(inside)
			<-leave
			return effect(&runs)(tx)
		})
	})
	<-inside
	wg.Go(func() {
		second, errSecond = kTwo.Update(background(), 0, func(tx *store.Tx) (web.Answer, error) {
			return web.Answer{}, tract.Invalid("too_late", "the state has changed")
		})
	})
	waitForLock(t, o.URL)
	close(leave)
	wg.Wait()
	if errFirst != nil || errSecond != nil || first.Status != 201 || string(first.Body) != string(second.Body) {
		t.Errorf("first %s %v, second %s %v", first.Body, errFirst, second.Body, errSecond)
	}
}

// waitForLock returns when a transaction waits for a key.
func waitForLock(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(background(), 20*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(background())
	for n := 0; n == 0; {
		err := c.QueryRow(ctx, `select count(*) from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())`).Scan(&n)
		if err != nil {
			t.Fatalf("nobody waits for the key: %v", err)
		}
	}
}

func TestWaitingIsBounded(t *testing.T) {
	left, cancel := context.WithCancel(background())
	cancel()
	tests := []struct {
		name string
		wait time.Duration
		ctx  context.Context
	}{
		{"too long", time.Millisecond, background()},
		{"the caller has left", time.Hour, left},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tracttest.Stores(t, func(t *testing.T, s *store.Store) {
				idem := &web.Idempotency{Store: s, Wait: tt.wait}
				var runs atomic.Int64
				_, err := keyed(t, idem, "k", "body", "acme").Update(background(), 0, func(tx *store.Tx) (web.Answer, error) {
					_, err := keyed(t, idem, "k", "body", "acme").Update(tt.ctx, 0, effect(&runs))
					if !errors.Is(err, web.ErrKeyInProgress) || tract.KindOf(err) != tract.KindConflict || runs.Load() != 0 {
						t.Errorf("a call beside the first: %v", err)
					}
					if n := idem.Inside(); n != 1 {
						t.Errorf("%d keys are held, want 1", n)
					}
					return web.NoContent(), nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if a, err := keyed(t, idem, "k", "body", "acme").Update(background(), 0, effect(&runs)); err != nil || a.Status != 204 {
					t.Errorf("afterwards: %v %v", a, err)
				}
			})
		})
	}
}

// A key that another process holds too long is answered like one held here.
func TestKeyHeldElsewhere(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		_, err := keyed(t, &web.Idempotency{Store: s}, "k", "body", "acme").Update(background(), 0, func(*store.Tx) (web.Answer, error) {
			return web.Answer{}, store.ErrUnavailable.Because(store.ErrKeyHeld.Because(errors.New("55P03")))
		})
		if !errors.Is(err, web.ErrKeyInProgress) || tract.KindOf(err) != tract.KindConflict {
			t.Errorf("got %v", err)
		}
	})
}

// Whatever goes wrong before the commit, neither the effect nor the answer is
// kept, and the same call then works.
func TestEffectAndAnswerAreOneTransaction(t *testing.T) {
	crash := errors.New("crash")
	tests := map[string]func(tx *store.Tx, k *web.Keyed, runs *atomic.Int64) error{
		"error after the effect": func(tx *store.Tx, k *web.Keyed, runs *atomic.Int64) error {
			_, err := effect(runs)(tx)
			return errors.Join(err, crash)
		},
		"error after saving": func(tx *store.Tx, k *web.Keyed, runs *atomic.Int64) error {
			a, err := effect(runs)(tx)
			return errors.Join(err, k.Save(tx, a), crash)
		},
		"panic after saving": func(tx *store.Tx, k *web.Keyed, runs *atomic.Int64) error {
			a, err := effect(runs)(tx)
			if err := errors.Join(err, k.Save(tx, a)); err != nil {
				return err
			}
			panic("crash")
		},
	}
	for name, fail := range tests {
		t.Run(name, func(t *testing.T) {
			tracttest.Stores(t, func(t *testing.T, s *store.Store) {
				idem := &web.Idempotency{Store: s}
				var runs atomic.Int64
				k := keyed(t, idem, "k", "body", "acme")
				err := s.Update(background(), func(tx *store.Tx) error {
					if _, known, err := k.Replay(tx); known || err != nil {
						t.Errorf("known %v, %v", known, err)
					}
					return fail(tx, k, &runs)
				})
				if err == nil || runs.Load() == 0 {
					t.Fatalf("the failing call: %v", err)
				}
				if n := effects(t, s); n != 0 {
					t.Fatalf("%d effects of a call that failed", n)
				}
				a, err := keyed(t, idem, "k", "body", "acme").Update(background(), 0, effect(&runs))
				b, err2 := keyed(t, idem, "k", "body", "acme").Update(background(), 0, effect(&runs))
				if err != nil || err2 != nil || a.Status != 201 || string(a.Body) != string(b.Body) || effects(t, s) != 1 {
					t.Errorf("afterwards: %s %v, %s %v", a.Body, err, b.Body, err2)
				}
			})
		})
	}
}

// A refusal must not spoil the transaction it shares with others on SQLite, so
// it leaves nothing behind.
func TestRefusalsWriteNothing(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		idem := &web.Idempotency{Store: s}
		before := s.Metrics().Failures.Load()
		for i := range 5 {
			_, _ = keyed(t, idem, fmt.Sprint("k", i), "body", "acme").Update(background(), 0, func(*store.Tx) (web.Answer, error) {
				return web.Answer{}, tract.Invalid("c", "t")
			})
		}
		var left int64
		err := s.Update(background(), func(tx *store.Tx) (err error) {
			left, err = tx.DeleteIdempotencyBefore(tx.Now.Add(time.Hour), 100)
			return err
		})
		if err != nil || left != 0 || s.Metrics().Failures.Load() != before {
			t.Errorf("%d rows, %v", left, err)
		}
	})
}

// A command whose answer comes later saves what it has with its effect and
// replaces it.
func TestAnswersInTwoSteps(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		idem := &web.Idempotency{Store: s}
		k := keyed(t, idem, "k", "body", "acme")
		step := func(want int, next web.Answer) {
			t.Helper()
			err := s.Update(background(), func(tx *store.Tx) error {
				a, _, err := k.Replay(tx)
				if a.Status != want {
					t.Errorf("status %d, want %d", a.Status, want)
				}
				return errors.Join(err, k.Save(tx, next))
			})
			if err != nil {
				t.Error(err)
			}
		}
		step(0, web.JSON(202, "waiting"))
		step(202, web.JSON(200, "done"))
		step(200, web.JSON(200, "done"))
	})
}

func TestSweep(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		clock := tracttest.NewClock()
		o.Now = clock.Now
		s := tracttest.Open(t, o)
		idem := &web.Idempotency{Store: s}
		var runs atomic.Int64
		for i := range 5 {
			clock.Advance(time.Hour)
			if _, err := keyed(t, idem, fmt.Sprint("k", i), "b", "acme").Update(background(), 0, effect(&runs)); err != nil {
				t.Fatal(err)
			}
		}
		sweep := func(limit int) (n int64) {
			err := s.Update(background(), func(tx *store.Tx) (err error) {
				n, err = tx.DeleteIdempotencyBefore(tx.Now.Add(-time.Hour), limit)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		got := []int64{sweep(2), sweep(2), sweep(2)} // k0 k1, k2, none: k3 is an hour old, not older
		if d := cmp.Diff([]int64{2, 1, 0}, got); d != "" {
			t.Error(d)
		}
		for i, again := range []bool{true, true, true, false, false} {
			before := runs.Load()
			_, err := keyed(t, idem, fmt.Sprint("k", i), "b", "acme").Update(background(), 0, effect(&runs))
			if ran := runs.Load() > before; err != nil || ran != again {
				t.Errorf("k%d ran again: %v, want %v (%v)", i, ran, again, err)
			}
		}
	})
}

// The whole way: header in, bytes out.
func TestIdempotencyThroughTheMux(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		m, _ := newMux(t)
		idem := &web.Idempotency{Store: s}
		var runs atomic.Int64
		m.Handle("POST /x/", web.Platform, func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
			var g greeting
			body, err := web.ReadJSON(r, web.MaxBody, &g)
			if err != nil {
				return web.Answer{}, err
			}
			k, err := idem.Key(r, body, "acme", "token", "POST /x/")
			if err != nil {
				return web.Answer{}, err
			}
			return k.Update(r.Context(), 0, effect(&runs))
		})
		post := func(body string, key ...string) string {
			header := []string{"Content-Type", "application/json"}
			for _, k := range key {
				header = append(header, "Idempotency-Key", k)
			}
			w := call(m, "POST", "/x/", body, header...)
			return fmt.Sprint(w.Code, " ", w.Header().Get("Content-Type"), " ", w.Body)
		}
		const js = " application/json; charset=utf-8 "
		got := []string{post(`{}`, "k"), post(`{}`, "k"), post(`{"text":"x"}`, "k"), post(`{}`, "k", "k"), post(`{}`)}
		want := []string{
			`201` + js + `{"run":1}`,
			`201` + js + `{"run":1}`,
			`422` + js + `{"code":"idempotency_mismatch","error_message":"Idempotency-Key was used with another body","request_id":"req_made"}`,
			`400` + js + `{"code":"invalid_idempotency_key","error_message":"Idempotency-Key must be given once, with 1 to 255 printable ASCII characters","request_id":"req_made"}`,
			`201` + js + `{"run":2}`,
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}
