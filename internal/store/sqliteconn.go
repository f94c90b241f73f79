package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"

	moderncsqlite "modernc.org/sqlite"
)

// liteConn is one connection with its prepared statements, used by one goroutine
// at a time. It speaks to the driver without database/sql between them, which
// costs more than some of the statements. Callers' contexts never reach it: an
// interrupt would roll back the whole batch.
type liteConn struct {
	conn  driver.Conn
	stmts map[string]*prepared
}

// prepared is a statement as the driver gives it.
type prepared struct {
	driver.StmtExecContext
	driver.StmtQueryContext
	args    []driver.NamedValue // reused
	touches bool                // it empties the cache of threads
}

// sqliteURI names a file to the driver, which would take ?, # and % for more
// than letters, and open another file.
func sqliteURI(path string) string {
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}

// openLite opens a connection; settings are pragmas.
func openLite(uri string, settings ...string) (*liteConn, error) {
	conn, err := (&moderncsqlite.Driver{}).Open(uri)
	if err != nil {
		return nil, fmt.Errorf("connect to the store: %w", err)
	}
	c := &liteConn{conn, map[string]*prepared{}}
	for _, set := range settings {
		if err := c.simple("pragma " + set); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return c, nil
}

func (c *liteConn) simple(sql string) error {
	s, err := c.stmt(sql)
	if err == nil {
		_, err = s.ExecContext(context.Background(), nil)
	}
	return err
}

func (c *liteConn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.StmtExecContext.(driver.Stmt).Close())
	}
	return errors.Join(append(errs, c.conn.Close())...)
}

func (c *liteConn) stmt(text string) (*prepared, error) {
	if s := c.stmts[text]; s != nil {
		return s, nil
	}
	s, err := c.conn.(driver.ConnPrepareContext).PrepareContext(context.Background(), numbered(text))
	if err != nil {
		return nil, err
	}
	p := &prepared{StmtExecContext: s.(driver.StmtExecContext), StmtQueryContext: s.(driver.StmtQueryContext), touches: touches(text)}
	c.stmts[text] = p
	return p, nil
}

// bind turns arguments into what the driver takes.
func (p *prepared) bind(args []any) ([]driver.NamedValue, error) {
	p.args = p.args[:0]
	for i, a := range args {
		switch a.(type) {
		case int64, string, []byte, nil, float64:
		default:
			v, err := driver.DefaultParameterConverter.ConvertValue(a)
			if err != nil {
				return nil, fmt.Errorf("argument %d: %w", i+1, err)
			}
			a = v
		}
		p.args = append(p.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return p.args, nil
}

// numbered writes $1 as ?1, which SQLite binds by number. A bare parameter as the
// limit would be looked at by the planner, and the statement be planned anew
// whenever it is bound; an expression is not.
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
	return strings.ReplaceAll(string(b), "limit ?", "limit +?")
}

// liteTx is the open transaction of a connection.
type liteTx struct {
	c       *liteConn
	e       *sqlite
	threads *threadCache // of the writer; nil in a view
}

// stmt gives the statement, and forgets the threads that it may change.
func (t *liteTx) stmt(text string, args []any) (*prepared, []driver.NamedValue, error) {
	p, err := t.c.stmt(text)
	if err != nil {
		return nil, nil, err
	}
	if p.touches {
		t.threads.clear()
	}
	bound, err := p.bind(args)
	return p, bound, err
}

func (t *liteTx) exec(text string, args []any) error {
	_, err := t.count(text, args)
	return err
}

func (t *liteTx) count(text string, args []any) (int64, error) {
	s, bound, err := t.stmt(text, args)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(context.Background(), bound)
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

func (t *liteTx) read(q query) (err error) {
	s, bound, err := t.stmt(q.sql, q.args)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(context.Background(), bound)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	// Not kept with the statement: a row's reader may run it again.
	r := liteRow(make([]driver.Value, len(rows.Columns())))
	for {
		switch err := rows.Next(r); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if err := q.each(r); err != nil {
			return err
		}
	}
}

func (t *liteTx) nextIDs(*Tx) (idBlock, error) {
	b := idBlock{t.e.nextID, t.e.nextID + 8}
	t.e.nextID = b.end
	return b, nil
}
