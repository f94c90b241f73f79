package conversation

import (
	"maps"

	"tract"
	"tract/internal/hsl"
	"tract/internal/store"
)

// Bounds of a brief.
const (
	briefTurns = 10
	briefText  = 500 // bytes of one turn's text
)

// makeBrief sums up the conversation for the human who gets it. It is bounded,
// kept with the conversation, and sent with the event that hands it over.
func (w *writer) makeBrief() error {
	to, team, reason, handed := w.handedToHuman()
	if !handed {
		return nil
	}
	recent, err := w.tx.ListRecentMessages(w.l.ID, w.out.Thread.Conversation, 0, briefTurns)
	if err != nil {
		return err
	}
	turns := make([]map[string]any, 0, len(recent))
	question := ""
	for i := range recent {
		e := &recent[i]
		turns = append(turns, map[string]any{"message_id": e.ID, "sender": e.Sender, "text": shorten(plain(e))})
		if e.Sender == tract.SenderCEU {
			question = shorten(plain(e))
		}
	}
	for i := range w.out.Entries { // a message of this very command
		if e := &w.out.Entries[i]; e.Sender == tract.SenderCEU {
			question = shorten(bodyText(e.Body))
		}
	}
	w.brief = map[string]any{"reason": reason, "question": question, "turns": turns, "team": team, "to": to, "language": w.language(), "guesses": []any{}, "steps_shown": []any{}}
	maps.Copy(w.brief, w.o.Brief)
	return w.tx.PutBrief(w.l.ID, w.out.Thread.Conversation, w.brief)
}

// handedToHuman finds a hand-over among the outcome's events.
func (w *writer) handedToHuman() (to tract.ReceiverID, team, reason string, ok bool) {
	if w.out.HandedTo == "" || w.out.HandedTo == tract.IVA || !w.out.Thread.State.Open() {
		return "", "", "", false
	}
	for i := range w.out.Entries {
		if e := &w.out.Entries[i]; e.Event == tract.EventWaiting {
			return e.To, e.Team, e.Reason, true
		}
	}
	return "", "", "", false
}

func (w *writer) language() string {
	if l := w.l.User.Details.LanguageCode; l != "" {
		return l
	}
	if bot := w.cfg.Bots[w.cfg.Businesses[w.l.Business].Bot]; bot != nil {
		return bot.Language
	}
	return ""
}

func plain(e *store.Entry) string { return bodyText(e.Body) }

func bodyText(body string) string {
	el, err := hsl.Parse([]byte(body))
	if err != nil {
		return ""
	}
	return el.Transcript()
}

func shorten(s string) string {
	if len(s) <= briefText {
		return s
	}
	cut := briefText
	for cut > 0 && s[cut]&0xc0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}
