package sign_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"tract"
	"tract/internal/sign"
)

const (
	newSecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	oldSecret = "whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
	rawSecret = "a plain old shared secret"
)

func at() time.Time { return time.Unix(1_795_000_000, 999_999_999) }

func delivery() sign.Delivery {
	return sign.Delivery{ID: "dlv_17", At: at(), Body: []byte("{\"text\":\"hé\\u0000\"}\n")}
}

func mac(algorithm func() hash.Hash, key []byte, parts ...string) []byte {
	m := hmac.New(algorithm, key)
	for _, p := range parts {
		m.Write([]byte(p))
	}
	return m.Sum(nil)
}

func TestNewSecret(t *testing.T) {
	got, err := sign.NewSecret(bytes.NewReader([]byte("0123456789abcdef0123456789abcdefmore")))
	if err != nil {
		t.Fatal(err)
	}
	if want := "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef")); got != want {
		t.Errorf("secret %q, want %q", got, want)
	}
	broken := errors.New("no entropy")
	if got, err := sign.NewSecret(iotest.ErrReader(broken)); !errors.Is(err, broken) || got != "" {
		t.Errorf("broken source: %q, %v", got, err)
	}
}

func TestKey(t *testing.T) {
	tests := []struct{ name, secret, want string }{
		{"webhook secret", "whsec_aGVsbG8=", "hello"},
		{"any other text", "aGVsbG8=", "aGVsbG8="},
		{"prefix without base64", "whsec_not base64", "whsec_not base64"},
		{"prefix alone", "whsec_", "whsec_"},
		{"prefix is case-sensitive", "WHSEC_aGVsbG8=", "WHSEC_aGVsbG8="},
		{"empty", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(sign.Key(tt.secret)); got != tt.want {
				t.Errorf("Key(%q) = %q, want %q", tt.secret, got, tt.want)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	d := delivery()
	stamp := strconv.FormatInt(d.At.Unix(), 10)
	v1 := func(key []byte) string {
		return "v1," + base64.StdEncoding.EncodeToString(mac(sha256.New, key, d.ID, ".", stamp, ".", string(d.Body)))
	}
	k1, k2 := sign.Key(newSecret), sign.Key(oldSecret)
	hub := func(key []byte) http.Header {
		return http.Header{
			"Webhook-Id":          {d.ID},
			"Webhook-Timestamp":   {stamp},
			"X-Hub-Signature":     {"sha1=" + hex.EncodeToString(mac(sha1.New, key, string(d.Body)))},
			"X-Hub-Signature-256": {"sha256=" + hex.EncodeToString(mac(sha256.New, key, string(d.Body)))},
		}
	}
	tests := []struct {
		name    string
		secrets []string
		want    http.Header
		list    string
	}{
		{"one secret", []string{newSecret}, hub(k1), v1(k1)},
		{"rotation", []string{newSecret, oldSecret}, hub(k1), v1(k1) + " " + v1(k2)},
		{"order matters", []string{oldSecret, newSecret}, hub(k2), v1(k2) + " " + v1(k1)},
		{"raw secret", []string{rawSecret}, hub([]byte(rawSecret)), v1([]byte(rawSecret))},
		{"none", nil, http.Header{"Webhook-Id": {d.ID}, "Webhook-Timestamp": {stamp}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{"Content-Type": {"application/json"}, "Webhook-Id": {"stale"}}
			tt.want.Set("Content-Type", "application/json")
			if tt.list != "" {
				tt.want.Set("webhook-signature", tt.list)
			}
			sign.Headers(h, tt.secrets, d)
			if diff := cmp.Diff(tt.want, h); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A header value appended later must not run into the next one's place.
func TestHeadersDoNotShareRoom(t *testing.T) {
	h := http.Header{}
	sign.Headers(h, []string{newSecret}, delivery())
	before := h.Get("webhook-timestamp")
	h.Add("webhook-id", "second")
	if got := h.Get("webhook-timestamp"); got != before {
		t.Errorf("webhook-timestamp became %q", got)
	}
}

func TestVerify(t *testing.T) {
	tests := []struct {
		name    string
		secret  string
		change  func(h http.Header)
		body    string
		now     time.Duration
		wantErr error
	}{
		{name: "newest secret", secret: newSecret},
		{name: "older secret", secret: oldSecret},
		{name: "other secret", secret: rawSecret, wantErr: sign.ErrSignature},
		{name: "no secret", secret: "", wantErr: sign.ErrSignature},
		{name: "other body", secret: newSecret, body: "{}", wantErr: sign.ErrSignature},
		{name: "other id", secret: newSecret, change: set("webhook-id", "dlv_18"), wantErr: sign.ErrSignature},
		{name: "other time", secret: newSecret, change: set("webhook-timestamp", "1795000001"), wantErr: sign.ErrSignature},
		{name: "no id", secret: newSecret, change: set("webhook-id", ""), wantErr: sign.ErrSignature},
		{name: "no signature", secret: newSecret, change: set("webhook-signature", ""), wantErr: sign.ErrSignature},
		{name: "unknown version only", secret: newSecret, change: set("webhook-signature", "v2,AAAA v1a,AAAA"), wantErr: sign.ErrSignature},
		{name: "signature of nothing", secret: newSecret, change: set("webhook-signature", "v1,"), wantErr: sign.ErrSignature},
		{name: "time is no number", secret: newSecret, change: set("webhook-timestamp", "now"), wantErr: sign.ErrTimestamp},
		{name: "time overflows", secret: newSecret, change: set("webhook-timestamp", "9223372036854775807"), wantErr: sign.ErrTimestamp},
		{name: "just not too old", secret: newSecret, now: 5 * time.Minute},
		{name: "too old", secret: newSecret, now: 5*time.Minute + time.Second, wantErr: sign.ErrTimestamp},
		{name: "from the future", secret: newSecret, now: -5*time.Minute - time.Second, wantErr: sign.ErrTimestamp},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := delivery()
			h := http.Header{}
			sign.Headers(h, []string{newSecret, oldSecret}, d)
			if tt.change != nil {
				tt.change(h)
			}
			if tt.body != "" {
				d.Body = []byte(tt.body)
			}
			err := sign.Verify(tt.secret, h, d.Body, d.At.Truncate(time.Second).Add(tt.now), 5*time.Minute)
			if !errors.Is(err, tt.wantErr) {
				t.Errorf("got %v, want %v", err, tt.wantErr)
			}
		})
	}
}

func TestVerifyHub(t *testing.T) {
	body := delivery().Body
	sha1Of := func(key string) string { return "sha1=" + hex.EncodeToString(mac(sha1.New, []byte(key), string(body))) }
	sha256Of := func(key string) string {
		return "sha256=" + hex.EncodeToString(mac(sha256.New, []byte(key), string(body)))
	}
	tests := []struct {
		name   string
		secret string
		h      http.Header
		ok     bool
	}{
		{"sha256", rawSecret, http.Header{"X-Hub-Signature-256": {sha256Of(rawSecret)}}, true},
		{"sha1 alone", rawSecret, http.Header{"X-Hub-Signature": {sha1Of(rawSecret)}}, true},
		{"upper-case hex", rawSecret, http.Header{"X-Hub-Signature-256": {"sha256=" + strings.ToUpper(sha256Of(rawSecret)[7:])}}, true},
		{"bad sha256 beside a good sha1", rawSecret, http.Header{"X-Hub-Signature-256": {sha256Of("x")}, "X-Hub-Signature": {sha1Of(rawSecret)}}, false},
		{"other key", rawSecret, http.Header{"X-Hub-Signature": {sha1Of("x")}}, false},
		{"sha1 in the sha256 header", rawSecret, http.Header{"X-Hub-Signature-256": {sha1Of(rawSecret)}}, false},
		{"cut short", rawSecret, http.Header{"X-Hub-Signature-256": {sha256Of(rawSecret)[:39]}}, false},
		{"nothing after the prefix", rawSecret, http.Header{"X-Hub-Signature-256": {"sha256="}}, false},
		{"twice", rawSecret, http.Header{"X-Hub-Signature-256": {sha256Of(rawSecret), sha256Of(rawSecret)}}, false},
		{"missing", rawSecret, http.Header{}, false},
		{"empty secret", "", http.Header{"X-Hub-Signature-256": {sha256Of("")}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := sign.VerifyHub(tt.secret, tt.h, body)
			if (err == nil) != tt.ok {
				t.Errorf("got %v, want ok %v", err, tt.ok)
			}
			if err != nil && tract.CodeOf(err) != "bad_signature" {
				t.Errorf("code %q", tract.CodeOf(err))
			}
		})
	}
}

// What we sign, the reference library accepts, and what it signs, we accept.
func TestAgainstStandardWebhooks(t *testing.T) {
	for _, secret := range []string{newSecret, rawSecret} {
		wh, err := standardwebhooks.NewWebhookRaw(sign.Key(secret))
		if err != nil {
			t.Fatal(err)
		}
		d := delivery()
		h := http.Header{}
		sign.Headers(h, []string{oldSecret, secret}, d)
		if err := wh.VerifyIgnoringTimestamp(d.Body, h); err != nil {
			t.Errorf("%s: the library refuses ours: %v", secret, err)
		}
		text, err := wh.Sign(d.ID, d.At, d.Body)
		if err != nil {
			t.Fatal(err)
		}
		h.Set("webhook-signature", text)
		if err := sign.Verify(secret, h, d.Body, d.At, time.Minute); err != nil {
			t.Errorf("%s: we refuse the library's: %v", secret, err)
		}
	}
	parsed, err := standardwebhooks.NewWebhook(newSecret)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	sign.Headers(h, []string{newSecret}, delivery())
	if err := parsed.VerifyIgnoringTimestamp(delivery().Body, h); err != nil {
		t.Errorf("the library reads the secret otherwise: %v", err)
	}
}

func BenchmarkHeaders(b *testing.B) {
	d := sign.Delivery{ID: "dlv_0123456789abcdef", At: at(), Body: bytes.Repeat([]byte("x"), 600)}
	for _, secrets := range [][]string{{newSecret}, {newSecret, oldSecret}} {
		b.Run(strconv.Itoa(len(secrets)), func(b *testing.B) {
			b.ReportAllocs()
			h := http.Header{}
			for b.Loop() {
				sign.Headers(h, secrets, d)
			}
		})
	}
}

func set(name, value string) func(http.Header) {
	return func(h http.Header) { h.Set(name, value) }
}
