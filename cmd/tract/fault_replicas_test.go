package main_test

import (
	"encoding/json"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// faults is how many replicas TestFaultReplicas kills. There is a tenth as many
// of each other fault.
var faults = flag.Int("faults", 3, "how many replicas TestFaultReplicas kills")

// lease is how long a replica counts as alive after its last heartbeat.
const lease = 15 * time.Second

// TestFaultReplicas runs three replicas on one PostgreSQL under load and does to
// them what happens to machines. After each fault everything acknowledged must
// be in the log once and have been delivered in order, a thread have one owner
// for each epoch, and operations on its control an order that fits what their
// callers saw. The long form is
// go test ./cmd/tract -run FaultReplicas -timeout 60m -v -args -faults 50.
func TestFaultReplicas(t *testing.T) {
	if testing.Short() {
		t.Skip("breaks replicas for a minute")
	}
	seed := mathrand.Uint64()
	t.Logf("seed %d", seed)
	f := newFleet(t, seed)
	for _, k := range []struct {
		name  string
		times int
		fault func(t *testing.T, f *fleet)
	}{
		{"kill", *faults, killOne},
		{"take over", *faults / 10, takeOver},
		{"stop past the lease", max(1, *faults/10), stopOne},
		{"cut off", max(1, *faults/10), cutOff},
		{"fall silent", max(1, *faults/10), fallSilent},
		{"restart the database", max(1, *faults/10), restartDatabase},
		{"upgrade", max(1, *faults/10), upgrade},
	} {
		t.Run(k.name, func(t *testing.T) {
			for range k.times {
				stop := f.load(t)
				wait(time.Duration(100+f.random.IntN(500)) * time.Millisecond)
				k.fault(t, f)
				wait(time.Duration(100+f.random.IntN(300)) * time.Millisecond)
				stop()
				f.checkAll(t, f.round)
				if t.Failed() {
					t.FailNow()
				}
			}
		})
		if t.Failed() {
			return
		}
	}
	if n := strings.Count(f.db.Log(t), "deadlock detected"); n > 0 {
		t.Errorf("%d deadlocks", n)
	}
}

// one picks a replica.
func (f *fleet) one() *replica { return f.replicas[f.random.IntN(len(f.replicas))] }

// killOne kills a replica, which comes back at once.
func killOne(t *testing.T, f *fleet) {
	r := f.one()
	r.kill(t)
	r.start(t)
	r.ready(t)
}

// busy waits until a replica has something under way, and picks it.
func (f *fleet) busy(t *testing.T) *replica {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if r := f.one(); len(f.open(t, r)) > 1 {
			return r
		}
	}
	t.Fatal("no replica had anything under way: there was no load")
	return nil
}

// taken waits until others have taken over what a dead or halted replica was
// sending, and holds the time against the promise.
func (f *fleet) taken(t *testing.T, r *replica, since time.Time) (none bool) {
	t.Helper()
	wait(200 * time.Millisecond) // what it had sent is committed or not by now
	lanes := f.open(t, r)
	n := len(lanes)
	if n == 0 {
		return true
	}
	first, last := f.settled(t, lanes, since)
	t.Logf("%d lanes were taken over: the first went on after %s, all were done after %s", n, first.Round(time.Millisecond), last.Round(time.Millisecond))
	if first > lease+time.Second {
		t.Errorf("the first lane went on after %s", first)
	}
	return false
}

// takeOver kills a replica, which stays away until others have taken over what
// it was sending.
func takeOver(t *testing.T, f *fleet) {
	for none := true; none; {
		r, begun := f.busy(t), time.Now()
		r.kill(t)
		none = f.taken(t, r, begun)
		r.start(t)
		r.ready(t)
	}
}

// stopOne halts a replica for longer than its lease and lets it go on: what it
// still believes must change nothing. Another one dies at the same moment, so
// that a single one takes over from both.
func stopOne(t *testing.T, f *fleet) {
	for none := true; none; {
		halted := f.busy(t)
		dead := f.replicas[(slices.Index(f.replicas, halted)+1+f.random.IntN(2))%3]
		said, begun := len(halted.said()), time.Now()
		halted.signal(t, syscall.SIGSTOP)
		dead.kill(t)
		none = f.taken(t, halted, begun)
		f.taken(t, dead, begun)
		if rest := lease + 2*time.Second - time.Since(begun); rest > 0 && !none {
			wait(rest)
		}
		halted.signal(t, syscall.SIGCONT)
		dead.start(t)
		dead.ready(t)
		halted.ready(t)
		for deadline := time.Now().Add(10 * time.Second); !none && !strings.Contains(halted.said()[said:], "lease lost"); wait(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Error("it did not notice that its lease was lost")
				return
			}
		}
	}
}

// cutOff ends a replica's connections to the database and lets it make no new ones.
func cutOff(t *testing.T, f *fleet) {
	r := f.one()
	r.link.set(true, false)
	wait(3 * time.Second)
	begun := time.Now()
	r.link.set(false, false)
	r.ready(t)
	t.Logf("ready %s after the database could be reached again", time.Since(begun).Round(time.Millisecond))
}

// fallSilent lets nothing of a replica's connections to the database through, and
// tells nobody.
func fallSilent(t *testing.T, f *fleet) {
	r := f.one()
	away := 5 * time.Second
	if *faults >= 10 {
		away = lease + 2*time.Second
	}
	r.link.set(false, true)
	wait(away)
	begun := time.Now()
	r.link.set(false, false)
	r.ready(t)
	t.Logf("ready %s after the database was heard again", time.Since(begun).Round(time.Millisecond))
}

// restartDatabase kills the database and starts it again.
func restartDatabase(t *testing.T, f *fleet) {
	f.db.Kill()
	wait(300 * time.Millisecond)
	f.db.Start(t)
	begun := time.Now()
	f.connect(t)
	for _, r := range f.replicas {
		r.ready(t)
	}
	t.Logf("all ready %s after the database answered again", time.Since(begun).Round(time.Millisecond))
}

// upgrade replaces the replicas one by one by a version with a newer schema, while
// the others go on. One of those that wait for their turn is started anew, as a
// machine that fails meanwhile would do, and one goes back to the version before.
// Callers meet nobody at worst.
func upgrade(t *testing.T, f *fleet) {
	before, next := f.replicas[0].binary, f.nextVersion(t)
	f.patience.Store(int64(10 * time.Second))
	defer f.patience.Store(int64(fleetPatience))
	f.strict.Store(true)
	defer f.strict.Store(false)
	first, second, third := f.replicas[0], f.replicas[1], f.replicas[2]
	f.replace(t, first, next)
	f.replace(t, third, before)
	f.replace(t, second, next)
	f.replace(t, first, before)
	f.replace(t, first, next)
	f.replace(t, third, next)
}

// replace stops a replica and starts it as another version.
func (f *fleet) replace(t *testing.T, r *replica, binary string) {
	t.Helper()
	r.binary = binary
	lanes, begun := f.open(t, r), time.Now()
	n := len(lanes)
	took := r.stop(t)
	ended := time.Now()
	_, last := f.settled(t, lanes, begun)
	t.Logf("%s: stopped in %s; its %d lanes were done %s after that", filepath.Base(binary), took.Round(time.Millisecond), n, max(0, last-ended.Sub(begun)).Round(time.Millisecond))
	if late := last - ended.Sub(begun); late > 2*time.Second {
		t.Errorf("lanes of a replica that stopped properly went on %s after it", late)
	}
	r.start(t)
	r.ready(t)
	if runs, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", r.cmd.Process.Pid)); err == nil && runs != binary {
		t.Errorf("it runs %s", runs)
	}
}

// nextVersion builds the program with one more migration, which does what
// migrations of later versions may do.
func (f *fleet) nextVersion(t *testing.T) (binary string) {
	t.Helper()
	version := fmt.Sprintf("next-%d", f.round)
	migration := filepath.Join(f.dir, version+".sql")
	sql := strings.ReplaceAll(`-- +goose Up
create table ROUND (id bigint not null primary key, note text not null);
alter table threads add column ROUND text not null default '';
alter table outbox add column ROUND bigint;
create index ROUND_note on ROUND (note);
`, "ROUND", fmt.Sprintf("next_%d", f.round))
	migrations, err := filepath.Abs("../../internal/store/migrations/postgres")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(migrations, fmt.Sprintf("%04d_next.sql", 9000+f.round)): migration}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{migration: []byte(sql), migration + ".json": overlay} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary = filepath.Join(f.dir, "tract-"+version)
	if out, err := exec.Command("go", "build", "-overlay", migration+".json", "-ldflags", "-X main.version="+version, "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return binary
}
