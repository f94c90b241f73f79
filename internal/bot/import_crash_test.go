package bot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"tract"
	"tract/internal/bot"
	"tract/internal/conversation"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// Whatever transaction an import is stopped after: the bot has the old set or
// the new one, and who goes on ends with the new one.
func TestImportIsStopped(t *testing.T) {
	eachImports(t, func(t *testing.T, w *imports) {
		sets := [][]string{numbered("a", 0, 600), append(numbered("a", 300, 600), numbered("b", 0, 500)...)}
		w.upload(csvOf("x", sets[0]...))
		w.work()
		for at, stopped := 1, true; stopped; at++ {
			old, next := sets[(at+1)%2], sets[at%2]
			before := w.version()
			id := w.upload(csvOf("x", next...))
			ctx, cancel := context.WithCancel(w.ctx)
			n := 0
			stop := func() {
				if n++; n == at {
					cancel()
				}
			}
			w.onCommit.Store(&stop)
			err := w.im.Work(ctx)
			w.onCommit.Store(nil)
			cancel()
			if stopped = err != nil; stopped && !errors.Is(err, context.Canceled) {
				t.Fatalf("stopped after %d: %v", at, err)
			}
			got, want := w.steps(true), old
			if w.version() != before {
				want = next
			}
			diff(t, fmt.Sprintf("stopped after %d", at), want, got)
			w.clock.Advance(2 * time.Minute) // nothing was given back: the lease ends
			if err := bot.NewImporter(w.s, w.dir, nil).Tidy(w.ctx); err != nil {
				t.Fatal(err)
			}
			w.work()
			if got := w.task(id); got.State != store.TaskDone || got.Total != len(next) || got.Created+got.Updated != len(next) || w.version() != before+1 {
				t.Fatalf("gone on after %d: %+v, version %d after %d", at, got, w.version(), before)
			}
			diff(t, fmt.Sprintf("gone on after %d", at), []any{next, false}, []any{w.steps(true), w.parts(w.task(id).Seq)})
			if at > 60 {
				t.Fatal("the import never ends")
			}
			if !stopped && at < 12 {
				t.Errorf("an import of 800 rows was over after %d transactions", at)
			}
		}
		// The rows of older sets are gone but for the inactive ones.
		inactive := 500
		if slices.Equal(w.steps(true), sets[1]) {
			inactive = 300
		}
		diff(t, "inactive", inactive, len(w.steps(false)))
	})
}

// The child of TestImportIsKilled: it works until it is killed.
func TestImportChild(t *testing.T) {
	url, dir := os.Getenv("TRACT_TEST_IMPORT_URL"), os.Getenv("TRACT_TEST_IMPORT_DIR")
	if url == "" && dir == "" {
		t.Skip("a child of another test")
	}
	s, err := store.Open(t.Context(), store.Options{URL: url, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("\nworking")
	_ = bot.NewImporter(s, "", nil).Run(t.Context())
}

// kill -9 in the middle of imports: the old set or the new one, and the next
// start goes on.
func TestImportIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for some seconds")
	}
	sets := [][]string{numbered("a", 0, 4000), append(numbered("a", 2000, 4000), numbered("b", 0, 1500)...)}
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		open := func() *imports {
			w := started(t, o)
			return &imports{world: w, im: bot.NewImporter(w.s, "", nil)}
		}
		w := open()
		w.upload(csvOf("x", sets[0]...))
		w.work()
		for round := range 12 {
			old, next := sets[round%2], sets[(round+1)%2]
			before := w.version()
			id := w.upload(csvOf("x", next...))
			w.s.Close()
			child(t, "TestImportChild", []string{"TRACT_TEST_IMPORT_URL=" + o.URL, "TRACT_TEST_IMPORT_DIR=" + o.Dir}, time.Duration(round*25)*time.Millisecond)
			w = open()
			want := old
			if w.version() != before {
				want = next
			}
			diff(t, fmt.Sprintf("round %d", round), want, w.steps(true))
			w.update(func(tx *store.Tx) error { return tx.ReleaseTasks() }) // as a start on SQLite, or a minute later
			if err := w.im.Tidy(w.ctx); err != nil {
				t.Fatal(err)
			}
			w.work()
			if got := w.task(id); got.State != store.TaskDone {
				t.Fatalf("round %d: %+v", round, got)
			}
			diff(t, fmt.Sprintf("after round %d", round), []any{next, before + 1, false}, []any{w.steps(true), w.version(), w.parts(w.task(id).Seq)})
		}
		w.s.Close()
	})
}

// started is a client with a bot, on a store that may know them already, and that
// the test closes.
func started(t *testing.T, o store.Options) *world {
	t.Helper()
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ctx: t.Context(), s: s, c: conversation.New(s, "https://hub.example", nil)}
	w.iva = bot.New(s, w.c, nil)
	w.update(func(tx *store.Tx) (err error) {
		if w.client, err = tx.PutClient(tract.Client{ID: "acme", Active: true}); err != nil {
			return err
		}
		return tx.PutDocument(w.client, store.KindBot, domain, "", tract.Bot{DomainName: domain, Active: true})
	})
	return w
}

// child runs a test in a process of its own, which works until it is killed
// after a while.
func child(t *testing.T, test string, environment []string, after time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^"+test+"$")
	cmd.Env = append(os.Environ(), environment...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var seen bytes.Buffer
	buf := make([]byte, 256)
	for !bytes.Contains(seen.Bytes(), []byte("working")) {
		n, err := out.Read(buf)
		seen.Write(buf[:n])
		if err != nil {
			t.Fatalf("the child did not start: %v\n%s", err, seen.Bytes())
		}
	}
	<-time.After(after)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
}
