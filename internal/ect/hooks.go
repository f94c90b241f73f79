package ect

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"tract"
	"tract/internal/sign"
)

const (
	maxHookBody   = 1 << 20
	signTolerance = 5 * time.Minute
	secretWait    = 2 * time.Second // for a call that arrives while its hook is being registered
)

// Faults are what is wrong with the tool on purpose. The zero value is health.
type Faults struct {
	Fail   float64       // share of calls that are refused, 0 to 1
	Status int           // what they are answered with; 503 unless it is 200 to 599
	Delay  time.Duration // how long every answer takes
	Down   bool          // connections are dropped without an answer
}

// hook is one event's webhook on the tool's side. secret is written once, before
// known is closed, and read only afterwards.
type hook struct {
	secret string
	known  chan struct{}
}

func (h *hook) learn(secret string) {
	h.secret = secret
	close(h.known)
}

// verify checks every signature on a call: X-Hub-Signature-256 and Standard
// Webhooks must be there, X-Hub-Signature may be, and all must be right.
func (h *hook) verify(header http.Header, body []byte, now time.Time) error {
	if len(header[sign.HeaderHub256]) == 0 {
		return sign.ErrSignature.With("X-Hub-Signature-256 is missing")
	}
	if err := sign.VerifyHub(h.secret, header, body); err != nil {
		return err
	}
	if weak := header[sign.HeaderHub]; len(weak) > 0 {
		if err := sign.VerifyHub(h.secret, http.Header{sign.HeaderHub: weak}, body); err != nil {
			return err
		}
	}
	return sign.Verify(h.secret, header, body, now, signTolerance)
}

// Handler serves the hooks at /hooks/{category}/{subcategory}, for a tool whose
// server is somebody else's. Run must be running beside it.
func (t *Tool) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /hooks/{category}/{subcategory}", t.serveHook)
	return mux
}

// call is one hook call on its way through the tool.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	event   tract.Event
	id      string
	attempt int
	faults  Faults
}

func (t *Tool) serveHook(w http.ResponseWriter, r *http.Request) {
	c := &call{w: w, r: r, event: tract.Event(r.PathValue("category") + "/" + r.PathValue("subcategory")), faults: t.Faults()}
	h := t.hooks[c.event]
	if h == nil {
		http.NotFound(w, r)
		return
	}
	if c.faults.Down {
		t.drop(c)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHookBody))
	if err != nil {
		http.Error(w, "the body cannot be read, or is larger than 1 MiB", http.StatusBadRequest)
		return
	}
	if !h.wait(r.Context()) {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "this hook is not registered yet", http.StatusServiceUnavailable)
		return
	}
	c.id = r.Header.Get(sign.HeaderID)
	c.attempt, _ = strconv.Atoi(r.Header.Get("X-Tract-Attempt")) // absent: 0, which is not shown
	if err := h.verify(r.Header, body, t.cfg.Now()); err != nil {
		t.refuse(c, err)
		return
	}
	if t.dice.chance(c.faults.Fail) {
		t.fail(c)
		return
	}
	answer, after := t.take(c, body)
	t.answer(c, http.StatusOK, answer)
	if after != nil {
		after() // only now: what a rule does comes after the answer
	}
}

// wait blocks until the hook's secret is known, but not for long.
func (h *hook) wait(ctx context.Context) bool {
	select {
	case <-h.known:
		return true
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, secretWait)
	defer cancel()
	select {
	case <-h.known:
		return true
	case <-ctx.Done():
		return false
	}
}

// answer writes the answer out, as late as the faults want it.
func (t *Tool) answer(c *call, status int, body any) {
	if c.faults.Delay > 0 {
		wait(c.r.Context(), c.faults.Delay)
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	// A hub that has hung up by now will call again.
	_ = json.NewEncoder(c.w).Encode(body)
	_ = http.NewResponseController(c.w).Flush()
}

// drop closes the connection, as a machine that is gone would.
func (t *Tool) drop(c *call) {
	t.count(func(s *Stats) { s.Failed++ })
	t.emit(Event{Kind: KindFault, Hook: c.event, Note: "connection dropped"})
	conn, _, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		c.w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_ = conn.Close() // nothing was written that could be lost
}

func (t *Tool) refuse(c *call, err error) {
	t.count(func(s *Stats) { s.Refused++ })
	t.log.WarnContext(c.r.Context(), "hook refused", "hook", c.event, "webhook_id", c.id, "attempt", c.attempt, "error", err)
	t.emit(Event{Kind: KindRefused, Hook: c.event, Attempt: c.attempt, Err: err})
	t.answer(c, http.StatusUnauthorized, map[string]any{"error": err.Error(), "code": tract.CodeOf(err)})
}

func (t *Tool) fail(c *call) {
	status := c.faults.Status
	if status < 200 || status > 599 {
		status = http.StatusServiceUnavailable
	}
	t.count(func(s *Stats) { s.Failed++ })
	t.emit(Event{Kind: KindFault, Hook: c.event, Attempt: c.attempt, Note: "answered " + strconv.Itoa(status)})
	t.answer(c, status, map[string]any{"error": "failing on purpose"})
}

// take acts upon a verified call: it gives the answer, and what is to be done
// once the answer is out.
func (t *Tool) take(c *call, body []byte) (answer any, after func()) {
	it, err := decode(c.event, body)
	if err != nil {
		// A 2xx with an error is recorded by the hub and not retried: sending
		// the same bytes again would not make them better.
		t.problem(it.UserID, c.event, err)
		return map[string]any{"error": err.Error()}, nil
	}
	answer = map[string]any{}
	if c.event == tract.EventCreateUser {
		answer = map[string]any{"success": true, "ect_user_id": t.userID(it.UserID)}
	}
	if !t.firstTime(c.id) {
		t.emit(Event{Kind: KindDuplicate, UserID: it.UserID, Hook: c.event, Attempt: c.attempt, Note: c.id})
		return answer, nil
	}
	t.log.InfoContext(c.r.Context(), "hook received", "hook", c.event, "webhook_id", c.id, "attempt", c.attempt, "delivery_seq", it.facts.Seq)
	if it.UserID == "" {
		t.emit(Event{Kind: KindPing, Hook: c.event, Attempt: c.attempt})
		return answer, nil
	}
	t.hear(it, c.attempt, false)
	return answer, func() { t.followUp(it) }
}

// firstTime is false for a call that was acted upon before.
func (t *Tool) firstTime(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.seen.add(id) {
		t.stats.Duplicates++
		return false
	}
	t.stats.Received++
	return true
}
