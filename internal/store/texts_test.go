package store_test

import (
	"context"
	"database/sql"
	"io/fs"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"tract"
	"tract/internal/store"
	"tract/internal/tracttest"
)

func wording(s string) *tract.Text { return &tract.Text{In: map[string]string{"": s}} }

func putText(t *testing.T, s *store.Store, client int64, key string, text *tract.Text) (changed bool) {
	t.Helper()
	update(t, s, func(tx *store.Tx) (err error) {
		changed, err = tx.PutText(client, key, text, "mia", store.ViaREST)
		return err
	})
	return changed
}

func TestTexts(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		client, _ := newThread(t, s)
		var before, after int64
		version := func(v *int64) {
			update(t, s, func(tx *store.Tx) (err error) { *v, err = tx.ConfigVersion(client); return err })
		}
		version(&before)
		for i, step := range []struct {
			text    *tract.Text
			changed bool
		}{{nil, false}, {wording("a"), true}, {wording("a"), false}, {&tract.Text{Fallback: "en", In: map[string]string{"en": "b"}}, true}, {nil, true}, {nil, false}, {wording("c\u2028"), true}} {
			if got := putText(t, s, client, "k", step.text); got != step.changed {
				t.Errorf("step %d: changed %v", i, got)
			}
		}
		if version(&after); after <= before {
			t.Errorf("the configuration's version is %d, was %d", after, before)
		}
		update(t, s, func(tx *store.Tx) error {
			got, err := tx.Text(client, "k")
			if err != nil || got.Version != 4 || got.Actor != "mia" || !got.At.Equal(tx.Now) {
				t.Errorf("got %+v, %v", got, err)
			}
			cfg, err := tx.Config(client)
			if d := cmp.Diff(map[string]tract.Text{"k": *wording("c\u2028")}, cfg.Texts); err != nil || d != "" {
				t.Errorf("%v, in the configuration: %s", err, d)
			}
			changes, err := tx.ListTextChanges(client, "k", 0, 10)
			if err != nil || len(changes) != 4 || changes[0].Before != nil || changes[1].After != nil || changes[1].Version != 3 || changes[2].Before.In[""] != "a" || changes[2].After.Fallback != "en" {
				t.Errorf("changes %+v, %v", changes, err)
			}
			c, err := tx.TextChange(client, "k", 2)
			if err != nil || c.After.In["en"] != "b" {
				t.Errorf("change 2: %+v, %v", c, err)
			}
			for _, v := range []int64{0, 5} {
				if _, err := tx.TextChange(client, "k", v); tract.KindOf(err) != tract.KindNotFound {
					t.Errorf("change %d: %v", v, err)
				}
			}
			return nil
		})
		for _, k := range []string{"A", "a_b", "a-b", "ab", "b", "a"} {
			putText(t, s, client, k, wording(k))
		}
		update(t, s, func(tx *store.Tx) error {
			for _, tt := range []struct {
				prefix, after string
				limit         int
				want          []string
			}{
				{"", "", 10, []string{"A", "a", "a-b", "a_b", "ab", "b", "k"}},
				{"a", "", 10, []string{"a", "a-b", "a_b", "ab"}},
				{"a", "a-b", 1, []string{"a_b"}},
				{"", "b", 10, []string{"k"}},
				{"x", "", 10, nil},
			} {
				list, err := tx.ListTexts(client, tt.prefix, tt.after, tt.limit)
				var got []string
				for _, one := range list {
					got = append(got, one.Key)
				}
				if d := cmp.Diff(tt.want, got); err != nil || d != "" {
					t.Errorf("%q after %q: %v %s", tt.prefix, tt.after, err, d)
				}
			}
			if err := tx.DeleteClient(client); err != nil {
				return err
			}
			left, err := tx.ListTextChanges(client, "k", 0, 10)
			if len(left) > 0 {
				t.Errorf("of a client that is gone: %v", left)
			}
			return err
		})
	})
}

// However many change a text at once, every change is in the history, each from
// what the one before made of it.
func TestTextChangesAtOnce(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		client, _ := newThread(t, s)
		const n = 12
		done := make(chan error, n)
		for i := range n {
			go func() {
				done <- s.Update(context.Background(), func(tx *store.Tx) error {
					_, err := tx.PutText(client, "k", wording(strconv.Itoa(i)), "mia", store.ViaREST)
					return err
				})
			}()
		}
		for range n {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		update(t, s, func(tx *store.Tx) error {
			list, err := tx.ListTextChanges(client, "k", 0, 100)
			if len(list) != n {
				t.Fatalf("%d changes", len(list))
			}
			for i, c := range list {
				if c.Version != int64(n-i) || i > 0 && cmp.Diff(c.After, list[i-1].Before) != "" {
					t.Errorf("change %d: %+v", i, c)
				}
			}
			return err
		})
	})
}

// TestTextsWereDocuments: an older version kept texts as documents.
func TestTextsWereDocuments(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		o.Now = tracttest.NewClock().Now
		s, err := store.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		client, _ := newThread(t, s)
		update(t, s, func(tx *store.Tx) error {
			if err := tx.PutDocument(client, "text", "opening_hours", "", "\"Mon\" \\ {{text:x}}\nä"); err != nil {
				return err
			}
			return tx.PutDocument(client, store.KindTeam, "T", "", tract.Team{Name: "T"})
		})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		driver, source, engine := "sqlite", filepath.Join(o.Dir, "tract.db"), "sqlite"
		if o.URL != "" {
			driver, source, engine = "pgx", o.URL, "postgres"
		}
		migration, err := fs.ReadFile(store.Migrations(engine), "0005_texts.sql")
		if err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open(driver, source)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range []string{"drop table texts", "drop table text_changes", "drop index entries_conversation", "create index entries_thread on entries (thread, id)", string(migration)} {
			if _, err := db.Exec(q); err != nil {
				t.Fatalf("%s: %v", q, err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		s = tracttest.Open(t, o)
		update(t, s, func(tx *store.Tx) error {
			got, err := tx.Text(client, "opening_hours")
			if d := cmp.Diff(*wording("\"Mon\" \\ {{text:x}}\nä"), got.Text); err != nil || d != "" || got.Version != 1 {
				t.Errorf("%+v, %v %s", got, err, d)
			}
			docs, err := tx.ListDocuments(client)
			if err != nil || len(docs) != 1 || docs[0].Kind != store.KindTeam {
				t.Errorf("documents %v, %v", docs, err)
			}
			return nil
		})
		if !putText(t, s, client, "opening_hours", wording("Tue")) {
			t.Error("the text cannot be changed")
		}
	})
}
