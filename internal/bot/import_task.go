package bot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"tract"
	"tract/internal/store"
)

// finish brings a task that this process holds to its end. An error means that
// somebody has to try again: the task stays as it is.
func (im *Importer) finish(ctx context.Context, t *store.Task) error {
	err := im.run(ctx, t)
	switch {
	case err == nil:
	case errors.Is(err, store.ErrTaskLost):
		im.Log.Warn("import lost", "task", t.ID, "client", t.Client, "domain", t.Domain)
		return err
	case ctx.Err() != nil:
		// Somebody else need not wait for the lease to end.
		return errors.Join(ctx.Err(), im.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error { return tx.ReleaseTask(*t) }))
	case tract.KindOf(err) == tract.KindInvalid, tract.KindOf(err) == tract.KindTooLarge:
		err = im.fail(ctx, t, err.Error())
	case t.Fence >= maxTries:
		im.Log.Error("import given up", "task", t.ID, "client", t.Client, "domain", t.Domain, "error", err)
		err = im.fail(ctx, t, importFailed)
	}
	if err != nil {
		return err
	}
	im.Log.Info("import ended", "task", t.ID, "client", t.Client, "domain", t.Domain, "state", t.State, "rows", t.Total)
	return im.clear(ctx, t)
}

// run checks the whole file before the first row is staged, so that one that is
// refused costs no writes.
func (im *Importer) run(ctx context.Context, t *store.Task) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the import panicked: %v", p)
		}
	}()
	if t.Total == 0 {
		if err := im.check(ctx, t); err != nil {
			return err
		}
	}
	for {
		if err := im.stage(ctx, t); err != nil {
			return err
		}
		if t.DryRun {
			if err := im.unstage(ctx, t); err != nil {
				return err
			}
		}
		if done, err := im.conclude(ctx, t); done || err != nil {
			return err
		}
	}
}

func (im *Importer) check(ctx context.Context, t *store.Task) error {
	rows := 0
	named := namedTexts{}
	warnings, err := ReadCSV(im.file(ctx, t), func(line int, s tract.Step) error {
		named.note(line, s)
		if rows++; rows%checkEvery != 0 {
			return nil
		}
		return im.save(ctx, t, func(*store.Tx, *store.Task) error { return nil })
	})
	if err != nil {
		return err
	}
	return im.save(ctx, t, func(tx *store.Tx, t *store.Task) error {
		missing, err := named.missing(tx, t.Client)
		t.Total, t.Warnings = rows, append(slices.Clip(warnings), missing...)
		return err
	})
}

// save changes the task in a transaction of low priority, if it is still held.
func (im *Importer) save(ctx context.Context, t *store.Task, change func(tx *store.Tx, t *store.Task) error) error {
	var next store.Task
	err := im.Store.UpdateLow(ctx, func(tx *store.Tx) error {
		next = *t
		if err := change(tx, &next); err != nil {
			return err
		}
		return tx.SaveTask(&next, lease)
	})
	if err == nil {
		*t = next
	}
	return err
}

// stage stages the rows that are not yet, or all anew when the present steps are
// not those any more that it was begun on.
func (im *Importer) stage(ctx context.Context, t *store.Task) error {
	var version int64
	if err := im.Store.View(ctx, func(tx *store.Tx) (err error) { version, _, err = tx.FAQVersion(t.Client, t.Domain); return err }); err != nil {
		return err
	}
	if t.FAQ == 0 || version != t.BaseVersion {
		if err := im.unstage(ctx, t); err != nil {
			return err
		}
		if err := im.save(ctx, t, (*store.Tx).BeginSteps); err != nil {
			return err
		}
	}
	skip := t.Done
	var chunk []tract.Step
	put := func() error {
		err := im.save(ctx, t, func(tx *store.Tx, t *store.Task) error { return tx.StageSteps(t, chunk) })
		chunk = chunk[:0]
		return err
	}
	_, err := ReadCSV(im.file(ctx, t), func(_ int, s tract.Step) error {
		if skip > 0 {
			skip--
			return nil
		}
		if chunk = append(chunk, s); len(chunk) < chunkRows {
			return nil
		}
		return put()
	})
	if err == nil && len(chunk) > 0 {
		err = put()
	}
	return err
}

// unstage removes what was staged. The counts stay.
func (im *Importer) unstage(ctx context.Context, t *store.Task) error {
	if t.FAQ == 0 {
		return nil
	}
	for from := 0; from < t.Done; from += chunkRows {
		if err := im.save(ctx, t, func(tx *store.Tx, t *store.Task) error {
			return tx.DeleteStaged(t, from, from+chunkRows)
		}); err != nil {
			return err
		}
	}
	return nil
}

// errNoBot is a bot that was removed while its file was on the way.
var errNoBot = tract.Invalid("invalid_domain", "the bot does not exist any more")

// conclude makes the staged steps the bot's, or only says what that would do.
// done is false when the present steps were changed by somebody else meanwhile.
func (im *Importer) conclude(ctx context.Context, t *store.Task) (done bool, err error) {
	var next store.Task
	err = im.Store.Update(ctx, func(tx *store.Tx) error {
		next, done = *t, false
		cfg, err := tx.Config(t.Client)
		if err != nil {
			return err
		}
		if cfg.Bots[t.Domain] == nil {
			return errNoBot
		}
		current := false
		if next.Deactivated, current, err = tx.CountDeactivated(&next); err != nil || !current {
			return err
		}
		if !t.DryRun {
			if done, err = tx.SwitchSteps(&next); err != nil || !done {
				return err
			}
		}
		done = true
		next.State, next.FinishedAt = store.TaskDone, tx.Now
		return tx.SaveTask(&next, 0)
	})
	if err == nil && done {
		*t = next
	}
	return done, err
}

// fail ends a task without a change. What it staged goes first: once nobody
// holds the task these rows would pass for steps of an older set.
func (im *Importer) fail(ctx context.Context, t *store.Task, text string) error {
	if err := im.unstage(ctx, t); err != nil {
		return err
	}
	return im.save(ctx, t, func(tx *store.Tx, t *store.Task) error {
		t.State, t.Error, t.FinishedAt = store.TaskFailed, text, tx.Now
		return nil
	})
}

// clear removes what nobody needs of a task that is over; the file goes last,
// for it marks what is not cleared.
func (im *Importer) clear(ctx context.Context, t *store.Task) error {
	if t.State == store.TaskDone && !t.DryRun {
		for from := 0; from < t.Total; from += chunkRows {
			if err := im.Store.UpdateLow(ctx, func(tx *store.Tx) error {
				return tx.DeleteSuperseded(t, from, from+chunkRows)
			}); err != nil {
				return err
			}
		}
	}
	return im.dropFile(ctx, t.Seq)
}

// file reads a task's file from the store, a piece at a time.
func (im *Importer) file(ctx context.Context, t *store.Task) io.Reader {
	return &parts{ctx: ctx, s: im.Store, task: t.Seq}
}

type parts struct {
	ctx  context.Context
	s    *store.Store
	task int64
	next int
	rest []byte
}

// Read reads on.
func (p *parts) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		more := false
		if err := p.s.View(p.ctx, func(tx *store.Tx) (err error) { p.rest, more, err = tx.Part(p.task, p.next); return err }); err != nil {
			return 0, err
		}
		if !more {
			return 0, io.EOF
		}
		p.next++
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
