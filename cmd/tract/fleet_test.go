package main_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tract/internal/store"
	"tract/internal/tracttest"
)

// fleet is three replicas on a database of their own, each over a link of its
// own, with users, two tools and a channel.
type fleet struct {
	*world
	db       *tracttest.Cluster
	sql      *pgx.Conn // to look at the database past all links
	replicas []*replica
	two      *receiver // the second tool
	jwtTwo   string
	random   *mathrand.Rand

	round   int
	strict  atomic.Bool // calls may fail only because nobody listens
	mu      sync.Mutex  // guards strange and control
	strange []string
	control map[string]*controlled // what was seen of each user's thread control
}

// replica is one process.
type replica struct {
	addr, binary string
	env          []string
	link         *link
	cmd          *exec.Cmd
	log          *os.File
}

// fleetPatience is how long a call waits: a replica that was halted does not refuse.
const fleetPatience = 1500 * time.Millisecond

const fleetConfig = `version: 1
clients:
  - id: acme
    name: Acme
    tokens: [{name: main, value: %q}]
    external_chat_tools:
      - {id: desk, name: Desk, fqdn: desk.example, permissions: {take: true, pass_to: any}, certificates: [{file: ./desk.pem, uuid: "6f1c3f0e-7d5c-4b62-9a44-0d6a4a1f2b3c"}]}
      - {id: two, name: Two, fqdn: two.example, permissions: {take: true, pass_to: any}, certificates: [{file: ./two.pem, uuid: "7f1c3f0e-7d5c-4b62-9a44-0d6a4a1f2b3d"}]}
    businesses:
      - {id: 1, name: One, external_chat_tools: [desk, two], default_receiver: desk, channels: [{platform: webhook, url: %q, secret: "channel-secret"}]}
`

func newFleet(t *testing.T, seed uint64) *fleet {
	t.Helper()
	binary := build(t)
	db := tracttest.NewCluster(t)
	f := &fleet{world: newWorld(t, binary, store.Options{URL: db.URL}), db: db, two: newReceiver(t, readTool), random: mathrand.New(mathrand.NewPCG(seed, 1)), control: map[string]*controlled{}}
	f.more = []*receiver{f.two}
	f.patience.Store(int64(fleetPatience))
	for _, r := range []*receiver{f.tool, f.two} {
		r.delay = 15 * time.Millisecond // so that something is under way when a replica dies
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f.applyFiles(t, map[string]string{"two.pem": certificate(t, key, "two.example"), "tract.yaml": fmt.Sprintf(fleetConfig, faultToken, f.channel.URL)})
	for i := range 3 {
		f.replicas = append(f.replicas, newReplica(t, f, i))
	}
	f.pick = func() string { return f.replicas[mathrand.IntN(len(f.replicas))].addr }
	f.saw = f.watch
	for _, r := range f.replicas {
		r.start(t)
		r.ready(t)
	}
	f.connect(t)
	f.prepare(t)
	f.jwtTwo = f.token(t, key, "two.example", "7f1c3f0e-7d5c-4b62-9a44-0d6a4a1f2b3d")
	control := []string{"thread_control/passed", "thread_control/taken"}
	f.register(t, *f.jwt.Load(), f.tool, control...)
	f.register(t, f.jwtTwo, f.two, append(control, "message/receive")...)
	f.users(t)
	return f
}

func newReplica(t *testing.T, f *fleet, i int) *replica {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{addr: free.Addr().String(), binary: f.binary, link: newLink(t, filepath.Join(f.db.Dir, ".s.PGSQL.5432"))}
	free.Close()
	if r.log, err = os.Create(filepath.Join(f.dir, fmt.Sprintf("replica-%d.log", i))); err != nil {
		t.Fatal(err)
	}
	r.env = append(append([]string{}, f.env...), "TRACT_LISTEN="+r.addr, "TRACT_PUBLIC_URL=http://hub.example", "TRACT_DATABASE_URL=postgres://tract@"+r.link.Addr().String()+"/postgres?sslmode=disable")
	t.Cleanup(func() {
		if r.cmd != nil {
			_ = r.cmd.Process.Kill()
			_ = r.cmd.Wait()
		}
		r.log.Close()
		if t.Failed() {
			t.Logf("log of replica %d (end):\n%s", i, tail(r.said(), 3000))
		}
	})
	return r
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// said is everything the replica logged.
func (r *replica) said() string {
	b, _ := os.ReadFile(r.log.Name())
	return string(b)
}

func (r *replica) start(t *testing.T) {
	t.Helper()
	r.cmd = exec.Command(r.binary, "serve")
	r.cmd.Env, r.cmd.Stdout, r.cmd.Stderr = r.env, r.log, r.log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// ready waits until the replica says that it is.
func (r *replica) ready(t *testing.T) {
	t.Helper()
	look := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(45 * time.Second); time.Now().Before(deadline); wait(20 * time.Millisecond) {
		if res, err := look.Get("http://" + r.addr + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
	}
	t.Fatalf("the replica on %s was not ready in 45 s", r.addr)
}

func (r *replica) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (r *replica) kill(t *testing.T) {
	t.Helper()
	r.signal(t, syscall.SIGKILL)
	_ = r.cmd.Wait()
	r.cmd = nil
}

// stop ends the replica in good order, and says how long it took.
func (r *replica) stop(t *testing.T) time.Duration {
	t.Helper()
	begun := time.Now()
	terminate(t, r.cmd)
	r.cmd = nil
	return time.Since(begun)
}

// connect opens the tests' own way to the database.
func (f *fleet) connect(t *testing.T) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), f.db.URL)
	if err != nil {
		t.Fatal(err)
	}
	if f.sql == nil {
		t.Cleanup(func() { _ = f.sql.Close(context.Background()) })
	}
	f.sql = c
}

// watch hears of every call. While nothing fails but what the test stopped, a
// caller may meet nobody, and no error.
func (f *fleet) watch(addr string, status int, err error) {
	if !f.strict.Load() || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || err == nil && status < 500 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.strange = append(f.strange, fmt.Sprintf("%s: status %d, %v", addr, status, err))
}

// open lists the lanes that a replica sends from, with what is queued in them.
func (f *fleet) open(t *testing.T, r *replica) map[store.LaneKey]int64 {
	t.Helper()
	rows, err := f.sql.Query(t.Context(), `select thread, endpoint, last from lanes where last > done and owner in (select id from replicas where name like '%/' || $1)`, r.addr)
	if err != nil {
		t.Fatal(err)
	}
	out := map[store.LaneKey]int64{}
	for rows.Next() {
		var k store.LaneKey
		var last int64
		if err := rows.Scan(&k.Thread, &k.Endpoint, &last); err != nil {
			t.Fatal(err)
		}
		out[k] = last
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// settled waits until everything of some lanes has been delivered, and says when
// the first and the last of them went on.
func (f *fleet) settled(t *testing.T, lanes map[store.LaneKey]int64, since time.Time) (first, last time.Duration) {
	t.Helper()
	done := map[store.LaneKey]int64{}
	for k := range lanes {
		done[k] = -1
	}
	for deadline := time.Now().Add(30 * time.Second); len(lanes) > 0; wait(10 * time.Millisecond) {
		for k, want := range lanes {
			var now int64
			if err := f.sql.QueryRow(t.Context(), `select done from lanes where thread = $1 and endpoint = $2`, k.Thread, k.Endpoint).Scan(&now); err != nil {
				t.Fatal(err)
			}
			if done[k] < 0 {
				done[k] = now
			}
			if now > done[k] && first == 0 {
				first = time.Since(since)
			}
			if now >= want {
				delete(lanes, k)
				last = time.Since(since)
			}
		}
		if time.Now().After(deadline) {
			t.Errorf("%d lanes were not taken over in 30 s", len(lanes))
			return first, 30 * time.Second
		}
	}
	return first, last
}

// link carries connections to the database, and can be cut or fall silent.
type link struct {
	net.Listener
	to string

	mu    sync.Mutex // guards the rest
	wake  *sync.Cond
	cut   bool // nothing gets through, and everybody is told
	hole  bool // nothing gets through, and nobody is told
	conns map[net.Conn]bool
}

func newLink(t *testing.T, to string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{Listener: l, to: to, conns: map[net.Conn]bool{}}
	k.wake = sync.NewCond(&k.mu)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { k.carry(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		k.set(true, false)
		wg.Wait()
	})
	return k
}

// set changes what the link does; a cut ends what is open.
func (k *link) set(cut, hole bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut, k.hole = cut, hole
	if cut {
		for c := range k.conns {
			c.Close()
		}
	}
	k.wake.Broadcast()
}

// pass waits while the link is silent.
func (k *link) pass() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.hole {
		k.wake.Wait()
	}
}

func (k *link) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("unix", k.to)
	if err != nil {
		return
	}
	defer server.Close()
	k.mu.Lock()
	if k.cut {
		k.mu.Unlock()
		return
	}
	k.conns[client], k.conns[server] = true, true
	k.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { k.copy(server, client) })
	both.Go(func() { k.copy(client, server) })
	both.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, client)
	delete(k.conns, server)
}

func (k *link) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		k.pass()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
