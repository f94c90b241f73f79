package api_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tract/internal/apitest"
	"tract/internal/clock"
	"tract/internal/manifest"
)

const issue = "/tract/management/token/issue/"

func at(d time.Duration) string { return clock.System().Add(d).UTC().Format(time.RFC3339) }

func TestSignedRequests(t *testing.T) {
	signed := func(tool, path string, fields m, headers ...string) func(w *apitest.World, u apitest.User) apitest.Answer {
		return func(w *apitest.World, _ apitest.User) apitest.Answer {
			return w.Signed(tool, path, with(m{"client_id": "acme"}, fields), headers...)
		}
	}
	clients := "/tract/management/clients/list/"
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		truths(t, w, nobody, []row{
			{name: "RSA", call: signed("desk-one", issue, nil), status: 200, body: m{"token_type": "Bearer"}},
			{name: "ECDSA", call: signed("desk-two", issue, nil), status: 200},
			{name: "the alias", call: signed("desk-one", "/jwt/issue", nil), status: 200},
			{name: "clients", call: signed("desk-one", clients, nil), status: 200, body: m{"clients.0.client_id": "acme", "clients.0.name": "Acme Stores", "clients.0.receiver_id": "desk-one", "clients.0.business_ids": []any{343.0, 344.0}, "clients.1": nil}},
			{name: "SM-01 no signature", call: signed("desk-one", issue, nil, "Signature:"), status: 400, code: "signature_missing"},
			{name: "SM-02 two signatures", call: signed("desk-one", issue, nil, "+Signature: AAAAAAAAAAAAAAAA"), status: 400, code: "signature_ambiguous"},
			{name: "SM-03 no certificate", call: signed("desk-one", issue, nil, "SignatureCertUUID:"), status: 400, code: "certificate_source_missing"},
			{name: "SM-04 both certificates", call: signed("desk-one", issue, nil, "SignatureCertChainUrl: https://desk-one.example/ect.api/c.pem"), status: 400, code: "certificate_source_ambiguous"},
			{name: "SM-05 not base64", call: signed("desk-one", issue, nil, "Signature: %%%"), status: 400, code: "signature_encoding"},
			{name: "SM-24 unknown certificate", call: signed("desk-one", issue, nil, "SignatureCertUUID: 00000000-0000-4000-8000-000000000000"), status: 400, code: "certificate_unknown"},
			{name: "SM-25 another tool's certificate", call: signed("desk-one", issue, nil, "SignatureCertUUID: "+apitest.CertUUID("desk-two")), status: 400, code: "certificate_unknown"},
			{name: "SM-27 another key", call: func(w *apitest.World, _ apitest.User) apitest.Answer {
				b := w.SignedBody("desk-one", m{"client_id": "acme"})
				return w.SignedRaw("desk-one", issue, b, "Signature: "+apitest.Sign("desk-two", b))
			}, status: 400, code: "signature_invalid"},
			{name: "SM-08 another body", call: func(w *apitest.World, _ apitest.User) apitest.Answer {
				b := w.SignedBody("desk-one", m{"client_id": "acme"})
				return w.SignedRaw("desk-one", issue, append(b, ' '), "Signature: "+apitest.Sign("desk-one", b))
			}, status: 400, code: "signature_invalid"},
			{name: "SM-38 old", call: signed("desk-one", issue, m{"timestamp": at(-160 * time.Second)}), status: 400, code: "timestamp_stale"},
			{name: "SM-39 early", call: signed("desk-one", issue, m{"timestamp": at(160 * time.Second)}), status: 400, code: "timestamp_future"},
			{name: "SM-40 no time", call: signed("desk-one", issue, m{"timestamp": nil}), status: 400, code: "timestamp_invalid"},
			{name: "SM-41 no zone", call: signed("desk-one", issue, m{"timestamp": strings.TrimSuffix(at(0), "Z")}), status: 400, code: "timestamp_invalid"},
			{name: "SM-48 another tool's name", call: signed("desk-one", issue, m{"fqdn": "desk-two.example"}), status: 400, code: "certificate_unknown"},
			{name: "SM-48 nobody's name", call: signed("desk-one", issue, m{"fqdn": "evil.example"}), status: 400, code: "fqdn_mismatch"},
			{name: "SM-69 unknown client", call: signed("desk-one", issue, m{"client_id": "nobody"}), status: 400, code: "client_unknown"},
			{name: "SM-69 another client", call: signed("desk-one", issue, m{"client_id": "other"}), status: 400, code: "client_unknown"},
			{name: "SM-69 no client", call: signed("desk-one", issue, m{"client_id": remove}), status: 400, code: "client_unknown"},
			{name: "SM-70 trailing comma", call: func(w *apitest.World, _ apitest.User) apitest.Answer {
				return w.SignedRaw("desk-one", issue, []byte(`{"fqdn": "desk-one.example",}`))
			}, status: 400, code: "invalid_json"},
			{name: "SM-71 timestamp in another case", call: signed("desk-one", issue, m{"Timestamp": at(0)}), status: 400, code: "duplicate_member"},
			{name: "SM-72 8 KiB and one", call: func(w *apitest.World, _ apitest.User) apitest.Answer {
				return w.SignedRaw("desk-one", issue, []byte(strings.Repeat(" ", 8<<10+1)))
			}, status: 413, code: "too_large"},
			{name: "SM-72 compressed", call: signed("desk-one", issue, nil, "Content-Encoding: gzip"), status: 415, code: "unsupported_media_type"},
			{name: "SM-72 text", call: signed("desk-one", issue, nil, "Content-Type: text/plain"), status: 415, code: "unsupported_media_type"},
			{name: "SM-72 GET", call: func(w *apitest.World, _ apitest.User) apitest.Answer { return w.Call("GET", issue, nil) }, status: 405, code: "method_not_allowed"},
		})
		for _, url := range []string{"http://desk-one.example/ect.api/c.pem", "https://notdesk.example/ect.api/c.pem", "https://desk-one.example/EcT.aPi/c.pem", "https://desk-one.example/invalid.path/c.pem",
			"https://desk-one.example:563/ect.api/c.pem", "https://desk-one.example/ect.api/../../etc/c.pem", "https://u:p@desk-one.example/ect.api/c.pem", "https://desk-one.example.evil.example/ect.api/c.pem", "file:///etc/passwd"} {
			a := w.Signed("desk-one", issue, m{"client_id": "acme"}, "SignatureCertUUID:", "SignatureCertChainUrl: "+url)
			if a.Status != 400 || !strings.Contains(a.Message(), "SignatureCertChainUrl") {
				t.Errorf("%s: %s", url, a)
			}
		}
	})
}

// SM-42 … SM-44: a body is good for one call, also of many at once and at the
// other endpoint.
func TestReplayedRequest(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		b := w.SignedBody("desk-two", m{"client_id": "acme"})
		var good atomic.Int32
		apitest.Race(8, func(i int) {
			path := issue
			if i%2 == 1 {
				path = "/tract/management/clients/list/"
			}
			switch a := w.SignedRaw("desk-two", path, b); {
			case a.Status == 200:
				good.Add(1)
			case a.Status != 400 || a.Code() != "replayed_request":
				t.Errorf("a replay is answered %s", a)
			}
		})
		if good.Load() != 1 {
			t.Errorf("%d of 8 equal requests were accepted", good.Load())
		}
	})
}

// The rows JT: who is not who it says, by one text for all.
func TestBearerTokens(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		list := func(headers ...string) func(*apitest.World, apitest.User) apitest.Answer {
			return func(w *apitest.World, _ apitest.User) apitest.Answer {
				return w.Call("GET", "/tract/hooks/list/", nil, headers...)
			}
		}
		token := w.JWT("desk-one")
		parts := strings.Split(token, ".")
		none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
		bearer := "Authorization: Bearer " + token
		long := func(w *apitest.World, _ apitest.User) apitest.Answer {
			return w.Call("GET", "/tract/hooks/list/", nil, bearer, "client-id: "+strings.Repeat("x", 40<<10))
		}
		rows := []row{
			{name: "a good one", call: list(bearer), status: 200},
			{name: "JT-01 in lower case", call: list("Authorization: bearer " + token), status: 200},
			{name: "JT-08 its own client", call: list(bearer, "client-id: acme"), status: 200},
		}
		for name, headers := range map[string][]string{
			"JT-01 none":                {},
			"JT-01 Bearer alone":        {"Authorization: Bearer"},
			"JT-01 two":                 {bearer, "+" + bearer},
			"JT-01 Basic":               {"Authorization: Basic abc"},
			"JT-02 alg none":            {"Authorization: Bearer " + none + "." + parts[1] + "."},
			"JT-08 another client":      {bearer, "client-id: other"},
			"JT-13 two parts":           {"Authorization: Bearer " + parts[0] + "." + parts[1]},
			"JT-13 four parts":          {bearer + ".x"},
			"JT-13 no signature":        {"Authorization: Bearer " + parts[0] + "." + parts[1] + "."},
			"JT-14 last character":      {"Authorization: Bearer " + token[:len(token)-1] + swapLast(token)},
			"JT-14 padded":              {bearer + "="},
			"JT-19 client-id twice":     {bearer, "client-id: acme", "+client-id: acme"},
			"a client's own token":      {"Authorization: Bearer " + w.Token},
			"the administrator's token": {"Authorization: Bearer " + w.AdminToken},
		} {
			rows = append(rows, row{name: name, call: list(headers...), status: 401, code: "invalid_token", text: "the access token is missing, invalid, expired or revoked"})
		}
		rows = append(rows, row{name: "JT-17 in the query", call: func(w *apitest.World, _ apitest.User) apitest.Answer {
			return w.Call("GET", "/tract/hooks/list/?access_token="+token, nil)
		}, status: 401, code: "invalid_token"},
			row{name: "JT-19 client-id of 40 KiB", call: long, status: http.StatusRequestHeaderFieldsTooLarge})
		truths(t, w, nobody, rows)
		if h := w.Call("GET", "/tract/hooks/list/", nil).Header.Get("WWW-Authenticate"); h != `Bearer error="invalid_token"` {
			t.Errorf("WWW-Authenticate: %s", h)
		}
		keys := w.Call("GET", "/.well-known/jwks.json", nil).Want(t, 200)
		head, _ := base64.RawURLEncoding.DecodeString(parts[0])
		if kid := keys.Text("keys.0.kid"); kid == "" || !strings.Contains(string(head), kid) {
			t.Errorf("the token's key %s is not among %s", head, keys)
		}
		// JT-15: what ends a tool ends its tokens at once.
		w.Apply(strings.Replace(w.Fixture(), "{id: desk-one, name: Desk One,", "{id: desk-one, name: Desk One, active: false,", 1), manifest.Flags{})
		list(bearer)(w, apitest.User{}).Want(t, 401)
		w.Signed("desk-one", issue, m{"client_id": "acme"}).Want(t, 400)
	})
}

func swapLast(token string) string {
	if token[len(token)-1] == 'A' {
		return "B"
	}
	return "A"
}
