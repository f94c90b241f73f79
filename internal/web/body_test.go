package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"tract/internal/web"
)

type greeting struct {
	Text string `json:"text"`
}

func echo(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
	var g greeting
	b, err := web.ReadJSON(r, web.MaxBody, &g)
	if err != nil {
		return web.Answer{}, err
	}
	return web.JSON(200, map[string]any{"text": g.Text, "bytes": len(b)}), nil
}

// padded is a JSON object of exactly n bytes.
func padded(n int) string {
	return `{"text":"hi"` + strings.Repeat(" ", n-len(`{"text":"hi"}`)) + "}"
}

func TestReadJSON(t *testing.T) {
	m, _ := newMux(t)
	m.Handle("POST /echo", web.Hub, echo)
	const js = "application/json"
	tests := []struct {
		name   string
		body   string
		header []string
		status int
		code   string
	}{
		{"plain", `{"text":"hi"}`, []string{"Content-Type", js}, 200, ""},
		{"utf-8", `{"text":"hi"}`, []string{"Content-Type", `Application/JSON; Charset="UTF-8"`}, 200, ""},
		{"identity", `{"text":"hi"}`, []string{"Content-Type", js, "Content-Encoding", "identity"}, 200, ""},
		{"JS-23 missing", `{}`, nil, 415, "unsupported_media_type"},
		{"JS-23 empty", `{}`, []string{"Content-Type", ""}, 415, "unsupported_media_type"},
		{"JS-23 text", `{}`, []string{"Content-Type", "text/plain"}, 415, "unsupported_media_type"},
		{"JS-23 latin1", `{}`, []string{"Content-Type", js + "; charset=latin1"}, 415, "unsupported_media_type"},
		{"JS-23 form", `{}`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"},
		{"JS-23 nearly", `{}`, []string{"Content-Type", js + "-patch"}, 415, "unsupported_media_type"},
		{"JS-23 malformed", `{}`, []string{"Content-Type", js + "; charset"}, 415, "unsupported_media_type"},
		{"JS-23 two", `{}`, []string{"Content-Type", js, "Content-Type", js}, 415, "unsupported_media_type"},
		{"gzip", "\x1f\x8b", []string{"Content-Type", js, "Content-Encoding", "gzip"}, 415, "unsupported_media_type"},
		{"gzip hidden", "\x1f\x8b", []string{"Content-Type", js, "Content-Encoding", "identity", "Content-Encoding", "gzip"}, 415, "unsupported_media_type"},
		{"JS-01 empty", "", []string{"Content-Type", js}, 400, "invalid_json"},
		{"only space", " \n", []string{"Content-Type", js}, 400, "invalid_json"},
		{"JS-03 trailing", "{}{}", []string{"Content-Type", js}, 400, "trailing_data"},
		{"JS-05 twice", `{"text":"a","Text":"b"}`, []string{"Content-Type", js}, 400, "duplicate_member"},
		{"JS-14 type", `{"text":{}}`, []string{"Content-Type", js}, 400, "field_type"},
		{"JS-11 limit", padded(web.MaxBody), []string{"Content-Type", js}, 200, ""},
		{"JS-11 over", padded(web.MaxBody + 1), []string{"Content-Type", js}, 413, "too_large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := call(m, "POST", "/echo", tt.body, tt.header...)
			if w.Code != tt.status || tt.code != "" && object(t, w)["code"] != tt.code {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			if w.Code == 200 && (object(t, w)["text"] != "hi" || object(t, w)["bytes"] != float64(len(tt.body))) {
				t.Errorf("got %s", w.Body)
			}
			if tt.body == "" && !strings.Contains(w.Body.String(), "the body is empty") {
				t.Errorf("that there is no body is not said: %s", w.Body)
			}
			if w.Code == 413 && !strings.Contains(w.Body.String(), "256 KiB") {
				t.Errorf("the limit is not named: %s", w.Body)
			}
		})
	}
}

func TestBodySizeOnTheWire(t *testing.T) {
	m, _ := newMux(t)
	m.Handle("POST /echo", web.Hub, echo)
	addr := listen(t, m)
	head := "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
	chunked := func(body string) string {
		var b strings.Builder
		b.WriteString(head + "Transfer-Encoding: chunked\r\n\r\n")
		for len(body) > 0 {
			n := min(len(body), 60_000)
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
			body = body[n:]
		}
		return b.String() + "0\r\n\r\n"
	}
	sized := func(body string) string { return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body) }
	tests := []struct {
		name, send string
		status     int
	}{
		{"sized, at the limit", sized(padded(web.MaxBody)), 200},
		{"JS-11 sized, over", sized(padded(web.MaxBody + 1)), 413},
		{"chunked, at the limit", chunked(padded(web.MaxBody)), 200},
		{"JS-11 chunked, over", chunked(padded(web.MaxBody + 1)), 413},
		{"JS-11 announced only", head + "Content-Length: 1000000000\r\n\r\n", 413},
		{"JS-23 refused unread", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", 415},
		{"short body", head + "Content-Length: 20\r\n\r\n{}", 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := statuses(t, raw(t, addr, tt.send)); len(got) != 1 || got[0] != tt.status {
				t.Errorf("got %v, want %d", got, tt.status)
			}
		})
	}
}

func TestBodyErrorOfAStreamedBody(t *testing.T) {
	m, _ := newMux(t)
	m.Handle("POST /up", web.Platform, func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
		r.Body = http.MaxBytesReader(w, r.Body, 10<<20)
		b := make([]byte, 1<<20)
		for {
			if _, err := r.Body.Read(b); err != nil {
				return web.Answer{}, web.BodyError(err)
			}
		}
	})
	w := call(m, "POST", "/up", strings.Repeat("x", 10<<20+1))
	if w.Code != 413 || !strings.Contains(w.Body.String(), "10 MiB") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestReadRawTakesAnyType(t *testing.T) {
	m, _ := newMux(t)
	m.Handle("POST /raw", web.Hub, func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
		b, err := web.ReadRaw(r, 10)
		return web.JSON(200, string(b)), err
	})
	if w := call(m, "POST", "/raw", "0123456789", "Content-Type", "text/plain"); w.Code != 200 || w.Body.String() != `"0123456789"` {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if w := call(m, "POST", "/raw", "0123456789a"); w.Code != 413 || !strings.Contains(w.Body.String(), "10 bytes") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}
