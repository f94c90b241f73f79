package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"tract"
)

// Errors of opening a store. Their texts say how to mend it.
var (
	ErrBusy    = &tract.Error{Kind: tract.KindUnavailable, Code: "store_in_use", Msg: "another process holds the store"}
	ErrCorrupt = &tract.Error{Kind: tract.KindInternal, Code: "store_corrupt", Msg: "the store is damaged"}
	ErrNewer   = &tract.Error{Kind: tract.KindInternal, Code: "store_newer", Msg: "the store was written by a newer version"}
	// ErrUnavailable is what callers get while the store cannot commit.
	ErrUnavailable = &tract.Error{Kind: tract.KindUnavailable, Code: "store_unavailable", Msg: "the store cannot take this now; try again"}
	// ErrNotFound is a missing row where one was needed.
	ErrNotFound = &tract.Error{Kind: tract.KindNotFound, Code: "not_found", Msg: "not found"}
)

// Options say where the store is. The zero value of an optional field works.
type Options struct {
	URL   string           // postgres://…; "" means SQLite in Dir
	Dir   string           // the data folder (SQLite)
	Now   func() time.Time // the clock; on PostgreSQL nil takes the database's
	Log   *slog.Logger     // nil is silent
	Conns int              // PostgreSQL connections, default 16
	// Rerun makes every closure run twice, the first time rolled back. Tests use
	// it to find closures that are not repeatable.
	Rerun bool
	// Verify compares what the store remembers with what it holds, each time.
	// Tests use it to find what was written past its memory.
	Verify bool
	// Trace is told every statement that a closure runs, before it does. Tests use
	// it to look at their plans.
	Trace func(sql string)
}

// Store is an open database.
type Store struct {
	engine  engine
	log     *slog.Logger
	clock   func() time.Time // set by tests or SQLite; nil = the database's
	rerun   bool
	verify  bool
	trace   func(sql string) // nil, but in tests
	locks   keyedMutex
	watch   []Watcher
	replica atomic.Int64
	dbClock bool // transactions take the database's time
	failed  chan struct{}
	failure sync.Once
	closing sync.Once
	metrics Metrics
}

// Metrics are counters of the store; read them with Store.Metrics.
type Metrics struct {
	Commits  counter // transactions committed
	Updates  counter // closures that were part of them
	Failures counter // transactions that failed
}

// A Watcher hears of lanes that a transaction appends to. All three run on the
// committing goroutine and must be quick.
type Watcher interface {
	// Appending comes before the commit is sent: keep what you know of these lanes.
	Appending(lanes []LaneKey)
	// Committed comes after it is durable.
	Committed(c *Commit)
	// Aborted ends an Appending whose commit failed.
	Aborted(lanes []LaneKey)
}

// Commit is what one closure changed, for watchers. What other processes
// changed comes as well, without Appends, Threads and Timers, and with several
// commits in one: see Store.Hinted.
type Commit struct {
	Appends   []Append
	Threads   []ThreadChange
	Timers    bool // a timer was set
	Jobs      bool // a job was added
	Tasks     bool // an import waits
	Lanes     bool // a process gave its lanes back
	Endpoints []int64
	Configs   []int64   // clients whose configuration changed
	Withdrawn []LaneKey // lanes whose queue is not to be sent any more
	// Missed says that other processes may have changed anything meanwhile.
	Missed bool

	elsewhere bool // by other processes
}

// ThreadChange names a thread whose log or state changed.
type ThreadChange struct {
	Client, Thread int64
	LastEntry      tract.MessageID
}

// work is what a transaction is for.
type work int

const (
	ordinary work = iota
	command       // on one thread: everything is looked up by its key
	low           // long work in small pieces, which lets others go first
)

// engine is one kind of database.
type engine interface {
	update(ctx context.Context, fn func(*Tx) error, w work) error
	// share is update for a command that may be committed with others on other
	// threads.
	share(ctx context.Context, thread int64, fn func(*Tx) error) error
	// among is a condition on a thread's number, with its only argument; SQLite is
	// asked for one.
	among(threads []int64) (condition string, arg any)
	view(ctx context.Context, fn func(*Tx) error) error
	// forUpdate locks the rows of table alias t that a select reads.
	forUpdate(sql, t string) string
	// skipLocked is forUpdate that passes over rows others hold.
	skipLocked(sql, t string) string
	// clockAndIDs are two columns, the time in microseconds and the first of a
	// block of ids, for a select that runs after the locks; "" where reading them
	// along saves nothing.
	clockAndIDs() string
	// raised is a select that makes every number of threads.told larger.
	raised(by int) string
	ping(ctx context.Context) error
	// listen begins to hear of what other processes commit.
	listen()
	hinted() bool
	name() string
	close() error
}

// Open opens the store, creating and migrating it as needed.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{log: o.Log, clock: o.Now, rerun: o.Rerun, verify: o.Verify, trace: o.Trace, failed: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if o.URL != "" {
		s.engine, err = openPostgres(ctx, s, o)
	} else {
		s.engine, err = openSQLite(ctx, s, o.Dir)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Engine is "sqlite" or "postgres".
func (s *Store) Engine() string { return s.engine.name() }

// Watch adds a watcher. Call it before the first Update.
func (s *Store) Watch(w Watcher) { s.watch = append(s.watch, w) }

// Close waits for running transactions and closes the database. Later calls do
// nothing.
func (s *Store) Close() (err error) {
	s.closing.Do(func() { err = s.engine.close() })
	return err
}

// Ping says whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return s.engine.ping(ctx) }

// Hinted says whether this process hears at once of what others change, as a
// Commit. Hints only save looking: they may be lost, so whoever relies on them
// looks now and then all the same, and often while this is false.
func (s *Store) Hinted() bool { return s.engine.hinted() }

// Failed is closed when the database can no longer be trusted to be durable;
// the process should end and start again.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Now is the time of a transaction that began now.
func (s *Store) Now() time.Time { return s.now() }

// Metrics returns the store's counters.
func (s *Store) Metrics() *Metrics { return &s.metrics }

func (s *Store) fail(err error) {
	s.failure.Do(func() {
		s.log.Error("store failed", "error", err)
		close(s.failed)
	})
}

// Update runs fn in one transaction and returns after the commit. fn may run
// more than once, makes no calls to the outside and takes a few milliseconds.
// An Update inside fn is an error.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	return s.run(ctx, fn, ordinary)
}

// UpdateLow is Update for long work done in small pieces: it lets others go
// first, but is never kept waiting for ever.
func (s *Store) UpdateLow(ctx context.Context, fn func(*Tx) error) error {
	return s.run(ctx, fn, low)
}

func (s *Store) run(ctx context.Context, fn func(*Tx) error, w work) error {
	if ctx.Value(inUpdate{}) != nil {
		return errNested
	}
	return s.engine.update(ctx, fn, w)
}

// UpdateThread is Update for a command on one thread. Commands on the same
// thread wait for each other here, before they take a connection, so that a
// busy thread cannot use up the pool.
func (s *Store) UpdateThread(ctx context.Context, thread int64, fn func(*Tx) error) error {
	if thread == 0 {
		return s.Update(ctx, fn)
	}
	unlock, err := s.locks.lock(ctx, thread)
	if err != nil {
		return ErrUnavailable.Because(err)
	}
	defer unlock()
	return s.run(ctx, fn, command)
}

// ShareThread is UpdateThread for a command that reads little but the thread it
// locks: it may share its transaction with commands on other threads.
func (s *Store) ShareThread(ctx context.Context, thread int64, fn func(*Tx) error) error {
	if thread == 0 {
		return s.Update(ctx, fn)
	}
	if ctx.Value(inUpdate{}) != nil {
		return errNested
	}
	unlock, err := s.locks.lock(ctx, thread)
	if err != nil {
		return ErrUnavailable.Because(err)
	}
	defer unlock()
	return s.engine.share(ctx, thread, fn)
}

// View runs fn on one consistent snapshot, which it cannot change.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error { return s.engine.view(ctx, fn) }

type inUpdate struct{}

var errNested = errors.New("store: an update inside an update")

// Backup writes a consistent copy of the SQLite database in dir to the file
// path, also while a server runs on it.
func Backup(ctx context.Context, dir, path string) error {
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s exists already; name a new file", path)
	}
	return backupSQLite(ctx, dir, path)
}

// keyedMutex locks by number. Entries exist only while somebody holds or waits.
type keyedMutex struct {
	mu   sync.Mutex // guards held
	held map[int64]*waiters
}

type waiters struct {
	n    int
	free chan struct{} // holds one token while nobody has the lock
}

func (k *keyedMutex) lock(ctx context.Context, key int64) (unlock func(), err error) {
	k.mu.Lock()
	if k.held == nil {
		k.held = map[int64]*waiters{}
	}
	w := k.held[key]
	if w == nil {
		w = &waiters{free: make(chan struct{}, 1)}
		w.free <- struct{}{}
		k.held[key] = w
	}
	w.n++
	k.mu.Unlock()
	leave := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if w.n--; w.n == 0 {
			delete(k.held, key)
		}
	}
	select {
	case <-w.free:
		return func() { w.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
