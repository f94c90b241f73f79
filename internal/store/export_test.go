package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The queries of ListEntries, ListRecentEntries and ListRecentMessages.
const (
	ListEntries    = listEntries
	RecentEntries  = recentEntries
	RecentMessages = recentMessages
)

// Assign reads a stored value into a place.
func Assign(dest, v any) error { return assign(dest, v) }

// PretendNewer makes the store look as if a later version had written it.
func PretendNewer(tx *Tx) error {
	if tx.s.Engine() == "postgres" {
		return tx.exec(`insert into goose_db_version (version_id, is_applied) values (9999, true)`)
	}
	return tx.exec(`insert into goose_db_version (version_id, is_applied) values (9999, 1)`)
}

// CountRows counts the rows of a table; -1 when that fails.
func CountRows(tx *Tx, table string) int64 {
	n := int64(-1)
	_, _ = tx.one([]any{&n}, `select count(*) from `+table)
	return n
}

// Crowd makes a client of many threads, each with a user, an entry and two
// deliveries; of a thousand one is of another business, and few wait.
func Crowd(tx *Tx, n int) error {
	numbers := `with recursive n(i) as (select cast(1 as bigint) union all select i + 1 from n where i < ` + strconv.Itoa(n) + `) `
	override := ""
	if tx.s.Engine() == "postgres" {
		override = ` overriding system value`
	}
	for _, q := range []string{
		`insert into clients (key, id, version, body, updated_at)` + override + ` values (1, 'acme', 1, '{}', 0)`,
		numbers + `insert into users (id, client, auth_id, user_name, details, created_at, updated_at)` + override + ` select i, 1, 'a' || i, 'u' || i, '{}', 0, 0 from n`,
		numbers + `insert into threads (id, client, business, user_id, pxut, platform, owner, epoch, conversation, state, team, agent, last_entry, last_entry_at, rest, created_at)` + override + `
			select i, 1, case when i % 1000 = 0 then 344 else 343 end, i, 'p' || i, 13, case when i % 5000 = 7 then 'sac' else 'iva' end, 1, 1, case when i % 5000 = 7 then 'queued' when i % 3 = 0 then 'bot' else 'complete' end,
				case when i % 5000 = 7 then 'Support' else '' end, case when i % 5000 = 7 then 'Mia' else '' end, i, i, '', 0 from n`,
		numbers + `insert into entries (id, thread, conversation, event, sender, by_receiver, message_type, body, meta, at, hash) select i, i, 1, '', 'ceu', '', 0, '', '{}', i, '' from n`,
		numbers + `insert into outbox (thread, endpoint, seq, entry, tool, delivery_seq, hold_until, payload, created_at) select i, 1 + i % 2, 1, i, '', 0, 0, '', i from n`,
		numbers + `insert into lanes (thread, endpoint, client, last, done, owner, fence, attempt, first_at, next_at, open) select i, 1 + i % 2, 1, 1, case when i % 100 = 0 then 0 else 1 end, 1, 1, 0, 0, 0, case when i % 100 = 0 then 1 else 0 end from n`,
		numbers + `insert into dead (thread, endpoint, seq, client, reason, at, replayed_at) select i, 1 + i % 2, 1, 1, 'exhausted', i, 0 from n where i % 2 = 0`,
		numbers + `insert into attempts (thread, endpoint, seq, attempt, at, latency_us, status, error, excerpt) select i, 1 + i % 2, 1, 1, i, 0, 200, '', '' from n`,
		numbers + `insert into ledger (thread, at, op, requester, from_receiver, to_receiver, granted, code, reason, metadata, epoch, first_answer_ms) select i, i, 'begin', '', '', 'iva', 1, '', '', 'null', 1, -1 from n`,
	} {
		if tx.s.Engine() == "sqlite" {
			q = strings.ReplaceAll(q, ", ''  from n", ", x'' from n")
			q = strings.Replace(q, "'{}', i, '' from n", "'{}', i, x'' from n", 1)
			q = strings.Replace(q, "0, 0, '', i from n", "0, 0, x'', i from n", 1)
		}
		if err := tx.exec(q); err != nil {
			return err
		}
	}
	return nil
}

// Analyze lets the engine know what its tables hold, as it does by itself after
// a while; PostgreSQL takes them for 500 times as large.
func Analyze(tx *Tx) error {
	if err := tx.exec(`analyze`); err != nil || tx.s.Engine() == "sqlite" {
		return err
	}
	return tx.exec(`update pg_class set reltuples = reltuples * 500 from pg_namespace n where n.oid = relnamespace and n.nspname = 'public' and reltuples > 0`)
}

// Explain gives the plans of the reads that fn makes.
func Explain(tx *Tx, fn func(*Tx) error) (plans []string, err error) {
	spy := &spyConn{conn: tx.c}
	tx.c = spy
	err = fn(tx)
	tx.c = spy.conn
	if err != nil {
		return nil, err
	}
	word := "explain "
	if tx.s.Engine() == "sqlite" {
		word = "explain query plan "
	}
	for _, q := range spy.seen {
		plan := ""
		err := tx.each(func(r row) error {
			var line string
			if tx.s.Engine() == "postgres" {
				if err := r.Scan(&line); err != nil {
					return err
				}
			} else {
				var a, b, c int
				if err := r.Scan(&a, &b, &c, &line); err != nil {
					return err
				}
			}
			plan += line + "\n"
			return nil
		}, word+q.sql, q.args...)
		if err != nil {
			return nil, err
		}
		plans = append(plans, plan)
	}
	return plans, nil
}

// spyConn notes what is read.
type spyConn struct {
	conn
	seen []query
}

func (s *spyConn) query(qs ...query) error {
	s.seen = append(s.seen, qs...)
	return s.conn.query(qs...)
}

// Tables lists what a PostgreSQL store consists of.
func Tables(ctx context.Context, s *Store) (out []string) {
	must(s.View(ctx, func(tx *Tx) error {
		return tx.each(func(r row) error {
			var name string
			err := r.Scan(&name)
			out = append(out, name)
			return err
		}, `select table_name::text from information_schema.tables where table_schema = current_schema() and table_name not like 'goose%' order by 1`)
	}))
	return out
}

// Rows gives a table as sorted lines, the first of which names the columns.
func Rows(ctx context.Context, s *Store, table string) (out []string) {
	must(s.View(ctx, func(tx *Tx) error {
		names := `select group_concat(name, ' ') from (select name from pragma_table_info('` + table + `') order by name)`
		if s.Engine() == "postgres" {
			names = `select string_agg(attname, ' ' order by attname collate "C") from pg_attribute where attrelid = '` + table + `'::regclass and attnum > 0 and not attisdropped`
		}
		var columns string
		if _, err := tx.one([]any{&columns}, names); err != nil {
			return err
		}
		whole := `select ` + strings.ReplaceAll(columns, " ", ", ") + ` from ` + table
		if err := tx.each(func(r row) error {
			values := make([]any, len(strings.Fields(columns)))
			dest := make([]any, len(values))
			for i := range values {
				dest[i] = &values[i]
			}
			err := r.Scan(dest...)
			out = append(out, fmt.Sprintf("%v", values))
			return err
		}, whole); err != nil {
			return err
		}
		slices.Sort(out)
		out = append([]string{columns}, out...)
		return nil
	}))
	return out
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Bulks are the statements that do for many rows what others do for one.
func Bulks() (out []string) {
	for _, b := range bulks {
		out = append(out, b.many)
	}
	return out
}

// RememberFew bounds how many threads an SQLite store remembers, and says how many
// it does.
func RememberFew(s *Store, most int) (have func() int) {
	c := s.engine.(*sqlite).threads
	c.most = most
	return func() (n int) {
		must(s.Update(context.Background(), func(*Tx) error { n = len(c.have); return nil }))
		return n
	}
}
