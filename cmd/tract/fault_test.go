package main_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tract/internal/store"
	"tract/internal/tracttest"
)

// TestFaultKill kills the server at random under load and looks for anything
// acknowledged that was lost, doubled or put out of order. The long form is
// go test -run FaultKill ./cmd/tract -count 20 (or TRACT_TEST_KILLS=1000).
func TestFaultKill(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for half a minute an engine")
	}
	kills := 50
	if v := os.Getenv("TRACT_TEST_KILLS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatal(err)
		}
		kills = n
	}
	binary := build(t)
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		w := newWorld(t, binary, o)
		w.start(t)
		w.prepare(t)
		stop := w.load()
		seed := mathrand.Uint64()
		t.Logf("seed %d", seed)
		random := mathrand.New(mathrand.NewPCG(seed, 1))
		for range kills {
			wait(time.Duration(20+random.IntN(300)) * time.Millisecond)
			w.kill(t)
			w.start(t)
		}
		stop()
		w.settle(t)
		w.check(t, kills)
	})
}

// TestGracefulStop ends the server by SIGTERM under load: it answers what came in,
// ends in time and without an error, and the next start goes on where it was.
func TestGracefulStop(t *testing.T) {
	binary := build(t)
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		w := newWorld(t, binary, o)
		w.start(t)
		w.prepare(t)
		stop := w.load()
		const stops = 3
		for range stops {
			wait(300 * time.Millisecond)
			terminate(t, w.cmd)
			w.cmd = nil
			w.http.CloseIdleConnections()
			begun := time.Now()
			w.start(t)
			t.Logf("ready again after %s", time.Since(begun).Round(time.Millisecond))
		}
		stop()
		w.settle(t)
		w.check(t, stops)
	})
}

// terminate ends a server as an operator does.
func terminate(t *testing.T, server *exec.Cmd) {
	t.Helper()
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the server ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the server did not end within 20 s")
	}
}

var (
	buildOnce sync.Once
	built     string
	buildErr  error
)

// build makes the binary once for all tests of the package.
func build(t *testing.T) string {
	t.Helper()
	buildOnce.Do(func() {
		dir, err := os.MkdirTemp("", "tract-bin-")
		if err != nil {
			buildErr = err
			return
		}
		built = filepath.Join(dir, "tract")
		out, err := exec.Command("go", "build", "-o", built, ".").CombinedOutput()
		if err != nil {
			buildErr = fmt.Errorf("%w: %s", err, out)
		}
	})
	if buildErr != nil {
		t.Fatal(buildErr)
	}
	return built
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		os.RemoveAll(filepath.Dir(built))
	}
	os.Exit(code)
}

// wait lets time pass: what is tested here is another process, which no fake
// clock reaches.
func wait(d time.Duration) { <-time.After(d) }

// world is one server with its users, a tool and a channel.
type world struct {
	binary, dir, addr string
	env               []string
	cmd               *exec.Cmd
	log               *os.File
	http              *http.Client
	tool, channel     *receiver
	key               *ecdsa.PrivateKey
	jwt               atomic.Pointer[string]
	pick              func() string                            // which server to call; nil = addr
	saw               func(addr string, status int, err error) // hears of every call; may be nil
	patience          atomic.Int64                             // of one call; 0 = none
	more              []*receiver                              // further tools that hear everything
	when              string                                   // ends the texts of users
	jump              int64                                    // of delivery_seq, by a restore
	heard             int                                      // of what the tool heard: looked at for an answer

	mu    sync.Mutex // guards the acknowledgements
	acked []ack
	sent  map[int64]string // messages of the tool, by id
}

// ack is a message the server said it has.
type ack struct {
	user string
	id   int64
	text string
}

const faultToken = "fault-token-0123456789abcdef"

func newWorld(t *testing.T, binary string, o store.Options) *world {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := &world{binary: binary, dir: t.TempDir(), addr: l.Addr().String(), sent: map[int64]string{}, tool: newReceiver(t, readTool), channel: newReceiver(t, readChannel),
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "TRACT_") {
			w.env = append(w.env, kv)
		}
	}
	w.env = append(w.env, "TRACT_LISTEN="+w.addr, "TRACT_DATA_DIR="+filepath.Join(w.dir, "data"), "TRACT_ALLOW_PRIVATE_TARGETS=true", "TRACT_ADMIN_TOKEN=fault-admin", "TRACT_RATE_LIMIT=-1",
		"TRACT_HOOK_RETRY_SCHEDULE=100ms,200ms,400ms,800ms,1s,1s,1s,1s", "TRACT_LOG_LEVEL=warn", "TRACT_SECRET_KEY="+strings.Repeat("0123456789abcdef", 4))
	if o.URL != "" {
		w.env = append(w.env, "TRACT_DATABASE_URL="+o.URL)
	}
	if w.log, err = os.Create(filepath.Join(w.dir, "server.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if w.cmd != nil {
			_ = w.cmd.Process.Kill()
			_ = w.cmd.Wait()
		}
		w.log.Close()
		if t.Failed() {
			b, _ := os.ReadFile(w.log.Name())
			t.Logf("server log (end):\n%s", b[max(0, len(b)-4000):])
		}
	})
	w.apply(t)
	return w
}

// apply writes the certificate and the declarative file and applies it offline.
func (w *world) apply(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.key = key
	files := map[string]string{"desk.pem": certificate(t, key, "desk.example"), "tract.yaml": fmt.Sprintf(`version: 1
clients:
  - id: acme
    name: Acme
    tokens: [{name: main, value: %q}]
    external_chat_tools:
      - {id: desk, name: Desk, fqdn: desk.example, certificates: [{file: ./desk.pem, uuid: "6f1c3f0e-7d5c-4b62-9a44-0d6a4a1f2b3c"}]}
    businesses:
      - {id: 1, name: One, external_chat_tools: [desk], channels: [{platform: webhook, url: %q, secret: "channel-secret"}]}
`, faultToken, w.channel.URL)}
	w.applyFiles(t, files)
}

func certificate(t *testing.T, key *ecdsa.PrivateKey, name string) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// applyFiles writes files and applies tract.yaml of them.
func (w *world) applyFiles(t *testing.T, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(w.binary, "apply", "-f", filepath.Join(w.dir, "tract.yaml"))
	cmd.Env = w.env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("apply: %v: %s", err, out)
	}
}

func (w *world) start(t *testing.T) {
	t.Helper()
	w.cmd = exec.Command(w.binary, "serve")
	w.cmd.Env, w.cmd.Stdout, w.cmd.Stderr = w.env, w.log, w.log
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if res, err := w.http.Get("http://" + w.addr + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		wait(5 * time.Millisecond)
	}
	t.Fatal("the server was not ready in 30 s")
}

func (w *world) kill(t *testing.T) {
	t.Helper()
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = w.cmd.Wait()
	w.cmd = nil
	w.http.CloseIdleConnections()
}

func (w *world) call(method, path string, body any, header map[string]string) (int, map[string]any, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	addr := w.addr
	if w.pick != nil {
		addr = w.pick()
	}
	ctx := context.Background()
	if p := w.patience.Load(); p > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(p))
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, bytes.NewReader(b))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := w.http.Do(req)
	if w.saw != nil {
		status := 0
		if err == nil {
			status = res.StatusCode
		}
		w.saw(addr, status, err)
	}
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	out := map[string]any{}
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
		return 0, nil, err
	}
	return res.StatusCode, out, nil
}

func platformHeaders(key string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + faultToken, "client-id": "acme", "Idempotency-Key": key}
}

func (w *world) toolHeaders(key string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + *w.jwt.Load(), "Idempotency-Key": key}
}

// prepare gets the tool its token and registers its hooks.
func (w *world) prepare(t *testing.T) {
	t.Helper()
	jwt := w.token(t, w.key, "desk.example", "6f1c3f0e-7d5c-4b62-9a44-0d6a4a1f2b3c")
	w.jwt.Store(&jwt)
	w.register(t, jwt, w.tool, "message/receive", "conversation_state/waiting")
}

// token gets a tool its token.
func (w *world) token(t *testing.T, key *ecdsa.PrivateKey, fqdn, certificate string) string {
	t.Helper()
	body, _ := json.Marshal(map[string]string{"fqdn": fqdn, "client_id": "acme", "timestamp": time.Now().UTC().Format("2006-01-02T15:04:05Z")})
	sum := sha256.Sum256(body)
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	status, out, err := w.call("POST", "/tract/management/token/issue/", json.RawMessage(body), map[string]string{"Signature-256": base64.StdEncoding.EncodeToString(sig), "SignatureCertUUID": certificate})
	if err != nil || status != http.StatusOK {
		t.Fatalf("token: %d %v %v", status, out, err)
	}
	return out["token"].(string)
}

// register has a tool hear of events.
func (w *world) register(t *testing.T, jwt string, to *receiver, events ...string) {
	t.Helper()
	for _, e := range events {
		category, subcategory, _ := strings.Cut(e, "/")
		status, out, err := w.call("POST", "/tract/hooks/register/", map[string]string{"category": category, "subcategory": subcategory, "url": to.URL + "/" + category}, map[string]string{"Authorization": "Bearer " + jwt})
		if err != nil || status != http.StatusOK {
			t.Fatalf("register %s: %d %v %v", e, status, out, err)
		}
	}
}

const senders = 8

// load writes as users, and as the tool for each message it hears, until stop
// is called. What was not answered is sent again under the same key.
func (w *world) load() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() { w.user(ctx, fmt.Sprintf("user-%d", i)) })
	}
	wg.Go(func() { w.answer(ctx) })
	return func() { cancel(); wg.Wait() }
}

// until repeats a call until it is answered. What was begun is ended also after
// ctx: only then is it known whether it counts.
func (w *world) until(path string, body any, header map[string]string) (map[string]any, error) {
	for range 3000 {
		status, out, err := w.call("POST", path, body, header)
		switch {
		case err == nil && status/100 == 2:
			return out, nil
		case err == nil && status/100 == 4 && status != http.StatusConflict:
			return nil, fmt.Errorf("%s: %d %v", path, status, out)
		}
		wait(10 * time.Millisecond)
	}
	return nil, errors.New(path + " was never answered")
}

func (w *world) user(ctx context.Context, name string) {
	if _, err := w.until("/v1.0/user/", map[string]any{"auth_id": name, "name": name}, platformHeaders("user-"+name)); err != nil {
		w.fail(err)
		return
	}
	for n := 0; ctx.Err() == nil; n++ {
		text := fmt.Sprintf("%s says %d%s", name, n, w.when)
		out, err := w.until("/v1.0/log_message_from_user/", map[string]any{"user": map[string]string{"auth_id": name}, "message_body": text, "message_type": 0, "business_id": 1}, platformHeaders(text))
		if err != nil {
			w.fail(err)
			return
		}
		w.mu.Lock()
		w.acked = append(w.acked, ack{name, int64(out["message_id"].(float64)), text})
		w.mu.Unlock()
	}
}

func (w *world) fail(err error) {
	w.tool.mu.Lock()
	defer w.tool.mu.Unlock()
	w.tool.bad = append(w.tool.bad, err.Error())
}

// answer replies as the tool to every tenth message it hears.
func (w *world) answer(ctx context.Context) {
	for ctx.Err() == nil {
		w.tool.mu.Lock()
		todo := slices.Clone(w.tool.got[w.heard:])
		w.heard = len(w.tool.got)
		w.tool.mu.Unlock()
		for i, r := range todo {
			if r.text == "" || i%10 != 0 || strings.HasPrefix(r.text, "quiet ") {
				continue
			}
			text := fmt.Sprintf("re: %s (%d)", r.text, r.id)
			out, err := w.until("/tract/message/send/", map[string]any{"user_id": r.user, "message_body": text, "sender": "aeu"}, w.toolHeaders(text))
			if err != nil {
				w.fail(err)
				return
			}
			w.mu.Lock()
			w.sent[int64(out["message_id"].(float64))] = text
			w.mu.Unlock()
		}
		wait(20 * time.Millisecond)
	}
}

// settle waits until everything acknowledged has arrived.
func (w *world) settle(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		if w.missing(w.tool, w.userIDs()) == 0 && w.missing(w.channel, w.sentIDs()) == 0 {
			return
		}
		wait(50 * time.Millisecond)
	}
	t.Errorf("%d messages of users and %d of the tool never arrived", w.missing(w.tool, w.userIDs()), w.missing(w.channel, w.sentIDs()))
}

func (w *world) userIDs() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make([]int64, len(w.acked))
	for i, a := range w.acked {
		ids[i] = a.id
	}
	return ids
}

func (w *world) sentIDs() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []int64
	for id := range w.sent {
		ids = append(ids, id)
	}
	return ids
}
