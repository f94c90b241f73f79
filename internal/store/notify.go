package store

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"tract/internal/clock"
)

// Figures of the hints.
const (
	hintEvery  = 20 * time.Millisecond // a process notifies at most once in this time
	hintPulse  = 3 * time.Second       // a connection that is silent is tried so often
	hintAnswer = 3 * time.Second       // how long the database may take
	hintAgain  = 500 * time.Millisecond
	hintBytes  = 7900 // PostgreSQL takes 8000
)

// hints tell other processes what was committed here, and the watchers here what
// was committed elsewhere. They go by NOTIFY over a connection of their own:
// within a command's transaction it would make all commits wait for each other.
// A commit that changed nothing others wait for costs a comparison.
//
// A process that dispatches listens; another sends what it has to say when it
// closes the store.
type hints struct {
	s    *Store
	conf *pgx.ConnConfig
	pool *pgxpool.Pool
	once sync.Once
	done sync.WaitGroup
	good atomic.Bool // what others send is heard

	mu    sync.Mutex // guards the rest
	next  hint       // what is to be sent
	wake  func()     // ends the wait of the listener
	leave func()     // ends the listener
}

// hint is what goes over the wire. A version that knows more of it may be beside
// one that knows less.
type hint struct {
	Endpoints []int64 `json:"endpoints,omitempty"`
	Configs   []int64 `json:"configs,omitempty"`
	Jobs      bool    `json:"jobs,omitempty"`
	Tasks     bool    `json:"tasks,omitempty"`
	Lanes     bool    `json:"lanes,omitempty"`
	Missed    bool    `json:"missed,omitempty"` // it is too much to tell, or something was not told

	Withdrawn []LaneKey `json:"withdrawn,omitempty"`
}

func (h *hint) empty() bool {
	return len(h.Endpoints) == 0 && len(h.Configs) == 0 && !h.Jobs && !h.Tasks && !h.Lanes && !h.Missed && len(h.Withdrawn) == 0
}

func (h *hints) init(s *Store, conf *pgx.ConnConfig, pool *pgxpool.Pool) {
	h.s, h.conf, h.pool = s, conf.Copy(), pool
	h.conf.RuntimeParams["application_name"] = "tract hints"
	h.conf.RuntimeParams["synchronous_commit"] = "off" // a NOTIFY alone need not wait for the disk
}

func (h *hints) hinted() bool { return h.good.Load() }

// The three methods of Watcher.

func (h *hints) Appending([]LaneKey) {}
func (h *hints) Aborted([]LaneKey)   {}

// Committed notes what others should hear of a commit.
func (h *hints) Committed(c *Commit) {
	if c.elsewhere || len(c.Endpoints) == 0 && len(c.Configs) == 0 && !c.Jobs && !c.Tasks && !c.Lanes && len(c.Withdrawn) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	n, waits := &h.next, !h.next.empty()
	n.Endpoints, n.Configs = union(n.Endpoints, c.Endpoints), union(n.Configs, c.Configs)
	n.Withdrawn = union(n.Withdrawn, c.Withdrawn)
	n.Jobs, n.Tasks, n.Lanes = n.Jobs || c.Jobs, n.Tasks || c.Tasks, n.Lanes || c.Lanes
	if !waits && h.wake != nil {
		h.wake()
	}
}

func union[T comparable](a, b []T) []T {
	for _, v := range b {
		if !slices.Contains(a, v) {
			a = append(a, v)
		}
	}
	return a
}

// listen hears what others send from now on, until close.
func (h *hints) listen() {
	h.once.Do(func() {
		ctx, leave := context.WithCancel(context.Background())
		h.mu.Lock()
		h.leave = leave
		h.mu.Unlock()
		h.done.Go(func() { h.run(ctx) })
	})
}

// close ends the listener and sends what is left.
func (h *hints) close() {
	h.mu.Lock()
	leave := h.leave
	h.mu.Unlock()
	if leave != nil {
		leave()
		h.done.Wait()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.next.empty() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), hintAnswer)
	defer cancel()
	if _, err := h.pool.Exec(ctx, sendHint, wire(h.next)); err != nil {
		h.s.log.Warn("hint not sent", "error", err)
	}
}

const sendHint = `select pg_notify('tract', $1)`

func wire(n hint) string {
	b, err := json.Marshal(n)
	if err != nil || len(b) > hintBytes {
		return `{"missed":true}`
	}
	return string(b)
}

func (h *hints) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := h.session(ctx)
		h.good.Store(false)
		if ctx.Err() != nil {
			return
		}
		h.s.log.Warn("hints of other processes are not heard", "error", err)
		_ = pause(ctx, hintAgain)
	}
}

// session holds one connection: it sends and hears until the connection fails.
func (h *hints) session(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, hintAnswer)
	defer cancel()
	c, err := pgx.ConnectConfig(within, h.conf)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx)
	}()
	if err := prove(within, c); err != nil {
		return err
	}
	h.good.Store(true)
	h.s.committed(&Commit{Missed: true, elsewhere: true})
	var sent time.Time
	for {
		heard, say, err := h.wait(ctx, c, sent)
		switch {
		case err != nil:
			return err
		case heard != nil:
			if heard.PID != c.PgConn().PID() {
				h.hear(heard.Payload)
			}
		case say == nil: // nothing happened for a while
			if err := try(ctx, c, `select 1`); err != nil {
				return err
			}
		default:
			sent = clock.System()
			if err := try(ctx, c, sendHint, wire(*say)); err != nil {
				h.mu.Lock()
				h.next.Missed = true // whether it was sent is not known
				h.mu.Unlock()
				return err
			}
		}
	}
}

// prove listens, and sees whether what is sent comes back: behind a pooler that
// shares connections it does not, and whoever relied on it would wait in vain.
func prove(ctx context.Context, c *pgx.Conn) error {
	if _, err := c.Exec(ctx, `listen tract`); err != nil {
		return err
	}
	if _, err := c.Exec(ctx, sendHint, `{}`); err != nil {
		return err
	}
	for {
		n, err := c.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		if n.PID == c.PgConn().PID() {
			return nil
		}
	}
}

func try(ctx context.Context, c *pgx.Conn, sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, hintAnswer)
	defer cancel()
	_, err := c.Exec(ctx, sql, args...)
	return err
}

// wait returns what was heard, or what is to be said, or neither when nothing
// happened for a while.
func (h *hints) wait(ctx context.Context, c *pgx.Conn, sent time.Time) (*pgconn.Notification, *hint, error) {
	for {
		h.mu.Lock()
		say, in := !h.next.empty(), hintPulse
		if say {
			in = hintEvery - clock.System().Sub(sent)
		}
		if in <= 0 {
			next := h.next
			h.next = hint{}
			h.mu.Unlock()
			return nil, &next, nil
		}
		within, cancel := context.WithTimeout(ctx, in)
		h.wake = cancel
		h.mu.Unlock()
		n, err := c.WaitForNotification(within)
		over := errors.Is(within.Err(), context.DeadlineExceeded)
		cancel()
		switch {
		case n != nil:
			return n, nil, nil
		case ctx.Err() != nil || c.IsClosed():
			return nil, nil, err
		case over && !say:
			return nil, nil, nil
		}
	}
}

// hear tells the watchers what others committed.
func (h *hints) hear(payload string) {
	var n hint
	if json.Unmarshal([]byte(payload), &n) != nil {
		n = hint{Missed: true}
	}
	if !n.empty() {
		h.s.committed(&Commit{Endpoints: n.Endpoints, Configs: n.Configs, Jobs: n.Jobs, Tasks: n.Tasks, Lanes: n.Lanes, Withdrawn: n.Withdrawn, Missed: n.Missed, elsewhere: true})
	}
}
