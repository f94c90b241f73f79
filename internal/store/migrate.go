package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"tract/internal/clock"
)

//go:embed migrations
var migrationFiles embed.FS

// Migrations gives the numbered files of one engine ("sqlite", "postgres").
func Migrations(engine string) fs.FS {
	sub, err := fs.Sub(migrationFiles, "migrations/"+engine)
	if err != nil {
		panic(err) // the folder is embedded
	}
	return sub
}

// migrate brings the schema up to date. One from the future is left as it is, and
// refused unless its migrations say that this program can work with it.
func migrate(ctx context.Context, db *sql.DB, engine string) error {
	dialect := goose.DialectSQLite3
	opts := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if engine == "postgres" {
		dialect = goose.DialectPostgres
		one, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return err
		}
		opts = append(opts, goose.WithSessionLocker(one))
	}
	p, err := goose.NewProvider(dialect, db, Migrations(engine), opts...)
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	have, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	sources := p.ListSources()
	newest := sources[len(sources)-1].Version
	if have > newest {
		from, err := usableFrom(ctx, db)
		if err == nil && from > newest {
			err = ErrNewer.With("the store has schema %d, which versions of tract before schema %d cannot use, and this one knows %d; run the newer version, or restore a backup", have, from, newest)
		}
		return err
	}
	if have == newest {
		return nil
	}
	if _, err := p.Up(ctx); err != nil {
		var partial *goose.PartialError
		if errors.As(err, &partial) {
			return fmt.Errorf("migrate the store (%s): %w", partial.Failed.Source.Path, partial.Err)
		}
		return fmt.Errorf("migrate the store: %w", err)
	}
	return nil
}

// usableFrom is the oldest schema whose programs can work with the present one.
// A migration that takes away what they use raises it.
func usableFrom(ctx context.Context, db *sql.DB) (from int64, err error) {
	if err := db.QueryRowContext(ctx, "select value from meta where key = 'schema_usable_from'").Scan(&from); err != nil {
		return 0, fmt.Errorf("read from which schema on the store can be used: %w", err)
	}
	return from, nil
}

// skew is how far the database's clock is ahead of this machine's.
type skew struct{ d atomic.Int64 }

func (s *skew) get() time.Duration { return time.Duration(s.d.Load()) }

func (s *skew) measure(ctx context.Context, pool *pgxpool.Pool) error {
	before := clock.System()
	var there time.Time
	if err := pool.QueryRow(ctx, "select clock_timestamp()").Scan(&there); err != nil {
		return fmt.Errorf("read the database's clock: %w", err)
	}
	after := clock.System()
	s.d.Store(int64(there.Sub(before.Add(after.Sub(before) / 2))))
	return nil
}
