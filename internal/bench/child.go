package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	startTime = 60 * time.Second // to readiness; training and migrating are in it
	endTime   = 15 * time.Second // to leave by itself
	logTail   = 2000
)

// child is a process of the program itself that listens on loopback, so that
// CPU and memory are its own.
type child struct {
	name, addr, log string
	pid             int
	cmd             *exec.Cmd
	ended           chan struct{} // closed when it has ended
	err             error         // how; read after ended
}

// startChild runs the program with args and env and waits until it is ready.
func (b *bench) startChild(ctx context.Context, name string, args []string, env ...string) (*child, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &child{name: name, addr: l.Addr().String(), ended: make(chan struct{})}
	l.Close()
	b.children++
	c.log = filepath.Join(b.dir, fmt.Sprintf("%s-%d.log", name, b.children))
	out, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	c.cmd = exec.Command(b.cfg.Binary, args...)
	c.cmd.Env = slices.Concat(b.cfg.Env, []string{"TRACT_LISTEN=" + c.addr, "TRACT_LOG_LEVEL=warn"}, env)
	c.cmd.Stdout, c.cmd.Stderr = out, out
	c.cmd.SysProcAttr = dieWithParent()
	started := make(chan error, 1)
	go func() {
		// The death signal comes when the thread that started the child ends.
		runtime.LockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
		}
		close(c.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c.pid = c.cmd.Process.Pid
	if err := b.await(ctx, c); err != nil {
		c.kill()
		return nil, fmt.Errorf("%s: %w%s", name, err, c.said())
	}
	return c, nil
}

func (b *bench) await(ctx context.Context, c *child) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if status, _, err := b.http.do(ctx, http.MethodGet, "http://"+c.addr+"/readyz", nil, nil); err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case <-tick.C:
		case <-c.ended:
			return fmt.Errorf("ended before it was ready: %v", c.err)
		case <-ctx.Done():
			return fmt.Errorf("was not ready: %w", ctx.Err())
		}
	}
}

// stop ends the child, in time by itself, and says whether it went well.
func (c *child) stop() error {
	select {
	case <-c.ended:
		return fmt.Errorf("%s ended by itself: %v%s", c.name, c.err, c.said())
	default:
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	patience := time.NewTimer(endTime)
	defer patience.Stop()
	select {
	case <-c.ended:
	case <-patience.C:
		c.kill()
		return fmt.Errorf("%s did not end in %s", c.name, endTime)
	}
	// A terminal's Ctrl-C reaches the children as well.
	if exit := new(exec.ExitError); c.err != nil && !errors.As(c.err, &exit) {
		return c.err
	}
	return nil
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.ended
}

// said is the end of the child's log.
func (c *child) said() string {
	b, err := os.ReadFile(c.log)
	if err != nil || len(b) == 0 {
		return ""
	}
	return "; its log ends:\n" + string(b[max(0, len(b)-logTail):])
}

// clockTick is what /proc counts CPU time in, on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cpu is the time that the child has computed; ok is false where the system
// does not say.
func (c *child) cpu() (d time.Duration, ok bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(c.pid) + "/stat")
	if err != nil {
		return 0, false
	}
	// The second field is the program's name in brackets and may hold anything.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 13 {
		return 0, false
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, err1 == nil && err2 == nil
}

// memory is the child's resident set in bytes.
func (c *child) memory() (n int64, ok bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(c.pid) + "/status")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if rest, found := strings.CutPrefix(line, "VmRSS:"); found {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10, err == nil
		}
	}
	return 0, false
}
