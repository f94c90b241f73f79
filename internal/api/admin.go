package api

import (
	"net/http"
	"strconv"

	"tract"
	"tract/internal/manifest"
	"tract/internal/web"
)

// errAdmin is the answer to a call without the administrator's token.
var errAdmin = &tract.Error{Kind: tract.KindUnauthorized, Code: "invalid_token", Msg: "this needs the administrator's token"}

// maxBundle bounds a declarative file with the files it names.
const maxBundle = 64 << 20

// applyManifest makes the store match a bundle, as tract apply --server sends it.
func (a *API) applyManifest(c *adminCall) (web.Answer, error) {
	r := c.r
	flags := manifest.Flags{Actor: c.actor}
	for name, dest := range map[string]*bool{"dry_run": &flags.DryRun, "prune": &flags.Prune} {
		v, given, err := web.Query(r, name)
		if err != nil {
			return web.Answer{}, err
		}
		if given {
			if *dest, err = strconv.ParseBool(v); err != nil {
				return web.Answer{}, tract.Invalid("invalid_parameter", "%s must be true or false", name)
			}
		}
	}
	body, err := web.ReadRaw(r, maxBundle)
	if err != nil {
		return web.Answer{}, err
	}
	f, err := manifest.DecodeBundle(body)
	if err != nil {
		return web.Answer{}, manifestError(err)
	}
	res, err := a.Manifest.Apply(r.Context(), f, flags)
	if err != nil {
		return web.Answer{}, manifestError(err)
	}
	return web.JSON(http.StatusOK, res), nil
}

// manifestError lists everything that is wrong with a file, line by line.
func manifestError(err error) error {
	ps := manifest.Problems(err)
	if len(ps) == 0 {
		return err
	}
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return tract.Invalid("invalid_manifest", "%s", err).Fact("problems", lines)
}

func (a *API) exportManifest(c *adminCall) (web.Answer, error) {
	b, err := a.Manifest.Export(c.r.Context())
	if err != nil {
		return web.Answer{}, err
	}
	return web.Answer{Status: http.StatusOK, Body: b, Type: "application/yaml"}, nil
}
