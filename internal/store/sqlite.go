package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	moderncsqlite "modernc.org/sqlite"

	"tract/internal/clock"
)

const (
	sqliteFile   = "tract.db"
	maxBatch     = 256       // closures in one transaction
	lowEvery     = 10        // batches after which low work goes first, once
	walBound     = 256 << 20 // bytes of log after which it is emptied
	rewindFrames = 16384     // pages in the log after which it should begin anew
	// checkpointEvery lets pages that are written again and again come together:
	// the larger the store, the farther they lie apart, and the longer it takes to
	// sync them.
	checkpointEvery = time.Second
	readers         = 4
	readDeadline    = 2 * time.Second
	// checkedAtStart is the size up to which a file is checked in full before serving.
	checkedAtStart = 64 << 20
)

// sqlite is the embedded engine. One goroutine commits: what arrives while it
// commits goes into the next transaction together, so that one fsync serves many.
type sqlite struct {
	s     *Store
	db    *sql.DB
	w     *liteConn
	reads chan *liteConn
	jobs  chan *job
	low   chan *job
	queue
	done   sync.WaitGroup
	lock   *os.File
	path   string
	nextID int64       // owned by the committer
	rewind atomic.Bool // the log is to begin anew
	passed int         // batches since the last low job; owned by the committer
	// threads belongs to the committer.
	threads *threadCache
}

func openSQLite(ctx context.Context, s *Store, dir string) (engine, error) {
	if dir == "" {
		return nil, errors.New("store: no data folder")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	e := &sqlite{s: s, path: filepath.Join(dir, sqliteFile), jobs: make(chan *job, 4*maxBatch), low: make(chan *job, 16), queue: newQueue(), threads: newThreadCache()}
	if s.clock == nil {
		s.clock = clock.System
	}
	var err error
	if e.lock, err = lockFile(e.path + ".lock"); err != nil {
		return nil, err
	}
	if err := e.open(ctx); err != nil {
		e.release()
		return nil, err
	}
	e.done.Add(2)
	go e.commitLoop()
	go e.checkpointLoop()
	return e, nil
}

func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the store's lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, ErrBusy.With("another process holds the store in %s", filepath.Dir(path))
	}
	return f, nil
}

func (e *sqlite) open(ctx context.Context) error {
	size, err := checkHeader(e.path)
	if err != nil {
		return err
	}
	// The driver would make it readable for everybody; its log takes after it.
	f, err := os.OpenFile(e.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	f.Close()
	uri := sqliteURI(e.path) + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(0)&_pragma=wal_autocheckpoint(0)&_pragma=temp_store(MEMORY)&_pragma=cache_size(-8192)&_txlock=immediate"
	if e.db, err = sql.Open("sqlite", uri); err != nil {
		return fmt.Errorf("open %s: %w", e.path, err)
	}
	if size > 0 && size <= checkedAtStart {
		if err := quickCheck(ctx, e.db, e.path); err != nil {
			return err
		}
	}
	if err := migrate(ctx, e.db, "sqlite"); err != nil {
		return err
	}
	if e.w, err = openLite(uri); err != nil {
		return err
	}
	e.reads = make(chan *liteConn, readers)
	for range readers {
		// The driver lets a read-only transaction write unless query_only is on.
		c, err := openLite(uri, "query_only = on", "cache_size = -2048")
		if err != nil {
			return err
		}
		e.reads <- c
	}
	return e.prepare(ctx)
}

// checkHeader refuses a file that is no database before the driver touches it.
func checkHeader(path string) (size int64, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open the store: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return 0, err
	}
	head := make([]byte, 100)
	if _, err := f.ReadAt(head, 0); err != nil || string(head[:16]) != "SQLite format 3\x00" {
		return 0, damaged(path, "its header is not that of an SQLite database")
	}
	page := int64(head[16])<<8 | int64(head[17])
	if page == 1 {
		page = 65536
	}
	if page < 512 || page&(page-1) != 0 {
		return 0, damaged(path, fmt.Sprintf("its header names a page size of %d", page))
	}
	return st.Size(), nil
}

func damaged(path, why string) error {
	return ErrCorrupt.With("%s is damaged: %s; restore a backup with: tract restore FILE", path, why)
}

func quickCheck(ctx context.Context, db *sql.DB, path string) error {
	var verdict string
	if err := db.QueryRowContext(ctx, "pragma quick_check(1)").Scan(&verdict); err != nil {
		return damaged(path, err.Error())
	}
	if verdict != "ok" {
		return damaged(path, verdict)
	}
	return nil
}

// prepare voids old leases, starts the ids and looks at the newest entries.
func (e *sqlite) prepare(ctx context.Context) error {
	now := e.s.clock()
	if err := e.w.simple("delete from replicas"); err != nil {
		return fmt.Errorf("void old leases: %w", err)
	}
	return e.view(ctx, func(tx *Tx) error {
		var last int64
		if _, err := tx.one([]any{&last}, "select coalesce(max(id), 0) from entries"); err != nil {
			return fmt.Errorf("read the last id: %w", err)
		}
		e.nextID = max(last+1, idFloor(now))
		return tx.checkEntries(newestChecked)
	})
}

// idFloor is the least message id to hand out at an instant: a store restored
// from a backup then never reuses one.
func idFloor(now time.Time) int64 {
	return max(1, now.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).Microseconds())
}

func (e *sqlite) name() string { return "sqlite" }

// There is no other process to hear of.
func (e *sqlite) listen()      {}
func (e *sqlite) hinted() bool { return true }

// One writer at a time needs no row locks.
func (e *sqlite) forUpdate(sql, _ string) string  { return sql }
func (e *sqlite) skipLocked(sql, _ string) string { return sql }

func (e *sqlite) among(threads []int64) (string, any) { return "= $1", threads[0] }

// Everything shares a transaction here.
func (e *sqlite) share(ctx context.Context, _ int64, fn func(*Tx) error) error {
	return e.update(ctx, fn, command)
}

func (e *sqlite) clockAndIDs() string { return "" }

func (e *sqlite) raised(by int) string {
	return fmt.Sprintf(`select json_group_object(key, value + %d) from json_each(told)`, by)
}

func (e *sqlite) ping(ctx context.Context) error {
	return e.view(ctx, func(tx *Tx) error {
		var n int64
		_, err := tx.one([]any{&n}, "select 1")
		return err
	})
}

func (e *sqlite) close() error {
	close(e.quit)
	e.done.Wait()
	errs := []error{e.w.simple("pragma wal_checkpoint(truncate)"), e.w.close()}
	for range readers {
		errs = append(errs, (<-e.reads).close())
	}
	return errors.Join(append(errs, e.db.Close(), e.release())...)
}

func (e *sqlite) release() error {
	if e.lock == nil {
		return nil
	}
	return e.lock.Close()
}

func (e *sqlite) update(ctx context.Context, fn func(*Tx) error, w work) error {
	jobs := e.jobs
	if w == low {
		jobs = e.low
	}
	return e.put(ctx, jobs, 0, fn)
}

func (e *sqlite) commitLoop() {
	defer e.done.Done()
	defer close(e.ended)
	for {
		batch := e.nextBatch()
		if batch == nil {
			return
		}
		e.commit(batch)
		e.boundWAL()
	}
}

// nextBatch waits for work. Low work goes when nothing else waits, and after
// some batches all the same: traffic that never pauses must not stop it.
func (e *sqlite) nextBatch() []*job {
	if e.passed >= lowEvery {
		select {
		case j := <-e.low:
			e.passed = 0
			return []*job{j}
		default:
		}
	}
	var first *job
	select {
	case first = <-e.jobs:
	default:
		select {
		case first = <-e.jobs:
		case j := <-e.low:
			e.passed = 0
			return []*job{j}
		case <-e.quit:
			select {
			case j := <-e.jobs: // what was queued before the end is still served
				return []*job{j}
			default:
				return nil
			}
		}
	}
	e.passed++
	return gather(first, e.jobs, maxBatch)
}

// commit runs a batch in one transaction. If a closure fails after it wrote,
// everything is rolled back and each closure gets a transaction of its own.
func (e *sqlite) commit(batch []*job) {
	if e.s.rerun {
		e.rehearse(batch)
	}
	results, err := e.attempt(batch)
	if errors.Is(err, errSpoiled) && len(batch) > 1 {
		for _, j := range batch {
			e.commit([]*job{j})
		}
		return
	}
	for i, j := range batch {
		if results[i] == nil && err != nil {
			results[i] = err
		}
		j.result <- results[i]
	}
}

var errSpoiled = errors.New("a closure failed after writing")

func (e *sqlite) attempt(batch []*job) (results []error, err error) {
	results = make([]error, len(batch))
	if err := e.w.simple("begin immediate"); err != nil {
		return results, e.unavailable("begin", err)
	}
	var commits []*Tx
	for i, j := range batch {
		if j.ctx.Err() != nil {
			results[i] = ErrUnavailable.Because(j.ctx.Err())
			continue
		}
		tx := &Tx{ctx: j.ctx, s: e.s, c: &liteTx{e.w, e, e.threads}, Now: e.s.now(), threads: e.threads}
		results[i] = guarded(j.fn, tx)
		if results[i] == nil && tx.err != nil {
			results[i] = tx.err
		}
		if results[i] == nil {
			commits = append(commits, tx)
		} else if tx.wrote || tx.err != nil {
			e.rollback()
			if isDiskError(results[i]) {
				results[i] = e.unavailable("write", results[i])
			}
			return results, errSpoiled
		}
	}
	keys := appended(commits)
	e.s.appending(keys)
	if err := e.w.simple("commit"); err != nil {
		e.rollback()
		e.s.aborted(keys)
		return results, e.unavailable("commit", err)
	}
	e.s.metrics.Commits.add(1)
	e.s.metrics.Updates.add(len(commits))
	for _, tx := range commits {
		e.s.committed(&tx.commit)
	}
	return results, nil
}

func (e *sqlite) rehearse(batch []*job) {
	if e.w.simple("begin immediate") != nil {
		return
	}
	for _, j := range batch {
		tx := &Tx{ctx: j.ctx, s: e.s, c: &liteTx{e.w, e, e.threads}, Now: e.s.now(), threads: e.threads}
		if guarded(j.fn, tx) != nil || tx.err != nil {
			break
		}
	}
	e.rollback()
}

func (e *sqlite) rollback() {
	e.threads.clear()
	if err := e.w.simple("rollback"); err != nil && !strings.Contains(err.Error(), "no transaction") {
		e.s.log.Error("rollback failed", "error", err)
	}
}

// unavailable turns a database error into the caller's; an error of the disk
// itself ends the process, for a failed fsync cannot be tried again.
func (e *sqlite) unavailable(doing string, err error) error {
	e.s.metrics.Failures.add(1)
	e.s.log.Error("transaction failed", "step", doing, "error", err)
	var lite *moderncsqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case 10, 11, 26: // input/output error, malformed, not a database
			e.s.fail(err)
		}
	}
	return ErrUnavailable.Because(err)
}

func isDiskError(err error) bool {
	var lite *moderncsqlite.Error
	if !errors.As(err, &lite) {
		return false
	}
	switch lite.Code() & 0xff {
	case 8, 10, 11, 13, 26: // read only, input/output, malformed, full, not a database
		return true
	}
	return false
}

// guarded turns a panic of a closure into its error.
func guarded(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if r := recover(); r != nil {
			tx.err = fmt.Errorf("panic in a transaction: %v", r)
			err = tx.err
		}
	}()
	return fn(tx)
}

func (e *sqlite) view(ctx context.Context, fn func(*Tx) error) error {
	var c *liteConn
	select {
	case c = <-e.reads:
	case <-ctx.Done():
		return ErrUnavailable.Because(ctx.Err())
	case <-e.quit:
		return ErrUnavailable.With("the store is closed")
	}
	defer func() { e.reads <- c }()
	if err := c.simple("begin"); err != nil {
		return ErrUnavailable.Because(err)
	}
	defer c.simple("rollback")
	tx := &Tx{ctx: ctx, s: e.s, c: &liteTx{c, e, nil}, Now: e.s.now()}
	return errors.Join(guarded(fn, tx), tx.err)
}

func (e *sqlite) checkpointLoop() {
	defer e.done.Done()
	c, err := e.db.Conn(context.Background())
	if err != nil {
		e.s.fail(err)
		return
	}
	defer c.Close()
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if st, err := os.Stat(e.path + "-wal"); err != nil || st.Size() < 1<<20 {
				continue
			}
			frames, err := passiveCheckpoint(c)
			// Each pass is shorter than the one before and leaves less behind, so that
			// little is left to be moved while everything waits.
			for range 2 {
				if err == nil && frames > rewindFrames {
					frames, err = passiveCheckpoint(c)
				}
			}
			if err != nil {
				e.s.log.Warn("checkpoint failed", "error", err)
			}
			e.rewind.Store(frames > rewindFrames)
		case <-e.quit:
			return
		}
	}
}

// passiveCheckpoint moves what is in the log, beside those who write, and says how
// many pages that is.
func passiveCheckpoint(c *sql.Conn) (frames int64, err error) {
	var busy, moved int64
	err = c.QueryRowContext(context.Background(), "pragma wal_checkpoint(passive)").Scan(&busy, &frames, &moved)
	return frames, err
}

// boundWAL keeps the log small between two commits. A checkpoint beside the
// commits never reaches the log's end: what it left, little, is moved here, and
// the next commit begins the log anew. Only where readers prevent that for long
// everything waits until the log is emptied.
func (e *sqlite) boundWAL() {
	if e.rewind.CompareAndSwap(true, false) {
		_ = e.w.simple("pragma wal_checkpoint(passive)")
	}
	if st, err := os.Stat(e.path + "-wal"); err == nil && st.Size() > walBound {
		_ = e.w.simple("pragma wal_checkpoint(truncate)")
	}
}

func backupSQLite(ctx context.Context, dir, path string) error {
	from := filepath.Join(dir, sqliteFile)
	if size, err := checkHeader(from); err != nil {
		return err
	} else if size == 0 {
		return fmt.Errorf("there is no store in %s", dir)
	}
	db, err := sql.Open("sqlite", sqliteURI(from)+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "vacuum into ?", path); err != nil {
		return fmt.Errorf("copy the store: %w", err)
	}
	return os.Chmod(path, 0o600)
}

func (s *Store) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }

func appended(txs []*Tx) []LaneKey {
	if len(txs) == 1 {
		return txs[0].laneKeys()
	}
	var keys []LaneKey
	for _, tx := range txs {
		keys = append(keys, tx.laneKeys()...)
	}
	return keys
}

func (tx *Tx) laneKeys() []LaneKey {
	keys := make([]LaneKey, len(tx.commit.Appends))
	for i := range tx.commit.Appends {
		keys[i] = tx.commit.Appends[i].Lane
	}
	return keys
}

func (s *Store) appending(keys []LaneKey) {
	if len(keys) > 0 {
		for _, w := range s.watch {
			w.Appending(keys)
		}
	}
}

func (s *Store) aborted(keys []LaneKey) {
	if len(keys) > 0 {
		for _, w := range s.watch {
			w.Aborted(keys)
		}
	}
}

func (s *Store) committed(c *Commit) {
	for _, w := range s.watch {
		w.Committed(c)
	}
}
