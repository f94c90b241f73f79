package docs_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tract/internal/sign"
)

// Verify says whether a call was signed with secret, within five minutes of now.
func Verify(secret string, header http.Header, body []byte, now time.Time) error {
	id, stamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return errors.New("the timestamp is too far off")
	}
	key := []byte(secret)
	if text, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if key, err = base64.StdEncoding.DecodeString(text); err != nil {
			return fmt.Errorf("the secret is not base64: %w", err)
		}
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
	want := mac.Sum(nil)
	for one := range strings.FieldsSeq(header.Get("webhook-signature")) {
		text, _ := strings.CutPrefix(one, "v1,")
		if got, err := base64.StdEncoding.DecodeString(text); err == nil && hmac.Equal(got, want) {
			return nil
		}
	}
	return errors.New("no signature fits")
}

// snippet is the code block of a language in docs/webhooks.md.
func snippet(t *testing.T, language string) string {
	t.Helper()
	_, rest, ok := strings.Cut(section(t, "docs/webhooks.md", "Verifying a signature"), "```"+language+"\n")
	code, _, closed := strings.Cut(rest, "```\n")
	if !ok || !closed {
		t.Fatalf("docs/webhooks.md has no code block of %s", language)
	}
	return code
}

// vector is a call as a receiver gets it, and whether it is to be believed.
type vector struct {
	Name    string            `json:"name"`
	Secret  string            `json:"secret"`
	Headers map[string]string `json:"headers"` // by lower-case name
	Body    string            `json:"body"`
	Now     int64             `json:"now"`
	Good    bool              `json:"good"`
}

// vectors are calls signed by the code that signs real ones.
func vectors() []vector {
	const (
		secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwzYt1bVVf0Ds="
		older  = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
		plain  = "a channel's secret"
		body   = `{"message_body":"{\"text\":\"grüße\"}"}`
	)
	at := time.Unix(1795170600, 0)
	signed := func(name string, secrets []string, with string, sent string, later time.Duration, good bool) vector {
		h := http.Header{}
		sign.Headers(h, secrets, sign.Delivery{ID: "msg_1743_3_17", At: at, Body: []byte(body)})
		v := vector{Name: name, Secret: with, Headers: map[string]string{}, Body: sent, Now: at.Add(later).Unix(), Good: good}
		for k := range h {
			v.Headers[strings.ToLower(k)] = h.Get(k)
		}
		return v
	}
	unsigned := signed("a signature of another version only", []string{secret}, secret, body, 0, false)
	unsigned.Headers["webhook-signature"] = strings.Replace(unsigned.Headers["webhook-signature"], "v1,", "v9,x", 1)
	return []vector{
		signed("right", []string{secret}, secret, body, time.Minute, true),
		signed("plain secret", []string{plain}, plain, body, 0, true),
		signed("rotating, new secret", []string{secret, older}, secret, body, 0, true),
		signed("rotating, old secret", []string{secret, older}, older, body, 0, true),
		signed("another secret", []string{older}, secret, body, 0, false),
		signed("another body", []string{secret}, secret, body+" ", 0, false),
		signed("too old", []string{secret}, secret, body, 6*time.Minute, false),
		signed("from the future", []string{secret}, secret, body, -6*time.Minute, false),
		unsigned,
	}
}

func TestGoSnippet(t *testing.T) {
	own, err := os.ReadFile("verify_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(own, []byte(snippet(t, "go"))) {
		t.Error("the Go code of docs/webhooks.md is not what is tested here")
	}
	for _, v := range vectors() {
		h := http.Header{}
		for k, s := range v.Headers {
			h.Set(k, s)
		}
		if err := Verify(v.Secret, h, []byte(v.Body), time.Unix(v.Now, 0)); (err == nil) != v.Good {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
}

// program finds an interpreter; without one the test does not run, unless
// everything has to.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("TRACT_TEST_ALL") == "1" {
			t.Fatalf("%s is needed: %v", name, err)
		}
		t.Skipf("NOT RUN: %s is not installed", name)
	}
	return path
}

// believed runs a script that prints the names of the calls it believes.
func believed(t *testing.T, interpreter, file, script string) {
	t.Helper()
	in, err := json.Marshal(vectors())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), file)
	if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program(t, interpreter), path)
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &errs)
	}
	var want strings.Builder
	for _, v := range vectors() {
		if v.Good {
			want.WriteString(v.Name + "\n")
		}
	}
	if string(out) != want.String() {
		t.Errorf("believed:\n%swant:\n%s", out, &want)
	}
}

func TestPythonSnippet(t *testing.T) {
	believed(t, "python3", "verify.py", snippet(t, "python")+`
import json, sys

for v in json.loads(sys.stdin.buffer.read()):
    try:
        verify(v["secret"], v["headers"], v["body"].encode(), v["now"])
        print(v["name"])
    except ValueError:
        pass
`)
}

func TestNodeSnippet(t *testing.T) {
	believed(t, "node", "verify.cjs", snippet(t, "js")+`
for (const v of JSON.parse(require("node:fs").readFileSync(0))) {
  try {
    verify(v.secret, v.headers, Buffer.from(v.body), v.now);
    console.log(v.name);
  } catch {}
}
`)
}
