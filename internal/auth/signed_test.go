package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/auth"
	"tract/internal/store"
)

type row struct {
	name string
	req  func(w *world) request
	code string
}

func plain(r request) func(*world) request { return func(*world) request { return r } }

func edit(f func(h http.Header, body *[]byte)) func(*world) request { return plain(request{edit: f}) }

func header(name string, values ...string) func(*world) request {
	return edit(func(h http.Header, _ *[]byte) { h[http.CanonicalHeaderKey(name)] = values })
}

func at(json string) func(*world) request { return plain(request{timestamp: json}) }

// with registers a certificate and signs with its key.
func with(c certificate, r request) func(*world) request {
	return func(w *world) request {
		r.uuid = w.register(c)
		if r.key == nil {
			r.key, _ = c.key.(crypto.Signer)
		}
		return r
	}
}

func raw(sig func(body []byte) []byte) func(h http.Header, body *[]byte) {
	return func(h http.Header, body *[]byte) {
		h.Set("Signature", base64.StdEncoding.EncodeToString(sig(*body)))
	}
}

func TestSignedForm(t *testing.T) {
	long := base64.StdEncoding.EncodeToString(make([]byte, 1<<20))
	run(t, []row{
		{"base", plain(request{}), ""},
		{"SM-01", edit(func(h http.Header, _ *[]byte) { h.Del("Signature") }), "signature_missing"},
		{"SM-02", edit(func(h http.Header, _ *[]byte) { h.Add("Signature", h.Get("Signature")) }), "signature_ambiguous"},
		{"SM-02 256", plain(request{sha256: true, edit: func(h http.Header, _ *[]byte) { h.Add("Signature-256", h.Get("Signature-256")) }}), "signature_ambiguous"},
		{"SM-03", edit(func(h http.Header, _ *[]byte) { h.Del("SignatureCertUUID") }), "certificate_source_missing"},
		{"SM-04", edit(func(h http.Header, _ *[]byte) { h.Set("SignatureCertChainUrl", goodURL) }), "certificate_source_ambiguous"},
		{"SM-04 twice", edit(func(h http.Header, _ *[]byte) { h.Add("SignatureCertUUID", goodUUID) }), "certificate_source_ambiguous"},
		{"SM-05 not base64", header("Signature", "not base64!"), "signature_encoding"},
		{"SM-05 url alphabet", header("Signature", "-_-_-_-_-_-_-_-_"), "signature_encoding"},
		{"SM-05 unpadded", edit(func(h http.Header, _ *[]byte) { h.Set("Signature", strings.TrimRight(h.Get("Signature"), "=")) }), "signature_encoding"},
		{"SM-05 line break", edit(func(h http.Header, _ *[]byte) {
			h["Signature"] = []string{h.Get("Signature")[:64] + "\n" + h.Get("Signature")[64:]}
		}), "signature_encoding"},
		{"SM-06", edit(func(h http.Header, _ *[]byte) { h.Set("Signature", loosened(h.Get("Signature"))) }), "signature_encoding"},
		{"SM-07 one byte", header("Signature", "YQ=="), "signature_encoding"},
		{"SM-07 no byte", header("Signature", ""), "signature_encoding"},
		{"SM-07 1 MiB", header("Signature", long), "signature_encoding"},
		{"SM-08 space", edit(func(_ http.Header, b *[]byte) { *b = append(*b, ' ') }), "signature_invalid"},
		{"SM-08 escape", edit(func(_ http.Header, b *[]byte) { *b = []byte(strings.Replace(string(*b), "acme", `\u0061cme`, 1)) }), "signature_invalid"},
		{"SM-09", edit(func(_ http.Header, b *[]byte) { *b = []byte(strings.ReplaceAll(string(*b), " ", "")) }), "signature_invalid"},
		{"SM-48", plain(request{body: `{"fqdn":"evil.com","client_id":"acme","timestamp":"2026-11-20T10:30:00Z"}`, url: "https://evil.com/ect.api/x.pem"}), "fqdn_mismatch"},
		{"no fqdn", plain(request{body: `{"client_id":"acme","timestamp":"2026-11-20T10:30:00Z"}`}), "fqdn_mismatch"},
		{"fqdn no text", plain(request{body: `{"fqdn":7,"client_id":"acme","timestamp":"2026-11-20T10:30:00Z"}`}), "fqdn_mismatch"},
		{"fqdn in capitals", plain(request{body: `{"fqdn":"SubDomain.ECT.com","client_id":"acme","timestamp":"2026-11-20T10:30:00Z"}`}), ""},
		{"SM-70", plain(request{body: `{"fqdn":"subdomain.ect.com","client_id":"acme","timestamp":"2026-11-20T10:30:00Z",}`}), "invalid_json"},
		{"SM-71 twice", plain(request{body: `{"fqdn":"subdomain.ect.com","timestamp":"2026-11-20T10:30:00Z","timestamp":"2026-11-20T10:30:00Z"}`}), "duplicate_member"},
		{"SM-71 case", plain(request{body: `{"fqdn":"subdomain.ect.com","timestamp":"2026-11-20T10:30:00Z","Timestamp":"2026-11-20T10:30:00Z"}`}), "duplicate_member"},
		{"SM-72 8 KiB", plain(request{body: padded(8 << 10)}), ""},
		{"SM-72 8 KiB + 1", plain(request{body: padded(8<<10 + 1)}), "body_too_large"},
	})
}

// loosened sets a bit of the last character that carries nothing.
func loosened(sig string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	i := len(strings.TrimRight(sig, "=")) - 1
	return sig[:i] + string(alphabet[strings.IndexByte(alphabet, sig[i])+1]) + sig[i+1:]
}

func padded(size int) string {
	s := `{"fqdn":"subdomain.ect.com","client_id":"acme","timestamp":"2026-11-20T10:30:00Z","pad":"`
	return s + strings.Repeat("x", size-len(s)-2) + `"}`
}

// run sends each row to a service of its own. No row may fetch anything.
func run(t *testing.T, rows []row) {
	t.Helper()
	worlds(t, func(t *testing.T, w *world) {
		for _, r := range rows {
			t.Run(r.name, func(t *testing.T) {
				w := w.on(t)
				_, err := call(w.service(), r.req(w))
				wantCode(t, err, r.code)
				if n := w.fetched.Load(); n != 0 {
					t.Errorf("%d fetches", n)
				}
				if logged := strings.Contains(w.log.String(), "code="+r.code); r.code != "" && !logged {
					t.Errorf("not logged: %s", w.log)
				}
			})
		}
	})
}

func TestSignedCertificates(t *testing.T) {
	giant := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 16383, 1), E: 65537}
	run(t, []row{
		{"SM-10", with(certificate{to: -time.Second}, request{}), "certificate_expired"},
		{"SM-11", with(certificate{from: time.Second}, request{}), "certificate_not_yet_valid"},
		{"valid to this second", with(certificate{to: time.Nanosecond}, request{}), ""},
		{"SM-12", with(certificate{names: []string{"notect.com"}}, request{}), "certificate_name"},
		{"SM-13", with(certificate{names: []string{}, cn: fqdn}, request{}), "certificate_name"},
		{"SM-14", with(certificate{names: []string{"ect.com"}}, request{}), "certificate_name"},
		{"SM-15", with(certificate{names: []string{"*.ect.com"}}, request{}), ""},
		{"SM-16", with(certificate{names: []string{"SUBDOMAIN.ECT.COM"}}, request{}), ""},
		{"SM-22 mail", with(certificate{usage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}}, request{}), "certificate_usage"},
		{"SM-22 code", with(certificate{usage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}, request{}), "certificate_usage"},
		{"SM-23", with(certificate{usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, request{}), ""},
		{"SM-24 unknown", plain(request{uuid: "9b5c9a52-6f3e-4a57-9d0f-0e5a3f5a7c99"}), "certificate_unknown"},
		{"SM-24 malformed", plain(request{uuid: "a b"}), "certificate_unknown"},
		{"SM-24 SQL", plain(request{uuid: "' or 1=1 --"}), "certificate_unknown"},
		{"SM-24 bytes", plain(request{uuid: "\xff\xfe"}), "certificate_unknown"},
		{"SM-24 10 KiB", plain(request{uuid: strings.Repeat("a", 10<<10)}), "certificate_unknown"},
		{"SM-25", plain(request{uuid: otherID, key: keys.rsa2()}), "certificate_unknown"},
		{"SM-27", plain(request{key: keys.rsa2()}), "signature_invalid"},
		{"UUID in capitals", plain(request{uuid: strings.ToUpper(goodUUID)}), ""},
		{"SM-28", with(certificate{key: keys.weakRSA()}, request{}), "weak_key"},
		{"SM-29", with(certificate{key: giant}, request{key: keys.rsa()}), "unsupported_key"},
		{"SM-30", with(certificate{key: keys.p224()}, request{}), "weak_key"},
		{"SM-31 P-256", with(certificate{key: keys.p256()}, request{}), ""},
		{"SM-31 P-384", with(certificate{key: keys.p384()}, request{}), ""},
		{"SM-31 P-521", with(certificate{key: keys.p521()}, request{sha256: true}), ""},
		{"SM-32", with(certificate{key: keys.p256()}, request{edit: raw(rawECDSA)}), "signature_invalid"},
		{"SM-33 SHA-1", with(certificate{key: keys.ed()}, request{}), "unsupported_key"},
		{"SM-33 in Signature-256", with(certificate{key: keys.ed()}, request{sha256: true}), ""},
		{"SM-34", plain(request{edit: raw(pss)}), "signature_invalid"},
		{"SM-35", plain(request{edit: raw(func(b []byte) []byte { return signed(keys.rsa(), crypto.SHA256, b) })}), "signature_invalid"},
		{"SM-35 in Signature-256", plain(request{sha256: true}), ""},
		{"both", plain(request{sha1: true, sha256: true}), ""},
		{"both, SHA-1 bad", plain(request{sha256: true, edit: raw(func([]byte) []byte { return make([]byte, 256) })}), "signature_invalid"},
		{"both, SHA-256 bad", plain(request{sha1: true, sha256: true, edit: func(h http.Header, _ *[]byte) { h.Set("Signature-256", h.Get("Signature")) }}), "signature_invalid"},
		{"SM-36 DSA", patched(0x38, 0x04), "unsupported_key"},
		{"SM-36 unknown", patched(0x3d, 0x09), "unsupported_key"},
	})
}

func rawECDSA(body []byte) []byte {
	d := sha1.Sum(body)
	r, s, err := ecdsa.Sign(rand.Reader, keys.p256().(*ecdsa.PrivateKey), d[:])
	if err != nil {
		panic(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func pss(body []byte) []byte {
	d := sha1.Sum(body)
	return must(rsa.SignPSS(rand.Reader, keys.rsa().(*rsa.PrivateKey), crypto.SHA1, d[:], nil))
}

// foreign is a good certificate whose key is said to be of another kind: two
// bytes of the algorithm's object identifier are replaced.
func foreign(a, b byte) *issued {
	c := certificate{key: keys.p256()}.make()
	oid := string([]byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01})
	other := string([]byte{0x2a, 0x86, 0x48, 0xce, a, b, 0x01})
	c.der = []byte(strings.Replace(string(c.der), oid, other, 1))
	return c
}

func patched(a, b byte) func(*world) request {
	return func(w *world) request {
		id := w.register(certificate{})
		w.update(func(tx *store.Tx) error {
			_, err := tx.InsertCertificate(tract.Certificate{UUID: id + "x", Client: w.acme, Tool: "desk-one", PEM: string(foreign(a, b).pem())})
			return err
		})
		return request{uuid: id + "x", key: keys.p256()}
	}
}

func TestSignedTimestamp(t *testing.T) {
	rows := []row{
		{"SM-37 past", at(`"` + stamp(-150*time.Second) + `"`), ""},
		{"SM-37 future", at(`"` + stamp(150*time.Second) + `"`), ""},
		{"SM-38 1 ms", at(`"` + stamp(-150*time.Second-time.Millisecond) + `"`), "timestamp_stale"},
		{"SM-38 1 s", at(`"` + stamp(-151*time.Second) + `"`), "timestamp_stale"},
		{"SM-38 1 day", at(`"` + stamp(-24*time.Hour) + `"`), "timestamp_stale"},
		{"SM-39 1 s", at(`"` + stamp(151*time.Second) + `"`), "timestamp_future"},
		{"SM-39 9999", at(`"9999-12-31T23:59:59Z"`), "timestamp_future"},
		{"SM-40 missing", plain(request{body: `{"fqdn":"subdomain.ect.com","client_id":"acme"}`}), "timestamp_invalid"},
		{"SM-41 +00:00", at(`"2026-11-20T10:30:00+00:00"`), ""},
		{"SM-41 fraction", at(`"2026-11-20T10:30:00.123456789Z"`), ""},
	}
	for _, bad := range []string{
		`null`, `1795170600`, `""`, `{}`, `"2026-11-20T10:30:00"`, `"2026-11-20T10:30:00+05:30"`, `"2026-11-20T10:30:00z"`, `"2026-11-20t10:30:00Z"`, `"2026-11-20T10:30:00,5Z"`,
		`"2026-11-20T10:29:60Z"`, `"2026-11-20T24:00:00Z"`, `"2026-02-30T10:30:00Z"`, `"2026-W47-5T10:30:00Z"`, `"1795170600"`, `" 2026-11-20T10:30:00Z"`, `"2026-11-20T10:30:00Z "`,
		`"2026-11-20 10:30:00Z"`, `"2026-11-20T10:30Z"`, `"20261120T103000Z"`, `"2026-11-20T10:30:00.Z"`, `"2026-11-20T10:30:00-00:00"`, `"2026-11-20T10:30:00ZZ"`, `"2026-11-20T9:30:00Z"`,
		`"2026-11-20T10:30:00.1234567890Z"`, `"2026-11-20T10:30:00.1.2Z"`, `"+2026-11-20T10:30:0Z"`,
	} {
		rows = append(rows, row{"SM-40 SM-41 " + bad, at(bad), "timestamp_invalid"})
	}
	run(t, rows)
}

func TestSignedReplay(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		w = w.on(t)
		one, two := w.service(), w.service() // two replicas
		r := request{}.make()
		if _, err := one.VerifySigned(ctx, r); err != nil {
			t.Fatalf("first use: %v", err)
		}
		for name, s := range map[string]*auth.Service{"SM-42": one, "SM-44": two} {
			t.Run(name, func(t *testing.T) {
				_, err := s.VerifySigned(ctx, r)
				wantCode(t, err, "replayed_request")
			})
		}
		t.Run("SM-44 other signature", func(t *testing.T) {
			again := r
			again.Header = r.Header.Clone()
			again.Header.Set("Signature-256", base64.StdEncoding.EncodeToString(signed(keys.rsa(), crypto.SHA256, r.Body)))
			_, err := two.VerifySigned(ctx, again)
			wantCode(t, err, "replayed_request")
		})
		t.Run("latest instant", func(t *testing.T) {
			late := request{timestamp: `"` + stamp(150*time.Second) + `"`}.make()
			if _, err := one.VerifySigned(ctx, late); err != nil {
				t.Fatal(err)
			}
			w.clock.Advance(300 * time.Second)
			w.update(func(tx *store.Tx) error { _, err := tx.DeleteExpired(100); return err })
			_, err := one.VerifySigned(ctx, late)
			wantCode(t, err, "replayed_request")
		})
		t.Run("SM-45", func(t *testing.T) {
			w.clock.Advance(time.Hour)
			w.update(func(tx *store.Tx) error { _, err := tx.DeleteExpired(100); return err })
			_, err := one.VerifySigned(ctx, r)
			wantCode(t, err, "timestamp_stale")
		})
	})
}

func TestSignedReplayParallel(t *testing.T) {
	t.Run("SM-43", func(t *testing.T) {
		worlds(t, func(t *testing.T, w *world) {
			w = w.on(t)
			replicas := []*auth.Service{w.service(), w.service()}
			r := request{}.make()
			errs := make([]error, 50)
			var wg sync.WaitGroup
			for i := range errs {
				wg.Go(func() { _, errs[i] = replicas[i%2].VerifySigned(context.Background(), r) })
			}
			wg.Wait()
			ok := 0
			for _, err := range errs {
				if err == nil {
					ok++
				} else {
					wantCode(t, err, "replayed_request")
				}
			}
			if ok != 1 {
				t.Errorf("%d of 50 accepted, want 1", ok)
			}
		})
	})
}

func TestSignedClient(t *testing.T) {
	body := func(rest string) func(*world) request {
		return plain(request{body: `{"fqdn":"subdomain.ect.com","timestamp":"2026-11-20T10:30:00Z"` + rest + `}`})
	}
	run(t, []row{
		{"SM-69 unknown", body(`,"client_id":"nobody"`), "client_unknown"},
		{"SM-69 other's", body(`,"client_id":"globex"`), "client_unknown"},
		{"SM-69 missing", body(``), "client_unknown"},
		{"SM-69 no text", body(`,"client_id":7`), "client_unknown"},
	})
}

func TestSignedRecords(t *testing.T) {
	tool := tract.Tool{ID: "desk-one", FQDN: fqdn, CASigned: true, Active: true}
	weak, off := tool, tool
	weak.RequireSHA256, off.Active = true, false
	set := func(tool tract.Tool) func(*world, *store.Tx) error {
		return func(w *world, tx *store.Tx) error { return putTool(tx, w.acme, tool) }
	}
	revoked := func(w *world, tx *store.Tx) error {
		_, err := tx.RevokeCertificate(w.acme, goodUUID)
		return err
	}
	tests := []struct {
		name  string
		setUp func(*world, *store.Tx) error
		req   request
		code  string
	}{
		{"SHA-256 needed", set(weak), request{}, "weak_signature"},
		{"SHA-256 needed and given", set(weak), request{sha256: true}, ""},
		{"SHA-256 needed, both given", set(weak), request{sha1: true, sha256: true}, ""},
		{"inactive tool", set(off), request{}, "tool_inactive"},
		{"inactive tool, bad signature", set(off), request{key: keys.rsa2()}, "signature_invalid"},
		{"inactive tool by chain", set(off), request{url: goodURL}, "certificate_source_not_allowed"},
		{"revoked certificate", revoked, request{}, "certificate_unknown"},
		{"inactive client", func(w *world, tx *store.Tx) error {
			_, err := tx.PutClient(tract.Client{ID: "acme", Name: "Acme"})
			return err
		}, request{}, "tool_inactive"},
		{"tool gone", func(w *world, tx *store.Tx) error { return tx.DeleteDocument(w.acme, store.KindTool, "desk-one") }, request{}, "fqdn_mismatch"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			worlds(t, func(t *testing.T, w *world) {
				w = w.on(t)
				w.update(func(tx *store.Tx) error { return tt.setUp(w, tx) })
				_, err := call(w.service(), tt.req)
				wantCode(t, err, tt.code)
				if n := w.fetched.Load(); n != 0 {
					t.Errorf("%d fetches", n)
				}
			})
		})
	}
}

// TestSignedOneBody: what an outsider could probe for looks the same.
func TestSignedOneBody(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		w = w.on(t)
		s := w.service()
		_, unknown := call(s, request{uuid: "9b5c9a52-6f3e-4a57-9d0f-0e5a3f5a7c99"})
		_, others := call(s, request{uuid: otherID, key: keys.rsa2()})
		if unknown.Error() != others.Error() {
			t.Errorf("SM-25: %q and %q differ", unknown, others)
		}
	})
}

func TestListClients(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		w = w.on(t)
		s := w.service()
		list := func(r request) []auth.ClientEntry {
			t.Helper()
			c, err := s.VerifySigned(context.Background(), r.make())
			if err != nil {
				t.Fatal(err)
			}
			return s.ListClients(c)
		}
		acme := auth.ClientEntry{ClientID: "acme", Name: "Acme", ReceiverID: "desk-one", BusinessIDs: []int64{343}}
		globex := auth.ClientEntry{ClientID: "globex", Name: "Globex", ReceiverID: "desk-one", BusinessIDs: []int64{}}
		if d := cmp.Diff([]auth.ClientEntry{acme}, list(request{})); d != "" {
			t.Errorf("one client: %s", d)
		}
		// A second client attaches the same tool: its certificate there is another
		// one under the same UUID.
		w.update(func(tx *store.Tx) error {
			if err := putTool(tx, w.globex, tract.Tool{ID: "desk-one", FQDN: fqdn, Active: true}); err != nil {
				return err
			}
			return putCertificate(tx, w.globex, "desk-one", goodUUID, certificate{key: keys.p256()})
		})
		if d := cmp.Diff([]auth.ClientEntry{acme}, list(request{})); d != "" {
			t.Errorf("the first client's key: %s", d)
		}
		if d := cmp.Diff([]auth.ClientEntry{globex}, list(request{key: keys.p256()})); d != "" {
			t.Errorf("the second client's key: %s", d)
		}
		if d := cmp.Diff([]auth.ClientEntry{acme}, list(request{url: goodURL})); d != "" {
			t.Errorf("by chain, which only the first allows: %s", d)
		}
		_, err := call(s, request{key: keys.p256()}) // asks for acme
		wantCode(t, err, "client_unknown")
		// Both list the same certificate, but the second wants SHA-256.
		shared := certificate{key: keys.p384()}.make()
		w.update(func(tx *store.Tx) error {
			if err := putTool(tx, w.globex, tract.Tool{ID: "desk-one", FQDN: fqdn, RequireSHA256: true, Active: true}); err != nil {
				return err
			}
			for client, tool := range map[int64]tract.ReceiverID{w.acme: "desk-one", w.globex: "desk-one"} {
				if _, err := tx.InsertCertificate(tract.Certificate{UUID: "shared", Client: client, Tool: tool, PEM: string(shared.pem())}); err != nil {
					return err
				}
			}
			return nil
		})
		r := request{uuid: "shared", key: keys.p384()}
		if d := cmp.Diff([]auth.ClientEntry{acme}, list(r)); d != "" {
			t.Errorf("shared, SHA-1: %s", d)
		}
		r.sha256 = true
		if d := cmp.Diff([]auth.ClientEntry{acme, globex}, list(r)); d != "" {
			t.Errorf("shared, SHA-256: %s", d)
		}
		c, err := s.VerifySigned(context.Background(), request{uuid: "shared", key: keys.p384()}.make())
		if err == nil {
			_, err = s.IssueToken(context.Background(), c, "globex")
		}
		wantCode(t, err, "weak_signature")
	})
}

func TestParseCertificate(t *testing.T) {
	good := certificate{}.make().pem()
	tests := []struct {
		name, code string
		pem        []byte
	}{
		{"good", "", good},
		{"two", "certificate_form", append(good[:len(good):len(good)], good...)},
		{"none", "certificate_form", []byte("hello")},
		{"other name", "certificate_name", certificate{names: []string{"x.example"}}.make().pem()},
		{"weak", "weak_key", certificate{key: keys.weakRSA()}.make().pem()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := auth.ParseCertificate(tt.pem, fqdn, start)
			wantCode(t, err, tt.code)
		})
	}
}

// TestSignedOrder: of two faults the earlier check speaks.
func TestSignedOrder(t *testing.T) {
	old := `"` + stamp(-time.Hour) + `"`
	used := `{"fqdn":"subdomain.ect.com","client_id":"nobody","timestamp":"2026-11-20T10:30:00Z","nonce":"used"}`
	run(t, []row{
		{"source before signature", edit(func(h http.Header, _ *[]byte) { h.Del("SignatureCertUUID"); h.Del("Signature") }), "certificate_source_missing"},
		{"signature before body", plain(request{body: "{", edit: func(h http.Header, _ *[]byte) { h.Set("Signature", "?") }}), "signature_encoding"},
		{"fqdn before URL", plain(request{body: `{"fqdn":"x.example"}`, url: "http://x.example/"}), "fqdn_mismatch"},
		{"UUID before time", plain(request{uuid: "none", timestamp: old}), "certificate_unknown"},
		{"certificate before signature", with(certificate{to: -time.Second}, request{key: keys.rsa2()}), "certificate_expired"},
		{"signature before time", plain(request{key: keys.rsa2(), timestamp: old}), "signature_invalid"},
		{"time before client", plain(request{body: strings.Replace(used, "10:30", "09:30", 1)}), "timestamp_stale"},
		{"client last", plain(request{body: used}), "client_unknown"},
		{"replay before client", plain(request{body: used}), "replayed_request"},
	})
}

func TestDigestOfTool(t *testing.T) {
	// Two tools may send equal bytes only if the body names both: it cannot. The
	// digest is over tool and body, so check that it is not over the body alone.
	worlds(t, func(t *testing.T, w *world) {
		r := request{}.make()
		sum := sha256.Sum256(r.Body)
		w.update(func(tx *store.Tx) error { _, err := tx.InsertReplay(sum[:], start.Add(time.Hour)); return err })
		if _, err := w.on(t).service().VerifySigned(context.Background(), r); err != nil {
			t.Error(err)
		}
	})
}
