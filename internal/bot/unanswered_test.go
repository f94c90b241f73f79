package bot_test

import (
	"fmt"
	"testing"
	"time"

	"tract"
	"tract/internal/bot"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// kept lists what is kept of the bot, oldest first: question, what was done, what
// was offered, what was chosen.
func (w *world) kept() (out []string) {
	w.t.Helper()
	w.view(func(tx *store.Tx) error {
		us, err := tx.ListUnanswered(w.client, domain, 100)
		out = nil
		for _, u := range us {
			out = append(out, fmt.Sprintf("%s: %s %v %s", u.Question, u.Did, u.Offered, u.Chosen))
		}
		return err
	})
	return out
}

func TestUnansweredAreKept(t *testing.T) {
	const both = "[Opening hours Delivery time]"
	tests := []struct {
		name     string
		business int64
		said     []string
		want     []string
	}{
		{"answered", assisted, []string{"delivery time", "hello"}, nil},
		{"broke", alone, []string{none}, []string{none + ": broke [] "}},
		{"handed over", assisted, []string{none}, []string{none + ": handed_over [] "}},
		{"suggested", alone, []string{unclear}, []string{unclear + ": suggested " + both + " "}},
		{"chosen", alone, []string{unclear, "2"}, []string{unclear + ": suggested " + both + " Delivery time"}},
		{"chosen twice", alone, []string{unclear, "2", "when are you open"}, []string{unclear + ": suggested " + both + " Opening hours"}},
		{"refused", alone, []string{unclear, "3"}, []string{unclear + ": broke " + both + " "}},
		{"refused, handed over", assisted, []string{unclear, "something else"}, []string{unclear + ": handed_over " + both + " "}},
		{"asked twice", assisted, []string{unclear, unclear}, []string{unclear + ": suggested " + both + " ", unclear + ": handed_over " + both + " "}},
		{"a human", assisted, []string{"agent please"}, nil},
		{"a file", alone, []string{"(image)"}, nil},
		{"nothing but a hidden part", alone, []string{"{x}"}, nil},
	}
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.setBot(unsure)
		w.load(shopFAQ)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				w.t = t
				id := w.thread(tt.business)
				for _, said := range tt.said {
					m := text(said)
					if said == "(image)" {
						m.MessageType = tract.TypeImage
					}
					turn := w.saying(id, m)
					for range 2 { // given again, a turn is not kept twice
						if err := w.turn(turn); err != nil {
							t.Fatal(err)
						}
					}
				}
				diff(t, "kept", tt.want, w.kept())
				w.update(func(tx *store.Tx) error { return tx.DropUnansweredOf(id) })
				diff(t, "kept after the thread was erased", []string(nil), w.kept())
			})
		}
	})
}

// wondered lets a new user each ask the bot that nobody stands behind.
func (w *world) wondered(said ...string) {
	w.t.Helper()
	for _, s := range said {
		w.ask(w.thread(alone), s)
	}
}

func TestUnansweredAreGrouped(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.load(shopFAQ)
		w.wondered("do you repair old blenders", "zanzibar", "Do you repair OLD blenders?", "can you repair my old blender", "is gift wrapping possible", "gift wrapping")
		list := func(count int, id tract.MessageID, limit int) (out []bot.Cluster, clusters, questions int) {
			t.Helper()
			out, clusters, questions, err := w.iva.ListUnanswered(w.ctx, w.client, domain, count, id, limit)
			if err != nil {
				t.Fatal(err)
			}
			return out, clusters, questions
		}
		all, clusters, questions := list(0, 0, 10)
		if len(all) != 3 || clusters != 3 || questions != 6 {
			t.Fatalf("%d of %d clusters, %d questions: %+v", len(all), clusters, questions, all)
		}
		first := all[0]
		diff(t, "questions", []string{"do you repair old blenders", "is gift wrapping possible", "zanzibar"}, []string{first.Question, all[1].Question, all[2].Question})
		diff(t, "counts", []int{3, 2, 1}, []int{first.Count, all[1].Count, all[2].Count})
		diff(t, "did", map[string]int{store.DidBreak: 3}, first.Did)
		diff(t, "wordings", []int{2, 1}, []int{first.Wordings[0].Count, first.Wordings[1].Count})
		if first.FirstAt.After(first.LastAt) || first.ID != first.Wordings[0].ID {
			t.Errorf("cluster %+v", first)
		}
		if len(first.Nearest) == 0 || first.Nearest[0].Confidence >= 0.25 {
			t.Errorf("nearest %+v", first.Nearest)
		}
		for _, limit := range []int{1, 2} { // pages hold what the whole list holds
			var paged []tract.MessageID
			count, id := 0, tract.MessageID(0)
			for {
				page, _, _ := list(count, id, limit)
				if len(page) == 0 {
					break
				}
				for _, c := range page {
					paged = append(paged, c.ID)
				}
				count, id = page[len(page)-1].Count, page[len(page)-1].ID
			}
			diff(t, "pages", []tract.MessageID{all[0].ID, all[1].ID, all[2].ID}, paged)
		}
		if _, _, _, err := w.iva.ListUnanswered(w.ctx, w.client, "nobody", 0, 0, 1); tract.KindOf(err) != tract.KindNotFound {
			t.Errorf("a bot that does not exist: %v", err)
		}
	})
}

func TestResolve(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.load(shopFAQ)
		resolve := func(id tract.MessageID, r bot.Resolution) (out bot.Resolved, err error) {
			apply, err := w.iva.Resolve(w.ctx, w.client, domain, id, r)
			if err == nil {
				err = s.Update(w.ctx, func(tx *store.Tx) (err error) { out, err = apply(tx); return err })
			}
			return out, err
		}
		cluster := func(question string) bot.Cluster {
			t.Helper()
			all, _, _, err := w.iva.ListUnanswered(w.ctx, w.client, domain, 0, 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range all {
				if c.Question == question {
					return c
				}
			}
			t.Fatalf("%q is not in %+v", question, all)
			return bot.Cluster{}
		}
		steps := func() (out map[string][]string) {
			t.Helper()
			w.view(func(tx *store.Tx) error {
				list, err := tx.ListSteps(w.client, domain)
				out = map[string][]string{}
				for _, s := range list {
					out[s.Name] = s.Questions
				}
				return err
			})
			return out
		}
		w.wondered("do you repair old blenders", "can you repair my old blender", "do you repair old blenders|mixers", "is gift wrapping possible", "gift wrapping", "zanzibar", "how fast will it be")

		repair := cluster("do you repair old blenders")
		for name, r := range map[string]struct {
			bot.Resolution
			code string
		}{
			"no such step":    {bot.Resolution{AddTo: "Nothing"}, "unknown_step"},
			"there already":   {bot.Resolution{New: &tract.Step{Name: "opening  HOURS", Answers: []string{"x"}}}, "step_exists"},
			"no name":         {bot.Resolution{New: &tract.Step{Name: " ", Answers: []string{"x"}}}, "field_missing"},
			"no answer":       {bot.Resolution{New: &tract.Step{Name: "A"}}, "field_missing"},
			"a bad element":   {bot.Resolution{New: &tract.Step{Name: "A", Answers: []string{`{"text":1}`}}}, "field_value"},
			"two in one":      {bot.Resolution{New: &tract.Step{Name: "A", Answers: []string{"a<m>b"}}}, "field_value"},
			"a name of lines": {bot.Resolution{New: &tract.Step{Name: "A\nB", Answers: []string{"a"}}}, "field_value"},
		} {
			if _, err := resolve(repair.ID, r.Resolution); tract.CodeOf(err) != r.code {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := resolve(1, bot.Resolution{Dismiss: true}); tract.KindOf(err) != tract.KindNotFound {
			t.Errorf("no such question: %v", err)
		}
		if len(cluster("do you repair old blenders").Wordings) != 3 {
			t.Fatal("a refused resolution removed something")
		}

		got, err := resolve(repair.Wordings[1].ID, bot.Resolution{New: &tract.Step{Name: "Repairs", Answers: []string{"We mend it."}}})
		diff(t, "a new step", bot.Resolved{Removed: 3, Added: 3, Step: "Repairs", Version: 2}, got)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "its messages", []string{"do you repair old blenders", "can you repair my old blender", "do you repair old blenders/mixers"}, steps()["Repairs"])

		gift := cluster("is gift wrapping possible")
		got, err = resolve(gift.ID, bot.Resolution{AddTo: "repairs", Only: []tract.MessageID{gift.Wordings[1].ID}})
		diff(t, "one of a cluster", bot.Resolved{Removed: 1, Added: 1, Step: "Repairs", Version: 3}, got)
		if err != nil {
			t.Fatal(err)
		}
		if got, err = resolve(cluster("zanzibar").ID, bot.Resolution{Dismiss: true}); err != nil || got.Removed != 1 || got.Added != 0 || got.Version != 3 {
			t.Errorf("dismissed: %+v %v", got, err)
		}
		diff(t, "left", []string{"is gift wrapping possible: broke [] ", "how fast will it be: broke [] "}, w.kept())

		// The bot answers them once it is trained, and the same file does not undo it.
		if err := w.iva.Preload(w.ctx); err != nil {
			t.Fatal(err)
		}
		w.load(shopFAQ)
		w.converse(alone, []exchange{{"do you repair old blenders", []string{"iva: We mend it."}}, {"gift wrapping", []string{"iva: We mend it."}}, {"delivery time", []string{delivery}}})
		// An export reads back as what is there.
		f, _, err := bot.NewImporter(s, t.TempDir(), nil).Export(w.ctx, func(tx *store.Tx, fn func(tract.Step) error) error {
			return tx.EachStep(w.client, domain, true, fn)
		})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		back := map[string][]string{}
		if _, err := bot.ReadCSV(f, func(_ int, s tract.Step) error { back[s.Name] = s.Questions; return nil }); err != nil {
			t.Fatal(err)
		}
		diff(t, "exported", steps(), back)
	})
}

// TestFirstStep: a bot that has never had a step can be taught by its questions.
func TestFirstStep(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.wondered("do you repair old blenders")
		all, _, _, err := w.iva.ListUnanswered(w.ctx, w.client, domain, 0, 0, 1)
		if err != nil || len(all) != 1 || len(all[0].Nearest) != 0 {
			t.Fatalf("%+v %v", all, err)
		}
		apply, err := w.iva.Resolve(w.ctx, w.client, domain, all[0].ID, bot.Resolution{New: &tract.Step{Name: "Repairs", Answers: []string{"We mend it."}}})
		if err != nil {
			t.Fatal(err)
		}
		w.update(func(tx *store.Tx) error { _, err := apply(tx); return err })
		if err := s.Update(w.ctx, func(tx *store.Tx) error { _, err := apply(tx); return err }); tract.KindOf(err) != tract.KindNotFound {
			t.Errorf("resolved twice: %v", err)
		}
		if err := w.iva.Preload(w.ctx); err != nil {
			t.Fatal(err)
		}
		w.converse(alone, []exchange{{"do you repair old blenders", []string{"iva: We mend it."}}})
		w.load(shopFAQ) // a file replaces what there was, also a first set
		w.converse(alone, []exchange{{"do you repair old blenders", []string{broken}}, {"delivery time", []string{delivery}}})
	})
}

func TestUnansweredAreForgotten(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		clock := tracttest.NewClock()
		o.Now = clock.Now
		w := newWorld(t, tracttest.Open(t, o))
		w.load(shopFAQ)
		w.wondered("zanzibar")
		clock.Advance(50 * 24 * time.Hour)
		w.wondered("blenders")
		forget := func() {
			t.Helper()
			if err := w.iva.Forget(w.ctx); err != nil {
				t.Fatal(err)
			}
		}
		forget()
		diff(t, "at first", 2, len(w.kept()))
		clock.Advance(41 * 24 * time.Hour)
		forget()
		diff(t, "after 91 days", []string{"blenders: broke [] "}, w.kept())
		w.wondered("one more", "and another")
		w.update(func(tx *store.Tx) error { return tx.TrimUnanswered(w.client, domain, 2) })
		diff(t, "the newest two", []string{"one more: broke [] ", "and another: broke [] "}, w.kept())
		w.update(func(tx *store.Tx) error { return tx.DeleteClient(w.client) })
		diff(t, "of a client that is gone", 0, len(w.kept()))
	})
}
