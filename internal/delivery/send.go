package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tract"
	"tract/internal/safehttp"
	"tract/internal/sign"
	"tract/internal/store"
)

// outcome is what came of one attempt.
type outcome struct {
	item    store.Delivery
	row     store.Endpoint // as it was called
	lane    store.Lane     // of a bot's turn: as it was after the answer
	nothing bool           // nothing was tried
	skip    bool           // settled without a call: a synchronous caller took it
	holdFor time.Duration

	at         time.Time
	latency    time.Duration
	status     int
	err        string // class and text; "" = success
	excerpt    string
	retryAfter time.Duration
	slow       bool   // time-out, 429 or 503: call less
	gone       bool   // 410
	down       bool   // it was the store that did not answer
	refused    string // dead at once: why
	said       string // the error that a tool put into its 2xx
	ectUserID  string
}

func (o *outcome) ok() bool { return o.err == "" && !o.nothing }

// attempt calls the endpoint once with the lane's next delivery.
func (d *Dispatcher) attempt(l *lane) outcome {
	item, ok := d.next(l)
	if !ok {
		return outcome{nothing: true, holdFor: time.Second}
	}
	o := outcome{item: item}
	if held := d.hold(&o); held {
		return o
	}
	d.mu.Lock()
	row, number, now := l.ep.row, l.attempt+1, d.cfg.Now()
	secrets := valid(&row, l.ep.secrets, now)
	// Reading took its time: is the lane still ours, the address still good?
	ready := l.known && !l.ep.stale && l.ep.usable() && d.leased()
	d.mu.Unlock()
	if !ready {
		o.nothing, o.holdFor = true, 100*time.Millisecond
		return o
	}
	o.row, o.at = row, now
	if tooOld(&item, row) {
		o.refused = "expired_while_disabled"
		return o
	}
	if row.Kind == store.EndpointBot {
		d.turn(&o)
	} else {
		d.call(&o, secrets, number)
	}
	o.latency = d.cfg.Now().Sub(o.at)
	return o
}

// queueFor is how old a delivery may be when a disabled endpoint is enabled
// again to be sent by itself; older ones are dead letters.
const queueFor = time.Hour

func tooOld(item *store.Delivery, row store.Endpoint) bool {
	return item.CreatedAt.Before(row.EnabledAt.Add(-queueFor))
}

// hold keeps a delivery back while a synchronous caller may take it.
func (d *Dispatcher) hold(o *outcome) (held bool) {
	if o.item.Taken {
		o.skip = true
		return true
	}
	if o.item.HoldUntil.IsZero() {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if in := o.item.HoldUntil.Sub(d.cfg.Now()); in > 0 {
		// Look again soon: the caller usually takes it at once.
		o.nothing, o.holdFor = true, min(in, 250*time.Millisecond)
		if err := d.cfg.Store.View(ctx, func(tx *store.Tx) error {
			now, err := tx.Delivery(o.item.Lane, o.item.Seq)
			o.skip = err == nil && now.Taken
			return err
		}); err == nil && o.skip {
			o.nothing = false
		}
		return true
	}
	send := false
	if err := d.cfg.Store.Update(ctx, func(tx *store.Tx) (err error) {
		send, err = tx.ReleaseHeld(o.item.Lane, o.item.Seq)
		return err
	}); err != nil {
		o.nothing, o.holdFor = true, time.Second
		return true
	}
	o.skip = !send
	return !send
}

// turn lets the bot answer, and then looks where its lane stands.
func (d *Dispatcher) turn(o *outcome) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := d.ask(ctx, o); err != nil {
		o.err, o.down = clip("bot: "+err.Error(), 300), tract.KindOf(err) == tract.KindUnavailable
		return
	}
	err := d.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		o.lane, _, err = tx.Lane(o.item.Lane)
		return err
	})
	switch {
	case err != nil:
		o.lane = store.Lane{}
	case o.lane.Done < o.item.Seq:
		o.err = "bot: the turn was left open"
	}
}

// ask calls the bot. A panic is this turn's failure and nobody else's.
func (d *Dispatcher) ask(ctx context.Context, o *outcome) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return d.cfg.Bot(ctx, o.item.Payload, o.item.Lane, o.item.Seq)
}

// call makes one HTTP call and says what came of it.
func (d *Dispatcher) call(o *outcome, secrets []string, number int) {
	req, err := d.request(o.row.URL, secrets, o.item.WebhookID(), o.item.Payload, number)
	if err != nil {
		o.refused = "bad_url"
		return
	}
	res, err := d.cfg.HTTP.Do(context.Background(), req)
	if err != nil {
		class := safehttp.Class(err)
		o.err, o.slow = describe(class, err), class == "timeout"
		return
	}
	o.status, o.excerpt = res.Status, text(string(res.Body), excerptBytes)
	switch {
	case res.Status >= 200 && res.Status < 300:
		o.readAnswer(res.Body)
	case res.Status == http.StatusGone:
		o.err, o.gone = "status 410", true
	default:
		o.err = "status " + strconv.Itoa(res.Status)
		o.slow = res.Status == http.StatusTooManyRequests || res.Status == http.StatusServiceUnavailable
		o.retryAfter = retryAfter(res.Header, d.cfg.Now())
	}
}

func describe(class string, err error) string {
	text := err.Error()
	if text == "" || text == class {
		return class
	}
	return clip(class+": "+text, 300)
}

func (d *Dispatcher) request(url string, secrets []string, id string, payload []byte, number int) (*http.Request, error) {
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Tract-Attempt", strconv.Itoa(number))
	sign.Headers(req.Header, secrets, sign.Delivery{ID: id, At: d.cfg.Now(), Body: payload})
	return req, nil
}

// answer is what a tool may say in its 2xx.
type answer struct {
	Error     json.RawMessage `json:"error"`
	ECTUserID json.RawMessage `json:"ect_user_id"`
}

// readAnswer takes the documented fields out of a 2xx body. An error in it is
// kept with the delivery and not tried again.
func (o *outcome) readAnswer(body []byte) {
	var a answer
	if json.Unmarshal(body, &a) != nil {
		return
	}
	var id string
	if json.Unmarshal(a.ECTUserID, &id) == nil && len(id) <= 512 && text(id, 512) == id {
		o.ectUserID = id
	}
	var s string
	switch {
	case json.Unmarshal(a.Error, &s) == nil:
		o.said = text(s, 300)
	case len(a.Error) > 0 && string(a.Error) != "false":
		o.said = text(string(a.Error), 300)
	}
}

// excerptBytes is how much of an answer the delivery log keeps.
const excerptBytes = 1024

// text makes what a stranger wrote fit to be stored: no engine takes a NUL or
// broken UTF-8, and one mark that cannot be written would hold up all others.
func text(s string, n int) string {
	return clip(strings.ToValidUTF8(strings.ReplaceAll(s[:min(len(s), 2*n)], "\x00", ""), ""), n)
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// errStopped is why a test call is not made any more.
var errStopped = errors.New("the dispatcher has stopped")

// TestResult is what a test call met.
type TestResult struct {
	Status  int
	Error   string
	Latency time.Duration
	Excerpt string
}

// Test sends a signed ping to an endpoint, once, outside its lanes.
func (d *Dispatcher) Test(ctx context.Context, row store.Endpoint, payload []byte) (TestResult, error) {
	if d.stopped() {
		return TestResult{}, errStopped
	}
	begun := d.cfg.Now()
	id := "msg_ping_" + strconv.FormatInt(row.ID, 10) + "_" + strconv.FormatInt(begun.UnixMicro(), 10)
	req, err := d.request(row.URL, valid(&row, d.openSecrets(row), begun), id, payload, 1)
	if err != nil {
		return TestResult{}, err
	}
	res, err := d.cfg.HTTP.Do(ctx, req)
	out := TestResult{Latency: d.cfg.Now().Sub(begun)}
	if err != nil {
		out.Error = describe(safehttp.Class(err), err)
		return out, nil
	}
	out.Status, out.Excerpt = res.Status, text(string(res.Body), excerptBytes)
	return out, nil
}
