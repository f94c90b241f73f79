package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/apitest"
	"tract/internal/clock"
	"tract/internal/sign"
	"tract/internal/store"
)

// changed is a world whose fixture has one text replaced by another.
func changed(from, to string) func(*apitest.Settings) {
	return func(s *apitest.Settings) {
		s.Fixture = func(yaml string) string {
			if !strings.Contains(yaml, from) {
				panic("the fixture has no " + from)
			}
			return strings.ReplaceAll(yaml, from, to)
		}
	}
}

// names gives what a receiver heard about a user, in order.
func names(r *apitest.Receiver, u apitest.User) (out []string) {
	for _, h := range r.Got(apitest.About(u, "")) {
		out = append(out, strings.TrimSuffix(h.Name()+" "+h.Said(), " "))
	}
	return out
}

// A tool is told of a user once, before the first message, and what it calls
// the user comes with everything that is committed afterwards.
func TestCreateUser(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive", "user_events/create_user", "conversation_state/complete")
		w.One.Script(func(h *apitest.Hook) (int, string) {
			if h.Name() == "create_user" {
				return 200, `{"success": true, "ect_user_id": "their-77"}`
			}
			return 0, ""
		})
		u := w.UserOf("acme", 344, m{"email": "a@x.example"})
		w.Say(&u, "one")
		w.Settle()
		w.TrySay(u, "two").Want(t, 200)
		w.Event("desk-one", "conversation_state/complete", u, nil).Want(t, 200)
		w.TrySay(u, "three").Want(t, 200)
		w.Settle()
		heard := names(w.One, u)
		if len(heard) != 5 || !slices.Equal(heard[:2], []string{"create_user", "message one"}) {
			t.Errorf("heard: %v", heard)
		}
		made := w.One.Wait(t, "create_user", apitest.About(u, "create_user"))
		if made.Text("third_party_user_id") != u.AuthID || made.Text("user_name") != "Asha" || made.Int("device_platform") != 13 ||
			!cmp.Equal(made.At("details_available"), any([]any{m{"name": "name", "type": "string"}, m{"name": "email", "type": "string"}})) {
			t.Errorf("create_user: %s", made.Raw)
		}
		for text, want := range map[string]string{"one": "", "two": "their-77", "three": "their-77"} {
			if got := w.One.Wait(t, text, apitest.Saying(u, text)).Text("metadata.ect_user_id"); got != want {
				t.Errorf("message %s: ect_user_id %q, want %q", text, got, want)
			}
		}
		if got := w.One.Wait(t, "complete", apitest.About(u, "conversation_state/complete")).Text("metadata.ect_user_id"); got != "their-77" {
			t.Errorf("complete: ect_user_id %q", got)
		}
	})
}

// A create_user that fails holds nothing back, and is tried again.
func TestCreateUserFailing(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive", "user_events/create_user")
		w.One.Script(func(h *apitest.Hook) (int, string) {
			if h.Name() == "create_user" && h.Header.Get("X-Tract-Attempt") == "1" {
				return 503, ""
			}
			return 0, ""
		})
		u := w.UserOf("acme", 344)
		w.Say(&u, "one")
		w.One.Wait(t, "the message", apitest.Saying(u, "one"))
		got := w.One.WaitN(t, 2, "create_user again", apitest.About(u, "create_user"))
		if got[0].Header.Get("Webhook-Id") != got[1].Header.Get("Webhook-Id") || got[1].Header.Get("X-Tract-Attempt") != "2" {
			t.Errorf("attempts: %v and %v", got[0].Header, got[1].Header)
		}
		if all := names(w.One, u); all[0] != "create_user" {
			t.Errorf("the message came before the first attempt: %v", all)
		}
	})
}

// Who owns the thread is told as it was before the message had any effect.
func TestStandbyAndOwner(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive", "conversation_state/waiting")
		u := w.ToDeskOne()
		w.TrySay(u, "hello?").Want(t, 200)
		w.Write("desk-one", u, "hello!").Want(t, 200)
		for _, tt := range []struct {
			r       *apitest.Receiver
			text    string
			sender  string
			owner   string
			standby bool
			epoch   int64
		}{
			{w.One, apitest.Unanswerable, "ceu", "iva", true, 1},
			{w.One, apitest.Handover, "iva", "iva", true, 1},
			{w.One, "hello?", "ceu", "desk-one", false, 4},
			{w.Two, "hello?", "ceu", "desk-one", true, 4},
			{w.Two, "hello!", "aeu", "desk-one", true, 4},
		} {
			h := tt.r.Wait(t, tt.text, apitest.Saying(u, tt.text))
			if h.Text("sender") != tt.sender || h.Text("metadata.thread_owner") != tt.owner || h.At("metadata.standby") != tt.standby || h.Int("metadata.control_epoch") != tt.epoch ||
				h.Text("conversation_number") != "1" || h.Int("metadata.business_id") != 343 || h.Int("metadata.device_platform") != 13 {
				t.Errorf("%s of %s: %s", tt.text, tt.r.Name, h.Raw)
			}
		}
		w.Settle()
		if got := w.One.Got(apitest.Saying(u, "hello!")); len(got) > 0 {
			t.Errorf("the tool hears itself: %s", got[0].Raw)
		}
		// The event that hands over to a tool carries a brief and a link.
		h := w.One.Wait(t, "the hand-over", func(h *apitest.Hook) bool {
			return apitest.About(u, "conversation_state/waiting")(h) && h.Text("metadata.to") == "desk-one"
		})
		if h.Text("metadata.brief.question") != apitest.Unanswerable || h.Text("metadata.brief.reason") != "pass" || h.Text("metadata.brief.turns.0.text") != apitest.Unanswerable || h.Text("metadata.brief.language") != "en" ||
			!strings.Contains(h.Text("metadata.transcript_url"), u.ID) || h.Text("metadata.by") != "desk-two" || h.Text("metadata.thread_owner") != "desk-one" {
			t.Errorf("hand-over: %s", h.Raw)
		}
	})
}

// A tool that hears only its own threads gets what it missed when it gains one.
func TestDeliverActive(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		w.Hooks("desk-two", "message/receive", "thread_control/taken", "thread_control/passed", "conversation_state/waiting")
		u := w.ToDesk()
		w.TrySay(u, "hello?").Want(t, 200)
		w.Settle()
		if diff := cmp.Diff([]string{"thread_control/passed"}, names(w.Two, u)); diff != "" {
			t.Errorf("heard on standby (-want +got):\n%s", diff)
		}
		w.Granted("desk-two", "take", u, "")
		w.TrySay(u, "are you there?").Want(t, 200)
		w.Settle()
		var got []string
		last := int64(0)
		for _, h := range w.Two.Got(apitest.About(u, "message")) {
			got = append(got, fmt.Sprint(h.Said(), " ", h.At("metadata.history") == true, " ", h.At("metadata.standby")))
			if h.Text("metadata.thread_owner") != "desk-two" || !strings.Contains(h.Text("metadata.context.transcript_url"), u.ID) {
				t.Errorf("message: %s", h.Raw)
			}
			if seq := h.Int("metadata.delivery_seq"); seq <= last {
				t.Errorf("delivery_seq %d follows %d", seq, last)
			} else {
				last = seq
			}
		}
		if diff := cmp.Diff([]string{apitest.Unanswerable + " true false", apitest.Handover + " true false", "hello? true false", "are you there? false false"}, got); diff != "" {
			t.Errorf("heard as the owner (-want +got):\n%s", diff)
		}
		w.Write("desk-two", u, "yes").Want(t, 200)
		w.Granted("desk-two", "pass", u, "desk-one")
		w.TrySay(u, "and now?").Want(t, 200)
		w.Settle()
		if got := w.Two.Got(apitest.Saying(u, "and now?")); len(got) > 0 {
			t.Errorf("heard after the pass: %s", got[0].Raw)
		}
		if seqs := fed(t, w, "desk-two", u, 100); !strings.HasPrefix(seqs[len(seqs)-1], fmt.Sprint(len(seqs))) {
			t.Errorf("gaps in the feed: %s", strings.Join(seqs, "\n"))
		}
	}, changed("pass_to: any}}", "pass_to: any}, deliver: active, history_on_handover: 2}"))
}

// One event reaches every name it is registered under.
func TestEventNames(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "conversation_state/waiting", "conversation_state/incomplete", "collection_state/incomplete")
		w.Hooks("desk-one", "message/receive")
		u := w.ToDesk()
		seqs := map[int64]bool{}
		for _, name := range []string{"conversation_state/waiting", "conversation_state/incomplete", "collection_state/incomplete"} {
			h := w.One.Wait(t, name, apitest.About(u, name))
			seqs[h.Int("metadata.delivery_seq")] = true
			if h.Path != "/"+name || h.Text("metadata.reason") != "bot_break" || h.Text("metadata.thread_owner") != "sac" || h.Text("metadata.by") != "iva" || h.Int("metadata.control_epoch") != 2 || h.Text("conversation_number") != "1" {
				t.Errorf("%s: %s", name, h.Raw)
			}
		}
		if len(seqs) != 3 {
			t.Errorf("three calls carry %d numbers", len(seqs))
		}
	})
}

// After a transfer to the bot the next conversation is the bot's, even where the
// default receiver is another.
func TestTransferToTheBotKeepsTheBot(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		u := w.UserOf("acme", 344)
		w.Say(&u, "hi")
		w.Granted("desk-one", "pass", u, "iva")
		w.TrySay(u, apitest.Answerable).Want(t, 200)
		w.Channel.Wait(t, "the bot's answer", apitest.Saying(u, apitest.AnswerText))
		h := w.One.Wait(t, "the question", apitest.Saying(u, apitest.Answerable))
		if h.Text("conversation_number") != "2" || h.Text("metadata.thread_owner") != "iva" {
			t.Errorf("the question: %s", h.Raw)
		}
		if _, err := w.Do(u, tract.Close{}); err != nil {
			t.Fatal(err)
		}
		w.TrySay(u, "me again").Want(t, 200)
		if h := w.One.Wait(t, "the third conversation", apitest.Saying(u, "me again")); h.Text("conversation_number") != "3" || h.Text("metadata.thread_owner") != "desk-one" {
			t.Errorf("the third conversation: %s", h.Raw)
		}
	}, changed("{id: 344, name: Tool first,", "{id: 344, name: Tool first, bot: acme_faq,"))
}

// A tool whose hook is disabled loses the threads it owns to the next in line;
// everyone is told.
func TestFailoverOfADisabledHook(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive", "thread_control/failed_over")
		w.Hooks("desk-two", "message/receive", "thread_control/failed_over")
		u := w.ToDeskOne()
		w.Settle()
		w.One.Script(func(h *apitest.Hook) (int, string) {
			if h.Name() == "message" {
				return 410, ""
			}
			return 0, ""
		})
		w.TrySay(u, "hello?").Want(t, 200)
		for _, r := range []*apitest.Receiver{w.One, w.Two} {
			h := r.Wait(t, "the failover", apitest.About(u, "thread_control/failed_over"))
			if h.Text("metadata.from") != "desk-one" || h.Text("metadata.to") != "sac" || h.Text("metadata.thread_owner") != "sac" || h.Text("metadata.reason") != "hook_disabled" {
				t.Errorf("%s: %s", r.Name, h.Raw)
			}
		}
		w.Channel.Wait(t, "the message to the user", apitest.Saying(u, "One moment, please."))
		if s := w.Thread(u).State; s.Owner != "sac" || s.State != tract.StateQueued {
			t.Errorf("owner %s, state %s", s.Owner, s.State)
		}
		w.Write("desk-one", u, "too late").Want(t, 403)
	}, changed("{id: 343, name: Acme Support,", `{id: 343, name: Acme Support, failover: [sac], failover_message: "One moment, please.", ack_timeout: 60s,`))
}

// An owner that is silent for longer than it may loses the thread; one that
// acknowledged keeps it.
func TestFailoverOfASilentTool(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive", "thread_control/failed_over")
		w.Hooks("desk-two", "thread_control/failed_over")
		kept := w.ToDeskOne()
		w.Event("desk-one", "aeu_events/received", kept, nil).Want(t, 200)
		w.One.Script(func(h *apitest.Hook) (int, string) { return 503, "" })
		u := w.ToDeskOne()
		w.TrySay(u, "anyone?").Want(t, 200)
		if h := w.Two.Wait(t, "the failover", apitest.About(u, "thread_control/failed_over")); h.Text("metadata.reason") != "ack_timeout" || h.Text("metadata.to") != "sac" {
			t.Errorf("failover: %s", h.Raw)
		}
		if owner := w.Thread(kept).State.Owner; owner != "desk-one" {
			t.Errorf("who acknowledged lost its thread to %s", owner)
		}
	}, changed("{id: 343, name: Acme Support,", `{id: 343, name: Acme Support, failover: [sac], ack_timeout: 400ms,`))
}

// Offers and requests that nobody answers end by themselves.
func TestExpiry(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive", "thread_control/expired")
		w.Hooks("desk-two", "thread_control/expired")
		for _, op := range []string{"offer", "request"} {
			u := w.ToDeskTwo()
			if op == "offer" {
				w.Granted("desk-two", "offer", u, "desk-one")
			} else {
				w.Granted("desk-two", "pass", u, "desk-one")
				w.Granted("desk-two", "request", u, "")
			}
			thread := w.Thread(u).ID
			w.Update(func(tx *store.Tx) error { // a minute passes
				l, err := tx.LockThread(thread)
				if err != nil {
					return err
				}
				next, p := l.State, *l.State.Pending
				p.ExpiresAt = tx.Now.Add(-time.Second)
				next.Pending = &p
				return tx.SaveThread(l, next)
			})
			for _, r := range []*apitest.Receiver{w.One, w.Two} {
				if h := r.Wait(t, "the end of the "+op, apitest.About(u, "thread_control/expired")); h.Text("metadata.type") != op || h.Text("metadata.reason") != "timeout" {
					t.Errorf("%s: %s", r.Name, h.Raw)
				}
			}
			if w.Thread(u).State.Pending != nil {
				t.Errorf("the %s still stands", op)
			}
		}
	})
}

// While a secret is rotated both sign; X-Hub-* is the newest's.
func TestRotatedSecret(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		old := w.Register("desk-one", "message", "receive").Text("secret")
		u := w.UserOf("acme", 344)
		w.Say(&u, "one")
		h := w.One.Wait(t, "one", apitest.Saying(u, "one"))
		if err := sign.Verify(old, h.Header, h.Raw, clock.System(), time.Minute); err != nil || strings.Contains(h.Header.Get("Webhook-Signature"), " ") {
			t.Errorf("before: %v %v", err, h.Header)
		}
		fresh := w.Tool("desk-one", "POST", "/tract/hooks/register/", m{"category": "message", "subcategory": "receive", "url": w.One.URL("/x"), "rotate_secret": true}).Want(t, 200).Text("secret")
		w.TrySay(u, "two").Want(t, 200)
		h = w.One.Wait(t, "two", apitest.Saying(u, "two"))
		if n := len(strings.Fields(h.Header.Get("Webhook-Signature"))); n != 2 || fresh == old {
			t.Errorf("%d signatures while rotating", n)
		}
		for _, secret := range []string{old, fresh} {
			if err := sign.Verify(secret, h.Header, h.Raw, clock.System(), time.Minute); err != nil {
				t.Errorf("while rotating: %v", err)
			}
		}
		if sign.VerifyHub(fresh, h.Header, h.Raw) != nil || sign.VerifyHub(old, h.Header, h.Raw) == nil {
			t.Errorf("X-Hub is not the newest's: %v", h.Header)
		}
	})
}

// WH-05, WH-07: what is queued goes to the new address, in order.
func TestNewAddress(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.One.Script(func(h *apitest.Hook) (int, string) {
			if h.Path == "/old" {
				return 503, ""
			}
			return 0, ""
		})
		register := func(path string) {
			w.Tool("desk-one", "POST", "/tract/hooks/register/", m{"category": "message", "subcategory": "receive", "url": w.One.URL(path)}).Want(t, 200)
		}
		register("/old")
		u := w.UserOf("acme", 344)
		w.Say(&u, "one")
		w.TrySay(u, "two").Want(t, 200)
		w.One.Wait(t, "an attempt", apitest.Saying(u, "one"))
		register("/new")
		w.Settle()
		var got []string
		for _, h := range w.One.Got(apitest.About(u, "message")) {
			if h.Status == 200 {
				got = append(got, h.Path+" "+h.Said())
			}
		}
		if diff := cmp.Diff([]string{"/new one", "/new two"}, got); diff != "" {
			t.Errorf("delivered (-want +got):\n%s", diff)
		}
	})
}

// TC-14: without anyone to answer the message is kept, the channel is told, and
// the thread is handed over as soon as there is somebody.
func TestNobodyToAnswer(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		client := w.ClientKey("other")
		w.Update(func(tx *store.Tx) error {
			return tx.PutDocument(client, store.KindBot, "other_faq", "", tract.Bot{DomainName: "other_faq", Language: "en"})
		})
		u := w.UserOf("other", 900)
		a := w.TrySay(u, apitest.Answerable)
		if a.Status != 503 || a.Code() != "no_default_receiver" || a.Header.Get("Retry-After") == "" {
			t.Errorf("answer: %s", a)
		}
		if s := w.Other("POST", "/v1.0/message/sync/", u.Message("and waiting")); s.Status != 503 || s.Code() != "no_default_receiver" {
			t.Errorf("synchronous: %s", s)
		}
		u.ID = w.Thread(u).Pxut
		kept := 0
		for _, e := range w.Log(u) {
			if e.Sender == tract.SenderCEU {
				kept++
			}
		}
		if s := w.Thread(u).State; kept != 2 || s.Owner != "" {
			t.Errorf("%d messages kept, owner %q", kept, s.Owner)
		}
		w.Apply(w.Fixture(), noFlags)
		w.Until("the thread has an owner", func(*store.Tx) (bool, error) { return w.Thread(u).State.Owner == tract.IVA, nil })
		w.Channel.Wait(t, "the bot's answer", func(h *apitest.Hook) bool { return apitest.About(u, "message")(h) && h.Text("agent.name") == "gogo" })
		w.TrySay(u, apitest.Answerable).Want(t, 200)
	})
}

// Removing a tool gives its threads to the default receiver; the others hear it.
func TestToolRemoved(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		w.Hooks("desk-two", "message/receive", "thread_control/reset")
		u := w.ToDeskOne()
		w.Apply(strings.Replace(w.Fixture(), "{id: desk-one, name: Desk One,", "{id: desk-one, name: Desk One, active: false,", 1), noFlags)
		h := w.Two.Wait(t, "the reset", apitest.About(u, "thread_control/reset"))
		if h.Text("metadata.from") != "desk-one" || h.Text("metadata.thread_owner") != "iva" {
			t.Errorf("reset: %s", h.Raw)
		}
		w.Answered(u)
		if owner := w.Thread(u).State.Owner; owner == "desk-one" {
			t.Error("the tool that was switched off still has the thread")
		}
	})
}
