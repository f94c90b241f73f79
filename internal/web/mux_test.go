package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tract"
	"tract/internal/tracttest"
	"tract/internal/web"
)

func routes(t *testing.T) (*web.Mux, *logBook) {
	t.Helper()
	m, book := newMux(t)
	m.Handle("GET /tract/hooks/list/", web.Hub, ok)
	m.Handle("POST /tract/message/send/", web.Hub, ok, "/jwt/send")
	m.Handle("GET /tract/item/", web.Hub, ok)
	m.Handle("DELETE /tract/item/", web.Hub, ok)
	m.Handle("GET /v1.0/status/{task_id}/", web.Platform, func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
		return web.JSON(http.StatusOK, r.PathValue("task_id")), nil
	})
	m.Handle("GET /files/{path...}", web.Hub, ok)
	m.Handle("GET /", web.Hub, ok)
	return m, book
}

func TestRouting(t *testing.T) {
	m, _ := routes(t)
	tests := []struct {
		name, method, path string
		status             int
		allow              string
	}{
		{"HT-05 with slash", "GET", "/tract/hooks/list/", 200, ""},
		{"HT-05 without slash", "GET", "/tract/hooks/list", 200, ""},
		{"HT-05 double slash", "GET", "/tract//hooks/list/", 404, ""},
		{"HT-05 double slash at the end", "GET", "/tract/hooks/list//", 404, ""},
		{"HT-05 dot segments", "GET", "/tract/x/../hooks/list/", 404, ""},
		{"HT-05 encoded dot segments", "GET", "/tract/x/%2e%2e/hooks/list/", 404, ""},
		{"HT-05 single dot", "GET", "/tract/./hooks/list/", 404, ""},
		{"HT-05 dots at the end", "GET", "/tract/hooks/list/..", 404, ""},
		{"HT-05 encoded slash", "GET", "/tract%2Fhooks/list/", 404, ""},
		{"HT-05 other case", "GET", "/tract/Hooks/list/", 404, ""},
		{"NUL in a path value", "GET", "/v1.0/status/a%00b", 404, ""},
		{"bad UTF-8 in a path value", "GET", "/v1.0/status/%ff", 404, ""},
		{"alias", "POST", "/jwt/send", 200, ""},
		{"alias with slash", "POST", "/jwt/send/", 200, ""},
		{"path value", "GET", "/v1.0/status/17/", 200, ""},
		{"path value without slash", "GET", "/v1.0/status/17", 200, ""},
		{"below a path value", "GET", "/v1.0/status/17/x", 404, ""},
		{"files", "GET", "/files/a/b.js", 200, ""},
		{"a folder is no redirect", "GET", "/files", 404, ""},
		{"root", "GET", "/", 200, ""},
		{"HT-04 unknown path", "GET", "/tract/nothing", 404, ""},
		{"HT-04 below a known one", "GET", "/tract/hooks/list/x", 404, ""},
		{"HT-04 wrong method", "GET", "/tract/message/send/", 405, "OPTIONS, POST"},
		{"HT-04 wrong method of two", "PUT", "/tract/item", 405, "DELETE, GET, HEAD, OPTIONS"},
		{"HT-04 TRACE", "TRACE", "/tract/item/", 405, "DELETE, GET, HEAD, OPTIONS"},
		{"HT-04 own method", "BREW", "/tract/item/", 405, "DELETE, GET, HEAD, OPTIONS"},
		{"HT-04 OPTIONS", "OPTIONS", "/tract/item/", 204, "DELETE, GET, HEAD, OPTIONS"},
		{"HT-04 OPTIONS unknown", "OPTIONS", "/tract/nothing", 404, ""},
		{"HEAD as GET", "HEAD", "/tract/item/", 200, ""},
		{"HEAD without GET", "HEAD", "/tract/message/send", 405, "OPTIONS, POST"},
		{"HT-15 long URL", "GET", "/tract/item/?q=" + strings.Repeat("a", 2049-15), 414, ""},
		{"HT-15 longest URL", "GET", "/tract/item/?q=" + strings.Repeat("a", 2048-15), 200, ""},
		{"HT-15 semicolon", "GET", "/tract/item/?a=1;b=2", 400, ""},
		{"HT-15 bad escape in query", "GET", "/tract/item/?a=%zz", 400, ""},
		{"NUL in query", "GET", "/tract/item/?a=%00", 400, ""},
		{"bad UTF-8 in query", "GET", "/tract/item/?a=%c0%af", 400, ""},
		{"bad UTF-8 in a parameter's name", "GET", "/tract/item/?%ff=1", 400, ""},
		{"good query", "GET", "/tract/item/?a=%C3%A9&b=", 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := call(m, tt.method, tt.path, "")
			if w.Code != tt.status || w.Header().Get("Allow") != tt.allow {
				t.Fatalf("got %d, Allow %q; want %d, %q", w.Code, w.Header().Get("Allow"), tt.status, tt.allow)
			}
			if loc := w.Header().Get("Location"); loc != "" {
				t.Errorf("redirects to %s", loc)
			}
			if w.Header().Get("X-Request-Id") != "req_made" || w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("headers: %v", w.Header())
			}
			if w.Code == 204 {
				if w.Body.Len() != 0 || w.Header().Get("Content-Type") != "" {
					t.Errorf("204 with a body: %q", w.Body)
				}
				return
			}
			if ct := w.Header().Get("Content-Type"); ct != "application/json; charset=utf-8" {
				t.Errorf("content type %q", ct)
			}
			if w.Code >= 400 && object(t, w)["request_id"] != "req_made" {
				t.Errorf("body: %s", w.Body)
			}
		})
	}
}

func TestWrongMethodNamesTheRightOnes(t *testing.T) {
	m, _ := routes(t)
	for target, want := range map[string]string{
		"GET /tract/message/send/": "this path takes POST, not GET",
		"PUT /tract/item":          "this path takes DELETE or GET, not PUT",
		"BREW /tract/item":         "this path takes DELETE or GET, not this method",
	} {
		method, path, _ := strings.Cut(target, " ")
		if got := object(t, call(m, method, path, ""))["error"]; got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}

func TestMethodOverrideIsIgnored(t *testing.T) {
	m, _ := routes(t)
	for _, h := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
		if w := call(m, "GET", "/tract/message/send/", "", h, "POST"); w.Code != 405 {
			t.Errorf("HT-04 %s: %d", h, w.Code)
		}
	}
}

func TestAcceptIsIgnored(t *testing.T) {
	m, _ := routes(t)
	w := call(m, "GET", "/tract/item/", "", "Accept", "text/html", "Accept-Encoding", strings.Repeat("br;q=0.1,", 1200))
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json; charset=utf-8" || w.Header().Get("Content-Encoding") != "" {
		t.Errorf("HT-12: %d %v", w.Code, w.Header())
	}
}

func TestRoutesAreListed(t *testing.T) {
	m, _ := routes(t)
	want := []string{"GET /tract/hooks/list/", "POST /tract/message/send/", "POST /jwt/send", "GET /tract/item/", "DELETE /tract/item/", "GET /v1.0/status/{task_id}/", "GET /files/{path...}", "GET /"}
	if d := cmp.Diff(want, m.Routes()); d != "" {
		t.Error(d)
	}
	m.Routes()[0] = "changed"
	if m.Routes()[0] == "changed" {
		t.Error("a caller can change the list")
	}
}

func TestWrongWiringPanics(t *testing.T) {
	tests := map[string]func(m *web.Mux){
		"twice":           func(m *web.Mux) { m.Handle("GET /a/", web.Hub, ok); m.Handle("GET /a", web.Hub, ok) },
		"without method":  func(m *web.Mux) { m.Handle("/a/", web.Hub, ok) },
		"without a slash": func(m *web.Mux) { m.Handle("GET a", web.Hub, ok) },
	}
	for name, wire := range tests {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			m, _ := newMux(t)
			wire(m)
		})
	}
}

func TestStylesOfUnknownPaths(t *testing.T) {
	m, _ := routes(t)
	tests := []struct{ method, path, key string }{
		{"GET", "/tract/nothing", "error"},
		{"GET", "/v1.0/nothing", "error_message"},
		{"POST", "/v1.0/status/17", "error_message"},
		{"GET", "/elsewhere", "error"},
	}
	for _, tt := range tests {
		if got := object(t, call(m, tt.method, tt.path, "")); got[tt.key] == nil || len(got) != 3 {
			t.Errorf("%s %s: %v", tt.method, tt.path, got)
		}
	}
}

func TestRequestID(t *testing.T) {
	m, _ := routes(t)
	tests := []struct {
		name string
		in   []string
		want string
	}{
		{"none", nil, "req_made"},
		{"sane", []string{"abc.DEF-1_2"}, "abc.DEF-1_2"},
		{"longest", []string{strings.Repeat("a", 64)}, strings.Repeat("a", 64)},
		{"too long", []string{strings.Repeat("a", 65)}, "req_made"},
		{"empty", []string{""}, "req_made"},
		{"HT-08 line break", []string{"a\r\nX: y"}, "req_made"},
		{"HT-09 quote", []string{`a" level=ERROR`}, "req_made"},
		{"not ASCII", []string{"é"}, "req_made"},
		{"two", []string{"a", "b"}, "req_made"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var header []string
			for _, v := range tt.in {
				header = append(header, "X-Request-Id", v)
			}
			w := call(m, "GET", "/tract/nothing", "", header...)
			if got := w.Header().Values("X-Request-Id"); !slices.Equal(got, []string{tt.want}) {
				t.Errorf("header %q", got)
			}
			if got := object(t, w)["request_id"]; got != tt.want {
				t.Errorf("body %q", got)
			}
		})
	}
}

func TestErrorsBecomeAnswers(t *testing.T) {
	kind := func(k tract.Kind) *tract.Error { return &tract.Error{Kind: k, Code: "some_code", Msg: "some text"} }
	secret := errors.New("password=hunter2")
	tests := []struct {
		name   string
		err    error
		style  web.Style
		status int
		body   string
		header string // name: value
	}{
		{"invalid", tract.Invalid("c", "field %s", "x"), web.Hub, 400, `{"code":"c","error":"field x","request_id":"req_made"}`, ""},
		{"invalid on the platform", tract.Invalid("c", "t"), web.Platform, 400, `{"code":"c","error_message":"t","request_id":"req_made"}`, ""},
		{"unauthorized", kind(tract.KindUnauthorized), web.Hub, 401, "", `Www-Authenticate: Bearer error="invalid_token"`},
		{"forbidden with facts", kind(tract.KindForbidden).Fact("thread_owner", "sac").Fact("control_epoch", 6), web.Hub, 403, `{"code":"some_code","control_epoch":6,"error":"some text","request_id":"req_made","thread_owner":"sac"}`, ""},
		{"facts on the platform", kind(tract.KindInvalid).Fact("data", []string{"pxut"}), web.Platform, 400, `{"code":"some_code","data":["pxut"],"error_message":"some text","request_id":"req_made"}`, ""},
		{"facts do not hide the code", kind(tract.KindConflict).Fact("code", "x").Fact("request_id", "y").Fact("error", "z"), web.Hub, 409, `{"code":"some_code","error":"some text","request_id":"req_made"}`, ""},
		{"facts that cannot be written", kind(tract.KindConflict).Fact("f", func() {}), web.Hub, 409, `{"code":"some_code","error":"some text","request_id":"req_made"}`, ""},
		{"not found", kind(tract.KindNotFound), web.Hub, 404, "", ""},
		{"conflict", kind(tract.KindConflict), web.Hub, 409, "", ""},
		{"mismatch", kind(tract.KindMismatch), web.Hub, 422, "", ""},
		{"too large", kind(tract.KindTooLarge), web.Hub, 413, "", ""},
		{"unsupported", kind(tract.KindUnsupported), web.Hub, 415, "", ""},
		{"rate limited", kind(tract.KindRateLimited).Fact("retry_after", 3), web.Hub, 429, `{"code":"some_code","error":"some text","request_id":"req_made"}`, "Retry-After: 3"},
		{"rate limited, at least a second", kind(tract.KindRateLimited), web.Hub, 429, "", "Retry-After: 1"},
		{"unavailable", kind(tract.KindUnavailable).Because(secret), web.Hub, 503, `{"code":"some_code","error":"some text","request_id":"req_made"}`, "Retry-After: 5"},
		{"unavailable until", kind(tract.KindUnavailable).Fact("retry_after", 1500*time.Millisecond), web.Hub, 503, "", "Retry-After: 2"},
		{"unclassified", secret, web.Hub, 500, `{"code":"internal","error":"internal error","request_id":"req_made"}`, ""},
		{"internal", kind(tract.KindInternal).Fact("where", "x"), web.Platform, 500, `{"code":"internal","error_message":"internal error","request_id":"req_made"}`, ""},
		{"a kind nobody knows", kind(tract.Kind(99)), web.Hub, 500, `{"code":"internal","error":"internal error","request_id":"req_made"}`, ""},
		{"wrapped", fmt.Errorf("claim: %w", kind(tract.KindConflict)), web.Hub, 409, `{"code":"some_code","error":"some text","request_id":"req_made"}`, ""},
		{"cause stays inside", kind(tract.KindInvalid).Because(secret), web.Hub, 400, `{"code":"some_code","error":"some text","request_id":"req_made"}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, book := newMux(t)
			m.Handle("GET /x/", tt.style, func(http.ResponseWriter, *http.Request) (web.Answer, error) {
				return web.Answer{}, tt.err
			})
			w := call(m, "GET", "/x/", "")
			if w.Code != tt.status || tt.body != "" && w.Body.String() != tt.body {
				t.Errorf("got %d %s\nwant %d %s", w.Code, w.Body, tt.status, tt.body)
			}
			if name, value, is := strings.Cut(tt.header, ": "); is && w.Header().Get(name) != value {
				t.Errorf("%s is %q, want %q", name, w.Header().Get(name), value)
			}
			wantFailed := 0
			if tt.status >= 500 {
				wantFailed = 1
			}
			if got := len(book.lines("request failed")); got != wantFailed {
				t.Errorf("%d failure lines, want %d:\n%s", got, wantFailed, book)
			}
			if errors.Is(tt.err, secret) && strings.Count(book.String(), "hunter2") != 1 {
				t.Errorf("the cause must be in the log exactly once:\n%s", book)
			}
		})
	}
}

func TestErrorAnswersDoNotChangeTheError(t *testing.T) {
	m, _ := newMux(t)
	shared := (&tract.Error{Kind: tract.KindRateLimited, Code: "c", Msg: "t"}).Fact("retry_after", 7)
	m.Handle("GET /x", web.Hub, func(http.ResponseWriter, *http.Request) (web.Answer, error) { return web.Answer{}, shared })
	for range 2 {
		if got := call(m, "GET", "/x", "").Header().Get("Retry-After"); got != "7" {
			t.Errorf("Retry-After %q", got)
		}
	}
}

func TestHandlersWithoutAnswer(t *testing.T) {
	m, book := newMux(t)
	m.Handle("GET /none", web.Hub, func(http.ResponseWriter, *http.Request) (web.Answer, error) { return web.Answer{}, nil })
	m.Handle("GET /own", web.Hub, func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, "mine")
		return web.Answer{}, nil
	})
	m.Handle("GET /bad", web.Hub, func(http.ResponseWriter, *http.Request) (web.Answer, error) {
		return web.JSON(200, map[string]any{"f": func() {}}), nil
	})
	m.Handle("GET /text", web.Hub, func(http.ResponseWriter, *http.Request) (web.Answer, error) {
		return web.Answer{Status: 200, Body: []byte("hello"), Type: "text/plain; charset=utf-8"}, nil
	})
	if w := call(m, "GET", "/none", ""); w.Code != 500 {
		t.Errorf("no answer: %d", w.Code)
	}
	if w := call(m, "GET", "/bad", ""); w.Code != 500 || object(t, w)["code"] != "internal" {
		t.Errorf("bad answer: %d %s", w.Code, w.Body)
	}
	if w := call(m, "GET", "/own", ""); w.Code != 200 || w.Body.String() != "mine" || w.Header().Get("Cache-Control") != "max-age=60" {
		t.Errorf("own answer: %d %s", w.Code, w.Body)
	}
	if w := call(m, "GET", "/text", ""); w.Header().Get("Content-Type") != "text/plain; charset=utf-8" || w.Header().Get("Content-Length") != "5" {
		t.Errorf("text: %v", w.Header())
	}
	if n := len(book.lines("request failed")); n != 2 {
		t.Errorf("%d failure lines, want 2", n)
	}
}

func TestPanics(t *testing.T) {
	m, book := newMux(t)
	m.Handle("GET /p", web.Platform, func(http.ResponseWriter, *http.Request) (web.Answer, error) { panic("boom 4711") })
	w := call(m, "GET", "/p", "")
	if w.Code != 500 || w.Body.String() != `{"code":"internal","error_message":"internal error","request_id":"req_made"}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	lines := book.lines("request panicked")
	if len(lines) != 1 || lines[0]["panic"] != "boom 4711" || !strings.Contains(lines[0]["stack"].(string), "TestPanics") || lines[0]["route"] != "/p" {
		t.Errorf("log: %v", lines)
	}
	if n := strings.Count(book.String(), "4711"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if got := book.lines("request answered"); len(got) != 1 || got[0]["status"] != 500.0 {
		t.Errorf("access line: %v", got)
	}
}

func TestHalfAnswersAreCut(t *testing.T) {
	m, book := newMux(t)
	begin := func(w http.ResponseWriter) {
		fmt.Fprint(w, strings.Repeat("x", 50))
		_ = http.NewResponseController(w).Flush()
	}
	m.Handle("GET /error", web.Hub, func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
		begin(w)
		return web.Answer{}, errors.New("disk gone")
	})
	m.Handle("GET /panic", web.Hub, func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
		begin(w)
		panic("late")
	})
	addr := listen(t, m)
	for _, path := range []string{"/error", "/panic"} {
		got := raw(t, addr, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\nGET /error HTTP/1.1\r\nHost: x\r\n\r\n")
		if n := strings.Count(got, "HTTP/1.1 "); n != 1 || strings.Contains(got, "internal error") || strings.HasSuffix(got, "0\r\n\r\n") {
			t.Errorf("%s: got %q", path, got)
		}
	}
	if len(book.lines("request failed")) != 1 || len(book.lines("request panicked")) != 1 {
		t.Errorf("log:\n%s", book)
	}
}

func TestAccessLog(t *testing.T) {
	m, book := routes(t)
	const canary = "c4n4ry"
	call(m, "GET", "/tract/item/?token="+canary, "", "Authorization", "Bearer "+canary, "User-Agent", canary)
	call(m, "GET", "/v1.0/status/"+canary, "")
	call(m, "GET", "/"+canary, canary)
	call(m, "X"+strings.ToUpper(canary), "/tract/item/", "")
	call(m, "POST", "/tract/message/send/?"+canary+"=%zz", canary)
	if strings.Contains(strings.ToLower(book.String()), canary) {
		t.Errorf("the log holds what a caller sent:\n%s", book)
	}
	var got []string
	for _, l := range book.lines("request answered") {
		code, _ := l["code"].(string)
		got = append(got, fmt.Sprint(l["level"], " ", l["method"], " ", l["route"], " ", l["status"], " ", code, " ", l["request_id"]))
	}
	want := []string{
		"DEBUG GET /tract/item/ 200  req_made",
		"DEBUG GET /v1.0/status/{task_id}/ 200  req_made",
		"INFO GET none 404 not_found req_made",
		"INFO other none 405 method_not_allowed req_made",
		"INFO POST /tract/message/send/ 400 invalid_query req_made",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestLogInjection(t *testing.T) {
	m, book := newMux(t)
	evil := "x\n{\"level\":\"ERROR\",\"msg\":\"forged\"}"
	m.Handle("GET /x", web.Hub, func(http.ResponseWriter, *http.Request) (web.Answer, error) {
		return web.Answer{}, tract.Invalid("c", "%s", evil).Because(errors.New(evil))
	})
	call(m, "GET", "/x", "")
	if n := strings.Count(book.String(), "\n"); n != 1 || len(book.lines("forged")) != 0 {
		t.Errorf("HT-09: %d lines:\n%s", n, book)
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	clock := tracttest.NewClock()
	m := web.NewMux(web.Config{Now: clock.Now, Metrics: web.NewMetrics(reg)})
	m.Handle("GET /a/{id}", web.Hub, func(http.ResponseWriter, *http.Request) (web.Answer, error) {
		clock.Advance(20 * time.Millisecond)
		return web.NoContent(), nil
	}, "/old/{id}")
	for i := range 50 {
		call(m, "GET", fmt.Sprintf("/a/%d", i), "")
		call(m, "GET", fmt.Sprintf("/old/%d/", i), "")
		call(m, fmt.Sprintf("M%d", i), fmt.Sprintf("/nothing/%d", i), "")
	}
	err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP tract_http_requests_total Requests answered, by route, method and status.
# TYPE tract_http_requests_total counter
tract_http_requests_total{method="GET",route="/a/{id}",status="204"} 100
tract_http_requests_total{method="other",route="none",status="404"} 50
`), "tract_http_requests_total")
	if err != nil {
		t.Error(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "tract_http_request_seconds" {
			if h := f.GetMetric()[0].GetHistogram(); h.GetSampleCount() != 100 || h.GetSampleSum() < 1.99 || h.GetSampleSum() > 2.01 {
				t.Errorf("histogram: %v", h)
			}
			return
		}
	}
	t.Error("no tract_http_request_seconds")
}

func TestIDsAreMade(t *testing.T) {
	m := web.NewMux(web.Config{Now: wallClock})
	a, b := call(m, "GET", "/", "").Header().Get("X-Request-Id"), call(m, "GET", "/", "").Header().Get("X-Request-Id")
	if len(a) < 16 || a == b {
		t.Errorf("ids %q, %q", a, b)
	}
}
