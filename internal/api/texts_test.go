package api_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/apitest"
	"tract/internal/store"
)

const acmeTexts = "/api/clients/acme/texts/"

// texting makes a call about texts as the administrator.
func texting(method, path string, body any, headers ...string) func(*apitest.World, apitest.User) apitest.Answer {
	return func(w *apitest.World, _ apitest.User) apitest.Answer {
		return w.Call(method, path, body, append([]string{"Authorization: Bearer " + w.AdminToken}, headers...)...)
	}
}

// putText writes a text of acme of no language.
func putText(w *apitest.World, key, text string) {
	w.T.Helper()
	if a := texting("PUT", acmeTexts+key+"/default", m{"text": text})(w, apitest.User{}); a.Status/100 != 2 {
		w.T.Fatalf("put %s: %s", key, a)
	}
}

func TestTextsAPI(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		hours := acmeTexts + "opening_hours"
		two := m{"texts": m{"en": "Mon", "de_at": "Mo"}, "fallback": "en"}
		truths(t, w, nobody, []row{
			{name: "none yet", call: texting("GET", acmeTexts, nil), status: 200, body: m{"texts": []any{}, "next_cursor": nil}},
			{name: "no such text", call: texting("GET", hours, nil), status: 404, code: "not_found"},
			{name: "no history", call: texting("GET", hours+"/history", nil), status: 404, code: "not_found"},
			{name: "nothing to match", call: texting("PUT", hours, two, "If-Match: *"), status: 412, code: "precondition_failed"},
			{name: "create", call: texting("PUT", hours, two, "If-None-Match: *"), status: 201, body: m{"key": "opening_hours", "texts.en": "Mon", "texts.de-AT": "Mo", "fallback": "en", "version": 1.0, "updated_by": "admin", "warnings": []any{}}},
			{name: "exists already", call: texting("PUT", hours, two, "If-None-Match: *"), status: 412, code: "precondition_failed"},
			{name: "the same again", call: texting("PUT", hours+"/", two), status: 200, body: m{"version": 1.0}},
			{name: "one language", call: texting("PUT", hours+"/fr", m{"text": "Lun {{text:nope}}"}, `If-Match: "7", "1"`), status: 200, body: m{"version": 2.0, "texts.fr": "Lun {{text:nope}}", "texts.en": "Mon", "fallback": "en", "warnings.0": "it names the text nope, which does not exist: it is shown as written"}},
			{name: "moved", call: texting("PUT", hours+"/fr/", m{"text": "Lun"}, `If-Match: "1"`), status: 412, code: "precondition_failed"},
			{name: "a weak tag matches nothing", call: texting("PUT", hours, two, `If-Match: W/"2"`), status: 412, code: "precondition_failed"},
			{name: "default", call: texting("PUT", hours+"/default", m{"text": "M"}), status: 200, body: m{"version": 3.0, "texts.default": "M", "texts.en": "Mon", "fallback": "default"}},
			{name: "read", call: texting("GET", hours+"/", nil), status: 200, body: m{"version": 3.0, "texts.fr": "Lun {{text:nope}}"}},
			{name: "history", call: texting("GET", hours+"/history/?limit=2", nil), status: 200, body: m{"changes.0.version": 3.0, "changes.0.from.fallback": "en", "changes.0.to.texts.default": "M", "changes.0.via": "rest", "changes.0.actor": "admin", "changes.1.version": 2.0, "changes.2": nil}},
			{name: "restore", call: texting("POST", hours+"/restore", m{"version": 1}), status: 200, body: m{"version": 4.0, "texts.fr": nil, "texts.en": "Mon", "fallback": "en"}},
			{name: "restore, moved", call: texting("POST", hours+"/restore/", m{"version": 3}, `If-Match: "3"`), status: 412, code: "precondition_failed"},
			{name: "restore what never was", call: texting("POST", hours+"/restore/", m{"version": 9}), status: 404, code: "not_found"},
			{name: "restore nothing", call: texting("POST", hours+"/restore/", m{}), status: 400, code: "field_missing"},
			{name: "restore zero", call: texting("POST", hours+"/restore/", m{"version": 0}), status: 400, code: "field_value"},
			{name: "remove, moved", call: texting("DELETE", hours, nil, `If-Match: "3"`), status: 412, code: "precondition_failed"},
			{name: "remove", call: texting("DELETE", hours, nil, `If-Match: "4"`), status: 204},
			{name: "remove again", call: texting("DELETE", hours+"/", nil), status: 404, code: "not_found"},
			{name: "history of what is gone", call: texting("GET", hours+"/history/", nil), status: 200, body: m{"changes.0.version": 5.0, "changes.0.to": nil, "changes.4.from": nil}},
			{name: "a removal is nothing to restore", call: texting("POST", hours+"/restore", m{"version": 5}), status: 400, code: "field_value"},
			{name: "restore what is gone", call: texting("POST", hours+"/restore", m{"version": 2}, "If-None-Match: *"), status: 201, body: m{"version": 6.0, "texts.fr": "Lun {{text:nope}}"}},
			{name: "first language", call: texting("PUT", acmeTexts+"greeting/pt-br", m{"text": "Oi"}), status: 201, body: m{"fallback": "pt-BR", "texts.pt-BR": "Oi"}},

			{name: "circle", call: texting("PUT", acmeTexts+"nope/default", m{"text": "{{text:opening_hours}}"}), status: 400, code: "text_nesting"},
			{name: "too long", call: texting("PUT", acmeTexts+"x/default", m{"text": strings.Repeat("x", 16<<10+1)}), status: 400, code: "text_too_long"},
			{name: "bad key", call: texting("PUT", acmeTexts+"a%20b/default", m{"text": "x"}), status: 400, code: "text_key"},
			{name: "bad language", call: texting("PUT", acmeTexts+"x/english", m{"text": "x"}), status: 400, code: "text_invalid"},
			{name: "no fallback", call: texting("PUT", acmeTexts+"x", m{"texts": m{"en": "a", "de": "b"}}), status: 400, code: "text_invalid"},
			{name: "no texts", call: texting("PUT", acmeTexts+"x", m{}), status: 400, code: "field_missing"},
			{name: "no text", call: texting("PUT", acmeTexts+"x/en", m{"texts": m{}}), status: 400, code: "field_missing"},
			{name: "null", call: texting("PUT", acmeTexts+"x", m{"texts": m{"en": nil}}), status: 400, code: "field_type"},
			{name: "not JSON", call: texting("PUT", acmeTexts+"x", "x", "Content-Type: text/plain"), status: 415, code: "unsupported_media_type"},
			{name: "too large", call: texting("PUT", acmeTexts+"x/en", m{"text": strings.Repeat("x", 300<<10)}), status: 413, code: "too_large"},
			{name: "unknown client", call: texting("PUT", "/api/clients/nobody/texts/x/en", m{"text": "x"}), status: 404, code: "not_found"},
			{name: "list of an unknown client", call: texting("GET", "/api/clients/nobody/texts", nil), status: 404, code: "not_found"},
			{name: "limit", call: texting("GET", acmeTexts+"?limit=101", nil), status: 400, code: "invalid_limit"},
			{name: "cursor", call: texting("GET", acmeTexts+"?cursor=x", nil), status: 400, code: "invalid_cursor"},
			{name: "prefix", call: texting("GET", acmeTexts+"?prefix=%25", nil), status: 400, code: "text_key"},
			{name: "no token", call: calling("GET", acmeTexts, nil), status: 401, code: "invalid_token"},
			{name: "a client's token", call: calling("PUT", hours, two, "Authorization: Bearer "+w.Token), status: 401, code: "invalid_token"},
		})
		if a := texting("GET", hours, nil)(w, apitest.User{}); a.Header.Get("ETag") != `"6"` {
			t.Errorf("ETag %q", a.Header.Get("ETag"))
		}
		if a := texting("PUT", hours+"/it", m{"text": "Lu"})(w, apitest.User{}); a.Header.Get("ETag") != `"7"` {
			t.Errorf("ETag %q after a change", a.Header.Get("ETag"))
		}
		w.View(func(tx *store.Tx) error {
			lines, err := tx.ListAudit(w.ClientKey("acme"), 3)
			var got []string
			for _, l := range lines {
				got = append(got, l.Actor+" "+l.Action+" "+l.Target)
			}
			if d := cmp.Diff([]string{"admin configuration_changed acme/text/opening_hours", "admin configuration_added acme/text/greeting", "admin configuration_added acme/text/opening_hours"}, got); d != "" {
				t.Errorf("audit: %s", d)
			}
			return err
		})
	})
}

func TestTextPages(t *testing.T) {
	w := apitest.New(t, apitest.SQLite(t))
	for i := range 7 {
		putText(w, fmt.Sprintf("p.%d", i), "x")
		putText(w, fmt.Sprintf("q.%d", i), "x")
	}
	var got []string
	query := "?prefix=p&limit=3"
	for {
		a := texting("GET", acmeTexts+query, nil)(w, apitest.User{}).Want(t, 200)
		list, _ := a.At("texts").([]any)
		for _, one := range list {
			got = append(got, one.(map[string]any)["key"].(string))
		}
		next := a.Text("next_cursor")
		if next == "" {
			break
		}
		if b := texting("GET", acmeTexts+"?prefix=q&cursor="+next, nil)(w, apitest.User{}); b.Code() != "invalid_cursor" {
			t.Errorf("the cursor of another list: %s", b)
		}
		query = "?prefix=p&limit=3&cursor=" + next
	}
	if d := cmp.Diff([]string{"p.0", "p.1", "p.2", "p.3", "p.4", "p.5", "p.6"}, got); d != "" {
		t.Error(d)
	}
	for i := range 5 {
		putText(w, "p.0", fmt.Sprint(i))
	}
	a := texting("GET", acmeTexts+"p.0/history?limit=4", nil)(w, apitest.User{})
	a = texting("GET", acmeTexts+"p.0/history?limit=4&cursor="+a.Text("next_cursor"), nil)(w, apitest.User{})
	if a.Int("changes.0.version") != 2 || a.Int("changes.1.version") != 1 || a.At("changes.2") != nil || a.At("next_cursor") != nil {
		t.Errorf("second page of the history: %s", a)
	}
}

// Of many who change a text with the same If-Match, one does.
func TestTextChangesWithIfMatch(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		putText(w, "k", "x")
		var mu sync.Mutex // guards count
		count := map[int]int{}
		apitest.Race(8, func(i int) {
			a := texting("PUT", acmeTexts+"k/en", m{"text": fmt.Sprint(i)}, `If-Match: "1"`)(w, apitest.User{})
			mu.Lock()
			defer mu.Unlock()
			count[a.Status]++
		})
		if d := cmp.Diff(map[int]int{200: 1, 412: 7}, count); d != "" {
			t.Error(d)
		}
		// Two texts that would name each other are never both there.
		apitest.Race(6, func(i int) {
			key, other := "a", "b"
			if i%2 == 0 {
				key, other = other, key
			}
			texting("PUT", acmeTexts+key, m{"texts": m{"en": "{{text:" + other + "}}"}})(w, apitest.User{})
		})
		w.View(func(tx *store.Tx) error {
			all, err := tx.Texts(w.ClientKey("acme"))
			if _, a := all["a"]; a {
				if _, b := all["b"]; b {
					t.Error("a and b name each other")
				}
			}
			return err
		})
	})
}

// wordedFAQ is what the bot acme_import answers.
const wordedFAQ = faqHead + `Hours,"when are you open|what are your opening hours|opening times","We are open {{text:hours}}, {{user.name}}.<m>{""text"":""{{text:more}}"",""type"":""BUTTON"",""data"":{""items"":[{""actionable_text"":""{{text:more}}"",""type"":""WEBVIEW"",""payload"":{""url"":""https://acme.example/{{text:path}}?for={{user.name}}""}}]}}"
`

// TestTextsReachEverybody: what is said to the user has the same words for the
// channel, the tools, the log, the transcript and the synchronous caller; what
// the user wrote stays.
func TestTextsReachEverybody(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex // guards log
	change := changed("{id: 346, name: Bot only, bot: acme_faq, human_assistance: false,",
		`{id: 346, name: Bot only, bot: acme_import, human_assistance: true, external_chat_tools: [desk-two], failover: [sac], failover_message: "{{text:moment}}",`)
	worded := func(s *apitest.Settings) {
		change(s)
		fixture := s.Fixture
		s.Fixture = func(yaml string) string {
			return strings.Replace(fixture(yaml), "{domain_name: acme_import, language: en}", `{domain_name: acme_import, language: en, welcome: "{{text:hello}}", handover: "{{text:moment}} {{text:gone}}"}`, 1)
		}
		s.Server.Log = slog.New(slog.NewTextHandler(writing(func(b []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return log.Write(b)
		}), nil))
	}
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-two", "message/receive")
		for key, text := range map[string]string{"hours": `9 "to" 18`, "more": "More\n{{text:path}}", "path": "a/b", "hello": "Hello {{user.name}}!", "moment": "One moment."} {
			putText(w, key, text)
		}
		texting("PUT", acmeTexts+"hello/de", m{"text": "Hallo {{user.name}}!"})(w, apitest.User{}).Want(t, 200)
		if a := importFAQ(w, "acme_import", wordedFAQ); a.At("success") != true || a.At("meta.warnings.0") != nil {
			t.Fatalf("import: %s", a)
		}
		w.Until("the bot has its steps", func(*store.Tx) (bool, error) { return w.Server.Bot.Ready(t.Context()) == nil, nil })
		const name = `{{text:hours}} "Ö"`
		u := w.UserOf("acme", 346, m{"name": name, "language_code": "de-CH"})
		w.Say(&u, "when are you open {{text:hours}}")
		w.Answered(u)
		w.Do(u, tract.Send{Sender: tract.SenderSystem, Body: `{"text":"System {{text:hours}}","type":"TEXT","data":{}}`})
		putText(w, "hours", "never")
		w.Granted("desk-two", "take", u, "desk-two")
		w.Write("desk-two", u, "{{text:hours}}: {{text:gone}} {{user.name}}").Want(t, 200)
		w.Write("desk-two", u, "{{text:gone}} again").Want(t, 200)
		w.Settle()

		answer := `We are open 9 "to" 18, ` + name + "."
		want := []string{"Hallo " + name + "!", answer, "More\na/b", `System 9 "to" 18`, "never: {{text:gone}} " + name, "{{text:gone}} again"}
		var logged, channel, tool []string
		button := ""
		for _, e := range w.Log(u) {
			if e.Event == "" && e.Sender != tract.SenderCEU {
				el := apitest.Answer{Body: []byte(e.Body)}
				logged = append(logged, el.Text("text"))
				button += el.Text("data.items.0.payload.url") + el.Text("data.items.0.actionable_text")
			}
		}
		for _, h := range w.Channel.Got(apitest.About(u, "message")) {
			channel = append(channel, h.Said())
		}
		for _, h := range w.Two.Got(apitest.About(u, "message")) {
			tool = append(tool, h.Said())
		}
		if d := cmp.Diff(want, logged); d != "" {
			t.Errorf("log: %s", d)
		}
		if d := cmp.Diff(want, channel); d != "" {
			t.Errorf("channel: %s", d)
		}
		if d := cmp.Diff(append([]string{"when are you open {{text:hours}}"}, want[:4]...), tool); d != "" {
			t.Errorf("tool: %s", d)
		}
		if button != "https://acme.example/a/b?for=%7B%7Btext%3Ahours%7D%7D%20%22%C3%96%22More\na/b" {
			t.Errorf("button %q", button)
		}
		transcript := w.Platform("GET", "/integration/external/v2.0/get_chat_history/?conversation_no=1&pxut="+u.ID, nil).Want(t, 200)
		if transcript.Text("chat_json.0.text") != "when are you open {{text:hours}}" || transcript.Text("chat_json.2.text") != answer {
			t.Errorf("transcript: %s", transcript)
		}
		mu.Lock()
		defer mu.Unlock()
		if n := strings.Count(log.String(), "text missing"); n != 1 || !strings.Contains(log.String(), "key=gone") || strings.Contains(log.String(), "Ö") {
			t.Errorf("%d lines: %s", n, log.String())
		}
		log.Reset()

		other := w.UserOf("acme", 346)
		sync := w.Platform("POST", "/v1.0/message/sync/", other.Message("opening times")).Want(t, 200)
		if sync.Text("message.0.body.text") != "Hello Asha!" || sync.Text("message.1.body.text") != "We are open never, Asha." {
			t.Errorf("synchronous answer: %s", sync)
		}
		other.ID = w.Thread(other).Pxut
		w.Granted("desk-two", "take", other, "desk-two")
		w.Do(other, tract.Failover{From: "desk-two", Reason: "hook_disabled"})
		w.Channel.Wait(t, "the failover message", apitest.Saying(other, "One moment."))
		third := w.UserOf("acme", 346)
		w.Say(&third, apitest.Unanswerable)
		w.Channel.Wait(t, "the hand-over", apitest.Saying(third, "One moment. {{text:gone}}"))
	}, worded)
}

// writing is a writer that is a function.
type writing func(b []byte) (int, error)

// Write calls it.
func (f writing) Write(b []byte) (int, error) { return f(b) }

// A file says what its wording names in vain, and what of a text it changed.
func TestTextsInAManifest(t *testing.T) {
	w := apitest.New(t, apitest.SQLite(t))
	a := texting("POST", "/api/manifest/", m{"name": "f", "env": m{}, "files": m{}, "manifest": "version: 1\nclients:\n  - id: small\n    texts: {a: {en: '{{text:b}}', de: x}}\n"})(w, apitest.User{}).Want(t, 200)
	if a.Text("warnings.0") != "small/text/a names the text b, which does not exist: it is shown as written" {
		t.Errorf("applied: %s", a)
	}
	h := texting("GET", "/api/clients/small/texts/a/history", nil)(w, apitest.User{}).Want(t, 200)
	if h.Text("changes.0.via") != "manifest" || h.Text("changes.0.to.fallback") != "en" {
		t.Errorf("history: %s", h)
	}
}
