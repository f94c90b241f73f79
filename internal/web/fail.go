package web

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"strconv"
	"time"

	"tract"
)

// Failure is an error on its way to the caller: only what the caller may see.
type Failure struct {
	Status    int
	Code      string
	Text      string
	Facts     map[string]any
	RequestID string
}

// Style writes failures the way the callers of a route expect them.
type Style func(Failure) Answer

// Hub is the style below /tract: {"error", "code", "request_id", …facts}.
func Hub(f Failure) Answer { return f.object("error") }

// Platform is the style of the platform paths: {"error_message", "code",
// "request_id", …facts}.
func Platform(f Failure) Answer { return f.object("error_message") }

func (f Failure) object(text string) Answer {
	o := make(map[string]any, len(f.Facts)+3)
	maps.Copy(o, f.Facts)
	o[text], o["code"], o["request_id"] = f.Text, f.Code, f.RequestID
	return JSON(f.Status, o)
}

// retryAfter is the fact that becomes the Retry-After header: whole seconds or
// a time.Duration.
const retryAfter = "retry_after"

// retryUnavailable is what a caller waits who is not told better.
const retryUnavailable = 5 * time.Second

// refusal is an error of HTTP itself, for which there is no kind.
type refusal struct {
	status int
	code   string
	text   string
}

// Error is the text for the caller.
func (e *refusal) Error() string { return e.text }

var (
	errNoPath    = &refusal{http.StatusNotFound, "not_found", "there is nothing at this path"}
	errLongURL   = &refusal{http.StatusRequestURITooLong, "uri_too_long", "the URL is longer than 2048 bytes"}
	errQuery     = &refusal{http.StatusBadRequest, "invalid_query", "the query string is malformed"}
	errBodyTime  = &refusal{http.StatusRequestTimeout, "body_timeout", "the body did not arrive in time"}
	errBodyShort = &refusal{http.StatusBadRequest, "invalid_body", "the body did not arrive whole"}
	errNoAnswer  = errors.New("the handler gave no answer")
)

func statusOf(k tract.Kind) int {
	switch k {
	case tract.KindInvalid:
		return http.StatusBadRequest
	case tract.KindUnauthorized:
		return http.StatusUnauthorized
	case tract.KindForbidden:
		return http.StatusForbidden
	case tract.KindNotFound:
		return http.StatusNotFound
	case tract.KindConflict:
		return http.StatusConflict
	case tract.KindPrecondition:
		return http.StatusPreconditionFailed
	case tract.KindMismatch:
		return http.StatusUnprocessableEntity
	case tract.KindTooLarge:
		return http.StatusRequestEntityTooLarge
	case tract.KindUnsupported:
		return http.StatusUnsupportedMediaType
	case tract.KindRateLimited:
		return http.StatusTooManyRequests
	case tract.KindUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// failureOf takes from an error what the caller may see. cause is the rest.
func failureOf(err error) (f Failure, cause error) {
	if r, ok := errors.AsType[*refusal](err); ok {
		return Failure{Status: r.status, Code: r.code, Text: r.text}, nil
	}
	e, ok := errors.AsType[*tract.Error](err)
	if !ok || statusOf(e.Kind) == http.StatusInternalServerError {
		return Failure{Status: http.StatusInternalServerError, Code: "internal", Text: "internal error"}, err
	}
	return Failure{Status: statusOf(e.Kind), Code: e.Code, Text: e.Msg, Facts: maps.Clone(e.Fields)}, e.Unwrap()
}

// fail answers an error. It is the one place where errors become answers.
func (m *Mux) fail(w *recorder, r *http.Request, err error) {
	f, cause := failureOf(err)
	w.code, w.cause = f.Code, cause
	if f.Status >= http.StatusInternalServerError {
		m.logFailure(w, r, f, err)
		w.cause = nil // one line is enough
	}
	if w.status != 0 {
		// Too late for an answer: cut the connection so that the half one is
		// not taken for whole.
		panic(http.ErrAbortHandler)
	}
	setHeaders(w.Header(), &f)
	f.RequestID = RequestID(r.Context())
	a := w.style(f)
	if a.err != nil {
		m.log().ErrorContext(r.Context(), "error facts cannot be written", "error", a.err, "code", f.Code, "request_id", f.RequestID)
		f.Facts = nil
		a = w.style(f)
	}
	a.write(w)
}

func (m *Mux) logFailure(w *recorder, r *http.Request, f Failure, err error) {
	level := slog.LevelError
	if f.Status == http.StatusServiceUnavailable {
		level = slog.LevelWarn
	}
	if errors.Is(r.Context().Err(), context.Canceled) {
		level = slog.LevelDebug // nobody waits for the answer any more
	}
	m.log().Log(r.Context(), level, "request failed", "error", err, "code", f.Code, "method", methodName(r.Method), "route", w.route, "request_id", RequestID(r.Context()))
}

func setHeaders(h http.Header, f *Failure) {
	if f.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	}
	wait, known := seconds(f.Facts[retryAfter])
	delete(f.Facts, retryAfter)
	switch f.Status {
	case http.StatusTooManyRequests:
		wait, known = max(wait, 1), true
	case http.StatusServiceUnavailable:
		if !known {
			wait, known = int64(retryUnavailable/time.Second), true
		}
	}
	if known {
		h.Set("Retry-After", strconv.FormatInt(wait, 10))
	}
}

func seconds(v any) (n int64, ok bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int64:
		return v, true
	case time.Duration:
		return int64(math.Ceil(v.Seconds())), true
	}
	return 0, false
}
