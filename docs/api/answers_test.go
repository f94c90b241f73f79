package apidocs_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	apidocs "tract/docs/api"
)

const (
	aMessage = `{"user_id":"qv8ZC1n3T0m4uJ7xWk2aRg","message_id":1743,"conversation_number":"2","message_body":"{}","sender":"ceu","timestamp":"2026-11-20T10:30:00.123456Z",
		"metadata":{"business_id":343,"device_platform":13,"message_type":0,"thread_owner":"iva","standby":true,"control_epoch":4,"delivery_seq":17}}`
	anEvent = `{"conversation_number":"2","user_id":"qv8ZC1n3T0m4uJ7xWk2aRg","category":"conversation_state","subcategory":"waiting","metadata":"{}"}`
	aHook   = `{"category":"message","subcategory":"receive","url":"https://a.example","enabled":true,"state":"ok","consecutive_failures":0,"queued":0,
		"oldest_queued_at":null,"last_success_at":null,"last_error":null}`
)

// Server tests trust the document to notice a wrong answer, so here the
// document has to tell right answers from wrong ones.
func TestAnswerSchemasTellRightFromWrong(t *testing.T) {
	doc := load(t, apidocs.YAML())
	tests := []struct {
		name   string
		op     string
		status int
		body   string
		ok     bool
	}{
		{"sent", "POST /tract/message/send/", 200, `{"error":null,"message_id":1744,"conversation_number":"2","timestamp":"2026-11-20T10:30:00.1Z"}`, true},
		{"sent, error not null", "POST /tract/message/send/", 200, `{"error":"x","message_id":1744,"conversation_number":"2","timestamp":"2026-11-20T10:30:00.1Z"}`, false},
		{"sent, error absent", "POST /tract/message/send/", 200, `{"message_id":1744,"conversation_number":"2","timestamp":"2026-11-20T10:30:00.1Z"}`, false},
		{"sent, number for conversation", "POST /tract/message/send/", 200, `{"error":null,"message_id":1744,"conversation_number":2,"timestamp":"2026-11-20T10:30:00.1Z"}`, false},
		{"sent, id as string", "POST /tract/message/send/", 200, `{"error":null,"message_id":"1744","conversation_number":"2","timestamp":"2026-11-20T10:30:00.1Z"}`, false},
		{"sent, local time", "POST /tract/message/send/", 200, `{"error":null,"message_id":1744,"conversation_number":"2","timestamp":"2026-11-20T10:30:00+05:30"}`, false},
		{"sent, unknown field", "POST /tract/message/send/", 200, `{"error":null,"message_id":1744,"conversation_number":"2","timestamp":"2026-11-20T10:30:00Z","x":1}`, false},
		{"not owner", "POST /tract/message/send/", 403, `{"error":"thread is controlled by sac","code":"not_owner","request_id":"r","thread_owner":"sac","control_epoch":2}`, true},
		{"not owner, owner unnamed", "POST /tract/message/send/", 403, `{"error":"x","code":"not_owner","request_id":"r","control_epoch":2}`, false},
		{"not owner, other code", "POST /tract/message/send/", 403, `{"error":"x","code":"forbidden","request_id":"r","thread_owner":"sac","control_epoch":2}`, false},
		{"epoch", "POST /tract/message/send/", 409, `{"error":"x","code":"epoch_mismatch","request_id":"r","thread_owner":"sac","control_epoch":2}`, true},
		{"epoch, without the epoch", "POST /tract/message/send/", 409, `{"error":"x","code":"epoch_mismatch","request_id":"r","thread_owner":"sac"}`, false},
		{"complete", "POST /tract/message/send/", 409, `{"error":"x","code":"conversation_complete","request_id":"r"}`, true},
		{"conflict with an unlisted code", "POST /tract/message/send/", 409, `{"error":"x","code":"oops","request_id":"r"}`, false},
		{"error without request id", "POST /tract/message/send/", 400, `{"error":"x","code":"invalid"}`, false},
		{"error with null text", "POST /tract/message/send/", 400, `{"error":null,"code":"invalid","request_id":"r"}`, false},

		{"event", "POST /tract/events/send/", 200, `{"error":null}`, true},
		{"event, empty object", "POST /tract/events/send/", 200, `{}`, false},
		{"event on a complete conversation", "POST /tract/event/send/", 409, `{"error":"x","code":"conversation_complete","request_id":"r"}`, true},

		{"hook created", "POST /tract/hooks/register/", 200, `{"error":null,"hook":` + aHook + `,"secret":"whsec_MfKQ9r8G"}`, true},
		{"hook again", "POST /tract/hooks/register/", 200, `{"error":null,"hook":` + aHook + `}`, true},
		{"secret without its mark", "POST /tract/hooks/register/", 200, `{"error":null,"hook":` + aHook + `,"secret":"MfKQ9r8G"}`, false},
		{"hooks", "GET /tract/hooks/list/", 200, `{"registered_webhooks":{"message":{"receive":"https://a.example"}},"hooks":[` + aHook + `],"available":[{"category":"message","subcategory":"receive","direction":"to_tool"}]}`, true},
		{"hooks, wrong direction", "GET /tract/hooks/list/", 200, `{"registered_webhooks":{},"hooks":[],"available":[{"category":"message","subcategory":"receive","direction":"out"}]}`, false},

		{"feed of both kinds", "GET /tract/feed/", 200, `{"items":[{"delivery_seq":1,"category":"message","subcategory":"receive","payload":` + aMessage + `},{"delivery_seq":2,"category":"conversation_state","subcategory":"waiting","payload":` + anEvent + `}],"next_after_seq":2,"oldest_seq":1}`, true},
		{"feed of neither kind", "GET /tract/feed/", 200, `{"items":[{"delivery_seq":1,"category":"message","subcategory":"receive","payload":{"user_id":"qv8ZC1n3T0m4uJ7xWk2aRg"}}],"next_after_seq":1,"oldest_seq":1}`, false},
		{"event with metadata as object", "GET /tract/feed/", 200, `{"items":[{"delivery_seq":1,"category":"conversation_state","subcategory":"waiting","payload":` + strings.Replace(anEvent, `"{}"`, `{}`, 1) + `}],"next_after_seq":1,"oldest_seq":1}`, false},

		{"granted", "POST /tract/thread_control/request/", 200, `{"success":true,"control_epoch":5,"changed":true}`, true},
		{"refused", "POST /tract/thread_control/request/", 200, `{"success":false,"reason":{"code":"not_owner","message":"x","thread_owner":"sac"}}`, true},
		{"refused, unlisted code", "POST /tract/thread_control/request/", 200, `{"success":false,"reason":{"code":"nope","message":"x","thread_owner":"sac"}}`, false},
		{"granted with a reason", "POST /tract/thread_control/request/", 200, `{"success":true,"reason":{"code":"not_owner","message":"x","thread_owner":"sac"}}`, false},
		{"listeners", "POST /tract/thread_control/listeners/", 200, `{"listeners":[{"id":"iva","name":"b","type":"iva","is_default":true,"is_primary":true,"active":true,"available":true,"self":false}],"control_epoch":1,"pending":null}`, true},
		{"listeners without pending", "POST /tract/thread_control/listeners/", 200, `{"listeners":[{"id":"iva","name":"b","type":"iva","is_default":true,"is_primary":true,"active":true,"available":true,"self":false}],"control_epoch":1}`, false},

		{"details", "POST /tract/user/details/", 200, `{"user_id":"qv8ZC1n3T0m4uJ7xWk2aRg","details":{"email":"a@b.example","age":7,"vip":true,"city":null}}`, true},
		{"nested details", "POST /tract/user/details/", 200, `{"user_id":"qv8ZC1n3T0m4uJ7xWk2aRg","details":{"address":{"city":"x"}}}`, false},

		{"logged", "POST /v1.0/log_message_from_user/", 200, `{"message_id":1743,"message_body":"hi","created_at":"2026-11-20T10:30:00Z","message_type":0}`, true},
		{"not registered", "POST /v1.0/log_message_from_user/", 403, `{"error_message":"user is not registered","code":"user_not_registered","request_id":"r"}`, true},
		{"not registered, other text", "POST /v1.0/log_message_from_user/", 403, `{"error_message":"User not registered","code":"user_not_registered","request_id":"r"}`, false},
		{"platform error without a code", "POST /v1.0/log_message_from_user/", 400, `{"error_message":"x","request_id":"r"}`, false},
		{"sync, nothing said", "POST /v1.0/message/sync/", 200, `{"version":"1.0","timestamp":"2026-11-20T10:30:00Z","agent":{"id":"mia","name":"Mia","profile_image":null,"is_automated":false},"message":[]}`, true},
		{"sync, version as number", "POST /v1.0/message/sync/", 200, `{"version":1.0,"timestamp":"2026-11-20T10:30:00Z","agent":{"id":0,"name":"gogo","profile_image":null,"is_automated":true},"message":[]}`, false},

		{"transcript", "GET /integration/external/v2.0/get_chat_history/", 200, `{"chat_json":[{"text":"a","sender":"user","message_id":1,"timestamp":"06/22/20 07:24:25 AM UTC"}]}`, true},
		{"transcript as text", "GET /integration/external/v1.0/get_chat_history/", 200, `{"chat_text":""}`, true},
		{"transcript, both", "GET /integration/external/v1.0/get_chat_history/", 200, `{"chat_text":"","chat_json":[]}`, false},
		{"transcript, 24 hours", "GET /integration/external/v1.0/get_chat_history/", 200, `{"chat_json":[{"text":"a","sender":"user","message_id":1,"timestamp":"06/22/20 17:24:25 PM UTC"}]}`, false},
		{"group error", "GET /integration/external/v2.0/get_chat_history/", 400, `{"error_message":"Argument group validation: no valid group.","code":"no_valid_group","request_id":"r","data":{"group_2":["pxut"]}}`, true},
		{"data in version 1", "GET /integration/external/v1.0/get_chat_history/", 400, `{"error_message":"user_name missing","code":"missing_field","request_id":"r","data":{}}`, false},
		{"token text of the other version", "GET /integration/external/v2.0/get_chat_history/", 401, `{"error_message":"invalid token","code":"invalid_token","request_id":"r"}`, false},

		{"keys", "GET /.well-known/jwks.json", 200, `{"keys":[{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`, true},
		{"keys with the private part", "GET /.well-known/jwks.json", 200, `{"keys":[{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"AA"}]}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			method, path, _ := strings.Cut(tt.op, " ")
			answer := doc.Paths.Value(path).GetOperation(method).Responses.Status(tt.status)
			if answer == nil {
				t.Fatalf("%s has no %d", tt.op, tt.status)
			}
			var body any
			if err := json.Unmarshal([]byte(tt.body), &body); err != nil {
				t.Fatal(err)
			}
			err := answer.Value.Content.Get("application/json").Schema.Value.VisitJSON(body, openapi3.VisitAsResponse())
			if (err == nil) != tt.ok {
				t.Errorf("accepted = %v, want %v (%v)", err == nil, tt.ok, err)
			}
		})
	}
}
