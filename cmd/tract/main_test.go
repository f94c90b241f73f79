package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tract/internal/store"
)

const sample = `version: 1
clients:
  - id: acme
    name: Acme
    tokens: [{name: main, value: "a-token-in-the-clear-for-tests"}, {name: made}]
    bots: [{domain_name: faq, language: en, faq: ./faq.csv}]
    desk: {enabled: true}
    teams: [{name: Support}]
    businesses: [{id: 1, name: One, bot: faq, human_assistance: true, default_team: Support, channels: [{platform: webhook, url: "https://acme.example/hook", secret: s3cret-of-the-hook}]}]
`

// shell runs the command line in a folder of its own.
type shell struct {
	t   *testing.T
	dir string
	in  string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	s := &shell{t: t, dir: t.TempDir()}
	s.write("tract.yaml", sample)
	s.write("faq.csv", "node_name,question,answer\nHours,when are you open,9 to 18h.\n")
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "TRACT_") && !strings.HasPrefix(name, "TRACT_TEST_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	t.Setenv("TRACT_DATA_DIR", filepath.Join(s.dir, "data"))
	t.Setenv("TRACT_LOG_LEVEL", "error")
	return s
}

func (s *shell) write(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func (s *shell) run(args ...string) (out, errs string, code int) {
	s.t.Helper()
	var o, e bytes.Buffer
	code = run(args, strings.NewReader(s.in), &o, &e)
	return o.String(), e.String(), code
}

func (s *shell) must(args ...string) string {
	s.t.Helper()
	out, errs, code := s.run(args...)
	if code != 0 {
		s.t.Fatalf("tract %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

func (s *shell) fails(want string, args ...string) {
	s.t.Helper()
	out, errs, code := s.run(args...)
	if code == 0 || !strings.Contains(errs, want) {
		s.t.Errorf("tract %s: exit %d, said %q%q, want %q", strings.Join(args, " "), code, out, errs, want)
	}
}

func (s *shell) yaml() string { return filepath.Join(s.dir, "tract.yaml") }

func TestApplyExportAndCredentials(t *testing.T) {
	s := newShell(t)
	if out := s.must("apply", "-f", s.yaml(), "--dry-run"); !strings.Contains(out, "+ acme") || !strings.Contains(out, "nothing was applied") || strings.Contains(out, "in-the-clear") {
		t.Errorf("dry run said %q", out)
	}
	if out := s.must("apply", "-f", s.yaml()); !strings.Contains(out, "shown this once") || strings.Contains(out, "s3cret") || strings.Contains(out, "in-the-clear") {
		t.Errorf("apply said %q", out)
	}
	if out := s.must("apply", "-f", s.yaml()); !strings.Contains(out, "nothing to change") {
		t.Errorf("the second apply said %q", out)
	}
	exported := s.must("export")
	if strings.Contains(exported, "s3cret") || strings.Contains(exported, "in-the-clear") || !strings.Contains(exported, "domain_name: faq") {
		t.Errorf("exported %q", exported)
	}
	if out := s.must("apply", "-f", s.write("again.yaml", exported)); !strings.Contains(out, "nothing to change") {
		t.Errorf("applying the export said %q", out)
	}
	s.write("bad.yaml", strings.Replace(sample, "default_team: Support", "default_team: Suport", 1))
	s.fails("Suport", "apply", "-f", filepath.Join(s.dir, "bad.yaml"))

	value := strings.TrimSpace(s.must("token", "create", "--client", "acme", "--scopes", "faq", "kms"))
	if len(value) < 32 {
		t.Errorf("token %q", value)
	}
	if out := s.must("token", "list", "--client", "acme"); !strings.Contains(out, "kms") || strings.Contains(out, value) {
		t.Errorf("listed %q", out)
	}
	s.must("token", "revoke", "--client", "acme", "kms")
	s.fails("kms", "token", "revoke", "--client", "acme", "kms")
	s.fails("nobody", "token", "list", "--client", "nobody")

	s.in = "correct horse battery\n"
	s.must("agent", "create", "--client", "acme", "--name", "Mia", "--teams", "Support", "mia@acme.example")
	s.fails("already", "agent", "create", "--client", "acme", "--name", "Mia", "mia@acme.example")
	s.fails("no team", "agent", "create", "--client", "acme", "--name", "Max", "--teams", "Nope", "max@acme.example")
	s.must("agent", "password", "--client", "acme", "mia@acme.example")
	s.in = "short\n"
	s.fails("12 to 256", "agent", "password", "--client", "acme", "mia@acme.example")
	if out := s.must("agent", "list", "--client", "acme"); !strings.Contains(out, "mia@acme.example") || strings.Contains(out, "argon2") {
		t.Errorf("listed %q", out)
	}
}

func TestStoreInUseNamesTheServer(t *testing.T) {
	s := newShell(t)
	s.must("apply", "-f", s.yaml())
	st, err := store.Open(context.Background(), store.Options{Dir: filepath.Join(s.dir, "data")})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	s.fails("--server URL --token TOKEN", "apply", "-f", s.yaml())
	s.fails("docs/admin.md", "token", "list", "--client", "acme")
	s.fails("stop it first", "restore", "--force", s.copy())
	s.fails("--data-dir", "serve", "--listen", "127.0.0.1:0")
}

// copy is a back-up, which can also be made while a process holds the store.
func (s *shell) copy() string {
	file := filepath.Join(s.dir, "copy.db")
	s.must("backup", file)
	return file
}

// The doctor neither makes a store nor takes a server that runs for an error.
func TestDoctorLooksOnly(t *testing.T) {
	s := newShell(t)
	data := filepath.Join(s.dir, "data")
	if out, _, code := s.run("doctor"); code == 0 || !strings.Contains(out, "there is no store in "+data) {
		t.Errorf("without a store the doctor said %q (exit %d)", out, code)
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("the doctor made the data folder: %v", err)
	}
	s.must("apply", "-f", s.yaml())
	st, err := store.Open(context.Background(), store.Options{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	status := http.StatusOK
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Setenv("TRACT_LISTEN", hub.Listener.Addr().String())
	if out := s.must("doctor"); strings.Contains(out, "WRONG") || !strings.Contains(out, "is ready") {
		t.Errorf("beside a server the doctor said %q", out)
	}
	status = http.StatusServiceUnavailable
	if out, _, code := s.run("doctor"); code == 0 || !strings.Contains(out, "/readyz says") {
		t.Errorf("beside a server that is not ready the doctor said %q (exit %d)", out, code)
	}
	hub.Close()
	if out, _, code := s.run("doctor"); code == 0 || !strings.Contains(out, "does not answer") {
		t.Errorf("beside a server that hangs the doctor said %q (exit %d)", out, code)
	}
}

func TestBackupAndRestore(t *testing.T) {
	s := newShell(t)
	s.must("apply", "-f", s.yaml())
	copy := filepath.Join(s.dir, "copy.db")
	s.must("backup", copy)
	s.fails("exists", "backup", copy)
	s.fails("--force", "restore", copy)
	s.must("restore", "--force", copy)
	if out := s.must("apply", "-f", s.yaml()); !strings.Contains(out, "nothing to change") {
		t.Errorf("the restored store differs: %q", out)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "data", "tract.db.before-restore")); err != nil {
		t.Error("the replaced store was not kept:", err)
	}
	s.write("junk.db", "this is not a database, whatever its name says")
	s.fails("damaged", "restore", "--force", filepath.Join(s.dir, "junk.db"))
}

func TestDoctor(t *testing.T) {
	s := newShell(t)
	s.must("apply", "-f", s.write("bot.yaml", strings.Replace(sample, "bot: faq,", `bot: faq, external_bot: {kind: webhook, url: "https://bot.example", secret: in-the-clear},`, 1)))
	t.Setenv("TRACT_LISTEN", "127.0.0.1:0")
	if out := s.must("doctor"); strings.Contains(out, "WRONG") || !strings.Contains(out, "every log entry and page is intact") {
		t.Errorf("doctor said %q", out)
	}
	worded := filepath.Join(s.dir, "worded.yaml")
	if err := os.WriteFile(worded, []byte("version: 1\nclients: [{id: worded, texts: {a: '{{text:b}}'}}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.must("apply", "-f", worded)
	if out, _, code := s.run("doctor"); code == 0 || !strings.Contains(out, "text a of client worded names the text b, which does not exist") {
		t.Errorf("of a missing text the doctor said %q (exit %d)", out, code)
	}
	t.Setenv("TRACT_SECRET_KEY", strings.Repeat("ab", 32))
	out, _, code := s.run("doctor")
	if code == 0 || !strings.Contains(out, "channel of business 1: its secret cannot be opened") || !strings.Contains(out, "external bot of business 1: its secret cannot be opened") {
		t.Errorf("with another secret key the doctor said %q (exit %d)", out, code)
	}
}

func TestSecretKeyIsMadeOnceAndPrivate(t *testing.T) {
	s := newShell(t)
	s.must("apply", "-f", s.yaml())
	path := filepath.Join(s.dir, "data", "secret.key")
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", st, err)
	}
	before, _ := os.ReadFile(path)
	s.must("apply", "-f", s.yaml())
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the secret key was made anew")
	}
}

func TestBadSettingsAreNamed(t *testing.T) {
	s := newShell(t)
	for name, c := range map[string]struct{ env, value, want string }{
		"timeout":  {"TRACT_HOOK_TIMEOUT", "soon", "hook-timeout"},
		"range":    {"TRACT_HOOK_TIMEOUT", "1h", "TRACT_HOOK_TIMEOUT"},
		"level":    {"TRACT_LOG_LEVEL", "loud", "log-level"},
		"listen":   {"TRACT_LISTEN", "8080", "TRACT_LISTEN"},
		"schedule": {"TRACT_HOOK_RETRY_SCHEDULE", "5s,-1s", "TRACT_HOOK_RETRY_SCHEDULE"},
		"rate":     {"TRACT_RATE_LIMIT", "0", "TRACT_RATE_LIMIT"},
		"retain":   {"TRACT_RETAIN_DEAD", "-1", "TRACT_RETAIN_DEAD"},
		"url":      {"TRACT_PUBLIC_URL", "hub.example", "TRACT_PUBLIC_URL"},
		"unknown":  {"TRACT_LISTN", "x", "TRACT_LISTN"},
		"nearest":  {"TRACT_LISTN", "x", `did you mean "TRACT_LISTEN"?`},
		"key":      {"TRACT_SECRET_KEY", "short", "TRACT_SECRET_KEY"},
		"database": {"TRACT_DATABASE_URL", "mysql://x", "TRACT_DATABASE_URL"},
		"folder":   {"TRACT_DATA_DIR", s.yaml(), "TRACT_DATA_DIR"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TRACT_LISTEN", "127.0.0.1:0")
			t.Setenv(c.env, c.value)
			s.t = t
			s.fails(c.want, "serve")
		})
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	s := newShell(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s.fails(l.Addr().String()+" is taken by another process", "serve", "--listen", l.Addr().String())
	s.fails("--listen", "demo", "--listen", l.Addr().String())
}

func TestWithoutACommand(t *testing.T) {
	s := newShell(t)
	s.fails("tract demo")
}

func TestServerMustBeAURL(t *testing.T) {
	s := newShell(t)
	s.fails("--server must be a URL", "export", "--server", "localhost:8080", "--token", "x")
}

func TestConfigurationFile(t *testing.T) {
	s := newShell(t)
	t.Setenv("TRACT_LISTEN", "127.0.0.1:0")
	s.fails(`unknown.yaml has an unknown key "liste" (did you mean "listen"?)`, "serve", "--config", s.write("unknown.yaml", "liste: 127.0.0.1:0\n"))
	s.fails("list.yaml is not a file of settings in YAML: line 1, column 9", "serve", "--config", s.write("list.yaml", "listen: [\n"))
	s.fails("hook-timeout", "serve", "--config", s.write("bad.yaml", "hook_timeout: soon\n"))
	// The environment wins over the file: its bad value is the one complained of.
	t.Setenv("TRACT_HOOK_TIMEOUT", "90s")
	s.fails("1m30s", "serve", "--config", s.write("good.yaml", "hook_timeout: 2s\n"))
	// A flag wins over both.
	s.fails("2m0s", "serve", "--hook-timeout", "2m", "--config", filepath.Join(s.dir, "good.yaml"))
}

func TestVersion(t *testing.T) {
	s := newShell(t)
	if out := s.must("version"); !strings.HasPrefix(out, "tract dev, commit ") || !strings.Contains(out, "go1.") {
		t.Errorf("said %q", out)
	}
}
