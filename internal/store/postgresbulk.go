package store

import (
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// bulk does for many rows in one statement what another does for one: the
// database parses, binds and answers once.
type bulk struct {
	many string
	// key is how many of the first arguments name the row that is changed; 0 for
	// new rows. What is returned begins with the key.
	key int
	// same are arguments that are one value for all rows: the first one's.
	same []int
}

// bulks are the statements of a busy hour. They change different tables, or
// different rows, so that their order among each other does not matter.
var bulks = map[string]bulk{
	insertEntry: {many: `insert into entries (id, thread, conversation, event, sender, by_receiver, message_type, body, meta, at, hash)
		select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[], $10::bigint[], $11::bytea[])`},
	insertDelivery: {many: `insert into outbox (thread, endpoint, seq, entry, tool, delivery_seq, hold_until, payload, created_at)
		select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::bytea[], $9::bigint[])`},
	touchThread: {key: 1, many: `update threads t set epoch = v.epoch, conversation = v.conversation, team = v.team, agent = v.agent, last_entry = v.last_entry, last_entry_at = v.last_entry_at, rest = v.rest, told = v.told
		from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::text[]) v(id, epoch, conversation, team, agent, last_entry, last_entry_at, rest, told) where t.id = v.id`},
	// The instant at which replicas count as dead is the same to some microseconds.
	upsertLane: {key: 2, same: []int{4, 5}, many: upsertLaneInto + `select thread, endpoint, client, last, 0, cast($5 as bigint), 1, 0, 0, 0, 1 from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) v(thread, endpoint, client, last)` +
		upsertLaneElse + `thread, endpoint, ` + laneAfter},
	// Locked in the order in which commands lock lanes.
	markDone + returningLast: {key: 2, same: []int{3}, many: `update lanes l set done = v.seq, attempt = 0, first_at = 0, next_at = 0
		from (select l.thread, l.endpoint, m.seq from unnest($1::bigint[], $2::bigint[], $3::bigint[], $5::bigint[]) m(thread, endpoint, seq, fence)
			join lanes l on l.thread = m.thread and l.endpoint = m.endpoint and l.owner = $4 and l.fence = m.fence and l.done < m.seq order by l.thread, l.endpoint for update of l) v
		where l.thread = v.thread and l.endpoint = v.endpoint returning l.thread, l.endpoint, l.last`},
}

// together makes one statement of those that do the same to different rows. None
// of them passes one that is not among the bulks.
func together(held []query) []query {
	var out []query
	var groups []*group
	emit := func() {
		for _, g := range groups {
			out = append(out, g.query())
		}
		groups = groups[:0]
	}
	for _, q := range held {
		b, known := bulks[q.sql]
		if !known {
			emit()
			out = append(out, q)
			continue
		}
		i := slices.IndexFunc(groups, func(g *group) bool { return g.rows[0].sql == q.sql })
		if i >= 0 && b.key > 0 && groups[i].at[rowKey(q.args, b.key)] != nil { // twice the same row: one after the other
			emit()
			i = -1
		}
		if i < 0 {
			i = len(groups)
			groups = append(groups, &group{bulk: b})
		}
		groups[i].add(q)
	}
	emit()
	return out
}

// group is what one statement does.
type group struct {
	bulk
	rows []query
	at   map[[2]any]*query // by key
}

func rowKey(args []any, n int) (k [2]any) {
	copy(k[:], args[:n])
	return k
}

func (g *group) add(q query) {
	g.rows = append(g.rows, q)
	if g.key == 0 {
		return
	}
	if g.at == nil {
		g.at = map[[2]any]*query{}
	}
	g.at[rowKey(q.args, g.key)] = &q
}

func (g *group) query() query {
	if len(g.rows) == 1 {
		return g.rows[0]
	}
	q := query{sql: g.many, args: make([]any, len(g.rows[0].args))}
	for i, first := range g.rows[0].args {
		switch {
		case slices.Contains(g.same, i):
			q.args[i] = first
		default:
			q.args[i] = g.column(i)
		}
	}
	if g.rows[0].each != nil {
		q.each = g.each
	}
	return q
}

// column is one argument of all rows.
func (g *group) column(i int) any {
	switch first := g.rows[0].args[i].(type) {
	case int64:
		return column[int64](g.rows, i)
	case string:
		return column[string](g.rows, i)
	case []byte:
		return column[[]byte](g.rows, i)
	default:
		panic(fmt.Sprintf("store: argument %d of %q is a %T", i+1, firstWords(g.many), first))
	}
}

func column[T any](rows []query, i int) []T {
	out := make([]T, len(rows))
	for n := range rows {
		out[n] = rows[n].args[i].(T)
	}
	return out
}

// each gives a row to the statement that it answers.
func (g *group) each(r row) error {
	whole, ok := r.(pgx.Rows)
	if !ok {
		return fmt.Errorf("a row of %T", r)
	}
	var k [2]int64
	dest := make([]any, len(whole.FieldDescriptions()))
	var key [2]any
	for i := range g.key {
		dest[i] = &k[i]
	}
	if err := r.Scan(dest...); err != nil {
		return err
	}
	for i := range g.key {
		key[i] = k[i]
	}
	q := g.at[key]
	if q == nil {
		return fmt.Errorf("a row for %v, which was not among those changed", key)
	}
	return q.each(behindKey{r, g.key})
}

// behindKey is a row without its first columns.
type behindKey struct {
	row
	key int
}

func (r behindKey) Scan(dest ...any) error { return r.row.Scan(append(make([]any, r.key), dest...)...) }
