package bot_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"tract"
	"tract/internal/bot"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// imports is a world with an importer, and a clock that can be moved.
type imports struct {
	*world
	im    *bot.Importer
	clock *tracttest.Clock
	dir   string
	// onCommit, when set, is called with each commit.
	onCommit atomic.Pointer[func()]
}

func eachImports(t *testing.T, test func(t *testing.T, w *imports)) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		w := &imports{clock: tracttest.NewClock(), dir: t.TempDir()}
		o.Now = w.clock.Now
		s := tracttest.Open(t, o)
		s.Watch(w)
		w.world = newWorld(t, s)
		w.im = bot.NewImporter(s, w.dir, nil)
		test(t, w)
	})
}

func (w *imports) Appending([]store.LaneKey) {}
func (w *imports) Aborted([]store.LaneKey)   {}
func (w *imports) Committed(*store.Commit) {
	if fn := w.onCommit.Load(); fn != nil {
		(*fn)()
	}
}

// upload queues a file and gives its task's id.
func (w *imports) upload(csv string, dry ...bool) string {
	w.t.Helper()
	return w.uploadTo(domain, csv, len(dry) > 0 && dry[0])
}

func (w *imports) uploadTo(domain, csv string, dry bool) string {
	w.t.Helper()
	up := w.keep(domain, csv, dry)
	w.update(func(tx *store.Tx) error { return w.im.Queue(tx, up) })
	return up.ID
}

// keep stores a file for which no task is queued yet.
func (w *imports) keep(domain, csv string, dry bool) *bot.Upload {
	w.t.Helper()
	sp, err := w.im.Spool(strings.NewReader(csv))
	if err != nil {
		w.t.Fatal(err)
	}
	defer sp.Close()
	up, err := w.im.Keep(w.ctx, w.client, domain, dry, sp)
	if err != nil {
		w.t.Fatal(err)
	}
	return up
}

func (w *imports) work() {
	w.t.Helper()
	if err := w.im.Work(w.ctx); err != nil {
		w.t.Fatal(err)
	}
}

func (w *imports) task(id string) (t store.Task) {
	w.t.Helper()
	w.view(func(tx *store.Tx) (err error) { t, err = tx.Task(w.client, id); return err })
	return t
}

// want checks how a task ended: "done 3 of 3: 2 created, 1 updated, 0 deactivated".
func (w *imports) want(id, end string) {
	w.t.Helper()
	t := w.task(id)
	got := fmt.Sprintf("%s %d of %d: %d created, %d updated, %d deactivated", t.State, t.Done, t.Total, t.Created, t.Updated, t.Deactivated)
	if t.Error != "" {
		got += ": " + t.Error
	}
	diff(w.t, "task", end, got)
	if w.parts(t.Seq) {
		w.t.Error("the file of a task that is over is still there")
	}
}

func (w *imports) parts(seq int64) (any bool) {
	w.view(func(tx *store.Tx) (err error) { _, any, err = tx.Part(seq, 0); return err })
	return any
}

// steps are the names of the steps, active or not.
func (w *imports) steps(active bool) []string {
	w.t.Helper()
	names := []string{}
	w.view(func(tx *store.Tx) error {
		names = names[:0]
		return tx.EachStep(w.client, domain, active, func(s tract.Step) error { names = append(names, s.Name); return nil })
	})
	return names
}

func (w *imports) version() (v int64) {
	w.view(func(tx *store.Tx) (err error) { v, _, err = tx.FAQVersion(w.client, domain); return err })
	return v
}

// csvOf makes a file with a step for each name.
func csvOf(answer string, names ...string) string {
	var b strings.Builder
	b.WriteString("node_name,question,answer\n")
	for _, n := range names {
		fmt.Fprintf(&b, "%s,ask %s,%s\n", n, n, answer)
	}
	return b.String()
}

func numbered(prefix string, from, to int) (names []string) {
	for i := from; i < to; i++ {
		names = append(names, prefix+strconv.Itoa(i))
	}
	return names
}

func TestImport(t *testing.T) {
	eachImports(t, func(t *testing.T, w *imports) {
		first := w.upload(csvOf("x", "B", "A"))
		if got := w.task(first); got.State != store.TaskWaiting || w.version() != 0 {
			t.Fatalf("before the work: %s, version %d", got.State, w.version())
		}
		w.work()
		w.want(first, "done 2 of 2: 2 created, 0 updated, 0 deactivated")
		diff(t, "steps", []string{"B", "A"}, w.steps(true))

		second := w.upload("answer,node_name,topic,question\ny,a ,t,q\nz,C,t,q\n") // the same name but for case and spaces
		w.work()
		w.want(second, "done 2 of 2: 1 created, 1 updated, 1 deactivated")
		diff(t, "warnings", []string{`column "topic" is not known and ignored`}, w.task(second).Warnings)
		diff(t, "steps", []any{[]string{"a", "C"}, []string{"B"}, int64(2)}, []any{w.steps(true), w.steps(false), w.version()})

		third := w.upload(csvOf("x", "b", "C", "D")) // an inactive one comes back
		w.work()
		w.want(third, "done 3 of 3: 1 created, 2 updated, 1 deactivated")
		diff(t, "steps", []any{[]string{"b", "C", "D"}, []string{"a"}}, []any{w.steps(true), w.steps(false)})

		fourth := w.upload(csvOf("x", "b", "C", "D"))
		w.work()
		w.want(fourth, "done 3 of 3: 0 created, 3 updated, 0 deactivated")
		if left, err := os.ReadDir(w.dir); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	})
}

func TestImportRefuses(t *testing.T) {
	const head = "node_name,question,answer\n"
	tests := []struct{ name, in, want string }{
		{"CS-03", head + "A,q,x\rB,q,x\n", "line 2, column answer: a line ends with CR alone; save the file with LF or CRLF"},
		{"CS-05", head + "A,q,x\nB,q,\"x", "line 3, column answer: the quote opened on line 3 is never closed"},
		{"CS-11", head + "A,q,x\n a,q,x\n", `line 3, column node_name: "a" stands on line 2 already`},
		{"CS-12", head + "A,q,x\nB,q\n", "line 3: the row has 2 fields, the header 3"},
		{"CS-13", head + "A,caf\xe9,x\n", "line 2, column question: the text is not UTF-8; save the file as UTF-8"},
		{"CS-16", head + "A,q," + strings.Repeat("x<m>", 101) + "\n", "line 2, column answer: an answer may have 100 responses"},
		{"CS-19", head + "A,q," + strings.Repeat("x", 32<<10+1) + "\n", "line 2, column answer: the field is longer than 32768 bytes"},
		{"no question", head + "A,q,x\nB, | ,x\n", "line 3, column question: the step has no user message"},
		{"a broken object", head + "A,q,\"{\"\"type\"\": 5}\"\n", "line 2, column answer: response 1: type must be a string"},
	}
	eachImports(t, func(t *testing.T, w *imports) {
		w.upload(csvOf("x", "Keep"))
		w.work()
		for _, tt := range tests {
			for _, dry := range []bool{false, true} {
				id := w.upload(tt.in, dry)
				w.work()
				w.want(id, "failed 0 of 0: 0 created, 0 updated, 0 deactivated: "+tt.want)
			}
		}
		// Far behind, after rows that were good.
		late := w.upload(csvOf("x", numbered("n", 0, 900)...) + "N7,q,x\n")
		w.work()
		w.want(late, `failed 0 of 0: 0 created, 0 updated, 0 deactivated: line 902, column node_name: "N7" stands on line 9 already`)
		diff(t, "nothing changed", []any{[]string{"Keep"}, []string{}, int64(1)}, []any{w.steps(true), w.steps(false), w.version()})
	})
}

func TestImportDryRun(t *testing.T) {
	eachImports(t, func(t *testing.T, w *imports) {
		w.upload(csvOf("x", numbered("n", 0, 600)...))
		w.work()
		id := w.upload(csvOf("y", numbered("n", 300, 1000)...), true)
		w.work()
		w.want(id, "done 700 of 700: 400 created, 300 updated, 300 deactivated")
		diff(t, "nothing changed", []any{numbered("n", 0, 600), []string{}, int64(1)}, []any{w.steps(true), w.steps(false), w.version()})
		real := w.upload(csvOf("y", numbered("n", 300, 1000)...))
		w.work()
		w.want(real, "done 700 of 700: 400 created, 300 updated, 300 deactivated")
		diff(t, "changed", []any{numbered("n", 300, 1000), 300}, []any{w.steps(true), len(w.steps(false))})
	})
}

// A file of many pieces comes through byte for byte.
func TestImportOfManyPieces(t *testing.T) {
	eachImports(t, func(t *testing.T, w *imports) {
		names := numbered("n", 0, 60)
		answer := `"` + strings.Repeat("ä🙂\r\n, ", 1800) + `."`
		id := w.upload(csvOf(answer, names...))
		if seq := w.task(id).Seq; !w.parts(seq) {
			t.Fatal("no file")
		}
		w.work()
		w.want(id, "done 60 of 60: 60 created, 0 updated, 0 deactivated")
		w.view(func(tx *store.Tx) error {
			steps, err := tx.ListSteps(w.client, domain)
			if err == nil && steps[59].Answers[0]+"" != strings.Trim(answer, `"`) {
				t.Error("the answer is not the one of the file")
			}
			return err
		})
	})
}

// Somebody changes the steps while a file is staged: it is staged anew.
func TestImportOnShiftingGround(t *testing.T) {
	eachImports(t, func(t *testing.T, w *imports) {
		w.upload(csvOf("x", numbered("n", 0, 10)...))
		w.work()
		id := w.upload(csvOf("x", numbered("n", 5, 800)...))
		for at, between := range []string{csvOf("z", "n5", "other"), csvOf("z", "n6", "n7", "third")} {
			ctx, cancel := context.WithCancel(w.ctx)
			n := 0
			stop := func() {
				if n++; n == 5+at {
					cancel()
				}
			}
			w.onCommit.Store(&stop)
			if err := w.im.Work(ctx); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			w.onCommit.Store(nil)
			cancel()
			if done := w.task(id).Done; done == 0 || done == 795 {
				t.Fatalf("%d rows were staged", done)
			}
			if err := bot.LoadFAQ(w.ctx, w.s, w.client, domain, []byte(between)); err != nil {
				t.Fatal(err)
			}
		}
		w.work()
		w.want(id, "done 795 of 795: 790 created, 5 updated, 1 deactivated") // of n6, n7, third
		diff(t, "steps", numbered("n", 5, 800), w.steps(true))
		inactive := append(numbered("n", 0, 5), "other", "third")
		diff(t, "inactive", inactive, w.steps(false))
	})
}

func TestUploadsRunInOrder(t *testing.T) {
	eachImports(t, func(t *testing.T, w *imports) {
		w.put(store.KindBot, "second", tract.Bot{DomainName: "second", Active: true})
		first, second := w.upload(csvOf("x", "A")), w.upload(csvOf("x", "B"))
		elsewhere := w.uploadTo("second", csvOf("x", "C"), false)
		var held store.Task
		w.update(func(tx *store.Tx) error {
			next, found, err := tx.RunnableTask()
			if err != nil || !found || next.ID != first {
				t.Fatalf("next is %v, %v", next, err)
			}
			var ok bool
			held, ok, err = tx.ClaimTask(next, time.Minute)
			if err != nil || !ok || held.Fence != 1 {
				t.Errorf("claimed: %v %+v %v", ok, held, err)
			}
			return err
		})
		w.work()
		diff(t, "while the first is being done", []string{store.TaskRunning, store.TaskWaiting, store.TaskDone}, []string{w.task(first).State, w.task(second).State, w.task(elsewhere).State})
		w.clock.Advance(time.Minute)
		w.work()
		diff(t, "when its process is dead", []string{store.TaskDone, store.TaskDone}, []string{w.task(first).State, w.task(second).State})
		diff(t, "steps", []any{[]string{"B"}, []string{"A"}}, []any{w.steps(true), w.steps(false)})
		// Who was taken for dead cannot write any more.
		err := w.s.Update(w.ctx, func(tx *store.Tx) error { return tx.SaveTask(&held, time.Minute) })
		if !errors.Is(err, store.ErrTaskLost) {
			t.Errorf("the late one: %v", err)
		}
	})
}

func TestManyImportersAtOnce(t *testing.T) {
	eachImports(t, func(t *testing.T, w *imports) {
		var ids []string
		for i := range 6 {
			ids = append(ids, w.upload(csvOf("x", numbered(fmt.Sprintf("s%d-", i), 0, 300+i)...)))
		}
		ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
		defer cancel()
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				im := bot.NewImporter(w.s, w.dir, nil)
				for over := false; !over && ctx.Err() == nil; {
					if err := im.Work(ctx); err != nil {
						t.Errorf("work: %v", err)
						return
					}
					over = w.task(ids[5]).State == store.TaskDone
				}
			})
		}
		all.Wait()
		diff(t, "steps", numbered("s5-", 0, 305), w.steps(true))
		for i, id := range ids {
			if got := w.task(id); got.State != store.TaskDone || got.Fence != 1 || got.Created != 300+i {
				t.Errorf("task %d: %+v", i, got)
			}
		}
	})
}

func TestImportForABotThatIsGone(t *testing.T) {
	eachImports(t, func(t *testing.T, w *imports) {
		id := w.upload(csvOf("x", numbered("n", 0, 300)...))
		w.update(func(tx *store.Tx) error { return tx.DeleteDocument(w.client, store.KindBot, domain) })
		w.work()
		w.want(id, "failed 300 of 300: 300 created, 0 updated, 0 deactivated: the bot does not exist any more")
		diff(t, "steps", []any{[]string{}, []string{}}, []any{w.steps(true), w.steps(false)})
	})
}

func TestLoadOfALargeFile(t *testing.T) {
	eachImports(t, func(t *testing.T, w *imports) {
		file := csvOf("x", numbered("n", 0, 700)...)
		for range 2 { // the second time it is there already
			if err := bot.LoadFAQ(w.ctx, w.s, w.client, domain, []byte(file)); err != nil {
				t.Fatal(err)
			}
			diff(t, "steps", []any{numbered("n", 0, 700), int64(1)}, []any{w.steps(true), w.version()})
		}
		if err := bot.LoadFAQ(w.ctx, w.s, w.client, "nobody", []byte(file)); tract.KindOf(err) != tract.KindInvalid {
			t.Errorf("for a bot that is not there: %v", err)
		}
		if _, found := w.runnable(); found {
			t.Error("something is left to do")
		}
	})
}

func (w *imports) runnable() (t store.Task, found bool) {
	w.view(func(tx *store.Tx) (err error) { t, found, err = tx.RunnableTask(); return err })
	return t, found
}

func TestTidy(t *testing.T) {
	eachImports(t, func(t *testing.T, w *imports) {
		up := w.keep(domain, csvOf("x", "A"), false)
		if _, found := w.runnable(); found {
			t.Fatal("a task runs whose upload was not answered")
		}
		over := w.upload(csvOf("x", "B"))
		w.work()
		tidy := func() {
			t.Helper()
			if err := w.im.Tidy(w.ctx); err != nil {
				t.Fatal(err)
			}
		}
		seq := w.task(over).Seq - 1 // of the upload before
		tidy()
		if !w.parts(seq) {
			t.Error("an upload was dropped that may still be queued")
		}
		w.clock.Advance(time.Hour + time.Second)
		tidy()
		if w.parts(seq) {
			t.Error("an upload that never ended is still there")
		}
		w.update(func(tx *store.Tx) error { return w.im.Queue(tx, up) }) // too late: nothing happens
		w.clock.Advance(30*24*time.Hour - time.Hour - 2*time.Second)
		tidy()
		w.task(over)
		w.clock.Advance(2 * time.Second)
		tidy()
		w.view(func(tx *store.Tx) error {
			if _, err := tx.Task(w.client, over); tract.KindOf(err) != tract.KindNotFound {
				t.Errorf("a task of 30 days: %v", err)
			}
			return nil
		})
		diff(t, "steps", []string{"B"}, w.steps(true))
	})
}

func TestDiscard(t *testing.T) {
	eachImports(t, func(t *testing.T, w *imports) {
		up := w.keep(domain, csvOf("x", numbered("n", 0, 50_000)...), false)
		w.im.Discard(w.ctx, up)
		if w.parts(1) {
			t.Error("its file is still there")
		}
		w.view(func(tx *store.Tx) error {
			left, err := tx.ListTaskLeftovers(tx.Now.Add(time.Hour), 10)
			if len(left) > 0 {
				t.Errorf("left: %+v", left)
			}
			return err
		})
	})
}

func TestSpool(t *testing.T) {
	im := bot.NewImporter(nil, t.TempDir()+"/made", nil)
	broken := errors.New("the caller left")
	big := &endless{row: func(n int) string { return strings.Repeat("x", 1000) + "\n" }}
	for _, tt := range []struct {
		name string
		in   io.Reader
		want error
	}{
		{"whole", strings.NewReader("a,b\n"), nil},
		{"cut off", io.MultiReader(strings.NewReader("a"), iotest.ErrReader(broken)), broken},
		{"CS-07 too large", big, bot.ErrCSVTooLarge},
		{"as large as may be", io.LimitReader(&lines{}, bot.MaxCSVBytes), nil},
	} {
		sp, err := im.Spool(tt.in)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil {
			sp.Close()
		}
		if left, err := os.ReadDir(im.Dir); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind %v %v", tt.name, left, err)
		}
	}
	if big.read > bot.MaxCSVBytes+1<<20 {
		t.Errorf("%d bytes were read", big.read)
	}
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bot.NewImporter(nil, file, nil).Spool(strings.NewReader("a")); tract.KindOf(err) != tract.KindUnavailable {
		t.Errorf("a folder that cannot be: %v", err)
	}
}

func TestRestoreSteps(t *testing.T) {
	eachImports(t, func(t *testing.T, w *imports) {
		for _, names := range [][]string{{"A", "B", "C"}, {"C", "D"}, {"D", "E"}} {
			w.upload(csvOf("x", names...))
			w.work()
		}
		diff(t, "inactive", []string{"A", "B", "C"}, w.steps(false))
		refused := errors.New("nothing is kept")
		restore := func(most int, names ...string) (n int, unknown []string, tooMany bool) {
			err := w.s.Update(w.ctx, func(tx *store.Tx) (err error) {
				n, unknown, tooMany, err = tx.RestoreSteps(w.client, domain, names, most)
				if err == nil && (unknown != nil || tooMany) {
					err = refused
				}
				return err
			})
			if err != nil && !errors.Is(err, refused) {
				t.Fatal(err)
			}
			return n, unknown, tooMany
		}
		n, unknown, tooMany := restore(10, "c", "E", "A", "a")
		diff(t, "restored", []any{2, []string(nil), false, int64(4)}, []any{n, unknown, tooMany, w.version()})
		diff(t, "steps", []any{[]string{"D", "E", "C", "A"}, []string{"B"}}, []any{w.steps(true), w.steps(false)})
		if _, unknown, _ := restore(10, "B", "Z"); !slices.Equal(unknown, []string{"Z"}) || w.version() != 4 {
			t.Errorf("unknown: %v, version %d", unknown, w.version())
		}
		if _, _, tooMany := restore(4, "B"); !tooMany {
			t.Error("more steps than may be")
		}
		id := w.upload(csvOf("x", "A"))
		w.work()
		w.want(id, "done 1 of 1: 0 created, 1 updated, 3 deactivated")
	})
}
