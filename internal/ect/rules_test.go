package ect_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/ect"
)

// text reads the text out of a message_body.
func text(t *testing.T, body any) string {
	t.Helper()
	var m struct{ Text, Type string }
	s, _ := body.(string)
	if err := json.Unmarshal([]byte(s), &m); err != nil || m.Type != "TEXT" {
		t.Fatalf("message_body %q: %v", s, err)
	}
	return m.Text
}

func TestReplyRule(t *testing.T) {
	w := running(t, func(c *ect.Config) { c.Rules.Reply = "you said {{text}}" })
	w.hub.mustDeliver(said("u1", "not to me", 1, "iva", 1))
	system := said("u1", "from the bot", 2, "desk-one", 2)
	system.payload["sender"] = "iva"
	w.hub.mustDeliver(system)
	w.hub.mustDeliver(said("u1", `{"text":"boo","type":"BUTTON"}`, 3, "desk-one", 2))
	got := w.hub.awaitCalls("/tract/message/send/", 1)
	if diff := cmp.Diff(`you said {"text":"boo","type":"BUTTON"}`, text(t, got[0].Body["message_body"])); diff != "" {
		t.Error(diff)
	}
	delete(got[0].Body, "message_body")
	if diff := cmp.Diff(map[string]any{"user_id": "u1", "sender": "ect", "control_epoch": 2.0}, got[0].Body); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(got) != 1 {
		t.Errorf("%d replies, want one", len(got))
	}
}

func TestReplyIsRefusedAfterATakeover(t *testing.T) {
	w := running(t, func(c *ect.Config) { c.Rules.Reply = "hm" })
	w.hub.set(func(h *fakeHub) {
		h.script = func(r request) (int, any) {
			if r.Path == "/tract/message/send/" {
				return 409, refusal("epoch_mismatch", "control has moved on", "thread_owner", "sac", "control_epoch", 3)
			}
			return 0, nil
		}
	})
	w.hub.mustDeliver(said("u1", "hello", 1, "desk-one", 2))
	got := w.await(ect.KindProblem, 1)
	if tract.CodeOf(got[0].Err) != "epoch_mismatch" {
		t.Errorf("told: %v", got[0].Err)
	}
	if th, _ := w.tool.Thread("u1"); th.Owner != "sac" || th.Epoch != 3 || th.Mine || len(mine(w, "u1", true)) != 0 {
		t.Errorf("%+v", th)
	}
}

func TestAllocateRule(t *testing.T) {
	w := running(t, func(c *ect.Config) { c.Rules = ect.Rules{Allocate: "Mia", Reply: "hi"} })
	w.hub.mustDeliver(happened("u1", "conversation_state/waiting", 1, "sac", 2, nil)) // somebody else's
	w.hub.mustDeliver(happened("u1", "thread_control/passed", 2, "desk-one", 3, nil))
	w.hub.mustDeliver(happened("u1", "conversation_state/waiting", 3, "desk-one", 3, nil))
	w.hub.mustDeliver(said("u1", "hello", 4, "desk-one", 3))
	w.hub.awaitCalls("/tract/message/send/", 1)
	w.hub.mustDeliver(happened("u1", "thread_control/passed", 5, "iva", 4, nil))
	w.hub.mustDeliver(happened("u1", "thread_control/taken", 6, "desk-one", 5, nil)) // a hand-over of its own
	w.hub.mustDeliver(said("u1", "again", 7, "desk-one", 5))
	w.hub.awaitCalls("/tract/message/send/", 2)
	var got []string
	for _, r := range w.hub.calls("/tract/events/send/") {
		got = append(got, fmt.Sprintf("%s/%s %s", r.Body["category"], r.Body["subcategory"], r.Body["metadata"]))
	}
	want := []string{"aeu_events/received ", `aeu_events/allocated {"agent":{"name":"Mia"}}`, "aeu_events/received ", `aeu_events/allocated {"agent":{"name":"Mia"}}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	send := w.hub.calls("/tract/message/send/")[0].Body
	if diff := cmp.Diff([]any{"aeu", map[string]any{"agent": map[string]any{"name": "Mia"}}}, []any{send["sender"], send["metadata"]}); diff != "" {
		t.Errorf("reply (-want +got):\n%s", diff)
	}
}

// The events of one hand-over come by different hooks, some of them when an
// agent has the chat already.
func TestLateNewsDoesNotUndoAnAllocation(t *testing.T) {
	w := running(t, func(c *ect.Config) { c.Rules.Allocate = "Mia" })
	w.hub.mustDeliver(happened("u1", "thread_control/passed", 2, "desk-one", 2, nil))
	w.await(ect.KindDone, 2)
	w.hub.mustDeliver(happened("u1", "conversation_state/waiting", 3, "desk-one", 2, nil))
	if th, _ := w.tool.Thread("u1"); th.State != tract.StateAssigned || th.Agent != "Mia" {
		t.Errorf("after the late event: %+v", th)
	}
	w.hub.mustDeliver(happened("u1", "thread_control/passed", 4, "desk-two", 3, nil))
	w.hub.mustDeliver(happened("u1", "conversation_state/waiting", 5, "desk-two", 3, nil))
	if th, _ := w.tool.Thread("u1"); th.State != tract.StateQueued || th.Agent != "" {
		t.Errorf("after the next hand-over: %+v", th)
	}
}

func TestCompleteAfterReplies(t *testing.T) {
	w := running(t, func(c *ect.Config) {
		c.Rules = ect.Rules{Reply: "ok", CompleteAfter: ect.CompleteAfter{Replies: 2}}
	})
	w.hub.mustDeliver(said("u1", "a", 1, "desk-one", 1))
	w.hub.awaitCalls("/tract/message/send/", 1)
	if n := len(w.hub.calls("/tract/events/send/")); n != 0 {
		t.Fatalf("completed after one reply")
	}
	w.hub.mustDeliver(said("u1", "b", 2, "desk-one", 1))
	got := w.hub.awaitCalls("/tract/events/send/", 1)
	if got[0].Body["category"] != "conversation_state" || got[0].Body["subcategory"] != "complete" {
		t.Errorf("%v", got[0].Body)
	}
	w.await(ect.KindDone, 1)
	for seq := int64(3); seq <= 4; seq++ { // the count begins anew with the conversation
		next := said("u1", "c", seq, "desk-one", 2)
		next.payload["conversation_number"] = "2"
		w.hub.mustDeliver(next)
	}
	w.await(ect.KindSent, 4)
	w.hub.awaitCalls("/tract/events/send/", 2)
	var order []string
	w.hub.set(func(h *fakeHub) {
		for _, r := range h.requests {
			if r.Path == "/tract/message/send/" || r.Path == "/tract/events/send/" {
				order = append(order, strings.Split(r.Path, "/")[2])
			}
		}
	})
	if diff := cmp.Diff([]string{"message", "message", "events", "message", "message", "events"}, order); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCompleteAfterSilence(t *testing.T) {
	w := running(t, func(c *ect.Config) { c.Rules.CompleteAfter.Silence = 20 * time.Millisecond })
	w.hub.mustDeliver(said("other", "not the tool's", 1, "iva", 1))
	w.hub.mustDeliver(said("u1", "hello", 1, "desk-one", 1))
	got := w.hub.awaitCalls("/tract/events/send/", 1)
	if got[0].Body["user_id"] != "u1" || got[0].Body["subcategory"] != "complete" {
		t.Errorf("%v", got[0].Body)
	}
	w.await(ect.KindDone, 1)
	if th, _ := w.tool.Thread("u1"); th.State != tract.StateComplete {
		t.Errorf("%+v", th)
	}
}

// While the hub carries out what a rule asked for, it calls the tool again for
// the same user and waits for the answer. The tool must not wait for the rule.
func TestRulesDoNotHoldHooksUp(t *testing.T) {
	w := running(t, func(c *ect.Config) { c.Rules.Reply = "re {{text}}" })
	w.hub.set(func(h *fakeHub) {
		h.script = func(r request) (int, any) {
			if r.Path == "/tract/message/send/" && len(h.calls(r.Path)) == 1 {
				for i := int64(2); i <= 4; i++ {
					if status, _, err := h.deliver(said("u1", fmt.Sprint(i), i, "desk-one", 1)); status != 200 || err != nil {
						h.t.Errorf("call %d inside a call: %d, %v", i, status, err)
					}
				}
			}
			return 0, nil
		}
	})
	w.hub.mustDeliver(said("u1", "1", 1, "desk-one", 1))
	var got []string
	for _, r := range w.hub.awaitCalls("/tract/message/send/", 4) {
		got = append(got, text(t, r.Body["message_body"]))
	}
	if diff := cmp.Diff([]string{"re 1", "re 2", "re 3", "re 4"}, got); diff != "" {
		t.Errorf("replies (-want +got):\n%s", diff)
	}
}

func TestOneUserDoesNotHoldUpAnother(t *testing.T) {
	w := running(t, func(c *ect.Config) { c.Rules.Reply = "ok" })
	free := make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	t.Cleanup(release)
	w.hub.set(func(h *fakeHub) {
		h.script = func(r request) (int, any) {
			if r.Path == "/tract/message/send/" && r.Body["user_id"] == "slow" {
				<-free
			}
			return 0, nil
		}
	})
	w.hub.mustDeliver(said("slow", "a", 1, "desk-one", 1))
	w.hub.awaitCalls("/tract/user/", 1)
	w.hub.mustDeliver(said("quick", "b", 1, "desk-one", 1))
	if got := w.await(ect.KindSent, 1); got[0].UserID != "quick" {
		t.Errorf("first sent to %s", got[0].UserID)
	}
	release()
	w.await(ect.KindSent, 2)
}

func TestFailing(t *testing.T) {
	w := running(t, nil)
	d := said("u1", "hello", 1, "iva", 1)
	for _, tt := range []struct {
		faults ect.Faults
		want   int
	}{{ect.Faults{Fail: 1}, 503}, {ect.Faults{Fail: 1, Status: 429}, 429}, {ect.Faults{Fail: 1, Status: 7}, 503}} {
		w.tool.SetFaults(tt.faults)
		if got, _, err := w.hub.deliver(d); got != tt.want || err != nil {
			t.Errorf("%+v: status %d, %v", tt.faults, got, err)
		}
	}
	if len(w.tool.Threads()) != 0 {
		t.Error("a failed call was acted upon")
	}
	w.tool.SetFaults(ect.Faults{})
	d.attempt = 4
	w.hub.mustDeliver(d)
	if got := w.heard(ect.KindMessage); len(got) != 1 || got[0].Attempt != 4 {
		t.Errorf("heard %+v", got)
	}
	if stats := w.tool.Stats(); stats.Failed != 3 || stats.Received != 1 || stats.Duplicates != 0 {
		t.Errorf("stats %+v", stats)
	}
}

func TestFailingAShare(t *testing.T) {
	w := running(t, nil)
	w.tool.SetFaults(ect.Faults{Fail: 0.3})
	failed := 0
	for i := int64(1); i <= 400; i++ {
		status, _, err := w.hub.deliver(said("u1", "x", i, "iva", 1))
		if err != nil {
			t.Fatal(err)
		}
		if status == 503 {
			failed++
		}
	}
	if failed < 80 || failed > 160 {
		t.Errorf("%d of 400 failed, want about 120", failed)
	}
}

func TestDown(t *testing.T) {
	w := running(t, nil)
	w.tool.SetFaults(ect.Faults{Down: true})
	if status, _, err := w.hub.deliver(said("u1", "hello", 1, "iva", 1)); err == nil {
		t.Errorf("answered %d although down", status)
	}
	w.tool.SetFaults(ect.Faults{})
	w.hub.mustDeliver(said("u1", "hello", 1, "iva", 1))
}

// A slow tool has acted before its answer is too late; what the hub sends again
// is a duplicate.
func TestDelayedAnswer(t *testing.T) {
	w := running(t, func(c *ect.Config) { c.Rules.Reply = "ok" })
	w.tool.SetFaults(ect.Faults{Delay: time.Hour})
	d := said("u1", "hello", 1, "desk-one", 1)
	ctx, cancel := context.WithCancel(context.Background())
	d.ctx = ctx
	result := make(chan error, 1)
	go func() { _, _, err := w.hub.deliver(d); result <- err }()
	w.await(ect.KindMessage, 1)
	select {
	case err := <-result:
		t.Fatalf("answered at once: %v", err)
	default:
	}
	for range 5 { // enough time for a rule that does not wait for the answer
		if _, err := w.tool.Send(context.Background(), "u2", "hi", ""); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.hub.calls("/tract/message/send/")); n != 5 {
		t.Errorf("the rule acted before the hook was answered")
	}
	cancel() // the hub's patience ends
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	w.hub.awaitCalls("/tract/message/send/", 6)
	w.tool.SetFaults(ect.Faults{})
	d.ctx, d.attempt = nil, 2
	w.hub.mustDeliver(d)
	if stats := w.tool.Stats(); stats.Received != 1 || stats.Duplicates != 1 {
		t.Errorf("stats %+v", stats)
	}
	// The tool ends while an answer is still being delayed.
	w.tool.SetFaults(ect.Faults{Delay: time.Hour})
	go func() { _, _, err := w.hub.deliver(said("u1", "bye", 2, "iva", 1)); result <- err }()
	w.await(ect.KindMessage, 2)
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	<-result
}

func TestOperations(t *testing.T) {
	w := running(t, nil)
	ctx := context.Background()
	type op func(context.Context, string, string, string) (ect.Control, error)
	tests := []struct {
		do         op
		kind       string
		receiver   string
		toldToHub  string
		withReason string
	}{
		{w.tool.Pass, "pass", "sac", "sac", "too hard"},
		{w.tool.Offer, "offer", "desk-two", "desk-two", ""},
		{w.tool.Take, "take", "", "desk-one", ""},
		{w.tool.Request, "request", "", "desk-one", "mine"},
		{w.tool.Accept, "accept", "", "desk-one", ""},
		{w.tool.Decline, "decline", "", "desk-one", ""},
		{w.tool.Release, "release", "", "desk-one", ""},
	}
	for i, tt := range tests {
		got, err := tt.do(ctx, "u1", tt.receiver, tt.withReason)
		if err != nil || got != (ect.Control{Epoch: 5, Changed: true}) {
			t.Errorf("%s: %+v, %v", tt.kind, got, err)
		}
		want := map[string]any{"user_id": "u1", "type": tt.kind, "requester": "desk-one", "receiver": tt.toldToHub}
		if tt.withReason != "" {
			want["reason"] = tt.withReason
		}
		if diff := cmp.Diff(want, w.hub.calls("/tract/thread_control/request")[i].Body); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.kind, diff)
		}
	}
	w.hub.set(func(h *fakeHub) {
		h.script = func(r request) (int, any) {
			if r.Path != "/tract/thread_control/request" {
				return 0, nil
			}
			return 200, map[string]any{"success": false, "reason": map[string]any{"code": "not_owner", "message": "thread is controlled by sac", "thread_owner": "sac"}}
		}
	})
	_, err := w.tool.Pass(ctx, "u1", "iva", "")
	var no *tract.Error
	if !errors.As(err, &no) || no.Code != "not_owner" || no.Fields["thread_owner"] != "sac" {
		t.Errorf("refused: %v", err)
	}
}

func TestEventsAndMessages(t *testing.T) {
	w := running(t, nil)
	ctx := context.Background()
	w.hub.mustDeliver(said("u1", "hello", 1, "desk-one", 1))
	state := func() tract.State { th, _ := w.tool.Thread("u1"); return th.State }
	for _, tt := range []struct {
		do    func() error
		event string
		state tract.State
	}{
		{func() error { return w.tool.Received(ctx, "u1") }, "aeu_events/received", tract.StateNone},
		{func() error { return w.tool.Allocate(ctx, "u1", "Mia") }, "aeu_events/allocated", tract.StateAssigned},
		{func() error { return w.tool.Waiting(ctx, "u1") }, "conversation_state/waiting", tract.StateWaitingForUser},
	} {
		if err := tt.do(); err != nil {
			t.Fatal(err)
		}
		calls := w.hub.calls("/tract/events/send/")
		got := calls[len(calls)-1].Body
		if name := fmt.Sprint(got["category"], "/", got["subcategory"]); name != tt.event || state() != tt.state {
			t.Errorf("%s: sent %s, state %q", tt.event, name, state())
		}
	}
	w.hub.mustDeliver(said("u1", "me again", 2, "desk-one", 1))
	if state() != tract.StateAssigned {
		t.Errorf("the user answered: state %q", state())
	}
	sent, err := w.tool.Send(ctx, "u1", "Hello!", "")
	if err != nil || sent.MessageID == 0 || sent.Conversation != "1" {
		t.Errorf("%+v, %v", sent, err)
	}
	want := map[string]any{"user_id": "u1", "message_body": "Hello!", "sender": "aeu", "metadata": map[string]any{"agent": map[string]any{"name": "Mia"}}}
	if diff := cmp.Diff(want, w.hub.calls("/tract/message/send/")[0].Body); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := w.tool.Send(ctx, "u1", "I am Ravi", "Ravi"); err != nil {
		t.Fatal(err)
	}
	if err := w.tool.Complete(ctx, "u1"); err != nil || state() != tract.StateComplete {
		t.Errorf("%v, state %q", err, state())
	}
	if err := w.tool.Allocate(ctx, "u1", ""); tract.KindOf(err) != tract.KindInvalid {
		t.Errorf("allocate without a name: %v", err)
	}
	th, _ := w.tool.Thread("u1")
	var agents []string
	for _, e := range th.Entries {
		if e.Mine && e.Event == "" {
			agents = append(agents, e.Agent+": "+e.Text)
		}
	}
	if diff := cmp.Diff([]string{"Mia: Hello!", "Ravi: I am Ravi"}, agents); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		status int
		body   any
		kind   tract.Kind
		code   string
	}{
		{403, refusal("not_owner", "thread is controlled by sac", "thread_owner", "sac", "control_epoch", 9), tract.KindForbidden, "not_owner"},
		{409, refusal("conversation_complete", "it is over"), tract.KindConflict, "conversation_complete"},
		{404, refusal("not_found", "no such user"), tract.KindNotFound, "not_found"},
		{413, refusal("too_large", "too large"), tract.KindTooLarge, "too_large"},
		{429, refusal("rate_limited", "slower"), tract.KindRateLimited, "rate_limited"},
		{500, "what?", tract.KindInternal, "http_500"},
		{502, nil, tract.KindUnavailable, "http_502"},
		{200, refusal("odd", "an error in a 200"), tract.KindInternal, "odd"},
	}
	w := running(t, nil)
	w.hub.mustDeliver(said("u1", "hello", 1, "desk-one", 2))
	for _, tt := range tests {
		w.hub.set(func(h *fakeHub) {
			h.script = func(r request) (int, any) {
				if r.Path == "/tract/message/send/" {
					return tt.status, tt.body
				}
				return 0, nil
			}
		})
		_, err := w.tool.Send(context.Background(), "u1", "hi", "")
		var no *tract.Error
		if !errors.As(err, &no) || no.Kind != tt.kind || no.Code != tt.code {
			t.Errorf("%d: %#v", tt.status, err)
		}
	}
	if th, _ := w.tool.Thread("u1"); th.Owner != "sac" || th.Epoch != 9 || len(mine(w, "u1", true)) != 0 {
		t.Errorf("%+v", th)
	}
}

func TestEnableHooksAndListeners(t *testing.T) {
	w := running(t, nil)
	ctx := context.Background()
	n, err := w.tool.EnableHooks(ctx)
	if err != nil || n != 1 {
		t.Fatalf("%d, %v", n, err)
	}
	want := map[string]any{"category": "message", "subcategory": "receive"}
	if diff := cmp.Diff(want, w.hub.calls("/tract/hooks/enable/")[0].Body); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	w.hub.mustDeliver(said("u1", "hello", 1, "iva", 1))
	list, err := w.tool.Listeners(ctx, "u1")
	if err != nil || len(list) != 2 || list[1].ID != "desk-one" || !list[1].Self || !list[0].IsPrimary {
		t.Errorf("%+v, %v", list, err)
	}
	if th, _ := w.tool.Thread("u1"); !th.Mine || th.Epoch != 7 {
		t.Errorf("%+v", th)
	}
}

var _ http.Handler = (*fakeHub)(nil)
