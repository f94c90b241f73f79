package bot

import (
	"strconv"
	"strings"

	"tract"
	"tract/internal/hsl"
)

const (
	mostLabel = 40  // characters of what stands for a step in a choice
	farBehind = 0.1 // a step whose confidence is less of the best one's is not offered
)

func threshold(b *tract.Bot) float64 {
	if b.Threshold == 0 {
		return tract.DefaultThreshold
	}
	return b.Threshold
}

func suggestFrom(b *tract.Bot) float64 {
	if b.SuggestFrom == 0 {
		return tract.DefaultSuggestFrom
	}
	return b.SuggestFrom
}

func misunderstandings(b *tract.Bot) int {
	if b.Misunderstandings == 0 {
		return tract.DefaultMisunderstandings
	}
	return b.Misunderstandings
}

// aside is small talk: it neither counts as a misunderstanding nor ends a row of them.
func aside(answer string) reply {
	return reply{bodies: []string{body(answer)}, mark: tract.MarkAside}
}

// received acknowledges an image or a document; what is in it only a human can see.
func (q *question) received() reply {
	r := aside(orElse(q.bot.FileReceived, q.wording().FileReceived))
	if q.assisted {
		r.handoff, r.quiet = tract.ReasonBotBreak, true
	}
	return r
}

// notKnown is the reply to what no step answers for sure: small talk, or a bot
// break.
func (q *question) notKnown(h *heard, guesses []guess) reply {
	if answer, ok := h.chat(&q.bot.SmallTalk); ok {
		return aside(answer)
	}
	return reply{handoff: tract.ReasonBotBreak, guesses: guesses, lesson: lesson{question: h.text}}
}

// suggest makes a bot break a question which of the likeliest steps was meant.
// But who was not understood often enough gets a human, if there is one.
func (q *question) suggest(m *model, r *reply) {
	offer, names := q.suggestion(m, r.guesses)
	if len(names) == 0 {
		return
	}
	r.offered = names
	if q.assisted && q.past.misses+1 >= misunderstandings(&q.bot) {
		r.otherwise = offer
		return
	}
	r.handoff, r.bodies, r.mark = "", []string{offer}, tract.MarkMisunderstood
}

// suggestion asks which of the likeliest steps was meant.
func (q *question) suggestion(m *model, guesses []guess) (body string, names []string) {
	var choices []hsl.Choice
	add := func(label, id string) {
		choices = append(choices, hsl.Choice{Caption: label, Message: label, GogoMessage: label + stepOpen + id + stepClose})
	}
	labels := map[string]bool{}
	for _, g := range guesses {
		step, ok := m.byName(g.Step)
		if !ok || len(step.bodies) == 0 || g.Confidence < farBehind*guesses[0].Confidence {
			continue
		}
		label := step.label()
		if labels[strings.ToLower(label)] {
			label = shortened(step.name)
		}
		labels[strings.ToLower(label)] = true
		add(label, stepID(step.name))
		names = append(names, step.name)
	}
	w := q.wording()
	add(orElse(q.bot.SomethingElse, w.SomethingElse), noStep)
	text := orElse(q.bot.DidYouMean, w.DidYouMean)
	if q.textOnly {
		for i, c := range choices {
			text += "\n" + strconv.Itoa(i+1) + ". " + c.Caption
		}
	}
	return hsl.Offer(text, choices).Body(), names
}

// label is what stands for a step in a choice: how a user would ask for it, or
// its name where that fits better.
func (a *answers) label() string {
	asked := strings.Join(strings.Fields(a.asked), " ")
	if asked == "" || len([]rune(asked)) > mostLabel && len([]rune(a.name)) <= mostLabel {
		return shortened(a.name)
	}
	return shortened(asked)
}

func shortened(s string) string {
	if r := []rune(s); len(r) > mostLabel {
		return strings.TrimSpace(string(r[:mostLabel-1])) + "…"
	}
	return s
}
