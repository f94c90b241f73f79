package auth_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tract"
	"tract/internal/auth"
	"tract/internal/safehttp"
	"tract/internal/store"
)

func TestChainURL(t *testing.T) {
	tests := []struct {
		name, url, code, fetched string
	}{
		{"SM-46", "http://subdomain.ect.com/ect.api/ect-api-cert.pem", "cert_url_scheme", ""},
		{"SM-46 ftp", "ftp://subdomain.ect.com/ect.api/ect-api-cert.pem", "cert_url_scheme", ""},
		{"SM-46 none", "//subdomain.ect.com/ect.api/ect-api-cert.pem", "cert_url_scheme", ""},
		{"SM-47 other", "https://notect.com/ect.api/x.pem", "cert_url_host", ""},
		{"SM-47 suffix", "https://subdomain.ect.com.evil.com/ect.api/x.pem", "cert_url_host", ""},
		{"SM-47 user", "https://subdomain.ect.com@evil.com/ect.api/x.pem", "cert_url_host", ""},
		{"SM-47 below", "https://a.subdomain.ect.com/ect.api/x.pem", "cert_url_host", ""},
		{"SM-49 user info", "https://u:p@subdomain.ect.com/ect.api/x.pem", "cert_url_form", ""},
		{"SM-49 fragment", goodURL + "#x", "cert_url_form", ""},
		{"SM-49 empty fragment", goodURL + "#", "cert_url_form", ""},
		{"SM-49 query", goodURL + "?x=1", "cert_url_form", ""},
		{"SM-49 empty query", goodURL + "?", "cert_url_form", ""},
		{"SM-50 host", "https://SUBDOMAIN.ect.com/ect.api/ect-api-cert.pem", "", goodURL},
		{"SM-50 scheme", "HTTPS://subdomain.ect.com/ect.api/ect-api-cert.pem", "", goodURL},
		{"SM-51", "https://subdomain.ect.com./ect.api/x.pem", "cert_url_host", ""},
		{"SM-52 nul", "https://subdomain%00.ect.com/ect.api/x.pem", "cert_url_form", ""},
		{"SM-52 dot", "https://subdomain%2eect.com/ect.api/x.pem", "cert_url_form", ""},
		{"SM-52 space", "https://subdomain.ect.com /ect.api/x.pem", "cert_url_form", ""},
		{"SM-52 space in path", "https://subdomain.ect.com/ect.api/x .pem", "cert_url_form", ""},
		{"SM-52 tab", "https://subdomain.ect.com\t/ect.api/x.pem", "cert_url_form", ""},
		{"SM-52 lines", goodURL + "\r\nX: y", "cert_url_form", ""},
		{"SM-52 backslash", `https://evil.com\@subdomain.ect.com/ect.api/x.pem`, "cert_url_form", ""},
		{"SM-52 not ASCII", "https://subdomain.ect.com/ect.api/\u2025/x.pem", "cert_url_form", ""},
		{"SM-52 empty", "", "cert_url_form", ""},
		{"SM-52 long", goodURL + strings.Repeat("a", 2048), "cert_url_form", ""},
		{"SM-52 no host", "https:ect.api/x.pem", "cert_url_host", ""},
		{"SM-53 563", "https://subdomain.ect.com:563/ect.api/x.pem", "cert_url_port", ""},
		{"SM-53 0443", "https://subdomain.ect.com:0443/ect.api/x.pem", "cert_url_port", ""},
		{"SM-53 empty", "https://subdomain.ect.com:/ect.api/x.pem", "cert_url_port", ""},
		{"SM-53 443", "https://subdomain.ect.com:443/ect.api/ect-api-cert.pem", "", goodURL},
		{"SM-54 case", "https://subdomain.ect.com/EcT.aPi/x.pem", "cert_url_path", ""},
		{"SM-54 invalid", "https://subdomain.ect.com/invalid.path/x.pem", "cert_url_path", ""},
		{"SM-54 longer", "https://subdomain.ect.com/ect.apix/x.pem", "cert_url_path", ""},
		{"SM-54 none", "https://subdomain.ect.com", "cert_url_path", ""},
		{"SM-55", "https://subdomain.ect.com/ect.api/../ect.api/ect-api-cert.pem", "", goodURL},
		{"SM-55 other first", "https://subdomain.ect.com/x/y/../../ect.api/ect-api-cert.pem", "", goodURL},
		{"SM-55 above", "https://subdomain.ect.com/x/../../ect.api/ect-api-cert.pem", "", goodURL},
		{"SM-55 one dot", "https://subdomain.ect.com/ect.api/./ect-api-cert.pem", "", goodURL},
		{"SM-55 dot at the end", "https://subdomain.ect.com/ect.api/x/.", "", "https://subdomain.ect.com/ect.api/x/"},
		{"SM-56", "https://subdomain.ect.com/ect.api/../evil/x.pem", "cert_url_path", ""},
		{"SM-56 end", "https://subdomain.ect.com/ect.api/..", "cert_url_path", ""},
		{"SM-57 encoded dots", "https://subdomain.ect.com/ect.api/%2e%2e/evil", "cert_url_path", ""},
		{"SM-57 encoded slash", "https://subdomain.ect.com/ect.api/..%2fevil", "cert_url_path", ""},
		{"SM-57 twice", "https://subdomain.ect.com/ect.api/%252e%252e/evil", "cert_url_path", ""},
		{"SM-57 backslash", `https://subdomain.ect.com/ect.api\..\evil`, "cert_url_path", ""},
		{"SM-57 encoded backslash", `https://subdomain.ect.com/ect.api/..%5Cevil`, "cert_url_path", ""},
		{"SM-57 two slashes", "https://subdomain.ect.com//ect.api/x", "cert_url_path", ""},
		{"SM-57 two slashes inside", "https://subdomain.ect.com/ect.api//x", "cert_url_path", ""},
		{"SM-57 dots first", "https://subdomain.ect.com/../ect.api/x", "cert_url_path", ""},
		{"SM-57 one dot", "https://subdomain.ect.com/./ect.api/x", "cert_url_path", ""},
		{"SM-57 encoded overlong", "https://subdomain.ect.com/ect.api/%c0%ae/x", "cert_url_path", ""},
		{"encoded space is fine", "https://subdomain.ect.com/ect.api/my%20cert.pem", "", "https://subdomain.ect.com/ect.api/my%20cert.pem"},
		{"SM-58 v4", "https://127.0.0.1/ect.api/x.pem", "cert_url_host", ""},
		{"SM-58 v6", "https://[::1]/ect.api/x.pem", "cert_url_host", ""},
		{"SM-58 mapped", "https://[::ffff:127.0.0.1]/ect.api/x.pem", "cert_url_host", ""},
		{"SM-58 decimal", "https://2130706433/ect.api/x.pem", "cert_url_host", ""},
		{"SM-58 hex", "https://0x7f.1/ect.api/x.pem", "cert_url_host", ""},
		{"SM-58 octal", "https://0177.0.0.1/ect.api/x.pem", "cert_url_host", ""},
		{"SM-58 zone", "https://[fe80::1%25eth0]/ect.api/x.pem", "cert_url_host", ""},
	}
	worlds(t, func(t *testing.T, w *world) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				w := w.on(t)
				r := request{url: tt.url}
				if tt.url == "" {
					r = request{edit: func(h http.Header, _ *[]byte) {
						h.Del("SignatureCertUUID")
						h.Set("SignatureCertChainUrl", "")
					}}
				}
				_, err := call(w.service(), r)
				wantCode(t, err, tt.code)
				if got, _ := w.last.Load().(string); got != tt.fetched {
					t.Errorf("fetched %q, want %q", got, tt.fetched)
				}
				if tt.code != "" && !strings.Contains(err.Error(), "SignatureCertChainUrl") {
					t.Errorf("the text does not name the header: %q", err)
				}
			})
		}
	})
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestChainContent(t *testing.T) {
	a := newAuthority()
	leaf := func(c certificate) *issued { c.parent = a.middle; return c.make() }
	good := leaf(certificate{})
	other := certificate{key: keys.p256(), ca: true, cn: "Other Root"}.make()
	oldMiddle := certificate{key: keys.p521(), ca: true, cn: "Old", parent: a.root, to: -time.Second}.make()
	notCA := leaf(certificate{key: keys.p256()})
	block := func(kind string) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte("0123456789")})
	}
	var many []string
	for i := range 1001 {
		many = append(many, fmt.Sprintf("h%d.ect.com", i))
	}
	zipped := &bytes.Buffer{}
	z := gzip.NewWriter(zipped)
	_, _ = z.Write(good.pem())
	_ = z.Close()
	tests := []struct {
		name string
		body []byte
		code string
	}{
		{"base", join(good.pem(), a.middle.pem()), ""},
		{"SM-10", join(leaf(certificate{to: -time.Second}).pem(), a.middle.pem()), "certificate_expired"},
		{"SM-11", join(leaf(certificate{from: time.Second}).pem(), a.middle.pem()), "certificate_not_yet_valid"},
		{"SM-12", join(leaf(certificate{names: []string{"notect.com"}}).pem(), a.middle.pem()), "certificate_name"},
		{"SM-17", certificate{}.make().pem(), "certificate_untrusted"},
		{"SM-18", join(certificate{parent: notCA}.make().pem(), notCA.pem(), a.middle.pem()), "certificate_untrusted"},
		{"SM-19 missing", good.pem(), "certificate_untrusted"},
		{"SM-19 order", join(a.root.pem(), a.middle.pem(), good.pem()), ""},
		{"SM-20 expired", join(certificate{parent: oldMiddle}.make().pem(), oldMiddle.pem()), "certificate_untrusted"},
		{"SM-20 root", join(certificate{parent: other}.make().pem(), other.pem()), "certificate_untrusted"},
		{"SM-21", certificate{parent: a.root, algorithm: x509.SHA1WithRSA}.make().pem(), "certificate_untrusted"},
		{"SM-22", join(leaf(certificate{usage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}).pem(), a.middle.pem()), "certificate_usage"},
		{"SM-23", join(leaf(certificate{usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}).pem(), a.middle.pem()), ""},
		{"SM-28", join(leaf(certificate{key: keys.weakRSA()}).pem(), a.middle.pem()), "weak_key"},
		{"SM-36", join(foreign(0x3d, 0x09).pem(), a.middle.pem()), "unsupported_key"},
		{"SM-63 empty", nil, "cert_fetch_failed"},
		{"SM-63 HTML", []byte("<html>not here</html>"), "cert_fetch_failed"},
		{"SM-63 DER", good.der, "cert_fetch_failed"},
		{"SM-63 gzip", zipped.Bytes(), "cert_fetch_failed"},
		{"SM-65 8 certificates", bytes.Join([][]byte{good.pem(), bytes.Repeat(a.middle.pem(), 7)}, nil), ""},
		{"SM-65 9 certificates", bytes.Join([][]byte{good.pem(), bytes.Repeat(a.middle.pem(), 8)}, nil), "cert_chain_too_large"},
		{"SM-65 64 KiB", append(join(good.pem(), a.middle.pem()), bytes.Repeat([]byte("\n"), 64<<10-len(join(good.pem(), a.middle.pem())))...), ""},
		{"SM-65 64 KiB + 1", make([]byte, 64<<10+1), "cert_chain_too_large"},
		{"SM-65 names", join(leaf(certificate{names: append(many, fqdn)}).pem(), a.middle.pem()), "cert_chain_too_large"},
		{"SM-66", join(good.pem(), block("RSA PRIVATE KEY")), "cert_chain_form"},
		{"SM-67 other block", join(good.pem(), block("X509 CRL")), "cert_chain_form"},
		{"SM-67 bad DER", join(good.pem(), block("CERTIFICATE")), "cert_chain_form"},
		{"SM-67 junk", join([]byte("subject: /CN=x\r\n"), bytes.ReplaceAll(good.pem(), []byte("\n"), []byte("\r\n")), []byte("# between\n"), a.middle.pem(), []byte("end")), ""},
	}
	worlds(t, func(t *testing.T, w *world) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				w := w.on(t)
				w.body = func(string) ([]byte, error) { return tt.body, nil }
				_, err := call(w.service(), request{url: goodURL})
				wantCode(t, err, tt.code)
				if tt.code != "" && !strings.Contains(err.Error(), "SignatureCertChainUrl") {
					t.Errorf("the text does not name the header: %q", err)
				}
			})
		}
		t.Run("SM-66 alert", func(t *testing.T) {
			var lines []store.AuditLine
			w.update(func(tx *store.Tx) (err error) { lines, err = tx.ListAudit(w.acme, 10); return err })
			if len(lines) != 1 || lines[0].Action != "tool_private_key_exposed" || lines[0].Target != "desk-one" {
				t.Errorf("audit = %+v", lines)
			}
		})
	})
}

func TestChainCache(t *testing.T) {
	worlds(t, func(t *testing.T, base *world) {
		send := func(s *auth.Service, at time.Time) error {
			_, err := call(s, request{url: goodURL, timestamp: `"` + at.Format(time.RFC3339) + `"`})
			return err
		}
		t.Run("SM-68", func(t *testing.T) {
			w := base.on(t)
			s := w.service()
			wantCode(t, send(s, w.clock.Now()), "")
			w.body = func(string) ([]byte, error) { return nil, errors.New("down") }
			w.clock.Advance(59 * time.Minute)
			wantCode(t, send(s, w.clock.Now()), "")
			if n := w.fetched.Load(); n != 1 {
				t.Errorf("%d fetches, want 1", n)
			}
			w.clock.Advance(time.Minute)
			wantCode(t, send(s, w.clock.Now()), "cert_fetch_failed")
		})
		t.Run("until the leaf expires", func(t *testing.T) {
			w := base.on(t)
			s := w.service()
			now := w.clock.Now()
			w.body = func(string) ([]byte, error) { return certificate{to: now.Add(time.Minute).Sub(start)}.chain(), nil }
			wantCode(t, send(s, now), "")
			w.clock.Advance(61 * time.Second)
			wantCode(t, send(s, w.clock.Now()), "certificate_expired")
			if n := w.fetched.Load(); n != 2 {
				t.Errorf("%d fetches, want 2", n)
			}
		})
		t.Run("failures for 30 s", func(t *testing.T) {
			w := base.on(t)
			s := w.service()
			good := w.body
			w.body = func(string) ([]byte, error) { return nil, errors.New("down") }
			wantCode(t, send(s, w.clock.Now()), "cert_fetch_failed")
			w.body = good
			w.clock.Advance(29 * time.Second)
			wantCode(t, send(s, w.clock.Now()), "cert_fetch_failed")
			w.clock.Advance(time.Second)
			wantCode(t, send(s, w.clock.Now()), "")
		})
		t.Run("SM-73", func(t *testing.T) {
			w := base.on(t)
			s := w.service()
			w.body = func(string) ([]byte, error) { return nil, errors.New("down") }
			for range 10 {
				wantCode(t, send(s, w.clock.Now()), "cert_fetch_failed")
			}
			err := send(s, w.clock.Now())
			wantCode(t, err, "rate_limited")
			var e *tract.Error
			if !errors.As(err, &e) || e.Fields["retry_after"] != int64(60) {
				t.Errorf("fields = %v, want retry_after 60", e.Fields)
			}
			_, err = call(s, request{timestamp: `"` + w.clock.Now().Format(time.RFC3339) + `"`})
			wantCode(t, err, "") // the other way stays open
			w.clock.Advance(time.Minute)
			wantCode(t, send(s, w.clock.Now()), "cert_fetch_failed")
		})
		t.Run("old body, no fetch", func(t *testing.T) {
			w := base.on(t)
			wantCode(t, send(w.service(), w.clock.Now().Add(-time.Hour)), "timestamp_stale")
			if n := w.fetched.Load(); n != 0 {
				t.Errorf("%d fetches", n)
			}
		})
		t.Run("not allowed", func(t *testing.T) {
			w := base.on(t)
			r := request{url: "https://other.example/ect.api/x.pem", body: `{"fqdn":"other.example","timestamp":"2026-11-20T10:30:00Z"}`}
			_, err := call(w.service(), r)
			wantCode(t, err, "certificate_source_not_allowed")
		})
	})
}

// TestChainFlight: many requests share a fetch; more than four at a time are refused.
func TestChainFlight(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		w = w.on(t)
		chain := certificate{}.chain()
		gate, begun := make(chan struct{}), make(chan string, 20)
		cfg := w.config()
		cfg.Fetch = func(_ context.Context, url string) ([]byte, error) {
			begun <- url
			<-gate
			return chain, nil
		}
		s := auth.New(cfg)
		var wg sync.WaitGroup
		errs := make([]error, 24)
		begin := func(i int, name string) {
			wg.Go(func() { _, errs[i] = call(s, request{url: "https://subdomain.ect.com/ect.api/" + name}) })
		}
		for i := range 4 {
			begin(i, fmt.Sprint(i))
			<-begun
		}
		_, err := call(s, request{url: "https://subdomain.ect.com/ect.api/fifth"})
		wantCode(t, err, "rate_limited")
		for i := 4; i < len(errs); i++ {
			begin(i, "0")
		}
		close(gate)
		wg.Wait()
		for i, err := range errs {
			if err != nil {
				t.Errorf("request %d: %v", i, err)
			}
		}
		if len(begun) != 0 {
			t.Errorf("%d more fetches", len(begun))
		}
	})
}

// TestChainFetchPanic: a panic while reading a chain ends the request only.
func TestChainFetchPanic(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		w = w.on(t)
		w.body = func(string) ([]byte, error) { panic("hostile") }
		_, err := call(w.service(), request{url: goodURL})
		wantCode(t, err, "cert_chain_form")
	})
}

// names is a resolver that knows one host.
type names func() []netip.Addr

func (n names) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) { return n(), nil }

// host is an HTTPS server with a certificate for the tool's FQDN.
func host(t *testing.T, h http.HandlerFunc, edit func(*tls.Config)) *httptest.Server {
	srv := httptest.NewUnstartedServer(h)
	const years = 30 * 365 * 24 * time.Hour // real clocks look at it
	leaf := certificate{key: keys.p256(), from: -years, to: years, parent: wideRoot()}.make()
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.der}, PrivateKey: leaf.key}}}
	if edit != nil {
		edit(srv.TLS)
	}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

var wideRoot = sync.OnceValue(func() *issued {
	const years = 30 * 365 * 24 * time.Hour
	return certificate{key: keys.ca(), cn: "Wide Root", ca: true, from: -years, to: years}.make()
})

// overLoopback is the fetch of a service, but to a server on this machine in
// place of the tool's port 443.
func overLoopback(srv *httptest.Server) auth.Fetch {
	here := names(func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} })
	roots := x509.NewCertPool()
	roots.AddCert(wideRoot().cert)
	fetch := auth.OverNetwork(safehttp.Policy{AllowPrivate: true, Resolver: here}, roots)
	return func(ctx context.Context, raw string) ([]byte, error) {
		u := must(url.Parse(raw))
		u.Host = fmt.Sprintf("%s:%d", u.Hostname(), srv.Listener.Addr().(*net.TCPAddr).Port)
		return fetch(ctx, u.String())
	}
}

func TestChainHost(t *testing.T) {
	chain := certificate{}.chain()
	serve := func(status int, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write(body)
		}
	}
	redirect := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/good" {
				_, _ = w.Write(chain)
				return
			}
			http.Redirect(w, r, "/good", status)
		}
	}
	tests := []struct {
		name string
		h    http.HandlerFunc
		tls  func(*tls.Config)
		code string
	}{
		{"good", serve(200, chain), nil, ""},
		{"SM-61 301", redirect(301), nil, "cert_fetch_failed"},
		{"SM-61 302", redirect(302), nil, "cert_fetch_failed"},
		{"SM-61 307", redirect(307), nil, "cert_fetch_failed"},
		{"SM-61 308", redirect(308), nil, "cert_fetch_failed"},
		{"SM-63 404", serve(404, chain), nil, "cert_fetch_failed"},
		{"SM-63 500", serve(500, chain), nil, "cert_fetch_failed"},
		{"SM-63 length lie", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(chain)+100))
			_, _ = w.Write(chain)
		}, nil, "cert_fetch_failed"},
		{"SM-63 10 MiB", serve(200, bytes.Repeat(chain, 10<<20/len(chain))), nil, "cert_chain_too_large"},
		{"SM-64 certificate", serve(200, chain), func(c *tls.Config) {
			c.Certificates[0].Certificate[0] = certificate{key: keys.p256()}.make().der
		}, "cert_fetch_failed"},
		{"SM-64 TLS 1.1", serve(200, chain), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, "cert_fetch_failed"},
	}
	worlds(t, func(t *testing.T, w *world) {
		texts := map[string]bool{}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				cfg := w.on(t).config()
				var asked atomic.Value
				cfg.Fetch = overLoopback(host(t, func(w http.ResponseWriter, r *http.Request) {
					asked.Store(r.URL.Path)
					tt.h(w, r)
				}, tt.tls))
				_, err := call(auth.New(cfg), request{url: "https://subdomain.ect.com/ect.api/../ect.api/ect-api-cert.pem"})
				wantCode(t, err, tt.code)
				if p, _ := asked.Load().(string); tt.tls == nil && p != "/ect.api/ect-api-cert.pem" {
					t.Errorf("last asked for %q", p)
				}
				var e *tract.Error
				if errors.As(err, &e) && tt.code == "cert_fetch_failed" {
					texts[e.Msg] = true
				}
			})
		}
		if len(texts) > 1 {
			t.Errorf("failed fetches can be told apart: %v", texts)
		}
	})
}

// TestChainPrivate: an FQDN that leads into a private network is not called.
func TestChainPrivate(t *testing.T) {
	for name, addrs := range map[string][]string{
		"SM-59 loopback": {"127.0.0.1"}, "SM-59 private": {"10.1.2.3"}, "SM-59 metadata": {"169.254.169.254"}, "SM-59 NAT64": {"64:ff9b::7f00:1"},
		"SM-60": {"93.184.216.34", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			worlds(t, func(t *testing.T, w *world) {
				w = w.on(t)
				cfg := w.config()
				cfg.Fetch = nil
				cfg.Policy = safehttp.Policy{Resolver: names(func() (out []netip.Addr) {
					for _, a := range addrs {
						out = append(out, netip.MustParseAddr(a))
					}
					return out
				})}
				_, err := call(auth.New(cfg), request{url: goodURL})
				wantCode(t, err, "cert_fetch_failed")
				if !strings.Contains(w.log.String(), "not public") {
					t.Errorf("log: %s", w.log)
				}
			})
		})
	}
}

// TestChainDeadline: a host that hangs costs five seconds, whoever waits.
func TestChainDeadline(t *testing.T) {
	t.Run("SM-62", func(t *testing.T) {
		worlds(t, func(t *testing.T, w *world) {
			cfg := w.on(t).config()
			cfg.Fetch = func(ctx context.Context, _ string) ([]byte, error) {
				end, ok := ctx.Deadline()
				if left := time.Until(end); !ok || left > 5*time.Second || left < time.Second {
					t.Errorf("%v left to fetch", left)
				}
				return nil, context.DeadlineExceeded
			}
			_, err := call(auth.New(cfg), request{url: goodURL})
			wantCode(t, err, "cert_fetch_failed")
		})
	})
}
