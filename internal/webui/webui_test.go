package webui_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/clock"
	"tract/internal/web"
	"tract/internal/webui"
)

const goodLink = "one-time"

// pages serves the pages with a server that knows one link.
func pages(t *testing.T, ready bool) (h http.Handler, asked *[]string) {
	t.Helper()
	asked = new([]string)
	m := web.NewMux(web.Config{Now: clock.System})
	used := &tract.Error{Kind: tract.KindForbidden, Code: "invalid_setup_link", Msg: "this link was used before"}
	webui.Routes(m, webui.Config{
		Check: func(_ context.Context, link string) error {
			if link == "old" {
				return used
			}
			return nil
		},
		Create: func(_ context.Context, link, email, name, password string) (string, error) {
			*asked = append(*asked, strings.Join([]string{link, email, name, password}, "|"))
			switch {
			case link != goodLink:
				return "", used
			case len(password) < 12:
				return "", tract.Invalid("field_value", "the password must have 12 to 256 characters")
			case name == "broken":
				return "", errors.New("the disk is on fire")
			}
			return "adm_<secret>", nil
		},
		Ready:     func(context.Context) bool { return ready },
		PublicURL: "https://hub.example",
	})
	return m, asked
}

func call(t *testing.T, h http.Handler, method, target, body string, header map[string]string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for k, v := range header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), w.Body.String()
}

func TestSetup(t *testing.T) {
	form := func(link, email, name, password string) string {
		return url.Values{"token": {link}, "email": {email}, "name": {name}, "password": {password}}.Encode()
	}
	urlencoded := map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Origin": "https://hub.example"}
	tests := []struct {
		name         string
		method, path string
		body         string
		header       map[string]string
		status       int
		shows        []string
		hides        []string
		asked        []string
	}{
		{"without a link", "GET", "/setup", "", nil, 200, []string{"A link is needed"}, []string{"<form"}, nil},
		{"with a link", "GET", "/setup/?token=" + goodLink, "", nil, 200, []string{"<form", `value="one-time"`, `minlength="12"`}, nil, nil},
		{"with an old link", "GET", "/setup?token=old", "", nil, 403, []string{"this link was used before"}, []string{"<form"}, nil},
		{"a link of markup", "GET", `/setup?token=%22%3E%3Cscript%3E`, "", nil, 200, []string{"&#34;&gt;&lt;script&gt;"}, []string{"<script>"}, nil},
		{"created", "POST", "/setup", form(goodLink, "mia@acme.example", "Mia", "correct horse battery"), urlencoded, 200,
			[]string{"adm_&lt;secret&gt;", "tract apply -f acme.yaml --server https://hub.example"}, []string{"<form", "correct horse"}, []string{"one-time|mia@acme.example|Mia|correct horse battery"}},
		{"to be corrected", "POST", "/setup", form(goodLink, "mia@acme.example", "Mia", "short"), urlencoded, 400,
			[]string{"12 to 256 characters", `value="mia@acme.example"`, `value="one-time"`}, []string{"short"}, []string{"one-time|mia@acme.example|Mia|short"}},
		{"used before", "POST", "/setup", form("old", "mia@acme.example", "Mia", "correct horse battery"), urlencoded, 403, []string{"this link was used before"}, []string{"<form"}, []string{"old|mia@acme.example|Mia|correct horse battery"}},
		{"our fault", "POST", "/setup", form(goodLink, "mia@acme.example", "broken", "correct horse battery"), urlencoded, 500, []string{"internal error"}, []string{"fire"}, []string{"one-time|mia@acme.example|broken|correct horse battery"}},
		{"JSON", "POST", "/setup", `{"token":"one-time"}`, map[string]string{"Content-Type": "application/json"}, 415, []string{"did not work"}, nil, nil},
		{"too large", "POST", "/setup", "name=" + strings.Repeat("x", 9<<10), urlencoded, 413, []string{"larger than 8 KiB"}, nil, nil},
		{"malformed", "POST", "/setup", "name=%zz", urlencoded, 400, []string{"malformed"}, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, asked := pages(t, true)
			res, body := call(t, h, tt.method, "http://hub.example"+tt.path, tt.body, tt.header)
			if res.StatusCode != tt.status || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
				t.Errorf("%d %s", res.StatusCode, res.Header.Get("Content-Type"))
			}
			if csp := res.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'self';") {
				t.Errorf("Content-Security-Policy: %q", csp)
			}
			if res.Header.Get("Referrer-Policy") != "same-origin" || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers: %v", res.Header)
			}
			for _, s := range tt.shows {
				if !strings.Contains(body, s) {
					t.Errorf("the page lacks %q:\n%s", s, body)
				}
			}
			for _, s := range tt.hides {
				if strings.Contains(body, s) {
					t.Errorf("the page has %q:\n%s", s, body)
				}
			}
			if diff := cmp.Diff(tt.asked, *asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			if bad := regexp.MustCompile(`(?i)<script[^>]*>[^<]|<style|\sstyle=|\son[a-z]+=`).FindString(body); bad != "" {
				t.Errorf("the page has %q, which its policy forbids", bad)
			}
		})
	}
}

func TestHome(t *testing.T) {
	for ready, want := range map[bool]string{true: "Ready.", false: "Not ready."} {
		h, _ := pages(t, ready)
		res, body := call(t, h, "GET", "http://10.0.0.1:8080/", "", nil)
		if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") || !strings.HasPrefix(res.Header.Get("Content-Security-Policy"), "default-src 'self';") {
			t.Errorf("%d %v", res.StatusCode, res.Header)
		}
		for _, s := range []string{want, `href="/docs"`, "--server https://hub.example"} {
			if !strings.Contains(body, s) {
				t.Errorf("ready %v: the page lacks %q:\n%s", ready, s, body)
			}
		}
	}
}

func TestForeignOriginIsNotShown(t *testing.T) {
	h, _ := pages(t, true)
	body := url.Values{"token": {goodLink}, "email": {"a@b.example"}, "name": {"A"}, "password": {"correct horse battery"}}.Encode()
	_, page := call(t, h, "POST", "http://hub.example/setup", body, map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Origin": "https://evil.example"})
	if strings.Contains(page, "evil") || !strings.Contains(page, "--server http://hub.example") {
		t.Errorf("the command names another server:\n%s", page)
	}
}

func TestAssets(t *testing.T) {
	h, _ := pages(t, true)
	for path, kind := range map[string]string{"/ui/base.css": "text/css; charset=utf-8", "/ui/setup.js": "text/javascript; charset=utf-8", "/ui/icon.svg": "image/svg+xml"} {
		res, body := call(t, h, "GET", path, "", nil)
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != kind || body == "" {
			t.Errorf("%s: %d %s", path, res.StatusCode, res.Header.Get("Content-Type"))
		}
	}
	for _, path := range []string{"/ui/none.css", "/ui/..%2fsetup.html", "/ui/"} {
		if res, _ := call(t, h, "GET", path, "", nil); res.StatusCode != 404 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

// TestContrast holds the colours against WCAG AA: 4.5 for text on every surface
// it stands on, in both schemes.
func TestContrast(t *testing.T) {
	css, _, _ := webui.Asset("base.css")
	light, dark := schemes(t, string(css))
	pairs := [][2]string{}
	for _, surface := range []string{"page", "surface", "sunken"} {
		for _, text := range []string{"text", "soft", "accent"} {
			pairs = append(pairs, [2]string{text, surface})
		}
	}
	for _, name := range []string{"accent", "good", "warn", "bad", "iva", "one", "two", "sac"} {
		pairs = append(pairs, [2]string{name, name + "-soft"}, [2]string{name, "surface"}, [2]string{"text", name + "-soft"}, [2]string{"soft", name + "-soft"})
	}
	pairs = append(pairs, [2]string{"on-accent", "accent"}, [2]string{"on-fill", "fill"}, [2]string{"on-fill", "fill-deep"}, [2]string{"surface", "one"}, [2]string{"surface", "two"})
	for name, scheme := range map[string]map[string]string{"light": light, "dark": dark} {
		for _, p := range pairs {
			if got := contrast(t, scheme[p[0]], scheme[p[1]]); got < 4.5 {
				t.Errorf("%s: %s on %s has a contrast of %.2f", name, p[0], p[1], got)
			}
		}
	}
}
