package apidocs_test

import (
	"regexp"
	"strings"
	"testing"

	apidocs "tract/docs/api"
)

func TestPageLoadsOnlyItsOwnAssets(t *testing.T) {
	html := string(apidocs.HTML())
	loads := regexp.MustCompile(`(?:src|href)="(/[^"]*)"`).FindAllStringSubmatch(html, -1)
	if len(loads) < 3 {
		t.Fatalf("found only %d links in the page", len(loads))
	}
	for _, m := range loads {
		if m[1] == "/openapi.json" {
			continue
		}
		name, below := strings.CutPrefix(m[1], "/docs/")
		if _, _, ok := apidocs.Asset(name); !below || !ok {
			t.Errorf("the page refers to %s, which is not served", m[1])
		}
	}
}

func TestAssets(t *testing.T) {
	tests := []struct {
		name, contentType string
		ok                bool
	}{
		{"reference.js", "text/javascript; charset=utf-8", true},
		{"reference.css", "text/css; charset=utf-8", true},
		{"reference.svg", "image/svg+xml", true},
		{"openapi.yaml", "", false},
		{"../api.go", "", false},
		{"", "", false},
	}
	for _, tt := range tests {
		data, contentType, ok := apidocs.Asset(tt.name)
		if ok != tt.ok || contentType != tt.contentType || (len(data) > 0) != tt.ok {
			t.Errorf("Asset(%q) = %d bytes, %q, %v", tt.name, len(data), contentType, ok)
		}
	}
}

// What the policy default-src 'self' would stop, and what would turn a text
// of the description into markup.
func TestPageKeepsToItsPolicy(t *testing.T) {
	js, _, _ := apidocs.Asset("reference.js")
	css, _, _ := apidocs.Asset("reference.css")
	files := map[string]string{"reference.html": string(apidocs.HTML()), "reference.js": string(js), "reference.css": string(css)}
	banned := []struct {
		why string
		re  *regexp.Regexp
	}{
		{"loads from elsewhere", regexp.MustCompile(`https?://|//cdn|@import|url\(`)},
		{"has inline code or style", regexp.MustCompile(`<style|\sstyle=|\son[a-z]+="|<script(?:\s[^>]*)?>[^<]`)},
		{"writes markup or evaluates text", regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|createContextualFragment|\.srcdoc`)},
	}
	for name, text := range files {
		if text == "" {
			t.Errorf("%s is empty", name)
		}
		for _, b := range banned {
			if found := b.re.FindString(text); found != "" {
				t.Errorf("%s %s: %q", name, b.why, found)
			}
		}
	}
}
