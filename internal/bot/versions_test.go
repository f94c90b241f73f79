package bot_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tract"
	"tract/internal/bot"
	"tract/internal/conversation"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// versions lists what is kept of the bot's models, oldest first: "2 ready of
// steps 3, en, model 4 by manifest".
func (w *world) versions() (out []store.Model) {
	w.t.Helper()
	w.view(func(tx *store.Tx) error {
		all, err := tx.ListModels(w.client, domain)
		out = nil
		for _, m := range all {
			out = append([]store.Model{m}, out...)
		}
		return err
	})
	return out
}

func (w *world) wantVersions(want ...string) []store.Model {
	w.t.Helper()
	got := []string{}
	all := w.versions()
	for _, m := range all {
		got = append(got, fmt.Sprintf("%d %s of steps %d, %s, model %d by %s", m.Number, m.State, m.FAQVersion, m.Language, m.ModelFile, m.ChangedBy))
	}
	if want == nil {
		want = []string{}
	}
	diff(w.t, "versions", want, got)
	return all
}

// another is the bot in another process.
func (w *world) another() *world {
	n := *w
	n.iva = bot.New(w.s, w.c, nil)
	return &n
}

// files says which of the first n files of models have content.
func (w *world) files(n int64) (with []int64) {
	with = []int64{}
	w.view(func(tx *store.Tx) error {
		with = with[:0]
		for id := range n {
			if _, ok, err := tx.ModelPart(id+1, 0); err != nil || !ok {
				if err != nil {
					return err
				}
				continue
			}
			with = append(with, id+1)
		}
		return nil
	})
	return with
}

// asked gives what the bot says to a new user.
func (w *world) asked(text string) []string {
	w.t.Helper()
	th := w.thread(alone)
	w.ask(th, text)
	return w.answers(th)
}

func (w *world) preload() {
	w.t.Helper()
	if err := w.iva.Preload(w.ctx); err != nil {
		w.t.Fatal(err)
	}
}

func TestModelIsTrainedOnce(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		if err := bot.LoadFAQ(w.ctx, w.s, w.client, domain, []byte(shopFAQ)); err != nil {
			t.Fatal(err)
		}
		// Several processes need it at once.
		var all sync.WaitGroup
		procs := make([]*world, 5)
		for i := range procs {
			procs[i] = w.another()
		}
		for _, p := range procs {
			all.Go(func() {
				if err := p.iva.Preload(w.ctx); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		got := w.wantVersions("1 ready of steps 1, en, model 1 by manifest")
		diff(t, "trained", []int{1, 3, 64}, []int{int(got[0].Fence), got[0].Steps, len(got[0].Inputs)})
		diff(t, "files", []int64{1, 2}, w.files(5))
		for _, p := range append(procs, w.another()) { // the last as after a start
			p.preload()
			diff(t, "answer", []string{botEvent, hours}, p.asked("when are you open")[:2])
		}
		if w.wantVersions("1 ready of steps 1, en, model 1 by manifest")[0].Fence != 1 {
			t.Error("it was trained again")
		}
	})
}

func TestVersionsAreKept(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		for i := range 7 {
			w.load(shopFAQ + fmt.Sprintf("Number,what is number %d|number %d please,It is %d.\n", i, i, i))
		}
		want := []string{}
		for i := 3; i <= 7; i++ {
			want = append(want, fmt.Sprintf("%d ready of steps %d, en, model %d by manifest", i, i, 2*i-1))
		}
		w.wantVersions(want...)
		if err := w.iva.Sweep(w.ctx); err != nil {
			t.Fatal(err)
		}
		diff(t, "files", []int64{5, 6, 7, 8, 9, 10, 11, 12, 13, 14}, w.files(20))
		// Other answers to the same questions need no training.
		w.load(strings.Replace(shopFAQ, "9 to 18h", "10 to 12h", 1) + "Number,what is number 6|number 6 please,It is 6.\n")
		if got := w.versions(); got[4].ModelFile != 13 || got[4].Number != 8 || got[4].StepsFile == got[3].StepsFile {
			t.Errorf("version %d has the files %d, %d", got[4].Number, got[4].ModelFile, got[4].StepsFile)
		}
		diff(t, "answer", []string{botEvent, "iva: We are open Mon to Fri, 10 to 12h."}, w.asked("when are you open"))
		diff(t, "answer elsewhere", []string{botEvent, "iva: We are open Mon to Fri, 10 to 12h."}, func() []string { p := w.another(); p.preload(); return p.asked("when are you open") }())
		// The steps go with the client.
		w.update(func(tx *store.Tx) error { return tx.DeleteClient(w.client) })
		if err := w.iva.Sweep(w.ctx); err != nil {
			t.Fatal(err)
		}
		diff(t, "files of a removed client", []int64{}, w.files(20))
	})
}

func TestLanguageRetrains(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.load(shopFAQ)
		w.setBot(tract.Bot{Language: "de"})
		w.preload()
		w.setBot(tract.Bot{Language: "en"})
		w.preload()
		w.wantVersions("1 ready of steps 1, en, model 1 by manifest", "2 ready of steps 1, de, model 3 by manifest")
		w.view(func(tx *store.Tx) error {
			m, err := bot.Active(tx, w.client, domain)
			diff(t, "active", int64(1), m.Number)
			return err
		})
	})
}

func TestNothingToLearn(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.load("node_name,question,answer\n!,?,x\n")
		w.another().preload()
		got := w.wantVersions("1 ready of steps 1, en, model 0 by manifest")
		if !strings.Contains(string(got[0].Report), `"steps":1`) {
			t.Errorf("report %s", got[0].Report)
		}
	})
}

func TestReport(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.load(shopFAQ)
		if got := w.versions()[0].Report; got != nil {
			t.Fatalf("there is a report before it is written: %s", got)
		}
		if err := w.iva.Report(w.ctx); err != nil {
			t.Fatal(err)
		}
		report := string(w.versions()[0].Report)
		for _, want := range []string{`"steps":3,"examples":9,"validated_steps":3`, `"random_folds":{"questions":9`, `"oos_recall":null`, `"thin":[]`} {
			if !strings.Contains(report, want) {
				t.Errorf("the report lacks %s: %s", want, report)
			}
		}
		// A version with the same model has the same report at once.
		w.load(strings.Replace(shopFAQ, "9 to 18h", "10 to 12h", 1))
		diff(t, "report", report, string(w.versions()[1].Report))
	})
}

// A model whose bytes changed in the store is trained again, and so is one that
// other versions share.
func TestDamagedModel(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.load(shopFAQ)
		w.load(strings.Replace(shopFAQ, "9 to 18h", "10 to 12h", 1))
		w.update(func(tx *store.Tx) error { return tx.PutModelPart(1, 20, []byte("x")) })
		w.update(func(tx *store.Tx) error { return tx.SealModelFile(1, strings.Repeat("0", 64), 5) })
		p := w.another()
		p.preload()
		diff(t, "answer", []string{botEvent, "iva: We are open Mon to Fri, 10 to 12h."}, p.asked("when are you open"))
		if got := p.versions(); len(got) != 2 || got[1].ModelFile == 1 || got[1].State != store.ModelReady {
			t.Errorf("%d versions, the last %s", len(got), got[len(got)-1].State)
		}
	})
}

// A training that ends its process again and again is given up; the bot goes on
// with what it has.
func TestTrainingIsGivenUp(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		clock := tracttest.NewClock()
		o.Now = clock.Now
		w := newWorld(t, tracttest.Open(t, o))
		w.load(shopFAQ)
		trainer := w.versions()[0].Trainer
		if err := bot.LoadFAQ(w.ctx, w.s, w.client, domain, []byte(strings.Replace(shopFAQ, "9 to 18h", "10 to 12h", 1))); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			w.update(func(tx *store.Tx) error {
				_, taken, err := tx.ClaimModel(w.client, domain, 2, "en", trainer, time.Minute)
				if err == nil && !taken {
					t.Errorf("claim %d: somebody else has it", i)
				}
				return err
			})
			clock.Advance(2 * time.Minute)
		}
		w.preload()
		if got := w.versions(); len(got) != 2 || got[1].State != store.ModelFailed || got[1].Error == "" {
			t.Errorf("%d versions, the last %s", len(got), got[len(got)-1].State)
		}
		diff(t, "answer", []string{botEvent, hours}, w.asked("when are you open"))
		// The next version is tried.
		w.load(strings.Replace(shopFAQ, "9 to 18h", "11 to 12h", 1))
		diff(t, "answer", []string{botEvent, "iva: We are open Mon to Fri, 11 to 12h."}, w.asked("when are you open"))
	})
}

// Whatever transaction a training is stopped after: who goes on ends with one
// version, and nothing of the first one's is left.
func TestTrainingIsStopped(t *testing.T) {
	eachImports(t, func(t *testing.T, w *imports) {
		var total int64
		for at, stopped := 1, true; stopped; at++ {
			if at > 40 {
				t.Fatal("the training never ends")
			}
			if err := bot.LoadFAQ(w.ctx, w.s, w.client, domain, []byte(shopFAQ+fmt.Sprintf("Number,what is number %d,x\n", at))); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(w.ctx)
			n := 0
			stop := func() {
				if n++; n == at {
					cancel()
				}
			}
			w.onCommit.Store(&stop)
			err := w.another().iva.Preload(ctx)
			w.onCommit.Store(nil)
			cancel()
			if stopped = err != nil; stopped && !errors.Is(err, context.Canceled) {
				t.Fatalf("stopped after %d: %v", at, err)
			}
			w.clock.Advance(20 * time.Second) // the lease ends
			p := w.another()
			p.preload()
			if err := p.iva.Sweep(w.ctx); err != nil {
				t.Fatal(err)
			}
			got := w.versions()
			last := got[len(got)-1]
			if last.State != store.ModelReady || last.FAQVersion != w.version() || len(got) != min(at, 5) {
				t.Fatalf("gone on after %d: %d versions, the last %s of steps %d", at, len(got), last.State, last.FAQVersion)
			}
			total = max(total, last.StepsFile, last.ModelFile)
			if files := w.files(total + 5); len(files) != 2*len(got) {
				t.Errorf("gone on after %d: %d versions have files %v", at, len(got), files)
			}
			if !stopped && at < 6 {
				t.Errorf("a training was over after %d transactions", at)
			}
		}
	})
}

// The child of TestTrainingIsKilled: it trains until it is killed.
func TestTrainingChild(t *testing.T) {
	url, dir := os.Getenv("TRACT_TEST_TRAIN_URL"), os.Getenv("TRACT_TEST_TRAIN_DIR")
	if url == "" && dir == "" {
		t.Skip("a child of another test")
	}
	s, err := store.Open(t.Context(), store.Options{URL: url, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("\nworking")
	_ = bot.New(s, conversation.New(s, "https://hub.example", nil), nil).Run(t.Context())
}

// kill -9 in the middle of trainings and reports: the next start has one version
// of the steps, whole, and nothing is left over.
func TestTrainingIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for some seconds")
	}
	const steps = 8 // so many that kills fall into trainings, reports, and after them
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		for round := range 10 {
			w := started(t, o)
			if err := bot.LoadFAQ(w.ctx, w.s, w.client, domain, []byte(csvOf("x", numbered("a", round, round+steps)...))); err != nil {
				t.Fatal(err)
			}
			w.s.Close()
			child(t, "TestTrainingChild", []string{"TRACT_TEST_TRAIN_URL=" + o.URL, "TRACT_TEST_TRAIN_DIR=" + o.Dir}, time.Duration(round*30)*time.Millisecond)
			w = started(t, o)
			w.update(func(tx *store.Tx) error { return tx.ReleaseModels() }) // as a start on SQLite, or some seconds later
			w.preload()
			if err := errors.Join(w.iva.Report(w.ctx), w.iva.Sweep(w.ctx)); err != nil {
				t.Fatal(err)
			}
			got := w.versions()
			last := got[len(got)-1]
			if len(got) != min(round+1, 5) || last.State != store.ModelReady || last.Steps != steps || last.Report == nil {
				t.Fatalf("round %d: %d versions, the last %s with %d steps, report %t", round, len(got), last.State, last.Steps, last.Report != nil)
			}
			if files := w.files(max(last.ModelFile, last.StepsFile) + 5); len(files) != 2*len(got) {
				t.Errorf("round %d: %d versions have files %v", round, len(got), files)
			}
			w.s.Close()
		}
	})
}

// activate makes a version active again, as the API does.
func (w *imports) activate(version int64) (task string) {
	w.t.Helper()
	noted := ""
	task, err := w.im.Activate(w.ctx, w.client, domain, version, func(_ *store.Tx, task string) error { noted = task; return nil })
	if err != nil {
		w.t.Fatal(err)
	}
	diff(w.t, "noted", task, noted)
	return task
}

func TestActivate(t *testing.T) {
	eachImports(t, func(t *testing.T, w *imports) {
		w.load(shopFAQ)
		w.load("node_name,question,answer\nOpening hours,when are you open|opening hours please,Never.\nNew,something new|what is new,News.\n")
		diff(t, "new answer", []string{botEvent, "iva: Never."}, w.asked("when are you open"))
		task := w.activate(1)
		w.work()
		diff(t, "answer until the model is there", []string{botEvent, "iva: Never."}, w.asked("when are you open"))
		w.preload()
		all := w.wantVersions("1 ready of steps 1, en, model 1 by manifest", "2 ready of steps 2, en, model 3 by manifest", "3 ready of steps 3, en, model 1 by admin")
		diff(t, "restored", []any{int64(1), all[0].Hash}, []any{all[2].RestoredFrom, all[2].Hash})
		w.want(task, "done 3 of 3: 0 created, 3 updated, 1 deactivated")
		diff(t, "steps", []string{"Opening hours", "Return policy", "Delivery time"}, w.steps(true))
		diff(t, "old answers", []string{botEvent, returns1, returns2}, w.asked("how do I return an item"))
		diff(t, "the active one", "", w.activate(3))
		diff(t, "its declarative file", int64(3), func() int64 { w.load(shopFAQ); return w.version() }())

		w.unready(store.ModelFailed)
		w.unready(store.ModelTraining)
		for number, want := range map[int64]string{4: "could not be trained", 5: "still being trained", 9: "no such version"} {
			if _, err := w.im.Activate(w.ctx, w.client, domain, number, nil); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("version %d: %v, want %q", number, err, want)
			}
			if _, err := bot.Compare(w.ctx, w.s, w.client, domain, 1, number); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("compare with version %d: %v, want %q", number, err, want)
			}
		}
	})
}

// unready makes one more version, which is being trained or has failed.
func (w *imports) unready(state string) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		m, taken, err := tx.ClaimModel(w.client, domain, 3, "x "+state, "t", time.Minute)
		if err != nil || !taken {
			return errors.Join(err, fmt.Errorf("taken %t", taken))
		}
		if state == store.ModelTraining {
			return nil
		}
		m.State = state
		_, err = tx.FinishModel(&m, 0)
		return err
	})
}

// While versions are switched back and forth every message gets the whole answer
// of the one or the other.
func TestActivateUnderTraffic(t *testing.T) {
	eachImports(t, func(t *testing.T, w *imports) {
		const other = "node_name,question,answer\nReturn policy,how do I return an item|what is your return policy|can I send it back,Not at all.<m>Sorry.\n"
		w.load(shopFAQ)
		w.load(other)
		before := fmt.Sprint([]string{botEvent, returns1, returns2})
		after := fmt.Sprint([]string{botEvent, "iva: Not at all.", "iva: Sorry."})
		ctx, stop := context.WithCancel(w.ctx)
		var all, asking sync.WaitGroup
		for _, run := range []func(context.Context) error{w.iva.Run, w.im.Run} {
			all.Go(func() {
				if err := run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		seen := [2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)}
		note := func(c chan struct{}) {
			select {
			case c <- struct{}{}:
			default:
			}
		}
		for i := range 4 {
			one := *w.world
			one.users = 10000 * (i + 1)
			asking.Go(func() {
				for ctx.Err() == nil {
					switch got := fmt.Sprint(one.asked("how do I return an item")); got {
					case before:
						note(seen[0])
					case after:
						note(seen[1])
					default:
						t.Errorf("answered %s", got)
					}
				}
			})
		}
		for i := range 6 {
			w.activate(int64(i) + 1) // 1, 2, then those made of them
			for range 4 {            // the first may be of before
				<-seen[i%2]
			}
		}
		stop()
		asking.Wait()
		all.Wait()
	})
}
