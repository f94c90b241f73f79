package api

import (
	"encoding/json"
	"net/http"
	"strconv"

	"tract"
	"tract/internal/report"
	"tract/internal/store"
	"tract/internal/strictjson"
	"tract/internal/web"
)

func unauthorized(text string) error {
	return &tract.Error{Kind: tract.KindUnauthorized, Code: "invalid_token", Msg: text}
}

// params are a call's parameters: from the query string, else from a JSON body.
type params map[string]param

type param struct {
	text string
	kind string // string | number | other
}

func (p params) get(name string) string { return p[name].text }

// number reads a whole number, or a string holding one.
func (p params) number(name string) (int64, bool) {
	if p[name].kind == "other" {
		return 0, false
	}
	n, err := strconv.ParseInt(p[name].text, 10, 64)
	return n, err == nil
}

func readParams(r *http.Request) (params, error) {
	p := params{}
	if r.ContentLength != 0 {
		body, err := web.ReadRaw(r, web.MaxBody)
		if err != nil {
			return nil, err
		}
		var in map[string]json.RawMessage
		if len(body) > 0 {
			if err := strictjson.Decode(body, &in); err != nil {
				return nil, err
			}
		}
		for k, raw := range in {
			p[k] = readParam(raw)
		}
	}
	for k, vs := range r.URL.Query() { // the query wins
		if len(vs) > 1 {
			return nil, tract.Invalid("invalid_parameter", "%.64s is given more than once", k)
		}
		p[k] = param{vs[0], "string"}
	}
	return p, nil
}

func readParam(raw json.RawMessage) param {
	var s string
	if json.Unmarshal(raw, &s) == nil && string(raw) != "null" {
		return param{s, "string"}
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil && string(raw) != "null" {
		return param{n.String(), "number"}
	}
	if string(raw) == "null" {
		return param{"", "string"}
	}
	return param{string(raw), "other"}
}

// page are the parameters both versions share.
type page struct {
	limit  int
	before tract.MessageID
	text   bool
}

func (p params) page(names ...string) (out page, err error) {
	out.limit = report.MostLines
	if p.get("limit") != "" {
		n, ok := p.number("limit")
		if !ok || n < 1 || n > report.MostLines {
			return out, tract.Invalid("invalid_limit", "limit must be from 1 to %d", report.MostLines)
		}
		out.limit = int(n)
	}
	if p.get("before") != "" {
		n, ok := p.number("before")
		if !ok || n < 1 {
			return out, tract.Invalid("field_value", "before must be a message_id")
		}
		out.before = tract.MessageID(n)
	}
	for _, name := range names {
		switch p.get(name) {
		case "", "json":
		case "text":
			out.text = true
		default:
			return out, tract.Invalid("field_value", "%s must be json or text", name)
		}
	}
	return out, nil
}

func (a *API) transcript(tx *store.Tx, client, thread int64, conversation int, p page, agent func(string) string) (web.Answer, error) {
	lines, err := report.Transcript(tx, thread, conversation, p.before, p.limit, agent)
	if err != nil {
		return web.Answer{}, err
	}
	for i := range lines {
		lines[i].FileURL = a.Files.RenewLink(client, lines[i].FileURL)
	}
	if p.text {
		return web.JSON(http.StatusOK, map[string]any{"chat_text": report.Text(lines)}), nil
	}
	return web.JSON(http.StatusOK, map[string]any{"chat_json": lines}), nil
}

// client proves the caller of a transcript; the texts differ by version.
func (a *API) client(w http.ResponseWriter, r *http.Request, noClient, noToken string) (tract.Client, error) {
	ids := r.Header.Values("client-id")
	if len(ids) != 1 {
		return tract.Client{}, unauthorized(noClient)
	}
	token, _ := bearerOf(r)
	call, err := a.Auth.VerifyClient(r.Context(), ids[0], token, tract.ScopeTranscripts)
	switch {
	case err != nil:
		return tract.Client{}, err
	case !call.Known:
		return tract.Client{}, unauthorized(noClient)
	case !call.Scope:
		return tract.Client{}, unauthorized(noToken)
	}
	return call.Client, a.limit(w, call.Client, token)
}

func (a *API) historyV1(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
	client, err := a.client(w, r, "invalid client_id", "invalid token")
	if err != nil {
		return web.Answer{}, err
	}
	p, err := readParams(r)
	if err != nil {
		return web.Answer{}, err
	}
	for _, name := range []string{"user_name", "business_id", "conversation_no"} {
		if p.get(name) == "" {
			return web.Answer{}, tract.Invalid("field_missing", "%s missing", name)
		}
	}
	pg, err := p.page("response_type", "respose_type")
	if err != nil {
		return web.Answer{}, err
	}
	conversation, ok := p.number("conversation_no")
	if !ok {
		return web.Answer{}, tract.Invalid("field_type", "conversation_no must be a whole number")
	}
	business, ok := p.number("business_id")
	if !ok {
		return web.Answer{}, tract.Invalid("invalid_business", "invalid business_id")
	}
	var out web.Answer
	err = a.Store.View(r.Context(), func(tx *store.Tx) error {
		u, err := tx.UserByName(client.Key, p.get("user_name"))
		if tract.KindOf(err) == tract.KindNotFound {
			return tract.Invalid("invalid_user", "invalid user_name")
		}
		if err != nil {
			return err
		}
		thread, err := tx.ThreadOf(client.Key, business, u.ID)
		if err != nil {
			return err
		}
		if thread == 0 {
			return tract.Invalid("no_conversation", "user has not sent a message")
		}
		out, err = a.transcript(tx, client.Key, thread, int(conversation), pg, func(name string) string { return "agent(" + name + ")" })
		return err
	})
	return out, err
}

// groups are the two ways to name a conversation in version 2.
var groups = map[string][]string{"1": {"business_id", "user_name", "conversation_no"}, "2": {"pxut", "conversation_no"}}

func (a *API) historyV2(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
	client, err := a.client(w, r, "Invalid token", "Invalid token")
	if err != nil {
		return web.Answer{}, err
	}
	p, err := readParams(r)
	if err != nil {
		return web.Answer{}, err
	}
	group, err := p.group()
	if err != nil {
		return web.Answer{}, err
	}
	pg, err := p.page("response_type")
	if err != nil {
		return web.Answer{}, err
	}
	business, isNumber := p.number("business_id")
	if group == "1" && !isNumber {
		return web.Answer{}, tract.Invalid("invalid_business", "Invalid business_id")
	}
	conversation, err := p.conversation(group)
	if err != nil {
		return web.Answer{}, err
	}
	var out web.Answer
	err = a.Store.View(r.Context(), func(tx *store.Tx) error {
		thread, err := a.threadV2(tx, client, group, business, p)
		if err != nil {
			return err
		}
		out, err = a.transcript(tx, client.Key, thread, conversation, pg, func(name string) string { return name })
		return err
	})
	if err != nil && tract.KindOf(err) == tract.KindInternal {
		a.Log.ErrorContext(r.Context(), "transcript failed", "error", err, "request_id", web.RequestID(r.Context()))
		return web.JSON(http.StatusInternalServerError, map[string]any{"error_message": "An unknown error occurred", "code": "internal", "request_id": web.RequestID(r.Context())}), nil
	}
	return out, err
}

// group is the first complete group of parameters.
func (p params) group() (string, error) {
	lacks := map[string]any{}
	for _, g := range []string{"1", "2"} {
		missing := []string{}
		for _, name := range groups[g] {
			if p.get(name) == "" {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 {
			return g, nil
		}
		lacks["group_"+g] = map[string]any{"missing": missing}
	}
	return "", tract.Invalid("no_valid_group", "Argument group validation: no valid group.").Fact("data", lacks)
}

func (p params) conversation(group string) (int, error) {
	bad := map[string]string{}
	n, ok := p.number("conversation_no")
	if !ok {
		bad["conversation_no"] = "must be a whole number"
	}
	for _, name := range []string{"user_name", "pxut"} {
		if k := p[name].kind; p.get(name) != "" && k != "string" {
			bad[name] = "must be a string"
		}
	}
	if len(bad) > 0 {
		return 0, tract.Invalid("invalid_group", "Argument group validation: invalid group found.").Fact("data", map[string]any{"group_" + group: bad})
	}
	return int(n), nil
}

func (a *API) threadV2(tx *store.Tx, client tract.Client, group string, business int64, p params) (int64, error) {
	if group == "2" {
		thread, _, err := tx.ThreadKey(client.Key, p.get("pxut"))
		if tract.KindOf(err) == tract.KindNotFound {
			return 0, tract.Invalid("invalid_pxut", "Unable to decode pxut-client_id pair")
		}
		return thread, err
	}
	cfg, err := a.Conversation.Config(tx, client.Key)
	if err != nil {
		return 0, err
	}
	if cfg.Businesses[business] == nil {
		return 0, tract.Invalid("invalid_business", "Invalid business_id")
	}
	silent := tract.Invalid("no_conversation", "Either the user has not sent a message yet, or the provided user_name-business_id pair is invalid.")
	u, err := tx.UserByName(client.Key, p.get("user_name"))
	if tract.KindOf(err) == tract.KindNotFound {
		return 0, silent
	}
	if err != nil {
		return 0, err
	}
	thread, err := tx.ThreadOf(client.Key, business, u.ID)
	if err == nil && thread == 0 {
		err = silent
	}
	return thread, err
}
