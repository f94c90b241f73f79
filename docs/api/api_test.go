package apidocs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	apidocs "tract/docs/api"
)

func load(t *testing.T, data []byte) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatalf("validate: %v", err)
	}
	return doc
}

// operation is one operation of the document with where it stands.
type operation struct {
	name string // "POST /path/"
	*openapi3.Operation
}

func operations(doc *openapi3.T) []operation {
	var out []operation
	for _, path := range slices.Sorted(maps.Keys(doc.Paths.Map())) {
		ops := doc.Paths.Value(path).Operations()
		for _, method := range slices.Sorted(maps.Keys(ops)) {
			out = append(out, operation{method + " " + path, ops[method]})
		}
	}
	return out
}

func TestDocumentIsValidInBothForms(t *testing.T) {
	load(t, apidocs.YAML())
	doc := load(t, apidocs.JSON())
	if !strings.HasPrefix(doc.OpenAPI, "3.0.") {
		t.Errorf("openapi is %q, want 3.0.x", doc.OpenAPI)
	}
	if !bytes.HasPrefix(bytes.TrimSpace(apidocs.JSON()), []byte(`{"openapi": "3.`)) {
		t.Errorf("JSON() begins with %.40s", apidocs.JSON())
	}
}

// The calls we make stand beside the paths; for this test they are moved
// among them, so that the validator looks at them too.
func TestWebhooksAreValid(t *testing.T) {
	var raw map[string]any
	if err := json.Unmarshal(apidocs.JSON(), &raw); err != nil {
		t.Fatal(err)
	}
	hooks, ok := raw["x-webhooks"].(map[string]any)
	if !ok {
		t.Fatal("no x-webhooks")
	}
	paths := map[string]any{}
	for name, item := range hooks {
		paths["/"+name] = item
	}
	raw["paths"] = paths
	delete(raw, "x-webhooks")
	data, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, op := range operations(load(t, data)) {
		got = append(got, op.name)
		if op.RequestBody == nil || !hasExample(op.RequestBody.Value.Content) {
			t.Errorf("%s has no example", op.name)
		}
		for _, h := range []string{"webhook-id", "webhook-timestamp", "webhook-signature", "X-Hub-Signature", "X-Hub-Signature-256", "X-Tract-Attempt", "User-Agent"} {
			if p := op.Parameters.GetByInAndName("header", h); p == nil || !p.Required {
				t.Errorf("%s does not say that it carries %s", op.name, h)
			}
		}
	}
	want := []string{"POST /channelEvent", "POST /createUser", "POST /event", "POST /message", "POST /ping"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestEveryEndpointIsThere(t *testing.T) {
	want := []string{
		"DELETE /api/clients/{client}/",
		"DELETE /api/clients/{client}/agents/{agent}/",
		"DELETE /api/clients/{client}/bots/{domain}/",
		"DELETE /api/clients/{client}/businesses/{business}/",
		"DELETE /api/clients/{client}/teams/{team}/",
		"DELETE /api/clients/{client}/texts/{key}/",
		"DELETE /api/clients/{client}/tokens/{token}/",
		"DELETE /api/clients/{client}/tools/{tool}/",
		"DELETE /api/clients/{client}/tools/{tool}/certificates/{uuid}/",
		"DELETE /api/clients/{client}/tools/{tool}/hooks/{id}/",
		"DELETE /api/clients/{client}/tools/{tool}/tokens/",
		"DELETE /api/clients/{client}/users/{auth_id}/",
		"DELETE /tract/hooks/",
		"GET /",
		"GET /.well-known/jwks.json",
		"GET /api/clients/",
		"GET /api/clients/{client}/",
		"GET /api/clients/{client}/agents/",
		"GET /api/clients/{client}/agents/{agent}/",
		"GET /api/clients/{client}/audit/",
		"GET /api/clients/{client}/bots/",
		"GET /api/clients/{client}/bots/{domain}/",
		"GET /api/clients/{client}/bots/{domain}/models/",
		"GET /api/clients/{client}/bots/{domain}/models/compare/",
		"GET /api/clients/{client}/bots/{domain}/models/{version}/",
		"GET /api/clients/{client}/bots/{domain}/unanswered/",
		"GET /api/clients/{client}/businesses/",
		"GET /api/clients/{client}/businesses/{business}/",
		"GET /api/clients/{client}/businesses/{business}/channels/",
		"GET /api/clients/{client}/businesses/{business}/channels/{id}/",
		"GET /api/clients/{client}/deliveries/",
		"GET /api/clients/{client}/deliveries/{id}/",
		"GET /api/clients/{client}/erasures/{id}/",
		"GET /api/clients/{client}/teams/",
		"GET /api/clients/{client}/teams/{team}/",
		"GET /api/clients/{client}/texts/",
		"GET /api/clients/{client}/texts/{key}/",
		"GET /api/clients/{client}/texts/{key}/history/",
		"GET /api/clients/{client}/threads/",
		"GET /api/clients/{client}/threads/{pxut}/",
		"GET /api/clients/{client}/threads/{pxut}/ledger/",
		"GET /api/clients/{client}/threads/{pxut}/log/",
		"GET /api/clients/{client}/tokens/",
		"GET /api/clients/{client}/tools/",
		"GET /api/clients/{client}/tools/{tool}/",
		"GET /api/clients/{client}/tools/{tool}/certificates/",
		"GET /api/clients/{client}/tools/{tool}/hooks/",
		"GET /api/clients/{client}/tools/{tool}/hooks/{id}/",
		"GET /api/clients/{client}/users/{auth_id}/export/",
		"GET /api/manifest/",
		"GET /docs",
		"GET /docs/{asset}",
		"GET /files/{id}",
		"GET /healthz",
		"GET /integration/external/v1.0/get_chat_history/",
		"GET /integration/external/v2.0/get_chat_history/",
		"GET /metrics",
		"GET /mogambo_api/nodes/faq/",
		"GET /mogambo_api/nodes/faq/create/status/{task_id}/",
		"GET /openapi.json",
		"GET /readyz",
		"GET /setup",
		"GET /tract/deliveries/",
		"GET /tract/feed/",
		"GET /tract/hooks/list/",
		"GET /tract/thread_control/ledger/",
		"GET /ui/{asset}",
		"PATCH /api/clients/{client}/",
		"PATCH /api/clients/{client}/agents/{agent}/",
		"PATCH /api/clients/{client}/bots/{domain}/",
		"PATCH /api/clients/{client}/businesses/{business}/",
		"PATCH /api/clients/{client}/teams/{team}/",
		"PATCH /api/clients/{client}/tools/{tool}/",
		"POST /api/clients/",
		"POST /api/clients/{client}/bots/{domain}/models/{version}/activate/",
		"POST /api/clients/{client}/bots/{domain}/unanswered/{id}/resolve/",
		"POST /api/clients/{client}/businesses/{business}/channels/{id}/disable/",
		"POST /api/clients/{client}/businesses/{business}/channels/{id}/enable/",
		"POST /api/clients/{client}/businesses/{business}/channels/{id}/test/",
		"POST /api/clients/{client}/deliveries/replay/",
		"POST /api/clients/{client}/texts/{key}/restore/",
		"POST /api/clients/{client}/threads/{pxut}/complete/",
		"POST /api/clients/{client}/threads/{pxut}/reset/",
		"POST /api/clients/{client}/tokens/",
		"POST /api/clients/{client}/tools/{tool}/certificates/",
		"POST /api/clients/{client}/tools/{tool}/hooks/{id}/disable/",
		"POST /api/clients/{client}/tools/{tool}/hooks/{id}/enable/",
		"POST /api/clients/{client}/tools/{tool}/hooks/{id}/test/",
		"POST /api/manifest/",
		"POST /integration/external/v1.0/send_chat_to_agent/",
		"POST /integration/external/v2.0/send_chat_to_agent/",
		"POST /jwt/issue/",
		"POST /mogambo_api/nodes/faq/create/",
		"POST /mogambo_api/nodes/faq/restore/",
		"POST /setup",
		"POST /tract/deliveries/replay/",
		"POST /tract/event/send/",
		"POST /tract/events/send/",
		"POST /tract/hooks/enable/",
		"POST /tract/hooks/register/",
		"POST /tract/hooks/test/",
		"POST /tract/management/clients/list/",
		"POST /tract/management/token/issue/",
		"POST /tract/message/send/",
		"POST /tract/thread_control/listeners/",
		"POST /tract/thread_control/request/",
		"POST /tract/user/",
		"POST /tract/user/details/",
		"POST /v1.0/log_feedback_from_user/",
		"POST /v1.0/log_file_from_user/",
		"POST /v1.0/log_message_from_user/",
		"POST /v1.0/message/sync/",
		"POST /v1.0/user/",
		"POST /v1.0/webhook/",
		"PUT /api/clients/{client}/",
		"PUT /api/clients/{client}/agents/{agent}/",
		"PUT /api/clients/{client}/bots/{domain}/",
		"PUT /api/clients/{client}/businesses/{business}/",
		"PUT /api/clients/{client}/teams/{team}/",
		"PUT /api/clients/{client}/texts/{key}/",
		"PUT /api/clients/{client}/texts/{key}/{language}/",
		"PUT /api/clients/{client}/tools/{tool}/",
		"PUT /v1.0/user/",
	}
	var got []string
	for _, op := range operations(load(t, apidocs.YAML())) {
		got = append(got, op.name)
	}
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestEveryOperationIsComplete(t *testing.T) {
	doc := load(t, apidocs.YAML())
	ids := map[string]string{}
	for _, op := range operations(doc) {
		if op.Summary == "" || op.Description == "" || op.OperationID == "" || len(op.Tags) != 1 {
			t.Errorf("%s lacks summary, description, operationId or its one tag", op.name)
		}
		if other, taken := ids[op.OperationID]; taken {
			t.Errorf("%s and %s share the id %s", op.name, other, op.OperationID)
		}
		ids[op.OperationID] = op.name
		for _, tag := range op.Tags {
			if doc.Tags.Get(tag) == nil {
				t.Errorf("%s has the undeclared tag %s", op.name, tag)
			}
		}
		if op.Security == nil {
			t.Errorf("%s does not say how the caller is known", op.name)
		}
		if op.RequestBody != nil && !hasExample(op.RequestBody.Value.Content) {
			t.Errorf("%s: the request has no example", op.name)
		}
		succeeds := false
		for status, ref := range op.Responses.Map() {
			succeeds = succeeds || strings.HasPrefix(status, "2")
			if status == "204" {
				continue
			}
			if !hasExample(ref.Value.Content) {
				t.Errorf("%s: the %s answer has no example", op.name, status)
			}
		}
		if !succeeds {
			t.Errorf("%s has no 2xx", op.name)
		}
	}
}

func TestAnswersNameTheirHeaders(t *testing.T) {
	for _, op := range operations(load(t, apidocs.YAML())) {
		for status, ref := range op.Responses.Map() {
			want := []string{"X-Request-Id"}
			switch {
			case status == "429":
				want = append(want, "Retry-After")
			case status == "401" && strings.Contains(op.name, " /tract/"):
				want = append(want, "WWW-Authenticate")
			}
			for _, name := range want {
				if h := ref.Value.Headers[name]; h == nil || !h.Value.Required {
					t.Errorf("%s: the %s answer does not promise %s", op.name, status, name)
				}
			}
		}
	}
}

// Errors have one form below /tract and another on the platform paths; a
// mix-up in the document would let a mix-up in the server pass.
func TestErrorsHaveTheFormOfTheirPath(t *testing.T) {
	for _, op := range operations(load(t, apidocs.YAML())) {
		tract := map[string]any{"error": "x", "code": "not_owner", "request_id": "r", "thread_owner": "sac", "control_epoch": 2.0}
		platform := map[string]any{"error_message": "x", "code": "x", "request_id": "r"}
		isPlatform := strings.Contains(op.name, " /v1.0/") || strings.Contains(op.name, " /integration/") || strings.Contains(op.name, " /mogambo_api/")
		wrong := platform
		if isPlatform {
			wrong = tract
		}
		for status, ref := range op.Responses.Map() {
			if status[0] != '4' && status[0] != '5' || op.name == "GET /readyz" || op.name == "GET /metrics" || strings.HasSuffix(op.name, " /setup") {
				continue
			}
			schema := ref.Value.Content.Get("application/json").Schema.Value
			if err := schema.VisitJSON(wrong); err == nil {
				t.Errorf("%s: the %s answer allows the other form of error", op.name, status)
			}
		}
	}
}

func hasExample(content openapi3.Content) bool {
	for _, media := range content {
		if media.Example == nil && len(media.Examples) == 0 {
			return false
		}
	}
	return len(content) > 0
}
