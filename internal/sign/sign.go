// Package sign owns the signatures on webhook calls and the sealing of secrets
// that must be stored but read again.
//
// It must not know where secrets are kept, who calls, or how calls are made:
// bytes, keys and headers go in, headers, texts and verdicts come out.
//
// Invariants: comparisons are constant time; a signature is over the very bytes
// given; no error, log line or JSON made here contains a secret; an empty key
// never verifies anything.
package sign

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tract"
)

// The headers of a signed call, in the form in which http.Header keeps them.
const (
	HeaderHub       = "X-Hub-Signature"
	HeaderHub256    = "X-Hub-Signature-256"
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

const (
	secretPrefix = "whsec_"
	secretBytes  = 32
	hub1Prefix   = "sha1="
	hub256Prefix = "sha256="
	v1Prefix     = "v1,"
)

// What a receiver may find wrong with a call.
var (
	ErrSignature = &tract.Error{Kind: tract.KindUnauthorized, Code: "bad_signature", Msg: "the signature does not match"}
	ErrTimestamp = &tract.Error{Kind: tract.KindUnauthorized, Code: "bad_timestamp", Msg: "the webhook-timestamp is outside the tolerance"}
)

// NewSecret makes a webhook secret, whsec_ and the base64 of 32 bytes of random.
func NewSecret(random io.Reader) (string, error) {
	var b [secretBytes]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("make a webhook secret: %w", err)
	}
	return secretPrefix + base64.StdEncoding.EncodeToString(b[:]), nil
}

// Key returns the HMAC key that a secret stands for: the decoded bytes of
// whsec_<base64>, the raw bytes of anything else.
func Key(secret string) []byte {
	if text, ok := strings.CutPrefix(secret, secretPrefix); ok {
		if key, err := base64.StdEncoding.DecodeString(text); err == nil && len(key) > 0 {
			return key
		}
	}
	return []byte(secret)
}

// Delivery is what is signed. ID and Body stay the same over all attempts, At
// is the time of this one.
type Delivery struct {
	ID   string
	At   time.Time
	Body []byte
}

// Headers sets the signature headers of a call in h. The newest secret comes
// first: it alone makes the X-Hub-* signatures, while webhook-signature lists
// one signature per secret. Without secrets only id and timestamp are set.
func Headers(h http.Header, secrets []string, d Delivery) {
	values := make([]string, 5) // one array for all five headers: this is the hot path
	set := func(i int, name, value string) {
		values[i] = value
		h[name] = values[i : i+1 : i+1]
	}
	var scratch [32]byte
	stamp := strconv.AppendInt(scratch[:0], d.At.Unix(), 10)
	prefix := make([]byte, 0, len(d.ID)+len(stamp)+2)
	prefix = append(prefix, d.ID...)
	prefix = append(prefix, '.')
	prefix = append(prefix, stamp...)
	prefix = append(prefix, '.')

	set(0, HeaderID, d.ID)
	set(1, HeaderTimestamp, string(stamp))
	if len(secrets) == 0 {
		return
	}
	var space [256]byte
	list := space[:0]
	for i, secret := range secrets {
		key := Key(secret)
		mac := hmac.New(sha256.New, key)
		if i == 0 {
			set(2, HeaderHub, hubValue(hub1Prefix, hmac.New(sha1.New, key), d.Body))
			set(3, HeaderHub256, hubValue(hub256Prefix, mac, d.Body))
			mac.Reset()
		} else {
			list = append(list, ' ')
		}
		mac.Write(prefix)
		mac.Write(d.Body)
		list = append(list, v1Prefix...)
		list = base64.StdEncoding.AppendEncode(list, mac.Sum(scratch[:0]))
	}
	set(4, HeaderSignature, string(list))
}

// Verify checks the Standard Webhooks headers of a received call: the timestamp
// within tolerance of now, and any one of the listed signatures made with secret.
func Verify(secret string, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	id, stamp, list := h.Get(HeaderID), h.Get(HeaderTimestamp), h.Get(HeaderSignature)
	if id == "" || stamp == "" || list == "" {
		return ErrSignature.With("webhook-id, webhook-timestamp and webhook-signature are needed")
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return ErrTimestamp.With("webhook-timestamp must be unix seconds")
	}
	if at := time.Unix(seconds, 0); at.Before(now.Add(-tolerance)) || at.After(now.Add(tolerance)) {
		return ErrTimestamp
	}
	key := Key(secret)
	if len(key) == 0 {
		return ErrSignature
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + stamp + "."))
	mac.Write(body)
	want := mac.Sum(nil)
	for one := range strings.SplitSeq(list, " ") {
		text, ok := strings.CutPrefix(one, v1Prefix)
		if !ok {
			continue // a version we do not know stands beside one we do
		}
		if got, err := base64.StdEncoding.DecodeString(text); err == nil && hmac.Equal(got, want) {
			return nil
		}
	}
	return ErrSignature
}

// VerifyHub checks the X-Hub-* signature of a received call. The SHA-256 form
// decides if it is there; the SHA-1 form counts only alone.
func VerifyHub(secret string, h http.Header, body []byte) error {
	name, prefix, algorithm := HeaderHub256, hub256Prefix, sha256.New
	if len(h[HeaderHub256]) == 0 {
		name, prefix, algorithm = HeaderHub, hub1Prefix, sha1.New
	}
	values := h[name]
	if len(values) != 1 {
		return ErrSignature.With("one X-Hub-Signature-256 or X-Hub-Signature header is needed")
	}
	text, ok := strings.CutPrefix(values[0], prefix)
	if !ok {
		return ErrSignature.With("%s must begin with %s", name, prefix)
	}
	got, err := hex.DecodeString(text)
	key := Key(secret)
	if err != nil || len(key) == 0 {
		return ErrSignature
	}
	mac := hmac.New(algorithm, key)
	mac.Write(body)
	if !hmac.Equal(got, mac.Sum(nil)) {
		return ErrSignature
	}
	return nil
}

// hubValue is the text of an X-Hub-* header.
func hubValue(prefix string, mac hash.Hash, body []byte) string {
	var space [96]byte
	var sum [32]byte
	mac.Write(body)
	out := append(space[:0], prefix...)
	return string(hex.AppendEncode(out, mac.Sum(sum[:0])))
}
