package bot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"tract"
	"tract/internal/conversation"
	"tract/internal/hsl"
	"tract/internal/store"
)

// What a choice among suggested steps says to the bot stands in braces, which
// no user gets to see: stepOpen, the step's id or noStep, stepClose.
const (
	stepOpen  = "{tract_step:"
	stepClose = "}"
	noStep    = "none"
)

// stepID stands for a step in a choice. It comes from the name alone: it stays
// the same when the bot is trained again, or gets other steps.
func stepID(name string) string {
	sum := sha256.Sum256([]byte(store.StepKey(name)))
	return hex.EncodeToString(sum[:8])
}

// idIn is the step's id, or noStep, in a text; "" when there is none.
func idIn(text string) string {
	_, rest, ok := strings.Cut(text, stepOpen)
	id, _, closed := strings.Cut(rest, stepClose)
	if !ok || !closed {
		return ""
	}
	return id
}

// past is what the bot needs to know of the conversation so far. It is read
// from the log each time: any process may answer the next message.
type past struct {
	said    []string // bodies of the bot's messages, oldest first
	written []string // what these were written as, see conversation.Template
	offer   string   // the bot's last word, when that was a suggestion
	misses  int      // misunderstandings in a row, up to now
}

func pastOf(recent []store.Entry) (p past) {
	for i := range recent {
		if recent[i].Sender == tract.SenderIVA {
			p.said = append(p.said, recent[i].Body)
			p.written = append(p.written, conversation.Template(&recent[i]))
		}
	}
	last := true
	for _, e := range slices.Backward(recent) {
		mark, _ := e.Meta.Metadata[tract.MarkKey].(string)
		switch {
		case e.Sender == tract.SenderCEU, e.Sender == tract.SenderIVA && mark == tract.MarkAside:
			continue
		case e.Sender != tract.SenderIVA, mark != tract.MarkMisunderstood:
			return p
		}
		p.misses++
		if last && strings.Contains(e.Body, stepOpen) {
			p.offer = e.Body
		}
		last = false
	}
	return p
}

// meaning is what a message of the user says to the bot.
type meaning struct {
	text string // without the parts in braces
	step string // id of the step that was chosen, or noStep; "" = nothing was chosen
}

// heard is a message of the user with what it is understood by.
type heard struct {
	meaning
	words []string
	books []*phrasebook // of the bot's language, the user's, and English
	own   *phrasebook   // of the bot's settings
}

func (b *IVA) hear(q *question) *heard {
	h := &heard{books: b.books.of(q.language...)}
	h.own = ownBook(&q.bot, h.books)
	h.meaning = q.meant(h.books)
	h.words = wordsOf(h.text)
	return h
}

func (h *heard) asksForHuman() bool {
	return h.own.asksForHuman(h.words) || slices.ContainsFunc(h.books, func(b *phrasebook) bool { return b.asksForHuman(h.words) })
}

// chat answers small talk.
func (h *heard) chat(set *tract.SmallTalk) (answer string, ok bool) {
	if answer, ok = h.own.chat(h.words, set); ok {
		return answer, true
	}
	for _, b := range h.books {
		if answer, ok = b.chat(h.words, set); ok {
			return answer, true
		}
	}
	return "", false
}

// meant reads a message: the hidden message of a quick reply goes before the
// shown text.
func (q *question) meant(books []*phrasebook) meaning {
	e, err := hsl.Parse([]byte(q.body))
	if err != nil {
		return meaning{}
	}
	text := hidden(e)
	if text == "" {
		text = q.past.chosen(e.Text, books)
	}
	return meaning{hsl.Element{Text: text}.Display(), idIn(text)}
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
// What the bot said last can be picked by what is on the button, and what it
// suggested last by the number, too.
func (p *past) chosen(text string, books []*phrasebook) string {
	text = strings.TrimSpace(text)
	for i, offered := range slices.Backward(p.said) {
		for _, c := range choicesOf(offered) {
			if strings.EqualFold(text, strings.TrimSpace(c.Message)) || i == len(p.said)-1 && strings.EqualFold(text, strings.TrimSpace(c.Caption)) {
				return c.GogoMessage
			}
		}
	}
	if p.offer != "" {
		choices, words := choicesOf(p.offer), wordsOf(text)
		for _, book := range books {
			if n := book.number(words); n > 0 && n <= len(choices) {
				return choices[n-1].GogoMessage
			}
		}
	}
	return text
}

func choicesOf(body string) []hsl.Choice {
	if !hsl.MayOffer(body) { // most do not, and each turn looks at many
		return nil
	}
	e, err := hsl.Parse([]byte(body))
	if err != nil {
		return nil
	}
	return e.Choices()
}
