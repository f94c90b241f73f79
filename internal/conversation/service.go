// Package conversation owns the commands on a thread: it locks the thread, lets
// the rules of package tract decide, writes the log, the ledger and what is to
// be delivered, all in the caller's transaction; and it runs the threads' timers
// and jobs.
//
// It must not know how anything is delivered, nor who may call: it meets the
// delivery package only in the outbox. Invariant: everything a command does is
// in one transaction, or nothing is.
package conversation

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"tract"
	"tract/internal/hsl"
	"tract/internal/store"
)

// Service carries out commands. Store is needed; the other fields have defaults.
type Service struct {
	Store     *store.Store
	PublicURL string    // for links to transcripts
	Rand      io.Reader // for pxuts; crypto/rand by default
	Log       *slog.Logger
	// Alarm is told of what needs an operator's eyes: a code and a client.
	Alarm func(code string, client, thread int64)

	configs configs
	pxuts   known[pxut]
	users   known[userOf]
	watches watches
	missing missing
}

// New makes a service on a store and listens to its commits.
func New(s *store.Store, publicURL string, log *slog.Logger) *Service {
	c := &Service{Store: s, PublicURL: publicURL, Rand: rand.Reader, Log: log}
	s.Watch(&c.watches)
	return c
}

// Result is what came of a command.
type Result struct {
	Thread  *store.Locked
	Config  *tract.Config
	Entries []store.Entry
	Outcome tract.Outcome
	// Refused says why nothing was done. The transaction may still hold a line
	// for the ledger, so it is to be committed all the same.
	Refused error
	// Turn is the bot's turn that a user's message began; nil if none.
	Turn *Turn
}

// Turn is a user message that the bot has to answer: the payload of its lane.
type Turn struct {
	Client   int64           `json:"client"`
	Business int64           `json:"business"`
	Thread   int64           `json:"thread"`
	Entry    tract.MessageID `json:"entry"`
	Epoch    int64           `json:"epoch"`
	// Conversation is the one it was asked in.
	Conversation int `json:"conversation"`
	// HoldUntil keeps the replies back for a caller that waits; zero = nobody does.
	HoldUntil time.Time `json:"hold_until,omitzero"`

	Lane store.LaneKey `json:"-"`
	Seq  int64         `json:"-"`
}

// Options of a command beside its own fields.
type Options struct {
	Hold      time.Duration  // keep the bot's replies for a synchronous caller
	HeldUntil time.Time      // of an answer to such a turn
	Brief     map[string]any // what the bot knows, for a hand-over
	// Tool is the external tool that gives the command: to one that is not
	// attached to the business the thread does not exist.
	Tool tract.ReceiverID
	// Check says of the locked thread whether the caller may give the command,
	// before anything is decided; nil asks nobody.
	Check func(tx *store.Tx, l *store.Locked, c *tract.Config) error
}

// Do applies a command in a transaction of its own. A refusal is returned as the
// error, beside the result.
func (s *Service) Do(ctx context.Context, thread int64, c tract.Command) (*Result, error) {
	var res *Result
	err := s.Store.UpdateThread(ctx, thread, func(tx *store.Tx) (err error) {
		res, err = s.Apply(tx, thread, c, Options{})
		return err
	})
	if err != nil {
		return nil, err
	}
	return res, res.Refused
}

// Apply applies a command to a thread within a transaction.
func (s *Service) Apply(tx *store.Tx, thread int64, c tract.Command, o Options) (*Result, error) {
	l, err := tx.LockThread(thread)
	if err != nil {
		return nil, err
	}
	cfg, err := s.configs.get(tx, l.Client, l.ConfigVersion)
	if err != nil {
		return nil, err
	}
	if o.Check != nil {
		if err := o.Check(tx, l, cfg.Config); err != nil {
			return nil, err
		}
	}
	if l.Erased() {
		if o.Tool != "" {
			return nil, errNoUser
		}
		return nil, ErrErased
	}
	settings := cfg.settings[l.Business]
	if o.Tool != "" && !attached(cfg.Config, l.Business, o.Tool) {
		return nil, errNoUser
	}
	if settings == nil {
		return nil, store.ErrNotFound.With("business %d is not configured any more", l.Business)
	}
	if f, ok := c.(tract.Fire); ok && f.Timer == tract.TimerAck {
		if f.Heard, err = tx.HeardSince(l.ID, l.State.Owner, l.State.GainedAt); err != nil {
			return nil, err
		}
		c = f
	}
	before := l.State
	out, refused := tract.Decide(before, settings, c, tx.Now)
	res := &Result{Thread: l, Config: cfg.Config, Outcome: out, Refused: refused}
	for _, e := range out.Ledger {
		if err := tx.InsertLedger(l.ID, e); err != nil {
			return nil, err
		}
	}
	if refused != nil {
		return res, nil
	}
	w := &writer{s: s, tx: tx, l: l, cfg: cfg.Config, settings: settings, o: o, before: before, out: out, res: res}
	if err := w.write(); err != nil {
		return nil, err
	}
	if out.Alarm != "" {
		s.alarm(out.Alarm, l)
	}
	return res, nil
}

// errNoUser is the one answer for a user_id that is unknown, another client's,
// or of a business the tool is not attached to.
var errNoUser = store.ErrNotFound.With("no such user_id")

func attached(c *tract.Config, business int64, tool tract.ReceiverID) bool {
	b, t := c.Businesses[business], c.Tools[tool]
	return b != nil && t != nil && t.Active && slices.Contains(b.Tools, tool)
}

// Find gives the thread that a tool calls by its user_id. Whether the tool may
// see it is decided where it is used: see Options.Tool and ForTool.
func (s *Service) Find(ctx context.Context, client int64, handle string) (thread int64, err error) {
	if id, ok := s.pxuts.get(pxut{client, handle}); ok {
		return id, nil
	}
	err = s.Store.View(ctx, func(tx *store.Tx) (err error) {
		thread, _, err = tx.ThreadKey(client, handle)
		return err
	})
	if err == nil {
		s.pxuts.put(pxut{client, handle}, thread)
	}
	return thread, err
}

// ForTool reads a thread that a tool is attached to; others do not exist for it.
func (s *Service) ForTool(tx *store.Tx, client int64, tool tract.ReceiverID, pxut string) (t store.Thread, c *tract.Config, err error) {
	id, _, err := tx.ThreadKey(client, pxut)
	if err != nil {
		return t, nil, errNoUser
	}
	if t, err = tx.Thread(id); err != nil {
		return t, nil, err
	}
	if c, err = s.Config(tx, client); err != nil {
		return t, nil, err
	}
	if !attached(c, t.Business, tool) {
		return t, nil, errNoUser
	}
	return t, c, nil
}

func (s *Service) alarm(code string, l *store.Locked) {
	if s.Log != nil {
		s.Log.Warn("operator alarm", "code", code, "client", l.Client, "thread", l.ID)
	}
	if s.Alarm != nil {
		s.Alarm(code, l.Client, l.ID)
	}
}

// Answer applies what the bot found for a turn and settles the turn in the same
// transaction, so that no crash answers twice. An answer that comes too late is
// dropped. What also writes belongs to an answer that was taken; nil is nothing.
func (s *Service) Answer(ctx context.Context, t Turn, a tract.BotAnswer, brief map[string]any, also func(tx *store.Tx, res *Result) error) error {
	a.Epoch, a.Conversation = t.Epoch, t.Conversation
	// The thread is locked before the lane, as by everybody.
	settle := func(tx *store.Tx, _ *store.Locked, _ *tract.Config) error {
		open, err := tx.SettleTurn(t.Lane, t.Seq)
		if err == nil && !open {
			err = errAnswered
		}
		return err
	}
	err := s.Store.UpdateThread(ctx, t.Thread, func(tx *store.Tx) error {
		res, err := s.Apply(tx, t.Thread, a, Options{HeldUntil: t.HoldUntil, Brief: brief, Check: settle})
		switch {
		case err != nil:
			return err
		case res.Refused == nil && also != nil:
			return also(tx, res)
		case res.Refused != nil && s.Log != nil:
			s.Log.Info("bot answer dropped", "thread", t.Thread, "code", tract.CodeOf(res.Refused))
		}
		return nil
	})
	if errors.Is(err, errAnswered) {
		return nil
	}
	return err
}

// errAnswered says that a turn was answered before.
var errAnswered = errors.New("conversation: the turn is settled")

// Config gives a client's configuration as of a transaction.
func (s *Service) Config(tx *store.Tx, client int64) (*tract.Config, error) {
	v, err := tx.ConfigVersion(client)
	if err != nil {
		return nil, err
	}
	c, err := s.configs.get(tx, client, v)
	if err != nil {
		return nil, err
	}
	return c.Config, nil
}

// Settings gives what decides about a business' threads; nil when it does not exist.
func (s *Service) Settings(tx *store.Tx, client, business int64) (*tract.Settings, error) {
	v, err := tx.ConfigVersion(client)
	if err != nil {
		return nil, err
	}
	c, err := s.configs.get(tx, client, v)
	if err != nil {
		return nil, err
	}
	return c.settings[business], nil
}

// Open finds or makes the thread of a user with a business.
func (s *Service) Open(tx *store.Tx, client, business, user int64, platform int) (int64, error) {
	id, err := tx.ThreadOf(client, business, user)
	if err != nil || id != 0 {
		return id, err
	}
	var b [16]byte
	if _, err := io.ReadFull(s.Rand, b[:]); err != nil {
		return 0, err
	}
	return tx.InsertThread(client, business, user, base64.RawURLEncoding.EncodeToString(b[:]), platform)
}

// configs caches each client's configuration at its newest version.
type configs struct {
	mu   sync.Mutex // guards have
	have map[int64]*config
}

type config struct {
	*tract.Config
	settings map[int64]*tract.Settings
}

func (c *configs) get(tx *store.Tx, client, version int64) (*config, error) {
	c.mu.Lock()
	k := c.have[client]
	c.mu.Unlock()
	if k != nil && k.Version == version {
		return k, nil
	}
	cfg, err := tx.Config(client)
	if err != nil {
		return nil, err
	}
	k = &config{Config: cfg, settings: make(map[int64]*tract.Settings, len(cfg.Businesses))}
	for id := range cfg.Businesses {
		k.settings[id], _ = cfg.Settings(id)
	}
	if cfg.Version != version {
		return k, nil // changed within this very transaction: not for others yet
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.have == nil {
		c.have = map[int64]*config{}
	}
	if old := c.have[client]; old == nil || old.Version < version {
		c.have[client] = k
	}
	return k, nil
}

// Remember keeps which thread a user of a client has with a business.
func (s *Service) Remember(client, business int64, authID string, thread int64) {
	s.users.put(userOf{client, business, authID}, thread)
}

// Remembered gives a thread that Remember was told of; 0 = none. Whoever uses it
// checks that it still is that user's: see Options.Check.
func (s *Service) Remembered(client, business int64, authID string) int64 {
	id, _ := s.users.get(userOf{client, business, authID})
	return id
}

// known remembers which thread something stands for.
type known[K comparable] struct {
	mu   sync.Mutex // guards have
	have map[K]int64
}

type pxut struct {
	client int64
	text   string
}

type userOf struct {
	client, business int64
	authID           string
}

// mostKnown bounds the memory; beyond it the cache begins anew.
const mostKnown = 100_000

func (k *known[K]) get(key K) (int64, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id, ok := k.have[key]
	return id, ok
}

func (k *known[K]) put(key K, thread int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.have == nil || len(k.have) >= mostKnown {
		k.have = map[K]int64{}
	}
	k.have[key] = thread
}

// textBody is the HSL of plain text.
func textBody(s string) string { return hsl.Text(s).Body() }
