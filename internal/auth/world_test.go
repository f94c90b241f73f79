package auth_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tract"
	"tract/internal/auth"
	"tract/internal/sign"
	"tract/internal/store"
	"tract/internal/tracttest"
)

const (
	fqdn     = "subdomain.ect.com"
	goodURL  = "https://subdomain.ect.com/ect.api/ect-api-cert.pem"
	goodUUID = "0b5c9a52-6f3e-4a57-9d0f-0e5a3f5a7c11"
	otherID  = "7e1c0a52-1111-4a57-9d0f-0e5a3f5a7c22"
	issuer   = "https://hub.example"
)

var keys = struct{ rsa, rsa2, weakRSA, ca, p224, p256, p384, p521, ed func() crypto.Signer }{
	rsa: rsaKey(2048), rsa2: rsaKey(2048), weakRSA: rsaKey(1024), ca: rsaKey(2048),
	p224: ecKey(elliptic.P224()), p256: ecKey(elliptic.P256()), p384: ecKey(elliptic.P384()), p521: ecKey(elliptic.P521()),
	ed: sync.OnceValue(func() crypto.Signer {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return must(k, err)
	}),
}

func rsaKey(bits int) func() crypto.Signer {
	return sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, bits)) })
}

func ecKey(c elliptic.Curve) func() crypto.Signer {
	return sync.OnceValue(func() crypto.Signer { return must(ecdsa.GenerateKey(c, rand.Reader)) })
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// certificate describes one to make; what is left out is that of a good leaf.
type certificate struct {
	key       any // public key or signer
	names     []string
	cn        string
	from, to  time.Duration // from the clock's start
	usage     []x509.ExtKeyUsage
	ca        bool
	parent    *issued // nil = self-signed by signer
	algorithm x509.SignatureAlgorithm
}

type issued struct {
	cert *x509.Certificate
	der  []byte
	key  crypto.Signer
}

func (i *issued) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.der})
}

var start = tracttest.NewClock().Now()

var serial atomic.Int64

func (c certificate) make() *issued {
	if c.key == nil {
		c.key = keys.rsa()
	}
	signer, public := c.key.(crypto.Signer)
	pub := c.key
	if public {
		pub = signer.Public()
	}
	if c.to == 0 {
		c.to = 24 * time.Hour
	}
	if c.from == 0 {
		c.from = -time.Hour
	}
	if c.names == nil && !c.ca {
		c.names = []string{fqdn}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial.Add(1)), Subject: pkix.Name{CommonName: fmt.Sprintf("%s %d", c.cn, serial.Load())},
		DNSNames: c.names, NotBefore: start.Add(c.from), NotAfter: start.Add(c.to), ExtKeyUsage: c.usage,
		BasicConstraintsValid: true, IsCA: c.ca, SignatureAlgorithm: c.algorithm,
	}
	if c.cn != "" {
		template.Subject.CommonName = c.cn
	}
	if c.ca {
		template.KeyUsage = x509.KeyUsageCertSign
	}
	parent, parentKey := template, signer
	if c.parent != nil {
		parent, parentKey = c.parent.cert, c.parent.key
	}
	if parentKey == nil {
		parentKey = keys.ca() // a key that cannot sign itself
	}
	der := must(x509.CreateCertificate(rand.Reader, template, parent, pub, parentKey))
	cert, _ := x509.ParseCertificate(der)
	return &issued{cert, der, signer}
}

// authority is a root and an intermediate; roots holds the root.
type authority struct {
	root, middle *issued
	roots        *x509.CertPool
}

var newAuthority = sync.OnceValue(func() authority {
	root := certificate{key: keys.ca(), cn: "Test Root", ca: true}.make()
	middle := certificate{key: keys.p384(), cn: "Test Intermediate", ca: true, parent: root}.make()
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	return authority{root, middle, pool}
})

// chain is a leaf of the intermediate with all above it.
func (c certificate) chain() []byte {
	a := newAuthority()
	c.parent = a.middle
	return bytes.Join([][]byte{c.make().pem(), a.middle.pem(), a.root.pem()}, nil)
}

// world is a store with tools in it, and the services of it.
type world struct {
	t       *testing.T
	store   *store.Store
	clock   *tracttest.Clock
	log     *logBuffer
	sealer  *sign.Sealer
	acme    int64
	globex  int64
	fetched atomic.Int64
	last    atomic.Value // the last URL fetched
	body    func(url string) ([]byte, error)
}

// logBuffer takes what several services log.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// worlds runs a test on both engines.
func worlds(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		clock := tracttest.NewClock()
		o.Now, o.Rerun = clock.Now, true
		w := &world{t: t, store: tracttest.Open(t, o), clock: clock, log: &logBuffer{}, sealer: must(sign.NewSealer(bytes.Repeat([]byte{7}, 32)))}
		w.update(w.seed)
		test(t, w)
	})
}

// on gives the world of a subtest, whose chain is a good one.
func (w *world) on(t *testing.T) *world {
	n := &world{t: t, store: w.store, clock: w.clock, log: &logBuffer{}, sealer: w.sealer, acme: w.acme, globex: w.globex}
	n.body = func(string) ([]byte, error) { return certificate{}.chain(), nil }
	return n
}

func (w *world) update(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), fn); err != nil {
		w.t.Fatalf("update: %v", err)
	}
}

// addToken stores a client's token with a value.
func (w *world) addToken(n store.Token, value string) {
	w.t.Helper()
	n.ID, n.Hash = value, auth.HashToken(value)
	w.update(func(tx *store.Tx) error {
		inserted, err := tx.InsertToken(n)
		if err == nil && !inserted {
			w.t.Errorf("token %s is not stored", n.Name)
		}
		return err
	})
}

func (w *world) seed(tx *store.Tx) (err error) {
	if w.acme, err = tx.PutClient(tract.Client{ID: "acme", Name: "Acme", Active: true}); err != nil {
		return err
	}
	if w.globex, err = tx.PutClient(tract.Client{ID: "globex", Name: "Globex", Active: true}); err != nil {
		return err
	}
	if err := putTool(tx, w.acme, tract.Tool{ID: "desk-one", FQDN: fqdn, CASigned: true, Active: true}); err != nil {
		return err
	}
	if err := putTool(tx, w.globex, tract.Tool{ID: "other", FQDN: "other.example", Active: true}); err != nil {
		return err
	}
	b := &tract.Business{ID: 343, Name: "Support", Tools: []tract.ReceiverID{"desk-one"}, Active: true}
	if err := tx.PutDocument(w.acme, store.KindBusiness, "343", "", b); err != nil {
		return err
	}
	if err := putCertificate(tx, w.acme, "desk-one", goodUUID, certificate{}); err != nil {
		return err
	}
	return putCertificate(tx, w.globex, "other", otherID, certificate{key: keys.rsa2(), names: []string{"other.example", fqdn}})
}

func putTool(tx *store.Tx, client int64, tool tract.Tool) error {
	return tx.PutDocument(client, store.KindTool, string(tool.ID), tool.FQDN, tool)
}

func putCertificate(tx *store.Tx, client int64, tool tract.ReceiverID, uuid string, c certificate) error {
	inserted, err := tx.InsertCertificate(tract.Certificate{UUID: uuid, Client: client, Tool: tool, PEM: string(c.make().pem())})
	if err == nil && !inserted {
		err = errors.New("not inserted")
	}
	return err
}

// register adds a certificate of the tool and gives its UUID.
func (w *world) register(c certificate) string {
	w.t.Helper()
	id := fmt.Sprintf("c%d", serial.Add(1))
	w.update(func(tx *store.Tx) error { return putCertificate(tx, w.acme, "desk-one", id, c) })
	return id
}

func (w *world) config() auth.Config {
	return auth.Config{
		Store: w.store, Sealer: w.sealer, Issuer: issuer, Roots: newAuthority().roots, AdminToken: "operator's",
		Log: slog.New(slog.NewTextHandler(w.log, nil)),
		Fetch: func(_ context.Context, url string) ([]byte, error) {
			w.fetched.Add(1)
			w.last.Store(url)
			return w.body(url)
		},
	}
}

func (w *world) service() *auth.Service { return auth.New(w.config()) }

// request describes a signed request; what is left out is that of a good one.
type request struct {
	uuid, url string // none = the good UUID
	body      string // none = a good one, never used before
	timestamp string
	key       crypto.Signer
	sha1      bool // with Signature; default if not sha256
	sha256    bool // with Signature-256
	edit      func(h http.Header, body *[]byte)
}

var nonce atomic.Int64

func stamp(d time.Duration) string { return start.Add(d).Format("2006-01-02T15:04:05.999999Z") }

func (r request) make() auth.SignedRequest {
	if r.timestamp == "" {
		r.timestamp = `"` + stamp(0) + `"`
	}
	if r.body == "" {
		r.body = fmt.Sprintf(`{"fqdn": %q, "client_id": "acme", "timestamp": %s, "nonce": %d}`, fqdn, r.timestamp, nonce.Add(1))
	}
	if r.key == nil {
		r.key = keys.rsa()
	}
	body := []byte(r.body)
	h := http.Header{}
	if r.sha1 || !r.sha256 {
		h.Set("Signature", base64.StdEncoding.EncodeToString(signed(r.key, crypto.SHA1, body)))
	}
	if r.sha256 {
		h.Set("Signature-256", base64.StdEncoding.EncodeToString(signed(r.key, crypto.SHA256, body)))
	}
	switch {
	case r.url != "":
		h.Set("SignatureCertChainUrl", r.url)
	case r.uuid != "":
		h.Set("SignatureCertUUID", r.uuid)
	default:
		h.Set("SignatureCertUUID", goodUUID)
	}
	if r.edit != nil {
		r.edit(h, &body)
	}
	return auth.SignedRequest{Header: h, Body: body}
}

func signed(key crypto.Signer, hash crypto.Hash, body []byte) []byte {
	digest := body
	if _, ed := key.(ed25519.PrivateKey); ed {
		hash = 0
	}
	switch hash {
	case crypto.SHA1:
		d := sha1.Sum(body)
		digest = d[:]
	case crypto.SHA256:
		d := sha256.Sum256(body)
		digest = d[:]
	}
	return must(key.Sign(rand.Reader, digest, hash))
}

// call is what a management endpoint does: verify, then issue for the body's client.
func call(s *auth.Service, r request) (auth.Token, error) {
	c, err := s.VerifySigned(context.Background(), r.make())
	if err != nil {
		return auth.Token{}, err
	}
	return s.IssueToken(context.Background(), c, c.ClientID)
}

// wantCode checks an error's code; "" is success. Every code of a row that is no
// success is of kind invalid unless it says otherwise.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Errorf("refused: %s: %v", tract.CodeOf(err), err)
		}
		return
	}
	if err == nil {
		t.Errorf("accepted, want %s", code)
		return
	}
	if tract.CodeOf(err) != code {
		t.Errorf("code = %s (%v), want %s", tract.CodeOf(err), err, code)
	}
	kind := map[string]tract.Kind{"body_too_large": tract.KindTooLarge, "rate_limited": tract.KindRateLimited}[code]
	if kind == 0 {
		kind = tract.KindInvalid
	}
	if tract.KindOf(err) != kind {
		t.Errorf("kind = %d, want %d", tract.KindOf(err), kind)
	}
}
