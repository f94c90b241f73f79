package main_test

import (
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// receiver records what arrives, in order.
type receiver struct {
	*httptest.Server
	delay time.Duration // before it answers; set before it is called

	mu   sync.Mutex // guards the rest
	got  []received
	seen map[string][32]byte // webhook-id to body
	bad  []string
}

type received struct {
	user  string
	id    int64
	seq   int64
	text  string
	hook  string
	owner string // of the thread
	epoch int64
}

func newReceiver(t *testing.T, read func([]byte) (received, bool)) *receiver {
	r := &receiver{seen: map[string][32]byte{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // the server died while it sent
		}
		id, sum := req.Header.Get("webhook-id"), sha256.Sum256(body)
		if r.delay > 0 {
			defer wait(r.delay)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if old, again := r.seen[id]; again {
			if old != sum {
				r.bad = append(r.bad, "a retry of "+id+" has other bytes")
			}
			return
		}
		r.seen[id] = sum
		if rec, ok := read(body); ok {
			rec.hook = id
			r.got = append(r.got, rec)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func readTool(body []byte) (received, bool) {
	var m struct {
		UserID      string `json:"user_id"`
		MessageID   int64  `json:"message_id"`
		MessageBody string `json:"message_body"`
		Metadata    any    `json:"metadata"`
	}
	if json.Unmarshal(body, &m) != nil {
		return received{}, false
	}
	meta, _ := m.Metadata.(map[string]any)
	if s, ok := m.Metadata.(string); ok {
		_ = json.Unmarshal([]byte(s), &meta)
	}
	seq, _ := meta["delivery_seq"].(float64)
	var el struct {
		Text string `json:"text"`
	}
	_ = json.Unmarshal([]byte(m.MessageBody), &el)
	owner, _ := meta["thread_owner"].(string)
	epoch, _ := meta["control_epoch"].(float64)
	return received{user: m.UserID, id: m.MessageID, seq: int64(seq), text: el.Text, owner: owner, epoch: int64(epoch)}, true
}

func readChannel(body []byte) (received, bool) {
	var m struct {
		EventName string `json:"event_name"`
		User      struct {
			UserID string `json:"user_id"`
		} `json:"user"`
		Message struct {
			ID   int64 `json:"id"`
			Body struct {
				Text string `json:"text"`
			} `json:"body"`
		} `json:"message"`
	}
	if json.Unmarshal(body, &m) != nil || m.EventName != "message" {
		return received{}, false
	}
	return received{user: m.User.UserID, id: m.Message.ID, text: m.Message.Body.Text}, true
}

func (w *world) missing(r *receiver, ids []int64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := map[int64]bool{}
	for _, g := range r.got {
		have[g.id] = true
	}
	n := 0
	for _, id := range ids {
		if !have[id] {
			n++
		}
	}
	return n
}

// all gives what arrived so far; late retries may still come.
func (r *receiver) all() (got []received, bad []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got), slices.Clone(r.bad)
}

// check holds what happened against the laws.
func (w *world) check(t *testing.T, kills int) {
	t.Helper()
	ids := map[int64]string{}
	perUser := map[string]int64{}
	for _, a := range w.acked {
		if old, twice := ids[a.id]; twice {
			t.Errorf("message_id %d was given to %q and %q", a.id, old, a.text)
		}
		ids[a.id] = a.text
		if a.id <= perUser[a.user] {
			t.Errorf("message_id %d of %s is not above %d", a.id, a.user, perUser[a.user])
		}
		perUser[a.user] = a.id
	}
	for _, r := range append([]*receiver{w.tool, w.channel}, w.more...) {
		got, wrong := r.all()
		for _, bad := range wrong {
			t.Error(bad)
		}
		last, texts := map[string]int64{}, map[string]int64{}
		for _, g := range got {
			if g.id == 0 {
				continue
			}
			if g.id <= last[g.user] {
				t.Errorf("out of order for %s: %d after %d", g.user, g.id, last[g.user])
			}
			last[g.user] = g.id
			if old := texts[g.text]; old != 0 {
				t.Errorf("%q is in the log twice: %d and %d", g.text, old, g.id)
			}
			texts[g.text] = g.id
			if want, known := ids[g.id]; known && want != g.text {
				t.Errorf("message %d arrived as %q, was %q", g.id, g.text, want)
			}
		}
	}
	for _, r := range append([]*receiver{w.tool}, w.more...) {
		seqs := map[string][]int64{}
		got, _ := r.all()
		for _, g := range got {
			seqs[g.user] = append(seqs[g.user], g.seq)
		}
		for user, s := range seqs {
			slices.Sort(s)
			for i, n := range s {
				if w.jump > 0 && n > w.jump {
					n -= w.jump
				}
				if n != int64(i+1) {
					t.Fatalf("delivery_seq of %s has a gap or double at %d: %d", user, i+1, n)
				}
			}
		}
	}
	if len(w.acked) < kills {
		t.Errorf("only %d messages were acknowledged in %d kills: there was no load", len(w.acked), kills)
	}
	t.Logf("%d kills: %d messages of users and %d of the tool acknowledged, all delivered, in order", kills, len(w.acked), len(w.sent))
}
