package ect

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"tract"
	"tract/internal/hsl"
)

// item is one thing the tool heard: the payload of a hook call, or of the feed.
type item struct {
	event tract.Event
	facts facts

	UserID       string          `json:"user_id"`
	Conversation string          `json:"conversation_number"`
	Metadata     json.RawMessage `json:"metadata"`

	// of a message
	MessageID   int64  `json:"message_id"`
	MessageBody string `json:"message_body"`
	Sender      string `json:"sender"`
	Timestamp   string `json:"timestamp"`

	// of create_user
	ThirdParty string          `json:"third_party_user_id"`
	UserName   string          `json:"user_name"`
	Platform   json.RawMessage `json:"device_platform"`
}

// facts are what metadata says. Messages carry an object, events a string with
// an object inside; what is free text becomes Reason.
type facts struct {
	Seq       int64     `json:"delivery_seq"`
	Owner     string    `json:"thread_owner"`
	Epoch     int64     `json:"control_epoch"`
	Standby   bool      `json:"standby"`
	By        string    `json:"by"`
	Reason    string    `json:"reason"`
	From      string    `json:"from"`
	To        string    `json:"to"`
	Receiver  string    `json:"receiver"`
	Requester string    `json:"requester"`
	Team      string    `json:"team"`
	Agent     agentName `json:"agent"`
}

func (f facts) receiver() string  { return first(f.Receiver, f.To) }
func (f facts) requester() string { return first(f.Requester, f.By) }

func first(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}

// agentName takes an agent given as an object or as a plain name.
type agentName string

func (a *agentName) UnmarshalJSON(b []byte) error {
	var plain string
	if json.Unmarshal(b, &plain) == nil {
		*a = agentName(plain)
		return nil
	}
	var full tract.Agent
	if err := json.Unmarshal(b, &full); err != nil {
		return err
	}
	*a = agentName(full.Name)
	return nil
}

// decode reads a payload. A ping of the hub has no user and stays without one.
func decode(event tract.Event, body []byte) (item, error) {
	it := item{event: event}
	if err := json.Unmarshal(body, &it); err != nil {
		return it, fmt.Errorf("payload: %w", err)
	}
	if event == tract.EventCreateUser || it.UserID == "" || len(it.Metadata) == 0 {
		return it, nil
	}
	inner := it.Metadata
	var text string
	if json.Unmarshal(inner, &text) == nil {
		inner = json.RawMessage(text)
		if !strings.HasPrefix(strings.TrimSpace(text), "{") {
			it.facts.Reason = text
			return it, nil
		}
	}
	if err := json.Unmarshal(inner, &it.facts); err != nil {
		return it, fmt.Errorf("payload: metadata: %w", err)
	}
	if it.facts.Seq < 0 {
		return it, errors.New("payload: metadata: delivery_seq is negative")
	}
	return it, nil
}

// entry is the transcript line of what was heard.
func (it item) entry(now time.Time) Entry {
	e := Entry{At: now, Seq: it.facts.Seq, Agent: string(it.facts.Agent)}
	if it.event != tract.EventMessage {
		e.Event, e.Text = it.event, it.describe()
		return e
	}
	e.MessageID, e.Sender, e.Text = it.MessageID, tract.Sender(it.Sender), display(it.MessageBody)
	if at, err := time.Parse(time.RFC3339Nano, it.Timestamp); err == nil {
		e.At = at
	}
	return e
}

// describe says in words what an event is about.
func (it item) describe() string {
	f, parts := it.facts, []string(nil)
	say := func(label, value string) {
		if value != "" {
			parts = append(parts, label+value)
		}
	}
	say("by ", first(f.Requester, f.By))
	say("from ", f.From)
	say("to ", f.receiver())
	say("agent ", string(f.Agent))
	say("team ", f.Team)
	say("reason ", f.Reason)
	return strings.Join(parts, ", ")
}

// platform is the name of the user's device platform.
func (it item) platform() string {
	text := strings.Trim(string(it.Platform), `" `)
	n, err := parsePositive(text)
	if err != nil {
		return text
	}
	return first(tract.PlatformName(n), text)
}

// display is the text of a message body as a person reads it. Where that leaves
// nothing, the hidden parts are shown, and of an element without text its type.
func display(body string) string {
	m, err := hsl.ParseBody(body)
	if err != nil {
		return body
	}
	return first(m.Display(), m.Text, m.Type)
}
