package store_test

import (
	"database/sql"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tract"
	"tract/internal/apitest"
	"tract/internal/clock"
	"tract/internal/hsl"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// The full size is -messages 1000000; see docs/performance.md.
var messagesElsewhere = flag.Int("messages", 20_000, "messages in other threads, for TestTranscriptAtSize")

const (
	fullSize       = 1_000_000
	inConversation = 10_000
	perThread      = 1000 // messages in each of the other threads
	perUpdate      = 2000
	firstPageIn    = 50 * time.Millisecond
)

// TestTranscriptAtSize: the first page of a long conversation comes quickly,
// however much else is in the store, and whether the conversation is the newest
// of its thread or was followed by one as long. That does not depend on luck:
// no step of the plan reads or sorts everything.
func TestTranscriptAtSize(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		w := apitest.New(t, o)
		u := w.User()
		w.Say(&u, "hello")
		start := clock.System()
		fillLog(w, u, *messagesElsewhere)
		built := clock.System().Sub(start).Round(time.Millisecond)
		driver, source := "sqlite", filepath.Join(o.Dir, "tract.db")
		if o.URL != "" {
			driver, source = "pgx", o.URL
		}
		db, err := sql.Open(driver, source)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if driver == "pgx" { // autovacuum would, in time
			if _, err := db.Exec("vacuum analyze entries"); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%d messages in other threads, built in %s", *messagesElsewhere, built)
		thread, newest := w.Thread(u).ID, int64(1<<53-1)
		for _, q := range []struct {
			name, sql string
			args      []any
		}{
			{"transcript, limit=50", store.RecentMessages, []any{thread, int64(2), newest, int64(50)}},
			{"transcript, limit=1000", store.RecentMessages, []any{thread, int64(2), newest, int64(1000)}},
			{"log", store.ListEntries, []any{thread, int64(1), int64(100)}},
			{"newest entries", store.RecentEntries, []any{thread, int64(100)}},
		} {
			for _, plan := range plans(t, db, driver, q.sql, q.args) {
				t.Logf("plan of the %s:\n%s", q.name, plan)
				for _, bad := range []string{"seq scan", "scan entries", "bitmap", "rows removed by filter"} {
					if strings.Contains(strings.ToLower(plan), bad) {
						t.Errorf("the plan of the %s has %q:\n%s", q.name, bad, plan)
					}
				}
				if !strings.Contains(plan, "entries_conversation") {
					t.Errorf("the plan of the %s does not use the index of conversations:\n%s", q.name, plan)
				}
			}
		}
		for _, conversation := range []int{2, 3} {
			for _, limit := range []int{50, 1000} {
				p50, p99 := firstPage(w, u, conversation, limit)
				t.Logf("conversation %d, limit=%d: p50 %s, p99 %s", conversation, limit, p50, p99)
				if *messagesElsewhere >= fullSize && p50 > firstPageIn {
					t.Errorf("conversation %d, limit=%d: p50 is %s", conversation, limit, p50)
				}
			}
		}
	})
}

// fillLog writes two conversations of a user's thread, one after the other, each
// message between those of others, so that they lie scattered.
func fillLog(w *apitest.World, u apitest.User, elsewhere int) {
	w.T.Helper()
	mine, client := w.Thread(u).ID, w.ClientKey(u.Client)
	total := elsewhere + 2*inConversation
	others := make([]int64, (elsewhere+perThread-1)/perThread)
	w.Update(func(tx *store.Tx) error {
		for i := range others {
			name := fmt.Sprint("other", i)
			user, err := tx.PutUser(store.User{Client: client, AuthID: name, UserName: name})
			if err != nil {
				return err
			}
			if others[i], err = tx.InsertThread(client, u.Business, user.ID, name, tract.PlatformWebhook); err != nil {
				return err
			}
		}
		return nil
	})
	for from := 0; from < total; from += perUpdate {
		w.Update(func(tx *store.Tx) error {
			for i := from; i < min(from+perUpdate, total); i++ {
				e := store.Entry{Thread: mine, Conversation: 2, Sender: tract.SenderCEU, Body: hsl.Text(fmt.Sprintf("message %d: where is my parcel, it was to arrive on Monday?", i)).Body(), At: tx.Now}
				// Every n-th is mine: so many of these have come so far.
				if before, now := i*2*inConversation/total, (i+1)*2*inConversation/total; before == now {
					e.Thread, e.Conversation = others[i%len(others)], 1
				} else if before >= inConversation {
					e.Conversation = 3
				}
				if i%2 == 1 {
					e.Sender, e.By = tract.SenderIVA, tract.IVA
				}
				var err error
				if e.ID, err = tx.NextID(); err != nil {
					return err
				}
				if err := tx.InsertEntry(&store.Locked{}, &e); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// plans are the plans of a query; PostgreSQL makes one for the values and one for
// any values, and may take either.
func plans(t *testing.T, db *sql.DB, driver, query string, args []any) (out []string) {
	t.Helper()
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if driver == "sqlite" {
		return []string{lines(t, c, "explain query plan "+query, 3, args...)}
	}
	types := strings.Repeat(", bigint", len(args))[2:]
	values := strings.ReplaceAll(fmt.Sprint(args...), " ", ", ") // Sprint puts spaces between numbers
	for _, q := range []string{"deallocate all", "prepare q(" + types + ") as " + query} {
		if _, err := c.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		if _, err := c.ExecContext(t.Context(), "set plan_cache_mode = "+mode); err != nil {
			t.Fatal(err)
		}
		out = append(out, mode+"\n"+lines(t, c, "explain (analyze, buffers) execute q("+values+")", 0))
	}
	return out
}

// lines reads one column of every row.
func lines(t *testing.T, c *sql.Conn, query string, column int, args ...any) string {
	t.Helper()
	rows, err := c.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for rows.Next() {
		dest := make([]any, len(names))
		for i := range dest {
			dest[i] = new(any)
		}
		line := new(string)
		dest[column] = line
		if err := rows.Scan(dest...); err != nil {
			t.Fatal(err)
		}
		out = append(out, *line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, "\n")
}

// firstPage reads the first page of a transcript again and again.
func firstPage(w *apitest.World, u apitest.User, conversation, limit int) (p50, p99 time.Duration) {
	w.T.Helper()
	path := fmt.Sprintf("/integration/external/v2.0/get_chat_history/?conversation_no=%d&limit=%d&pxut=%s", conversation, limit, url.QueryEscape(u.ID))
	if list, _ := w.Platform("GET", path, nil).Want(w.T, 200).At("chat_json").([]any); len(list) != limit {
		w.T.Fatalf("%d messages", len(list))
	}
	// Not by w.Platform: holding the answer against its description takes longer
	// than the answer.
	req, err := http.NewRequest("GET", w.URL+path, nil)
	if err != nil {
		w.T.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.Token)
	req.Header.Set("client-id", "acme")
	var took []time.Duration
	for range 200 {
		start := clock.System()
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			w.T.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
			w.T.Fatalf("status %d, %v", res.StatusCode, err)
		}
		took = append(took, clock.System().Sub(start))
		res.Body.Close()
	}
	slices.Sort(took)
	return took[len(took)/2].Round(10 * time.Microsecond), took[len(took)*99/100].Round(10 * time.Microsecond)
}
