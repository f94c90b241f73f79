package main_test

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// Users of the fleet: some write, and the control of the threads of others is
// fought over by both tools.
const (
	writers     = 8
	controllers = 3
)

func writer(i int) string    { return fmt.Sprintf("user-%d", i) }
func contended(i int) string { return fmt.Sprintf("contended-%d", i) }

// users makes the users, and a conversation of each whose control is tried.
func (f *fleet) users(t *testing.T) {
	t.Helper()
	for i := range writers + controllers {
		name := writer(i)
		if i >= writers {
			name = contended(i - writers)
		}
		if _, err := f.until("/v1.0/user/", map[string]any{"auth_id": name, "name": name}, platformHeaders("user-"+name)); err != nil {
			t.Fatal(err)
		}
		if i < writers {
			continue
		}
		if _, err := f.write(name, "quiet hello of "+name); err != nil {
			t.Fatal(err)
		}
		var pxut string
		if err := f.sql.QueryRow(t.Context(), `select t.pxut from threads t join users u on u.id = t.user_id where u.auth_id = $1`, name).Scan(&pxut); err != nil {
			t.Fatal(err)
		}
		f.control[name] = &controlled{user: pxut}
	}
}

// write logs a message of a user and notes that it was acknowledged.
func (f *fleet) write(name, text string) (int64, error) {
	out, err := f.until("/v1.0/log_message_from_user/", map[string]any{"user": map[string]string{"auth_id": name}, "message_body": text, "message_type": 0, "business_id": 1}, platformHeaders(text))
	if err != nil {
		return 0, err
	}
	id := int64(out["message_id"].(float64))
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	f.acked = append(f.acked, ack{name, id, text})
	return id, nil
}

// tell logs a message of a user without a key and once: it counts if it was
// acknowledged, and may be there if it was not.
func (f *fleet) tell(name, text string) {
	status, out, err := f.call("POST", "/v1.0/log_message_from_user/", map[string]any{"user": map[string]string{"auth_id": name}, "message_body": text, "message_type": 0, "business_id": 1},
		map[string]string{"Authorization": "Bearer " + faultToken, "client-id": "acme"})
	if err != nil || status != http.StatusOK {
		return
	}
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	f.acked = append(f.acked, ack{name, number(out["message_id"]), text})
}

// load begins a round: users write, the desk answers, both tools fight for the
// control of some threads, until stop is called.
func (f *fleet) load(t *testing.T) (stop func()) {
	t.Helper()
	f.round++
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				text := fmt.Sprintf("%s says %d in round %d", writer(i), n, f.round)
				if i%2 == 1 { // commands without a key share transactions
					f.tell(writer(i), text)
				} else if _, err := f.write(writer(i), text); err != nil {
					f.fail(err)
					return
				}
				wait(40 * time.Millisecond)
			}
		})
	}
	wg.Go(func() { f.answer(ctx) })
	for _, c := range f.control {
		c.begin(t, f)
		for w, by := range []string{"desk", "two", "two"} {
			wg.Go(func() { c.fight(ctx, f, w, by) })
		}
	}
	return func() { cancel(); wg.Wait() }
}

// register is what a thread's control must look like from outside: one owner,
// and an epoch that counts its changes.
type register struct {
	owner string
	epoch int64
}

type operation struct {
	kind   string // pass | take | send | read
	by, to string
	epoch  int64 // that the caller believes in; 0 = does not say
}

type outcome struct {
	code  string // of a refusal
	owner string
	epoch int64
}

// model says which outcomes an operation may have on a register.
func model(start register) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return start },
		Step: func(state, input, output any) (bool, any) {
			r, op, out := state.(register), input.(operation), output.(outcome)
			refused := func(code string) (bool, any) {
				return out == outcome{code, r.owner, r.epoch}, r
			}
			switch stale := op.epoch != 0 && op.epoch != r.epoch; {
			case op.kind == "read":
				return out == outcome{"", r.owner, r.epoch}, r
			case op.kind != "take" && op.by != r.owner:
				return refused("not_owner")
			case stale:
				return refused("epoch_mismatch")
			case op.kind == "send":
				return out.code == "", r
			case op.to == r.owner:
				return refused("already_owner")
			}
			next := register{op.to, r.epoch + 1}
			return out.code == "" && out.epoch == next.epoch, next
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
	}
}

// controlled is a thread whose control is fought over, and what callers saw.
type controlled struct {
	user  string
	start register

	mu      sync.Mutex // guards history and ops
	history []porcupine.Operation
	ops     int
}

// begin reads where the control stands while nobody changes it.
func (c *controlled) begin(t *testing.T, f *fleet) {
	t.Helper()
	out, err := c.perform(f, operation{kind: "read", by: "desk"})
	if err != nil {
		t.Fatal(err)
	}
	c.start, c.history = register{out.owner, out.epoch}, nil
}

// fight makes operations, one after the other, until ctx ends.
func (c *controlled) fight(ctx context.Context, f *fleet, worker int, by string) {
	seen := c.start.epoch
	for ctx.Err() == nil {
		op := operation{kind: []string{"read", "send", "pass", "take", "take"}[mathrand.IntN(5)], by: by}
		switch op.kind {
		case "pass":
			op.to = map[string]string{"desk": "two", "two": "desk"}[by]
		case "take":
			op.to = by
		}
		if op.kind != "read" && mathrand.IntN(3) == 0 {
			op.epoch = max(seen-1+mathrand.Int64N(3), 1)
		}
		call := time.Now().UnixNano()
		out, err := c.perform(f, op)
		end := time.Now().UnixNano()
		if err != nil {
			f.fail(err)
			return
		}
		seen = max(seen, out.epoch)
		c.mu.Lock()
		c.history = append(c.history, porcupine.Operation{ClientId: worker, Input: op, Call: call, Output: out, Return: end})
		c.mu.Unlock()
		wait(100 * time.Millisecond)
	}
}

// perform makes one operation until its outcome is known.
func (c *controlled) perform(f *fleet, op operation) (outcome, error) {
	c.mu.Lock()
	c.ops++
	key := fmt.Sprintf("%s %d", c.user, c.ops)
	c.mu.Unlock()
	jwt := *f.jwt.Load()
	if op.by == "two" {
		jwt = f.jwtTwo
	}
	path, body := "/tract/thread_control/request", map[string]any{"user_id": c.user, "type": op.kind, "requester": op.by, "receiver": op.to}
	switch op.kind {
	case "read":
		path, body = "/tract/thread_control/listeners/", map[string]any{"user_id": c.user}
	case "send":
		path, body = "/tract/message/send/", map[string]any{"user_id": c.user, "message_body": "quiet " + key, "sender": "aeu"}
	}
	if op.epoch != 0 {
		body["control_epoch"] = op.epoch
	}
	status, out, err := f.known(path, body, map[string]string{"Authorization": "Bearer " + jwt, "Idempotency-Key": key})
	if err != nil {
		return outcome{}, err
	}
	refusal, _ := out["reason"].(map[string]any)
	switch {
	case op.kind == "read":
		for _, l := range list(out["listeners"]) {
			if l["active"] == true {
				return outcome{owner: text(l["id"]), epoch: number(out["control_epoch"])}, nil
			}
		}
		return outcome{}, fmt.Errorf("nobody has the thread: %d %v", status, out)
	case status == http.StatusOK && out["success"] != false:
		return outcome{epoch: number(out["control_epoch"])}, nil
	case refusal == nil:
		refusal = out
	}
	if refusal["code"] == nil {
		return outcome{}, fmt.Errorf("%s: %d %v", path, status, out)
	}
	return outcome{text(refusal["code"]), text(refusal["thread_owner"]), number(refusal["control_epoch"])}, nil
}

func text(v any) string  { s, _ := v.(string); return s }
func number(v any) int64 { n, _ := v.(float64); return int64(n) }
func list(v any) (out []map[string]any) {
	all, _ := v.([]any)
	for _, l := range all {
		m, _ := l.(map[string]any)
		out = append(out, m)
	}
	return out
}

// known repeats a call under its key until it is answered one way or the other.
func (f *fleet) known(path string, body any, header map[string]string) (int, map[string]any, error) {
	for range 6000 {
		status, out, err := f.call("POST", path, body, header)
		if err == nil && status < 500 && out["code"] != "idempotency_in_progress" {
			return status, out, nil
		}
		wait(10 * time.Millisecond)
	}
	return 0, nil, errors.New(path + " was never answered")
}

// checkAll holds everything that happened against the laws: see check, and
// control has one owner for each epoch, in an order that fits what callers saw.
func (f *fleet) checkAll(t *testing.T, faults int) {
	t.Helper()
	f.settle(t)
	f.empty(t)
	f.check(t, faults)
	f.checkLog(t)
	f.checkOwners(t)
	for name, c := range f.control {
		switch res, _ := porcupine.CheckOperationsVerbose(model(c.start), c.history, 30*time.Second); res {
		case porcupine.Illegal:
			t.Errorf("%s: %d operations have no order", name, len(c.history))
		case porcupine.Unknown:
			t.Errorf("%s: no order of %d operations was found in time", name, len(c.history))
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.strange {
		t.Error(s)
	}
}

// empty waits until nothing is queued, also of what was committed and not
// acknowledged: whoever asked for it met a fault, and its delivery may wait until
// it is certain what came of the commit.
func (f *fleet) empty(t *testing.T) {
	t.Helper()
	queued := -1
	for deadline := time.Now().Add(60 * time.Second); queued != 0; wait(50 * time.Millisecond) {
		if err := f.sql.QueryRow(t.Context(), `select count(*) from lanes where last > done`).Scan(&queued); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("something waits in %d lanes after a minute", queued)
		}
	}
}

// checkLog looks for every acknowledged message in the log: once, as it was
// said, in the thread of who said it.
func (f *fleet) checkLog(t *testing.T) {
	t.Helper()
	type entry struct{ user, text string }
	log, texts := map[int64]entry{}, map[string]int64{}
	rows, err := f.sql.Query(t.Context(), `select e.id, u.auth_id, e.body::json ->> 'text' from entries e join threads t on t.id = e.thread join users u on u.id = t.user_id where e.event = '' order by e.id`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var id int64
		var e entry
		if err := rows.Scan(&id, &e.user, &e.text); err != nil {
			t.Fatal(err)
		}
		if old := texts[e.text]; old != 0 {
			t.Errorf("%q is in the log twice: %d and %d", e.text, old, id)
		}
		log[id], texts[e.text] = e, id
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, a := range f.acked {
		if log[a.id] != (entry{a.user, a.text}) {
			t.Errorf("message %d of %s %q is %+v in the log", a.id, a.user, a.text, log[a.id])
		}
	}
	for id, text := range f.sent {
		if log[id].text != text {
			t.Errorf("message %d of the tool %q is %+v in the log", id, text, log[id])
		}
	}
}

// checkOwners compares the ledger with what tools were told.
func (f *fleet) checkOwners(t *testing.T) {
	t.Helper()
	type turn struct {
		thread string
		epoch  int64
	}
	owners := map[turn]string{}
	claim := func(k turn, owner, where string) {
		if old, known := owners[k]; known && old != owner {
			t.Errorf("thread %s, epoch %d: %s and, by %s, %s own it", k.thread, k.epoch, old, where, owner)
		}
		owners[k] = owner
	}
	rows, err := f.sql.Query(t.Context(), `select t.pxut, l.epoch, l.from_receiver, l.to_receiver from ledger l join threads t on t.id = l.thread where l.granted = 1 and l.op in ('pass', 'take') order by l.id`)
	if err != nil {
		t.Fatal(err)
	}
	changes := 0
	for rows.Next() {
		var k turn
		var from, to string
		if err := rows.Scan(&k.thread, &k.epoch, &from, &to); err != nil {
			t.Fatal(err)
		}
		if _, twice := owners[k]; twice {
			t.Errorf("thread %s: epoch %d began twice", k.thread, k.epoch)
		}
		if before, known := owners[turn{k.thread, k.epoch - 1}]; known && before != from {
			t.Errorf("thread %s: epoch %d took it from %s, %s had it", k.thread, k.epoch, from, before)
		}
		claim(k, to, "the ledger")
		changes++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*receiver{f.tool, f.two} {
		got, _ := r.all()
		for _, g := range got {
			if g.epoch > 0 && g.owner != "" {
				claim(turn{g.user, g.epoch}, g.owner, "a delivery")
			}
		}
	}
	if changes == 0 {
		t.Error("control never changed: there was no load")
	}
}
