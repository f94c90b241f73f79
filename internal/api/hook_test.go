package api_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract/internal/apitest"
	"tract/internal/sign"
)

func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	_ = json.Compact(&b, raw)
	return b.String()
}

func registering(fields m) func(w *apitest.World, u apitest.User) apitest.Answer {
	return func(w *apitest.World, _ apitest.User) apitest.Answer {
		return w.Tool("desk-two", "POST", "/tract/hooks/register/", with(m{"category": "message", "subcategory": "receive", "url": w.Two.URL("/m")}, fields))
	}
}

func TestRegisterHook(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		a := registering(nil)(w, apitest.User{}).Want(t, 200)
		if !strings.HasPrefix(a.Text("secret"), "whsec_") || a.Text("hook.url") != w.Two.URL("/m") || a.At("hook.enabled") != true {
			t.Errorf("first: %s", a)
		}
		if b := registering(m{"url": w.Two.URL("/other")})(w, apitest.User{}).Want(t, 200); b.At("secret") != nil || b.Text("hook.url") != w.Two.URL("/other") {
			t.Errorf("WH-05 again: %s", b)
		}
		if b := registering(m{"rotate_secret": true})(w, apitest.User{}).Want(t, 200); b.Text("secret") == "" || b.Text("secret") == a.Text("secret") {
			t.Errorf("rotated: %s", b)
		}
		truths(t, w, nobody, []row{
			{name: "another name", call: registering(m{"category": "conversation_state", "subcategory": "waiting"}), status: 200},
			{name: "unknown pair", call: registering(m{"subcategory": "nope"}), status: 400, code: "unknown_event"},
			{name: "a pair that only tools send", call: registering(m{"category": "aeu_events", "subcategory": "received"}), status: 400, code: "unknown_event"},
			{name: "no category", call: registering(m{"category": remove}), status: 400, code: "field_missing"},
			{name: "no subcategory", call: registering(m{"subcategory": ""}), status: 400, code: "field_missing"},
			{name: "category a number", call: registering(m{"category": 5}), status: 400, code: "field_type"},
			{name: "no url", call: registering(m{"url": remove}), status: 400, code: "field_missing"},
			{name: "url a number", call: registering(m{"url": 5}), status: 400, code: "field_type"},
			{name: "rotate a string", call: registering(m{"rotate_secret": "true"}), status: 400, code: "field_type"},
		})
	})
}

// The rows WH-01 … WH-04: what a tool may not give as its address.
func TestBadHookURLs(t *testing.T) {
	strict := func(s *apitest.Settings) {
		s.Server.AllowPrivate = false
		s.Fixture = func(yaml string) string { // its channels are on loopback
			return regexp.MustCompile(`\{platform: webhook[^}]*\}`).ReplaceAllString(yaml, `{platform: websdk, allowed_origins: ["https://a.example"]}`)
		}
	}
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		for _, url := range []string{
			"http://tool.example/x", "ftp://tool.example/x", "file:///etc/passwd", "gopher://tool.example", "unix:/run/x", "javascript:alert(1)", "not a url", "https:tool.example", "//tool.example/x",
			"https://127.0.0.1/x", "https://10.0.0.1/x", "https://192.168.1.1/x", "https://172.16.0.1/x", "https://169.254.169.254/latest", "https://100.64.0.1/x", "https://0.0.0.0/x", "https://[::1]/x",
			"https://[::ffff:127.0.0.1]/x", "https://[64:ff9b::7f00:1]/x", "https://[fe80::1]/x", "https://[fc00::1]/x", "https://2130706433/x", "https://0x7f.1/x", "https://0177.0.0.1/x", "https://224.0.0.1/x",
			"https://localhost/x", "https://hub/x",
			"https://u:p@tool.example/x", "https://tool.example/x#y", "https://tool.example:0/x", "https://tool.example:22/x", "https://tool.example:25/x", "https://tool.example:65536/x", "https://tool.example./x", "https:///x",
			"https://tool.example/" + strings.Repeat("x", 2048), "https://tool.example/\u0000", "https://tool.example/a b",
		} {
			a := registering(m{"url": url})(w, apitest.User{})
			if a.Status != 400 || a.Message() == "" {
				t.Errorf("%.80q: %s", url, a)
			}
		}
	}, strict)
}

func TestListHooks(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		a := w.Tool("desk-one", "GET", "/tract/hooks/list/", nil).Want(t, 200)
		if !cmp.Equal(a.At("registered_webhooks"), any(m{})) || !cmp.Equal(a.At("hooks"), any([]any{})) {
			t.Errorf("none registered: %s", a)
		}
		if list, _ := a.At("available").([]any); len(list) != 25 {
			t.Errorf("%d names are available: %s", len(list), a)
		}
		w.Hooks("desk-one", "message/receive", "conversation_state/waiting")
		w.Hooks("desk-two", "message/receive")
		for _, path := range []string{"/tract/hooks/list/", "/tract/hooks/list"} {
			a := w.Tool("desk-one", "GET", path, nil).Want(t, 200)
			want := m{"message": m{"receive": w.One.URL("/message/receive")}, "conversation_state": m{"waiting": w.One.URL("/conversation_state/waiting")}}
			if diff := cmp.Diff(any(want), a.At("registered_webhooks")); diff != "" {
				t.Errorf("registered (-want +got):\n%s", diff)
			}
			if a.Text("hooks.0.state") != "ok" || a.Int("hooks.0.queued") != 0 {
				t.Errorf("health: %s", a)
			}
		}
	})
}

func TestDeleteAndEnableHook(t *testing.T) {
	name := m{"category": "message", "subcategory": "receive"}
	call := func(method, path string, fields m) func(*apitest.World, apitest.User) apitest.Answer {
		return func(w *apitest.World, _ apitest.User) apitest.Answer {
			return w.Tool("desk-one", method, path, with(name, fields))
		}
	}
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-two", "message/receive")
		w.Hooks("desk-one", "message/receive")
		truths(t, w, nobody, []row{
			{name: "enable what is enabled", call: call("POST", "/tract/hooks/enable/", nil), status: 200, body: m{"error": nil, "hook.enabled": true, "hook.state": "ok"}},
			{name: "delete", call: call("DELETE", "/tract/hooks/", nil), status: 200, body: m{"error": nil}},
			{name: "delete again", call: call("DELETE", "/tract/hooks/", nil), status: 404, code: "not_found"},
			{name: "enable what is gone", call: call("POST", "/tract/hooks/enable/", nil), status: 404, code: "not_found"},
			{name: "test what is gone", call: call("POST", "/tract/hooks/test/", nil), status: 404, code: "not_found"},
			{name: "delete an unknown pair", call: call("DELETE", "/tract/hooks/", m{"category": "x"}), status: 400, code: "unknown_event"},
			{name: "delete nothing", call: call("DELETE", "/tract/hooks/", m{"category": remove}), status: 400, code: "field_missing"},
			{name: "delete without a body", call: func(w *apitest.World, _ apitest.User) apitest.Answer {
				return w.Tool("desk-one", "DELETE", "/tract/hooks/", nil)
			}, status: 415, code: "unsupported_media_type"},
		})
		// The other tool still has its own.
		if got := w.Tool("desk-two", "GET", "/tract/hooks/list/", nil).Text("registered_webhooks.message.receive"); got == "" {
			t.Error("the other tool's hook is gone, too")
		}
	})
}

func TestTestHook(t *testing.T) {
	test := func(w *apitest.World) apitest.Answer {
		return w.Tool("desk-one", "POST", "/tract/hooks/test/", m{"category": "message", "subcategory": "receive"})
	}
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		secret := w.Register("desk-one", "message", "receive").Text("secret")
		w.One.Script(func(*apitest.Hook) (int, string) { return 202, `{"got": "it"}` })
		if a := test(w).Want(t, 200); a.Int("status") != 202 || a.At("error") != nil || !strings.Contains(a.Text("body"), "got") {
			t.Errorf("answered: %s", a)
		}
		h := w.One.Wait(t, "the ping", func(h *apitest.Hook) bool { return h.Name() == "ping" })
		if err := sign.Verify(secret, h.Header, h.Raw, h.When, time.Minute); err != nil {
			t.Errorf("the ping's signature: %v", err)
		}
		w.One.Script(func(*apitest.Hook) (int, string) { return 500, "" })
		if a := test(w).Want(t, 200); a.Int("status") != 500 {
			t.Errorf("failing: %s", a)
		}
		w.Tool("desk-one", "POST", "/tract/hooks/register/", m{"category": "message", "subcategory": "receive", "url": "http://127.0.0.1:1/x"}).Want(t, 200)
		if a := test(w).Want(t, 200); a.Text("error") == "" {
			t.Errorf("nobody there: %s", a)
		}
	})
}
