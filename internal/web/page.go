package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"net/http"
	"strconv"

	"tract"
)

// Query reads a parameter of the query string. Twice the same one is refused.
func Query(r *http.Request, name string) (value string, given bool, err error) {
	values := r.URL.Query()[name]
	if len(values) > 1 {
		return "", true, tract.Invalid("invalid_parameter", "%s is given more than once", name)
	}
	if len(values) == 0 {
		return "", false, nil
	}
	return values[0], true, nil
}

// QueryInt reads an integer of the query string, written plainly: no plus sign,
// no leading zeros, ASCII digits.
func QueryInt(r *http.Request, name string) (n int64, given bool, err error) {
	s, given, err := Query(r, name)
	if err != nil || !given {
		return 0, given, err
	}
	n, err = strconv.ParseInt(s, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != s {
		return 0, true, tract.Invalid("invalid_parameter", "%s must be a whole number", name)
	}
	return n, true, nil
}

// Limit reads the parameter limit: from 1 to most, def when it is not given.
func Limit(r *http.Request, def, most int) (int, error) {
	n, given, err := QueryInt(r, "limit")
	if err != nil || given && (n < 1 || n > int64(most)) {
		return 0, tract.Invalid("invalid_limit", "limit must be one whole number from 1 to %d", most)
	}
	if !given {
		return def, nil
	}
	return int(n), nil
}

const (
	maxCursor = 1024
	tagSize   = 16
)

var cursorText = base64.RawURLEncoding

// EncodeCursor wraps a position in a list. The cursor opens only with the same
// key and scope; the scope names the route, the caller and whatever else the
// list depends on.
func EncodeCursor(key []byte, scope, position string) string {
	return cursorText.EncodeToString(append(cursorTag(key, scope, position), position...))
}

// DecodeCursor gives back the position, or refuses a cursor not made here for
// this scope.
func DecodeCursor(key []byte, scope, cursor string) (position string, err error) {
	bad := tract.Invalid("invalid_cursor", "cursor is not one that this list gave")
	if len(cursor) > maxCursor {
		return "", bad
	}
	b, err := cursorText.DecodeString(cursor)
	if err != nil || len(b) < tagSize || cursorText.EncodeToString(b) != cursor { // one spelling each: the decoder skips line breaks
		return "", bad
	}
	position = string(b[tagSize:])
	if !hmac.Equal(b[:tagSize], cursorTag(key, scope, position)) {
		return "", bad
	}
	return position, nil
}

func cursorTag(key []byte, scope, position string) []byte {
	mac := hmac.New(sha256.New, key)
	writePart(mac, scope)
	writePart(mac, position)
	return mac.Sum(nil)[:tagSize]
}

// writePart hashes s so that two parts cannot be split differently.
func writePart(h hash.Hash, s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	h.Write([]byte(s))
}
