package api

import (
	"encoding/json"
	"net/http"
	"slices"

	"tract"
	"tract/internal/conversation"
	"tract/internal/store"
	"tract/internal/strictjson"
	"tract/internal/web"
)

func (a *API) listeners(c *toolCall) (web.Answer, error) {
	var in struct {
		UserID string `json:"user_id"`
	}
	if _, err := web.ReadJSON(c.r, web.MaxBody, &in); err != nil {
		return web.Answer{}, err
	}
	if err := checkUserID(in.UserID); err != nil {
		return web.Answer{}, err
	}
	var out map[string]any
	err := a.view(c, func(tx *store.Tx) error {
		t, cfg, err := a.Conversation.ForTool(tx, c.id.ClientKey, c.id.Tool, in.UserID)
		if err != nil {
			return err
		}
		settings, _ := cfg.Settings(t.Business)
		list := []map[string]any{}
		for _, r := range settings.Receivers {
			list = append(list, map[string]any{"id": r.ID, "name": r.Name, "type": r.ID.Type(), "is_default": r.ID == settings.Default, "is_primary": r.ID.Primary(),
				"active": r.ID == t.State.Owner, "available": r.Available, "self": r.ID == c.id.Tool})
		}
		out = map[string]any{"listeners": list, "control_epoch": t.State.Epoch, "pending": pending(t.State.Pending), "expires_at": stampOrNil(t.State.ReleaseDue)}
		return nil
	})
	if err != nil {
		return web.Answer{}, err
	}
	return web.JSON(http.StatusOK, out), nil
}

func pending(p *tract.Pending) any {
	if p == nil {
		return nil
	}
	return map[string]any{"type": p.Type, "receiver": p.Receiver, "expires_at": stamp(p.ExpiresAt)}
}

// controlInput is a thread control operation as it is asked for.
type controlInput struct {
	Type     string         `json:"type"`
	Receiver string         `json:"receiver"`
	Reason   string         `json:"reason"`
	Metadata map[string]any `json:"metadata"`
}

// maxControlMetadata bounds the flat metadata of an operation, in bytes of JSON.
const maxControlMetadata = 4 << 10

func (in *controlInput) command() (c tract.Control, err error) {
	c = tract.Control{Op: tract.Op(in.Type), To: tract.ReceiverID(in.Receiver), Reason: in.Reason, Metadata: in.Metadata}
	switch {
	case in.Type == "":
		return c, missing("type")
	case !c.Op.Valid():
		return c, badValue("type", "must be request, pass, take, offer, accept, decline or release")
	case in.Receiver == "" && (c.Op == tract.OpPass || c.Op == tract.OpOffer):
		return c, missing("receiver")
	case len(in.Receiver) > maxID:
		return c, badValue("receiver", "is longer than %d bytes", maxID)
	case len(in.Reason) > 1024:
		return c, badValue("reason", "is longer than 1024 bytes")
	}
	if err := flat(in.Metadata); err != nil {
		return c, err
	}
	c.Force, _ = in.Metadata["force"].(bool)
	c.Team, _ = in.Metadata["team_name"].(string)
	return c, nil
}

func flat(m map[string]any) error {
	for k, v := range m {
		switch v.(type) {
		case map[string]any, []any:
			return badValue("metadata", "must be flat: %.64q is an object or array", k)
		}
	}
	if b, err := json.Marshal(m); err != nil || len(b) > maxControlMetadata {
		return badValue("metadata", "is larger than %d KiB", maxControlMetadata>>10)
	}
	return nil
}

// readThen reads the operation that goes with a message: only a pass can.
func readThen(raw json.RawMessage) (*tract.Control, error) {
	var in controlInput
	if err := strictjson.Decode(raw, &in); err != nil {
		return nil, err
	}
	if in.Type != string(tract.OpPass) {
		return nil, badValue("thread_control.type", "must be pass")
	}
	c, err := in.command()
	return &c, err
}

func (a *API) requestControl(c *toolCall) (web.Answer, error) {
	var in struct {
		controlInput
		UserID    string `json:"user_id"`
		Requester string `json:"requester"`
		Epoch     *int64 `json:"control_epoch"`
	}
	body, err := web.ReadJSON(c.r, web.MaxBody, &in)
	if err != nil {
		return web.Answer{}, err
	}
	if err := checkUserID(in.UserID); err != nil {
		return web.Answer{}, err
	}
	cmd, err := in.command()
	if err != nil {
		return web.Answer{}, err
	}
	if cmd.Epoch, err = epoch(in.Epoch); err != nil {
		return web.Answer{}, err
	}
	switch {
	case in.Requester == "":
		return web.Answer{}, missing("requester")
	case in.Requester != string(c.id.Tool):
		return web.Answer{}, &tract.Error{Kind: tract.KindForbidden, Code: "requester_mismatch", Msg: "field requester must be the caller's own receiver id, " + string(c.id.Tool)}
	}
	cmd.By = c.id.Tool
	return a.command(c, "thread_control/request", body, in.UserID, cmd, func(_ *store.Tx, res *conversation.Result) (web.Answer, error) {
		if res.Refused != nil {
			return web.JSON(http.StatusOK, map[string]any{"success": false, "reason": map[string]any{"code": tract.CodeOf(res.Refused), "message": res.Refused.Error(),
				"thread_owner": res.Thread.State.Owner, "control_epoch": res.Thread.State.Epoch}}), nil
		}
		next := res.Outcome.Thread
		return web.JSON(http.StatusOK, map[string]any{"success": true, "control_epoch": next.Epoch, "changed": slices.ContainsFunc(res.Entries, moved)}), nil
	})
}

// moved says whether an entry tells that the owner changed.
func moved(e store.Entry) bool {
	switch e.Event {
	case tract.EventPassed, tract.EventTaken, tract.EventReleased, tract.EventAccepted:
		return true
	}
	return false
}

func (a *API) ledger(c *toolCall) (web.Answer, error) {
	user, _, err := web.Query(c.r, "user_id")
	if err != nil {
		return web.Answer{}, err
	}
	if err := checkUserID(user); err != nil {
		return web.Answer{}, err
	}
	out := []map[string]any{}
	err = a.view(c, func(tx *store.Tx) error {
		out = out[:0]
		t, _, err := a.Conversation.ForTool(tx, c.id.ClientKey, c.id.Tool, user)
		if err != nil {
			return err
		}
		lines, err := tx.ListLedger(t.ID)
		for i := range lines {
			out = append(out, ledgerLine(&lines[i]))
		}
		return err
	})
	if err != nil {
		return web.Answer{}, err
	}
	return web.JSON(http.StatusOK, map[string]any{"entries": out}), nil
}

// ledgerLine is an operation as the ledger shows it.
func ledgerLine(l *store.LedgerLine) map[string]any {
	var first any
	if l.FirstAnswer >= 0 {
		first = l.FirstAnswer.Milliseconds()
	}
	return map[string]any{"at": stamp(l.At), "type": l.Op, "requester": orNil(string(l.Requester)), "from": orNil(string(l.From)), "to": orNil(string(l.To)), "granted": l.Granted,
		"code": orNil(l.Code), "reason": orNil(l.Reason), "metadata": l.Metadata, "control_epoch": l.Epoch, "first_answer_ms": first}
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}
