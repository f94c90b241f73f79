package files

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A link is PublicURL/files/<id>?t=<end, Unix seconds>.<signature>. It holds no
// character that JSON or HTML would write in another way.

const linkPath = "/files/"

// Link makes a link to a client's file that is good for life from now.
func (s *Service) Link(client int64, id string, life time.Duration) string {
	end := s.cfg.Now().Add(life).Unix()
	return s.cfg.PublicURL + linkPath + id + "?t=" + strconv.FormatInt(end, 10) + "." + s.signature(client, id, end)
}

// signature binds a link to the client too: otherwise a link that somebody
// posts into a chat of another client would be renewed there.
func (s *Service) signature(client int64, id string, end int64) string {
	h := hmac.New(sha256.New, s.key)
	b := binary.BigEndian.AppendUint64(nil, uint64(client))
	b = binary.BigEndian.AppendUint64(b, uint64(end))
	h.Write(append(b, id...))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// verify checks a link's token; the caller compares the end with the time.
func (s *Service) verify(client int64, id, token string) (end time.Time, ok bool) {
	text, signature, _ := strings.Cut(token, ".")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != text || !hmac.Equal([]byte(signature), []byte(s.signature(client, id, n))) {
		return time.Time{}, false
	}
	return time.Unix(n, 0).UTC(), true
}

// saneID keeps everything but ids away from databases and folders.
func saneID(id string) bool {
	return len(id) == 26 && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// links finds the URLs of an element. A URL that a user types is text: it is a
// string of another name, or its quotes are escaped.
func links() *regexp.Regexp {
	return regexp.MustCompile(`("(?:url|image)"\s*:\s*")(https?://[^"\\]+)"`)
}

// Renew gives a message of a client with new links in place of ours, ended or
// not. Everything else stays byte by byte.
func (s *Service) Renew(client int64, body string) string {
	if !strings.Contains(body, linkPath) {
		return body
	}
	var out strings.Builder
	from := 0
	for _, m := range s.links.FindAllStringSubmatchIndex(body, -1) {
		out.WriteString(body[from:m[4]])
		out.WriteString(s.RenewLink(client, body[m[4]:m[5]]))
		from = m[5]
	}
	out.WriteString(body[from:])
	return out.String()
}

// RenewLink gives a new link in place of one of ours to a client's file, ended
// or not; any other URL stays as it is.
func (s *Service) RenewLink(client int64, link string) string {
	i := strings.LastIndex(link, linkPath)
	if i < 0 {
		return link
	}
	id, token, _ := strings.Cut(link[i+len(linkPath):], "?t=")
	if _, ok := s.verify(client, id, token); !ok || !saneID(id) {
		return link
	}
	return s.Link(client, id, s.cfg.LinkLife)
}
