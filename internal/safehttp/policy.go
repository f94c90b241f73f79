// Package safehttp is the one way to call out of the hub. It owns which
// addresses may be reached, how long a call may last, how much of an answer is
// read, and what may be said about a failure.
//
// It must not know what is sent, to whom, or whether a failed call is tried
// again.
//
// Invariants: the address that is dialled is checked at the moment of dialling,
// whatever a name resolved to before; one call to Do writes at most one request
// with a body, follows no redirect, uses no proxy and undoes no compression; it
// ends by its deadline; error texts hold no user info, path, query, header or
// body of the request.
package safehttp

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"code.dny.dev/ssrf"

	"tract"
)

const (
	maxURL  = 2048
	maxHost = 253 // what DNS allows
)

// ErrBlocked is a target whose address is not on the public internet.
var ErrBlocked = &tract.Error{Kind: tract.KindInvalid, Code: "blocked_address", Msg: "the target's address is not public"}

// Resolver turns a host name into addresses; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Policy says what may be called. The zero value is the strict one: https to
// public addresses only.
type Policy struct {
	// AllowPrivate permits http, private addresses, names without a dot and
	// every port: for development, and for targets that the operator sets.
	AllowPrivate bool
	// Resolver is asked for names; nil means the DNS servers of the system.
	Resolver Resolver
}

// CheckURL says whether raw may be registered as a target, without asking the
// network. The codes are url_form, url_scheme and url_host.
func (p Policy) CheckURL(raw string) (*url.URL, error) {
	if raw == "" {
		return nil, urlForm("is empty")
	}
	if len(raw) > maxURL {
		return nil, urlForm("is longer than %d characters", maxURL)
	}
	for i := range len(raw) {
		switch c := raw[i]; {
		case c <= ' ' || c == 0x7f || c == '\\':
			return nil, urlForm("contains a space, a backslash or a control character")
		case c == '#':
			return nil, urlForm("must not have a fragment")
		case c > 0x7f:
			return nil, urlForm("must be ASCII: write an international host name as punycode (xn--…) and percent-encode the rest")
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, urlForm("is not a URL")
	}
	if err := p.checkScheme(u); err != nil {
		return nil, err
	}
	switch {
	case u.Opaque != "" || u.Host == "" || u.Hostname() == "":
		return nil, urlForm("has no host")
	case u.User != nil:
		return nil, urlForm("must not have user info")
	}
	if err := p.checkPort(u); err != nil {
		return nil, err
	}
	if err := p.checkHostname(u.Hostname()); err != nil {
		return nil, err
	}
	return u, nil
}

// CheckHost resolves the host of u and refuses it if any of its addresses is
// not public (blocked_address), or if it has none (url_host).
func (p Policy) CheckHost(ctx context.Context, u *url.URL) error {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	_, err := p.resolve(ctx, u.Hostname())
	return err
}

// resolve returns the addresses of host, all of which may be called.
func (p Policy) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	found := make([]netip.Addr, 1)
	if literal, err := netip.ParseAddr(host); err == nil {
		found[0] = literal
	} else if found, err = p.lookup(ctx, host); err != nil || len(found) == 0 {
		return nil, urlHost("%.100q cannot be resolved", host).Because(err)
	}
	addrs := make([]netip.Addr, len(found))
	for i, a := range found {
		if p.denies(a) {
			return nil, ErrBlocked.With("url: the address of host %.100q is not public", host)
		}
		addrs[i] = a.Unmap()
	}
	return addrs, nil
}

func (p Policy) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if p.Resolver != nil {
		return p.Resolver.LookupNetIP(ctx, "ip", host)
	}
	// The pure Go resolver: the C library takes 0x7f.1 and the like for addresses.
	return (&net.Resolver{PreferGo: true}).LookupNetIP(ctx, "ip", host)
}

// denies reports whether a may not be called: anything special by the IANA
// registries, and in IPv6 everything outside global unicast, which covers the
// forms that carry an IPv4 address inside.
func (p Policy) denies(a netip.Addr) bool {
	if p.AllowPrivate {
		return false
	}
	return !a.IsValid() || ssrf.New(ssrf.WithAnyPort()).SafeAddr(a.Unmap().WithZone("")) != nil
}

func (p Policy) checkScheme(u *url.URL) error {
	switch {
	case u.Scheme == "https", u.Scheme == "http" && p.AllowPrivate:
		return nil
	case p.AllowPrivate:
		return tract.Invalid("url_scheme", "url must begin with https:// or http://")
	}
	return tract.Invalid("url_scheme", "url must begin with https://")
}

// checkPort keeps callers away from the well-known ports of other services.
func (p Policy) checkPort(u *url.URL) error {
	text := u.Port()
	if text == "" {
		if strings.HasSuffix(u.Host, ":") {
			return urlForm("has a colon without a port")
		}
		return nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || text[0] == '0' {
		return urlForm("must have a port from 1 to 65535")
	}
	if !p.AllowPrivate && port != 443 && port < 1024 {
		return urlForm("must have port 443, 8443 or any from 1024 on, not %d", port)
	}
	return nil
}

func (p Policy) checkHostname(host string) error {
	if literal, err := netip.ParseAddr(host); err == nil {
		if literal.Zone() != "" || p.denies(literal) {
			return urlHost("%.100q is not a public address", host)
		}
		return nil
	}
	if strings.HasSuffix(host, ".") {
		return urlForm("must not end its host with a dot")
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if !isLabel(label) {
			return urlForm("has the invalid host %.100q", host)
		}
	}
	last := labels[len(labels)-1]
	switch {
	case len(host) > maxHost:
		return urlForm("has a host longer than %d characters", maxHost)
	case isNumber(last):
		// Other software reads 2130706433, 127.1 or 0x7f.0.0.1 as an address.
		return urlHost("%.100q is neither a name nor an address in its usual form", host)
	case len(labels) == 1 && !p.AllowPrivate:
		return urlHost("%.100q is not a full host name", host)
	}
	return nil
}

// isLabel reports whether s may stand between the dots of a host name; the
// underscore is no legal host character but in use.
func isLabel(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 63
}

// isNumber reports whether s is a decimal, octal or hexadecimal number.
func isNumber(s string) bool {
	digits := "0123456789"
	if rest, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		s, digits = rest, "0123456789abcdef"
	}
	return strings.Trim(strings.ToLower(s), digits) == ""
}

func urlForm(format string, args ...any) *tract.Error {
	return tract.Invalid("url_form", "url "+format, args...)
}

func urlHost(format string, args ...any) *tract.Error {
	return tract.Invalid("url_host", "url: host "+format, args...)
}
