package sign_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"tract"
	"tract/internal/sign"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func sealer(t *testing.T, keys ...[]byte) *sign.Sealer {
	t.Helper()
	s, err := sign.NewSealer(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealOpen(t *testing.T) {
	old, both, other := sealer(t, key(1)), sealer(t, key(2), key(1)), sealer(t, key(3))
	for _, plain := range []string{"", "whsec_x", strings.Repeat("long ", 1000)} {
		sealed, err := old.Seal([]byte(plain), "endpoint/12")
		if err != nil {
			t.Fatal(err)
		}
		again, err := old.Seal([]byte(plain), "endpoint/12")
		if err != nil {
			t.Fatal(err)
		}
		if sealed == again {
			t.Error("the same text came out twice")
		}
		if plain != "" && strings.Contains(sealed, plain) {
			t.Error("the plain text shows")
		}
		for name, s := range map[string]*sign.Sealer{"same key": old, "after rotation": both} {
			if got, err := s.Open(sealed, "endpoint/12"); err != nil || string(got) != plain {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		if _, err := old.Open(sealed, "endpoint/13"); !errors.Is(err, sign.ErrSealed) {
			t.Errorf("another row: %v", err)
		}
		if _, err := other.Open(sealed, "endpoint/12"); !errors.Is(err, sign.ErrUnknownKey) {
			t.Errorf("another key: %v", err)
		}
	}
	sealed, err := both.Seal([]byte("x"), "c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Open(sealed, "c"); !errors.Is(err, sign.ErrUnknownKey) {
		t.Errorf("the first key must seal: %v", err)
	}
}

func TestOpenAltered(t *testing.T) {
	s := sealer(t, key(1))
	sealed, err := s.Seal([]byte("secret"), "c")
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(sealed) {
		for _, b := range []byte{'A', '_', '.'} {
			changed := []byte(sealed)
			if changed[i] == b {
				continue
			}
			changed[i] = b
			if got, err := s.Open(string(changed), "c"); err == nil {
				t.Errorf("byte %d as %q opens as %q", i, b, got)
			}
		}
		if _, err := s.Open(sealed[:i], "c"); err == nil {
			t.Errorf("the first %d bytes open", i)
		}
	}
	if _, err := s.Open(sealed+"A", "c"); err == nil {
		t.Error("a longer text opens")
	}
}

func TestNewSealerKeys(t *testing.T) {
	for _, keys := range [][][]byte{nil, {key(1)[:31]}, {key(1), nil}, {append(key(1), 0)}} {
		if _, err := sign.NewSealer(keys...); err == nil {
			t.Errorf("%d keys accepted", len(keys))
		}
	}
}

func TestParseKey(t *testing.T) {
	raw := []byte("\xff\xfe23456789abcdef0123456789abcdef")
	const phrase = "correct horse battery"
	derived, err := sign.ParseKey(phrase)
	if err != nil || len(derived) != 32 || bytes.Contains(derived, []byte(phrase)[:8]) {
		t.Fatalf("passphrase: %d bytes, %v", len(derived), err)
	}
	tests := []struct {
		name, in string
		want     []byte
	}{
		{"hex", hex.EncodeToString(raw), raw},
		{"upper hex", strings.ToUpper(hex.EncodeToString(raw)), raw},
		{"base64", base64.StdEncoding.EncodeToString(raw), raw},
		{"base64 unpadded", base64.RawStdEncoding.EncodeToString(raw), raw},
		{"base64url", base64.URLEncoding.EncodeToString(raw), raw},
		{"white space around", " " + hex.EncodeToString(raw) + "\n", raw},
		{"same passphrase, same key", phrase + "\n", derived},
		{"empty", "  ", nil},
		{"short", "fifteen chars!!", nil},
		{"short in characters, long in bytes", "äöüäöüäöüäöüäöü", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := sign.ParseKey(tt.in)
			if tt.want == nil {
				if tract.CodeOf(err) != "secret_key" || strings.Contains(err.Error(), "fifteen chars") {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || !bytes.Equal(got, tt.want) {
				t.Errorf("got %x, %v", got, err)
			}
		})
	}
	if other, err := sign.ParseKey(phrase + "!"); err != nil || bytes.Equal(other, derived) {
		t.Errorf("another passphrase gives the same key, %v", err)
	}
}

func TestSecretHides(t *testing.T) {
	const canary = "canary-4711"
	s := sign.Secret(canary)
	if s.Reveal() != canary {
		t.Error("Reveal must give the secret")
	}
	holder := struct {
		Name   string
		Secret sign.Secret
		More   []sign.Secret
	}{"n", s, []sign.Secret{s}}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "secret", s, "holder", holder, "pointer", &holder)
	}
	coded, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	out := log.String() + string(coded) + string(text)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%!", "%t"} {
		out += fmt.Sprintf(verb, s) + fmt.Sprintf(verb, holder) + fmt.Sprintf(verb, &holder)
	}
	for _, form := range []string{canary, hex.EncodeToString([]byte(canary)), base64.StdEncoding.EncodeToString([]byte(canary))} {
		if strings.Contains(out, form) {
			t.Errorf("%s shows in %s", form, out)
		}
	}
	if !strings.Contains(string(coded), `"***"`) {
		t.Errorf("JSON %s", coded)
	}
}
