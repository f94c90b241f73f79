package store_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/apitest"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// A store outgrows its machine: what a back-up of SQLite holds is in PostgreSQL
// afterwards, row for row, and goes on there; a database that was used is left alone.
func TestLoad(t *testing.T) {
	lite, pg := apitest.SQLite(t), tracttest.Fresh(t, "postgres")
	w := apitest.New(t, lite)
	busyDay(t, w)
	gone := w.ToDeskOne()
	w.Settle()
	erasure := w.Admin("DELETE", "/api/clients/acme/users/"+gone.AuthID+"/", nil).Want(t, 202).Text("id")
	acme := w.ClientKey("acme")
	w.Until("the user is erased", func(tx *store.Tx) (bool, error) {
		e, err := tx.Erasure(acme, erasure)
		return e.State == store.ErasureDone || e.State == store.ErasureFiles, err
	})
	u := w.ToDeskOne()
	w.Settle()
	file := filepath.Join(t.TempDir(), "copy.db")
	if err := store.Backup(t.Context(), lite.Dir, file); err != nil {
		t.Fatal(err)
	}
	if err := store.Load(t.Context(), file, pg.URL, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	before, after := tracttest.Open(t, store.Options{Dir: copyTo(t, file)}), tracttest.Open(t, store.Options{URL: pg.URL})
	// Of these what belongs to processes, or jumps, is other.
	jumped := []string{"lanes", "threads", "clients", "meta"}
	for _, table := range store.Tables(t.Context(), after) {
		if table == "replicas" {
			continue
		}
		a, b := store.Rows(t.Context(), before, table), store.Rows(t.Context(), after, table)
		if slices.Contains(jumped, table) {
			a, b = a[:min(len(a), 1)], b[:min(len(b), 1)] // the columns
		}
		if d := cmp.Diff(a, b); d != "" {
			t.Errorf("%s: %s", table, d)
		}
		if len(b) > 1 && !slices.Contains(jumped, table) {
			t.Logf("%s: %d rows", table, len(b)-1)
		}
	}
	for _, table := range []string{"entries", "outbox", "attempts", "dead", "ledger", "users", "endpoints", "steps", "model_parts", "audit"} {
		if len(store.Rows(t.Context(), after, table)) < 2 {
			t.Errorf("nothing in %s was looked at", table)
		}
	}
	var id int64
	if !slices.ContainsFunc(store.Rows(t.Context(), after, "outbox"), func(row string) bool { return strings.Contains(row, " [] ") }) {
		t.Error("nothing empty was looked at")
	}
	view(t, after, func(tx *store.Tx) (err error) {
		if id, _, err = tx.ThreadKey(1, u.ID); err != nil {
			return err
		}
		l, err := tx.Thread(id)
		if err != nil {
			return err
		}
		if l.State.Epoch < 1_000_000 || l.State.Owner != "desk-one" {
			t.Errorf("the thread is owned by %q at epoch %d", l.State.Owner, l.State.Epoch)
		}
		return nil
	})
	// New numbers lie behind the old ones.
	update(t, after, func(tx *store.Tx) error {
		l, err := tx.LockThread(id)
		if err != nil {
			return err
		}
		next, err := tx.NextID()
		if err != nil {
			return err
		}
		if next <= l.LastEntry {
			t.Errorf("message id %d after %d", next, l.LastEntry)
		}
		if err := tx.InsertEntry(l, &store.Entry{ID: next, Thread: id, Conversation: 1, Sender: tract.SenderCEU, Body: "on", At: tx.Now}); err != nil {
			return err
		}
		_, err = tx.PutUser(store.User{Client: 1, AuthID: "new here", UserName: "new-here"})
		return err
	})
	err := store.Load(t.Context(), file, pg.URL, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "has been used") {
		t.Errorf("a database that was used: %v", err)
	}
	if n := len(store.Rows(context.Background(), after, "users")); n < 3 {
		t.Errorf("%d users are left of it", n)
	}
}

// copyTo puts a back-up where a store is looked for.
func copyTo(t *testing.T, file string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := store.Restore(t.Context(), file, dir, false); err != nil {
		t.Fatal(err)
	}
	return dir
}
