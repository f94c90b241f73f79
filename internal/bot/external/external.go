// Package external asks somebody else's bot in place of our own: one reached by
// a signed webhook, or a language model behind an OpenAI-compatible endpoint
// that may only put into words what given FAQ steps say.
//
// It must not know of threads, turns, models or the store: a question comes in,
// messages or a reason why there are none go out. It keeps nothing of what was
// asked or answered.
//
// Invariants: a call ends within its time-out and follows no redirect; an answer
// that is not exactly what the contract says is no answer; what a user writes is
// data to the language model and cannot make it say what no step says without
// the answer being refused by the checks here; no error, log line or metric
// holds a secret or the text of a message.
package external

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tract"
	"tract/internal/safehttp"
)

// caller makes one call; *safehttp.Client is one.
type caller interface {
	Do(ctx context.Context, req *http.Request) (*safehttp.Response, error)
}

// Config is what Bots are made from. HTTP, Open and Now are needed.
type Config struct {
	HTTP caller
	// Open gives the secret that was sealed for a client.
	Open  func(sealed string, client int64) (string, error)
	Now   func() time.Time
	Log   *slog.Logger
	Alarm func(code string)     // hears that a bot is not called for a while
	Count prometheus.Registerer // nil counts nowhere visible
}

// Bots calls the external bots of all businesses. Safe for concurrent use.
type Bots struct {
	cfg      Config
	breakers breakers
	metrics  *metrics
}

// New makes Bots.
func New(cfg Config) *Bots {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Alarm == nil {
		cfg.Alarm = func(string) {}
	}
	b := &Bots{cfg: cfg, breakers: breakers{have: map[line]*breaker{}}}
	b.metrics = newMetrics(cfg.Count, b.breakers.open)
	return b
}

// Question is what a user wants to know, with what the bot may be told of it.
type Question struct {
	Client   int64
	ClientID string // the client's own id
	Business int64

	ID           string // the same however often the question is asked
	Node         string // the bot's domain name
	Conversation int
	Message      tract.MessageID
	Body         string // the message as it came, an HSL object
	Text         string // what it means
	User         User
	Steps        []Step // for a language model: what it may answer from
}

// User is who asks.
type User struct {
	ID       string // pxut
	Name     string // ours, opaque
	FullName string
	AuthID   string
	Language string // code; "" = not known
	Platform int
}

// Step is an FAQ step in plain words.
type Step struct {
	Name      string
	Questions []string
	Answers   []string
}

// Answer is a good answer. Without Unknown there are Bodies, or Handover, or both.
type Answer struct {
	Bodies   []string // HSL message bodies
	Handover bool     // a human is to take over
	Unknown  bool     // the bot said that it does not know; the rest is empty
}

// ErrNoAnswer is in every error of Ask.
var ErrNoAnswer = errors.New("no good answer of the external bot")

// Ask asks the external bot of a business, or says at once that it is not to be
// asked now. Every error means that there is no answer, and is fit for logs.
func (b *Bots) Ask(ctx context.Context, bot *tract.ExternalBot, q *Question) (Answer, error) {
	at := line{q.Client, q.Business}
	if !b.breakers.enter(at, target(bot), b.cfg.Now()) {
		b.metrics.call(bot.Kind, resultOpen)
		return Answer{}, fmt.Errorf("%w: it failed too often and is left alone for a while", ErrNoAnswer)
	}
	health := healthUnknown
	defer func() { // also after a panic: a probe that never ended would be the last
		if b.breakers.leave(at, target(bot), health, b.cfg.Now()) {
			b.cfg.Log.Warn("operator alarm", "code", "external_bot_down", "client", q.Client, "business", q.Business)
			b.cfg.Alarm("external_bot_down")
		}
	}()
	call, cancel := context.WithTimeout(ctx, timeout(bot))
	defer cancel()
	begun := b.cfg.Now()
	a, err := b.ask(call, bot, q)
	result := resultOf(a, err)
	b.metrics.call(bot.Kind, result)
	b.metrics.took(bot.Kind, b.cfg.Now().Sub(begun))
	if ctx.Err() == nil || !errors.Is(ctx.Err(), context.Canceled) { // who gave up says nothing about the bot
		health = healthOf(err)
	}
	if err != nil {
		return Answer{}, fmt.Errorf("%w: %s: %w", ErrNoAnswer, result, err)
	}
	return a, nil
}

func (b *Bots) ask(ctx context.Context, bot *tract.ExternalBot, q *Question) (Answer, error) {
	secret := ""
	if bot.Secret != "" {
		var err error
		if secret, err = b.cfg.Open(bot.Secret, q.Client); err != nil {
			return Answer{}, fault(resultSecret, true, "its secret cannot be opened")
		}
	}
	switch bot.Kind {
	case tract.ExternalWebhook:
		return b.askWebhook(ctx, bot, secret, q)
	case tract.ExternalOpenAI:
		return b.askModel(ctx, bot, secret, q)
	}
	return Answer{}, fault(resultSecret, true, "its kind is not known")
}

// maxTimeout is the most that a user waits for an external bot.
const maxTimeout = 5 * time.Second

func timeout(bot *tract.ExternalBot) time.Duration {
	if t := time.Duration(bot.Timeout); t > 0 && t < maxTimeout {
		return t
	}
	return maxTimeout
}

// target tells one configuration of a bot from the next.
func target(bot *tract.ExternalBot) string {
	return bot.Kind + "\n" + bot.URL + "\n" + bot.Model + "\n" + bot.Secret
}

// post makes the call and gives the body of a 200.
func (b *Bots) post(ctx context.Context, req *http.Request) ([]byte, error) {
	res, err := b.cfg.HTTP.Do(ctx, req)
	if err != nil {
		return nil, &failure{result: classResult(safehttp.Class(err)), down: true, cause: err}
	}
	switch {
	case res.Status >= 300 && res.Status < 400:
		return nil, fault(resultRedirect, true, "status %d: redirects are not followed", res.Status)
	case res.Status != http.StatusOK:
		return nil, fault(resultStatus, true, "status %d", res.Status)
	case res.Truncated:
		return nil, fault(resultTooLarge, false, "the answer is too large")
	}
	return res.Body, nil
}

// The results of a question, as metrics have them.
const (
	resultAnswered   = "answered"
	resultUnknown    = "unknown"
	resultHandover   = "handover"
	resultOpen       = "open"
	resultTimeout    = "timeout"
	resultUnreached  = "unreachable"
	resultBlocked    = "blocked_address"
	resultRedirect   = "redirect"
	resultStatus     = "status"
	resultTooLarge   = "too_large"
	resultBad        = "bad_answer"
	resultUngrounded = "ungrounded"
	resultSecret     = "misconfigured"
)

// failure is why there is no answer.
type failure struct {
	result string
	down   bool // the endpoint, not this answer, is at fault
	cause  error
}

func (f *failure) Error() string { return f.cause.Error() }
func (f *failure) Unwrap() error { return f.cause }

func fault(result string, down bool, format string, args ...any) *failure {
	return &failure{result, down, fmt.Errorf(format, args...)}
}

// bad is an answer that breaks the contract. A single question can bring that
// about, so it is not held against the endpoint.
func bad(format string, args ...any) *failure { return fault(resultBad, false, format, args...) }

func classResult(class string) string {
	switch class {
	case "timeout":
		return resultTimeout
	case "blocked_address":
		return resultBlocked
	case "too_large":
		return resultTooLarge
	}
	return resultUnreached
}

func resultOf(a Answer, err error) string {
	var f *failure
	switch {
	case errors.As(err, &f):
		return f.result
	case err != nil:
		return resultBad
	case a.Unknown:
		return resultUnknown
	case a.Handover:
		return resultHandover
	}
	return resultAnswered
}

func healthOf(err error) health {
	var f *failure
	if errors.As(err, &f) && f.down {
		return healthDown
	}
	return healthUp
}
