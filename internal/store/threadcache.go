package store

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"tract"
)

// threadCache keeps locked threads, with their lanes, as the newest statement of
// the writer left them. Only the one process that may write to an SQLite store has
// it, and only its committer uses it: reading a thread would be half of a command's
// statements.
//
// It is right because nothing writes past it: a statement that may change what
// it keeps empties it, but for those whose callers tell the cache what changed
// (see touches). What is rolled back empties it, too.
type threadCache struct {
	have   map[int64]*Locked
	byUser map[int64][]int64 // threads by user
	most   int
}

// mostThreads bounds the memory to some megabytes.
const mostThreads = 8192

// touching matches statements that may change what a Locked holds.
var touching = regexp.MustCompile(`\b(insert into|update|delete from) (threads|users|clients|tool_threads|lanes)\b`)

// The statements whose callers keep the cache right themselves.
const (
	insertThread     = insertThreadInto + insertThreadFrom + insertThreadElse
	insertThreadInto = `insert into threads (client, business, user_id, pxut, platform, owner, epoch, conversation, state, team, agent, last_entry, last_entry_at, rest, created_at) `
	insertThreadFrom = `select u.client, cast($2 as bigint), u.id, cast($4 as text), cast($5 as bigint), '', 0, 0, '', '', '', 0, 0, '', cast($6 as bigint) from users u where u.client = $1 and u.id = $3 and u.erased_at = 0`
	insertThreadElse = ` on conflict (client, business, user_id) do nothing`
	// touchThread is for what is written with every message: SQLite writes each
	// index anew that has a column among those set, whether it changes or not.
	touchThread    = touchThreadSet + ` where id = $1`
	touchThreadSet = `update threads set epoch = $2, conversation = $3, team = $4, agent = $5, last_entry = $6, last_entry_at = $7, rest = $8, told = $9`
	updateThread   = touchThreadSet + `, owner = $10, state = $11, active_at = $12 where id = $1`
	upsertUser     = `insert into users (client, auth_id, user_name, details, created_at, updated_at) values ($1, $2, $3, $4, $5, $5)
		on conflict (client, auth_id) do update set details = excluded.details, updated_at = excluded.updated_at returning id, user_name, created_at`
	upsertECTUserID = ectUserIDInto + ectUserIDFrom + ectUserIDElse
	ectUserIDInto   = `insert into tool_threads (thread, tool, ect_user_id) `
	ectUserIDFrom   = `select t.id, cast($2 as text), cast($3 as text) from threads t where t.id = $1 and t.pxut not like '` + erasedPrefix + `%'`
	ectUserIDElse   = ` on conflict (thread, tool) do update set ect_user_id = excluded.ect_user_id`
	// extendLane is enough for a lane of this replica that is open. It sets no
	// column of an index, and returns nothing: for that SQLite makes a table.
	extendLane = `update lanes set last = $3 where thread = $1 and endpoint = $2 and owner = $4 and open = 1`
	// upsertLane claims the lane for this replica unless a living one is sending.
	upsertLane     = upsertLaneInto + `values ($1, $2, $3, $4, 0, $5, 1, 0, 0, 0, 1)` + upsertLaneElse + laneAfter
	upsertLaneInto = `insert into lanes (thread, endpoint, client, last, done, owner, fence, attempt, first_at, next_at, open) `
	upsertLaneElse = ` on conflict (thread, endpoint) do update set last = excluded.last, open = 1,
		owner = case when lanes.owner = excluded.owner or (lanes.last > lanes.done and lanes.owner in (select id from replicas where heartbeat_at > $6)) then lanes.owner else excluded.owner end,
		fence = lanes.fence + case when lanes.owner = excluded.owner or (lanes.last > lanes.done and lanes.owner in (select id from replicas where heartbeat_at > $6)) then 0 else 1 end
	returning `
	laneAfter = `done, owner, fence, attempt, first_at, next_at`
)

// touches says whether a statement empties the cache.
func touches(sql string) bool {
	switch sql {
	case insertThread, updateThread, touchThread, upsertUser, upsertECTUserID, upsertLane, extendLane, markDone, markRetry, settleTurn, closeLane:
		return false
	}
	return touching.MatchString(sql)
}

func newThreadCache() *threadCache {
	return &threadCache{map[int64]*Locked{}, map[int64][]int64{}, mostThreads}
}

// take gives a thread that the caller may change, and forgets it: it is remembered
// again when it is saved. nil when it is not there.
func (c *threadCache) take(id int64) *Locked {
	if c == nil || c.have[id] == nil {
		return nil
	}
	l := c.have[id]
	c.forget(l)
	return l
}

func (c *threadCache) put(l *Locked) {
	if c == nil {
		return
	}
	if c.have[l.ID] == nil {
		if len(c.have) >= c.most {
			c.evict()
		}
		c.byUser[l.User.ID] = append(c.byUser[l.User.ID], l.ID)
	}
	c.have[l.ID] = l.clone()
}

// evict forgets any one thread: the longest unused would be the next one where
// threads are written to in turn.
func (c *threadCache) evict() {
	for _, l := range c.have {
		c.forget(l)
		return
	}
}

func (c *threadCache) forget(l *Locked) {
	delete(c.have, l.ID)
	user := l.User.ID
	if c.byUser[user] = slices.DeleteFunc(c.byUser[user], func(id int64) bool { return id == l.ID }); len(c.byUser[user]) == 0 {
		delete(c.byUser, user)
	}
}

func (c *threadCache) drop(thread int64) { c.take(thread) }

// lane changes what is remembered of a lane; nil when nothing is.
func (c *threadCache) lane(k LaneKey, to func(*Lane)) *Lane {
	if c == nil || c.have[k.Thread] == nil {
		return nil
	}
	return change(c.have[k.Thread].Lanes, k.Endpoint, to)
}

func change(lanes Few[int64, Lane], endpoint int64, to func(*Lane)) *Lane {
	i, found := lanes.find(endpoint)
	if !found {
		return nil
	}
	to(&lanes[i].Value)
	return &lanes[i].Value
}

func (c *threadCache) dropUser(user int64) {
	if c == nil {
		return
	}
	for _, id := range c.byUser[user] {
		delete(c.have, id)
	}
	delete(c.byUser, user)
}

func (c *threadCache) clear() {
	if c != nil {
		clear(c.have)
		clear(c.byUser)
	}
}

// clone copies what commands change in place.
func (l *Locked) clone() *Locked {
	k := *l
	k.Lanes, k.Tools = slices.Clone(l.Lanes), slices.Clone(l.Tools)
	if p := l.State.Pending; p != nil {
		pending := *p
		k.State.Pending = &pending
	}
	if p := l.State.Countdown; p != nil {
		countdown := *p
		k.State.Countdown = &countdown
	}
	k.User.Details.Custom = maps.Clone(l.User.Details.Custom)
	return &k
}

// differs says what tests must not find: a remembered thread that is not the
// stored one.
func (l *Locked) differs(stored *Locked) error {
	plain := func(l *Locked) string {
		last := map[int64]int64{}
		for _, lane := range l.Lanes {
			last[lane.Key] = lane.Value.Last
		}
		t := l.Thread
		s := t.State
		t.State = tract.Thread{}
		return toJSON([]any{t, s, s.Owner, s.Epoch, s.Conversation, s.State, l.ConfigVersion, last, l.Tools, l.found.owner, l.found.state, l.found.active})
	}
	if a, b := plain(l), plain(stored); a != b {
		return fmt.Errorf("remembered %s, stored %s", a, b)
	}
	return nil
}

// lanesDiffer says the same of lanes that are remembered as a whole.
func (tx *Tx) lanesDiffer(l *Locked) error {
	for _, lane := range l.Lanes {
		endpoint, have := lane.Key, lane.Value
		if !have.whole {
			continue
		}
		stored, _, err := tx.Lane(LaneKey{l.ID, endpoint})
		if err != nil {
			return err
		}
		if stored.whole = true; have != stored {
			return fmt.Errorf("remembered lane %+v, stored %+v", have, stored)
		}
	}
	return nil
}
