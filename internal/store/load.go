package store

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Load puts a copy made by Backup into an empty PostgreSQL database, all of it or
// nothing: so a store outgrows its one machine. Ids, epochs and counters go on
// above everything handed out before, as after Restore. scratch is a folder with
// room for one more copy.
func Load(ctx context.Context, from, url, scratch string) error {
	if err := checkRestorable(ctx, from); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(scratch, "tract-restore-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := copyFile(from, filepath.Join(dir, sqliteFile)); err != nil {
		return err
	}
	old, err := Open(ctx, Options{Dir: dir}) // brings its schema up to date
	if err != nil {
		return err
	}
	if err := old.Close(); err != nil {
		return err
	}
	src, err := sql.Open("sqlite", sqliteURI(filepath.Join(dir, sqliteFile))+"?mode=ro")
	if err != nil {
		return err
	}
	defer src.Close()
	s, err := Open(ctx, Options{URL: url})
	if err != nil {
		return err
	}
	defer s.Close()
	e := s.engine.(*postgres)
	c, err := e.pool.Acquire(ctx)
	if err != nil {
		return ErrUnavailable.Because(err)
	}
	defer c.Release()
	return pgx.BeginFunc(ctx, c, func(to pgx.Tx) error { return e.load(ctx, src, to) })
}

// ofProcess are tables of those that use the database, not of what is stored.
var ofProcess = []string{"goose_db_version", "replicas"}

func (e *postgres) load(ctx context.Context, src *sql.DB, to pgx.Tx) error {
	if _, err := to.Exec(ctx, `set local statement_timeout = 0`); err != nil {
		return err
	}
	tables, err := tablesInOrder(ctx, to)
	if err != nil {
		return fmt.Errorf("list the tables: %w", err)
	}
	all := append(slices.Clone(tables), "replicas")
	// Nobody may begin to use it meanwhile.
	if _, err := to.Exec(ctx, `lock table `+strings.Join(all, ", ")+` in access exclusive mode`); err != nil {
		return fmt.Errorf("lock the database: %w", err)
	}
	for _, table := range all {
		var used bool
		if err := to.QueryRow(ctx, `select exists (select 1 from `+table+`)`).Scan(&used); err != nil {
			return err
		}
		if used && table != "meta" { // which the migrations write to
			return fmt.Errorf("the database has been used (there is something in its table %s): name an empty one, and stop servers that run on it", table)
		}
	}
	if _, err := to.Exec(ctx, `delete from meta`); err != nil {
		return err
	}
	for _, table := range tables {
		if err := copyTable(ctx, src, to, table); err != nil {
			return fmt.Errorf("copy %s: %w", table, err)
		}
	}
	after := append(jumps(e), `update lanes set owner = 0, fence = fence + 1 where owner <> 0`, // the processes that had them are none of this database
		`select setval('message_ids', greatest((select last_value from message_ids), (select coalesce(max(id), 0) + 64 from entries)))`)
	for _, q := range append(after, `analyze`) {
		if _, err := to.Exec(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", firstWords(q), err)
		}
	}
	return nil
}

// tablesInOrder lists what is stored, a table before those that refer to it.
func tablesInOrder(ctx context.Context, to pgx.Tx) (tables []string, err error) {
	rows, err := to.Query(ctx, `select c.relname from pg_class c where c.relkind = 'r' and c.relnamespace = current_schema()::regnamespace and c.relname <> all($1) order by c.relname`, ofProcess)
	if err != nil {
		return nil, err
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{}
	var table, needed string
	rows, err = to.Query(ctx, `select c.conrelid::regclass::text, c.confrelid::regclass::text from pg_constraint c where c.contype = 'f' and c.connamespace = current_schema()::regnamespace`)
	if err != nil {
		return nil, err
	}
	if _, err := pgx.ForEachRow(rows, []any{&table, &needed}, func() error { needs[table] = append(needs[table], needed); return nil }); err != nil {
		return nil, err
	}
	for len(left) > 0 {
		n := len(tables)
		left = slices.DeleteFunc(left, func(t string) bool {
			if slices.ContainsFunc(needs[t], func(other string) bool { return !slices.Contains(tables, other) }) {
				return false
			}
			tables = append(tables, t)
			return true
		})
		if len(tables) == n {
			return nil, fmt.Errorf("the tables %s refer to each other", strings.Join(left, ", "))
		}
	}
	return tables, nil
}

// copyTable copies a table that both engines have with the same columns, and
// lets its numbers go on behind the last.
func copyTable(ctx context.Context, src *sql.DB, to pgx.Tx, table string) error {
	var columns, counted []string
	var column string
	var identity bool
	rows, err := to.Query(ctx, `select attname, attidentity <> '' from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attnum`, table)
	if err != nil {
		return err
	}
	if _, err := pgx.ForEachRow(rows, []any{&column, &identity}, func() error {
		columns = append(columns, column)
		if identity {
			counted = append(counted, column)
		}
		return nil
	}); err != nil {
		return err
	}
	from, err := src.QueryContext(ctx, `select `+strings.Join(columns, ", ")+` from `+table)
	if err != nil {
		return err
	}
	defer from.Close()
	row, dest := make([]any, len(columns)), make([]any, len(columns))
	for i := range row {
		dest[i] = &row[i]
	}
	if _, err := to.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromFunc(func() ([]any, error) {
		if !from.Next() {
			return nil, from.Err()
		}
		err := from.Scan(dest...)
		for i, v := range row {
			if b, ok := v.([]byte); ok && b == nil { // how the driver gives an empty one
				row[i] = []byte{}
			}
		}
		return row, err
	})); err != nil {
		return err
	}
	for _, column := range counted {
		if _, err := to.Exec(ctx, `select setval(pg_get_serial_sequence($1, $2), (select coalesce(max(`+column+`), 0) + 1 from `+table+`), false)`, table, column); err != nil {
			return err
		}
	}
	return nil
}
