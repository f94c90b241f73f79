// Package bot owns the IVA: its steps and the files they come from, the models
// trained of them, and what it answers to a turn. The matching itself is in nlu.
//
// It must not know how turns reach it nor where answers go: a turn comes as the
// payload of a lane, an answer is a command on the thread, and whether it still
// counts is decided there.
//
// Invariants: every turn is answered and settled in one transaction, or tried
// again because the store was away; nothing that fails within the bot keeps a
// user waiting longer than Limit: it is a bot break; a bot answers from one
// whole version of its steps, never from a mixture.
package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"tract"
	"tract/internal/bot/external"
	"tract/internal/conversation"
	"tract/internal/store"
)

// IVA answers turns. Make it with New; Run trains its models.
type IVA struct {
	Store        *store.Store
	Conversation *conversation.Service
	Log          *slog.Logger
	Limit        time.Duration  // for finding one answer
	External     *external.Bots // nil = external bots are not asked: a bot break

	models *models
	books  phrasebooks
}

// New makes the IVA and lets it hear of changed steps: call it before the
// store's first Update.
func New(s *store.Store, c *conversation.Service, log *slog.Logger) *IVA {
	b := &IVA{Store: s, Conversation: c, Log: log, Limit: 5 * time.Second, models: newModels(), books: newPhrasebooks()}
	if b.Log == nil {
		b.Log = slog.New(slog.DiscardHandler)
	}
	s.Watch(b.models)
	return b
}

// question is a turn with everything that its answer depends on.
type question struct {
	conversation.Turn
	bot      tract.Bot // zero when the business has none that is active
	assisted bool      // human assistance is on
	edition  edition   // of the bot's steps
	kind     int       // message type
	body     string    // what the user wrote, as it came
	language []string  // the bot's, then the user's
	textOnly bool      // the user's platform shows no quick replies
	past     past      // of this conversation
	longer   bool      // than what was read of it
	first    bool      // nobody but the user has written in it

	external *tract.ExternalBot // answers instead of the steps; nil = they do
	asking   external.Question  // for it, as far as it is known beforehand
}

func (q *question) key() key { return key{q.Client, q.bot.DomainName} }

// Turn answers one turn and settles it. An error means that the store could not
// take it: the turn is to be given again.
func (b *IVA) Turn(ctx context.Context, payload []byte, lane store.LaneKey, seq int64) error {
	q, err := b.read(ctx, payload, lane, seq)
	if err != nil {
		return err
	}
	answer, r := b.answer(ctx, q)
	var brief map[string]any
	if r.handoff != "" {
		brief = b.brief(ctx, q, r.guesses)
	}
	err = b.Conversation.Answer(ctx, q.Turn, answer, brief, r.keep(q))
	if tract.KindOf(err) != tract.KindNotFound {
		return err
	}
	// The thread or its business is gone: there is nobody to answer, and the
	// turn must not come back for ever.
	b.Log.Warn("turn dropped", "thread", lane.Thread, "error", err)
	return b.Store.UpdateThread(ctx, lane.Thread, func(tx *store.Tx) error {
		_, err := tx.SettleTurn(lane, seq)
		return err
	})
}

// How much of a conversation the bot looks at: to answer, and to tell the human
// who takes over. Reading it is half of what a turn costs.
const (
	recentMessages = 20
	briefMessages  = 50
)

// read gathers what the answer depends on, in one snapshot. What is gone or
// cannot be read is missing in the question; only a failing store is an error.
func (b *IVA) read(ctx context.Context, payload []byte, lane store.LaneKey, seq int64) (*question, error) {
	q := &question{}
	if err := json.Unmarshal(payload, &q.Turn); err != nil || q.Thread != lane.Thread {
		b.Log.Error("turn not readable", "thread", lane.Thread, "error", err)
		q.Turn = conversation.Turn{Thread: lane.Thread}
	}
	q.Lane, q.Seq = lane, seq
	err := b.Store.View(ctx, func(tx *store.Tx) error { return b.fill(tx, q) })
	if err != nil && tract.KindOf(err) == tract.KindNotFound {
		b.Log.Warn("turn incomplete", "thread", q.Thread, "error", err)
		return q, nil
	}
	return q, err
}

func (b *IVA) fill(tx *store.Tx, q *question) error {
	if q.Entry == 0 {
		return nil
	}
	cfg, err := b.Conversation.Config(tx, q.Client)
	if err != nil {
		return err
	}
	business := cfg.Businesses[q.Business]
	if business == nil {
		return nil
	}
	bot := cfg.Bots[business.Bot]
	if business.Bot == "" || bot == nil || !bot.Active {
		return nil
	}
	q.bot, q.assisted = *bot, business.HumanAssistance
	version, _, err := tx.FAQVersion(q.Client, bot.DomainName)
	if err != nil {
		return err
	}
	q.edition = edition{version, bot.Language}
	t, err := tx.Thread(q.Thread)
	if err != nil {
		return err
	}
	q.language, q.textOnly = []string{bot.Language, t.User.Details.LanguageCode}, tract.TextOnly(t.Platform)
	e, err := tx.Entry(q.Entry)
	if err != nil {
		return err
	}
	recent, err := tx.ListRecentMessages(q.Thread, e.Conversation, 0, recentMessages)
	if err != nil {
		return err
	}
	q.kind, q.past, q.longer = e.MessageType, pastOf(recent), len(recent) == recentMessages
	q.first = !q.longer
	for i := range recent {
		q.first = q.first && recent[i].Sender == tract.SenderCEU
	}
	q.body = e.Body
	if q.external = business.ExternalBot; q.external != nil {
		q.asking = asking(q, cfg, &t, &e)
	}
	return nil
}

// answer finds what the bot says. It never fails: what it cannot do is a bot break.
func (b *IVA) answer(ctx context.Context, q *question) (a tract.BotAnswer, r reply) {
	ctx, cancel := context.WithTimeout(ctx, b.Limit)
	defer cancel()
	if q.bot.Welcome != "" && q.first {
		a.Bodies = append(a.Bodies, body(q.bot.Welcome))
	}
	r, err := b.find(ctx, q)
	if err != nil {
		level := slog.LevelError
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, external.ErrNoAnswer) {
			level = slog.LevelWarn
		}
		b.Log.Log(ctx, level, "bot failed", "client", q.Client, "thread", q.Thread, "domain", q.bot.DomainName, "error", err)
		r = reply{handoff: tract.ReasonBotBreak, guesses: r.guesses}
	}
	a.Bodies, a.Mark = append(a.Bodies, r.bodies...), r.mark
	if r.handoff == "" {
		return a, r
	}
	a.Handoff = r.handoff
	switch {
	case r.otherwise != "":
		a.BreakBody = r.otherwise
	case !r.quiet:
		a.BreakBody = body(orElse(q.bot.BotBreak, q.wording().BotBreak))
	}
	if q.bot.Handover != "" {
		a.HandoverBody = body(q.bot.Handover)
	}
	return a, r
}

// wording is what the bot says where its settings have nothing.
func (q *question) wording() tract.BotWording { return tract.DefaultWording(q.bot.Language) }

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// reply is what was found for a question: messages, or why to hand over.
type reply struct {
	bodies    []string
	mark      string // of the last body
	handoff   string
	otherwise string // said when there is nobody to hand over to; "" = the bot break
	quiet     bool   // nothing is said then
	guesses   []guess

	lesson // what there is to learn of it
}

// find looks for the reply, in the order in which one way goes before another.
func (b *IVA) find(ctx context.Context, q *question) (r reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = reply{}, fmt.Errorf("answering panicked: %v", p)
		}
	}()
	if q.bot.DomainName == "" {
		return reply{handoff: tract.ReasonBotBreak}, nil
	}
	if q.kind != tract.TypeText {
		return q.received(), nil
	}
	h := b.hear(q)
	if q.assisted && h.step == "" && h.asksForHuman() {
		return reply{handoff: tract.ReasonUserAsked}, nil
	}
	if q.external != nil {
		return b.findOutside(ctx, q, h)
	}
	m, err := b.models.get(ctx, q.key(), q.edition)
	if err != nil {
		return reply{}, err
	}
	if h.step == noStep {
		return reply{handoff: tract.ReasonBotBreak, lesson: lesson{refused: true}}, nil
	}
	if step, ok := m.byID(h.step); ok {
		return reply{bodies: step.bodies, lesson: lesson{chosen: step.name}}, nil
	}
	if answer, ok := h.own.chat(h.words, &q.bot.SmallTalk); ok {
		return aside(answer), nil
	}
	best, confidence, guesses := m.match(h.text)
	if confidence >= threshold(&q.bot) && len(best.bodies) > 0 {
		return reply{bodies: best.bodies}, nil
	}
	r = q.notKnown(h, guesses)
	if r.handoff != "" && confidence >= suggestFrom(&q.bot) && confidence < threshold(&q.bot) { // else it is sure of a step that says nothing
		q.suggest(m, &r)
	}
	return r, nil
}

// brief is what the bot can tell the human who takes over. What the
// conversation knows by itself is added there.
func (b *IVA) brief(ctx context.Context, q *question, guesses []guess) map[string]any {
	out := map[string]any{"steps_shown": b.shown(ctx, q)}
	if guesses != nil {
		out["guesses"] = guesses
	}
	for _, l := range q.language {
		if l != "" {
			out["language"] = l // the user's own comes last and wins
		}
	}
	return out
}

// shown names the steps whose answers the user has seen, as far as the present
// model knows them.
func (b *IVA) shown(ctx context.Context, q *question) []string {
	names := []string{}
	m := b.models.now(q.key())
	if m == nil {
		return names
	}
	written := q.past.written
	if q.longer {
		if err := b.Store.View(ctx, func(tx *store.Tx) error {
			recent, err := tx.ListRecentMessages(q.Thread, q.Conversation, 0, briefMessages)
			if err == nil {
				written = pastOf(recent).written
			}
			return err
		}); err != nil { // the hand-over does not wait for it
			b.Log.Warn("brief is short", "thread", q.Thread, "error", err)
		}
	}
	seen := map[string]bool{}
	for _, template := range written {
		if name, ok := m.stepOf[template]; ok && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}
