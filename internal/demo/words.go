package demo

import (
	"strings"

	"tract"
	"tract/internal/ect"
	"tract/internal/hsl"
	"tract/internal/store"
)

// plain is the text of a message as a person reads it.
func plain(body string) string {
	e, err := hsl.Parse([]byte(body))
	if err != nil {
		return body
	}
	return e.Display()
}

// stateText says where a conversation stands.
func stateText(t *tract.Thread) string {
	switch t.State {
	case tract.StateBot:
		return "with the bot"
	case tract.StateQueued:
		return "waiting for an agent"
	case tract.StateAssigned:
		if t.Agent.Name != "" {
			return "with " + t.Agent.Name
		}
		return "with an agent"
	case tract.StateWaitingForUser:
		return "waiting for the customer"
	case tract.StateComplete:
		return "complete"
	}
	return "not begun"
}

// reasonText turns the reasons that the hub gives into words; what people wrote
// stays as it is.
func reasonText(reason string) string {
	known := map[string]string{
		tract.ReasonBotBreak: "the bot does not know", tract.ReasonUserAsked: "the customer asked for a person", tract.ReasonFailover: "failover",
		"ack_timeout": "no sign of life in time", "hook_disabled": "its webhook is switched off", "new_conversation": "a new conversation", "complete": "the conversation is complete",
		tract.ReasonTool: "by the tool", tract.ReasonTransferToIVA: "given to the bot", "user_replied": "the customer replied", tract.ReasonAuto: "silence",
		"superseded": "another offer took its place", "timeout": "nobody answered", "pass": "passed on", "take": "taken", "release": "released", "accept": "the offer was accepted",
	}
	if text, ok := known[reason]; ok {
		return text
	}
	return reason
}

// eventText says what an event of the log is: a title and what is behind it.
func eventText(e *store.Entry, names map[tract.ReceiverID]string) (title, detail string) {
	to, by := names[e.Meta.To], names[e.By]
	agent := ""
	if e.Meta.Agent != nil {
		agent = e.Meta.Agent.Name
	}
	detail = reasonText(e.Meta.Reason)
	switch e.Event {
	case tract.EventBot:
		title = "The bot takes the conversation"
	case tract.EventWaiting:
		title = "Waits for a person at " + orElse(to, "the desk")
	case tract.EventPinned:
		title = orElse(agent, orElse(by, "An agent")) + " has the conversation"
	case tract.EventComplete:
		title = "Conversation complete"
	case tract.EventWaitingForUser:
		title = "Waits for the customer"
	case tract.EventReceived:
		title = by + " has received the chat"
	case tract.EventPassed:
		title = "Control passed to " + to
	case tract.EventTaken:
		title = to + " took control"
	case tract.EventReleased:
		title = "Control released to " + to
	case tract.EventReset:
		title = "Control reset to " + to
	case tract.EventFailedOver:
		title = "Failover to " + to
	case tract.EventRequested:
		title = by + " asks for control"
	case tract.EventOffered:
		title = "Control offered to " + to
	case tract.EventAccepted:
		title = to + " accepted the offer"
	case tract.EventDeclined:
		title = by + " declined the offer"
	case tract.EventExpired:
		title = "The " + string(e.Meta.Op) + " has expired"
	default:
		title = string(e.Event)
	}
	return title, detail
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// logLine is one line of the thread's log.
type logLine struct {
	ID           int64            `json:"id"`
	At           string           `json:"at"`
	Conversation int              `json:"conversation"`
	Kind         string           `json:"kind"` // message | event | control
	Name         string           `json:"name"` // of the event
	Receiver     tract.ReceiverID `json:"receiver"`
	Who          string           `json:"who"`
	Text         string           `json:"text"`
	Detail       string           `json:"detail"`
	Epoch        int64            `json:"epoch"`
}

func logView(s *snapshot, names map[tract.ReceiverID]string) []logLine {
	out := make([]logLine, 0, len(s.entries))
	for i := range s.entries {
		e := &s.entries[i]
		l := logLine{ID: int64(e.ID), At: stamp(e.At), Conversation: e.Conversation, Kind: "message", Name: string(e.Event), Receiver: e.By, Epoch: e.Meta.Epoch}
		if e.Event == "" {
			l.Who, l.Text = speaker(e, names), plain(e.Body)
		} else {
			l.Kind = "event"
			l.Who = orElse(names[e.By], "TRACT")
			l.Text, l.Detail = eventText(e, names)
			if e.Event.Control() {
				l.Kind = "control"
				l.Receiver = e.Meta.To
			}
		}
		out = append(out, l)
	}
	return out
}

// speaker is who wrote a message.
func speaker(e *store.Entry, names map[tract.ReceiverID]string) string {
	switch e.Sender {
	case tract.SenderCEU:
		return "Customer"
	case tract.SenderSystem:
		return "TRACT"
	}
	if e.Meta.Agent != nil && e.Meta.Agent.Name != "" {
		return e.Meta.Agent.Name
	}
	return names[e.By]
}

// ledgerLine is one operation on the control of the thread.
type ledgerLine struct {
	ID            int64            `json:"id"`
	At            string           `json:"at"`
	Op            tract.Op         `json:"op"`
	Who           string           `json:"who"`
	From          tract.ReceiverID `json:"from"`
	FromName      string           `json:"from_name"`
	To            tract.ReceiverID `json:"to"`
	ToName        string           `json:"to_name"`
	Granted       bool             `json:"granted"`
	Code          string           `json:"code"`
	Reason        string           `json:"reason"`
	Epoch         int64            `json:"epoch"`
	FirstAnswerMS int64            `json:"first_answer_ms"` // -1 = none yet
}

func ledgerView(s *snapshot, names map[tract.ReceiverID]string) []ledgerLine {
	lines := s.ledger[max(0, len(s.ledger)-mostEntries):]
	out := make([]ledgerLine, 0, len(lines))
	for _, l := range lines {
		out = append(out, ledgerLine{ID: l.ID, At: stamp(l.At), Op: l.Op, Who: orElse(names[l.Requester], "TRACT"), From: l.From, FromName: orElse(names[l.From], "nobody"), To: l.To, ToName: orElse(names[l.To], orElse(string(l.To), "nobody")),
			Granted: l.Granted, Code: l.Code, Reason: reasonText(l.Reason), Epoch: l.Epoch, FirstAnswerMS: l.FirstAnswer.Milliseconds()})
	}
	return out
}

// heardText turns what a tool heard of an event into words.
func heardText(e *ect.Entry) string {
	name := strings.ReplaceAll(string(e.Event), "_", " ")
	_, name, _ = strings.Cut(name, "/")
	return name
}
