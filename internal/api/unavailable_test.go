package api_test

import (
	"net/http"
	"strconv"
	"testing"

	"tract/internal/apitest"
)

// HT-19: without its store the hub says so, and never that something was done.
func TestWithoutItsStore(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		u := w.ToDeskOne()
		known := w.User()
		w.Settle()
		if err := w.Store.Close(); err != nil {
			t.Fatal(err)
		}
		calls := map[string]apitest.Answer{
			"a message":             w.TrySay(known, "hi"),
			"a keyed message":       w.TrySay(known, "hi", "Idempotency-Key: k"),
			"a tool's message":      w.Write("desk-one", u, "hi"),
			"an event":              w.Event("desk-one", "conversation_state/complete", u, ""),
			"control":               w.Control("desk-one", "release", u, ""),
			"a list":                w.Tool("desk-one", "GET", "/tract/hooks/list/", nil),
			"a hook":                w.Tool("desk-one", "POST", "/tract/hooks/register/", m{"category": "message", "subcategory": "receive", "url": w.One.URL("/x")}),
			"a token":               w.Signed("desk-one", "/tract/management/token/issue/", m{"client_id": "acme"}),
			"a transfer":            w.Platform("POST", "/integration/external/v2.0/send_chat_to_agent/", m{"team_name": "Support", "user_name": "x", "business_id": 343}),
			"a transcript":          w.Platform("GET", "/integration/external/v1.0/get_chat_history/?user_name=x&business_id=343&conversation_no=1", nil),
			"an FAQ file":           w.Platform("GET", "/mogambo_api/nodes/faq/?domain_name=acme_faq", nil),
			"an object":             w.Admin("PUT", acmeAPI+"teams/Support", m{}),
			"an object's end":       w.Admin("DELETE", acmeAPI+"teams/Support", nil),
			"a client":              w.Admin("POST", "/api/clients/", m{"id": "new"}),
			"a client token":        w.Admin("POST", acmeAPI+"tokens", m{"name": "new"}),
			"a file":                w.Admin("POST", "/api/manifest/", m{"name": "f", "manifest": "version: 1\nclients: [{id: n}]\n", "env": m{}, "files": m{}}),
			"a page of the objects": w.Admin("GET", acmeAPI+"teams", nil),
			"readiness":             w.Call("GET", "/readyz", nil),
		}
		for name, a := range calls {
			after, err := strconv.Atoi(a.Header.Get("Retry-After"))
			if a.Status != http.StatusServiceUnavailable || name != "readiness" && (err != nil || after < 1) {
				t.Errorf("%s: %s, Retry-After %q", name, a, a.Header.Get("Retry-After"))
			}
		}
		w.Call("GET", "/healthz", nil).Want(t, 200)
	})
}
