package ect

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"tract"
	"tract/internal/safehttp"
)

const (
	maxAnswer   = 4 << 20 // a page of the feed is the largest thing the hub says
	callTimeout = 20 * time.Second
)

// ErrUnreachable is a call that got no answer: whether the hub acted on it is
// not known.
var ErrUnreachable = &tract.Error{Kind: tract.KindUnavailable, Code: "hub_unreachable", Msg: "the hub cannot be reached"}

// hub is the tool's side of the TRACT API: it keeps a token and turns answers
// into Go values and refusals into *tract.Error with the hub's own code.
type hub struct {
	cfg  Config
	dice *dice
	turn chan struct{} // holds one element while a token is asked for: callers wait for it together

	mu    sync.Mutex // guards token
	token token
}

type token struct {
	text    string
	renewAt time.Time
}

func newHTTP() *safehttp.Client {
	// The hub's address comes from whoever runs the tool, so it may be a private one.
	return safehttp.New(safehttp.Config{Policy: safehttp.Policy{AllowPrivate: true}, Timeout: callTimeout, MaxResponse: maxAnswer, UserAgent: "tract-ect"})
}

func newHub(cfg Config, d *dice) *hub {
	return &hub{cfg: cfg, dice: d, turn: make(chan struct{}, 1)}
}

// call makes one authorised call. A token that the hub no longer takes is
// replaced once.
func (h *hub) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode %s: %w", path, err)
		}
	}
	header := http.Header{"Client-Id": {h.cfg.ClientID}}
	stale := ""
	for {
		text, err := h.bearer(ctx, stale)
		if err != nil {
			return err
		}
		header.Set("Authorization", "Bearer "+text)
		res, err := h.send(ctx, method, path, header, body)
		if err != nil {
			return err
		}
		if res.Status == http.StatusUnauthorized && stale == "" {
			stale = text
			continue
		}
		return answer(res, out)
	}
}

// bearer gives a token that is good for a while and is not the stale one.
func (h *hub) bearer(ctx context.Context, stale string) (string, error) {
	select {
	case h.turn <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-h.turn }()
	h.mu.Lock()
	have := h.token
	h.mu.Unlock()
	now := h.cfg.Now()
	if have.text != "" && have.text != stale && now.Before(have.renewAt) {
		return have.text, nil
	}
	text, lifetime, err := h.issue(ctx, now)
	if err != nil {
		return "", err
	}
	h.mu.Lock()
	h.token = token{text: text, renewAt: now.Add(lifetime - min(time.Minute, lifetime/5))}
	h.mu.Unlock()
	return text, nil
}

// issue asks for a token with a request signed by the tool's key.
func (h *hub) issue(ctx context.Context, now time.Time) (string, time.Duration, error) {
	body, err := json.Marshal(map[string]string{
		"fqdn": h.cfg.FQDN, "client_id": h.cfg.ClientID, "timestamp": now.UTC().Format(time.RFC3339),
		"nonce": h.dice.word(), // two requests within one second must differ, or the second is a replay
	})
	if err != nil {
		return "", 0, fmt.Errorf("encode token request: %w", err)
	}
	weak, strong, err := h.cfg.Identity.Sign(body)
	if err != nil {
		return "", 0, err
	}
	header := http.Header{}
	header.Set("Signature", weak)
	header.Set("Signature-256", strong)
	header.Set("SignatureCertUUID", h.cfg.CertUUID)
	res, err := h.send(ctx, http.MethodPost, "/tract/management/token/issue/", header, body)
	if err != nil {
		return "", 0, err
	}
	var got struct {
		Token     string `json:"token"`
		ExpiresIn int64  `json:"expires_in"`
	}
	if err := answer(res, &got); err != nil {
		return "", 0, fmt.Errorf("get a token: %w", err)
	}
	if got.Token == "" || got.ExpiresIn <= 0 {
		return "", 0, fmt.Errorf("get a token: the answer lacks token or expires_in")
	}
	return got.Token, time.Duration(got.ExpiresIn) * time.Second, nil
}

func (h *hub) send(ctx context.Context, method, path string, header http.Header, body []byte) (*safehttp.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, h.cfg.Hub+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("call hub: %w", err)
	}
	req.Header = header.Clone()
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := h.cfg.HTTP.Do(ctx, req)
	if err != nil {
		return nil, ErrUnreachable.Because(err)
	}
	if res.Truncated {
		return nil, fmt.Errorf("call hub: the answer to %s is larger than %d bytes", path, maxAnswer)
	}
	return res, nil
}

// refusal is what the hub says when it does not do what it was asked.
type refusal struct {
	Error        *string `json:"error"`
	Code         string  `json:"code"`
	RequestID    string  `json:"request_id"`
	ThreadOwner  string  `json:"thread_owner"`
	ControlEpoch int64   `json:"control_epoch"`
}

// answer decodes a 2xx answer into out and makes an error of anything else.
func answer(res *safehttp.Response, out any) error {
	var no refusal
	decodeErr := json.Unmarshal(res.Body, &no)
	if res.Status < 200 || res.Status > 299 || (no.Error != nil && *no.Error != "") {
		return no.err(res.Status)
	}
	if decodeErr == nil && out != nil {
		decodeErr = json.Unmarshal(res.Body, out)
	}
	if decodeErr != nil {
		return fmt.Errorf("read the hub's answer: %w", decodeErr)
	}
	return nil
}

func (r refusal) err(status int) *tract.Error {
	e := &tract.Error{Kind: kindOfStatus(status), Code: r.Code, Msg: fmt.Sprintf("the hub answered %d", status)}
	if r.Error != nil && *r.Error != "" {
		e.Msg = *r.Error
	}
	if e.Code == "" {
		e.Code = fmt.Sprintf("http_%d", status)
	}
	if r.ThreadOwner != "" {
		e = e.Fact("thread_owner", r.ThreadOwner)
	}
	if r.ControlEpoch != 0 {
		e = e.Fact("control_epoch", r.ControlEpoch)
	}
	if r.RequestID != "" {
		e = e.Fact("request_id", r.RequestID)
	}
	return e
}

// kindOfStatus is the way back from a status to the kind the hub meant.
func kindOfStatus(status int) tract.Kind {
	switch status {
	case http.StatusBadRequest:
		return tract.KindInvalid
	case http.StatusUnauthorized:
		return tract.KindUnauthorized
	case http.StatusForbidden:
		return tract.KindForbidden
	case http.StatusNotFound:
		return tract.KindNotFound
	case http.StatusConflict:
		return tract.KindConflict
	case http.StatusUnprocessableEntity:
		return tract.KindMismatch
	case http.StatusRequestEntityTooLarge:
		return tract.KindTooLarge
	case http.StatusTooManyRequests:
		return tract.KindRateLimited
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return tract.KindUnavailable
	}
	return tract.KindInternal
}

// registerHook tells the hub where e is heard and gives the secret its calls
// are signed with.
func (h *hub) registerHook(ctx context.Context, e tract.Event, address string) (string, error) {
	category, subcategory := split(e)
	in := map[string]any{"category": category, "subcategory": subcategory, "url": address, "rotate_secret": true}
	var out struct {
		Secret string `json:"secret"`
	}
	if err := h.call(ctx, http.MethodPost, "/tract/hooks/register/", in, &out); err != nil {
		return "", err
	}
	if out.Secret == "" {
		return "", fmt.Errorf("the hub gave no secret")
	}
	return out.Secret, nil
}
