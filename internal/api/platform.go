package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"tract"
	"tract/internal/auth"
	"tract/internal/conversation"
	"tract/internal/hsl"
	"tract/internal/intake"
	"tract/internal/store"
	"tract/internal/strictjson"
	"tract/internal/web"
)

// errDetails is the documented answer to every call of the delivery API that
// does not prove who it is.
var errDetails = &tract.Error{Kind: tract.KindUnauthorized, Code: "invalid_token", Msg: "invalid authorization details"}

// clientCall is a call of a client organisation that has shown its token.
type clientCall struct {
	w      http.ResponseWriter
	r      *http.Request
	client tract.Client
	proof  auth.ClientCall
	void   error // the answer when the token turns out to be void meanwhile
}

func (c *clientCall) ctx() context.Context { return c.r.Context() }

// bearerOf splits the Authorization header; ok is false when it is not of the
// form "Bearer <token>".
func bearerOf(r *http.Request) (token string, ok bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	return token, strings.EqualFold(scheme, "Bearer") && token != ""
}

// delivery proves the caller of a /v1.0 endpoint.
func (a *API) delivery(h func(*clientCall) (web.Answer, error)) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
		token, ok := bearerOf(r)
		ids := r.Header.Values("client-id")
		if !ok || len(ids) != 1 {
			return web.Answer{}, errDetails
		}
		call, err := a.Auth.IdentifyClient(r.Context(), ids[0], token, tract.ScopeDelivery)
		if err != nil {
			return web.Answer{}, err
		}
		if !call.Scope {
			return web.Answer{}, errDetails
		}
		if err := a.limit(w, call.Client, token); err != nil {
			return web.Answer{}, err
		}
		return h(&clientCall{w, r, call.Client, call, errDetails})
	}
}

// still says in a transaction whether the client's token counts: it was looked
// at before, and may have been revoked since. The version is that of the
// client's configuration.
func (a *API) still(tx *store.Tx, c *clientCall, version int64) error {
	ok, err := a.Auth.CheckClientAt(tx, c.proof, version)
	if err == nil && !ok {
		err = c.void
	}
	return err
}

func (a *API) stillNow(tx *store.Tx, c *clientCall) error {
	version, err := tx.ConfigVersion(c.client.Key)
	if err != nil {
		return err
	}
	return a.still(tx, c, version)
}

// key reads the Idempotency-Key of a client's call.
func (a *API) key(c *clientCall, endpoint string, body []byte) (*web.Keyed, error) {
	key, err := a.Idempotency.Key(c.r, body, "client", c.client.ID, endpoint)
	if err == nil {
		key.Check = func(tx *store.Tx) error { return a.stillNow(tx, c) }
	}
	return key, err
}

// once runs a changing call of a client once for all calls with its key.
func (a *API) once(c *clientCall, endpoint string, body []byte, fn func(tx *store.Tx) (web.Answer, error)) (web.Answer, error) {
	key, err := a.key(c, endpoint, body)
	if err != nil {
		return web.Answer{}, err
	}
	return key.Update(c.ctx(), 0, func(tx *store.Tx) (web.Answer, error) {
		if err := a.stillNow(tx, c); err != nil {
			return web.Answer{}, err
		}
		return fn(tx)
	})
}

type userInput struct {
	AuthID       string         `json:"auth_id"`
	Name         *string        `json:"name"`
	Email        *string        `json:"email"`
	MobileNo     *string        `json:"mobile_no"`
	LanguageCode *string        `json:"language_code"`
	PhoneModel   *string        `json:"phone_model"`
	OSVersion    *string        `json:"os_version"`
	PackageName  *string        `json:"package_name"`
	CustomData   map[string]any `json:"custom_data"`
}

func (a *API) createUser(c *clientCall) (web.Answer, error) { return a.putUser(c, true) }
func (a *API) updateUser(c *clientCall) (web.Answer, error) { return a.putUser(c, false) }

func (a *API) putUser(c *clientCall, create bool) (web.Answer, error) {
	var in userInput
	body, err := web.ReadJSON(c.r, web.MaxBody, &in)
	if err != nil {
		return web.Answer{}, err
	}
	endpoint := "user/put"
	if create {
		endpoint = "user/post"
	}
	return a.once(c, endpoint, body, func(tx *store.Tx) (web.Answer, error) {
		u, err := a.Intake.PutUser(tx, c.client.Key, intake.UserInput{AuthID: in.AuthID, Name: in.Name, Email: in.Email, MobileNo: in.MobileNo, LanguageCode: in.LanguageCode,
			PhoneModel: in.PhoneModel, OSVersion: in.OSVersion, PackageName: in.PackageName, Custom: in.CustomData}, create)
		if err != nil {
			return web.Answer{}, err
		}
		d := u.Details
		return web.JSON(http.StatusOK, map[string]any{"auth_id": u.AuthID, "mobile_no": d.MobileNo, "email": d.Email, "name": d.Name, "user_name": u.UserName}), nil
	})
}

type messageInput struct {
	User *struct {
		AuthID string `json:"auth_id"`
	} `json:"user"`
	MessageBody *string                `json:"message_body"`
	MessageType *int64                 `json:"message_type"`
	BusinessID  strictjson.IntOrString `json:"business_id"`
}

// read checks the form of a user's message. What a user types is plain text.
func (in *messageInput) read(c *clientCall) (body []byte, el hsl.Element, err error) {
	if body, err = web.ReadJSON(c.r, web.MaxBody, in); err != nil {
		return nil, el, err
	}
	switch {
	case in.User == nil:
		return nil, el, missing("user")
	case in.MessageBody == nil || *in.MessageBody == "":
		return nil, el, missing("message_body")
	case len(*in.MessageBody) > hsl.MaxBody:
		return nil, el, web.ErrTooLarge.With("field message_body is larger than %d KiB", hsl.MaxBody>>10)
	case in.MessageType != nil && *in.MessageType != tract.TypeText:
		return nil, el, tract.Invalid("message_type", "field message_type must be 0; files come by log_file_from_user")
	case !in.BusinessID.Set || in.BusinessID.Raw == "":
		return nil, el, missing("business_id")
	case !in.BusinessID.Valid:
		return nil, el, intake.ErrInvalidBusiness
	}
	if err := intake.CheckAuthID(in.User.AuthID); err != nil {
		return nil, el, missing("user.auth_id")
	}
	return body, hsl.Text(*in.MessageBody), nil
}

// message is what intake is given of a call.
func (a *API) message(c *clientCall, in *messageInput, el hsl.Element) intake.Message {
	return intake.Message{Client: c.client.Key, Business: in.BusinessID.Value, AuthID: in.User.AuthID, Platform: tract.PlatformWebhook, Body: el.Body(),
		Check: func(tx *store.Tx, version int64) error { return a.still(tx, c, version) }}
}

// logged is the answer to a message that was taken in.
type logged struct {
	CreatedAt   string          `json:"created_at"`
	MessageBody string          `json:"message_body"`
	MessageID   tract.MessageID `json:"message_id"`
	MessageType int             `json:"message_type"`
}

func (a *API) logMessage(c *clientCall) (web.Answer, error) {
	var in messageInput
	body, el, err := in.read(c)
	if err != nil {
		return web.Answer{}, err
	}
	key, err := a.key(c, "log_message", body)
	if err != nil {
		return web.Answer{}, err
	}
	m, orphaned := a.message(c, &in, el), false
	out, err := key.Update(c.ctx(), a.Intake.Thread(m), func(tx *store.Tx) (web.Answer, error) {
		res, err := a.Intake.Append(tx, m)
		if err != nil {
			return web.Answer{}, err
		}
		if orphaned = res.Outcome.Orphaned; orphaned {
			return web.Answer{Status: http.StatusServiceUnavailable}, nil // stored, not remembered
		}
		e := userEntry(res)
		return web.JSON(http.StatusOK, logged{stamp(e.At), *in.MessageBody, e.ID, e.MessageType}), nil
	})
	if err == nil && orphaned {
		err = intake.ErrNoReceiver
	}
	return out, err
}

// userEntry is the user's message among what a command wrote.
func userEntry(res *conversation.Result) store.Entry {
	for _, e := range res.Entries {
		if e.Sender == tract.SenderCEU {
			return e
		}
	}
	return store.Entry{}
}

// syncMessage answers with the bot's replies, which then do not go to the
// channel's webhook as well.
func (a *API) syncMessage(c *clientCall) (web.Answer, error) {
	var in messageInput
	body, el, err := in.read(c)
	if err != nil {
		return web.Answer{}, err
	}
	key, err := a.key(c, "message/sync", body)
	if err != nil {
		return web.Answer{}, err
	}
	m, wait := a.message(c, &in, el), a.SyncWait
	m.Hold = wait
	var res *conversation.Result
	// The message and a first answer are one: a call that is repeated after a
	// crash does not add it again.
	first, err := key.Update(c.ctx(), a.Intake.Thread(m), func(tx *store.Tx) (web.Answer, error) {
		var err error
		if res, err = a.Intake.Append(tx, m); err != nil {
			return web.Answer{}, err
		}
		if res.Outcome.Orphaned {
			return web.Answer{Status: http.StatusServiceUnavailable}, nil
		}
		return syncAnswer(tx.Now.UTC().Format("2006-01-02T15:04:05.000000Z"), nil), nil
	})
	switch {
	case err != nil || res == nil:
		return first, err
	case res.Outcome.Orphaned:
		return web.Answer{}, intake.ErrNoReceiver
	case res.Turn == nil:
		return first, nil // a human has the thread
	}
	ctx, cancel := context.WithTimeout(c.ctx(), wait)
	defer cancel()
	replies, err := a.Intake.Replies(ctx, res)
	if err != nil {
		return web.Answer{}, err
	}
	out := syncAnswer(stamp(a.Now()), replies)
	return out, a.Store.Update(context.WithoutCancel(c.ctx()), func(tx *store.Tx) error { return key.Save(tx, out) })
}

func syncAnswer(at string, replies []store.Entry) web.Answer {
	messages := make([]map[string]any, len(replies))
	for i, e := range replies {
		messages[i] = map[string]any{"id": e.ID, "body": json.RawMessage(e.Body)}
	}
	bot := conversation.BotAgent()
	return web.JSON(http.StatusOK, map[string]any{"version": "1.0", "timestamp": at,
		"agent": map[string]any{"id": bot.ID, "name": bot.Name, "profile_image": bot.ProfileImage, "is_automated": true}, "message": messages})
}

func (a *API) enableChannel(c *clientCall) (web.Answer, error) {
	var in struct {
		Enabled        *bool                  `json:"enabled"`
		BusinessID     strictjson.IntOrString `json:"business_id"`
		DevicePlatform strictjson.IntOrString `json:"device_platform"`
	}
	body, err := web.ReadJSON(c.r, web.MaxBody, &in)
	if err != nil {
		return web.Answer{}, err
	}
	switch {
	case in.Enabled == nil:
		return web.Answer{}, missing("enabled")
	case !in.BusinessID.Set:
		return web.Answer{}, missing("business_id")
	case !in.BusinessID.Valid:
		return web.Answer{}, intake.ErrInvalidBusiness
	case in.DevicePlatform.Set && in.DevicePlatform.Value != tract.PlatformWebhook:
		return web.Answer{}, badValue("device_platform", "must be %d", tract.PlatformWebhook)
	}
	return a.once(c, "webhook", body, func(tx *store.Tx) (web.Answer, error) {
		e, err := tx.FindEndpoint(store.Endpoint{Client: c.client.Key, Kind: store.EndpointChannel, Business: in.BusinessID.Value})
		if err != nil {
			return web.Answer{}, store.ErrNotFound.With("this business has no channel webhook")
		}
		if *in.Enabled {
			err = tx.EnableEndpoint(e)
		} else {
			_, err = tx.DisableEndpoint(e, store.DisabledByOwner)
		}
		if err != nil {
			return web.Answer{}, err
		}
		return web.JSON(http.StatusOK, map[string]any{"enabled": *in.Enabled}), tx.InsertAudit(c.client.Key, "client", "channel_webhook", "", map[string]any{"business": in.BusinessID.Value, "enabled": *in.Enabled})
	})
}
