package main_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tract/internal/store"
	"tract/internal/tracttest"
)

// A hub outgrows its machine: it is stopped in the middle of its work, its store
// moves to PostgreSQL, and it goes on there with what was queued, and with the
// users, tools and tokens it had. A database that was used is not touched.
func TestMoveToPostgres(t *testing.T) {
	w := newWorld(t, build(t), store.Options{})
	w.tool.delay = 20 * time.Millisecond // so that something is queued when it stops
	w.start(t)
	w.prepare(t)
	stop := w.load()
	wait(500 * time.Millisecond)
	stop()
	terminate(t, w.cmd)
	w.cmd = nil
	w.http.CloseIdleConnections()
	tract := func(args ...string) (string, error) {
		cmd := exec.Command(w.binary, args...)
		cmd.Env = w.env
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	copied := filepath.Join(w.dir, "copy.db")
	if out, err := tract("backup", copied); err != nil {
		t.Fatalf("backup: %v: %s", err, out)
	}
	w.env = append(w.env, "TRACT_DATABASE_URL="+tracttest.Fresh(t, "postgres").URL)
	if out, err := tract("restore", copied); err != nil || !strings.Contains(out, "TRACT_SECRET_KEY") {
		t.Fatalf("restore: %v: %s", err, out)
	}
	if out, err := tract("restore", copied); err == nil || !strings.Contains(out, "has been used") {
		t.Errorf("a second restore: %v: %s", err, out)
	}
	if out, err := tract("restore", "--force", copied); err == nil || !strings.Contains(out, "empty database") {
		t.Errorf("a restore by force: %v: %s", err, out)
	}
	before := len(w.acked)
	w.jump, w.when = 1_000_000, " after the move"
	w.start(t)
	stop = w.load()
	wait(500 * time.Millisecond)
	stop()
	w.settle(t)
	w.check(t, 1)
	if before == 0 || len(w.acked) == before {
		t.Errorf("%d messages before the move, %d after it", before, len(w.acked)-before)
	}
}
