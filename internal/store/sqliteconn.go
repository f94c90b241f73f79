package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// liteConn is one connection with its prepared statements. It is used by one
// goroutine at a time. Callers' contexts never reach it: an interrupt would roll
// back the whole batch.
type liteConn struct {
	conn  *sql.Conn
	stmts map[string]prepared
}

type prepared struct {
	*sql.Stmt
	touches bool // it empties the cache of threads
}

// sqliteURI names a file to the driver, which would take ?, # and % for more
// than letters, and open another file.
func sqliteURI(path string) string {
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}

func newLiteConn(ctx context.Context, db *sql.DB, readOnly bool) (*liteConn, error) {
	c, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the store: %w", err)
	}
	if readOnly {
		// The driver lets a read-only transaction write unless this is on.
		for _, set := range []string{"pragma query_only = on", "pragma cache_size = -4096"} {
			if _, err := c.ExecContext(ctx, set); err != nil {
				return nil, err
			}
		}
	}
	return &liteConn{conn: c, stmts: map[string]prepared{}}, nil
}

func (c *liteConn) run(fn func(*sql.Conn) error) { _ = fn(c.conn) }

func (c *liteConn) simple(sql string) error {
	_, err := c.conn.ExecContext(context.Background(), sql)
	return err
}

func (c *liteConn) stmt(text string) (prepared, error) {
	if s, ok := c.stmts[text]; ok {
		return s, nil
	}
	s, err := c.conn.PrepareContext(context.Background(), numbered(text))
	if err != nil {
		return prepared{}, err
	}
	p := prepared{s, touches(text)}
	c.stmts[text] = p
	return p, nil
}

// numbered writes $1 as ?1, which SQLite binds by number.
func numbered(text string) string {
	b := []byte(text)
	quoted := false
	for i := range b {
		switch {
		case b[i] == '\'':
			quoted = !quoted
		case b[i] == '$' && !quoted:
			b[i] = '?'
		}
	}
	return string(b)
}

// liteTx is the open transaction of a connection.
type liteTx struct {
	c       *liteConn
	e       *sqlite
	threads *threadCache // of the writer; nil in a view
}

// stmt gives the statement, and forgets the threads that it may change.
func (t *liteTx) stmt(text string) (*sql.Stmt, error) {
	p, err := t.c.stmt(text)
	if p.touches {
		t.threads.clear()
	}
	return p.Stmt, err
}

func (t *liteTx) exec(text string, args []any) error {
	_, err := t.count(text, args)
	return err
}

func (t *liteTx) count(text string, args []any) (int64, error) {
	s, err := t.stmt(text)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (t *liteTx) later(text string, args []any, each func(row) error) error {
	return t.query(query{text, args, each})
}

func (t *liteTx) query(qs ...query) error {
	for _, q := range qs {
		if err := t.read(q); err != nil {
			return err
		}
	}
	return nil
}

func (t *liteTx) read(q query) error {
	s, err := t.stmt(q.sql)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(context.Background(), q.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := q.each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (t *liteTx) nextIDs(*Tx) (idBlock, error) {
	b := idBlock{t.e.nextID, t.e.nextID + 8}
	t.e.nextID = b.end
	return b, nil
}
