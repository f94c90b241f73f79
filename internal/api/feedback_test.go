package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/apitest"
	"tract/internal/store"
)

const feedbackPath = "/v1.0/log_feedback_from_user/"

const noFeedback = "Failed to submit feedback, please make sure there is an active conversation with the agent"

func feedbackOf(u apitest.User) map[string]any {
	return map[string]any{"auth_id": u.AuthID, "business_id": u.Business, "query_resolved": true, "query_rating": 5, "feedback": "fine"}
}

func TestFeedback(t *testing.T) {
	shifted(t, func(t *testing.T, w *apitest.World, advance func(time.Duration)) {
		noted := func(u apitest.User) (out []store.Feedback) {
			id := w.Thread(u).ID
			w.View(func(tx *store.Tx) (err error) { out, err = tx.ListFeedback(id); return err })
			return out
		}
		u := w.User()
		body := feedbackOf(u)
		refused(t, "before the first message", w.Platform("POST", feedbackPath, body), http.StatusNotFound, noFeedback)
		w.Say(&u, apitest.Answerable)
		w.Answered(u)
		if a := w.Platform("POST", feedbackPath, body).Want(t, http.StatusCreated); string(a.Body) != `{"success":true}` {
			t.Errorf("answer: %s", a)
		}
		refused(t, "again", w.Platform("POST", feedbackPath, altered(body, map[string]any{"query_rating": 1})), http.StatusBadRequest, "duplicate feedback")
		advance(59 * time.Minute)
		refused(t, "within the hour", w.Platform("POST", feedbackPath, body), http.StatusBadRequest, "duplicate feedback")
		advance(2 * time.Minute)
		key := "Idempotency-Key: thanks"
		for range 2 {
			w.Platform("POST", feedbackPath, altered(body, map[string]any{"feedback": nil, "query_resolved": false, "query_rating": 1, "business_id": "343"}), key).Want(t, http.StatusCreated)
		}

		// Who had the conversation when it was completed is who it is about.
		v := w.ToDesk()
		if _, err := w.Do(v, tract.Close{}); err != nil {
			t.Fatal(err)
		}
		w.Platform("POST", feedbackPath, feedbackOf(v)).Want(t, http.StatusCreated)
		elsewhere := v
		elsewhere.Business = 344
		refused(t, "another business", w.Platform("POST", feedbackPath, feedbackOf(elsewhere)), http.StatusNotFound, noFeedback)

		th, tv := w.Thread(u), w.Thread(v)
		want := []store.Feedback{
			{Client: th.Client, Business: 343, User: th.User.ID, Thread: th.ID, Conversation: 1, Owner: tract.IVA, Resolved: true, Rating: 5, Comment: "fine"},
			{Client: th.Client, Business: 343, User: th.User.ID, Thread: th.ID, Conversation: 1, Owner: tract.IVA, Rating: 1},
			{Client: tv.Client, Business: 343, User: tv.User.ID, Thread: tv.ID, Conversation: 1, Owner: tract.SAC, Resolved: true, Rating: 5, Comment: "fine"},
		}
		if d := cmp.Diff(want, append(noted(u), noted(v)...)); d != "" {
			t.Errorf("what is noted (-want +got):\n%s", d)
		}
	})
}

func TestFeedbackChecks(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		u := w.User()
		w.Say(&u, apitest.Answerable)
		body := feedbackOf(u)
		stranger := w.UserOf("other", 900)
		w.Say(&stranger, apitest.Answerable)
		tests := []struct {
			name   string
			change map[string]any
			status int
			text   string
		}{
			{"no auth_id", map[string]any{"auth_id": nil}, 400, "field auth_id is missing"},
			{"no business_id", map[string]any{"business_id": nil}, 400, "field business_id is missing"},
			{"no query_resolved", map[string]any{"query_resolved": nil}, 400, "field query_resolved is missing"},
			{"no query_rating", map[string]any{"query_rating": nil}, 400, "field query_rating is missing"},
			{"rating 0", map[string]any{"query_rating": 0}, 400, "field query_rating must be from 1 to 5"},
			{"rating 6", map[string]any{"query_rating": 6}, 400, "field query_rating must be from 1 to 5"},
			{"long", map[string]any{"feedback": strings.Repeat("x", 4097)}, 400, "field feedback is longer than 4096 bytes"},
			{"unknown user", map[string]any{"auth_id": "never-seen"}, 403, "Invalid_User"},
			{"unknown user, unknown business", map[string]any{"auth_id": "never-seen", "business_id": 1}, 403, "Invalid_User"},
			{"another client's user", map[string]any{"auth_id": stranger.AuthID}, 403, "Invalid_User"},
			{"another client's business", map[string]any{"business_id": 900}, 400, "invalid business_id provided"},
			{"no number", map[string]any{"business_id": "abc"}, 400, "invalid business_id provided"},
		}
		for _, tt := range tests {
			refused(t, tt.name, w.Platform("POST", feedbackPath, altered(body, tt.change)), tt.status, tt.text)
		}
		for name, change := range map[string]map[string]any{"resolved": {"query_resolved": "yes"}, "rating": {"query_rating": "5"}, "half": {"query_rating": 4.5}, "text": {"feedback": 5}, "auth_id": {"auth_id": 5}} {
			if a := w.Platform("POST", feedbackPath, altered(body, change)); a.Status != 400 || a.Code() != "field_type" {
				t.Errorf("wrong type of %s: %s", name, a)
			}
		}
		refused(t, "no token", w.Platform("POST", feedbackPath, body, "Authorization:"), 401, "invalid authorization details")
		refused(t, "no scope", w.Platform("POST", feedbackPath, body, "Authorization: Bearer "+w.Token+"-narrow"), 401, "invalid authorization details")

		// Eight at once: one is noted.
		codes := make([]int, 8)
		apitest.Race(8, func(i int) { codes[i] = w.Platform("POST", feedbackPath, body).Status })
		created := 0
		for _, c := range codes {
			if c == http.StatusCreated {
				created++
			} else if c != http.StatusBadRequest {
				t.Errorf("status %d", c)
			}
		}
		if created != 1 {
			t.Errorf("%d of 8 were noted", created)
		}
	})
}
