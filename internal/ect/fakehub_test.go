package ect_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"tract"
	"tract/internal/ect"
)

const patience = 10 * time.Second // how long a test waits for what must happen

// clock is the time of one test; it moves only when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bell wakes whoever waits for a condition.
type bell struct {
	mu sync.Mutex
	ch chan struct{}
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
	}
	b.ch = make(chan struct{})
}

func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

// until waits for ok, which is looked at after every ring.
func (b *bell) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		next := b.next()
		if ok() {
			return
		}
		select {
		case <-next:
		case <-deadline.C:
			t.Fatalf("never happened: %s", what)
		}
	}
}

// request is one call that reached the hub.
type request struct {
	Path, Query, Token string
	Body               map[string]any
}

type feedItem struct {
	Seq         int64          `json:"delivery_seq"`
	Category    string         `json:"category"`
	Subcategory string         `json:"subcategory"`
	Payload     map[string]any `json:"payload"`
}

// fakeHub is the hub as a tool sees it, written from the description of the API.
type fakeHub struct {
	t     *testing.T
	srv   *httptest.Server
	clock *clock
	bell  bell
	uuid  string
	fqdn  string

	mu       sync.Mutex
	cert     *x509.Certificate
	script   func(r request) (status int, body any) // before anything else; 0 = as usual
	requests []request
	bodies   map[string]bool // signed bodies, for the replay check
	issued   int
	token    string
	lifetime int
	urls     map[string]string
	secrets  map[string]string
	order    []string
	feed     []feedItem
	pageSize int
	nextID   int64
	open     int // connections of the tool
}

func newFakeHub(t *testing.T, id *ect.Identity, c *clock) *fakeHub {
	t.Helper()
	block, _ := pem.Decode(id.CertificatePEM())
	if block == nil || block.Type != "CERTIFICATE" {
		t.Fatalf("not a PEM certificate: %q", id.CertificatePEM())
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	h := &fakeHub{
		t: t, clock: c, cert: cert, fqdn: "desk-one.example", uuid: "0b9cbd5a-3b1c-4a26-8a0f-5dd0e9e1a001",
		bodies: map[string]bool{}, urls: map[string]string{}, secrets: map[string]string{}, lifetime: 3600, pageSize: 100,
	}
	h.srv = httptest.NewUnstartedServer(h)
	h.srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		h.set(func(h *fakeHub) {
			switch s {
			case http.StateNew:
				h.open++
			case http.StateClosed:
				h.open--
			}
		})
		h.bell.ring()
	}
	h.srv.Start()
	t.Cleanup(h.srv.Close)
	return h
}

func (h *fakeHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Errorf("read request: %v", err)
	}
	got := request{Path: r.URL.Path, Query: r.URL.RawQuery, Token: r.Header.Get("Authorization")}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &got.Body); err != nil {
			h.t.Errorf("%s: body %q: %v", r.URL.Path, raw, err)
		}
	}
	h.mu.Lock()
	h.requests = append(h.requests, got)
	script := h.script
	h.mu.Unlock()
	h.bell.ring()
	status, body := 0, any(nil)
	if script != nil {
		status, body = script(got)
	}
	if status == 0 {
		status, body = h.route(r, raw, got)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		h.t.Errorf("answer %s: %v", r.URL.Path, err)
	}
}

func refusal(code, text string, more ...any) map[string]any {
	out := map[string]any{"error": text, "code": code, "request_id": "req_1"}
	for i := 0; i+1 < len(more); i += 2 {
		out[more[i].(string)] = more[i+1]
	}
	return out
}

func (h *fakeHub) route(r *http.Request, raw []byte, got request) (int, any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if got.Path == "/tract/management/token/issue/" {
		return h.issue(r, raw, got)
	}
	if h.token == "" || got.Token != "Bearer "+h.token {
		return 401, refusal("invalid_token", "the token is not valid")
	}
	if c := r.Header.Get("client-id"); c != "" && c != "acme" {
		return 401, refusal("invalid_token", "client-id of another client")
	}
	switch got.Path {
	case "/tract/hooks/register/":
		return h.register(got.Body)
	case "/tract/hooks/list/":
		return 200, map[string]any{"hooks": []map[string]any{
			{"category": "message", "subcategory": "receive", "enabled": false}, {"category": "user_events", "subcategory": "create_user", "enabled": true},
		}}
	case "/tract/hooks/enable/", "/tract/events/send/":
		return 200, map[string]any{"error": nil}
	case "/tract/message/send/":
		h.nextID++
		return 200, map[string]any{"error": nil, "message_id": 5000 + h.nextID, "conversation_number": "1", "timestamp": h.clock.Now().Format(time.RFC3339Nano)}
	case "/tract/thread_control/request":
		return 200, map[string]any{"success": true, "control_epoch": 5, "changed": true}
	case "/tract/thread_control/listeners/":
		return 200, map[string]any{"control_epoch": 7, "listeners": []map[string]any{
			{"id": "iva", "name": "acme_faq", "type": "iva", "is_default": true, "is_primary": true, "available": true},
			{"id": "desk-one", "name": "Desk One", "type": "ect", "active": true, "available": true, "self": true},
		}}
	case "/tract/user/":
		return 200, map[string]any{"user_id": got.Body["user_id"], "third_party_user_id": "u-77", "user_name": "Asha", "device_platform": 13, "details_available": []string{}}
	case "/tract/feed/":
		return h.page(r)
	}
	return 404, refusal("not_found", "no such path: "+got.Path)
}

// issue makes every check the description asks for that a client could fail.
func (h *fakeHub) issue(r *http.Request, raw []byte, got request) (int, any) {
	weak, errA := base64.StdEncoding.DecodeString(r.Header.Get("Signature"))
	strong, errB := base64.StdEncoding.DecodeString(r.Header.Get("Signature-256"))
	at, errC := time.Parse("2006-01-02T15:04:05Z", fmt.Sprint(got.Body["timestamp"]))
	switch drift := h.clock.Now().Sub(at); {
	case errA != nil || errB != nil:
		return 400, refusal("bad_signature", "a signature is not base64")
	case r.Header.Get("SignatureCertUUID") != h.uuid:
		return 400, refusal("unknown_certificate", "unknown certificate")
	case !verifies(h.cert, crypto.SHA1, raw, weak):
		return 400, refusal("bad_signature", "Signature does not verify")
	case !verifies(h.cert, crypto.SHA256, raw, strong):
		return 400, refusal("bad_signature", "Signature-256 does not verify")
	case errC != nil || drift > 150*time.Second || drift < -150*time.Second:
		return 400, refusal("bad_timestamp", "timestamp")
	case h.bodies[string(raw)]:
		return 400, refusal("replay", "this body was used before")
	case got.Body["fqdn"] != h.fqdn || got.Body["client_id"] != "acme":
		return 400, refusal("unknown_tool", "fqdn or client_id")
	}
	h.bodies[string(raw)] = true
	h.issued++
	h.token = fmt.Sprintf("jwt-%d", h.issued)
	return 200, map[string]any{"token": h.token, "token_type": "Bearer", "expires_in": h.lifetime, "expires_at": "2026-11-20T11:30:00Z"}
}

func verifies(cert *x509.Certificate, hash crypto.Hash, body, signature []byte) bool {
	digest := sha256.New()
	if hash == crypto.SHA1 {
		digest = sha1.New()
	}
	digest.Write(body)
	switch key := cert.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, digest.Sum(nil), signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, hash, digest.Sum(nil), signature) == nil
	}
	return false
}

func (h *fakeHub) register(body map[string]any) (int, any) {
	category, _ := body["category"].(string)
	subcategory, _ := body["subcategory"].(string)
	if _, ok := tract.HookEvent(category, subcategory); !ok {
		return 400, refusal("unknown_event", "unknown pair")
	}
	name := category + "/" + subcategory
	out := map[string]any{"error": nil, "hook": map[string]any{"category": category, "subcategory": subcategory}}
	if body["rotate_secret"] == true || h.secrets[name] == "" {
		sum := sha256.Sum256([]byte(name + strconv.Itoa(len(h.order))))
		h.secrets[name] = "whsec_" + base64.StdEncoding.EncodeToString(sum[:])
		out["secret"] = h.secrets[name]
	}
	h.urls[name], _ = body["url"].(string)
	h.order = append(h.order, name)
	return 200, out
}

func (h *fakeHub) page(r *http.Request) (int, any) {
	after, err := strconv.ParseInt(r.URL.Query().Get("after_seq"), 10, 64)
	if err != nil {
		return 400, refusal("bad_request", "after_seq")
	}
	items, next := []feedItem{}, after
	for _, it := range h.feed {
		if it.Seq > after && len(items) < h.pageSize {
			items, next = append(items, it), it.Seq
		}
	}
	return 200, map[string]any{"items": items, "next_after_seq": next}
}

func (h *fakeHub) set(f func(h *fakeHub)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h)
}

func (h *fakeHub) connections() (n int) { h.set(func(h *fakeHub) { n = h.open }); return n }
func (h *fakeHub) tokens() (n int)      { h.set(func(h *fakeHub) { n = h.issued }); return n }
func (h *fakeHub) registered() (l []string) {
	h.set(func(h *fakeHub) { l = slices.Clone(h.order) })
	return l
}
func (h *fakeHub) url(event string) (u string) {
	h.set(func(h *fakeHub) { u = h.urls[event] })
	return u
}

// calls gives the bodies sent to path, in order.
func (h *fakeHub) calls(path string) []request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.requests), func(r request) bool { return r.Path != path })
}

func (h *fakeHub) awaitCalls(path string, n int) []request {
	h.t.Helper()
	h.bell.until(h.t, fmt.Sprintf("%d calls of %s", n, path), func() bool { return len(h.calls(path)) >= n })
	return h.calls(path)
}

// delivery is one hook call of the hub.
type delivery struct {
	event   string
	payload map[string]any
	id      string
	attempt int
	at      time.Time                        // zero: now
	mangle  func(h http.Header, body []byte) // after signing
	ctx     context.Context
}

// deliver signs and sends a hook call and gives the answer.
func (h *fakeHub) deliver(d delivery) (status int, answer map[string]any, err error) {
	body, err := json.Marshal(d.payload)
	if err != nil {
		return 0, nil, err
	}
	h.mu.Lock()
	url, secret := h.urls[d.event], h.secrets[d.event]
	h.mu.Unlock()
	key, err := base64.StdEncoding.DecodeString(secret[len("whsec_"):])
	if err != nil {
		return 0, nil, err
	}
	if d.at.IsZero() {
		d.at = h.clock.Now()
	}
	if d.ctx == nil {
		d.ctx = context.Background()
	}
	req, err := http.NewRequestWithContext(d.ctx, http.MethodPost, url, nil)
	if err != nil {
		return 0, nil, err
	}
	stamp := strconv.FormatInt(d.at.Unix(), 10)
	weak, strong, standard := hmac.New(sha1.New, key), hmac.New(sha256.New, key), hmac.New(sha256.New, key)
	weak.Write(body)
	strong.Write(body)
	standard.Write([]byte(d.id + "." + stamp + "." + string(body)))
	for k, v := range map[string]string{
		"Content-Type": "application/json", "X-Hub-Signature": "sha1=" + hex.EncodeToString(weak.Sum(nil)),
		"X-Hub-Signature-256": "sha256=" + hex.EncodeToString(strong.Sum(nil)), "webhook-id": d.id, "webhook-timestamp": stamp,
		"webhook-signature": "v1," + base64.StdEncoding.EncodeToString(standard.Sum(nil)), "X-Tract-Attempt": strconv.Itoa(max(d.attempt, 1)),
	} {
		req.Header.Set(k, v)
	}
	if d.mangle != nil {
		d.mangle(req.Header, body)
	}
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	res, err := h.srv.Client().Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return res.StatusCode, nil, err
	}
	_ = json.Unmarshal(raw, &answer) // some refusals are plain text
	return res.StatusCode, answer, nil
}

// mustDeliver expects a 200.
func (h *fakeHub) mustDeliver(d delivery) map[string]any {
	h.t.Helper()
	status, answer, err := h.deliver(d)
	if err != nil || status != 200 {
		h.t.Fatalf("deliver %s %s: status %d, %v, %v", d.event, d.id, status, answer, err)
	}
	return answer
}

// said is a message/receive call: the user's words in conversation 1.
func said(user, text string, seq int64, owner string, epoch int64) delivery {
	body, _ := json.Marshal(map[string]any{"text": text, "type": "TEXT", "data": map[string]any{}})
	return delivery{event: "message/receive", id: fmt.Sprintf("msg_%s_%d", user, seq), payload: map[string]any{
		"user_id": user, "message_id": 1000 + seq, "conversation_number": "1", "message_body": string(body), "sender": "ceu",
		"timestamp": "2026-11-20T10:30:00.123456Z",
		"metadata": map[string]any{"business_id": 343, "device_platform": 13, "message_type": 0, "thread_owner": owner, "standby": owner != "desk-one",
			"control_epoch": epoch, "delivery_seq": seq},
	}}
}

// happened is a call for an event in conversation 1.
func happened(user, event string, seq int64, owner string, epoch int64, more map[string]any) delivery {
	facts := map[string]any{"delivery_seq": seq, "thread_owner": owner, "control_epoch": epoch, "by": "iva", "reason": "pass"}
	for k, v := range more {
		facts[k] = v
	}
	metadata, _ := json.Marshal(facts)
	e := tract.Event(event)
	category, subcategory := string(e[:bytes.IndexByte([]byte(e), '/')]), string(e[bytes.IndexByte([]byte(e), '/')+1:])
	return delivery{event: event, id: fmt.Sprintf("evt_%s_%d", user, seq), payload: map[string]any{
		"conversation_number": "1", "user_id": user, "category": category, "subcategory": subcategory, "metadata": string(metadata),
	}}
}

func inFeed(d delivery, seq int64) feedItem {
	i := bytes.IndexByte([]byte(d.event), '/')
	return feedItem{Seq: seq, Category: d.event[:i], Subcategory: d.event[i+1:], Payload: d.payload}
}

// world is a hub and a tool that knows it.
type world struct {
	t     *testing.T
	hub   *fakeHub
	tool  *ect.Tool
	clock *clock
	stop  func() error // ends Run and gives its error

	mu     sync.Mutex
	events []ect.Event
}

// newWorld makes both; the tool does not run yet.
func newWorld(t *testing.T, change func(*ect.Config)) *world {
	t.Helper()
	c := &clock{now: time.Date(2026, 11, 20, 10, 30, 0, 0, time.UTC)}
	id, err := ect.NewIdentity("desk-one.example", ect.ECDSA, c.Now())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, clock: c, hub: newFakeHub(t, id, c)}
	cfg := ect.Config{
		Hub: w.hub.srv.URL, Identity: id, CertUUID: w.hub.uuid, ClientID: "acme", ReceiverID: "desk-one", Listen: "127.0.0.1:0",
		GapGrace: time.Hour, Now: c.Now, Rand: rand.NewPCG(1, 2),
		Out: func(e ect.Event) {
			w.mu.Lock()
			w.events = append(w.events, e)
			w.mu.Unlock()
			w.hub.bell.ring()
		},
	}
	if change != nil {
		change(&cfg)
	}
	if w.tool, err = ect.New(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

// run starts the tool; it is stopped, and its error looked at, when the test ends.
func (w *world) run() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.tool.Run(ctx) }()
	w.stop = sync.OnceValue(func() error {
		cancel()
		w.hub.srv.Client().CloseIdleConnections() // the server's graceful end need not wait for them
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return fmt.Errorf("Run does not end")
		}
	})
	w.t.Cleanup(func() {
		if err := w.stop(); err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
}

func running(t *testing.T, change func(*ect.Config)) *world {
	t.Helper()
	w := newWorld(t, change)
	w.run()
	select {
	case <-w.tool.Ready():
	case <-time.After(patience):
		t.Fatalf("the tool is not ready; it says %+v", w.heard(ect.KindProblem))
	}
	return w
}

// heard gives the events of one kind.
func (w *world) heard(kind ect.Kind) []ect.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.events), func(e ect.Event) bool { return e.Kind != kind })
}

func (w *world) await(kind ect.Kind, n int) []ect.Event {
	w.t.Helper()
	w.hub.bell.until(w.t, fmt.Sprintf("%d events of kind %s", n, kind), func() bool { return len(w.heard(kind)) >= n })
	return w.heard(kind)
}

// texts are the lines of a user's transcript.
func (w *world) texts(user string) []string {
	th, _ := w.tool.Thread(user)
	var out []string
	for _, e := range th.Entries {
		text := e.Text
		if e.Event != "" {
			text = string(e.Event)
		}
		out = append(out, text)
	}
	return out
}
