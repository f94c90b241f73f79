package conversation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"tract"
	"tract/internal/hsl"
	"tract/internal/store"
)

// stamp writes an instant as payloads carry it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// encode writes JSON without escaping <, > and &: the bytes are what is signed.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("conversation: " + err.Error()) // only values that came from JSON
	}
	return bytes.Clone(bytes.TrimRight(b.Bytes(), "\n")) // payloads are kept: without the buffer's spare room
}

type messageHook struct {
	UserID             string          `json:"user_id"`
	MessageID          tract.MessageID `json:"message_id"`
	ConversationNumber string          `json:"conversation_number"`
	MessageBody        string          `json:"message_body"`
	Sender             tract.Sender    `json:"sender"`
	Timestamp          string          `json:"timestamp"`
	Metadata           messageMeta     `json:"metadata"`
}

// messageMeta is what a message's hook says beside the message.
type messageMeta struct {
	Agent          *tract.Agent     `json:"agent,omitempty"`
	BusinessID     int64            `json:"business_id"`
	Context        *messageContext  `json:"context,omitempty"`
	ControlEpoch   int64            `json:"control_epoch"`
	DeliverySeq    int64            `json:"delivery_seq"`
	DevicePlatform int              `json:"device_platform"`
	ECTUserID      string           `json:"ect_user_id,omitempty"`
	History        bool             `json:"history,omitempty"`
	MessageType    int              `json:"message_type"`
	Pending        bool             `json:"pending,omitempty"`
	Standby        bool             `json:"standby"`
	ThreadOwner    tract.ReceiverID `json:"thread_owner"`
}

type messageContext struct {
	TranscriptURL string `json:"transcript_url"`
}

func (w *writer) messagePayload(t *tract.Tool, d *tract.Entry, e *store.Entry, seq int64, history bool) []byte {
	meta := messageMeta{
		BusinessID: w.l.Business, ControlEpoch: d.Epoch, DeliverySeq: seq, DevicePlatform: w.l.Platform, ECTUserID: w.l.Tools.Get(t.ID).ECTUserID, History: history,
		MessageType: e.MessageType, Pending: d.Pending == t.ID, Standby: d.Owner != t.ID, ThreadOwner: d.Owner,
	}
	if d.Agent.Name != "" {
		meta.Agent = &d.Agent
	}
	if t.Deliver == tract.DeliverActive && d.Owner == t.ID {
		meta.Context = &messageContext{w.transcriptURL(e.Conversation)}
	}
	return encode(messageHook{w.l.Pxut, e.ID, strconv.Itoa(e.Conversation), e.Body, e.Sender, stamp(e.At), meta})
}

type eventHook struct {
	ConversationNumber string `json:"conversation_number"`
	UserID             string `json:"user_id"`
	Category           string `json:"category"`
	Subcategory        string `json:"subcategory"`
	Metadata           string `json:"metadata"`
}

func (w *writer) eventPayload(t *tract.Tool, h tract.Hook, d *tract.Entry, e *store.Entry, seq int64) []byte {
	by := d.By
	if by == "" {
		by = tract.ReceiverID(tract.SenderSystem)
	}
	meta := map[string]any{"delivery_seq": seq, "thread_owner": d.Owner, "control_epoch": d.Epoch, "by": by, "reason": d.Reason,
		"standby": d.Owner != t.ID, "message_id": e.ID, "timestamp": stamp(e.At), "business_id": w.l.Business}
	set := func(k string, v any, ok bool) {
		if ok {
			meta[k] = v
		}
	}
	set("type", d.Op, d.Op != "")
	set("from", d.From, d.From != "")
	set("to", d.To, d.To != "")
	set("team", d.Team, d.Team != "")
	set("agent", d.Agent, d.Agent.Name != "")
	set("metadata", d.Metadata, len(d.Metadata) > 0)
	set("ect_user_id", w.l.Tools.Get(t.ID).ECTUserID, w.l.Tools.Get(t.ID).ECTUserID != "")
	if d.Event == tract.EventWaiting && d.To == t.ID {
		meta["transcript_url"] = w.transcriptURL(e.Conversation)
		set("brief", w.brief, w.brief != nil)
	}
	return encode(eventHook{strconv.Itoa(e.Conversation), w.l.Pxut, h.Category, h.Subcategory, string(encode(meta))})
}

func (w *writer) transcriptURL(conversation int) string {
	return w.s.PublicURL + "/integration/external/v2.0/get_chat_history/?pxut=" + url.QueryEscape(w.l.Pxut) + "&conversation_no=" + strconv.Itoa(conversation)
}

// Detail is one thing known of a user.
type Detail struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// DetailsOf lists what is known of a user and gives the values by name.
func DetailsOf(u store.User) (names []Detail, values map[string]any) {
	d := u.Details
	values = map[string]any{}
	add := func(name, value string) {
		if value != "" {
			names = append(names, Detail{name, "string"})
			values[name] = value
		}
	}
	add("name", d.Name)
	add("email", d.Email)
	add("mobile_no", d.MobileNo)
	add("language_code", d.LanguageCode)
	add("phone_model", d.PhoneModel)
	add("os_version", d.OSVersion)
	add("package_name", d.PackageName)
	if len(d.Custom) > 0 {
		names = append(names, Detail{"custom_data", "object"})
		values["custom_data"] = d.Custom
	}
	return names, values
}

func (w *writer) userPayload() []byte {
	names, _ := DetailsOf(w.l.User)
	if names == nil {
		names = []Detail{}
	}
	return encode(struct {
		UserID           string   `json:"user_id"`
		ThirdPartyUserID string   `json:"third_party_user_id"`
		UserName         string   `json:"user_name"`
		DevicePlatform   int      `json:"device_platform"`
		DetailsAvailable []Detail `json:"details_available"`
	}{w.l.Pxut, w.l.User.AuthID, w.l.User.Details.Name, w.l.Platform, names})
}

// ChannelAgent is who speaks, as channels are told.
type ChannelAgent struct {
	ID           string  `json:"id"`
	Name         string  `json:"name"`
	ProfileImage *string `json:"profile_image"`
	IsAutomated  bool    `json:"is_automated"`
	Email        *string `json:"email"`
}

// botName is what channels know the bot by: the original's name for it.
const botName = "gogo"

// BotAgent is the bot as channels are told.
func BotAgent() ChannelAgent {
	return ChannelAgent{ID: string(tract.IVA), Name: botName, IsAutomated: true}
}

func (w *writer) agentOf(by tract.ReceiverID, a tract.Agent) ChannelAgent {
	if by == tract.IVA || by == "" {
		return BotAgent()
	}
	out := ChannelAgent{ID: string(by), Name: w.speaker(by, a)}
	if a.ProfileImage != "" {
		out.ProfileImage = &a.ProfileImage
	}
	if a.Email != "" {
		out.Email = &a.Email
	}
	return out
}

// speaker is the name shown for an agent, else the tool's own.
func (w *writer) speaker(by tract.ReceiverID, a tract.Agent) string {
	if a.Name != "" {
		return a.Name
	}
	if r, ok := w.settings.Receiver(by); ok {
		return r.Name
	}
	return string(by)
}

type channelMessage struct {
	ID   tract.MessageID `json:"id"`
	Body json.RawMessage `json:"body"`
}

type channelEvent struct {
	Version      string          `json:"version"`
	Timestamp    string          `json:"timestamp"`
	User         map[string]any  `json:"user"`
	BusinessID   int64           `json:"business_id"`
	BusinessName string          `json:"business_name"`
	EventName    string          `json:"event_name"`
	Agent        ChannelAgent    `json:"agent"`
	Message      *channelMessage `json:"message,omitempty"`
	Data         map[string]any  `json:"data,omitempty"`
}

// channelPayloads are what the channel is told of an entry, in order.
func (w *writer) channelPayloads(d *tract.Entry, e *store.Entry) [][]byte {
	ev := channelEvent{Version: "1.0", Timestamp: stamp(e.At), User: w.channelUser(), BusinessID: w.l.Business, BusinessName: w.cfg.Businesses[w.l.Business].Name, Agent: w.agentOf(d.By, d.Agent)}
	system := func(name, text string, data any) []byte {
		el, err := hsl.System(text, data)
		if err != nil {
			panic("conversation: " + err.Error()) // our own data
		}
		ev.EventName, ev.Message = name, &channelMessage{e.ID, el.Raw}
		return encode(ev)
	}
	switch d.Event {
	case "":
		ev.EventName, ev.Message = "message", &channelMessage{e.ID, json.RawMessage(e.Body)}
		return [][]byte{encode(ev)}
	case tract.EventPinned:
		name := w.speaker(w.out.Thread.Owner, d.Agent)
		if d.By == "" {
			ev.Agent = w.agentOf(w.out.Thread.Owner, d.Agent)
		}
		return [][]byte{system("chat_pinned", name+" has entered the Conversation", map[string]any{"event_name": "chat_pinned",
			"payload": map[string]any{"profile_image": d.Agent.ProfileImage, "agent_name": name, "team_name": d.Team}})}
	case tract.EventComplete:
		first := system("chat_complete", "The conversation has been completed", map[string]any{})
		ev.EventName, ev.Message, ev.Data = "webhook_conversation_complete", nil, w.completion(d, e)
		return [][]byte{first, encode(struct {
			channelEvent
			FollowUp map[string]any `json:"follow_up_details"`
		}{ev, map[string]any{}})}
	}
	return nil
}

func (w *writer) completion(d *tract.Entry, e *store.Entry) map[string]any {
	kind := "agent"
	switch d.Reason {
	case tract.ReasonBot, tract.ReasonTransferToIVA:
		kind = "gogo"
	case tract.ReasonAuto:
		kind = "autocomplete"
	}
	by := botName
	if d.By != "" && d.By != tract.IVA {
		by = w.speaker(d.By, d.Agent)
	}
	link := w.transcriptURL(e.Conversation)
	text := func(k string) any { return d.Metadata[k] }
	return map[string]any{
		"conversation_no": e.Conversation, "collection_id": w.l.Pxut, "conversation_identifier": fmt.Sprintf("%s-%d", w.l.Pxut, e.Conversation),
		"complete_chat_link": link, "chat_link": link, "completion_type": kind, "completion_by": by,
		"closing_categories":   map[string]any{"reason": text("closing_reason"), "subReason": text("closing_sub_reason"), "comment": text("comment")},
		"conversation_details": map[string]any{}, "user_details": map[string]any{},
	}
}

func (w *writer) channelUser() map[string]any {
	u := w.l.User
	return map[string]any{"auth_id": u.AuthID, "device_platform": w.l.Platform, "device_platform_name": tract.PlatformName(w.l.Platform), "user_name": u.UserName, "user_id": w.l.Pxut,
		"phone_model": u.Details.PhoneModel, "os_version": u.Details.OSVersion, "package_name": u.Details.PackageName}
}
