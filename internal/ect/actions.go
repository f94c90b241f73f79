package ect

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"tract"
)

// Sent is a message that the hub took.
type Sent struct {
	MessageID    int64  `json:"message_id"`
	Conversation string `json:"conversation_number"`
	Timestamp    string `json:"timestamp"`
}

// Control is a thread control operation that the hub granted.
type Control struct {
	Epoch   int64 `json:"control_epoch"`
	Changed bool  `json:"changed"` // false: it was so already
}

// Listener is a receiver that a thread could be passed to.
type Listener struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Type      string `json:"type"`
	IsDefault bool   `json:"is_default"`
	IsPrimary bool   `json:"is_primary"`
	Active    bool   `json:"active"`
	Available bool   `json:"available"`
	Self      bool   `json:"self"`
}

// Send says text to the user, in the name of agent; "" is the agent the chat is
// allocated to, else the tool itself. Text that is a JSON object is HSL. Where
// the hub refuses, the error is a *tract.Error with its code.
func (t *Tool) Send(ctx context.Context, user, text, agent string) (Sent, error) {
	return t.say(ctx, user, text, agent, 0)
}

// say sends; an epoch other than 0 makes the hub refuse it if control has
// changed since.
func (t *Tool) say(ctx context.Context, user, text, agent string, epoch int64) (Sent, error) {
	if agent == "" {
		th, _ := t.Thread(user)
		agent = th.Agent
	}
	in := map[string]any{"user_id": user, "message_body": text, "sender": tract.SenderECT}
	if agent != "" {
		in["sender"] = tract.SenderAEU
		in["metadata"] = map[string]any{"agent": tract.Agent{Name: agent}}
	}
	if epoch != 0 {
		in["control_epoch"] = epoch
	}
	var out Sent
	if err := t.hub.call(ctx, http.MethodPost, "/tract/message/send/", in, &out); err != nil {
		return Sent{}, t.learn(user, err)
	}
	e := Entry{At: t.cfg.Now(), MessageID: out.MessageID, Sender: in["sender"].(tract.Sender), Agent: agent, Text: display(text), Mine: true}
	if at, err := time.Parse(time.RFC3339Nano, out.Timestamp); err == nil {
		e.At = at
	}
	t.did(Event{Kind: KindSent, UserID: user, Entry: e}, func(th *thread) {
		th.converse(out.Conversation)
		th.activity++
		if th.State == tract.StateQueued {
			th.assign(agent) // an owner that writes has taken the chat
		}
	})
	return out, nil
}

// Pass gives the thread to receiver.
func (t *Tool) Pass(ctx context.Context, user, receiver, reason string) (Control, error) {
	return t.control(ctx, tract.OpPass, user, receiver, reason)
}

// Take takes the thread from its owner; it needs the permission. For this and
// for the others that concern the tool itself, receiver "" means the tool.
func (t *Tool) Take(ctx context.Context, user, receiver, reason string) (Control, error) {
	return t.control(ctx, tract.OpTake, user, receiver, reason)
}

// Request asks the owner for the thread; it needs the permission.
func (t *Tool) Request(ctx context.Context, user, receiver, reason string) (Control, error) {
	return t.control(ctx, tract.OpRequest, user, receiver, reason)
}

// Offer offers the thread to receiver and keeps it until receiver accepts.
func (t *Tool) Offer(ctx context.Context, user, receiver, reason string) (Control, error) {
	return t.control(ctx, tract.OpOffer, user, receiver, reason)
}

// Accept takes what was offered to the tool.
func (t *Tool) Accept(ctx context.Context, user, receiver, reason string) (Control, error) {
	return t.control(ctx, tract.OpAccept, user, receiver, reason)
}

// Decline refuses what was offered to the tool.
func (t *Tool) Decline(ctx context.Context, user, receiver, reason string) (Control, error) {
	return t.control(ctx, tract.OpDecline, user, receiver, reason)
}

// Release gives the thread back to the default receiver.
func (t *Tool) Release(ctx context.Context, user, receiver, reason string) (Control, error) {
	return t.control(ctx, tract.OpRelease, user, receiver, reason)
}

func (t *Tool) control(ctx context.Context, op tract.Op, user, receiver, reason string) (Control, error) {
	in := map[string]any{"user_id": user, "type": op, "requester": t.cfg.ReceiverID, "receiver": first(receiver, t.cfg.ReceiverID)}
	if reason != "" {
		in["reason"] = reason
	}
	var out struct {
		Success bool `json:"success"`
		Control
		Reason struct {
			Code        string `json:"code"`
			Message     string `json:"message"`
			ThreadOwner string `json:"thread_owner"`
		} `json:"reason"`
	}
	if err := t.hub.call(ctx, http.MethodPost, "/tract/thread_control/request", in, &out); err != nil {
		return Control{}, t.learn(user, err)
	}
	if !out.Success {
		no := &tract.Error{Kind: tract.KindConflict, Code: first(out.Reason.Code, "refused"), Msg: first(out.Reason.Message, "the hub refused")}
		return Control{}, t.learn(user, no.Fact("thread_owner", out.Reason.ThreadOwner))
	}
	t.emit(Event{Kind: KindDone, UserID: user, Note: strings.TrimSpace(string(op) + " " + receiver)})
	return out.Control, nil
}

// Complete ends the conversation.
func (t *Tool) Complete(ctx context.Context, user string) error {
	return t.raise(ctx, user, tract.EventComplete, "", func(th *thread) { th.State, th.Agent = tract.StateComplete, "" })
}

// Waiting says that the agent waits for the user.
func (t *Tool) Waiting(ctx context.Context, user string) error {
	return t.raise(ctx, user, tract.EventWaiting, "", func(th *thread) { th.State = tract.StateWaitingForUser })
}

// Received acknowledges that the tool has the chat.
func (t *Tool) Received(ctx context.Context, user string) error {
	return t.raise(ctx, user, tract.EventReceived, "", func(*thread) {})
}

// Allocate gives the chat to an agent, who is shown to the user.
func (t *Tool) Allocate(ctx context.Context, user, agent string) error {
	if agent == "" {
		return tract.Invalid("agent_missing", "allocate: the agent has no name")
	}
	metadata, err := json.Marshal(map[string]tract.Agent{"agent": {Name: agent}})
	if err != nil {
		return err
	}
	return t.raise(ctx, user, tract.EventAllocated, string(metadata), func(th *thread) { th.assign(agent) })
}

// raise sends an event and notes its effect, which the hub does not tell the
// tool that caused it.
func (t *Tool) raise(ctx context.Context, user string, event tract.Event, metadata string, effect func(*thread)) error {
	category, subcategory := split(event)
	in := map[string]any{"user_id": user, "category": category, "subcategory": subcategory, "metadata": metadata}
	if err := t.hub.call(ctx, http.MethodPost, "/tract/events/send/", in, nil); err != nil {
		return t.learn(user, err)
	}
	t.did(Event{Kind: KindDone, UserID: user, Entry: Entry{At: t.cfg.Now(), Event: event, Mine: true}, Note: string(event)}, effect)
	return nil
}

// Listeners gives the receivers of a thread.
func (t *Tool) Listeners(ctx context.Context, user string) ([]Listener, error) {
	var out struct {
		Listeners []Listener `json:"listeners"`
		Epoch     int64      `json:"control_epoch"`
	}
	err := t.hub.call(ctx, http.MethodPost, "/tract/thread_control/listeners/", map[string]string{"user_id": user}, &out)
	if err != nil {
		return nil, err
	}
	for _, l := range out.Listeners {
		if l.Active {
			t.owned(user, l.ID, out.Epoch)
		}
	}
	return out.Listeners, nil
}

// identify asks the hub for the name of a user it has not introduced.
func (t *Tool) identify(ctx context.Context, user string) error {
	var out struct {
		ThirdParty string          `json:"third_party_user_id"`
		Name       string          `json:"user_name"`
		Platform   json.RawMessage `json:"device_platform"`
	}
	if err := t.hub.call(ctx, http.MethodPost, "/tract/user/", map[string]string{"user_id": user}, &out); err != nil {
		return err
	}
	it := item{event: tract.EventCreateUser, UserID: user, UserName: out.Name, ThirdParty: out.ThirdParty, Platform: out.Platform}
	t.hear(it, 0, false)
	return nil
}

// EnableHooks switches on again what the hub has switched off while the tool
// was failing, and says how many hooks that were.
func (t *Tool) EnableHooks(ctx context.Context) (int, error) {
	type pair struct {
		Category    string `json:"category"`
		Subcategory string `json:"subcategory"`
	}
	var out struct {
		Hooks []struct {
			pair
			Enabled bool `json:"enabled"`
		} `json:"hooks"`
	}
	if err := t.hub.call(ctx, http.MethodGet, "/tract/hooks/list/", nil, &out); err != nil {
		return 0, err
	}
	n := 0
	for _, h := range out.Hooks {
		if h.Enabled {
			continue
		}
		if err := t.hub.call(ctx, http.MethodPost, "/tract/hooks/enable/", h.pair, nil); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// did notes something the tool did itself, in the transcript and to listeners.
func (t *Tool) did(e Event, effect func(*thread)) {
	t.mu.Lock()
	th := t.thread(e.UserID)
	th.note(e.Entry)
	effect(th)
	t.watchSilence(th)
	t.mu.Unlock()
	t.emit(e)
}

// learn takes from a refusal who has the thread, and hands the refusal on.
func (t *Tool) learn(user string, err error) error {
	var no *tract.Error
	if errors.As(err, &no) {
		owner, _ := no.Fields["thread_owner"].(string)
		epoch, _ := no.Fields["control_epoch"].(int64)
		t.owned(user, owner, epoch)
	}
	return err
}

func (t *Tool) owned(user, owner string, epoch int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if th := t.threads[user]; th != nil {
		th.own(t.cfg.ReceiverID, owner, epoch)
	}
}
