package manifest

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
)

func (d *decoder) certificate(v *value) *certificate {
	o := d.object(v, "file", "pem", "uuid")
	c := &certificate{object: o, uuid: strings.ToLower(o.text("uuid", ""))}
	if o.has("uuid") && !isUUID(c.uuid) && o.get("uuid") != nil && o.get("uuid").kind == isText {
		o.bad("uuid", "%s is not a UUID", o.get("uuid").shown())
		c.uuid = ""
	}
	key, text := "pem", []byte(nil)
	switch {
	case o.broken:
		return c
	case o.has("file") && o.has("pem"):
		o.bad("pem", "stands beside file: give one of them")
		return c
	case o.has("file"):
		f := d.named(o, "file")
		if f == nil {
			return c
		}
		key, text = "file", f.content
	case o.has("pem"):
		if text = []byte(o.needText("pem")); len(text) == 0 {
			return c
		}
	default:
		o.bad("file", "is needed, or pem")
		return c
	}
	canonical, err := onePEM(text)
	if err != nil {
		o.bad(key, "%v", err)
		return c
	}
	c.pem = canonical
	return c
}

// onePEM returns the one certificate in a text, written the usual way.
func onePEM(text []byte) (string, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return "", errors.New("holds no PEM certificate")
	}
	if block.Type != "CERTIFICATE" {
		return "", errors.New("holds a " + clip(block.Type) + ", not a certificate")
	}
	if next, _ := pem.Decode(rest); next != nil || len(bytes.TrimSpace(rest)) > 0 {
		return "", errors.New("holds more than one certificate")
	}
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		return "", errors.New("the certificate cannot be read")
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})), nil
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') {
			return false
		} else if !dash && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
