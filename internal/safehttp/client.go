package safehttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

const (
	defaultTimeout     = 5 * time.Second
	defaultMaxResponse = 16 << 10
	defaultIdlePerHost = 256
	maxIdle            = 4096
	maxHeader          = 16 << 10
	maxAddresses       = 4
	tlsSessions        = 1024
	// connBuffer holds most calls and answers whole. A thousand tools that hang
	// keep two thousand buffers.
	connBuffer = 2 << 10

	// idleTimeout is shorter than the 60 s after which usual load balancers hang
	// up, so that we seldom write into a connection that is just being closed.
	idleTimeout = 45 * time.Second
)

// Config is what a Client is made from; the zero value of each field works.
type Config struct {
	Policy      Policy
	Timeout     time.Duration // for the whole call, to the body's last byte; 0 means 5 s
	MaxResponse int64         // bytes of a body that are read; 0 means 16 KiB
	IdlePerHost int           // connections kept open per host; 0 means 256
	UserAgent   string        // for requests that bring none
	RootCAs     *x509.CertPool
}

// Client makes calls under a policy. Safe for concurrent use.
//
// It speaks HTTP/1.1 only. Under HTTP/2 one slow or hostile receiver could hold
// up all calls that share its connection, and its ping and settings floods need
// limits of their own; with connections kept alive there is nothing to gain.
type Client struct {
	policy      Policy
	timeout     time.Duration
	maxResponse int64
	userAgent   string
	dialer      net.Dialer
	tlsConfig   *tls.Config
	transport   *http.Transport
}

// Response is an answer that was read to its end, or to the limit.
type Response struct {
	Status    int
	Header    http.Header
	Body      []byte
	Truncated bool // the body was longer than the limit and is cut there
}

// New makes a Client.
func New(cfg Config) *Client {
	c := &Client{
		policy:      cfg.Policy,
		timeout:     orDefault(cfg.Timeout, defaultTimeout),
		maxResponse: orDefault(cfg.MaxResponse, defaultMaxResponse),
		userAgent:   cfg.UserAgent,
		tlsConfig: &tls.Config{
			RootCAs:            cfg.RootCAs,
			MinVersion:         tls.VersionTLS12,
			ClientSessionCache: tls.NewLRUClientSessionCache(tlsSessions),
		},
	}
	c.dialer.ControlContext = c.control
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	c.transport = &http.Transport{
		Proxy:                  nil, // an environment variable must not lead calls around the address check
		DialContext:            c.dial,
		DialTLSContext:         c.dialTLS,
		Protocols:              protocols,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader, // of all 1xx answers and the last one together
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    orDefault(cfg.IdlePerHost, defaultIdlePerHost),
		IdleConnTimeout:        idleTimeout,
		WriteBufferSize:        connBuffer,
		ReadBufferSize:         connBuffer,
	}
	return c
}

// Do sends req and reads the answer, whatever its status: a redirect is an
// answer like any other. Headers of req may be changed; an Idempotency-Key is
// dropped, because net/http would take it as leave to send the request again.
//
// A connection that was kept alive may have died unnoticed. If not one byte of
// the request could be written, it goes out once more on a new connection. If
// bytes were written, the receiver may have acted on them: a request with a body
// then fails (class reset or connection) and trying again is the caller's
// choice; only GET, HEAD and the like without a body are repeated.
//
// An answer that breaks off or is not complete at the deadline is an error, even
// if its status had arrived.
func (c *Client) Do(ctx context.Context, req *http.Request) (*Response, error) {
	if err := c.checkTarget(req.URL); err != nil {
		return nil, err
	}
	call, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	c.cleanHeaders(req)
	// The transport itself, without http.Client: no redirects, cookies, referrers
	// or credentials from the URL, and no errors that quote it.
	resp, err := c.transport.RoundTrip(req.WithContext(call))
	if err != nil {
		return nil, failure(ctx, call, req.URL, err)
	}
	defer resp.Body.Close()
	out := &Response{Status: resp.StatusCode, Header: resp.Header}
	if resp.StatusCode == http.StatusSwitchingProtocols || resp.Body == http.NoBody {
		// Nobody asked to switch, and what follows then would ignore the deadline.
		return out, nil
	}
	// One byte more than the limit: it tells whether there is more, and reading on
	// to the end of the body is what lets the connection be used again.
	body, err := io.ReadAll(io.LimitReader(resp.Body, c.maxResponse+1))
	if err != nil {
		return nil, failure(ctx, call, req.URL, err)
	}
	if int64(len(body)) > c.maxResponse {
		body, out.Truncated = body[:c.maxResponse], true
	}
	out.Body = body
	return out, nil
}

// Get fetches a document. One longer than the limit is an error (too_large),
// since a part of it is of no use.
func (c *Client) Get(ctx context.Context, rawURL string) (*Response, error) {
	u, err := c.policy.CheckURL(rawURL)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(ctx, &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{}})
	if err != nil {
		return nil, err
	}
	if resp.Truncated {
		return nil, &callError{class: classTooLarge, host: u.Host, text: "the answer is too large"}
	}
	return resp, nil
}

// CloseIdle closes the connections that are kept open but not in use.
func (c *Client) CloseIdle() { c.transport.CloseIdleConnections() }

// checkTarget holds back what could not be registered today, for example after
// the policy has become stricter. Addresses are checked at dialling.
func (c *Client) checkTarget(u *url.URL) error {
	err := c.policy.checkScheme(u)
	if err == nil {
		err = c.policy.checkPort(u)
	}
	if err != nil {
		return &callError{class: classBlocked, host: u.Host, text: "not an allowed target", cause: err}
	}
	return nil
}

func (c *Client) cleanHeaders(req *http.Request) {
	if req.Header == nil {
		req.Header = http.Header{}
	}
	for name := range req.Header {
		if strings.EqualFold(name, "Idempotency-Key") || strings.EqualFold(name, "X-Idempotency-Key") {
			delete(req.Header, name)
		}
	}
	if c.userAgent != "" && req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", c.userAgent)
	}
}

// dial connects to one of the host's addresses. It has a deadline of its own
// because the transport goes on dialling when the request has given up.
func (c *Client) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.connect(ctx, addr)
}

func (c *Client) dialTLS(ctx context.Context, _, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	raw, err := c.connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	config := c.tlsConfig.Clone()
	config.ServerName = host
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, tlsFailure(addr, err)
	}
	return conn, nil
}

// connect resolves and tries the addresses in turn, each with its share of the
// time, so that a dead one leaves some for the next.
func (c *Client) connect(ctx context.Context, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	addrs, err := c.policy.resolve(ctx, host)
	if err != nil {
		return nil, resolveFailure(addr, err)
	}
	addrs = addrs[:min(len(addrs), maxAddresses)]
	var first error
	for _, a := range addrs {
		conn, err := c.dialOne(ctx, net.JoinHostPort(a.String(), port), c.timeout/time.Duration(len(addrs)))
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, dialFailure(addr, first)
}

func (c *Client) dialOne(ctx context.Context, addr string, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return c.dialer.DialContext(ctx, "tcp", addr)
}

// control sees the address that the socket is about to connect to: the last
// word, behind which no name, cache or resolver can change anything.
func (c *Client) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil || (network != "tcp4" && network != "tcp6") || c.policy.denies(target.Addr()) {
		return ErrBlocked
	}
	return nil
}

func orDefault[T int | int64 | time.Duration](value, otherwise T) T {
	if value <= 0 {
		return otherwise
	}
	return value
}
