package apitest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tract/internal/clock"
)

// Hook is one call that a receiver got.
type Hook struct {
	Path   string
	Header http.Header
	Raw    []byte
	When   time.Time
	Status int // what was answered

	body map[string]any
}

// At is the value at a path of the payload, such as "metadata.standby". Where
// the metadata is a string, its content is looked into.
func (h *Hook) At(path string) any {
	if rest, ok := strings.CutPrefix(path, "metadata."); ok {
		if s, ok := h.body["metadata"].(string); ok {
			var m any
			_ = json.Unmarshal([]byte(s), &m)
			return at(m, rest)
		}
	}
	return at(h.body, path)
}

// Text is a string of the payload, "" when there is none.
func (h *Hook) Text(path string) string { s, _ := h.At(path).(string); return s }

// Int is a number of the payload, 0 when there is none.
func (h *Hook) Int(path string) int64 { n, _ := h.At(path).(float64); return int64(n) }

// Name says what the call is about: "message", "category/subcategory",
// "create_user", "ping", or the event name of a channel.
func (h *Hook) Name() string {
	switch {
	case h.body["event_name"] != nil:
		return h.Text("event_name")
	case h.body["message_body"] != nil:
		return "message"
	case h.body["details_available"] != nil:
		return "create_user"
	case h.body["type"] == "ping":
		return "ping"
	}
	return h.Text("category") + "/" + h.Text("subcategory")
}

// Said is the text of a message, to a tool or to a channel.
func (h *Hook) Said() string {
	var el struct {
		Text string `json:"text"`
	}
	_ = json.Unmarshal([]byte(h.Text("message_body")), &el)
	if el.Text == "" {
		return h.Text("message.body.text")
	}
	return el.Text
}

// User is whom it is about: the tool's user_id, or the channel's auth_id.
func (h *Hook) User() string {
	if id := h.Text("user.auth_id"); id != "" {
		return id
	}
	return h.Text("user_id")
}

// Receiver is a webhook receiver on loopback.
type Receiver struct {
	Name string

	t      *testing.T
	server *httptest.Server
	mu     sync.Mutex // guards what follows
	got    []*Hook
	script func(*Hook) (status int, body string)
	more   chan struct{} // closed when something came
}

func newReceiver(t *testing.T, name string) *Receiver {
	r := &Receiver{Name: name, t: t, more: make(chan struct{})}
	r.server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.server.Close)
	return r
}

// URL is an address of the receiver.
func (r *Receiver) URL(path string) string { return r.server.URL + path }

// Script answers the calls from now on: status 0 is 200, an empty body is {}.
// nil answers 200 again. A script may block; the call then times out.
func (r *Receiver) Script(fn func(*Hook) (status int, body string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.script = fn
}

func (r *Receiver) serve(rw http.ResponseWriter, req *http.Request) {
	raw, err := io.ReadAll(req.Body)
	if err != nil {
		r.t.Errorf("%s: read a call: %v", r.Name, err)
	}
	h := &Hook{Path: req.URL.Path, Header: req.Header, Raw: raw, When: clock.System(), Status: http.StatusOK}
	if err := json.Unmarshal(raw, &h.body); err != nil {
		r.t.Errorf("%s: a call is not JSON: %v: %s", r.Name, err, raw)
	}
	if err := checkHook(h); err != nil {
		r.t.Errorf("%s is called against the description of the API: %v\ncall: %s", r.Name, err, raw)
	}
	r.mu.Lock()
	script := r.script
	r.mu.Unlock()
	answer := ""
	if script != nil {
		if status, body := script(h); status != 0 || body != "" {
			answer = body
			if status != 0 {
				h.Status = status
			}
		}
	}
	if answer == "" {
		answer = "{}"
	}
	r.mu.Lock()
	r.got = append(r.got, h)
	close(r.more)
	r.more = make(chan struct{})
	r.mu.Unlock()
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(h.Status)
	_, _ = io.WriteString(rw, answer)
}

// Got returns the calls so far that match, in the order in which they were
// answered; a nil match takes all.
func (r *Receiver) Got(match func(*Hook) bool) []*Hook {
	r.mu.Lock()
	defer r.mu.Unlock()
	if match == nil {
		return slices.Clone(r.got)
	}
	var out []*Hook
	for _, h := range r.got {
		if match(h) {
			out = append(out, h)
		}
	}
	return out
}

// Wait returns the first call that matches, however long ago it came, or waits
// for it.
func (r *Receiver) Wait(t testing.TB, what string, match func(*Hook) bool) *Hook {
	t.Helper()
	return r.WaitN(t, 1, what, match)[0]
}

// WaitN waits for n calls that match.
func (r *Receiver) WaitN(t testing.TB, n int, what string, match func(*Hook) bool) []*Hook {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		r.mu.Lock()
		more := r.more
		r.mu.Unlock()
		if found := r.Got(match); len(found) >= n {
			return found
		}
		select {
		case <-more:
		case <-late.C:
			var have []string
			for _, h := range r.Got(nil) {
				have = append(have, h.Name()+" "+h.Said())
			}
			t.Fatalf("%s waited %s in vain for %s; it got: %q", r.Name, patience, what, have)
		}
	}
}

// About matches calls about a user with a name; see Hook.Name. An empty name
// matches every call about the user.
func About(u User, name string) func(*Hook) bool {
	return func(h *Hook) bool {
		return (h.User() == u.ID || h.User() == u.AuthID) && (name == "" || h.Name() == name)
	}
}

// Saying matches messages about a user with a text.
func Saying(u User, text string) func(*Hook) bool {
	about := About(u, "message")
	return func(h *Hook) bool { return about(h) && h.Said() == text }
}
