package api

import (
	"net/http"
	"time"

	"tract"
	"tract/internal/auth"
	"tract/internal/web"
)

// maxSigned bounds the body of a signed management request.
const maxSigned = 8 << 10

func (a *API) signed(r *http.Request) (auth.Caller, error) {
	if err := web.CheckJSON(r.Header); err != nil {
		return auth.Caller{}, err
	}
	body, err := web.ReadRaw(r, maxSigned)
	if err != nil {
		return auth.Caller{}, err
	}
	return a.Auth.VerifySigned(r.Context(), auth.SignedRequest{Header: r.Header, Body: body})
}

func (a *API) issueToken(_ http.ResponseWriter, r *http.Request) (web.Answer, error) {
	caller, err := a.signed(r)
	if err != nil {
		return web.Answer{}, err
	}
	t, err := a.Auth.IssueToken(r.Context(), caller, caller.ClientID)
	if err != nil {
		return web.Answer{}, err
	}
	return web.JSON(http.StatusOK, map[string]any{"token": t.Token, "token_type": "Bearer", "expires_in": t.ExpiresIn, "expires_at": t.ExpiresAt.UTC().Format(time.RFC3339)}), nil
}

func (a *API) listClients(_ http.ResponseWriter, r *http.Request) (web.Answer, error) {
	caller, err := a.signed(r)
	if err != nil {
		return web.Answer{}, err
	}
	return web.JSON(http.StatusOK, map[string]any{"clients": a.Auth.ListClients(caller)}), nil
}

func (a *API) jwks(_ http.ResponseWriter, r *http.Request) (web.Answer, error) {
	keys, err := a.Auth.JWKS(r.Context())
	if err != nil {
		return web.Answer{}, err
	}
	return web.Answer{Status: http.StatusOK, Body: keys}, nil
}

func (a *API) healthz(http.ResponseWriter, *http.Request) (web.Answer, error) {
	return web.JSON(http.StatusOK, map[string]any{"status": "ok"}), nil
}

func (a *API) readyz(_ http.ResponseWriter, r *http.Request) (web.Answer, error) {
	status, text, checks := http.StatusOK, "ready", map[string]string{}
	for name, why := range a.Ready(r.Context()) {
		checks[name] = why
		if why == "" {
			checks[name] = "ok"
		} else {
			status, text = http.StatusServiceUnavailable, "not ready"
		}
	}
	return web.JSON(status, map[string]any{"status": text, "checks": checks}), nil
}

func (a *API) openAPI(http.ResponseWriter, *http.Request) (web.Answer, error) {
	return web.Answer{Status: http.StatusOK, Body: a.Docs.OpenAPI}, nil
}

func (a *API) docs(w http.ResponseWriter, _ *http.Request) (web.Answer, error) {
	w.Header().Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
	return web.Answer{Status: http.StatusOK, Body: a.Docs.HTML, Type: "text/html; charset=utf-8"}, nil
}

func (a *API) docsAsset(_ http.ResponseWriter, r *http.Request) (web.Answer, error) {
	data, kind, ok := a.Docs.Asset(r.PathValue("asset"))
	if !ok {
		return web.Answer{}, &tract.Error{Kind: tract.KindNotFound, Code: "not_found", Msg: "there is nothing at this path"}
	}
	return web.Answer{Status: http.StatusOK, Body: data, Type: kind}, nil
}

func (a *API) metrics(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
	a.Metrics.ServeHTTP(w, r)
	return web.Answer{}, nil
}
