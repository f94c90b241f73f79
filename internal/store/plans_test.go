package store_test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tract/internal/apitest"
	"tract/internal/clock"
	"tract/internal/retention"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// growing are the tables that grow with the traffic, or with the users.
var growing = []string{"users", "threads", "entries", "ledger", "briefs", "timers", "tool_threads", "lanes", "outbox", "attempts", "dead", "files", "idempotency", "replays", "audit", "feedback"}

// mayScan are statements that read an index from end to end, and why they may.
var mayScan = map[string]string{
	"select at from (select * from (select due_at as at":  "the first rows of two indexes",
	"select id from entries order by id desc limit 1":     "the last row of the index",
	"select id from ledger order by id desc limit 1":      "the last row of the index",
	"select id from audit order by id desc limit 1":       "the last row of the index",
	"select count(*) from dead where replayed_at = 0":     "an index of these rows alone",
	"select coalesce(cast(sum(last - done) as bigint), ":  "an index of these rows alone",
	"select case when owner in ('iva', 'sac')":            "an index of these rows alone",
	"select id from files where state = $1 and state <>":  "an index of these rows alone",
	"select id, thread, conversation, event, sender, by_": "the newest rows, once at the start",
}

// No statement that runs with the traffic, each second, or in the background
// reads a table that grows from end to end. The statements are those that a
// whole hub really runs while everything that happens often happens.
func TestPlans(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		var mu sync.Mutex // guards seen
		seen := map[string]bool{}
		o.Trace = func(sql string) {
			mu.Lock()
			defer mu.Unlock()
			seen[sql] = true
		}
		w := apitest.New(t, o)
		busyDay(t, w)
		cleanUp(t, w)
		mu.Lock()
		var sqls []string
		for sql := range seen {
			sqls = append(sqls, sql)
		}
		mu.Unlock()
		slices.Sort(sqls)
		for _, must := range []string{"insert into entries", "insert into outbox", "insert into lanes", "update threads", "from threads t join users", "update lanes set done", "with recursive pairs", "from timers where due_at <=",
			"update jobs", "from entries where thread", "select seq, delivery_seq", "from attempts", "delete from outbox", "delete from entries", "delete from ledger", "delete from audit", "delete from idempotency", "from dead where client"} {
			if !slices.ContainsFunc(sqls, func(sql string) bool { return strings.Contains(sql, must) }) {
				t.Errorf("no statement with %q was run", must)
			}
		}
		if w.Store.Engine() == "postgres" {
			sqls = append(sqls, store.Bulks()...)
			if err := store.Fill(w.Store); err != nil {
				t.Fatal(err)
			}
		}
		for _, sql := range sqls {
			plan, err := store.PlanOf(w.Store, sql)
			if err != nil {
				if !strings.HasPrefix(sql, "select pg_") {
					t.Errorf("%s: %v", sql, err)
				}
				continue
			}
			if table := wholeScan(sql, plan); table != "" && !allowed(sql) {
				t.Errorf("%s\nreads all of %s:\n\t%s", sql, table, strings.Join(plan, "\n\t"))
			}
		}
		t.Logf("%d statements", len(sqls))
	})
}

func allowed(sql string) bool {
	for prefix := range mayScan {
		if strings.HasPrefix(sql, prefix) {
			return true
		}
	}
	return false
}

// busyDay is everything that happens often: messages, answers of the bot and of
// tools, control, failing deliveries and replays, transcripts, lists, scrapes.
func busyDay(t *testing.T, w *apitest.World) {
	w.Hooks("desk-one", "message/receive", "conversation_state/complete", "thread_control/passed", "user_events/create_user")
	w.Hooks("desk-two", "message/receive")
	u := w.ToDeskOne()
	w.Write("desk-one", u, "hello").Want(t, 200)
	w.One.Script(func(h *apitest.Hook) (int, string) {
		if h.Said() == "poison" {
			return 500, ""
		}
		return 0, ""
	})
	w.Say(&u, "poison")
	w.One.Wait(t, "the first attempt", apitest.Saying(u, "poison"))
	v := w.User()
	w.Say(&v, apitest.Answerable)
	w.Answered(v)
	w.Settle()
	w.One.Script(nil)
	w.Granted("desk-two", "take", u, "")
	w.Granted("desk-two", "pass", u, "desk-one")
	w.Event("desk-one", "conversation_state/complete", u, "solved").Want(t, 200)
	w.Settle()
	one := func(method, path string, body any) apitest.Answer { return w.Tool("desk-one", method, path, body) }
	one("GET", "/tract/feed/?user_id="+u.ID, nil).Want(t, 200)
	dead := one("GET", "/tract/deliveries/?state=dead", nil).Want(t, 200).Text("deliveries.0.id")
	one("POST", "/tract/deliveries/replay/", map[string]any{"delivery_ids": []any{dead}}).Want(t, 200)
	one("GET", "/tract/hooks/list/", nil).Want(t, 200)
	w.Platform("GET", "/integration/external/v2.0/get_chat_history/?business_id=343&conversation_no=1&user_name="+u.Name, nil).Want(t, 200)
	w.Call("GET", "/metrics", nil)
	w.Settle()
}

// cleanUp removes what is old: everything.
func cleanUp(t *testing.T, w *apitest.World) {
	view(t, w.Store, func(tx *store.Tx) error {
		_, err := tx.ListOwnLanes(1, 0, 10)
		return err
	})
	s := retention.New(retention.Config{Store: w.Store, Name: "apitest", Now: clock.System,
		Keep: retention.Settings{Deliveries: time.Nanosecond, Dead: time.Nanosecond, Log: time.Nanosecond, Audit: time.Nanosecond}})
	for worked := true; worked; {
		var err error
		if worked, err = s.Step(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

var (
	aliased  = regexp.MustCompile(`\b(?:from|join|update|into)\s+([a-z_]+)(?:\s+as)?(?:\s+([a-z]+))?`)
	liteScan = regexp.MustCompile(`\bSCAN (\S+)`)
	pgScan   = regexp.MustCompile(`\b(Seq Scan|Index Scan|Index Only Scan)(?: Backward)?(?: using \S+)? on (\S+)`)
	pgBitmap = regexp.MustCompile(`\bBitmap Index Scan on (\S+)`)
)

// wholeScan names the growing table that a plan reads from end to end; "" when
// there is none. An index is read from end to end when no condition narrows it.
func wholeScan(sql string, plan []string) string {
	tables := map[string]string{}
	for _, m := range aliased.FindAllStringSubmatch(sql, -1) {
		tables[m[1]] = m[1]
		tables[m[2]] = m[1]
	}
	for i, line := range plan {
		table := ""
		if m := liteScan.FindStringSubmatch(line); m != nil {
			table = tables[m[1]]
		}
		if m := pgScan.FindStringSubmatch(line); m != nil && !narrowed(plan, i) {
			table = m[2]
		}
		if m := pgBitmap.FindStringSubmatch(line); m != nil && !narrowed(plan, i) {
			table, _, _ = strings.Cut(m[1], "_")
		}
		if slices.Contains(growing, table) {
			return table
		}
	}
	return ""
}

// narrowed says whether PostgreSQL looks a node's rows up by a condition.
func narrowed(plan []string, node int) bool {
	depth := func(s string) int { return len(s) - len(strings.TrimLeft(s, " ")) }
	for _, line := range plan[node+1:] {
		if strings.Contains(line, "->") || depth(line) <= depth(plan[node]) {
			return false
		}
		if strings.Contains(line, "Index Cond:") {
			return true
		}
	}
	return false
}

// The test tells whole scans from others.
func TestWholeScan(t *testing.T) {
	for _, c := range []struct {
		sql, plan, want string
	}{
		{"select 1 from outbox o where o.entry = $1", "SCAN o", "outbox"},
		{"select 1 from outbox o where o.entry = $1", "SCAN o USING INDEX outbox_log", "outbox"},
		{"select 1 from outbox o where o.entry = $1", "SEARCH o USING INDEX outbox_log (endpoint=?)", ""},
		{"select 1 from endpoints e", "SCAN e", ""},
		{"delete from entries", "Delete on entries\n  ->  Seq Scan on entries", "entries"},
		{"", "Index Scan using x on lanes l\n  Filter: (a = 1)", "lanes"},
		{"", "Index Scan using x on lanes l\n  Index Cond: (a = 1)", ""},
		{"", "Index Only Scan Backward using x on threads\n  Heap: 0", "threads"},
		{"", "Bitmap Heap Scan on dead\n  Recheck Cond: (x)\n  ->  Bitmap Index Scan on dead_pkey", "dead"},
		{"", "Nested Loop\n  ->  Index Scan using x on lanes\n  ->  Index Scan using y on threads\n        Index Cond: (id = 1)", "lanes"},
	} {
		if got := wholeScan(c.sql, strings.Split(c.plan, "\n")); got != c.want {
			t.Errorf("%s: %q, want %q", c.plan, got, c.want)
		}
	}
}

// Lanes of a dead process are found and taken by plans that look them up.
func TestPlanOfClaims(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		o.Now = tracttest.NewClock().Now
		var sqls []string
		o.Trace = func(sql string) { sqls = append(sqls, sql) }
		s := tracttest.Open(t, o)
		w := newLaneWorld(t, s)
		w.add(s, w.k, "a")
		if err := s.LeaveReplica(context.Background()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.RegisterReplica(context.Background(), "two"); err != nil {
			t.Fatal(err)
		}
		sqls = nil
		update(t, s, func(tx *store.Tx) error {
			lanes, err := tx.ClaimLanes(10)
			if len(lanes) != 1 {
				t.Errorf("claimed %v", lanes)
			}
			return err
		})
		for _, sql := range sqls[:2] {
			plan, err := store.PlanOf(s, sql)
			if err != nil {
				t.Fatal(err)
			}
			if table := wholeScan(sql, plan); table != "" || strings.Contains(strings.Join(plan, "\n"), "(endpoint=?)") {
				t.Errorf("%s\nreads too much:\n\t%s", sql, strings.Join(plan, "\n\t"))
			}
		}
	})
}
