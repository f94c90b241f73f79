package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract/internal/apitest"
	"tract/internal/store"
)

// erase erases a user and waits until nothing is left to do.
func erase(w *apitest.World, u apitest.User) apitest.Answer {
	w.T.Helper()
	a := operate(w, "DELETE", "users/"+url.PathEscape(u.AuthID), nil).Want(w.T, http.StatusAccepted)
	key := w.ClientKey("acme")
	w.Until("the user is erased", func(tx *store.Tx) (bool, error) {
		e, err := tx.Erasure(key, a.Text("id"))
		if e.State == store.ErasureFiles { // what the server does once a minute
			w.Server.Files.Sweep(context.Background())
		}
		return e.State == store.ErasureDone, err
	})
	return operate(w, "GET", "erasures/"+a.Text("id"), nil).Want(w.T, 200)
}

const marker = "m4rk3r"

// markedUser makes a user who leaves the marker in every place there is.
func markedUser(w *apitest.World) apitest.User {
	w.T.Helper()
	w.Hooks("desk-one", "message/receive", "user_events/create_user", "thread_control/requested")
	w.Hooks("desk-two", "message/receive", "conversation_state/waiting")
	var failed atomic.Bool
	w.One.Script(func(h *apitest.Hook) (int, string) {
		switch {
		case h.At("details_available") != nil:
			return 200, `{"success": true, "ect_user_id": "ect-` + marker + `"}`
		case strings.Contains(h.Said(), "stuck"):
			return 503, marker + " went wrong"
		case !failed.Swap(true):
			return 500, `{"error": "` + marker + `"}`
		}
		return 200, `{"error": "` + marker + ` refused"}`
	})
	u := apitest.User{AuthID: "auth-" + marker, Business: 343, Client: "acme"}
	u.Name = w.Platform("POST", "/v1.0/user/", m{"auth_id": u.AuthID, "name": "Name " + marker, "email": marker + "@x.example", "mobile_no": "+91 " + marker, "custom_data": m{"plan": marker}}, "Idempotency-Key: u1").Want(w.T, 200).Text("user_name")
	w.TrySay(u, "my blender exploded, "+marker, "Idempotency-Key: s1").Want(w.T, 200)
	u.ID = w.Thread(u).Pxut
	w.Answered(u) // it hands over to the desk: a brief
	upload(w, append([]part{fileOf(marker+".png", aPicture())}, fieldsOf(u, 1, "see "+marker)...)).Want(w.T, 200)
	w.Granted("desk-two", "take", u, "desk-two", m{"reason": "because " + marker, "metadata": m{"note": marker}})
	w.Write("desk-two", u, "dear "+marker, m{"metadata": m{"agent": m{"name": "Mia"}}}).Want(w.T, 200)
	w.Event("desk-two", "aeu_events/received", u, m{"note": marker}).Want(w.T, 200)
	if a := w.Control("desk-one", "pass", u, "nobody-"+marker, m{"reason": marker}); a.At("success") != false {
		w.T.Fatalf("a pass to nobody: %s", a)
	}
	w.Tool("desk-one", "POST", "/tract/user/details/", m{"user_id": u.ID, "details_requested": []any{"email"}}).Want(w.T, 200)
	w.Platform("POST", feedbackPath, m{"auth_id": u.AuthID, "business_id": 343, "query_resolved": true, "query_rating": 5, "feedback": "thanks " + marker}).Want(w.T, 201)
	w.Settle()
	w.Say(&u, "stuck "+marker)
	w.One.Wait(w.T, "an attempt in vain", apitest.Saying(u, "stuck "+marker))
	return u
}

func TestEraseUser(t *testing.T) {
	apitest.Databases(t, func(t *testing.T, o store.Options) {
		dir := t.TempDir()
		w := apitest.New(t, o, func(s *apitest.Settings) { s.Server.Files.Dir = dir })
		u := markedUser(w)
		other := w.UserOf("acme", 346) // stays as it is, and no tool hears of it
		w.Say(&other, "i stay")
		w.Answered(other)
		before := dumped(t, o)
		for _, table := range []string{"users", "entries", "ledger", "briefs", "tool_threads", "outbox", "attempts", "files", "feedback", "idempotency"} {
			if !slices.Contains(holding(before, marker), table) {
				t.Errorf("%s holds nothing of the user: the test shows nothing", table)
			}
		}
		export := operate(w, "GET", "users/"+u.AuthID+"/export", nil).Want(t, 200)
		for _, want := range []string{"Name " + marker, "blender exploded", "because " + marker, "thanks " + marker, "ect-" + marker, marker + ".png", marker + " refused", "nobody-" + marker} {
			if !strings.Contains(string(export.Body), want) {
				t.Errorf("the export lacks %q", want)
			}
		}

		done := erase(w, u)
		if done.Int("counts.threads") != 1 || done.Int("counts.entries") < 8 || done.Int("counts.files") != 1 || done.Int("counts.feedback") != 1 {
			t.Errorf("erasure: %s", done)
		}
		w.Settle()
		after := dumped(t, o)
		for _, text := range []string{marker, u.ID, u.Name} {
			if tables := holding(after, text); tables != nil {
				for _, table := range tables {
					for _, r := range after[table] {
						if strings.Contains(r, text) {
							t.Errorf("%s still holds %q: %.300q", table, text, r)
						}
					}
				}
			}
		}
		if left := left(t, dir); len(left) != 0 {
			t.Errorf("files are left: %v", left)
		}
		for _, table := range []string{"users", "threads", "outbox", "feedback", "attempts", "tool_threads"} {
			if len(after[table]) < len(before[table]) {
				t.Errorf("%s had %d rows and has %d: nothing can be counted", table, len(before[table]), len(after[table]))
			}
		}
		if tables := holding(after, other.AuthID); !slices.Contains(tables, "users") {
			t.Error("somebody else was erased")
		}
		// The user is nobody: not found by anybody, and nothing is sent.
		w.View(func(tx *store.Tx) error { return tx.CheckAll() })
		if a := w.Write("desk-two", u, "hello?"); a.Status != 404 {
			t.Errorf("a tool writes: %s", a)
		}
		if a := w.TrySay(u, "again"); a.Status != 403 || a.Code() != "user_not_registered" {
			t.Errorf("the user writes: %s", a)
		}
		for _, path := range []string{"threads/" + u.ID, "users/" + u.AuthID + "/export", "threads/" + url.PathEscape("\x7ferased/1")} {
			operate(w, "GET", path, nil).Want(t, 404)
		}
		if got := listed(w, "threads/", "threads", "user_id"); !cmp.Equal(got, []string{other.ID}) {
			t.Errorf("threads: %v", got)
		}
		states := listed(w, "deliveries/?include=payload", "deliveries", "state")
		if !slices.Contains(states, "withdrawn") || slices.Contains(states, "queued") || slices.Contains(states, "retrying") {
			t.Errorf("deliveries: %v", states)
		}
		gone := operate(w, "GET", "deliveries/?state=withdrawn", nil).Want(t, 200)
		if gone.At("deliveries.0.user_id") != nil || gone.Text("deliveries.0.id") == "" {
			t.Errorf("withdrawn: %s", gone)
		}
		if a := operate(w, "POST", "deliveries/replay", m{"delivery_ids": []any{gone.Text("deliveries.0.id")}}).Want(t, 200); a.Int("replayed") != 0 || a.Text("refused.0.code") != "erased" {
			t.Errorf("replay of what was erased: %s", a)
		}
		// Asked again it is the same; the same auth id begins anew.
		if a := operate(w, "DELETE", "users/"+u.AuthID, nil).Want(t, 202); a.Text("id") != done.Text("id") || a.Text("state") != "done" {
			t.Errorf("erased again: %s", a)
		}
		operate(w, "DELETE", "users/nobody", nil).Want(t, 404)
		w.Platform("POST", "/v1.0/user/", m{"auth_id": u.AuthID}).Want(t, 200)
		again := apitest.User{AuthID: u.AuthID, Business: 343, Client: "acme"}
		w.Say(&again, apitest.Answerable)
		if again.ID == u.ID {
			t.Error("the new user has the old thread")
		}
		w.Answered(again)
		second := erase(w, again)
		if second.Text("id") == done.Text("id") {
			t.Error("the new user was not erased")
		}
	})
}

// Nothing of an erased user is sent any more, whatever was waiting.
func TestEraseWithdraws(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		w.Hooks("desk-two", "message/receive")
		u, v := w.User(), w.User()
		w.One.Script(func(h *apitest.Hook) (int, string) { return 503, "" })
		for n := range 5 {
			w.Say(&u, fmt.Sprintf("secret %d", n))
		}
		w.One.Wait(t, "the first attempt", apitest.Saying(u, "secret 0"))
		erase(w, u)
		w.One.Script(nil)
		w.Say(&v, apitest.Answerable)
		w.Say(&v, "and more")
		w.One.Wait(t, "the other thread goes on", apitest.Saying(v, "and more"))
		w.Settle()
		for _, h := range w.One.Got(func(*apitest.Hook) bool { return true }) {
			if s := h.Said(); strings.HasPrefix(s, "secret") && s != "secret 0" {
				t.Errorf("%q was sent", s)
			}
			if len(h.Raw) == 0 {
				t.Error("an empty call")
			}
		}
	})
}

// Messages, tools' answers and details of a user come in while it is erased:
// each is refused or erased with it, and what comes later is a new user's.
func TestEraseInTheMiddleOfTraffic(t *testing.T) {
	apitest.Databases(t, func(t *testing.T, o store.Options) {
		w := apitest.New(t, o)
		for round := range 3 {
			u := w.ToDeskTwo()
			secret := fmt.Sprintf("secr3t-%d", round)
			detail := func(i int) {
				w.Platform("PUT", "/v1.0/user/", m{"auth_id": u.AuthID, "name": secret}, fmt.Sprintf("Idempotency-Key: %s-%d", secret, i))
			}
			detail(99)
			apitest.Race(9, func(i int) {
				switch {
				case i == 0:
					operate(w, "DELETE", "users/"+u.AuthID, nil).Check(t, 202)
				case i%3 == 0:
					detail(i)
				case i%3 == 1:
					w.TrySay(u, secret, fmt.Sprintf("Idempotency-Key: %s-%d", secret, i))
				default:
					w.Write("desk-two", u, secret)
				}
			})
			erase(w, u)
			w.Settle()
			dump := dumped(t, o)
			for _, text := range []string{secret, u.ID, u.AuthID} {
				if tables := holding(dump, text); tables != nil {
					t.Errorf("round %d: %v still hold %q", round, tables, text)
				}
			}
		}
		w.View(func(tx *store.Tx) error { return tx.CheckAll() })
	})
}

// The content of files is gone before an erasure says that it is done.
func TestErasureWaitsForFiles(t *testing.T) {
	uploads(t, func(t *testing.T, w *apitest.World, dir string) {
		u := w.User()
		upload(w, append([]part{fileOf("a.png", aPicture())}, fieldsOf(u, 1, "")...)).Want(t, 200)
		id := operate(w, "DELETE", "users/"+u.AuthID, nil).Want(t, 202).Text("id")
		key := w.ClientKey("acme")
		w.Until("only files are left", func(tx *store.Tx) (bool, error) {
			e, err := tx.Erasure(key, id)
			return e.State == store.ErasureFiles, err
		})
		if len(left(t, dir)) == 0 {
			t.Fatal("nobody waited")
		}
		if err := w.Server.Files.Sweep(context.Background()); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		w.Until("it is done", func(tx *store.Tx) (bool, error) {
			e, err := tx.Erasure(key, id)
			return e.State == store.ErasureDone, err
		})
	})
}
