package api

import (
	"mime"
	"net/http"
	"slices"
	"strings"

	"tract/internal/manifest"
	"tract/internal/store"
	"tract/internal/strictjson"
	"tract/internal/web"
)

// adminRoutes registers what administrators call. Everything about one client
// lies below it, so that who may administer one client only can be told by path.
func (a *API) adminRoutes(m *web.Mux) {
	handle := func(pattern string, h func(*adminCall) (web.Answer, error)) {
		m.Handle(pattern, web.Hub, a.administer(h))
	}
	const client = "/api/clients/{client}/"
	handle("GET /api/clients/", a.listObjects(manifest.KindClient, "clients"))
	handle("POST /api/clients/", a.createClient)
	a.objectRoutes(handle, client, manifest.KindClient, "client")
	for _, res := range []struct{ kind, plural, name string }{
		{store.KindBusiness, "businesses", "business"}, {store.KindBot, "bots", "domain"}, {store.KindTeam, "teams", "team"},
		{store.KindAgent, "agents", "agent"}, {store.KindTool, "tools", "tool"},
	} {
		handle("GET "+client+res.plural+"/", a.listObjects(res.kind, res.plural))
		a.objectRoutes(handle, client+res.plural+"/{"+res.name+"}/", res.kind, res.name)
	}

	handle("GET "+client+"tokens/", a.listTokens)
	handle("POST "+client+"tokens/", a.createToken)
	handle("DELETE "+client+"tokens/{token}/", a.revokeToken)
	const tool = client + "tools/{tool}/"
	handle("GET "+tool+"certificates/", a.listCertificates)
	handle("POST "+tool+"certificates/", a.addCertificate)
	handle("DELETE "+tool+"certificates/{uuid}/", a.revokeCertificate)
	handle("DELETE "+tool+"tokens/", a.revokeAccess)

	a.endpointRoutes(handle, tool+"hooks/", toolHooks)
	handle("DELETE "+tool+"hooks/{id}/", a.deleteEndpoint(toolHooks))
	a.endpointRoutes(handle, client+"businesses/{business}/channels/", businessChannels)
	handle("GET "+client+"audit/", a.listAudit)
}

func (a *API) endpointRoutes(handle func(string, func(*adminCall) (web.Answer, error)), path string, find finder) {
	handle("GET "+path, a.listEndpoints(find))
	handle("GET "+path+"{id}/", a.getEndpoint(find))
	handle("POST "+path+"{id}/enable/", a.changeEndpoint(find, enableEndpoint))
	handle("POST "+path+"{id}/disable/", a.changeEndpoint(find, disableEndpoint))
	handle("POST "+path+"{id}/test/", a.testEndpoint(find))
}

func (a *API) objectRoutes(handle func(string, func(*adminCall) (web.Answer, error)), path, kind, name string) {
	handle("GET "+path, a.getObject(kind, name))
	handle("PUT "+path, a.putObject(kind, name, false))
	handle("PATCH "+path, a.putObject(kind, name, true))
	handle("DELETE "+path, a.deleteObject(kind, name))
}

// adminCall is one call of an administrator.
type adminCall struct {
	w     http.ResponseWriter
	r     *http.Request
	actor string // for the audit trail
}

func (c *adminCall) client() string { return c.r.PathValue("client") }

// administer proves an administrator.
func (a *API) administer(h func(*adminCall) (web.Answer, error)) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
		actor, ok := a.administrator(r)
		if !ok {
			return web.Answer{}, errAdmin
		}
		return h(&adminCall{w, r, actor})
	}
}

// admin is administer for handlers that do not ask who it is.
func (a *API) admin(h web.Handler) web.Handler {
	return a.administer(func(c *adminCall) (web.Answer, error) { return h(c.w, c.r) })
}

// administrator is who calls: "admin" by the configured token, or a person.
func (a *API) administrator(r *http.Request) (actor string, ok bool) {
	token, ok := bearerOf(r)
	switch {
	case !ok:
		return "", false
	case a.Auth.IsAdmin(token):
		return "admin", true
	}
	return a.Administrator(r.Context(), token)
}

// adminOnce runs a changing call once for all calls with its key.
func (a *API) adminOnce(c *adminCall, body []byte, fn func(tx *store.Tx) (web.Answer, error)) (web.Answer, error) {
	key, err := a.Idempotency.Key(c.r, body, "admin", c.actor, strings.TrimSuffix(c.r.URL.Path, "/"))
	if err != nil {
		return web.Answer{}, err
	}
	return key.Update(c.r.Context(), 0, fn)
}

// mergePatch is the media type of RFC 7396; plain JSON is taken for it, too.
const mergePatch = "application/merge-patch+json"

// readObject reads a body that the manifest will look into.
func readObject(r *http.Request, patch bool) ([]byte, error) {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if !patch || media != mergePatch || len(r.Header.Values("Content-Type")) > 1 {
		if err := web.CheckJSON(r.Header); err != nil {
			return nil, err
		}
	}
	b, err := web.ReadRaw(r, web.MaxBody)
	if err != nil {
		return nil, err
	}
	return b, strictjson.Check(b, strictjson.Limits{})
}

// condition reads If-Match and If-None-Match.
func condition(h http.Header) (c manifest.Condition, err error) {
	if c.Match, err = entityTags(h, "If-Match"); err != nil {
		return c, err
	}
	c.NoneMatch, err = entityTags(h, "If-None-Match")
	for i := range c.NoneMatch { // compared weakly
		c.NoneMatch[i] = strings.TrimPrefix(c.NoneMatch[i], "W/")
	}
	return c, err
}

func entityTags(h http.Header, name string) (out []string, err error) {
	if len(h.Values(name)) == 0 {
		return nil, nil
	}
	for one := range strings.SplitSeq(strings.Join(h.Values(name), ","), ",") {
		one = strings.TrimSpace(one)
		bare := strings.TrimPrefix(one, "W/")
		if one != "*" && (len(bare) < 2 || bare[0] != '"' || strings.IndexByte(bare[1:], '"') != len(bare)-2) {
			return nil, badParameter(name, "must be an entity tag in quotes, as the header ETag gave it, or *")
		}
		out = append(out, one)
	}
	return out, nil
}

// listPage reads where a list goes on and how long a page is.
func (a *API) listPage(r *http.Request, scope string) (after string, limit int, err error) {
	if limit, err = web.Limit(r, defaultPage, maxPage); err != nil {
		return "", 0, err
	}
	cursor, given, err := web.Query(r, "cursor")
	if err != nil || !given {
		return "", limit, err
	}
	after, err = web.DecodeCursor(a.CursorKey, scope, cursor)
	return after, limit, err
}

// cut takes a page from a list that may be one longer.
func cut[T any](a *API, scope string, list []T, limit int, key func(T) string) (page []T, next any) {
	if len(list) <= limit {
		return list, nil
	}
	return list[:limit], web.EncodeCursor(a.CursorKey, scope, key(list[limit-1]))
}

// behind sorts a whole list and gives what lies behind a key.
func behind[T any](list []T, after string, key func(T) string) []T {
	slices.SortFunc(list, func(x, y T) int { return strings.Compare(key(x), key(y)) })
	return slices.DeleteFunc(list, func(x T) bool { return key(x) <= after })
}
