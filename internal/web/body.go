package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"

	"tract"
	"tract/internal/strictjson"
)

// MaxBody is the usual limit of a JSON body.
const MaxBody = 256 << 10

// Errors of reading a body.
var (
	ErrTooLarge    = &tract.Error{Kind: tract.KindTooLarge, Code: "too_large", Msg: "the body is too large"}
	ErrUnsupported = &tract.Error{Kind: tract.KindUnsupported, Code: "unsupported_media_type", Msg: "Content-Type must be application/json"}
)

// ReadJSON reads a body of at most limit bytes and decodes it strictly into v,
// a pointer to a struct. It returns the bytes as they came.
func ReadJSON(r *http.Request, limit int64, v any) ([]byte, error) {
	if err := CheckJSON(r.Header); err != nil {
		return nil, err
	}
	b, err := ReadRaw(r, limit)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, tract.Invalid(strictjson.CodeInvalidJSON, "the body is empty: a JSON object is expected")
	}
	return b, strictjson.Decode(b, v)
}

// ReadRaw reads a body of at most limit bytes, whatever it is.
func ReadRaw(r *http.Request, limit int64) ([]byte, error) {
	if err := checkEncoding(r.Header); err != nil {
		return nil, err
	}
	tooLarge := ErrTooLarge.With("the body is larger than %s", size(limit))
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, BodyError(err)
	}
	if int64(len(b)) > limit {
		return nil, tooLarge
	}
	return b, nil
}

// BodyError turns an error of reading a request's body into one for the caller.
// It is for handlers that read the body piece by piece.
func BodyError(err error) error {
	if big, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return ErrTooLarge.With("the body is larger than %s", size(big.Limit))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errBodyTime
	}
	return errBodyShort
}

// CheckJSON says whether a body is said to be JSON in UTF-8. ReadJSON does it by
// itself; it is for handlers that read the bytes as they are.
func CheckJSON(h http.Header) error {
	values := h.Values("Content-Type")
	if len(values) != 1 {
		return ErrUnsupported
	}
	media, params, err := mime.ParseMediaType(values[0])
	if err != nil || media != "application/json" {
		return ErrUnsupported
	}
	if cs, ok := params["charset"]; ok && !strings.EqualFold(cs, "utf-8") {
		return ErrUnsupported.With("the charset must be utf-8")
	}
	return nil
}

func checkEncoding(h http.Header) error {
	for _, v := range h.Values("Content-Encoding") {
		if !strings.EqualFold(strings.TrimSpace(v), "identity") {
			return ErrUnsupported.With("Content-Encoding is not supported; send the body as it is")
		}
	}
	return nil
}

func size(n int64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
