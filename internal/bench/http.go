package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"tract/internal/safehttp"
)

const (
	callTime    = 30 * time.Second
	idlePerHost = 1024
)

// caller makes HTTP calls to loopback. The hot path uses the transport itself:
// what it does besides costs the hub's time on the same machine.
type caller struct {
	client    *safehttp.Client
	transport http.RoundTripper
}

func newCaller() caller {
	c := safehttp.New(safehttp.Config{Policy: safehttp.Policy{AllowPrivate: true}, Timeout: callTime, MaxResponse: 1 << 20, IdlePerHost: idlePerHost})
	return caller{c, c.Transport()}
}

// do makes one call, body as JSON unless it is bytes.
func (c caller) do(ctx context.Context, method, address string, header http.Header, body any) (status int, answer []byte, err error) {
	raw, isRaw := body.([]byte)
	if body != nil && !isRaw {
		if raw, err = json.Marshal(body); err != nil {
			return 0, nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(raw))
	if err != nil {
		return 0, nil, err
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.client.Do(ctx, req)
	if err != nil {
		return 0, nil, err
	}
	return res.Status, res.Body, nil
}

// want is do for calls that must succeed; out is filled from the answer.
func (c caller) want(ctx context.Context, method, address string, header http.Header, body, out any) error {
	status, answer, err := c.do(ctx, method, address, header, body)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		u, _ := url.Parse(address)
		return fmt.Errorf("%s %s was answered %d: %.300s", method, u.Path, status, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// post sends body and gives the status. The header is shared by all calls.
func (c caller) post(ctx context.Context, u *url.URL, header http.Header, body []byte) (int, error) {
	req := (&http.Request{Method: http.MethodPost, URL: u, Host: u.Host, Header: header, ContentLength: int64(len(body)),
		Body: io.NopCloser(bytes.NewReader(body)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	res, err := c.transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}
