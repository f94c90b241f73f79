package apidocs_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	apidocs "tract/docs/api"
	"tract/internal/tracttest"
)

// The calls that the page offers to be copied, as a browser shows them.
func shownCalls(t *testing.T) []string {
	t.Helper()
	path := tracttest.Browser(t)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, kind := apidocs.HTML(), "text/html; charset=utf-8"
		if asset, assetKind, ok := apidocs.Asset(strings.TrimPrefix(r.URL.Path, "/docs/")); ok {
			body, kind = asset, assetKind
		} else if r.URL.Path == "/openapi.json" {
			body, kind = apidocs.JSON(), "application/json"
		}
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(body)
	}))
	defer page.Close()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ctx, end := chromedp.NewExecAllocator(ctx, options...)
	defer end()
	ctx, closeTab := chromedp.NewContext(ctx)
	defer closeTab()
	var texts string
	read := func(ctx context.Context, target *chromedp.Target) (_ chromedp.Void, err error) {
		texts, err = chromedp.Poll[string](`[...document.querySelectorAll("pre")].map((n) => n.textContent).filter((s) => s.startsWith("curl")).join("\n\n")`)(ctx, target)
		return chromedp.Void{}, err
	}
	if err := chromedp.Do(ctx, chromedp.Navigate(page.URL+"/docs"), read); err != nil {
		t.Fatal(err)
	}
	return strings.Split(texts, "\n\n")
}

// A call that is copied must not fail for what the page put into it: an open
// brace that curl takes for a list, a condition that does not hold, the key of
// another call, a form that is sent as JSON.
func TestCallsWorkAsCopied(t *testing.T) {
	calls := shownCalls(t)
	if len(calls) < 100 {
		t.Fatalf("the page shows %d calls", len(calls))
	}
	all := strings.Join(calls, "\n\n")
	for _, bad := range []string{`'http[^']*[{}][^']*'`, `-H 'If-(None-)?Match`, `-H 'Idempotency-Key`, `cursor=`, `dry_run=`, `curl -X GET`} {
		if found := regexp.MustCompile(bad).FindString(all); found != "" {
			t.Errorf("a call has %s", found)
		}
	}
	for path, want := range map[string][]string{
		"/mogambo_api/nodes/faq/create/'":                             {"curl -X POST", "-F 'domain_name=acme_faq'", "-F 'csv_file=@faq.csv'"},
		"/v1.0/log_file_from_user/'":                                  {"curl -X POST", "-F 'file=@scratch.png'"},
		"/setup'":                                                     {"--data-urlencode 'name=Mia'"},
		"/api/clients/acme/bots/acme_faq/models/'":                    {"curl 'http"},
		"/integration/external/v2.0/get_chat_history/'":               {"curl -G", "--data-urlencode 'conversation_no=1'"},
		"/tract/management/token/issue/'":                             {`-H "Signature-256: $SIGNATURE_256"`},
		"/api/clients/acme/tools/desk-one/certificates/":              {"curl -X DELETE"},
		"/api/clients/acme/agents/mia%40acme.example/'":               {"curl -X DELETE"},
		"/api/clients/acme/businesses/343/channels/":                  {"curl -X POST"},
		"/api/clients/acme/bots/acme_faq/models/compare/'":            {"curl -G", "--data-urlencode 'from=5'"},
		"/api/clients/acme/threads/qv8ZC1n3T0m4uJ7xWk2aRg/complete/'": {"curl -X POST"},
	} {
		fits := func(call string) bool {
			for _, s := range append(want, path) {
				if !strings.Contains(call, s) {
					return false
				}
			}
			return true
		}
		found := false
		for _, call := range calls {
			found = found || fits(call)
		}
		if !found {
			t.Errorf("no call to %s has %q", path, want)
		}
	}
}
