package manifest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"tract"
	"tract/internal/manifest"
	"tract/internal/sign"
	"tract/internal/store"
)

// hub is a service on a store, with stand-ins for what is handed in.
type hub struct {
	*manifest.Service
	store  *store.Store
	sealer *sign.Sealer
	loaded []string // domains whose FAQ was loaded
	made   int
	hashed int
}

const badRow = "bad row"

func newHub(t *testing.T, s *store.Store) *hub {
	t.Helper()
	sealer, err := sign.NewSealer([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{store: s, sealer: sealer}
	h.Service = manifest.New(manifest.Config{
		Store: s, Seal: sealer.Seal, Open: sealer.Open,
		HashPassword: func(_ context.Context, p string) (string, error) {
			h.hashed++
			return fmt.Sprintf("hash %d %s", h.hashed, sum([]byte(p))), nil
		},
		CheckPassword: func(_ context.Context, hash, p string) (bool, error) {
			return strings.HasSuffix(hash, sum([]byte(p))), nil
		},
		NewToken:  func() (string, error) { h.made++; return fmt.Sprintf("made-token-%d", h.made), nil },
		HashToken: func(v string) string { return sum([]byte(v)) },
		NewUUID: func() (string, error) {
			h.made++
			return fmt.Sprintf("00000000-0000-4000-8000-%012d", h.made), nil
		},
		CheckURL: func(raw string) error {
			if strings.Contains(raw, "10.0.0.1") {
				return errors.New("the address is private")
			}
			return nil
		},
		CheckCertificate: func(_ []byte, fqdn string, _ time.Time) error {
			if fqdn == "desk-two.example" {
				return nil
			}
			return errors.New("the certificate is not for " + fqdn)
		},
		CheckFAQ: func(csv []byte) error {
			if strings.Contains(string(csv), badRow) {
				return errors.New("row 3: no answer")
			}
			return nil
		},
		LoadFAQ: func(ctx context.Context, client int64, domain string, csv []byte) error {
			if strings.Contains(string(csv), "cannot be loaded") {
				return errors.New("row 7: too long")
			}
			h.loaded = append(h.loaded, domain)
			return s.Update(ctx, func(tx *store.Tx) error {
				return tx.PutSteps(client, domain, sum(csv), []tract.Step{{Name: "a", Questions: []string{"q"}, Answers: []string{"a"}}})
			})
		},
	})
	return h
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// files are what a manifest may name.
func files() map[string]string {
	return map[string]string{
		"./faq.csv":      "node_name,question,answer\nHours,when,9 to 18h\n",
		"./bad.csv":      badRow,
		"./heavy.csv":    "cannot be loaded",
		"./desk-one.pem": certificates()[0],
		"./desk-two.pem": certificates()[1],
		"./two.pem":      certificates()[0] + certificates()[1],
		"./key.pem":      "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"./junk.pem":     "junk",
		"./broken.pem":   "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	}
}

// certificates are made once: the same file must give the same bytes.
var certificates = sync.OnceValue(func() []string {
	var out []string
	for i := range 3 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		tpl := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 1)), NotBefore: time.Unix(1700000000, 0), NotAfter: time.Unix(2000000000, 0)}
		der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
		if err != nil {
			panic(err)
		}
		out = append(out, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	}
	return out
})

func options(env map[string]string) manifest.Options {
	return manifest.Options{
		Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		ReadFile: func(path string) ([]byte, error) {
			if text, ok := files()[path]; ok {
				return []byte(text), nil
			}
			return nil, errors.New("no such file or directory")
		},
	}
}

func parse(t *testing.T, text string) *manifest.File {
	t.Helper()
	f, err := manifest.Parse(strings.NewReader(text), "acme.yaml", options(map[string]string{"TOKEN": "token-from-env", "SEVEN": "7", "ON": "true"}))
	if err != nil {
		t.Fatalf("parse:\n%v\n%s", err, text)
	}
	return f
}

func (h *hub) apply(t *testing.T, text string, flags manifest.Flags) manifest.Result {
	t.Helper()
	if flags.Actor == "" {
		flags.Actor = "tester"
	}
	r, err := h.Apply(context.Background(), parse(t, text), flags)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	return r
}

func lines(changes []manifest.Change) string {
	var out []string
	for _, c := range changes {
		out = append(out, c.String())
	}
	return strings.Join(out, "\n")
}

func (h *hub) view(t *testing.T, fn func(tx *store.Tx) error) {
	t.Helper()
	if err := h.store.View(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func (h *hub) update(t *testing.T, fn func(tx *store.Tx) error) {
	t.Helper()
	if err := h.store.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func (h *hub) key(t *testing.T, id string) (key int64) {
	t.Helper()
	h.view(t, func(tx *store.Tx) error {
		c, err := tx.Client(id)
		key = c.Key
		return err
	})
	return key
}

func (h *hub) config(t *testing.T, id string) (cfg *tract.Config) {
	t.Helper()
	key := h.key(t, id)
	h.view(t, func(tx *store.Tx) (err error) {
		cfg, err = tx.Config(key)
		return err
	})
	return cfg
}

// jobs takes what is due.
func (h *hub) jobs(t *testing.T) (out []string) {
	t.Helper()
	h.update(t, func(tx *store.Tx) error {
		out = nil
		js, err := tx.ClaimJobs(100)
		for _, j := range js {
			out = append(out, j.Kind+" "+string(j.Body))
			if err := tx.DeleteJob(j.ID); err != nil {
				return err
			}
		}
		return err
	})
	return out
}
