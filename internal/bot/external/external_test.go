package external_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"tract"
	"tract/internal/bot/external"
	"tract/internal/hsl"
	"tract/internal/safehttp"
	"tract/internal/sign"
	"tract/internal/tracttest"
)

const secret = "whsec_c2VjcmV0IGtleSBvZiB0aGUgYm90"

// standIn is an external bot on loopback.
type standIn struct {
	t     *testing.T
	bots  *external.Bots
	url   string
	clock *tracttest.Clock
	count *prometheus.Registry
	logs  bytes.Buffer

	mu     sync.Mutex // guards what follows
	answer http.HandlerFunc
	calls  []*http.Request
	bodies [][]byte
	alarms []string
}

func newStandIn(t *testing.T, policy safehttp.Policy) *standIn {
	s := &standIn{t: t, clock: tracttest.NewClock(), count: prometheus.NewRegistry()}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // it hung up
		}
		s.mu.Lock()
		s.calls, s.bodies = append(s.calls, r), append(s.bodies, body)
		answer := s.answer
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(srv.Close)
	s.url = srv.URL
	client := safehttp.New(safehttp.Config{Policy: policy, MaxResponse: 256 << 10, UserAgent: "tract/test"})
	t.Cleanup(client.CloseIdle)
	s.bots = external.New(external.Config{HTTP: client, Now: s.clock.Now, Count: s.count, Log: slog.New(slog.NewJSONHandler(&s.logs, nil)),
		Open: func(sealed string, client int64) (string, error) {
			plain, ok := strings.CutPrefix(sealed, fmt.Sprintf("sealed for %d: ", client))
			if !ok {
				return "", errors.New("does not open")
			}
			return plain, nil
		},
		Alarm: func(code string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.alarms = append(s.alarms, code)
		}})
	return s
}

func (s *standIn) says(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = h
}

func (s *standIn) called() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
		fmt.Fprint(w, `{"response":["hello"]}`)
	}
}

// silent answers when the caller has given up.
func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func (s *standIn) webhook() *tract.ExternalBot {
	return &tract.ExternalBot{Kind: tract.ExternalWebhook, URL: s.url + "/ask", Secret: "sealed for 7: " + secret, Timeout: tract.Duration(5 * time.Second)}
}

func question() *external.Question {
	return &external.Question{Client: 7, ClientID: "acme", Business: 343, ID: "msg_12_3_0", Node: "acme_faq", Conversation: 2, Message: 12,
		Body: hsl.Text("Where is <it>?").Body(), Text: "Where is <it>?", User: external.User{ID: "px-ut", Name: "u1", FullName: "Ann", AuthID: "ann@x", Language: "de", Platform: 13},
		Steps: []external.Step{
			{Name: "Returns", Questions: []string{"how do I return it"}, Answers: []string{"Send it back within 30 days, see https://acme.example/returns.", "Or call +49 30 123-4567."}},
			{Name: "Hours", Questions: []string{"when are you open"}, Answers: []string{"Mon to Fri, 9 to 18h. Write to help@acme.example"}},
		}}
}

// ask asks and gives what was answered in a few words.
func (s *standIn) ask(bot *tract.ExternalBot) string {
	s.t.Helper()
	a, err := s.bots.Ask(s.t.Context(), bot, question())
	return said(s.t, a, err)
}

func said(t *testing.T, a external.Answer, err error) string {
	t.Helper()
	if err != nil {
		if !errors.Is(err, external.ErrNoAnswer) {
			t.Errorf("the error is of another kind: %v", err)
		}
		return "error: " + strings.TrimPrefix(err.Error(), external.ErrNoAnswer.Error()+": ")
	}
	out := strings.Join(a.Bodies, " | ")
	if a.Unknown {
		out += "unknown"
	}
	if a.Handover {
		out += " handover"
	}
	return out
}

// counted gives the counters of a metric, "labels value" each.
func (s *standIn) counted(name string) (out []string) {
	s.t.Helper()
	families, err := s.count.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var line []string
			for _, l := range m.GetLabel() {
				line = append(line, l.GetValue())
			}
			out = append(out, fmt.Sprint(strings.Join(line, " "), " ", m.GetCounter().GetValue()+m.GetGauge().GetValue()))
		}
	}
	return out
}

func TestWebhookAnswers(t *testing.T) {
	const buttons = `{"text":"Pick <one>","type":"BUTTON","data":{"items":[{"actionable_text":"Site","uri":"LINK","type":"APP_ACTION","payload":{"url":"https://acme.example"}}]}}`
	quoted, err := json.Marshal(buttons)
	if err != nil {
		t.Fatal(err)
	}
	plain := hsl.Text("Hello").Body()
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   string
		result string
	}{
		{"text", text(`{"response":["Hello"],"status":true,"conversation_details":{},"user_details":{}}`), plain, "answered"},
		{"element as a text", text(`{"response":[` + string(quoted) + `]}`), buttons, "answered"},
		{"element", text(`{"response":[` + buttons + `, "Hello"]}`), buttons + " | " + plain, "answered"},
		{"hand-over", text(`{"response":["Hello"],"status":true,"callback_ops":{"tract_atc":{"receiver":"athena"}}}`), plain + " handover", "handover"},
		{"hand-over without a word", text(`{"status":true,"callback_ops":{"tract_atc":{}}}`), " handover", "handover"},
		{"could not", text(`{"response":["Hello"],"status":false}`), "unknown", "unknown"},
		{"nothing", text(``), "error: bad_answer: not valid JSON", "bad_answer"},
		{"empty", text(`{"response":[],"status":true}`), "error: bad_answer: response is empty", "bad_answer"},
		{"missing", text(`{"status":true}`), "error: bad_answer: response is empty", "bad_answer"},
		{"blank", text(`{"response":["Hello"," \n"]}`), "error: bad_answer: response[1]: is blank", "bad_answer"},
		{"null", text(`{"response":[null]}`), "error: bad_answer: response[0]", "bad_answer"},
		{"number", text(`{"response":[7]}`), "error: bad_answer: response[0]", "bad_answer"},
		{"element that is none", text(`{"response":[{"text":"x","type":"BUTTON","data":{}}]}`), "error: bad_answer: response[0]: message_body: data.items is missing", "bad_answer"},
		{"unsafe link", text(`{"response":[` + strings.ReplaceAll(buttons, "https://acme.example", "javascript:alert(1)") + `]}`), "error: bad_answer: response[0]: message_body: data.items[0].payload.url", "bad_answer"},
		{"response is a text", text(`{"response":"Hello"}`), "error: bad_answer", "bad_answer"},
		{"status is a text", text(`{"response":["Hello"],"status":"true"}`), "error: bad_answer", "bad_answer"},
		{"twice", text(`{"response":["Hello"],"Response":["Bye"]}`), "error: bad_answer", "bad_answer"},
		{"too many", text(`{"response":["a"` + strings.Repeat(`,"a"`, 20) + `]}`), "error: bad_answer: response has more than 20 messages", "bad_answer"},
		{"message too long", text(`{"response":["` + strings.Repeat("a", 64<<10) + `"]}`), "error: bad_answer: response[0]: is longer", "bad_answer"},
		{"garbage", text("<html>\xff"), "error: bad_answer", "bad_answer"},
		{"huge", text(strings.Repeat(" ", 1<<20)), "error: too_large", "too_large"},
		{"500", status(500), "error: status: status 500", "status"},
		{"201", status(201), "error: status: status 201", "status"},
		{"redirect", status(307), "error: redirect: status 307", "redirect"},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "error: unreachable", "unreachable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStandIn(t, safehttp.Policy{AllowPrivate: true})
			s.says(tt.answer)
			got := s.ask(s.webhook())
			if got != tt.want && !(strings.HasPrefix(tt.want, "error") && strings.HasPrefix(got, tt.want)) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if diff := cmp.Diff([]string{"webhook " + tt.result + " 1"}, s.counted("tract_bot_external_calls_total")); diff != "" {
				t.Error(diff)
			}
			if n := s.called(); n != 1 {
				t.Errorf("called %d times", n)
			}
		})
	}
}

func TestWebhookRequest(t *testing.T) {
	s := newStandIn(t, safehttp.Policy{AllowPrivate: true})
	s.says(text(`{"response":["Hello"]}`))
	s.ask(s.webhook())
	s.clock.Advance(time.Minute)
	s.ask(s.webhook())
	unsigned := s.webhook()
	unsigned.Secret = ""
	s.ask(unsigned)
	for i, r := range s.calls[:2] {
		if err := sign.Verify(secret, r.Header, s.bodies[i], s.clock.Now(), time.Minute); err != nil {
			t.Error(err)
		}
		if err := sign.VerifyHub(secret, r.Header, s.bodies[i]); err != nil || r.Header.Get(sign.HeaderHub) == "" {
			t.Errorf("%v %v", err, r.Header)
		}
		if r.Method != "POST" || r.URL.Path != "/ask" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("User-Agent") != "tract/test" || r.Header.Get("Webhook-Id") != "msg_12_3_0" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
	}
	if h := s.calls[2].Header; h.Get(sign.HeaderSignature) != "" || h.Get("Webhook-Id") == "" {
		t.Errorf("without a secret: %v", h)
	}
	if !bytes.Equal(s.bodies[0], s.bodies[1]) {
		t.Error("the same question has two bodies")
	}
	want := `{"node":"acme_faq","event":"API_INTEGRATION","user":{"user_id":"px-ut","user_name":"u1","full_name":"Ann","device_platform":13,"language_code":"de","auth_id":"ann@x","auth_code":""},` +
		`"conversation_no":2,"conversation_details":{},"user_details":{"language_code":"de","name":"Ann"},` +
		`"entities":{"feedback_regex":[{"detection":"message","original_text":"Where is <it>?","entity_value":{"value":"Where is <it>?"}}]},"env_variables":{},` +
		`"message":{"message_id":12,"business_id":343,"message_body":"{\"text\":\"Where is <it>?\",\"type\":\"TEXT\",\"data\":{}}"}}`
	if diff := cmp.Diff(want, string(s.bodies[0])); diff != "" {
		t.Error(diff)
	}
}

func TestTimeOut(t *testing.T) {
	s := newStandIn(t, safehttp.Policy{AllowPrivate: true})
	s.says(silent)
	bot := s.webhook()
	bot.Timeout = tract.Duration(30 * time.Millisecond)
	if got := s.ask(bot); !strings.HasPrefix(got, "error: timeout") {
		t.Error(got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	a, err := s.bots.Ask(ctx, s.webhook(), question()) // the user's patience ends before
	if got := said(t, a, err); !strings.HasPrefix(got, "error: timeout") {
		t.Error(got)
	}
	if diff := cmp.Diff([]string{"webhook timeout 2"}, s.counted("tract_bot_external_calls_total")); diff != "" {
		t.Error(diff)
	}
}

func TestPrivateAddressesAreRefused(t *testing.T) {
	s := newStandIn(t, safehttp.Policy{})
	s.says(text(`{"response":["Hello"]}`))
	bot := s.webhook()
	for _, u := range []string{s.url, strings.Replace(s.url, "http:", "https:", 1), "https://169.254.169.254/latest", "https://[::1]/"} {
		bot.URL = u
		if got := s.ask(bot); !strings.HasPrefix(got, "error: blocked_address") {
			t.Errorf("%s: %s", u, got)
		}
	}
	if s.called() != 0 {
		t.Error("it was called")
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	s := newStandIn(t, safehttp.Policy{AllowPrivate: true})
	var errs []string
	for _, h := range []http.HandlerFunc{status(500), text("garbage Where is"), status(302), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }} {
		s.says(h)
		for _, bot := range []*tract.ExternalBot{s.webhook(), s.model()} {
			for range 6 {
				errs = append(errs, s.ask(bot))
			}
		}
	}
	other := s.webhook()
	other.Secret = "sealed for 8: " + secret
	errs = append(errs, s.ask(other))
	if last := errs[len(errs)-1]; last != "error: misconfigured: its secret cannot be opened" {
		t.Error(last)
	}
	everything := strings.Join(errs, "\n") + s.logs.String()
	for _, hidden := range []string{secret, "key-of-acme", "Where is", "garbage", "ann@x"} {
		if strings.Contains(everything, hidden) {
			t.Errorf("%q shows in\n%s", hidden, everything)
		}
	}
	if len(s.alarms) == 0 || !strings.Contains(s.logs.String(), "external_bot_down") {
		t.Error("nobody was told")
	}
}
