package main_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tract/internal/bench"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// benchmark prepares a small run of the benchmark in a folder of its own.
func benchmark(t *testing.T, o store.Options, args ...string) (cmd *exec.Cmd, dir string) {
	t.Helper()
	dir = t.TempDir()
	cmd = exec.Command(build(t), append([]string{"bench", "--short", "--data-dir", filepath.Join(dir, "data")}, args...)...)
	if o.URL != "" {
		cmd.Args = append(cmd.Args, "--engine", "postgres", "--database-url", o.URL)
	}
	cmd.Dir = dir
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "TRACT_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	return cmd, dir
}

// TestBench runs every workload once, too shortly to say how fast: it must work,
// break no law, and leave nothing behind.
func TestBench(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the benchmark for half a minute")
	}
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		results := filepath.Join(t.TempDir(), "results.json")
		profiles := filepath.Join(filepath.Dir(results), "profiles")
		args := []string{"--fill", "3000", "--json", results, "--profiles", profiles}
		if o.URL != "" {
			args = append(args, "--replicas", "2")
		}
		cmd, dir := benchmark(t, o, args...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var rep bench.Report
		b, err := os.ReadFile(results)
		if err == nil {
			err = json.Unmarshal(b, &rep)
		}
		if err != nil {
			t.Fatal(err)
		}
		if files, err := filepath.Glob(filepath.Join(profiles, "hub-*.pprof")); err != nil || len(files) == 0 {
			t.Errorf("there is no profile of the hub: %v", err)
		} else if st, err := os.Stat(files[0]); err != nil || st.Size() == 0 {
			t.Errorf("%s is empty: %v", files[0], err)
		}
		seen := map[string]bench.Sample{}
		for _, s := range rep.Samples {
			seen[s.Workload] = s
			if s.Accepted == 0 && s.Memory == 0 {
				t.Errorf("%s: %+v", s.Workload, s)
			}
			if s.Refused > 0 { // as a busy machine may
				t.Logf("%s: %d messages were refused: %s", s.Workload, s.Refused, s.Error)
			}
		}
		for _, name := range bench.Workloads() {
			_, ok := seen[name]
			if name == "memory" {
				_, ok = seen["memory-queued"]
			}
			if want := name != "intake-sqlite" || o.URL != ""; ok != want {
				t.Errorf("%s was measured: %v, want %v", name, ok, want)
			}
		}
		if s := seen["two"]; s.Delivered != 2*s.Accepted || s.Checked == 0 {
			t.Errorf("two tools: %+v", s)
		}
		if len(rep.Verdicts) < 14 || !strings.Contains(string(out), "webhook path: delivered") {
			t.Errorf("%d verdicts\n%s", len(rep.Verdicts), out)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("it left %v", left)
		}
	})
}

// TestBenchInterrupted ends the benchmark in the middle of a workload.
func TestBenchInterrupted(t *testing.T) {
	cmd, dir := benchmark(t, store.Options{})
	progress, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, said := bufio.NewScanner(progress), ""
	for lines.Scan() {
		said = lines.Text()
		if strings.HasSuffix(said, ": webhook") {
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || said != "tract: interrupted" {
		t.Errorf("%v, it said %q", err, said)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}
