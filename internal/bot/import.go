package bot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/google/uuid"

	"tract"
	"tract/internal/store"
)

// Importer loads FAQ files as background tasks: a file is checked row by row,
// its steps are staged in small transactions where nobody sees them, and one
// small transaction makes them the bot's. What a process that died left
// unfinished another one, or the next start, goes on with.
//
// It is here and not in a package of its own because reading and writing an FAQ
// file and the manifest's way to load one are one thing with it.
type Importer struct {
	Store *store.Store
	Dir   string // where uploads wait until they are complete; "" = the system's
	Log   *slog.Logger

	wake chan struct{}
}

// NewImporter makes an Importer. Run does its work.
func NewImporter(s *store.Store, dir string, log *slog.Logger) *Importer {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Importer{Store: s, Dir: dir, Log: log, wake: make(chan struct{}, 1)}
}

// Figures of the import.
const (
	partBytes = 256 << 10 // of a file, in one row
	chunkRows = 100       // staged in one transaction: what others wait for on SQLite
	fewRows   = 500       // of a small file, that LoadFAQ stores in one transaction
	// One transaction removes so many parts of a file.
	chunkParts = 4

	lease      = time.Minute // of a task whose process does not answer
	checkEvery = 10_000      // rows after which a check renews the lease
	maxTries   = 20          // of a task that fails for a reason of ours

	pollEvery   = 2 * time.Second
	tidyEvery   = 10 * time.Minute
	uploadsFor  = time.Hour // an upload takes at most
	tasksFor    = 30 * 24 * time.Hour
	deleteTasks = 500 // at a time
)

// importFailed is the end of a task that fails for a reason of ours.
const importFailed = "the file could not be imported for a reason that lies with us; upload it again"

// Spool is a file as it was uploaded, complete. It is gone when it is closed,
// and when the process ends.
type Spool struct {
	file *os.File
	hash string
}

// errDisk is a file that cannot be kept.
var errDisk = &tract.Error{Kind: tract.KindUnavailable, Code: "spool_failed", Msg: "the file cannot be kept now; try again"}

// Spool takes a file in as it comes. An error of r is returned as it is.
func (im *Importer) Spool(r io.Reader) (*Spool, error) {
	f, err := im.temporary()
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	in := &remembering{r: r}
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(in, MaxCSVBytes+1))
	switch {
	case in.err != nil:
		err = in.err
	case err != nil:
		err = errDisk.Because(err)
	case n > MaxCSVBytes:
		err = ErrCSVTooLarge
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Spool{f, hex.EncodeToString(sum.Sum(nil))}, nil
}

// temporary makes a file without a name: it cannot be left behind, however the
// process ends.
func (im *Importer) temporary() (*os.File, error) {
	if im.Dir != "" {
		if err := os.MkdirAll(im.Dir, 0o700); err != nil {
			return nil, errDisk.Because(err)
		}
	}
	f, err := os.CreateTemp(im.Dir, "faq-")
	if err != nil {
		return nil, errDisk.Because(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, errDisk.Because(err)
	}
	return f, nil
}

// remembering tells an error of reading from one of writing.
type remembering struct {
	r   io.Reader
	err error
}

// Read reads on.
func (m *remembering) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		m.err = err
	}
	return n, err
}

// Hash is the sha256 of the file, in hex.
func (s *Spool) Hash() string { return s.hash }

// CheckHead says what is wrong with the beginning of the file.
func (s *Spool) CheckHead() error {
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return errDisk.Because(err)
	}
	return CheckHead(s.file)
}

// Close drops the file.
func (s *Spool) Close() error { return s.file.Close() }

// Upload is a file that is in the store, for a task that does not run yet.
type Upload struct {
	ID  string // of the task
	seq int64
}

// Keep copies a file into the store, piece by piece, where every process can
// reach it. Queue lets the task run, Discard drops it.
func (im *Importer) Keep(ctx context.Context, client int64, domain string, dryRun bool, s *Spool) (*Upload, error) {
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, errDisk.Because(err)
	}
	return im.keep(ctx, store.Task{Client: client, Domain: domain, DryRun: dryRun, Hash: s.hash, By: "client"}, s.file)
}

func (im *Importer) keep(ctx context.Context, t store.Task, file io.Reader) (*Upload, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("make a task id: %w", err)
	}
	t.ID = id.String()
	up := &Upload{ID: t.ID}
	if err := im.Store.UpdateLow(ctx, func(tx *store.Tx) (err error) { up.seq, err = tx.InsertTask(t); return err }); err != nil {
		return nil, err
	}
	buf := make([]byte, partBytes)
	for part := 0; ; part++ {
		n, err := io.ReadFull(file, buf)
		if n > 0 {
			if err := im.Store.UpdateLow(ctx, func(tx *store.Tx) error { return tx.PutPart(up.seq, part, buf[:n]) }); err != nil {
				im.Discard(ctx, up)
				return nil, err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return up, nil
		case err != nil:
			im.Discard(ctx, up)
			return nil, errDisk.Because(err)
		}
	}
}

// Queue lets the task of an upload run once the transaction is committed; call
// Wake then.
func (im *Importer) Queue(tx *store.Tx, up *Upload) error { return tx.QueueTask(up.seq) }

// Wake makes Run look for tasks at once.
func (im *Importer) Wake() { token(im.wake) }

// The three methods of store.Watcher: a task may be another process's.

// Appending does nothing.
func (im *Importer) Appending([]store.LaneKey) {}

// Aborted does nothing.
func (im *Importer) Aborted([]store.LaneKey) {}

// Committed looks for tasks when one was queued.
func (im *Importer) Committed(c *store.Commit) {
	if c.Tasks || c.Missed {
		im.Wake()
	}
}

// Discard drops an upload that was not queued. What it cannot drop goes later.
func (im *Importer) Discard(ctx context.Context, up *Upload) {
	ctx = context.WithoutCancel(ctx)
	err := im.dropFile(ctx, up.seq)
	if err == nil {
		err = im.Store.UpdateLow(ctx, func(tx *store.Tx) error { return tx.DeleteTask(up.seq) })
	}
	if err != nil {
		im.Log.Warn("upload not dropped", "error", err)
	}
}

func (im *Importer) dropFile(ctx context.Context, task int64) error {
	for from, gone := 0, int64(1); gone > 0; from += chunkParts {
		if err := im.Store.UpdateLow(ctx, func(tx *store.Tx) (err error) { gone, err = tx.DeleteParts(task, from, from+chunkParts); return err }); err != nil {
			return err
		}
	}
	return nil
}

// Run works on tasks until ctx ends.
func (im *Importer) Run(ctx context.Context) error {
	if im.Store.Engine() == "sqlite" { // nobody else can hold a task
		if err := im.Store.Update(ctx, func(tx *store.Tx) error { return tx.ReleaseTasks() }); err != nil && ctx.Err() == nil {
			im.Log.Error("imports not released", "error", err)
		}
	}
	poll, tidy := time.NewTicker(pollEvery), time.NewTicker(tidyEvery)
	defer poll.Stop()
	defer tidy.Stop()
	im.report(ctx, im.Tidy(ctx))
	for {
		im.report(ctx, im.Work(ctx))
		select {
		case <-ctx.Done():
			return nil
		case <-tidy.C:
			im.report(ctx, im.Tidy(ctx))
		case <-poll.C:
		case <-im.wake:
		}
	}
}

func (im *Importer) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		im.Log.Error("import failed", "error", err)
	}
}

// Work runs every task that can be taken now, one after the other.
func (im *Importer) Work(ctx context.Context) error {
	for ctx.Err() == nil {
		t, found, err := im.take(ctx)
		if err != nil || !found {
			return err
		}
		if err := im.finish(ctx, &t); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (im *Importer) take(ctx context.Context) (t store.Task, taken bool, err error) {
	found := false
	if err := im.Store.View(ctx, func(tx *store.Tx) (err error) { t, found, err = tx.RunnableTask(); return err }); err != nil || !found {
		return t, false, err
	}
	next := t
	err = im.Store.Update(ctx, func(tx *store.Tx) (err error) { t, taken, err = tx.ClaimTask(next, lease); return err })
	return t, taken, err
}

// Tidy drops what tasks left behind that were cut off at their very end, uploads
// that never ended, and old tasks.
func (im *Importer) Tidy(ctx context.Context) error {
	var over []store.Task
	err := im.Store.View(ctx, func(tx *store.Tx) (err error) {
		over, err = tx.ListTaskLeftovers(tx.Now.Add(-uploadsFor), deleteTasks)
		return err
	})
	for i := range over {
		if err != nil {
			return err
		}
		if err = im.clear(ctx, &over[i]); err == nil && over[i].State == store.TaskUploading {
			err = im.Store.UpdateLow(ctx, func(tx *store.Tx) error { return tx.DeleteTask(over[i].Seq) })
		}
	}
	if err != nil {
		return err
	}
	return im.Store.UpdateLow(ctx, func(tx *store.Tx) error { return tx.DeleteTasksBefore(tx.Now.Add(-tasksFor), deleteTasks) })
}

// LoadFAQ makes the steps of a bot those of an FAQ file, all or none, and returns
// when that is done. The file that is loaded already changes nothing.
func LoadFAQ(ctx context.Context, s *store.Store, client int64, domain string, csv []byte) error {
	steps, _, err := ParseCSV(csv)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(csv)
	hash := hex.EncodeToString(sum[:])
	if len(steps) > fewRows {
		return NewImporter(s, "", nil).load(ctx, store.Task{Client: client, Domain: domain, Hash: hash, By: "manifest"}, csv)
	}
	return s.UpdateLow(ctx, func(tx *store.Tx) error {
		_, loaded, err := tx.FAQVersion(client, domain)
		if err != nil || loaded == hash {
			return err
		}
		return tx.PutSteps(client, domain, hash, steps)
	})
}

// load runs the task of a file at once, beside those that wait. Should the
// process die, Run goes on with it elsewhere.
func (im *Importer) load(ctx context.Context, t store.Task, csv []byte) error {
	loaded := ""
	if err := im.Store.View(ctx, func(tx *store.Tx) (err error) { _, loaded, err = tx.FAQVersion(t.Client, t.Domain); return err }); err != nil || loaded == t.Hash {
		return err
	}
	up, err := im.keep(ctx, t, bytes.NewReader(csv))
	if err != nil {
		return err
	}
	if err := im.Store.Update(ctx, func(tx *store.Tx) (err error) { t, err = tx.StartTask(up.seq, lease); return err }); err != nil {
		im.Discard(ctx, up)
		return err
	}
	if err := im.finish(ctx, &t); err != nil {
		return err
	}
	if t.State == store.TaskFailed {
		return tract.Invalid("csv_invalid", "%s", t.Error)
	}
	return nil
}
