package apitest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The harness is only worth something if it notices what is wrong.
func TestWrongAnswersAreNoticed(t *testing.T) {
	header := func(change ...string) http.Header {
		h := http.Header{"X-Request-Id": {"r"}, "X-Content-Type-Options": {"nosniff"}, "Cache-Control": {"no-store"}, "Content-Type": {"application/json; charset=utf-8"}}
		for _, c := range change {
			name, value, _ := strings.Cut(c, ": ")
			if h.Set(name, value); value == "" {
				h.Del(name)
			}
		}
		return h
	}
	tests := []struct {
		name, route string
		status      int
		header      http.Header
		body        string
		ok          bool
	}{
		{"right", "GET /healthz", 200, header(), `{"status":"ok"}`, true},
		{"right, with a slash", "GET /healthz/", 200, header(), `{"status":"ok"}`, true},
		{"right, without a slash", "POST /tract/events/send", 200, header(), `{"error":null}`, true},
		{"right error", "POST /tract/events/send/", 404, header(), `{"error":"x","code":"not_found","request_id":"r"}`, true},
		{"unknown path", "GET /nothing", 404, header(), `{"error":"x","code":"not_found","request_id":"r"}`, true},
		{"unknown path, found", "GET /nothing", 200, header(), `{}`, false},
		{"wrong body", "GET /healthz", 200, header(), `{"status":"fine"}`, false},
		{"not JSON", "GET /healthz", 200, header(), `fine`, false},
		{"wrong content type", "GET /healthz", 200, header("Content-Type: text/html"), `{"status":"ok"}`, false},
		{"status not described", "GET /healthz", 201, header(), `{"status":"ok"}`, false},
		{"no request id", "GET /healthz", 200, header("X-Request-Id: "), `{"status":"ok"}`, false},
		{"another request id", "POST /tract/events/send/", 404, header(), `{"error":"x","code":"not_found","request_id":"q"}`, false},
		{"sniffing", "GET /healthz", 200, header("X-Content-Type-Options: "), `{"status":"ok"}`, false},
		{"stored", "GET /healthz", 200, header("Cache-Control: public"), `{"status":"ok"}`, false},
		{"redirect", "GET /healthz", 307, header(), ``, false},
		{"internal error", "POST /tract/events/send/", 500, header(), `{"error":"x","code":"internal","request_id":"r"}`, false},
		{"error of the other style", "POST /tract/events/send/", 404, header(), `{"error_message":"x","code":"not_found","request_id":"r"}`, false},
		{"wrong method, right answer", "PUT /healthz", 405, header(), `{"error":"x","code":"method_not_allowed","request_id":"r"}`, true},
		{"wrong method, accepted", "PUT /healthz", 200, header(), `{"status":"ok"}`, false},
		{"no challenge", "GET /tract/hooks/list/", 401, header(), `{"error":"x","code":"invalid_token","request_id":"r"}`, false},
		{"a file of another type", "GET /docs/reference.js", 200, header("Content-Type: text/html"), `x`, false},
		{"a file", "GET /docs/reference.js", 200, header("Content-Type: text/javascript; charset=utf-8"), `x`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			method, path, _ := strings.Cut(tt.route, " ")
			err := checkAnswer(httptest.NewRequest(method, path, nil), Answer{tt.status, tt.header, []byte(tt.body)})
			if (err == nil) != tt.ok {
				t.Errorf("noticed: %v, want right = %v", err, tt.ok)
			}
		})
	}
}
