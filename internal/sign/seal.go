package sign

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf8"

	"tract"
)

const (
	keyBytes      = 32
	minPassphrase = 16
	sealVersion   = "s1"
	hidden        = "***"
)

// Why a sealed text does not open. Neither is meant for a caller.
var (
	ErrSealed     = errors.New("sealed secret does not open: altered, or sealed for another place")
	ErrUnknownKey = errors.New("sealed secret was made with a key that is not configured")
)

// Sealer encrypts secrets for storage (AES-256-GCM). Safe for concurrent use.
type Sealer struct {
	newest string
	byID   map[string]cipher.AEAD
}

// NewSealer makes a Sealer from 32-byte keys: the first seals, all open, so
// that a key can be replaced before everything is sealed anew.
func NewSealer(keys ...[]byte) (*Sealer, error) {
	if len(keys) == 0 {
		return nil, errors.New("sealing needs at least one key")
	}
	s := &Sealer{byID: make(map[string]cipher.AEAD, len(keys))}
	for i, key := range keys {
		if len(key) != keyBytes {
			return nil, fmt.Errorf("sealing key %d has %d bytes, not %d", i+1, len(key), keyBytes)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("sealing key %d: %w", i+1, err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, fmt.Errorf("sealing key %d: %w", i+1, err)
		}
		id, err := keyID(key)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			s.newest = id
		}
		s.byID[id] = aead
	}
	return s, nil
}

// Seal encrypts plain as text that opens only for the same context, the place
// where it is stored (for example "endpoint/12"): a text copied into another
// row does not open there.
func (s *Sealer) Seal(plain []byte, context string) (string, error) {
	head := sealVersion + "." + s.newest + "."
	sealed := s.byID[s.newest].Seal(nil, nil, plain, []byte(head+context))
	return head + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// Open returns what was sealed for context.
func (s *Sealer) Open(sealed, context string) ([]byte, error) {
	version, rest, _ := strings.Cut(sealed, ".")
	id, text, ok := strings.Cut(rest, ".")
	if !ok || version != sealVersion {
		return nil, fmt.Errorf("%w (not an %s text)", ErrSealed, sealVersion)
	}
	aead, ok := s.byID[id]
	if !ok {
		return nil, fmt.Errorf("%w (key id %.8q)", ErrUnknownKey, id)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w (not base64url)", ErrSealed)
	}
	plain, err := aead.Open(nil, nil, raw, []byte(version+"."+id+"."+context))
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

// ParseKey reads a sealing key as an operator writes it: 64 hex digits, base64
// of 32 bytes (either alphabet, padded or not), or a passphrase of at least 16
// characters, from which the key is derived. White space around it is dropped.
func ParseKey(s string) ([]byte, error) {
	s = strings.TrimSpace(s)
	if key, err := hex.DecodeString(s); err == nil && len(key) == keyBytes {
		return key, nil
	}
	unpadded := strings.TrimRight(s, "=")
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if key, err := encoding.DecodeString(unpadded); err == nil && len(key) == keyBytes {
			return key, nil
		}
	}
	switch n := utf8.RuneCountInString(s); {
	case n == 0:
		return nil, tract.Invalid("secret_key", "the secret key is empty")
	case n < minPassphrase:
		return nil, tract.Invalid("secret_key",
			"the secret key has %d characters: give 64 hex digits, base64 of 32 bytes, or a passphrase of at least %d characters", n, minPassphrase)
	}
	return derive([]byte(s), "tract secret key", keyBytes)
}

// Secret is a text that prints as *** however it is printed or encoded. Two
// places cannot be covered: an unexported field of a printed struct (fmt does
// not call methods there) and the keys of a map that is made into JSON.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String hides the secret.
func (Secret) String() string { return hidden }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return hidden }

// Format hides the secret from the verbs that pass String by, such as %d.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalJSON hides the secret.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// MarshalText hides the secret from encoders other than JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue hides the secret from logs.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// keyID names a key without telling anything about it.
func keyID(key []byte) (string, error) {
	id, err := derive(key, "tract key id", 4)
	return hex.EncodeToString(id), err
}

func derive(secret []byte, purpose string, n int) ([]byte, error) {
	out, err := hkdf.Key(sha256.New, secret, nil, purpose, n)
	if err != nil {
		return nil, fmt.Errorf("derive the %s: %w", purpose, err)
	}
	return out, nil
}
