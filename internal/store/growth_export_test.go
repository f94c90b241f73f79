package store

import (
	"context"
	"slices"
	"strconv"
	"strings"
)

// BatchesBeforeLow says how many batches of traffic that never pauses SQLite's
// committer takes before each of n low jobs that all wait from the beginning.
func BatchesBeforeLow(n, most int) (out []int) {
	lowJob := &job{}
	e := &sqlite{jobs: make(chan *job, 1), low: make(chan *job, n)}
	for range n {
		e.low <- lowJob
	}
	batches := 0
	for range most {
		select {
		case e.jobs <- &job{}:
		default:
		}
		if e.nextBatch()[0] == lowJob {
			out = append(out, batches)
			batches = 0
			continue
		}
		batches++
	}
	return out
}

// PlanOf is how the engine would run a statement, without knowing its arguments:
// on PostgreSQL the generic plan, whole scans only where nothing else is possible.
func PlanOf(s *Store, sql string) (lines []string, err error) {
	err = s.View(context.Background(), func(tx *Tx) error {
		lines = nil
		var args []any
		for n := 1; strings.Contains(sql, "$"+strconv.Itoa(n)); n++ {
			args = append(args, int64(0))
		}
		if p, ok := tx.c.(*pgTx); ok {
			held := p.held
			p.held = nil
			execute := "execute looked_at"
			if n := len(args); n > 0 {
				execute += "(null" + strings.Repeat(", null", n-1) + ")"
			}
			for _, q := range append(held, query{sql: "set local enable_seqscan = off"}, query{sql: "set local plan_cache_mode = force_generic_plan"},
				query{sql: "prepare looked_at as " + sql}, query{sql: "explain (costs off) " + execute}, query{sql: "deallocate looked_at"}) {
				results, err := p.c.PgConn().Exec(p.ctx, q.sql).ReadAll()
				if err != nil {
					return err
				}
				for _, row := range results[0].Rows {
					lines = append(lines, string(row[0]))
				}
			}
			return nil
		}
		return tx.each(func(r row) error {
			var a, b, c int
			var line string
			err := r.Scan(&a, &b, &c, &line)
			lines = append(lines, line)
			return err
		}, "explain query plan "+sql, args...)
	})
	return slices.Clone(lines), err
}

// Fill makes a PostgreSQL store large enough that plans are those of a large one:
// thousands of rows, which the planner takes for a hundred times as many.
func Fill(s *Store) error {
	return s.Update(context.Background(), func(tx *Tx) error {
		for _, q := range []string{
			`insert into users (client, auth_id, user_name, details, created_at, updated_at) select 1, 'fill' || i, 'fill' || i, '{}', i, i from generate_series(1, 20000) i`,
			`insert into threads (client, business, user_id, pxut, platform, owner, epoch, conversation, state, team, agent, last_entry, last_entry_at, rest, created_at)
				select 1, 343, id, user_name, 13, case when id % 50 = 0 then 'iva' else '' end, 1, 1, case when id % 50 = 0 then 'bot' else 'complete' end, '', '', id, id, '{}', id from users where user_name like 'fill%'`,
			`create temporary table filled on commit drop as select id, row_number() over (order by id) n from threads where pxut like 'fill%'`,
			`insert into entries (id, thread, conversation, event, sender, by_receiver, message_type, body, meta, at, hash) select n * 4 + k, id, 1, '', 'ceu', '', 0, '', '{}', n * 4 + k, '' from filled, generate_series(0, 3) k`,
			`insert into lanes (thread, endpoint, client, last, done, owner, fence, attempt, first_at, next_at, open) select id, 1 + k, 1, 4, case when n % 100 = 0 then 3 else 4 end, 1, 1, 0, 0, 0, case when n % 100 = 0 then 1 else 0 end from filled, generate_series(0, 2) k`,
			`insert into outbox (thread, endpoint, seq, entry, tool, delivery_seq, hold_until, payload, created_at) select id, 1 + e, 1 + k, n * 4 + k, case when e = 0 then '' else 'desk' || e end, 1 + k, 0, '', n * 4 + k from filled, generate_series(0, 3) k, generate_series(0, 2) e`,
			`insert into attempts (thread, endpoint, seq, attempt, at, latency_us, status, error, excerpt) select id, 2, 1 + k, 1, n, 0, 500, '', '' from filled, generate_series(0, 3) k`,
			`insert into dead (thread, endpoint, seq, client, reason, at, replayed_at) select id, 2, 1, 1, 'exhausted', n, n % 2 from filled where n % 4 = 0`,
			`insert into ledger (thread, at, op, requester, from_receiver, to_receiver, granted, code, reason, metadata, epoch, first_answer_ms) select id, n, 'begin', '', '', 'iva', 1, '', '', 'null', 1, -1 from filled`,
			`insert into briefs (thread, conversation, at, body) select id, 1, n, '{}' from filled`,
			`insert into timers (thread, kind, due_at) select id, 'auto', 4000000000000000 + n from filled`,
			`insert into tool_threads (thread, tool, ect_user_id) select id, 'desk' || e, 'x' from filled, generate_series(1, 2) e`,
			`insert into files (id, client, state, thread, entry, name, media_type, size, digest, inline, created_at) select 'f' || n, 1, 'live', id, n * 4, 'f', '', 1, '', 0, n from filled`,
			`insert into idempotency (scope, request_hash, status, response, created_at) select convert_to('s' || n, 'UTF8'), '', 200, '', n from filled`,
			`insert into replays (digest, expires_at) select convert_to('d' || n, 'UTF8'), n from filled`,
			`insert into audit (client, at, actor, action, target, detail) select 1, n, '', '', '', '{}' from filled`,
			`analyze`,
			`update pg_class set reltuples = reltuples * 100 from pg_namespace n where n.oid = relnamespace and n.nspname = 'public' and reltuples > 0`,
		} {
			if _, err := tx.count(q); err != nil { // each alone: the later ones need the earlier ones' tables
				return err
			}
		}
		return nil
	})
}
