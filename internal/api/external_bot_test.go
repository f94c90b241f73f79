package api_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"tract/internal/apitest"
	"tract/internal/clock"
	"tract/internal/manifest"
	"tract/internal/sign"
	"tract/internal/store"
)

// From the declarative file to the user: the secret is sealed on the way in and
// signs on the way out, and nothing shows it in between.
func TestExternalBotFromFileToUser(t *testing.T) {
	const secret = "whsec_ZXh0ZXJuYWwgYm90cyBvd24gc2VjcmV0"
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		var mu sync.Mutex // guards calls
		calls := 0
		bot := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err == nil {
				err = sign.Verify(secret, r.Header, body, clock.System(), 60e9)
			}
			if err != nil || !strings.Contains(string(body), `"original_text":"`+apitest.Answerable+`"`) {
				t.Errorf("%v: %s", err, body)
			}
			mu.Lock()
			defer mu.Unlock()
			calls++
			fmt.Fprint(out, `{"response":["Somebody else says hello."],"status":true}`)
		}))
		defer bot.Close()
		say := func() apitest.Answer {
			u := w.User()
			return w.Platform("POST", "/v1.0/message/sync/", u.Message(apitest.Answerable)).Want(t, 200)
		}
		if got := say().Text("message.0.body.text"); got != apitest.AnswerText || calls != 0 {
			t.Errorf("before it was configured: %q after %d calls", got, calls)
		}
		file := strings.Replace(w.Fixture(), "{id: 343, name: Acme Support, bot: acme_faq,", fmt.Sprintf("{id: 343, name: Acme Support, bot: acme_faq, external_bot: {kind: webhook, url: %q, secret: %s},", bot.URL, secret), 1)
		w.Apply(file, manifest.Flags{})
		if got := say().Text("message.0.body.text"); got != "Somebody else says hello." {
			t.Errorf("it said %q", got)
		}
		if calls != 1 {
			t.Errorf("%d calls", calls)
		}
		metrics := string(w.Call("GET", "/metrics", nil).Want(t, 200).Body)
		if want := `tract_bot_external_calls_total{kind="webhook",result="answered"} 1`; !strings.Contains(metrics, want) {
			t.Errorf("%s is not among the metrics", want)
		}
		exported, err := w.Server.Manifest.Export(t.Context())
		if err != nil || !strings.Contains(string(exported), "external_bot:") {
			t.Errorf("%v\n%s", err, exported)
		}
		w.View(func(tx *store.Tx) error {
			docs, err := tx.ListDocuments(w.ClientKey("acme"))
			audit, err2 := tx.ListAudit(w.ClientKey("acme"), 1000)
			stored := ""
			for _, d := range docs {
				stored += string(d.Body)
			}
			for _, shown := range []string{string(exported), metrics, fmt.Sprintf("%+v", audit), stored} {
				if strings.Contains(shown, secret) || strings.Contains(shown, secret[6:]) {
					t.Errorf("the secret shows in %s", shown)
				}
			}
			if err == nil {
				err = err2
			}
			return err
		})
		// Taken out of the file it is off again.
		w.Apply(w.Fixture(), manifest.Flags{})
		if got := say().Text("message.0.body.text"); got != apitest.AnswerText {
			t.Errorf("after it was removed: %q", got)
		}
	})
}
