package main

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
	"testing"
)

// TestECTIntroducesItself: without the id of its certificate the tool says what
// the hub needs, and the same when asked again.
func TestECTIntroducesItself(t *testing.T) {
	folder := t.TempDir()
	introduce := func(args ...string) (code int, out, errs string) {
		var o, e bytes.Buffer
		code = run(append([]string{"ect", "--client", "acme", "--id", "desk-one", "--identity", folder}, args...), strings.NewReader(""), &o, &e)
		return code, o.String(), e.String()
	}
	if code, _, errs := introduce(); code != 1 || !strings.Contains(errs, "--fqdn") {
		t.Errorf("without a certificate and a domain name: %d %s", code, errs)
	}
	code, first, errs := introduce("--fqdn", "desk-one.example")
	if code != 0 || !strings.Contains(first, "fqdn: desk-one.example") || !regexp.MustCompile(`uuid: [0-9a-f-]{36}`).MatchString(first) {
		t.Fatalf("%d %s\n%s", code, errs, first)
	}
	if _, again, _ := introduce(); again != first {
		t.Errorf("asked again it says:\n%s", again)
	}
	if code, _, errs := introduce("--fqdn", "other.example"); code != 1 || !strings.Contains(errs, "is for desk-one.example") {
		t.Errorf("for another domain name: %d %s", code, errs)
	}
	if code, _, errs := introduce("--fail", "1.5"); code == 0 || !strings.Contains(errs, "--fail") {
		t.Errorf("a share of 1.5: %d %s", code, errs)
	}
}

func TestEndlessInputEndsWithTheSession(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in := &endless{strings.NewReader("/who\n"), ctx}
	buf := make([]byte, 16)
	if n, err := in.Read(buf); string(buf[:n]) != "/who\n" || err != nil {
		t.Fatalf("%q %v", buf[:n], err)
	}
	cancel()
	if _, err := in.Read(buf); err != io.EOF {
		t.Errorf("after the session: %v", err)
	}
}
