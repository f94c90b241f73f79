package tracttest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// Cluster is a PostgreSQL server of one test's own, with fsync, that can be
// killed and started again.
type Cluster struct {
	Dir string // holds its socket, named .s.PGSQL.5432
	URL string // of its first database, which is empty

	bin  string
	cred *syscall.Credential
	cmd  *exec.Cmd
	died chan struct{}
}

// NewCluster makes and starts a server, until the test ends. It always is one of
// its own, also with TRACT_TEST_POSTGRES: a test that needs it breaks it.
func NewCluster(t *testing.T) *Cluster {
	t.Helper()
	bin, err := postgresBin()
	if err != nil {
		if os.Getenv("TRACT_TEST_ALL") == "1" {
			t.Fatalf("PostgreSQL is needed: %v", err)
		}
		t.Skipf("NOT RUN: %v (install PostgreSQL)", err)
	}
	c := &Cluster{bin: bin}
	if c.Dir, c.cred, err = initPostgres(bin); err != nil {
		t.Fatal(err)
	}
	c.URL = "postgres:///postgres?host=" + c.Dir + "&user=tract"
	c.Start(t)
	t.Cleanup(func() {
		c.Kill()
		os.RemoveAll(c.Dir)
	})
	return c
}

// Start starts the server and waits until it answers.
func (c *Cluster) Start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(c.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	started := make(chan error, 1)
	died := make(chan struct{})
	go func() {
		runtime.LockOSThread() // the death signal comes when the thread that started the child ends
		defer close(died)
		c.cmd = exec.Command(filepath.Join(c.bin, "postgres"), "-D", filepath.Join(c.Dir, "data"), "-k", c.Dir, "-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=64MB", "-c", "log_lock_waits=on")
		c.cmd.Dir, c.cmd.Stdout, c.cmd.Stderr = c.Dir, log, log
		c.cmd.SysProcAttr = process(c.cred, syscall.SIGQUIT)
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	c.died = died
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := awaitPostgres(ctx, c.URL); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server at once, without a checkpoint: the next start recovers.
func (c *Cluster) Kill() {
	if c.died == nil {
		return
	}
	_ = c.cmd.Process.Signal(syscall.SIGQUIT)
	<-c.died
	c.died = nil
}

// Log is what the server said.
func (c *Cluster) Log(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.Dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
