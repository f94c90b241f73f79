package api

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"tract"
	"tract/internal/conversation"
	"tract/internal/store"
	"tract/internal/strictjson"
	"tract/internal/web"
)

// athena is what the platform calls the desk.
const athena = "athena"

// Bounds of a countdown, in seconds.
const (
	leastCountdown = 5
	mostCountdown  = 10
)

type transferInput struct {
	UserName   *string                `json:"user_name"`
	BusinessID strictjson.IntOrString `json:"business_id"`
	TeamName   *string                `json:"team_name"`
	Countdown  strictjson.IntOrString `json:"countdown"`
	Receiver   *string                `json:"receiver"` // version 2
}

func (a *API) transferV1(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
	return a.transfer(w, r, "transfer/v1", func(*transferInput, *tract.Settings) (tract.ReceiverID, error) { return tract.SAC, nil })
}

func (a *API) transferV2(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
	return a.transfer(w, r, "transfer/v2", func(in *transferInput, s *tract.Settings) (tract.ReceiverID, error) {
		if in.Receiver == nil || *in.Receiver == "" || *in.Receiver == athena {
			return tract.SAC, nil
		}
		id := tract.ReceiverID(*in.Receiver)
		if _, attached := s.Receiver(id); !attached || id.Primary() {
			return "", tract.Invalid("invalid_receiver", "invalid receiver")
		}
		return id, nil
	})
}

// transfer moves a chat to a human after a countdown. receiver says to whom; it
// is asked last.
func (a *API) transfer(w http.ResponseWriter, r *http.Request, endpoint string, receiver func(*transferInput, *tract.Settings) (tract.ReceiverID, error)) (web.Answer, error) {
	c, err := a.transferClient(w, r)
	if err != nil {
		return web.Answer{}, err
	}
	var in transferInput
	body, err := web.ReadJSON(r, web.MaxBody, &in)
	if err != nil {
		return web.Answer{}, err
	}
	if err := in.complete(); err != nil {
		return web.Answer{}, err
	}
	return a.once(c, endpoint, body, func(tx *store.Tx) (web.Answer, error) {
		thread, settings, err := a.transferThread(tx, c.client, &in)
		if err != nil {
			return web.Answer{}, err
		}
		delay, err := in.delay()
		if err != nil {
			return web.Answer{}, err
		}
		to, err := receiver(&in, settings)
		if err != nil {
			return web.Answer{}, err
		}
		res, err := a.Conversation.Apply(tx, thread, tract.MoveLater{To: to, Team: *in.TeamName, Delay: delay}, conversation.Options{})
		if err == nil && errors.Is(res.Refused, tract.ErrConversationComplete) {
			// Whose the thread is now is nothing to this caller.
			err = tract.ErrConversationComplete.With("conversation %d is complete; the user's next message begins another", res.Thread.State.Conversation)
		} else if err == nil {
			err = res.Refused
		}
		if err != nil {
			return web.Answer{}, err
		}
		return web.JSON(http.StatusOK, map[string]any{"success": true}), nil
	})
}

// errTransferToken is the answer to a token that does not count here.
var errTransferToken = unauthorized("invalid token provided")

// transferClient proves the caller; each header has its own text.
func (a *API) transferClient(w http.ResponseWriter, r *http.Request) (*clientCall, error) {
	ids, auths := r.Header.Values("client-id"), r.Header.Values("Authorization")
	if strings.Join(ids, "") == "" {
		return nil, unauthorized("client_id missing in headers")
	}
	token, ok := bearerOf(r)
	call, err := a.Auth.VerifyClient(r.Context(), ids[0], token, tract.ScopeTransfer)
	switch {
	case err != nil:
		return nil, err
	case !call.Known || len(ids) != 1:
		return nil, unauthorized("invalid client_id in headers")
	case !ok && (strings.Join(auths, "") == "" || len(auths) == 1 && strings.EqualFold(strings.TrimSpace(auths[0]), "Bearer")):
		return nil, unauthorized("token missing in headers")
	case !ok:
		return nil, unauthorized("invalid authorization in headers")
	case !call.Scope:
		return nil, errTransferToken
	}
	return &clientCall{w, r, call.Client, call, errTransferToken}, a.limit(w, call.Client, token)
}

// complete says which required field is absent, null or empty.
func (in *transferInput) complete() error {
	lacks := func(name string) error {
		return tract.Invalid("field_missing", "%s missing in the request", name)
	}
	switch {
	case in.UserName == nil || *in.UserName == "":
		return lacks("user_name")
	case !given(in.BusinessID):
		return lacks("business_id")
	case in.TeamName == nil || *in.TeamName == "":
		return lacks("team_name")
	}
	return nil
}

// given says whether a field is there and neither null nor empty.
func given(v strictjson.IntOrString) bool { return v.Set && v.Raw != "" && v.Raw != "null" }

func (in *transferInput) delay() (time.Duration, error) {
	n := in.Countdown
	switch {
	case !n.Set || n.Raw == "null":
		return mostCountdown * time.Second, nil
	case !n.Valid || n.Value < leastCountdown || n.Value > mostCountdown:
		return 0, tract.Invalid("invalid_countdown", "countdown must be between %d and %d", leastCountdown, mostCountdown)
	}
	return time.Duration(n.Value) * time.Second, nil
}

// transferThread finds the thread that is meant, in the documented order of
// checks. A user without a thread has never written; whether the conversation
// is still open is judged with the command.
func (a *API) transferThread(tx *store.Tx, client tract.Client, in *transferInput) (int64, *tract.Settings, error) {
	cfg, err := a.Conversation.Config(tx, client.Key)
	if err != nil {
		return 0, nil, err
	}
	b := cfg.Businesses[in.BusinessID.Value]
	switch {
	case !in.BusinessID.Valid || b == nil:
		return 0, nil, tract.Invalid("invalid_business", "invalid business_id provided")
	case !b.Active:
		return 0, nil, tract.Invalid("business_inactive", "business \"%d\" is inactive", b.ID)
	}
	u, err := tx.UserByName(client.Key, *in.UserName)
	if tract.KindOf(err) == tract.KindNotFound {
		err = tract.Invalid("invalid_user", "invalid user_name")
	}
	if err != nil {
		return 0, nil, err
	}
	team := cfg.Teams[*in.TeamName]
	switch {
	case team == nil:
		return 0, nil, tract.Invalid("invalid_team", "invalid team_name provided")
	case !team.Active:
		return 0, nil, tract.Invalid("team_inactive", "team \"%s\" is inactive", team.Name)
	}
	thread, err := tx.ThreadOf(client.Key, b.ID, u.ID)
	if err != nil {
		return 0, nil, err
	}
	if thread == 0 {
		return 0, nil, tract.Invalid("no_conversation", "user has not sent a message")
	}
	t, err := tx.Thread(thread)
	if err != nil {
		return 0, nil, err
	}
	if t.State.Conversation == 0 {
		return 0, nil, tract.Invalid("no_conversation", "user has not sent a message")
	}
	settings, err := a.Conversation.Settings(tx, client.Key, b.ID)
	return thread, settings, err
}
