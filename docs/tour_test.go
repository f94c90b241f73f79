package docs_test

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```\n")

// TestTour runs the tour of the README as it stands there, in another folder and
// on other ports.
func TestTour(t *testing.T) {
	for _, name := range []string{"curl", "openssl", "python3"} {
		program(t, name)
	}
	bash := program(t, "bash")
	script := "set -euo pipefail\nfor v in ${!TRACT_*}; do unset $v; done\n"
	for _, m := range shellBlock.FindAllStringSubmatch(section(t, "README.md", "A five-minute tour"), -1) {
		script += m[1]
	}
	for _, change := range [][2]string{
		{"/tmp/tour", filepath.Join(t.TempDir(), "tour")}, {"localhost:8080", "localhost:" + freePort(t)}, {"127.0.0.1:9001", "127.0.0.1:" + freePort(t)}} {
		if !strings.Contains(script, change[0]) {
			t.Fatalf("the tour does not hold %s any more", change[0])
		}
		script = strings.ReplaceAll(script, change[0], change[1])
		_, port, isAddress := strings.Cut(change[1], ":")
		if isAddress && strings.HasPrefix(change[0], "127") {
			script = strings.ReplaceAll(script, `("127.0.0.1", 9001)`, `("127.0.0.1", `+port+`)`)
		} else if isAddress {
			script = strings.Replace(script, "./tract serve &", "./tract serve --listen 127.0.0.1:"+port+" &", 1)
		}
	}
	out := runTour(t, bash, script)
	for _, want := range []string{
		"7 changes applied\n", `"status":"ready"`, `"secret":"whsec_`, `/channel msg_`, `"code":"not_owner"`, `{"changed":true,"control_epoch":2,"success":true}`, `{"error":null}`,
		`{"chat_text":"user: when are you open?\nbot: Mon to Fri, 9 to 18h.\nMia: On Saturdays we open at 10.\n"}`, `"reason":"I know this one"`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the tour does not show %s", want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// runTour runs a script with everything it starts in a process group of its own,
// of which nothing is left afterwards.
func runTour(t *testing.T, bash, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bash, "-c", script)
	cmd.Dir = root
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 15 * time.Second
	err := cmd.Run()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what the script left, if anything
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return out.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
