package safehttp_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"tract"
	"tract/internal/safehttp"
)

// names is a resolver with a fixed table.
type names map[string][]string

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range n[host] {
		out = append(out, netip.MustParseAddr(text))
	}
	if out == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, Server: "10.9.8.7:53", IsNotFound: true}
	}
	return out, nil
}

// addresses are single addresses, and whether they are public.
var addresses = []struct {
	addr   string
	public bool
}{
	{"8.8.8.8", true}, {"2606:4700:4700::1111", true}, {"::ffff:8.8.8.8", true},
	{"0.0.0.0", false}, {"10.0.0.1", false}, {"100.64.0.1", false}, {"127.0.0.1", false},
	{"127.255.255.254", false}, {"169.254.169.254", false}, {"172.16.0.1", false}, {"172.31.255.255", false},
	{"192.168.1.1", false}, {"198.18.0.1", false}, {"224.0.0.1", false}, {"240.0.0.1", false},
	{"255.255.255.255", false}, {"::", false}, {"::1", false}, {"::7f00:1", false},
	{"::ffff:127.0.0.1", false}, {"::ffff:10.0.0.1", false}, {"::ffff:0:127.0.0.1", false},
	{"64:ff9b::7f00:1", false}, {"64:ff9b::8.8.8.8", false}, {"64:ff9b:1::1", false},
	{"2002:7f00:1::", false}, {"2001::1", false}, {"2001:db8::1", false}, {"fc00::1", false},
	{"fd12:3456::1", false}, {"fe80::1", false}, {"fec0::1", false}, {"ff02::1", false}, {"4000::1", false},
}

// denied are the prefixes that must not be reached.
var denied = strings.Fields(`0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12
	192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24
	224.0.0.0/4 240.0.0.0/4 ::/96 ::1/128 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32
	2002::/16 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8`)

func TestAddresses(t *testing.T) {
	client := safehttp.New(safehttp.Config{})
	for _, tt := range addresses {
		t.Run(tt.addr, func(t *testing.T) { checkAddress(t, client, netip.MustParseAddr(tt.addr), tt.public) })
	}
}

// The first and the last address of each prefix are denied.
func TestDeniedPrefixes(t *testing.T) {
	client := safehttp.New(safehttp.Config{})
	for _, text := range denied {
		prefix := netip.MustParsePrefix(text)
		last := prefix.Addr().AsSlice()
		for bit := prefix.Bits(); bit < len(last)*8; bit++ {
			last[bit/8] |= 0x80 >> (bit % 8)
		}
		end, _ := netip.AddrFromSlice(last)
		for _, a := range []netip.Addr{prefix.Addr(), end} {
			t.Run(text+" "+a.String(), func(t *testing.T) { checkAddress(t, client, a, false) })
		}
	}
}

// checkAddress holds the four places where an address is judged to one verdict.
func checkAddress(t *testing.T, client *safehttp.Client, a netip.Addr, public bool) {
	t.Helper()
	host := a.String()
	if a.Is6() {
		host = "[" + host + "]"
	}
	_, err := safehttp.Policy{}.CheckURL("https://" + host + "/hook")
	if public && err != nil || !public && tract.CodeOf(err) != "url_host" {
		t.Errorf("as a literal: %v", err)
	}
	u := &url.URL{Scheme: "https", Host: "name.example"}
	mixed := names{"name.example": {"8.8.4.4", a.String()}}
	err = safehttp.Policy{Resolver: mixed}.CheckHost(t.Context(), u)
	if public && err != nil || !public && !errors.Is(err, safehttp.ErrBlocked) {
		t.Errorf("behind a name: %v", err)
	}
	for _, network := range []string{"tcp4", "tcp6"} {
		if err := client.Control(network, net.JoinHostPort(a.String(), "443")); (err == nil) != public {
			t.Errorf("at the socket: %v", err)
		}
	}
	if a.Is6() && !a.Is4In6() {
		if err := client.Control("tcp6", net.JoinHostPort(a.WithZone("eth0").String(), "443")); (err == nil) != public {
			t.Errorf("with a zone: %v", err)
		}
	}
	if _, err := (safehttp.Policy{AllowPrivate: true}).CheckURL("http://" + host + ":80/"); err != nil {
		t.Errorf("with private targets allowed: %v", err)
	}
}

func TestControlOtherNetworks(t *testing.T) {
	client := safehttp.New(safehttp.Config{Policy: safehttp.Policy{AllowPrivate: true}})
	for _, tt := range []struct{ network, address string }{
		{"udp4", "8.8.8.8:53"}, {"unix", "/run/x.sock"}, {"tcp4", "name.example:443"}, {"tcp4", ""},
	} {
		if err := client.Control(tt.network, tt.address); !errors.Is(err, safehttp.ErrBlocked) {
			t.Errorf("%v: %v", tt, err)
		}
	}
	if err := client.Control("tcp4", "127.0.0.1:80"); err != nil {
		t.Errorf("private target although allowed: %v", err)
	}
}

func TestCheckURL(t *testing.T) {
	long := func(n int) string {
		const head = "https://example.com/"
		return head + strings.Repeat("a", n-len(head))
	}
	label := strings.Repeat("a", 63)
	tests := []struct {
		name, url string
		strict    string // code, "" for accepted
		private   string // the same with AllowPrivate
	}{
		{"plain", "https://example.com/hook", "", ""},
		{"query", "https://example.com/hook?key=1", "", ""},
		{"no path", "https://example.com", "", ""},
		{"upper-case scheme and host", "HTTPS://EXAMPLE.com/", "", ""},
		{"port 443", "https://example.com:443/", "", ""},
		{"port 8443", "https://example.com:8443/", "", ""},
		{"port 1024", "https://example.com:1024/", "", ""},
		{"port 65535", "https://example.com:65535/", "", ""},
		{"punycode", "https://xn--bcher-kva.example/", "", ""},
		{"underscore", "https://my_app.example.com/", "", ""},
		{"2048 characters", long(2048), "", ""},
		{"longest label", "https://" + label + ".example/", "", ""},

		{"WH-01 http", "http://example.com/", "url_scheme", ""},
		{"WH-01 ftp", "ftp://example.com/", "url_scheme", "url_scheme"},
		{"WH-01 file", "file:///etc/passwd", "url_scheme", "url_scheme"},
		{"WH-01 gopher", "gopher:example.com", "url_scheme", "url_scheme"},
		{"WH-01 unix", "unix:/run/docker.sock", "url_scheme", "url_scheme"},
		{"WH-01 javascript", "javascript:alert(1)", "url_scheme", "url_scheme"},
		{"WH-01 no scheme", "example.com/hook", "url_scheme", "url_scheme"},
		{"WH-01 relative", "//example.com/hook", "url_scheme", "url_scheme"},

		{"WH-02 decimal", "https://2130706433/", "url_host", "url_host"},
		{"WH-02 hex", "https://0x7f000001/", "url_host", "url_host"},
		{"WH-02 hex part", "https://127.0.0.0x1/", "url_host", "url_host"},
		{"WH-02 hex first", "https://0x7f.1/", "url_host", "url_host"},
		{"WH-02 octal", "https://0177.0.0.1/", "url_host", "url_host"},
		{"WH-02 short", "https://127.1/", "url_host", "url_host"},
		{"WH-02 five parts", "https://1.2.3.4.5/", "url_host", "url_host"},
		{"WH-02 too large", "https://256.256.256.256/", "url_host", "url_host"},
		{"WH-02 zone", "https://[fe80::1%25eth0]/", "url_host", "url_host"},
		{"WH-02 public with zone", "https://[2606:4700:4700::1111%25eth0]/", "url_host", "url_host"},

		{"WH-03 localhost", "https://localhost/", "url_host", ""},
		{"WH-03 single label", "https://hub:8443/", "url_host", ""},

		{"WH-04 user", "https://user@example.com/", "url_form", "url_form"},
		{"WH-04 user and password", "https://user:pw@example.com/", "url_form", "url_form"},
		{"WH-04 empty user", "https://@example.com/", "url_form", "url_form"},
		{"WH-04 host in disguise", "https://example.com@127.0.0.1/", "url_form", "url_form"},
		{"WH-04 fragment", "https://example.com/#a", "url_form", "url_form"},
		{"WH-04 empty fragment", "https://example.com/#", "url_form", "url_form"},
		{"WH-04 port 0", "https://example.com:0/", "url_form", "url_form"},
		{"WH-04 port 22", "https://example.com:22/", "url_form", ""},
		{"WH-04 port 25", "https://example.com:25/", "url_form", ""},
		{"WH-04 port 80", "https://example.com:80/", "url_form", ""},
		{"WH-04 port 1023", "https://example.com:1023/", "url_form", ""},
		{"WH-04 port 65536", "https://example.com:65536/", "url_form", "url_form"},
		{"WH-04 port of many digits", "https://example.com:99999999999999999999/", "url_form", "url_form"},
		{"WH-04 port with zeros", "https://example.com:0443/", "url_form", "url_form"},
		{"WH-04 port empty", "https://example.com:/", "url_form", "url_form"},
		{"WH-04 port a word", "https://example.com:https/", "url_form", "url_form"},
		{"WH-04 2049 characters", long(2049), "url_form", "url_form"},
		{"WH-04 homograph", "https://ехample.com/", "url_form", "url_form"},
		{"WH-04 homograph encoded", "https://%D0%B5xample.com/", "url_form", "url_form"},
		{"WH-04 full-width digits", "https://１２７.0.0.1/", "url_form", "url_form"},
		{"WH-04 trailing dot", "https://example.com./", "url_form", "url_form"},
		{"WH-04 address with trailing dot", "https://127.0.0.1./", "url_form", "url_form"},
		{"WH-04 empty host", "https:///hook", "url_form", "url_form"},
		{"WH-04 port without host", "https://:443/", "url_form", "url_form"},
		{"WH-04 no slashes", "https:example.com", "url_form", "url_form"},
		{"WH-04 empty label", "https://a..example/", "url_form", "url_form"},
		{"WH-04 long label", "https://" + label + "a.example/", "url_form", "url_form"},
		{"WH-04 long host", "https://" + strings.Repeat(label+".", 4) + "example/", "url_form", "url_form"},
		{"WH-04 empty", "", "url_form", "url_form"},
		{"WH-04 space", "https://example.com/a b", "url_form", "url_form"},
		{"WH-04 leading space", " https://example.com/", "url_form", "url_form"},
		{"WH-04 line break", "https://example.com/\r\nHost: x", "url_form", "url_form"},
		{"WH-04 NUL", "https://example.com\x00.evil.example/", "url_form", "url_form"},
		{"WH-04 DEL", "https://example.com/\x7f", "url_form", "url_form"},
		{"WH-04 backslash", `https://example.com\@127.0.0.1/`, "url_form", "url_form"},
		{"WH-04 bad escape", "https://example.com/%zz", "url_form", "url_form"},
		{"WH-04 path not ASCII", "https://example.com/é", "url_form", "url_form"},
		{"WH-04 host with signs", "https://exa$mple.com/", "url_form", "url_form"},
		{"WH-04 brackets around a name", "https://[example.com]/", "url_form", "url_form"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for policy, want := range map[safehttp.Policy]string{{}: tt.strict, {AllowPrivate: true}: tt.private} {
				u, err := policy.CheckURL(tt.url)
				if want == "" {
					if err != nil || u == nil || u.Hostname() == "" {
						t.Errorf("%+v: %v, %v", policy, u, err)
					}
					continue
				}
				if tract.CodeOf(err) != want || tract.KindOf(err) != tract.KindInvalid || u != nil {
					t.Errorf("%+v: got %v (%s), want %s", policy, err, tract.CodeOf(err), want)
				} else if !strings.HasPrefix(err.Error(), "url") || len(err.Error()) > 250 {
					t.Errorf("the text must name the field and be short: %q", err)
				}
			}
		})
	}
}

func TestCheckHost(t *testing.T) {
	resolver := names{
		"public.example":   {"8.8.8.8", "2606:4700:4700::1111"},
		"internal.example": {"10.1.2.3"},
		"mixed.example":    {"8.8.8.8", "::1"},
		"mapped.example":   {"::ffff:127.0.0.1"},
	}
	tests := []struct{ host, strict, private string }{
		{"public.example", "", ""},
		{"public.example:8443", "", ""},
		{"8.8.8.8", "", ""},
		{"internal.example", "blocked_address", ""},
		{"mixed.example", "blocked_address", ""},
		{"mapped.example", "blocked_address", ""},
		{"127.0.0.1", "blocked_address", ""},
		{"[::1]:8443", "blocked_address", ""},
		{"missing.example", "url_host", "url_host"},
	}
	for _, tt := range tests {
		t.Run(tt.host, func(t *testing.T) {
			for allow, want := range map[bool]string{false: tt.strict, true: tt.private} {
				err := safehttp.Policy{AllowPrivate: allow, Resolver: resolver}.CheckHost(t.Context(), &url.URL{Host: tt.host})
				if want == "" && err != nil || want != "" && tract.CodeOf(err) != want {
					t.Errorf("private %v: got %v, want %q", allow, err, want)
				}
				if err != nil && tract.KindOf(err) != tract.KindInvalid {
					t.Errorf("kind %v", tract.KindOf(err))
				}
			}
		})
	}
}

func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{"https://example.com/", "https://[::1]:8443/", "https://a@b/", "https://127.0.0.1:443", "https://%41/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := safehttp.Policy{}.CheckURL(raw)
		if err != nil || len(u.String()) > 2048 { // writing it may have escaped some
			return
		}
		if u.Scheme != "https" || u.User != nil || u.Hostname() == "" {
			t.Errorf("%q accepted as %#v", raw, u)
		}
		again, err := safehttp.Policy{}.CheckURL(u.String())
		if err != nil || again.Host != u.Host {
			t.Errorf("%q, written as %q: %v, %v", raw, u, again, err)
		}
	})
}
