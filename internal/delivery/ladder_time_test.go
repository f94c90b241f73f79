package delivery_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/clock"
	"tract/internal/delivery"
	"tract/internal/safehttp"
	"tract/internal/sign"
	"tract/internal/store"
)

// checkLadder holds attempts against the documented waits, from the end of one
// to the begin of the next: never early, at most 10 % late.
func checkLadder(t *testing.T, calls []call) {
	t.Helper()
	ladder := delivery.DefaultLadder()
	if len(calls) != len(ladder)+1 {
		t.Fatalf("%d attempts, want %d", len(calls), len(ladder)+1)
	}
	for i, c := range calls {
		if c.attempt != i+1 || c.id != calls[0].id || c.body != calls[0].body {
			t.Errorf("attempt %d: X-Tract-Attempt %d, webhook-id %q, body %q", i+1, c.attempt, c.id, c.body)
		}
		if err := sign.Verify(testSecret, c.header, []byte(c.body), c.at, time.Second); err != nil {
			t.Errorf("attempt %d: %v", i+1, err)
		}
		if i == 0 {
			continue
		}
		waited, step := c.at.Sub(calls[i-1].ended), ladder[i-1]
		if waited < step || waited > step+step/10+time.Millisecond {
			t.Errorf("attempt %d came after %v, want %v to 10 %% more", i+1, waited, step)
		}
	}
}

func TestLadderThenNextMessage(t *testing.T) {
	for name, bad := range map[string]func(*call) *safehttp.Response{"500": answer(500, "no"), "hangs": hang, "redirect": answer(302, "")} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 2, func(t *testing.T, w *world) {
				w.net.host("tool", func(c *call) *safehttp.Response {
					if c.body == "poison" {
						return bad(c)
					}
					return answer(200, "")(c)
				})
				e := w.hook("crm", "message", "receive", "https://tool/")
				w.run()
				w.add(w.threads[0], e.ID, "crm", "poison")
				w.add(w.threads[0], e.ID, "crm", "after")
				pass(30 * time.Minute)
				w.add(w.threads[1], e.ID, "crm", "other") // something else gets through: the endpoint is well
				pass(40 * time.Minute)

				var poison []call
				for _, c := range w.net.to("tool") {
					if c.body == "poison" {
						poison = append(poison, c)
					}
				}
				checkLadder(t, poison)
				if total := poison[6].at.Sub(poison[0].at); total < 3600*time.Second || total > 3960*time.Second+40*time.Second {
					t.Errorf("given up after %v", total)
				}
				if diff := cmp.Diff([]string{"poison dead", "after delivered", "other delivered"}, w.states(e.ID)); diff != "" {
					t.Error(diff)
				}
				if !w.endpoint(e.ID).Enabled {
					t.Error("one poison message took the endpoint down")
				}
				log := w.log(e.ID)
				if log[0].Attempts != 7 || log[0].LastError == "" {
					t.Errorf("log line %+v", log[0])
				}
				w.empty()
			})
		})
	}
}

func TestEndpointDown(t *testing.T) {
	for _, tt := range []struct {
		down time.Duration
		want string
	}{
		{59 * time.Minute, "first delivered"},
		{70 * time.Minute, "first dead"}, // the last attempt is 60 to 66 minutes after the first
	} {
		t.Run(tt.down.String(), func(t *testing.T) {
			bubble(t, 2, func(t *testing.T, w *world) {
				begun := clock.System()
				w.net.host("tool", func(c *call) *safehttp.Response {
					if c.at.Sub(begun) < tt.down {
						return answer(503, "")(c)
					}
					return answer(200, "")(c)
				})
				e := w.hook("crm", "message", "receive", "https://tool/")
				var alarms []string
				w.cfg.Alarm = func(code string, client, endpoint int64) {
					alarms = append(alarms, fmt.Sprint(code, " ", client == w.client, " ", endpoint == e.ID))
				}
				w.run()
				w.add(w.threads[0], e.ID, "crm", "first")
				pass(20 * time.Minute)
				w.add(w.threads[0], e.ID, "crm", "second")
				w.add(w.threads[1], e.ID, "crm", "third")
				pass(55 * time.Minute) // 75 minutes after the first
				if tt.want == "first delivered" {
					pass(40 * time.Minute) // the third's next attempt
					if diff := cmp.Diff([]string{"first delivered", "second delivered", "third delivered"}, w.states(e.ID)); diff != "" {
						t.Error(diff)
					}
					return
				}
				if got := w.endpoint(e.ID); got.Enabled || got.DisabledReason != store.DisabledExhausted {
					t.Fatalf("endpoint %+v", got)
				}
				if diff := cmp.Diff([]string{"endpoint_disabled true true"}, alarms); diff != "" {
					t.Error(diff)
				}
				w.update(func(tx *store.Tx) error {
					jobs, err := tx.ClaimJobs(10)
					if len(jobs) != 1 || jobs[0].Kind != store.JobHookDisabled || string(jobs[0].Body) != `{"tool":"crm"}` {
						t.Errorf("jobs %+v", jobs)
					}
					return err
				})
				w.empty()
				calls := len(w.net.to("tool"))
				w.add(w.threads[0], e.ID, "crm", "fourth")
				pass(20 * time.Minute) // second and third are 75 minutes old, fourth 20
				if n := len(w.net.to("tool")); n != calls {
					t.Errorf("a disabled endpoint was called %d times", n-calls)
				}
				if diff := cmp.Diff([]string{"first dead", "second queued", "third retrying", "fourth queued"}, w.states(e.ID)); diff != "" {
					t.Error(diff)
				}
				w.update(func(tx *store.Tx) error { return tx.EnableEndpoint(e) })
				pass(time.Second)
				if diff := cmp.Diff([]string{"first dead", "second dead", "third dead", "fourth delivered"}, w.states(e.ID)); diff != "" {
					t.Error(diff)
				}
				if got := w.log(e.ID)[1].LastError; got != "expired_while_disabled" {
					t.Errorf("second: %q", got)
				}
				w.empty()
			})
		})
	}
}

// A tool that was mended and enabled again gets what waits at once, with a
// whole ladder, wherever the old one stood.
func TestEnableBeginsTheLadderAnew(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		w.net.host("tool", answer(500, ""))
		e := w.hook("crm", "message", "receive", "https://tool/")
		w.run()
		w.add(w.threads[0], e.ID, "crm", "first")
		pass(10 * time.Minute) // four attempts, the next one 13 minutes after the first
		w.update(func(tx *store.Tx) error { _, err := tx.DisableEndpoint(e, store.DisabledByOwner); return err })
		pass(time.Second)
		w.update(func(tx *store.Tx) error { return tx.EnableEndpoint(e) })
		pass(time.Millisecond)
		calls := w.net.to("tool")
		if calls = calls[4:]; len(calls) != 1 || calls[0].attempt != 1 {
			t.Fatalf("after enabling: %+v", calls)
		}
		pass(70 * time.Minute)
		checkLadder(t, w.net.to("tool")[4:])
		var attempts []store.Attempt
		w.view(func(tx *store.Tx) (err error) {
			attempts, err = tx.ListAttempts(store.LaneKey{Thread: w.threads[0], Endpoint: e.ID}, 1)
			return err
		})
		if len(attempts) != 11 || attempts[10].Number != 11 {
			t.Errorf("%d attempts are recorded, want 4 + 7", len(attempts))
		}
	})
}

func TestRetryAfterIsHeeded(t *testing.T) {
	tests := []struct {
		name   string
		header func(now time.Time) string
		want   time.Duration
	}{
		{"3 s", func(time.Time) string { return "3" }, 5 * time.Second},
		{"12 s", func(time.Time) string { return "12" }, 12 * time.Second},
		{"1 h", func(time.Time) string { return "3600" }, 25 * time.Second},
		{"10 years", func(time.Time) string { return "315360000" }, 25 * time.Second},
		{"negative", func(time.Time) string { return "-1" }, 5 * time.Second},
		{"past date", func(now time.Time) string { return now.Add(-time.Hour).UTC().Format(http.TimeFormat) }, 5 * time.Second},
		{"date", func(now time.Time) string { return now.Add(20 * time.Second).UTC().Format(http.TimeFormat) }, 20 * time.Second},
	}
	for _, status := range []int{429, 503} {
		for _, tt := range tests {
			t.Run(fmt.Sprint(status, " ", tt.name), func(t *testing.T) {
				bubble(t, 1, func(t *testing.T, w *world) {
					w.net.host("tool", func(c *call) *safehttp.Response {
						return &safehttp.Response{Status: status, Header: http.Header{"Retry-After": {tt.header(c.at)}}}
					})
					e := w.hook("crm", "message", "receive", "https://tool/")
					w.run()
					w.add(w.threads[0], e.ID, "crm", "m")
					pass(29 * time.Second)
					calls := w.net.to("tool")
					if len(calls) < 2 {
						t.Fatalf("%d calls", len(calls))
					}
					// A date has whole seconds.
					if got := calls[1].at.Sub(calls[0].ended); got < tt.want-time.Second || got < 5*time.Second || got > tt.want+tt.want/10+time.Millisecond {
						t.Errorf("tried again after %v, want %v", got, tt.want)
					}
				})
			})
		}
	}
}

func TestErrorInSuccess(t *testing.T) {
	long := strings.Repeat("x", 3000)
	tests := []struct{ name, body, want string }{
		{"text", `{"error": "no such queue"}`, "no such queue"},
		{"object", `{"error": {"code": 7}}`, `{"code": 7}`},
		{"null", `{"error": null}`, ""},
		{"false", `{"error": false}`, ""},
		{"no JSON", `fine`, ""},
		{"white space before", "\n {\"error\": \"x\"}", "x"},
		{"beyond the excerpt", `{"pad": "` + long + `", "error": "late"}`, "late"},
		{"NUL", `{"error": "a\u0000b"}`, "ab"},
		{"broken UTF-8", "{\"error\": [\"\xff\"]}", `[""]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, w *world) {
				w.net.host("tool", answer(200, tt.body))
				e := w.hook("crm", "message", "receive", "https://tool/")
				w.run()
				w.add(w.threads[0], e.ID, "crm", "m")
				pass(10 * time.Second)
				if n := len(w.net.to("tool")); n != 1 {
					t.Errorf("called %d times", n)
				}
				l := w.log(e.ID)[0]
				if l.State != store.DeliveryDelivered || l.LastError != tt.want || l.LastStatus != 200 || l.Attempts != 1 {
					t.Errorf("state %s, status %d, error %q, want %q", l.State, l.LastStatus, l.LastError, tt.want)
				}
			})
		})
	}
}

func TestSecretRotation(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		const newer = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
		w.net.host("tool", answer(200, ""))
		e := w.put(store.Endpoint{Kind: store.EndpointHook, Tool: "crm", Category: "message", Subcategory: "receive", URL: "https://tool/", SecretUntil: clock.System().Add(time.Minute)}, newer, testSecret)
		w.run()
		w.add(w.threads[0], e.ID, "crm", "while both are good")
		pass(61 * time.Second)
		w.add(w.threads[0], e.ID, "crm", "when the old one has ended")
		pass(time.Second)
		for i, c := range w.net.to("tool") {
			signatures := len(strings.Fields(c.header.Get("Webhook-Signature")))
			if want := 2 - i; signatures != want {
				t.Errorf("call %d has %d signatures, want %d", i, signatures, want)
			}
			if err := sign.Verify(newer, c.header, []byte(c.body), c.at, time.Second); err != nil {
				t.Errorf("call %d, newer secret: %v", i, err)
			}
			if err := sign.VerifyHub(newer, c.header, []byte(c.body)); err != nil {
				t.Errorf("call %d, X-Hub-Signature: %v", i, err)
			}
			if err := sign.Verify(testSecret, c.header, []byte(c.body), c.at, time.Second); (err == nil) != (i == 0) {
				t.Errorf("call %d, older secret: %v", i, err)
			}
		}
		res, err := w.d.Test(t.Context(), w.endpoint(e.ID), []byte("ping"))
		if err != nil || res.Status != 200 {
			t.Errorf("test call: %+v, %v", res, err)
		}
		if ping := w.net.to("tool")[2]; sign.Verify(newer, ping.header, []byte("ping"), ping.at, time.Second) != nil || len(strings.Fields(ping.header.Get("Webhook-Signature"))) != 1 {
			t.Errorf("ping %+v", ping.header)
		}
	})
}

// 3 of 20 tools hang: the others get theirs as if nothing was.
func TestHangingToolsSlowNobody(t *testing.T) {
	bubble(t, 40, func(t *testing.T, w *world) {
		var hooks []store.Endpoint
		for i := range 20 {
			host := fmt.Sprintf("tool%d", i)
			w.net.host(host, slow(45*time.Millisecond))
			if i < 3 {
				w.net.host(host, hang)
			}
			hooks = append(hooks, w.hook("crm", "category", fmt.Sprint(i), "https://"+host+"/"))
		}
		w.run()
		sent := map[string]time.Time{}
		for round := range 60 {
			for i, e := range hooks {
				body := fmt.Sprintf("%d/%d", i, round)
				sent[body] = clock.System()
				w.add(w.threads[(round*7+i)%len(w.threads)], e.ID, "crm", body)
			}
			pass(500 * time.Millisecond)
		}
		pass(time.Second)
		var took []time.Duration
		for i := 3; i < 20; i++ {
			calls := w.net.to(fmt.Sprintf("tool%d", i))
			if len(calls) != 60 {
				t.Errorf("tool %d got %d of 60", i, len(calls))
			}
			for _, c := range calls {
				took = append(took, c.ended.Sub(sent[c.body]))
			}
		}
		slices.Sort(took)
		if p99 := took[len(took)*99/100]; p99 > 90*time.Millisecond {
			t.Errorf("p99 %v, alone it is 45 ms", p99)
		}
		for i := range 3 {
			if most := w.net.most[fmt.Sprintf("tool%d", i)]; most > 8 {
				t.Errorf("%d calls hung at once", most)
			}
		}
	})
}

func TestEnableBeginsSlowly(t *testing.T) {
	bubble(t, 400, func(t *testing.T, w *world) {
		w.net.host("tool", slow(50*time.Millisecond))
		w.net.host("other", slow(50*time.Millisecond))
		e, other := w.hook("crm", "message", "receive", "https://tool/"), w.hook("erp", "message", "receive", "https://other/")
		w.run()
		w.update(func(tx *store.Tx) error { _, err := tx.DisableEndpoint(e, store.DisabledByOwner); return err })
		const each = 20
		for _, thread := range w.threads {
			if err := add(w.s, thread, func(tx *store.Tx, l *store.Locked, id tract.MessageID) error {
				for n := range each {
					if err := tx.AppendDelivery(l, e.ID, store.Delivery{Entry: id, Tool: "crm", DeliverySeq: l.NextDeliverySeq("crm"), Payload: fmt.Appendf(nil, "%d %d", thread, n)}); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		w.update(func(tx *store.Tx) error { return tx.EnableEndpoint(e) })
		enabled := clock.System()
		pass(49 * time.Millisecond)
		if n := len(w.net.to("tool")); n != 2 {
			t.Errorf("began with %d calls at once, want 2", n)
		}
		for n := range 20 {
			w.add(w.threads[n], other.ID, "erp", "x")
			pass(50 * time.Millisecond)
		}
		pass(10 * time.Minute)
		calls := w.net.to("tool")
		if len(calls) != each*len(w.threads) {
			t.Fatalf("%d of %d were delivered", len(calls), each*len(w.threads))
		}
		if took := calls[len(calls)-1].ended.Sub(enabled); took > time.Minute {
			t.Errorf("took %v", took)
		}
		if most := w.net.most["tool"]; most > 256 {
			t.Errorf("%d calls at once", most)
		}
		checkOrder(t, calls)
		for _, c := range w.net.to("other") {
			if took := c.ended.Sub(c.at); took > 60*time.Millisecond {
				t.Errorf("the other tool's call took %v", took)
			}
		}
		w.empty()
	})
}

// checkOrder holds that "thread n" bodies come in order without gaps per thread,
// counting each when it was answered with 2xx.
func checkOrder(t *testing.T, calls []call) map[string]int {
	t.Helper()
	next := map[string]int{}
	for _, c := range calls {
		var thread string
		var n int
		if _, err := fmt.Sscan(c.body, &thread, &n); err != nil {
			t.Fatalf("body %q", c.body)
		}
		switch {
		case n > next[thread]:
			t.Errorf("thread %s: %d came before %d was settled", thread, n, next[thread])
		case n == next[thread] && c.status/100 == 2:
			next[thread]++
		}
	}
	return next
}
