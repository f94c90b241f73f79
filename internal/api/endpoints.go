package api

import (
	"net/http"
	"slices"
	"strconv"

	"tract"
	"tract/internal/store"
	"tract/internal/web"
)

// What is done to an endpoint, by a tool to its hooks or by an administrator.

func isMessageHook(e store.Endpoint) bool {
	return e.Kind == store.EndpointHook && e.Category == "message" && e.Subcategory == "receive"
}

// auditEndpoint notes a change of an endpoint.
func auditEndpoint(tx *store.Tx, e store.Endpoint, actor, verb string) error {
	if e.Kind == store.EndpointChannel {
		return tx.InsertAudit(e.Client, actor, "channel_"+verb, "business/"+strconv.FormatInt(e.Business, 10), map[string]any{"endpoint": e.ID})
	}
	return tx.InsertAudit(e.Client, actor, "hook_"+verb, e.Category+"/"+e.Subcategory, map[string]any{"endpoint": e.ID, "tool": e.Tool})
}

func enableEndpoint(tx *store.Tx, e store.Endpoint, actor string) error {
	if err := tx.EnableEndpoint(e); err != nil {
		return err
	}
	if isMessageHook(e) {
		// The tool is available again: threads may have waited for it.
		if err := tx.InsertJob(store.JobAdopt, e.Client, struct{}{}, tx.Now); err != nil {
			return err
		}
	}
	return auditEndpoint(tx, e, actor, "enabled")
}

func disableEndpoint(tx *store.Tx, e store.Endpoint, actor string) error {
	changed, err := tx.DisableEndpoint(e, store.DisabledByOwner)
	if err != nil || !changed {
		return err
	}
	if err := toolUnavailable(tx, e); err != nil {
		return err
	}
	return auditEndpoint(tx, e, actor, "disabled")
}

func removeHook(tx *store.Tx, e store.Endpoint, actor string) error {
	if err := tx.DeleteEndpoint(e); err != nil {
		return err
	}
	if err := toolUnavailable(tx, e); err != nil {
		return err
	}
	return auditEndpoint(tx, e, actor, "deleted")
}

// toolUnavailable has the threads of a tool that hears no messages any more
// given to somebody else.
func toolUnavailable(tx *store.Tx, e store.Endpoint) error {
	if !isMessageHook(e) {
		return nil
	}
	return tx.InsertJob(store.JobHookDisabled, e.Client, map[string]any{"tool": e.Tool}, tx.Now)
}

// stateOf is how an endpoint fares.
func stateOf(tx *store.Tx, e store.Endpoint) (s hookState, err error) {
	h, err := tx.Health(e.ID)
	if err != nil {
		return s, err
	}
	q, err := tx.Queue(e.ID)
	return describeHook(e, h, q), err
}

// ping makes a test call.
func (a *API) ping(r *http.Request, e store.Endpoint) (web.Answer, error) {
	category, subcategory := e.Category, e.Subcategory
	if e.Kind == store.EndpointChannel {
		category, subcategory = "channel", "webhook"
	}
	res, err := a.Delivery.Test(r.Context(), e, []byte(`{"category":"`+category+`","subcategory":"`+subcategory+`","type":"ping","timestamp":"`+stamp(a.Now())+`"}`))
	if err != nil {
		return web.Answer{}, store.ErrUnavailable.With("the test call could not be made").Because(err)
	}
	out := map[string]any{"error": nil, "status": res.Status, "latency_ms": res.Latency.Milliseconds(), "body": res.Excerpt}
	if res.Error != "" {
		out["error"] = res.Error
	}
	return web.JSON(http.StatusOK, out), nil
}

// endpointView is an endpoint as an administrator sees it.
type endpointView struct {
	ID int64 `json:"id"`
	hookState
}

// channelView is a channel's endpoint: it has no event name.
type channelView struct {
	ID int64 `json:"id"`
	endpointHealth
}

func viewOf(tx *store.Tx, e store.Endpoint) (any, error) {
	s, err := stateOf(tx, e)
	if e.Kind == store.EndpointChannel {
		return channelView{e.ID, s.endpointHealth}, err
	}
	return endpointView{e.ID, s}, err
}

// toolHooks and businessChannels find the endpoints below a path, within a
// transaction.
func toolHooks(c *adminCall) func(*store.Tx) ([]store.Endpoint, error) {
	return func(tx *store.Tx) ([]store.Endpoint, error) {
		client, err := tx.Client(c.client())
		if err != nil {
			return nil, err
		}
		tool := c.r.PathValue("tool")
		if _, found, err := tx.Document(client.Key, store.KindTool, tool); err != nil || !found {
			return nil, orNotFound(err, "the client has no such tool")
		}
		return tx.ListEndpoints(client.Key, store.EndpointHook, tract.ReceiverID(tool))
	}
}

func businessChannels(c *adminCall) func(*store.Tx) ([]store.Endpoint, error) {
	return func(tx *store.Tx) ([]store.Endpoint, error) {
		client, err := tx.Client(c.client())
		if err != nil {
			return nil, err
		}
		business := c.r.PathValue("business")
		if _, found, err := tx.Document(client.Key, store.KindBusiness, business); err != nil || !found {
			return nil, orNotFound(err, "the client has no such business")
		}
		es, err := tx.ListEndpoints(client.Key, store.EndpointChannel, "")
		return slices.DeleteFunc(es, func(e store.Endpoint) bool { return strconv.FormatInt(e.Business, 10) != business }), err
	}
}

func orNotFound(err error, text string) error {
	if err == nil {
		err = store.ErrNotFound.With("%s", text)
	}
	return err
}

type finder = func(*adminCall) func(*store.Tx) ([]store.Endpoint, error)

func (a *API) listEndpoints(find finder) func(*adminCall) (web.Answer, error) {
	return func(c *adminCall) (web.Answer, error) {
		var out []any
		err := a.Store.View(c.r.Context(), func(tx *store.Tx) error {
			out = []any{}
			es, err := find(c)(tx)
			for _, e := range es {
				v, err := viewOf(tx, e)
				if err != nil {
					return err
				}
				out = append(out, v)
			}
			return err
		})
		if err != nil {
			return web.Answer{}, err
		}
		name := "hooks"
		if c.r.PathValue("business") != "" {
			name = "channels"
		}
		return web.JSON(http.StatusOK, map[string]any{name: out}), nil
	}
}

// endpointIn finds the endpoint in the path.
func endpointIn(tx *store.Tx, c *adminCall, find finder) (store.Endpoint, error) {
	es, err := find(c)(tx)
	if err != nil {
		return store.Endpoint{}, err
	}
	for _, e := range es {
		if strconv.FormatInt(e.ID, 10) == c.r.PathValue("id") {
			return e, nil
		}
	}
	return store.Endpoint{}, store.ErrNotFound.With("no such endpoint")
}

func (a *API) getEndpoint(find finder) func(*adminCall) (web.Answer, error) {
	return func(c *adminCall) (web.Answer, error) {
		var v any
		err := a.Store.View(c.r.Context(), func(tx *store.Tx) error {
			e, err := endpointIn(tx, c, find)
			if err != nil {
				return err
			}
			v, err = viewOf(tx, e)
			return err
		})
		if err != nil {
			return web.Answer{}, err
		}
		return web.JSON(http.StatusOK, v), nil
	}
}

func (a *API) changeEndpoint(find finder, change func(*store.Tx, store.Endpoint, string) error) func(*adminCall) (web.Answer, error) {
	return func(c *adminCall) (web.Answer, error) {
		return a.adminOnce(c, nil, func(tx *store.Tx) (web.Answer, error) {
			e, err := endpointIn(tx, c, find)
			if err != nil {
				return web.Answer{}, err
			}
			if err := change(tx, e, c.actor); err != nil {
				return web.Answer{}, err
			}
			if e, err = tx.Endpoint(e.ID); err != nil {
				return web.Answer{}, err
			}
			v, err := viewOf(tx, e)
			if err != nil {
				return web.Answer{}, err
			}
			return web.JSON(http.StatusOK, v), nil
		})
	}
}

func (a *API) deleteEndpoint(find finder) func(*adminCall) (web.Answer, error) {
	return func(c *adminCall) (web.Answer, error) {
		return a.adminChange(c, func(tx *store.Tx) error {
			e, err := endpointIn(tx, c, find)
			if err != nil {
				return err
			}
			return removeHook(tx, e, c.actor)
		})
	}
}

func (a *API) testEndpoint(find finder) func(*adminCall) (web.Answer, error) {
	return func(c *adminCall) (web.Answer, error) {
		var e store.Endpoint
		err := a.Store.View(c.r.Context(), func(tx *store.Tx) (err error) { e, err = endpointIn(tx, c, find); return err })
		if err != nil {
			return web.Answer{}, err
		}
		return a.ping(c.r, e)
	}
}
