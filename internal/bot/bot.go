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
	"slices"
	"strings"
	"time"

	"tract"
	"tract/internal/bot/external"
	"tract/internal/conversation"
	"tract/internal/hsl"
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

// What a bot without a setting of its own does.
const (
	defaultThreshold = 0.5
	defaultBreak     = "Sorry, I did not get that."
)

// question is a turn with everything that its answer depends on.
type question struct {
	conversation.Turn
	bot      tract.Bot // zero when the business has none that is active
	assisted bool      // human assistance is on
	edition  edition   // of the bot's steps
	kind     int       // message type
	body     string    // what the user wrote, as it came
	language []string  // the bot's, then the user's
	said     []string  // bodies of the bot's messages in this conversation, oldest first
	shown    []string  // what these were written as, see conversation.Template
	first    bool      // nobody but the user has written in this conversation

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
	answer, brief := b.answer(ctx, q)
	err = b.Conversation.Answer(ctx, q.Turn, answer, brief)
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

// recentMessages is how much of a conversation the bot looks at.
const recentMessages = 50

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
	q.language = []string{bot.Language, t.User.Details.LanguageCode}
	e, err := tx.Entry(q.Entry)
	if err != nil {
		return err
	}
	recent, err := tx.ListRecentMessages(q.Thread, e.Conversation, 0, recentMessages)
	if err != nil {
		return err
	}
	q.kind, q.said, q.shown, q.first = e.MessageType, nil, nil, len(recent) < recentMessages
	for i := range recent {
		if recent[i].Sender == tract.SenderIVA {
			q.said = append(q.said, recent[i].Body)
			q.shown = append(q.shown, conversation.Template(&recent[i]))
		}
		q.first = q.first && recent[i].Sender == tract.SenderCEU
	}
	q.body = e.Body
	if q.external = business.ExternalBot; q.external != nil {
		q.asking = asking(q, cfg, &t, &e)
	}
	return nil
}

// meant is what a message of the user says to the bot: the hidden message of a
// quick reply where there is one, without the parts in braces.
func meant(said string, before []string) string {
	e, err := hsl.Parse([]byte(said))
	if err != nil {
		return ""
	}
	text := hidden(e)
	if text == "" {
		text = chosen(e.Text, before)
	}
	return hsl.Element{Text: text}.Display()
}

// hidden is the gogo_message that a channel sends along with a chosen reply.
func hidden(e hsl.Element) string {
	var x struct {
		Data struct {
			GogoMessage string `json:"gogo_message"`
			Payload     struct {
				GogoMessage string `json:"gogo_message"`
			} `json:"payload"`
		} `json:"data"`
	}
	if json.Unmarshal(e.Raw, &x) != nil {
		return "" // the keys mean something else in this element
	}
	if x.Data.GogoMessage != "" {
		return x.Data.GogoMessage
	}
	return x.Data.Payload.GogoMessage
}

// chosen is the hidden message of the choice that a text picks among those
// offered before, else the text: some channels send nothing but what was shown.
func chosen(text string, before []string) string {
	for _, offered := range slices.Backward(before) {
		e, err := hsl.Parse([]byte(offered))
		if err != nil {
			continue
		}
		for _, c := range e.Choices() {
			if strings.EqualFold(strings.TrimSpace(text), strings.TrimSpace(c.Message)) {
				return c.GogoMessage
			}
		}
	}
	return text
}

// answer finds what the bot says. It never fails: what it cannot do is a bot break.
func (b *IVA) answer(ctx context.Context, q *question) (a tract.BotAnswer, brief map[string]any) {
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
	a.Bodies = append(a.Bodies, r.bodies...)
	if r.handoff == "" {
		return a, nil
	}
	a.Handoff, a.BreakBody = r.handoff, body(orElse(q.bot.BotBreak, defaultBreak))
	if q.bot.Handover != "" {
		a.HandoverBody = body(q.bot.Handover)
	}
	return a, b.brief(q, r.guesses)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// reply is what was found for a question: messages, or why to hand over.
type reply struct {
	bodies  []string
	handoff string
	guesses []guess
}

// find looks for the reply, in the order in which one way goes before another.
func (b *IVA) find(ctx context.Context, q *question) (r reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = reply{}, fmt.Errorf("answering panicked: %v", p)
		}
	}()
	if q.bot.DomainName == "" || q.kind != tract.TypeText {
		return reply{handoff: tract.ReasonBotBreak}, nil
	}
	text := meant(q.body, q.said)
	words, books := wordsOf(text), b.books.of(q.language...)
	if q.assisted {
		for _, book := range books {
			if book.asksForHuman(words) {
				return reply{handoff: tract.ReasonUserAsked}, nil
			}
		}
	}
	if q.external != nil {
		return b.findOutside(ctx, q, text, words, books)
	}
	m, err := b.models.get(ctx, q.key(), q.edition)
	if err != nil {
		return reply{}, err
	}
	best, confidence, guesses := m.match(text)
	if confidence >= thresholdOf(&q.bot) && len(best.bodies) > 0 {
		return reply{bodies: best.bodies}, nil
	}
	return notKnown(words, books, guesses), nil
}

func thresholdOf(b *tract.Bot) float64 {
	if b.Threshold == 0 {
		return defaultThreshold
	}
	return b.Threshold
}

// notKnown is the reply to what no step answers: small talk, or a bot break.
func notKnown(words []string, books []*phrasebook, guesses []guess) reply {
	for _, book := range books {
		if said, ok := book.chat(words); ok {
			return reply{bodies: []string{body(said)}}
		}
	}
	return reply{handoff: tract.ReasonBotBreak, guesses: guesses}
}

// brief is what the bot can tell the human who takes over. What the
// conversation knows by itself is added there.
func (b *IVA) brief(q *question, guesses []guess) map[string]any {
	out := map[string]any{"steps_shown": b.shown(q)}
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
func (b *IVA) shown(q *question) []string {
	names := []string{}
	m := b.models.now(q.key())
	if m == nil {
		return names
	}
	seen := map[string]bool{}
	for _, template := range q.shown {
		if name, ok := m.stepOf[template]; ok && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}
