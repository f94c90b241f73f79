package tract

import (
	"errors"
	"fmt"
)

// Kind says what sort of failure an error is. The edges (REST, pages, command
// line) turn a kind into a status; nothing below them knows about statuses.
type Kind int

// The kinds. KindInternal is the zero value: an error nobody classified.
const (
	KindInternal     Kind = iota // our fault; its text stays in the log
	KindInvalid                  // the request is malformed
	KindUnauthorized             // who is calling is not proven
	KindForbidden                // proven, but may not
	KindNotFound                 // does not exist, or not for this caller
	KindConflict                 // the state does not allow it now
	KindPrecondition             // it is not what the request depends on
	KindMismatch                 // an idempotency key was used with another body
	KindTooLarge                 // over a limit of size
	KindUnsupported              // a media type we do not read
	KindRateLimited              // too often
	KindUnavailable              // not now; try again later
)

// Error is an error that the caller may see. Code is stable and machine
// readable; Msg is for people and names what is wrong.
type Error struct {
	Kind Kind
	Code string
	Msg  string
	// Fields are further facts for the answer, for example the thread's owner.
	Fields map[string]any

	cause error
}

// Error gives the text for people.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Msg + ": " + e.cause.Error()
	}
	return e.Msg
}

// Unwrap gives the cause, which is for the log and never for the caller.
func (e *Error) Unwrap() error { return e.cause }

// Is makes copies made by With, Because and Fact equal to their original.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Kind == e.Kind
}

// With returns a copy with another text.
func (e *Error) With(format string, args ...any) *Error {
	c := *e
	c.Msg = fmt.Sprintf(format, args...)
	return &c
}

// Because returns a copy that carries a cause for the log.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// Fact returns a copy with one more fact for the answer.
func (e *Error) Fact(key string, value any) *Error {
	c := *e
	c.Fields = make(map[string]any, len(e.Fields)+1)
	for k, v := range e.Fields {
		c.Fields[k] = v
	}
	c.Fields[key] = value
	return &c
}

// Invalid is a malformed request: code names the rule, the text the field.
func Invalid(code, format string, args ...any) *Error {
	return &Error{Kind: KindInvalid, Code: code, Msg: fmt.Sprintf(format, args...)}
}

// KindOf returns the kind of the first *Error in err's chain, else KindInternal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindInternal
}

// CodeOf returns the code of the first *Error in err's chain, else "internal".
func CodeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return "internal"
}
