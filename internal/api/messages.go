package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"tract"
	"tract/internal/conversation"
	"tract/internal/hsl"
	"tract/internal/store"
	"tract/internal/web"
)

func (a *API) user(c *toolCall) (web.Answer, error) {
	var in struct {
		UserID string `json:"user_id"`
	}
	t, err := a.readUser(c, &in, &in.UserID)
	if err != nil {
		return web.Answer{}, err
	}
	known, _ := conversation.DetailsOf(t.User)
	names := make([]string, len(known))
	for i, d := range known {
		names[i] = d.Name
	}
	return web.JSON(http.StatusOK, map[string]any{"user_id": t.Pxut, "third_party_user_id": t.User.AuthID, "user_name": t.User.Details.Name, "device_platform": t.Platform, "details_available": names}), nil
}

// readUser reads a body with a user_id and the thread it names.
func (a *API) readUser(c *toolCall, in any, userID *string) (t store.Thread, err error) {
	if _, err := web.ReadJSON(c.r, web.MaxBody, in); err != nil {
		return t, err
	}
	if err := checkUserID(*userID); err != nil {
		return t, err
	}
	err = a.view(c, func(tx *store.Tx) (err error) {
		t, _, err = a.Conversation.ForTool(tx, c.id.ClientKey, c.id.Tool, *userID)
		return err
	})
	return t, err
}

// maxDetails bounds how many details one call may ask for.
const maxDetails = 100

func (a *API) userDetails(c *toolCall) (web.Answer, error) {
	var in struct {
		UserID  string   `json:"user_id"`
		Details []string `json:"details_requested"`
	}
	t, err := a.readUser(c, &in, &in.UserID)
	if err != nil {
		return web.Answer{}, err
	}
	if len(in.Details) == 0 {
		return web.Answer{}, missing("details_requested")
	}
	if len(in.Details) > maxDetails {
		return web.Answer{}, badValue("details_requested", "holds more than %d names", maxDetails)
	}
	_, values := conversation.DetailsOf(t.User)
	out := map[string]any{}
	for _, name := range in.Details {
		v, ok := values[name]
		if !ok {
			return web.Answer{}, tract.Invalid("unknown_detail", "details_requested: this user has no %.64q", name)
		}
		out[name] = v
	}
	if err := a.update(c, func(tx *store.Tx) error {
		return tx.InsertAudit(c.id.ClientKey, string(c.id.Tool), "user_details_read", auditThread(t.ID), map[string]any{"names": in.Details})
	}); err != nil {
		return web.Answer{}, err
	}
	return web.JSON(http.StatusOK, map[string]any{"user_id": t.Pxut, "details": out}), nil
}

// sendInput is the body of message/send.
type sendInput struct {
	UserID      string           `json:"user_id"`
	MessageBody *string          `json:"message_body"`
	Sender      string           `json:"sender"`
	Metadata    *sendMetadata    `json:"metadata"`
	Epoch       *int64           `json:"control_epoch"`
	Then        *json.RawMessage `json:"thread_control"`
}

type sendMetadata struct {
	Agent *agentInput `json:"agent"`
}

type agentInput struct {
	Name         string `json:"name"`
	Email        string `json:"email"`
	ProfileImage string `json:"profile_image"`
}

func (i *agentInput) agent(where string) (tract.Agent, error) {
	if i == nil {
		return tract.Agent{}, nil
	}
	if strings.TrimSpace(i.Name) == "" {
		return tract.Agent{}, missing(where + ".name")
	}
	for name, v := range map[string]string{"name": i.Name, "email": i.Email} {
		if len(v) > 256 {
			return tract.Agent{}, badValue(where+"."+name, "is longer than 256 bytes")
		}
	}
	if p := i.ProfileImage; p != "" && (len(p) > 2048 || !strings.HasPrefix(p, "https://") && !strings.HasPrefix(p, "http://")) {
		return tract.Agent{}, badValue(where+".profile_image", "must be an http or https URL of at most 2048 bytes")
	}
	return tract.Agent{Name: strings.TrimSpace(i.Name), Email: i.Email, ProfileImage: i.ProfileImage}, nil
}

func (in *sendInput) command(by tract.ReceiverID) (cmd tract.Send, err error) {
	cmd.By, cmd.Sender = by, tract.Sender(in.Sender)
	if err := checkUserID(in.UserID); err != nil {
		return cmd, err
	}
	switch {
	case in.MessageBody == nil || *in.MessageBody == "":
		return cmd, missing("message_body")
	case len(*in.MessageBody) > hsl.MaxBody:
		return cmd, web.ErrTooLarge.With("field message_body is larger than %d KiB", hsl.MaxBody>>10)
	case in.Sender == "":
		return cmd, missing("sender")
	case cmd.Sender != tract.SenderAEU && cmd.Sender != tract.SenderECT:
		return cmd, tract.Invalid("sender_not_allowed", "field sender must be aeu or ect")
	}
	el, err := hsl.ParseBody(*in.MessageBody)
	if err != nil {
		return cmd, err
	}
	cmd.Body = el.Body()
	if in.Metadata != nil {
		if cmd.Agent, err = in.Metadata.Agent.agent("metadata.agent"); err != nil {
			return cmd, err
		}
	}
	if cmd.Epoch, err = epoch(in.Epoch); err != nil {
		return cmd, err
	}
	if in.Then != nil {
		cmd.Then, err = readThen(*in.Then)
	}
	return cmd, err
}

// epoch checks the control epoch a caller believes in; 0 = it does not say.
func epoch(n *int64) (int64, error) {
	if n == nil {
		return 0, nil
	}
	if *n < 1 {
		return 0, badValue("control_epoch", "must be a positive integer")
	}
	return *n, nil
}

func (a *API) sendMessage(c *toolCall) (web.Answer, error) {
	var in sendInput
	body, err := web.ReadJSON(c.r, web.MaxBody, &in)
	if err != nil {
		return web.Answer{}, err
	}
	cmd, err := in.command(c.id.Tool)
	if err != nil {
		return web.Answer{}, err
	}
	return a.command(c, "message/send", body, in.UserID, cmd, func(_ *store.Tx, res *conversation.Result) (web.Answer, error) {
		if res.Refused != nil {
			return web.Answer{}, res.Refused
		}
		for _, e := range res.Entries {
			if e.Event == "" && e.By == c.id.Tool {
				return web.JSON(http.StatusOK, map[string]any{"error": nil, "message_id": e.ID, "conversation_number": strconv.Itoa(e.Conversation), "timestamp": stamp(e.At)}), nil
			}
		}
		return web.Answer{}, tract.ErrConflict
	})
}

func (a *API) sendEvent(c *toolCall) (web.Answer, error) {
	var in struct {
		UserID      string `json:"user_id"`
		Category    string `json:"category"`
		Subcategory string `json:"subcategory"`
		Metadata    any    `json:"metadata"`
	}
	body, err := web.ReadJSON(c.r, web.MaxBody, &in)
	if err != nil {
		return web.Answer{}, err
	}
	switch {
	case in.UserID == "" || len(in.UserID) > maxID:
		return web.Answer{}, checkUserID(in.UserID)
	case in.Category == "":
		return web.Answer{}, missing("category")
	case in.Subcategory == "":
		return web.Answer{}, missing("subcategory")
	}
	event, ok := tract.ToolEvent(in.Category, in.Subcategory)
	if !ok {
		return web.Answer{}, tract.Invalid("unknown_event", "a tool cannot send this category and subcategory; valid are: %s", tract.Names(tract.FromTool))
	}
	cmd := tract.RaiseEvent{By: c.id.Tool, Event: event}
	if cmd.Metadata, cmd.Agent, err = eventMetadata(in.Metadata, event); err != nil {
		return web.Answer{}, err
	}
	return a.command(c, "events/send", body, in.UserID, cmd, func(_ *store.Tx, res *conversation.Result) (web.Answer, error) {
		if res.Refused != nil {
			return web.Answer{}, res.Refused
		}
		return web.JSON(http.StatusOK, map[string]any{"error": nil}), nil
	})
}

// maxMetadata bounds what a tool may put beside an event.
const maxMetadata = 16 << 10

// eventMetadata reads the metadata of an event: an object, a string holding one,
// or plain text. Of an allocation it is the agent.
func eventMetadata(v any, event tract.Event) (meta map[string]any, agent tract.Agent, err error) {
	text := ""
	switch m := v.(type) {
	case nil:
	case string:
		text = m
		if strings.HasPrefix(strings.TrimSpace(m), "{") {
			_ = json.Unmarshal([]byte(m), &meta) // else it is plain text
		}
	case map[string]any:
		meta = m
		b, _ := json.Marshal(m)
		text = string(b)
	default:
		return nil, agent, tract.Invalid("field_type", "field metadata must be a string or an object")
	}
	if len(text) > maxMetadata {
		return nil, agent, web.ErrTooLarge.With("field metadata is larger than %d KiB", maxMetadata>>10)
	}
	if event == tract.EventAllocated {
		agent, err = allocatedTo(meta, text)
		return nil, agent, err
	}
	if meta == nil && text != "" {
		meta = map[string]any{"comment": text}
	}
	return meta, agent, nil
}

func allocatedTo(meta map[string]any, text string) (tract.Agent, error) {
	if meta == nil {
		in := agentInput{Name: text}
		return in.agent("metadata.agent")
	}
	var in struct {
		Agent *agentInput `json:"agent"`
	}
	b, _ := json.Marshal(meta)
	if err := json.Unmarshal(b, &in); err != nil || in.Agent == nil {
		return tract.Agent{}, tract.Invalid("field_missing", "field metadata.agent with a name is missing")
	}
	return in.Agent.agent("metadata.agent")
}
