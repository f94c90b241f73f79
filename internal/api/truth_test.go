package api_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/apitest"
	"tract/internal/hsl"
	"tract/internal/manifest"
)

// row is one call and all that is to come of it.
type row struct {
	name   string // the ids of docs and catalogue rows first, where there are any
	call   func(w *apitest.World, u apitest.User) apitest.Answer
	status int
	code   string         // of the error or refusal
	text   string         // the exact text of an error; "" = any
	body   map[string]any // what the answer holds at these paths
	log    string         // what was appended to the thread's log, by commas; at the end "…" stands for what the bot does meanwhile
	queued string         // what was queued for whom, by commas
}

// truths runs rows, each on a thread of its own that scene makes.
func truths(t *testing.T, w *apitest.World, scene func(w *apitest.World) apitest.User, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			w := w.On(t)
			u := scene(w)
			effects := w.Watch(u)
			a := r.call(w, u)
			r.check(t, a)
			if u.ID == "" {
				return
			}
			e := effects()
			if got := strings.Join(e.Log, ", "); !same(got, r.log) {
				t.Errorf("log: got %q, want %q", got, r.log)
			}
			if got := strings.Join(e.Queued, ", "); !same(got, r.queued) {
				t.Errorf("queued: got %q, want %q", got, r.queued)
			}
		})
	}
}

func same(got, want string) bool {
	if head, open := strings.CutSuffix(want, "…"); open {
		return strings.HasPrefix(got, head)
	}
	return got == want
}

func (r *row) check(t *testing.T, a apitest.Answer) {
	t.Helper()
	if a.Status != r.status || a.Code() != r.code {
		t.Errorf("got %d %q, want %d %q: %s", a.Status, a.Code(), r.status, r.code, a)
	}
	if r.text != "" && a.Message() != r.text {
		t.Errorf("text: got %q, want %q", a.Message(), r.text)
	}
	for path, want := range r.body {
		if diff := cmp.Diff(want, a.At(path)); diff != "" {
			t.Errorf("%s (-want +got):\n%s\nanswer: %s", path, diff, a)
		}
	}
}

// m is short for the JSON objects of bodies.
type m = map[string]any

// with is a body with other fields; nil removes one.
func with(body m, fields m) m {
	out := m{}
	for k, v := range body {
		out[k] = v
	}
	for k, v := range fields {
		out[k] = v
		if v == remove {
			delete(out, k)
		}
	}
	return out
}

// remove stands for a field that is not sent.
const remove = "\x00"

// nobody is the scene of calls that concern no thread.
func nobody(*apitest.World) apitest.User { return apitest.User{} }

func toDeskOne(w *apitest.World) apitest.User { w.T.Helper(); u := w.ToDeskOne(); w.Settle(); return u }
func toDeskTwo(w *apitest.World) apitest.User { w.T.Helper(); u := w.ToDeskTwo(); w.Settle(); return u }

// rawJSON keeps a value as it came.
type rawJSON = json.RawMessage

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("decode %s: %v", b, err)
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// systemSays is a message of the hub itself.
func systemSays(text string) tract.Send {
	return tract.Send{Sender: tract.SenderSystem, Body: hsl.Text(text).Body()}
}

var noFlags = manifest.Flags{}
