package auth

import (
	"net/url"
	"strconv"
	"strings"

	"tract"
)

const (
	maxChainURL = 2048
	chainPrefix = "/ect.api/"
)

// chainURL checks where a tool says its certificate chain lies, and gives the
// URL to fetch: the host is the registered one, dot segments are resolved.
func chainURL(raw, fqdn string) (string, error) {
	if raw == "" || len(raw) > maxChainURL {
		return "", badURL("form", "must be a URL of at most %d characters", maxChainURL)
	}
	for i := range len(raw) {
		if raw[i] <= ' ' || raw[i] >= 0x7f {
			return "", badURL("form", "must not hold spaces, control characters or characters beyond ASCII")
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", badURL("form", "is not a URL")
	}
	if u.Scheme != "https" { // Parse has made it lower case
		return "", badURL("scheme", "must begin with https://")
	}
	if !strings.EqualFold(u.Hostname(), fqdn) {
		return "", badURL("host", "must name the host that is registered for this tool")
	}
	switch {
	case u.User != nil:
		return "", badURL("form", "must not hold user info")
	case strings.ContainsAny(raw, "?#"):
		return "", badURL("form", "must not have a query or a fragment")
	case u.Port() != "" && u.Port() != "443", strings.HasSuffix(u.Host, ":"):
		return "", badURL("port", "must have port 443 or none")
	}
	path, ok := cleanPath(u.EscapedPath())
	if !ok {
		return "", badURL("path", "must have a path without empty segments, backslashes, and encoded dots or slashes, that begins with %s", chainPrefix)
	}
	if !strings.HasPrefix(path, chainPrefix) {
		return "", badURL("path", "must have a path that begins with %s", chainPrefix)
	}
	return "https://" + fqdn + path, nil
}

func badURL(what, format string, args ...any) *tract.Error {
	return tract.Invalid("cert_url_"+what, headerChain+" "+format, args...)
}

// cleanPath resolves dot segments as browsers do. It refuses what one reader
// takes for a separator or a dot segment and another does not, and a path that
// begins with a dot segment.
func cleanPath(escaped string) (path string, ok bool) {
	rest, ok := strings.CutPrefix(escaped, "/")
	if !ok {
		return "", false
	}
	var kept []string
	segments := strings.Split(rest, "/")
	for i, seg := range segments {
		dots, last := seg == "." || seg == "..", i == len(segments)-1
		if !plainSegment(seg) || seg == "" && !last || dots && i == 0 {
			return "", false
		}
		if seg == ".." {
			kept = kept[:max(0, len(kept)-1)]
		}
		switch {
		case !dots:
			kept = append(kept, seg)
		case last:
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/"), true
}

func plainSegment(seg string) bool {
	for i := 0; i < len(seg); i++ {
		c := seg[i]
		if c == '%' {
			if i+2 >= len(seg) {
				return false
			}
			n, err := strconv.ParseUint(seg[i+1:i+3], 16, 8)
			if err != nil {
				return false
			}
			if c, i = byte(n), i+2; c == '.' || c == '/' || c == '%' || c <= ' ' && c != ' ' || c >= 0x7f {
				return false
			}
		}
		if c == '\\' {
			return false
		}
	}
	return true
}
