package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"tract"
)

const (
	minRSA        = 2048
	maxRSA        = 8192
	maxChainBytes = 64 << 10
	maxChainCerts = 8
	maxNames      = 1000
)

var (
	errChainFetch = tract.Invalid("cert_fetch_failed", headerChain+": the certificate chain could not be fetched")
	errChainForm  = tract.Invalid("cert_chain_form", headerChain+": the file must hold certificates in PEM and nothing else")
	errChainLarge = tract.Invalid("cert_chain_too_large", headerChain+": the chain may have at most 8 certificates, 64 KiB and 1000 names")
	errKeyExposed = errors.New("the file holds a private key")
)

func keyExposed(err error) bool { return errors.Is(err, errKeyExposed) }

// usages that a tool's certificate may be limited to.
func usages() []x509.ExtKeyUsage {
	return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
}

// ParseCertificate reads the one certificate of a PEM text and says whether it
// could prove a tool of that FQDN at an instant. It is the check for registering.
func ParseCertificate(pemText []byte, fqdn string, now time.Time) (*x509.Certificate, error) {
	leaf, err := parseCertificate(pemText)
	if err != nil {
		return nil, tract.Invalid("certificate_form", "the certificate must be one certificate in PEM").Because(err)
	}
	return leaf, checkLeaf(leaf, "certificate", fqdn, now)
}

func parseCertificate(pemText []byte) (*x509.Certificate, error) {
	certs, err := readPEM(pemText)
	if err != nil {
		return nil, err
	}
	if len(certs) != 1 {
		return nil, fmt.Errorf("%d certificates", len(certs))
	}
	return certs[0], nil
}

// parseChain reads a fetched chain and puts the tool's own certificate first.
func parseChain(text []byte) ([]*x509.Certificate, error) {
	certs, err := readPEM(text)
	switch {
	case err != nil:
		return nil, err
	case len(certs) == 0:
		return nil, errChainFetch.Because(errors.New("no certificate in the answer"))
	}
	for _, c := range certs {
		if len(c.DNSNames)+len(c.IPAddresses)+len(c.EmailAddresses)+len(c.URIs) > maxNames {
			return nil, errChainLarge
		}
	}
	if i := slices.IndexFunc(certs, func(c *x509.Certificate) bool { return !c.IsCA }); i > 0 {
		certs[0], certs[i] = certs[i], certs[0]
	}
	return certs, nil
}

func readPEM(text []byte) (certs []*x509.Certificate, err error) {
	var blocks []*pem.Block
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			break
		}
		if slices.Contains([]string{"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "DSA PRIVATE KEY", "OPENSSH PRIVATE KEY"}, b.Type) {
			return nil, errChainForm.Because(errKeyExposed)
		}
		blocks = append(blocks, b)
	}
	if len(blocks) > maxChainCerts {
		return nil, errChainLarge
	}
	for _, b := range blocks {
		if b.Type != "CERTIFICATE" {
			return nil, errChainForm.Because(fmt.Errorf("a block of type %.40q", b.Type))
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, errChainForm.Because(err)
		}
		certs = append(certs, c)
	}
	return certs, nil
}

// checkLeaf says whether a certificate may stand for a tool, whoever signed it.
// source begins the texts.
func checkLeaf(c *x509.Certificate, source, fqdn string, now time.Time) error {
	switch {
	case now.Before(c.NotBefore):
		return tract.Invalid("certificate_not_yet_valid", "%s: the certificate is not valid yet", source)
	case now.After(c.NotAfter):
		return tract.Invalid("certificate_expired", "%s: the certificate has expired", source)
	}
	// An empty name would match anything.
	if fqdn == "" || c.VerifyHostname(fqdn) != nil {
		return tract.Invalid("certificate_name", "%s: the certificate does not name the tool's FQDN as a subject alternative name", source)
	}
	limited := len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0
	allowed := append(usages(), x509.ExtKeyUsageAny)
	if limited && !slices.ContainsFunc(c.ExtKeyUsage, func(u x509.ExtKeyUsage) bool { return slices.Contains(allowed, u) }) {
		return wrongUsage(source)
	}
	return checkKey(c, source)
}

func wrongUsage(source string) error {
	return tract.Invalid("certificate_usage", "%s: the certificate is limited to other uses than server or client authentication", source)
}

func checkKey(c *x509.Certificate, source string) error {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		switch bits := k.N.BitLen(); {
		case bits < minRSA:
			return weakKey(source)
		case bits <= maxRSA:
			return nil
		}
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize < 256 {
			return weakKey(source)
		}
		return nil
	case ed25519.PublicKey:
		return nil
	}
	return unsupportedKey(source)
}

func weakKey(source string) error {
	return tract.Invalid("weak_key", "%s: the certificate's key is too weak: RSA needs 2048 bits, ECDSA P-256", source)
}

func unsupportedKey(source string) error {
	return tract.Invalid("unsupported_key", "%s: the certificate's key must be RSA of at most 8192 bits or ECDSA, or Ed25519 with %s", source, headerSHA256)
}

// checkTrust says whether a chain, the tool's certificate first, leads to a root.
func checkTrust(certs []*x509.Certificate, roots *x509.CertPool, now time.Time) error {
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		// A signature by a giant key would take seconds to check.
		if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > maxRSA {
			return unsupportedKey(headerChain)
		}
		between.AddCert(c)
	}
	_, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: usages()})
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return wrongUsage(headerChain)
	}
	return tract.Invalid("certificate_untrusted", "%s: the chain does not lead to a trusted root", headerChain).Because(err)
}

// signatures are those of one request; nil = not given.
type signatures struct{ sha1, sha256 []byte }

// verify checks every signature given over the exact bytes of the body.
func (s signatures) verify(c *x509.Certificate, source string, body []byte) error {
	if _, ed := c.PublicKey.(ed25519.PublicKey); ed && s.sha1 != nil {
		return unsupportedKey(source)
	}
	short, long := sha1.Sum(body), sha256.Sum256(body)
	if s.sha1 != nil && !made(c.PublicKey, crypto.SHA1, short[:], body, s.sha1) {
		return tract.Invalid("signature_invalid", "the signature in the header %s does not fit the body and the certificate", headerSHA1)
	}
	if s.sha256 != nil && !made(c.PublicKey, crypto.SHA256, long[:], body, s.sha256) {
		return tract.Invalid("signature_invalid", "the signature in the header %s does not fit the body and the certificate", headerSHA256)
	}
	return nil
}

func made(key any, hash crypto.Hash, digest, body, sig []byte) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, hash, digest, sig) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest, sig)
	case ed25519.PublicKey:
		return ed25519.Verify(k, body, sig)
	}
	return false
}
