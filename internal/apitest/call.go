package apitest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"tract/internal/clock"
)

// Answer is an answer of the hub. Every one was held against the description of
// the API.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// String shows the answer in a failure.
func (a Answer) String() string { return fmt.Sprintf("%d %.400s", a.Status, a.Body) }

// At is the value at a path such as "reason.code" or "listeners.0.id"; nil when
// there is none.
func (a Answer) At(path string) any {
	var v any
	if json.Unmarshal(a.Body, &v) != nil {
		return nil
	}
	return at(v, path)
}

func at(v any, path string) any {
	for part := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

// Text is a string in the answer, "" when there is none.
func (a Answer) Text(path string) string { s, _ := a.At(path).(string); return s }

// Int is a number in the answer, 0 when there is none.
func (a Answer) Int(path string) int64 { n, _ := a.At(path).(float64); return int64(n) }

// Code is the machine readable reason of an error or a refusal, else "".
func (a Answer) Code() string {
	if c := a.Text("code"); c != "" {
		return c
	}
	return a.Text("reason.code")
}

// Message is the text of an error in either style.
func (a Answer) Message() string {
	if e := a.Text("error"); e != "" {
		return e
	}
	return a.Text("error_message")
}

// Want fails the test unless the answer has a status. It gives the answer back.
func (a Answer) Want(t testing.TB, status int) Answer {
	t.Helper()
	if a.Status != status {
		t.Fatalf("status %d, want %d: %s", a.Status, status, a)
	}
	return a
}

// Check is Want for goroutines beside the test's own: it does not end the test.
func (a Answer) Check(t testing.TB, status int) Answer {
	t.Helper()
	if a.Status != status {
		t.Errorf("status %d, want %d: %s", a.Status, status, a)
	}
	return a
}

// Call makes a call. body is nil, a string or bytes as they are, a reader, or
// anything else as JSON. headers are "Name: value"; an empty value removes what
// would be sent, "+Name: value" sends the header once more. Safe for concurrent use: a call that cannot be made fails the
// test and gives the zero answer.
func (w *World) Call(method, path string, body any, headers ...string) Answer {
	w.T.Helper()
	r, isJSON := reader(body)
	req, err := http.NewRequest(method, w.URL+path, r)
	if err != nil {
		w.T.Errorf("%s %s: %v", method, path, err)
		return Answer{}
	}
	if isJSON {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		value = strings.TrimSpace(value)
		again, twice := strings.CutPrefix(name, "+")
		switch {
		case twice:
			req.Header.Add(again, value)
		case value == "":
			req.Header.Del(name)
		default:
			req.Header.Set(name, value)
		}
	}
	return w.Send(req)
}

func reader(body any) (r io.Reader, isJSON bool) {
	switch b := body.(type) {
	case nil:
		return nil, false
	case string:
		return strings.NewReader(b), true
	case []byte:
		return bytes.NewReader(b), true
	case io.Reader:
		return b, true
	}
	return bytes.NewReader(must(json.Marshal(body))), true
}

// Send makes a call that was put together by hand.
func (w *World) Send(req *http.Request) Answer {
	w.T.Helper()
	res, err := w.shared.http.Client().Do(req)
	if err != nil {
		w.T.Errorf("%s %s: %v", req.Method, req.URL.Path, err)
		return Answer{}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.T.Errorf("%s %s: read the answer: %v", req.Method, req.URL.Path, err)
	}
	a := Answer{res.StatusCode, res.Header, b}
	if err := checkAnswer(req, a); err != nil {
		w.T.Errorf("%s %s is answered against the description of the API: %v\nanswer: %s", req.Method, req.URL.Path, err, a)
	}
	return a
}

// Platform makes a call of the client acme.
func (w *World) Platform(method, path string, body any, headers ...string) Answer {
	w.T.Helper()
	return w.Call(method, path, body, append([]string{"Authorization: Bearer " + w.Token, "client-id: acme"}, headers...)...)
}

// Other makes a call of the client other.
func (w *World) Other(method, path string, body any, headers ...string) Answer {
	w.T.Helper()
	return w.Call(method, path, body, append([]string{"Authorization: Bearer " + w.OtherToken, "client-id: other"}, headers...)...)
}

// Admin makes a call of the administrator.
func (w *World) Admin(method, path string, body any, headers ...string) Answer {
	w.T.Helper()
	return w.Call(method, path, body, append([]string{"Authorization: Bearer " + w.AdminToken}, headers...)...)
}

// Tool makes a call of a tool of acme.
func (w *World) Tool(name, method, path string, body any, headers ...string) Answer {
	w.T.Helper()
	return w.Call(method, path, body, append([]string{"Authorization: Bearer " + w.JWT(name)}, headers...)...)
}

// JWT is a tool's token for acme, issued when first needed.
func (w *World) JWT(name string) string {
	w.T.Helper()
	w.shared.mu.Lock()
	defer w.shared.mu.Unlock()
	if w.shared.jwts[name] == "" {
		w.shared.jwts[name] = w.Signed(name, "/tract/management/token/issue/", map[string]any{"client_id": "acme"}).Want(w.T, http.StatusOK).Text("token")
	}
	return w.shared.jwts[name]
}

// SignedBody is a body for a management call, with the fields given beside the
// usual ones; nil removes one.
func (w *World) SignedBody(name string, fields map[string]any) []byte {
	body := map[string]any{"fqdn": identities()[name].fqdn, "timestamp": clock.System().UTC().Format(time.RFC3339), "nonce": rand.Text()}
	for k, v := range fields {
		body[k] = v
		if v == nil {
			delete(body, k)
		}
	}
	return must(json.Marshal(body))
}

// Signed makes a signed management call of a tool.
func (w *World) Signed(name, path string, fields map[string]any, headers ...string) Answer {
	w.T.Helper()
	return w.SignedRaw(name, path, w.SignedBody(name, fields), headers...)
}

// SignedRaw signs bytes and sends them as they are.
func (w *World) SignedRaw(name, path string, body []byte, headers ...string) Answer {
	w.T.Helper()
	return w.Call("POST", path, body, append([]string{"Signature: " + Sign(name, body), "SignatureCertUUID: " + identities()[name].uuid}, headers...)...)
}

// Sign is a tool's signature over a body.
func Sign(name string, body []byte) string {
	sum := sha1.Sum(body)
	return base64.StdEncoding.EncodeToString(must(identities()[name].key.Sign(rand.Reader, sum[:], crypto.SHA1)))
}

// CertUUID is the id of a tool's registered certificate.
func CertUUID(name string) string { return identities()[name].uuid }

// CertPEM is a tool's registered certificate.
func CertPEM(name string) []byte { return identities()[name].pem }
