// Package api is the REST interface: the TRACT API for external chat tools, the
// platform APIs for client organisations, health and documentation.
//
// It turns requests into commands and their results into documented answers. It
// must not hold rules: what may happen is decided below. Invariants: no 2xx
// before the commit; to a caller, what belongs to another client looks like
// what does not exist.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"tract"
	"tract/internal/auth"
	"tract/internal/bot"
	"tract/internal/conversation"
	"tract/internal/delivery"
	"tract/internal/files"
	"tract/internal/intake"
	"tract/internal/manifest"
	"tract/internal/safehttp"
	"tract/internal/sign"
	"tract/internal/store"
	"tract/internal/web"
)

// API is everything the endpoints need.
type API struct {
	Store        *store.Store
	Auth         *auth.Service
	Conversation *conversation.Service
	Intake       *intake.Service
	Delivery     *delivery.Dispatcher
	Manifest     *manifest.Service
	Files        *files.Service
	Imports      *bot.Importer
	Bot          *bot.IVA
	Sealer       *sign.Sealer
	Policy       safehttp.Policy // for the URLs of hooks
	Idempotency  *web.Idempotency
	Limiter      *web.Limiter
	Rate         web.Rate // of each client token, unless the client has its own; negative = none
	CursorKey    []byte
	Now          func() time.Time
	Log          *slog.Logger
	// Ready says why the process is not ready to serve, by name of the check;
	// an empty text is a check that passed.
	Ready func(ctx context.Context) map[string]string
	// Administrator says whose token it is, of the persons who administer the
	// server beside the holder of the configured one.
	Administrator func(ctx context.Context, token string) (email string, ok bool)
	// Metrics answers GET /metrics; nil when it is served elsewhere.
	Metrics http.Handler
	Docs    Docs
	// SyncWait is how long the synchronous message API waits; 5 s by default.
	SyncWait time.Duration
}

// Docs is the API reference.
type Docs struct {
	OpenAPI []byte
	HTML    []byte
	Asset   func(name string) (data []byte, contentType string, ok bool)
}

// Routes registers every endpoint.
func (a *API) Routes(m *web.Mux) {
	hub := func(pattern string, h func(*toolCall) (web.Answer, error), aliases ...string) {
		m.Handle(pattern, web.Hub, a.tool(h), aliases...)
	}
	m.Handle("POST /tract/management/token/issue/", web.Hub, a.issueToken, "/jwt/issue/")
	m.Handle("POST /tract/management/clients/list/", web.Hub, a.listClients)
	m.Handle("GET /.well-known/jwks.json", web.Hub, a.jwks)

	hub("POST /tract/hooks/register/", a.registerHook)
	hub("GET /tract/hooks/list/", a.listHooks)
	hub("DELETE /tract/hooks/", a.deleteHook)
	hub("POST /tract/hooks/enable/", a.enableHook)
	hub("POST /tract/hooks/test/", a.testHook)
	hub("GET /tract/deliveries/", a.listDeliveries)
	hub("POST /tract/deliveries/replay/", a.replayDeliveries)
	hub("GET /tract/feed/", a.feed)

	hub("POST /tract/user/", a.user)
	hub("POST /tract/user/details/", a.userDetails)
	hub("POST /tract/message/send/", a.sendMessage)
	hub("POST /tract/events/send/", a.sendEvent, "/tract/event/send/")
	hub("POST /tract/thread_control/listeners/", a.listeners)
	hub("POST /tract/thread_control/request/", a.requestControl)
	hub("GET /tract/thread_control/ledger/", a.ledger)

	m.Handle("POST /v1.0/user/", web.Platform, a.delivery(a.createUser))
	m.Handle("PUT /v1.0/user/", web.Platform, a.delivery(a.updateUser))
	m.Handle("POST /v1.0/log_message_from_user/", web.Platform, a.delivery(a.logMessage))
	m.Handle("POST /v1.0/message/sync/", web.Platform, a.delivery(a.syncMessage))
	m.Handle("POST /v1.0/log_file_from_user/", web.Platform, a.delivery(a.logFile))
	m.Handle("GET /files/{id}", web.Hub, a.file)
	m.Handle("POST /v1.0/webhook/", web.Platform, a.delivery(a.enableChannel))
	m.Handle("POST /v1.0/log_feedback_from_user/", web.Platform, a.delivery(a.logFeedback))
	m.Handle("POST /integration/external/v1.0/send_chat_to_agent/", web.Platform, a.transferV1)
	m.Handle("POST /integration/external/v2.0/send_chat_to_agent/", web.Platform, a.transferV2)
	m.Handle("POST /mogambo_api/nodes/faq/create/", web.Platform, a.faq(a.createFAQ))
	m.Handle("GET /mogambo_api/nodes/faq/create/status/{task_id}/", web.Platform, a.faq(a.faqStatus))
	m.Handle("GET /mogambo_api/nodes/faq/", web.Platform, a.faq(a.exportFAQ))
	m.Handle("POST /mogambo_api/nodes/faq/restore/", web.Platform, a.faq(a.restoreFAQ))
	m.Handle("GET /integration/external/v1.0/get_chat_history/", web.Platform, a.historyV1)
	m.Handle("GET /integration/external/v2.0/get_chat_history/", web.Platform, a.historyV2)

	m.Handle("POST /api/manifest/", web.Hub, a.administer(a.applyManifest))
	m.Handle("GET /api/manifest/", web.Hub, a.administer(a.exportManifest))
	a.adminRoutes(m)
	a.textRoutes(m)
	m.Handle("GET /api/clients/{client}/bots/{domain}/unanswered/", web.Hub, a.admin(a.listUnanswered))
	m.Handle("POST /api/clients/{client}/bots/{domain}/unanswered/{id}/resolve/", web.Hub, a.administer(a.resolveUnanswered))

	m.Handle("GET /api/clients/{client}/bots/{domain}/models/", web.Hub, a.admin(a.listModels))
	m.Handle("GET /api/clients/{client}/bots/{domain}/models/compare/", web.Hub, a.admin(a.compareModels))
	m.Handle("GET /api/clients/{client}/bots/{domain}/models/{version}/", web.Hub, a.admin(a.showModel))
	m.Handle("POST /api/clients/{client}/bots/{domain}/models/{version}/activate/", web.Hub, a.admin(a.activateModel))
	a.operateRoutes(m)

	m.Handle("GET /healthz", web.Hub, a.healthz)
	m.Handle("GET /readyz", web.Hub, a.readyz)
	m.Handle("GET /openapi.json", web.Hub, a.openAPI)
	m.Handle("GET /docs", web.Hub, a.docs)
	m.Handle("GET /docs/{asset}", web.Hub, a.docsAsset)
	if a.Metrics != nil {
		m.Handle("GET /metrics", web.Hub, a.metrics)
	}
}

// toolCall is one call of an external tool that has shown its token.
type toolCall struct {
	w  http.ResponseWriter
	r  *http.Request
	id auth.Identity
}

func (c *toolCall) ctx() context.Context { return c.r.Context() }

// tool proves the caller. What could have ended the token since it was issued
// is checked again in the transaction of the call.
func (a *API) tool(h func(*toolCall) (web.Answer, error)) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
		id, err := a.Auth.Identify(r.Context(), r.Header)
		if err != nil {
			return web.Answer{}, err
		}
		if err := a.Limiter.Take(w, clientBucket(id.ClientID, id.Limits)...); err != nil {
			return web.Answer{}, err
		}
		return h(&toolCall{w, r, id})
	}
}

// view runs a reading call of a tool.
func (a *API) view(c *toolCall, fn func(tx *store.Tx) error) error {
	return a.Store.View(c.ctx(), func(tx *store.Tx) error {
		if err := a.Auth.CheckIdentity(tx, c.id); err != nil {
			return err
		}
		return fn(tx)
	})
}

// update runs a changing call of a tool that is not a command on a thread.
func (a *API) update(c *toolCall, fn func(tx *store.Tx) error) error {
	return a.Store.Update(c.ctx(), func(tx *store.Tx) error {
		if err := a.Auth.CheckIdentity(tx, c.id); err != nil {
			return err
		}
		return fn(tx)
	})
}

// command runs a tool's command on the thread it calls user_id, once for all
// calls with the same Idempotency-Key. answer makes the answer of what was done,
// or of a refusal; what it returns as an error is not remembered.
func (a *API) command(c *toolCall, endpoint string, body []byte, pxut string, cmd tract.Command, answer func(tx *store.Tx, res *conversation.Result) (web.Answer, error)) (web.Answer, error) {
	thread, err := a.Conversation.Find(c.ctx(), c.id.ClientKey, pxut)
	if err != nil {
		return web.Answer{}, err
	}
	key, err := a.Idempotency.Key(c.r, body, "tool", c.id.ClientID, string(c.id.Tool), endpoint)
	if err != nil {
		return web.Answer{}, err
	}
	key.Check = func(tx *store.Tx) error { return a.Auth.CheckIdentity(tx, c.id) }
	check := func(tx *store.Tx, l *store.Locked, _ *tract.Config) error {
		return a.Auth.CheckIdentityAt(tx, c.id, l.ConfigVersion)
	}
	var refused error
	out, err := key.Update(c.ctx(), thread, func(tx *store.Tx) (web.Answer, error) {
		refused = nil
		res, err := a.Conversation.Apply(tx, thread, cmd, conversation.Options{Tool: c.id.Tool, Check: check})
		if err != nil {
			return web.Answer{}, err
		}
		out, err := answer(tx, res)
		if err != nil && res.Refused != nil {
			// The refusal's line in the ledger is kept: commit, then refuse.
			refused = err
			return web.Answer{Status: http.StatusConflict}, nil
		}
		return out, err
	})
	if err == nil {
		err = refused
	}
	return out, err
}

// field errors

func missing(name string) error { return tract.Invalid("field_missing", "field %s is missing", name) }

func badValue(name, format string, args ...any) error {
	return tract.Invalid("field_value", "field "+name+" "+format, args...)
}

// maxID bounds the identifiers that callers send.
const maxID = 128

func checkUserID(id string) error {
	switch {
	case id == "":
		return missing("user_id")
	case len(id) > maxID:
		return badValue("user_id", "is longer than %d bytes", maxID)
	}
	return nil
}

// stamp writes an instant as answers carry it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// stampOrNil is stamp, or null for an instant that is not set.
func stampOrNil(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return stamp(t)
}
