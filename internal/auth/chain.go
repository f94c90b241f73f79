package auth

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"tract"
	"tract/internal/safehttp"
)

const (
	fetchTimeout  = 5 * time.Second
	goodFor       = time.Hour
	badFor        = 30 * time.Second
	maxInFlight   = 4  // fetches per tool
	maxFetches    = 10 // per tool and minute, repeated failures counted
	maxChainsHeld = 16 // per tool
	limitWindow   = time.Minute
)

// Fetch gets what lies at a URL, at most 64 KiB. It follows no redirects.
type Fetch func(ctx context.Context, url string) ([]byte, error)

func overNetwork(policy safehttp.Policy, roots *x509.CertPool) Fetch {
	client := safehttp.New(safehttp.Config{Policy: policy, Timeout: fetchTimeout, MaxResponse: maxChainBytes, RootCAs: roots})
	return func(ctx context.Context, url string) ([]byte, error) {
		resp, err := client.Get(ctx, url)
		if err != nil {
			return nil, err
		}
		if resp.Status != http.StatusOK {
			return nil, fmt.Errorf("status %d", resp.Status)
		}
		return resp.Body, nil
	}
}

// chains fetches and keeps the tools' certificate chains. What is kept was
// checked for the tool it is kept under.
type chains struct {
	fetch  Fetch
	roots  *x509.CertPool
	flight *singleflight.Group // by URL

	mu    sync.Mutex // guards tools and all in them
	tools map[string]*toolChains
}

// toolChains is what is known of one tool, by registered FQDN.
type toolChains struct {
	held     map[string]heldChain // by URL
	recent   []time.Time          // fetches and repeated failures within the window
	inFlight int
}

// heldChain is the outcome of a fetch: the tool's certificate or the refusal.
type heldChain struct {
	leaf  *x509.Certificate
	err   error
	until time.Time
}

func (c *chains) tool(fqdn string) *toolChains {
	t := c.tools[fqdn]
	if t == nil {
		t = &toolChains{held: map[string]heldChain{}}
		c.tools[fqdn] = t
	}
	return t
}

// known answers from memory; ok is false when a fetch is needed.
func (c *chains) known(url, fqdn string, now time.Time) (leaf *x509.Certificate, ok bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tool(fqdn)
	h, ok := t.held[url]
	if !ok || !now.Before(h.until) {
		return nil, false, nil
	}
	if h.err != nil {
		if err := t.count(now); err != nil {
			return nil, true, err
		}
	}
	return h.leaf, true, h.err
}

// get fetches a chain; callers for the same URL share one fetch, which goes on
// when one of them leaves.
func (c *chains) get(ctx context.Context, url, fqdn string, now time.Time) (*x509.Certificate, error) {
	done := c.flight.DoChan(url, func() (any, error) {
		c.mu.Lock()
		t := c.tool(fqdn)
		if h, ok := t.held[url]; ok && now.Before(h.until) {
			c.mu.Unlock()
			return h.leaf, h.err
		}
		err := t.count(now)
		if err == nil && t.inFlight >= maxInFlight {
			err = tooMany(time.Second)
		}
		if err != nil {
			c.mu.Unlock()
			return (*x509.Certificate)(nil), err
		}
		t.inFlight++
		c.mu.Unlock()

		leaf, err := c.load(context.WithoutCancel(ctx), url, fqdn, now)

		c.mu.Lock()
		defer c.mu.Unlock()
		t.inFlight--
		t.hold(url, leaf, err, now)
		return leaf, err
	})
	select {
	case r := <-done:
		return r.Val.(*x509.Certificate), r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// load fetches a chain and checks it. It runs on a goroutine of its own, where
// a panic over a hostile certificate would end the process.
func (c *chains) load(ctx context.Context, url, fqdn string, now time.Time) (leaf *x509.Certificate, err error) {
	defer func() {
		if r := recover(); r != nil {
			leaf, err = nil, errChainForm.Because(fmt.Errorf("panic: %v", r))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	body, err := c.fetch(ctx, url)
	switch {
	case safehttp.Class(err) == "too_large", len(body) > maxChainBytes:
		return nil, errChainLarge.Because(err)
	case err != nil:
		return nil, errChainFetch.Because(err)
	}
	certs, err := parseChain(body)
	if err != nil {
		return nil, err
	}
	if err := checkLeaf(certs[0], headerChain, fqdn, now); err != nil {
		return nil, err
	}
	return certs[0], checkTrust(certs, c.roots, now)
}

// count notes one use of the budget, or refuses it.
func (t *toolChains) count(now time.Time) error {
	for len(t.recent) > 0 && now.Sub(t.recent[0]) >= limitWindow {
		t.recent = t.recent[1:]
	}
	if len(t.recent) >= maxFetches {
		return tooMany(t.recent[0].Add(limitWindow).Sub(now))
	}
	t.recent = append(t.recent, now)
	return nil
}

func tooMany(wait time.Duration) error {
	e := &tract.Error{Kind: tract.KindRateLimited, Code: "rate_limited", Msg: headerChain + ": too many fetches for this tool; try again later"}
	return e.Fact("retry_after", int64((wait+time.Second-1)/time.Second))
}

func (t *toolChains) hold(url string, leaf *x509.Certificate, err error, now time.Time) {
	h := heldChain{err: err, until: now.Add(badFor)}
	if err == nil {
		h = heldChain{leaf: leaf, until: now.Add(goodFor)}
		if leaf.NotAfter.Before(h.until) {
			h.until = leaf.NotAfter
		}
	}
	if len(t.held) >= maxChainsHeld {
		oldest := ""
		for u, other := range t.held {
			if oldest == "" || other.until.Before(t.held[oldest].until) {
				oldest = u
			}
		}
		delete(t.held, oldest)
	}
	t.held[url] = h
}
