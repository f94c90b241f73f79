package ect_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/ect"
)

func TestSignatures(t *testing.T) {
	set := func(name, value string) func(http.Header, []byte) {
		return func(h http.Header, _ []byte) { h.Set(name, value) }
	}
	drop := func(name string) func(http.Header, []byte) {
		return func(h http.Header, _ []byte) { h.Del(name) }
	}
	tests := []struct {
		name   string
		mangle func(http.Header, []byte)
		at     time.Duration
		want   int
	}{
		{"all right", nil, 0, 200},
		{"without the SHA-1 form", drop("X-Hub-Signature"), 0, 200},
		{"a second signature from a rotated secret", func(h http.Header, _ []byte) { h.Set("webhook-signature", "v1,AAAA "+h.Get("webhook-signature")) }, 0, 200},
		{"four minutes old", nil, -4 * time.Minute, 200},
		{"six minutes old", nil, -6 * time.Minute, 401},
		{"from the future", nil, 6 * time.Minute, 401},
		{"body changed", func(_ http.Header, body []byte) { body[len(body)-2] ^= 1 }, 0, 401},
		{"X-Hub-Signature-256 wrong", set("X-Hub-Signature-256", "sha256="+strings.Repeat("0", 64)), 0, 401},
		{"X-Hub-Signature-256 missing", drop("X-Hub-Signature-256"), 0, 401},
		{"X-Hub-Signature wrong", set("X-Hub-Signature", "sha1="+strings.Repeat("0", 40)), 0, 401},
		{"webhook-signature wrong", set("webhook-signature", "v1,AAAA"), 0, 401},
		{"webhook-signature missing", drop("webhook-signature"), 0, 401},
		{"webhook-id changed", set("webhook-id", "another"), 0, 401},
		{"webhook-timestamp missing", drop("webhook-timestamp"), 0, 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := running(t, nil)
			d := said("u1", "hello", 1, "iva", 1)
			d.mangle, d.at = tt.mangle, w.clock.Now().Add(tt.at)
			status, answer, err := w.hub.deliver(d)
			if err != nil || status != tt.want {
				t.Fatalf("status %d, want %d (%v, %v)", status, tt.want, answer, err)
			}
			refused := tt.want == 401
			if stats := w.tool.Stats(); (stats.Refused == 1) != refused || (stats.Received == 1) == refused {
				t.Errorf("stats %+v", stats)
			}
			if got := len(w.tool.Threads()); (got == 0) != refused {
				t.Errorf("%d threads", got)
			}
			if got := len(w.heard(ect.KindRefused)); (got == 1) != refused {
				t.Errorf("%d refusals told", got)
			}
		})
	}
}

func TestSecretOfAnotherHook(t *testing.T) {
	w := running(t, nil)
	w.hub.set(func(h *fakeHub) { h.secrets["message/receive"] = h.secrets["conversation_state/bot"] })
	if status, _, _ := w.hub.deliver(said("u1", "hello", 1, "iva", 1)); status != 401 {
		t.Errorf("status %d", status)
	}
}

func TestHookAddresses(t *testing.T) {
	w := running(t, nil)
	base := strings.TrimSuffix(w.hub.url("message/receive"), "message/receive")
	for _, tt := range []struct {
		method, path string
		want         int
	}{{"POST", "message/allocated", 404}, {"POST", "nothing", 404}, {"GET", "message/receive", 405}} {
		req, err := http.NewRequest(tt.method, base+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := w.hub.srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, res.StatusCode, tt.want)
		}
	}
}

func TestUnreadablePayloadIsReportedNotRetried(t *testing.T) {
	w := running(t, nil)
	d := said("u1", "hello", 1, "iva", 1)
	d.payload["metadata"] = []string{"not", "an", "object"}
	answer := w.hub.mustDeliver(d)
	if text, _ := answer["error"].(string); !strings.Contains(text, "metadata") {
		t.Errorf("answer %v", answer)
	}
	if len(w.heard(ect.KindProblem)) != 1 || len(w.tool.Threads()) != 0 {
		t.Errorf("problems %v, threads %v", w.heard(ect.KindProblem), w.tool.Threads())
	}
}

func TestWhatIsKnownOfAThread(t *testing.T) {
	w := running(t, nil)
	introduce := delivery{event: "user_events/create_user", id: "cu", payload: map[string]any{
		"user_id": "u1", "third_party_user_id": "+4915", "user_name": "Asha", "device_platform": 14, "details_available": []any{},
	}}
	first := w.hub.mustDeliver(introduce)
	if first["success"] != true || first["ect_user_id"] == "" {
		t.Errorf("create_user: %v", first)
	}
	if again := w.hub.mustDeliver(introduce); again["success"] != true || again["ect_user_id"] != first["ect_user_id"] {
		t.Errorf("create_user again: %v, was %v", again, first)
	}
	w.hub.mustDeliver(said("u1", "I want {x} a human", 1, "iva", 1))
	w.hub.mustDeliver(happened("u1", "thread_control/passed", 2, "desk-one", 2, map[string]any{"from": "iva", "to": "desk-one"}))
	w.hub.mustDeliver(happened("u1", "conversation_state/waiting", 3, "desk-one", 2, nil))
	w.hub.mustDeliver(happened("u1", "conversation_state/pinned", 4, "desk-one", 2, map[string]any{"agent": map[string]any{"name": "Mia"}}))
	w.hub.mustDeliver(happened("u1", "thread_control/offered", 5, "desk-one", 2, map[string]any{"receiver": "sac"}))
	got, _ := w.tool.Thread("u1")
	got.Entries = nil
	want := ect.Thread{
		Number: 1, UserID: "u1", Name: "Asha", ThirdParty: "+4915", Platform: "WhatsApp", Conversation: "1", State: tract.StateAssigned,
		Owner: "desk-one", Mine: true, Epoch: 2, Pending: "sac", Agent: "Mia", LastSeq: 5,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("thread (-want +got):\n%s", diff)
	}
	w.hub.mustDeliver(happened("u1", "conversation_state/complete", 6, "desk-one", 2, nil))
	w.hub.mustDeliver(happened("u1", "thread_control/reset", 7, "iva", 3, nil))
	if got, _ = w.tool.Thread("u1"); got.State != tract.StateComplete || got.Mine || got.Owner != "iva" || got.Agent != "" || got.Pending != "" {
		t.Errorf("after completion: %+v", got)
	}
	lines := []string{"I want  a human", "thread_control/passed", "conversation_state/waiting", "conversation_state/pinned", "thread_control/offered", "conversation_state/complete", "thread_control/reset"}
	if diff := cmp.Diff(lines, w.texts("u1")); diff != "" {
		t.Errorf("transcript (-want +got):\n%s", diff)
	}
}

func TestUnknownUserIsLookedUp(t *testing.T) {
	w := running(t, nil)
	w.hub.mustDeliver(said("u1", "hello", 1, "iva", 1))
	w.await(ect.KindUser, 1)
	if th, _ := w.tool.Thread("u1"); th.Name != "Asha" || th.ThirdParty != "u-77" || th.Platform != "Webhook" {
		t.Errorf("%+v", th)
	}
}

func TestDuplicatesAreDropped(t *testing.T) {
	w := running(t, func(c *ect.Config) { c.Rules.Reply = "you said {{text}}" })
	d := said("u1", "hello", 1, "desk-one", 1)
	for i := range 3 {
		d.attempt = i + 1
		w.hub.mustDeliver(d)
	}
	w.hub.mustDeliver(said("u1", "bye", 2, "desk-one", 1))
	w.hub.awaitCalls("/tract/message/send/", 2) // one user's rules run in order: nothing came between
	if diff := cmp.Diff([]string{"hello", "bye"}, mine(w, "u1", false)); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
	if got := len(w.hub.calls("/tract/message/send/")); got != 2 {
		t.Errorf("%d replies", got)
	}
	if stats := w.tool.Stats(); stats.Duplicates != 2 || stats.Received != 2 {
		t.Errorf("stats %+v", stats)
	}
	if got := w.heard(ect.KindDuplicate); len(got) != 2 || got[1].Attempt != 3 {
		t.Errorf("duplicates told: %+v", got)
	}
}

// mine gives the texts of one side of a transcript.
func mine(w *world, user string, own bool) []string {
	th, _ := w.tool.Thread(user)
	var out []string
	for _, e := range th.Entries {
		if e.Mine == own {
			out = append(out, e.Text)
		}
	}
	return out
}

// Between hooks the hub promises no order; whatever order things arrive in, the
// tool ends with the same transcript, owner and state.
func TestAnyOrderGivesTheSameView(t *testing.T) {
	calls := []delivery{
		said("u1", "one", 1, "iva", 1),
		happened("u1", "thread_control/passed", 2, "desk-one", 2, nil),
		happened("u1", "conversation_state/waiting", 3, "desk-one", 2, nil),
		happened("u1", "thread_control/offered", 4, "desk-one", 2, map[string]any{"receiver": "sac"}),
		said("u1", "two", 5, "desk-one", 2),
		happened("u1", "thread_control/declined", 6, "desk-one", 2, nil),
		happened("u1", "conversation_state/pinned", 7, "desk-one", 2, map[string]any{"agent": "Mia"}),
		happened("u1", "thread_control/released", 8, "iva", 3, nil),
	}
	want := []string{"one", "thread_control/passed", "conversation_state/waiting", "thread_control/offered", "two", "thread_control/declined", "conversation_state/pinned", "thread_control/released"}
	random := rand.New(rand.NewPCG(7, 7))
	w := running(t, nil)
	for round := range 30 {
		user := fmt.Sprintf("u%d", round)
		shuffled := slices.Clone(calls)
		if round > 0 {
			random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		}
		for _, d := range shuffled {
			d.id = user + d.id
			payload := map[string]any{}
			for k, v := range d.payload {
				payload[k] = v
			}
			payload["user_id"] = user
			d.payload = payload
			w.hub.mustDeliver(d)
		}
		got, _ := w.tool.Thread(user)
		if diff := cmp.Diff(want, w.texts(user)); diff != "" {
			t.Fatalf("round %d: transcript (-want +got):\n%s", round, diff)
		}
		if got.Owner != "iva" || got.Epoch != 3 || got.Mine || got.State != tract.StateAssigned || got.Agent != "Mia" || got.Pending != "" || got.LastSeq != 8 || got.Missing != 0 {
			t.Fatalf("round %d: %+v", round, got)
		}
	}
	if n := len(w.hub.calls("/tract/feed/")); n != 0 {
		t.Errorf("the feed was asked %d times within the grace", n)
	}
}

func TestGapIsFilledFromTheFeed(t *testing.T) {
	w := newWorld(t, func(c *ect.Config) { c.GapGrace, c.Rules.Reply = time.Millisecond, "re {{text}}" })
	missed := []delivery{said("u1", "two", 2, "desk-one", 1), said("u1", "three", 3, "desk-one", 1)}
	last := said("u1", "four", 4, "desk-one", 1)
	first := said("u1", "one", 1, "desk-one", 1)
	w.hub.set(func(h *fakeHub) {
		h.pageSize = 2
		h.feed = []feedItem{inFeed(first, 1), inFeed(missed[0], 2), inFeed(missed[1], 3), inFeed(last, 4), inFeed(said("u1", "five", 5, "desk-one", 1), 5)}
	})
	w.run()
	<-w.tool.Ready()
	w.hub.mustDeliver(first)
	w.hub.mustDeliver(last)
	w.hub.bell.until(t, "the gap is closed", func() bool { th, _ := w.tool.Thread("u1"); return th.LastSeq == 4 })
	if diff := cmp.Diff([]string{"one", "two", "three", "four"}, mine(w, "u1", false)); diff != "" {
		t.Errorf("transcript (-want +got):\n%s", diff)
	}
	if q := w.hub.calls("/tract/feed/")[0].Query; q != "after_seq=1&limit=100&user_id=u1" {
		t.Errorf("the feed was asked for %s", q)
	}
	if got := w.await(ect.KindGap, 1); len(got) != 1 || !strings.Contains(got[0].Note, "2 missing") {
		t.Errorf("gaps told: %+v", got)
	}
	// The hub tries again what the feed already told: it is not new, but it is
	// the first time that the hook came, so the rule answers.
	w.hub.mustDeliver(missed[0])
	replies := w.hub.awaitCalls("/tract/message/send/", 3)
	var texts []string
	for _, r := range replies {
		texts = append(texts, text(t, r.Body["message_body"]))
	}
	if diff := cmp.Diff([]string{"re one", "re four", "re two"}, texts); diff != "" {
		t.Errorf("replies (-want +got):\n%s", diff)
	}
	if got := mine(w, "u1", false); len(got) != 4 {
		t.Errorf("heard twice: %v", got)
	}
	if stats := w.tool.Stats(); stats.Gaps != 1 || stats.CaughtUp != 2 || stats.Lost != 0 {
		t.Errorf("stats %+v", stats)
	}
}

func TestWhatTheFeedLacksIsLost(t *testing.T) {
	w := newWorld(t, func(c *ect.Config) { c.GapGrace = time.Millisecond })
	late := said("u1", "five", 5, "iva", 1)
	w.hub.set(func(h *fakeHub) { h.feed = []feedItem{inFeed(said("u1", "three", 3, "iva", 1), 3), inFeed(late, 5)} })
	w.run()
	<-w.tool.Ready()
	w.hub.mustDeliver(said("u1", "one", 1, "iva", 1))
	w.hub.mustDeliver(late)
	got := w.await(ect.KindLost, 1)
	if !strings.Contains(got[0].Note, "2 numbers") {
		t.Errorf("told: %+v", got)
	}
	if th, _ := w.tool.Thread("u1"); th.LastSeq != 5 || th.Missing != 0 {
		t.Errorf("%+v", th)
	}
	if stats := w.tool.Stats(); stats.Lost != 2 || stats.CaughtUp != 1 {
		t.Errorf("stats %+v", stats)
	}
}

func TestGapStaysOpenWhileTheFeedFails(t *testing.T) {
	w := newWorld(t, func(c *ect.Config) { c.GapGrace = time.Millisecond })
	w.hub.set(func(h *fakeHub) {
		h.script = func(r request) (int, any) {
			if r.Path == "/tract/feed/" {
				return 503, refusal("unavailable", "later")
			}
			return 0, nil
		}
	})
	w.run()
	<-w.tool.Ready()
	w.hub.mustDeliver(said("u1", "two", 2, "iva", 1))
	w.await(ect.KindProblem, 1)
	if th, _ := w.tool.Thread("u1"); th.LastSeq != 0 || th.Missing != 1 {
		t.Errorf("%+v", th)
	}
	if n := len(w.heard(ect.KindLost)); n != 0 {
		t.Errorf("%d losses told", n)
	}
}

func TestCatchUpReadsEveryPage(t *testing.T) {
	w := running(t, nil)
	w.hub.set(func(h *fakeHub) {
		h.pageSize = 2
		for i := int64(1); i <= 5; i++ {
			h.feed = append(h.feed, inFeed(said("u1", fmt.Sprint(i), i, "iva", 1), i))
		}
	})
	w.hub.mustDeliver(said("u1", "3", 3, "iva", 1))
	n, err := w.tool.CatchUp(context.Background(), "u1")
	if err != nil || n != 4 {
		t.Errorf("%d new, %v", n, err)
	}
	if diff := cmp.Diff([]string{"1", "2", "3", "4", "5"}, w.texts("u1")); diff != "" {
		t.Errorf("transcript (-want +got):\n%s", diff)
	}
	th, _ := w.tool.Thread("u1")
	if th.Entries[0].CaughtUp != true || th.Entries[2].CaughtUp != false || th.LastSeq != 5 {
		t.Errorf("%+v", th)
	}
	if n, err := w.tool.CatchUp(context.Background(), "u1"); err != nil || n != 0 {
		t.Errorf("the second time: %d new, %v", n, err)
	}
}

func TestFeedPageTooLarge(t *testing.T) {
	w := running(t, nil)
	w.hub.set(func(h *fakeHub) {
		h.script = func(r request) (int, any) {
			if r.Path == "/tract/feed/" {
				return 200, map[string]any{"items": []any{}, "padding": strings.Repeat("x", 5<<20)}
			}
			return 0, nil
		}
	})
	if _, err := w.tool.CatchUp(context.Background(), "u1"); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("%v", err)
	}
}

func TestTranscriptIsBounded(t *testing.T) {
	w := running(t, nil)
	w.hub.set(func(h *fakeHub) {
		for i := int64(1); i <= 700; i++ {
			h.feed = append(h.feed, inFeed(said("u1", fmt.Sprint(i), i, "iva", 1), i))
		}
	})
	if _, err := w.tool.CatchUp(context.Background(), "u1"); err != nil {
		t.Fatal(err)
	}
	if got := w.texts("u1"); len(got) != 500 || got[0] != "201" || got[499] != "700" {
		t.Errorf("%d entries", len(got))
	}
}
