package ect_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tract/internal/ect"
)

var birth = time.Date(2026, 11, 20, 10, 30, 0, 0, time.UTC)

func TestIdentityCertificate(t *testing.T) {
	tests := []struct {
		kind   ect.KeyKind
		strong func(key any) bool
	}{
		{ect.ECDSA, func(key any) bool { k, ok := key.(*ecdsa.PublicKey); return ok && k.Curve.Params().BitSize == 256 }},
		{ect.RSA, func(key any) bool { k, ok := key.(*rsa.PublicKey); return ok && k.N.BitLen() == 2048 }},
	}
	for _, tt := range tests {
		t.Run(string(tt.kind), func(t *testing.T) {
			id, err := ect.NewIdentity("desk-one.example", tt.kind, birth)
			if err != nil {
				t.Fatal(err)
			}
			block, rest := pem.Decode(id.CertificatePEM())
			if block == nil || len(rest) != 0 {
				t.Fatalf("not one PEM block: %q", id.CertificatePEM())
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			if cert.Subject.CommonName != "desk-one.example" || cert.VerifyHostname("desk-one.example") != nil || cert.VerifyHostname("example") == nil {
				t.Errorf("names: CN %q, SAN %q", cert.Subject.CommonName, cert.DNSNames)
			}
			if birth.Before(cert.NotBefore) || birth.AddDate(1, 0, 0).After(cert.NotAfter) {
				t.Errorf("valid from %s to %s", cert.NotBefore, cert.NotAfter)
			}
			if !tt.strong(cert.PublicKey) {
				t.Errorf("key is %T", cert.PublicKey)
			}
			if err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
				t.Errorf("not self-signed: %v", err)
			}
		})
	}
	if _, err := ect.NewIdentity("desk-one.example", "dsa", birth); err == nil {
		t.Error("an unknown kind of key was accepted")
	}
	if _, err := ect.NewIdentity("", ect.ECDSA, birth); err == nil {
		t.Error("an empty FQDN was accepted")
	}
}

func TestOpenIdentityKeepsIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	first, err := ect.OpenIdentity(dir, "desk-one.example", ect.ECDSA, birth)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ect.OpenIdentity(dir, "desk-one.example", ect.RSA, birth.AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.CertificatePEM(), again.CertificatePEM()) || again.FQDN() != "desk-one.example" {
		t.Error("the second time gave another identity")
	}
	info, err := os.Stat(filepath.Join(dir, "key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info.Mode(), err)
	}
	if err := first.Save(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("saving over an identity: %v", err)
	}
}

func TestOpenIdentityRefuses(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, dir string)
		fqdn  string
		now   time.Time
		want  string
	}{
		{"another name", func(*testing.T, string) {}, "desk-two.example", birth, "desk-two.example"},
		{"expired", func(*testing.T, string) {}, "desk-one.example", birth.AddDate(3, 0, 0), "expired"},
		{"only a key", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "certificate.pem")) }, "desk-one.example", birth, "certificate.pem"},
		{"only a certificate", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "key.pem")) }, "desk-one.example", birth, "key.pem"},
		{"not PEM", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "key.pem"), []byte("hello")) }, "desk-one.example", birth, "key.pem"},
		{"key of another", func(t *testing.T, dir string) {
			other := t.TempDir()
			if _, err := ect.OpenIdentity(other, "desk-one.example", ect.ECDSA, birth); err != nil {
				t.Fatal(err)
			}
			key, err := os.ReadFile(filepath.Join(other, "key.pem"))
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "key.pem"), key)
		}, "desk-one.example", birth, "belong"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := ect.OpenIdentity(dir, "desk-one.example", ect.ECDSA, birth); err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, dir)
			before := list(t, dir)
			_, err := ect.OpenIdentity(dir, tt.fqdn, ect.ECDSA, tt.now)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v does not name %q", err, tt.want)
			}
			if after := list(t, dir); after != before {
				t.Errorf("files were %s, are %s", before, after)
			}
		})
	}
}

func list(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
