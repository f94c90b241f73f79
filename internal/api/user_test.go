package api_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract/internal/apitest"
	"tract/internal/store"
)

func TestUserAndDetails(t *testing.T) {
	known := m{"email": "asha@x.example", "mobile_no": "+911234567890", "custom_data": m{"plan": "gold"}}
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		u := w.User(known)
		w.Say(&u, apitest.Answerable)
		ask := func(path string, fields m) func(*apitest.World, apitest.User) apitest.Answer {
			return func(w *apitest.World, _ apitest.User) apitest.Answer {
				return w.Tool("desk-one", "POST", path, with(m{"user_id": u.ID}, fields))
			}
		}
		truths(t, w, nobody, []row{
			{name: "user", call: ask("/tract/user/", nil), status: 200, body: m{"user_id": u.ID, "third_party_user_id": u.AuthID, "user_name": "Asha", "device_platform": 13.0,
				"details_available": []any{"name", "email", "mobile_no", "custom_data"}}},
			{name: "details", call: ask("/tract/user/details/", m{"details_requested": []any{"email", "mobile_no"}}), status: 200, body: m{"details": m{"email": "asha@x.example", "mobile_no": "+911234567890"}}},
			{name: "custom data", call: ask("/tract/user/details/", m{"details_requested": []any{"custom_data"}}), status: 200, body: m{"details.custom_data.plan": "gold"}},
			{name: "a detail that is not there", call: ask("/tract/user/details/", m{"details_requested": []any{"email", "shoe_size"}}), status: 400, code: "unknown_detail"},
			{name: "no details asked for", call: ask("/tract/user/details/", nil), status: 400, code: "field_missing"},
			{name: "details a string", call: ask("/tract/user/details/", m{"details_requested": "email"}), status: 400, code: "field_type"},
			{name: "details of an unknown user", call: ask("/tract/user/details/", m{"user_id": "nope", "details_requested": []any{"email"}}), status: 404, code: "not_found"},
			{name: "no user_id", call: ask("/tract/user/", m{"user_id": remove}), status: 400, code: "field_missing"},
			{name: "unknown user", call: ask("/tract/user/", m{"user_id": "nope"}), status: 404, code: "not_found"},
		})
		// Every reading that succeeded is in the audit log, and no other.
		var read []string
		client := w.ClientKey("acme")
		w.View(func(tx *store.Tx) error {
			lines, err := tx.ListAudit(client, 100)
			for _, l := range lines {
				if l.Action == "user_details_read" {
					read = append(read, l.Actor+" "+l.Target+" "+compact(l.Detail))
				}
			}
			return err
		})
		thread := fmt.Sprintf("thread/%d", w.Thread(u).ID) // the audit log outlives the user
		want := []string{"desk-one " + thread + ` {"names":["custom_data"]}`, "desk-one " + thread + ` {"names":["email","mobile_no"]}`}
		if diff := cmp.Diff(want, read); diff != "" {
			t.Errorf("audit (-want +got):\n%s", diff)
		}
	})
}
