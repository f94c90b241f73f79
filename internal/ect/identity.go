package ect

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // the original's documented signature; SHA-256 always goes with it
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// KeyKind says what sort of key an identity has.
type KeyKind string

// The kinds of keys.
const (
	ECDSA KeyKind = "ecdsa" // P-256
	RSA   KeyKind = "rsa"   // 2048 bits
)

const (
	keyFile      = "key.pem"
	certFile     = "certificate.pem"
	certLifetime = 2 * 365 * 24 * time.Hour
	certSkew     = time.Hour // a hub whose clock is behind takes a fresh certificate too
)

// Identity is what a tool proves itself with: a key and a self-signed
// certificate for its FQDN. The UUID of the certificate is the hub's to give.
type Identity struct {
	fqdn string
	key  crypto.Signer
	cert *x509.Certificate
}

// NewIdentity makes a key and a certificate for fqdn that is valid from now on.
func NewIdentity(fqdn string, kind KeyKind, now time.Time) (*Identity, error) {
	if fqdn == "" {
		return nil, errors.New("an identity needs a FQDN")
	}
	key, err := newKey(kind)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: fqdn},
		DNSNames:              []string{fqdn},
		NotBefore:             now.Add(-certSkew),
		NotAfter:              now.Add(certLifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make certificate for %s: %w", fqdn, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back certificate for %s: %w", fqdn, err)
	}
	return &Identity{fqdn: fqdn, key: key, cert: cert}, nil
}

func newKey(kind KeyKind) (crypto.Signer, error) {
	switch kind {
	case ECDSA, "":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSA:
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return nil, fmt.Errorf("unknown kind of key %q: ecdsa or rsa", kind)
}

// OpenIdentity loads the identity kept in dir, or makes one and keeps it there.
// One for another FQDN, or one that has expired, is an error: replacing it would
// silently cut the tool off from hubs that know the old certificate.
func OpenIdentity(dir, fqdn string, kind KeyKind, now time.Time) (*Identity, error) {
	id, err := LoadIdentity(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if id, err = NewIdentity(fqdn, kind, now); err != nil {
			return nil, err
		}
		return id, id.Save(dir)
	}
	if err != nil {
		return nil, err
	}
	if err := id.cert.VerifyHostname(fqdn); err != nil {
		return nil, fmt.Errorf("the certificate in %s is for %s, not for %s", dir, id.fqdn, fqdn)
	}
	if now.After(id.cert.NotAfter) {
		return nil, fmt.Errorf("the certificate in %s expired on %s", dir, id.cert.NotAfter.Format(time.DateOnly))
	}
	return id, nil
}

// LoadIdentity reads an identity that Save wrote. The error is fs.ErrNotExist
// when dir holds neither key nor certificate.
func LoadIdentity(dir string) (*Identity, error) {
	keyPEM, keyErr := os.ReadFile(filepath.Join(dir, keyFile))
	certPEM, certErr := os.ReadFile(filepath.Join(dir, certFile))
	if errors.Is(keyErr, fs.ErrNotExist) && errors.Is(certErr, fs.ErrNotExist) {
		return nil, keyErr
	}
	// Half an identity is not "none": its missing half must not be made up.
	if err := errors.Join(keyErr, certErr); err != nil {
		return nil, fmt.Errorf("load identity: %v", err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("load identity: %s: %w", keyFile, err)
	}
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return nil, fmt.Errorf("load identity: %s: %w", certFile, err)
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("load identity: %s does not belong to %s", keyFile, certFile)
	}
	return &Identity{fqdn: cert.Subject.CommonName, key: key, cert: cert}, nil
}

func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("holds no PEM block")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		return key, nil
	case *rsa.PrivateKey:
		return key, nil
	}
	return nil, errors.New("is neither an ECDSA nor an RSA key")
}

func parseCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("holds no PEM block")
	}
	return x509.ParseCertificate(block.Bytes)
}

// Save writes key and certificate into dir; only the owner may read the key.
// An identity that lies there already is never overwritten.
func (i *Identity) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := writeNew(filepath.Join(dir, keyFile), key, 0o600); err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	if err := writeNew(filepath.Join(dir, certFile), i.CertificatePEM(), 0o644); err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	return nil
}

func writeNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// FQDN is the name the certificate was made for.
func (i *Identity) FQDN() string { return i.fqdn }

// CertificatePEM is the certificate as an operator of the hub registers it.
func (i *Identity) CertificatePEM() []byte {
	var out bytes.Buffer
	// Writing to a Buffer cannot fail, and the block has no headers to refuse.
	_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
	return out.Bytes()
}

// Sign gives the two signatures of a management request over its exact bytes:
// the documented one (SHA-1) and the stronger one (SHA-256), in base64.
func (i *Identity) Sign(body []byte) (weak, strong string, err error) {
	one, two := sha1.Sum(body), sha256.Sum256(body)
	a, errA := i.key.Sign(rand.Reader, one[:], crypto.SHA1)
	b, errB := i.key.Sign(rand.Reader, two[:], crypto.SHA256)
	if err := errors.Join(errA, errB); err != nil {
		return "", "", fmt.Errorf("sign request: %w", err)
	}
	return base64.StdEncoding.EncodeToString(a), base64.StdEncoding.EncodeToString(b), nil
}
