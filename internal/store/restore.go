package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"tract/internal/clock"
)

// Restore puts a copy made by Backup in the place of the store in dir. A store
// that is there is kept beside it, and only replaced with force.
func Restore(ctx context.Context, from, dir string, force bool) error {
	if err := checkRestorable(ctx, from); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	to := filepath.Join(dir, sqliteFile)
	lock, err := lockFile(to + ".lock")
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := os.Stat(to); err == nil {
		if !force {
			return fmt.Errorf("there is a store in %s already; --force replaces it and keeps it as %s.before-restore", dir, sqliteFile)
		}
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Rename(to+suffix, to+".before-restore"+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return copyFile(from, to)
}

// checkRestorable refuses what is no whole copy of a store.
func checkRestorable(ctx context.Context, path string) error {
	if size, err := checkHeader(path); err != nil {
		return err
	} else if size == 0 {
		return fmt.Errorf("%s is empty", path)
	}
	db, err := sql.Open("sqlite", sqliteURI(path)+"?mode=ro&immutable=1")
	if err != nil {
		return err
	}
	defer db.Close()
	return quickCheck(ctx, db, path)
}

// copyFile is there whole or not at all.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

// ClockSkew is how far the database's clock is ahead of this machine's; 0 on SQLite.
func (s *Store) ClockSkew(ctx context.Context) (time.Duration, error) {
	e, ok := s.engine.(*postgres)
	if !ok {
		return 0, nil
	}
	var there time.Time
	before := clock.System()
	if err := e.pool.QueryRow(ctx, "select clock_timestamp()").Scan(&there); err != nil {
		return 0, err
	}
	return there.Sub(before), nil
}
