package safehttp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
)

// The classes of failures.
const (
	classTimeout    = "timeout"
	classBlocked    = "blocked_address"
	classDNS        = "dns"
	classTLS        = "tls"
	classRefused    = "refused"
	classReset      = "reset"
	classTooLarge   = "too_large"
	classConnection = "connection"
)

const maxDetail = 200

// callError is a failed call. Its text may be stored and shown to the tool's
// people; the cause is for errors.Is and never printed.
type callError struct {
	class string
	host  string
	text  string
	cause error
}

// Error gives the text: who was called and what went wrong.
func (e *callError) Error() string { return e.host + ": " + e.text }

// Unwrap gives the cause.
func (e *callError) Unwrap() error { return e.cause }

// Class sorts an error of this package: timeout, blocked_address, dns, tls,
// refused, reset (the other side broke off), too_large, or connection for
// everything else. It is empty for nil.
func Class(err error) string {
	var failed *callError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &failed):
		return failed.class
	case errors.Is(err, ErrBlocked):
		return classBlocked
	}
	return classConnection
}

// Redact returns a URL without user info, query and fragment, for logs.
func Redact(u string) string {
	parsed, err := url.Parse(u)
	if err != nil || parsed.Opaque != "" {
		return "unreadable URL"
	}
	parsed.User, parsed.RawQuery, parsed.ForceQuery = nil, "", false
	parsed.Fragment, parsed.RawFragment = "", ""
	return parsed.String()
}

// failure turns what RoundTrip or reading the body returned into a callError.
// caller is the context handed in, call the one with our deadline.
func failure(caller, call context.Context, u *url.URL, err error) error {
	var staged *callError // from dialling, already sorted
	if errors.As(err, &staged) {
		return staged
	}
	e := &callError{host: u.Host, cause: err}
	switch {
	case errors.Is(caller.Err(), context.Canceled):
		e.class, e.text, e.cause = classConnection, "the call was given up", context.Canceled
	case call.Err() != nil || isTimeout(err):
		e.class, e.text = classTimeout, "no complete answer in time"
	case strings.Contains(err.Error(), "response headers exceeded"): // net/http has no value to compare with
		e.class, e.text = classTooLarge, "the headers of the answer are too large"
	case isReset(err):
		e.class, e.text = classReset, "the connection was closed before the answer was complete"
	default:
		e.class, e.text = classConnection, "the connection failed or the answer is not HTTP/1.1"
	}
	return e
}

// resolveFailure keeps the resolver's text back: it names our DNS servers.
func resolveFailure(addr string, err error) error {
	switch {
	case errors.Is(err, ErrBlocked):
		return &callError{class: classBlocked, host: addr, text: ErrBlocked.Msg, cause: err}
	case isTimeout(err):
		return &callError{class: classTimeout, host: addr, text: "the host name could not be resolved in time", cause: err}
	}
	return &callError{class: classDNS, host: addr, text: "the host name cannot be resolved", cause: err}
}

func dialFailure(addr string, err error) error {
	e := &callError{host: addr, cause: err}
	switch {
	case errors.Is(err, ErrBlocked):
		e.class, e.text = classBlocked, ErrBlocked.Msg
	case isTimeout(err):
		e.class, e.text = classTimeout, "no connection in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.class, e.text = classRefused, "connection refused"
	default:
		e.class, e.text = classConnection, "no connection"
	}
	return e
}

// tlsFailure quotes the reason, which is about certificates and helps whoever
// must mend them; the certificate is the other side's, so it is cut and cleaned.
func tlsFailure(addr string, err error) error {
	e := &callError{host: addr, cause: err}
	switch {
	case isTimeout(err):
		e.class, e.text = classTimeout, "no TLS handshake in time"
	case isReset(err):
		e.class, e.text = classReset, "the connection was closed during the TLS handshake"
	default:
		e.class, e.text = classTLS, clean(err.Error())
	}
	return e
}

func isTimeout(err error) bool {
	var timed net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &timed) && timed.Timeout()
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// clean makes a foreign text fit to be stored: printable ASCII, not too long.
func clean(s string) string {
	printable := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return printable[:min(len(printable), maxDetail)]
}
