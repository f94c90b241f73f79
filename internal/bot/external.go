package bot

import (
	"context"
	"fmt"

	"tract"
	"tract/internal/bot/external"
	"tract/internal/hsl"
	"tract/internal/store"
)

// asking is what an external bot is told of a question, but for its meaning.
func asking(q *question, cfg *tract.Config, t *store.Thread, e *store.Entry) external.Question {
	// The id of the turn's delivery: the same when the turn is given again.
	id := store.Delivery{Entry: q.Entry, Lane: q.Lane}
	return external.Question{
		Client: q.Client, ClientID: cfg.Client.ID, Business: q.Business,
		ID: id.WebhookID(), Node: q.bot.DomainName, Conversation: e.Conversation, Message: e.ID, Body: e.Body,
		User: external.User{ID: t.Pxut, Name: t.User.UserName, FullName: t.User.Details.Name, AuthID: t.User.AuthID, Language: t.User.Details.LanguageCode, Platform: t.Platform},
	}
}

// findOutside lets the external bot of the business find the reply. What it does
// not know is not understood, as if no step had matched.
func (b *IVA) findOutside(ctx context.Context, q *question, h *heard) (reply, error) {
	if b.External == nil {
		return reply{}, fmt.Errorf("the external bot of business %d is not connected", q.Business)
	}
	asked := q.asking
	asked.Text = h.text
	var guesses []guess
	if q.external.Kind == tract.ExternalOpenAI {
		m, err := b.models.get(ctx, q.key(), q.edition)
		if err != nil {
			return reply{}, err
		}
		var confidence float64
		_, confidence, guesses = m.match(h.text)
		if confidence < threshold(&q.bot) {
			if r := q.notKnown(h, guesses); r.handoff == "" {
				return r, nil // small talk need not be paid for
			}
		}
		if asked.Steps, err = b.bestSteps(ctx, q, m, h.text); err != nil {
			return reply{}, err
		}
		if len(asked.Steps) == 0 {
			return q.notKnown(h, guesses), nil
		}
	}
	a, err := b.External.Ask(ctx, q.external, &asked)
	switch {
	case err != nil:
		return reply{guesses: guesses}, err
	case a.Unknown:
		return q.notKnown(h, guesses), nil
	case a.Handover:
		return reply{bodies: a.Bodies, handoff: tract.ReasonBotBreak, guesses: guesses}, nil
	}
	return reply{bodies: a.Bodies}, nil
}

// bestSteps are the steps that a question most likely means, in plain words, as
// they are now: a step that was removed since the model was made is left out.
func (b *IVA) bestSteps(ctx context.Context, q *question, m *model, text string) (out []external.Step, err error) {
	if m.matcher == nil {
		return nil, nil
	}
	best := m.matcher.Match(text).Candidates
	err = b.Store.View(ctx, func(tx *store.Tx) error {
		out = nil
		for _, c := range best[:min(len(best), external.MaxSteps)] {
			s, found, err := tx.Step(q.Client, q.bot.DomainName, c.Name)
			if err != nil {
				return err
			}
			if found {
				out = append(out, inWords(s))
			}
		}
		return nil
	})
	return out, err
}

// inWords is a step without the elements that its answers may be.
func inWords(s tract.Step) external.Step {
	out := external.Step{Name: s.Name, Questions: s.Questions}
	for _, answer := range s.Answers {
		if e, err := hsl.Parse([]byte(body(answer))); err == nil && e.Text != "" {
			out.Answers = append(out.Answers, e.Text)
		}
	}
	return out
}
