package api

import (
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"time"

	"tract"
	"tract/internal/sign"
	"tract/internal/store"
	"tract/internal/web"
)

// secretOverlap is how long the old secret signs beside the new one.
const secretOverlap = 24 * time.Hour

type hookName struct {
	Category    string `json:"category"`
	Subcategory string `json:"subcategory"`
}

func (n hookName) check() error {
	switch {
	case n.Category == "":
		return missing("category")
	case n.Subcategory == "":
		return missing("subcategory")
	}
	if _, ok := tract.HookEvent(n.Category, n.Subcategory); !ok {
		return tract.Invalid("unknown_event", "there is no hook for this category and subcategory; valid are: %s", tract.Names(tract.ToTool))
	}
	return nil
}

func (n hookName) endpoint(c *toolCall) store.Endpoint {
	return store.Endpoint{Client: c.id.ClientKey, Kind: store.EndpointHook, Tool: c.id.Tool, Category: n.Category, Subcategory: n.Subcategory}
}

// registration is what a tool asks for with register.
type registration struct {
	hookName
	URL          string `json:"url"`
	RotateSecret bool   `json:"rotate_secret"`
}

func (a *API) registerHook(c *toolCall) (web.Answer, error) {
	var in registration
	if _, err := web.ReadJSON(c.r, web.MaxBody, &in); err != nil {
		return web.Answer{}, err
	}
	if err := in.check(); err != nil {
		return web.Answer{}, err
	}
	if in.URL == "" {
		return web.Answer{}, missing("url")
	}
	u, err := a.Policy.CheckURL(in.URL)
	if err != nil {
		return web.Answer{}, err
	}
	if err := a.Policy.CheckHost(c.ctx(), u); err != nil {
		return web.Answer{}, err
	}
	fresh, err := sign.NewSecret(rand.Reader)
	if err != nil {
		return web.Answer{}, err
	}
	sealed, err := a.Sealer.Seal([]byte(fresh), store.SecretContext(c.id.ClientKey))
	if err != nil {
		return web.Answer{}, err
	}
	var e store.Endpoint
	var shown bool
	for range registerTries {
		err = a.update(c, func(tx *store.Tx) (err error) {
			e, shown, err = putHook(tx, c, in, sealed)
			return err
		})
		if !errors.Is(err, errHookMoved) {
			break
		}
	}
	if errors.Is(err, errHookMoved) {
		err = store.ErrUnavailable.Because(err)
	}
	if err != nil {
		return web.Answer{}, err
	}
	out := map[string]any{"error": nil, "hook": describeHook(e, store.Health{}, store.Queue{})}
	if shown {
		out["secret"] = fresh
	}
	return web.JSON(http.StatusOK, out), nil
}

// registerTries is how often a registration begins anew that others came in
// between of; each time at least one of them is done.
const registerTries = 20

// errHookMoved is a hook that was changed since it was read: whoever was told
// its secret would have one that never signs.
var errHookMoved = errors.New("the hook was changed by another call")

// putHook creates or replaces a hook. shown says whether sealed became its secret.
func putHook(tx *store.Tx, c *toolCall, in registration, sealed string) (e store.Endpoint, shown bool, err error) {
	old, err := tx.FindEndpoint(in.endpoint(c))
	if err != nil && tract.KindOf(err) != tract.KindNotFound {
		return e, false, err
	}
	shown = err != nil || in.RotateSecret
	e = in.endpoint(c)
	e.URL, e.Secrets, e.SecretUntil = in.URL, old.Secrets, old.SecretUntil
	if shown {
		e.Secrets = slices.Concat([]string{sealed}, old.Secrets[:min(len(old.Secrets), 1)])
		e.SecretUntil = tx.Now.Add(secretOverlap)
	}
	if e, err = tx.PutEndpoint(e); err != nil {
		return e, false, err
	}
	if e.Generation != old.Generation+1 {
		return e, false, errHookMoved
	}
	// A message hook makes the tool available: it may be the default receiver
	// that threads have waited for.
	if err := tx.InsertJob(store.JobAdopt, c.id.ClientKey, struct{}{}, tx.Now); err != nil {
		return e, false, err
	}
	return e, shown, tx.InsertAudit(c.id.ClientKey, string(c.id.Tool), "hook_registered", in.Category+"/"+in.Subcategory, map[string]any{"endpoint": e.ID, "secret_changed": shown})
}

type hookState struct {
	hookName
	endpointHealth
}

type endpointHealth struct {
	URL                 string `json:"url"`
	Enabled             bool   `json:"enabled"`
	State               string `json:"state"` // ok | failing | the reason it is disabled for
	ConsecutiveFailures int    `json:"consecutive_failures"`
	Queued              int64  `json:"queued"`
	OldestQueuedAt      any    `json:"oldest_queued_at"`
	LastSuccessAt       any    `json:"last_success_at"`
	LastError           any    `json:"last_error"`
}

func describeHook(e store.Endpoint, h store.Health, q store.Queue) hookState {
	s := hookState{hookName{e.Category, e.Subcategory}, endpointHealth{e.URL, e.Enabled, "ok", h.ConsecutiveFailures, q.Length, stampOrNil(q.OldestAt), stampOrNil(h.LastSuccessAt), nil}}
	if h.LastError != "" && h.LastFailureAt.After(h.LastSuccessAt) {
		s.LastError = h.LastError
	}
	switch {
	case !e.Enabled:
		s.State = "disabled: " + e.DisabledReason
	case h.ConsecutiveFailures > 0:
		s.State = "failing"
	}
	return s
}

func (a *API) listHooks(c *toolCall) (web.Answer, error) {
	registered, hooks := map[string]map[string]string{}, []hookState{}
	err := a.view(c, func(tx *store.Tx) error {
		clear(registered)
		hooks = hooks[:0]
		es, err := tx.ListEndpoints(c.id.ClientKey, store.EndpointHook, c.id.Tool)
		if err != nil {
			return err
		}
		for _, e := range es {
			state, err := stateOf(tx, e)
			if err != nil {
				return err
			}
			if registered[e.Category] == nil {
				registered[e.Category] = map[string]string{}
			}
			registered[e.Category][e.Subcategory] = e.URL
			hooks = append(hooks, state)
		}
		return nil
	})
	if err != nil {
		return web.Answer{}, err
	}
	available := []map[string]any{}
	for _, n := range tract.EventNames() {
		available = append(available, map[string]any{"category": n.Category, "subcategory": n.Subcategory, "direction": n.Direction})
	}
	return web.JSON(http.StatusOK, map[string]any{"registered_webhooks": registered, "hooks": hooks, "available": available}), nil
}

// hookCall reads the name of one of the tool's hooks and finds it.
func (a *API) hookCall(c *toolCall, fn func(tx *store.Tx, e store.Endpoint) error) (e store.Endpoint, err error) {
	var in hookName
	if _, err := web.ReadJSON(c.r, web.MaxBody, &in); err != nil {
		return e, err
	}
	if err := in.check(); err != nil {
		return e, err
	}
	err = a.update(c, func(tx *store.Tx) error {
		if e, err = tx.FindEndpoint(in.endpoint(c)); err != nil {
			return err
		}
		return fn(tx, e)
	})
	return e, err
}

func (a *API) deleteHook(c *toolCall) (web.Answer, error) {
	_, err := a.hookCall(c, func(tx *store.Tx, e store.Endpoint) error { return removeHook(tx, e, string(c.id.Tool)) })
	if err != nil {
		return web.Answer{}, err
	}
	return web.JSON(http.StatusOK, map[string]any{"error": nil}), nil
}

func (a *API) enableHook(c *toolCall) (web.Answer, error) {
	e, err := a.hookCall(c, func(tx *store.Tx, e store.Endpoint) error { return enableEndpoint(tx, e, string(c.id.Tool)) })
	if err != nil {
		return web.Answer{}, err
	}
	e.Enabled, e.DisabledReason = true, ""
	return web.JSON(http.StatusOK, map[string]any{"error": nil, "hook": describeHook(e, store.Health{}, store.Queue{})}), nil
}

func (a *API) testHook(c *toolCall) (web.Answer, error) {
	e, err := a.hookCall(c, func(*store.Tx, store.Endpoint) error { return nil })
	if err != nil {
		return web.Answer{}, err
	}
	return a.ping(c.r, e)
}
