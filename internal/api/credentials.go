package api

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"

	"tract"
	"tract/internal/store"
	"tract/internal/web"
)

type tokenView struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Scopes    []string `json:"scopes"`
	CreatedAt string   `json:"created_at"`
	ExpiresAt any      `json:"expires_at"`
	RevokedAt any      `json:"revoked_at"`
}

func describeToken(t store.Token) tokenView {
	slices.Sort(t.Scopes)
	return tokenView{t.ID, t.Name, t.Scopes, stamp(t.CreatedAt), stampOrNil(t.ExpiresAt), stampOrNil(t.RevokedAt)}
}

func (a *API) listTokens(c *adminCall) (web.Answer, error) {
	scope := "tokens/" + c.client()
	after, limit, err := a.listPage(c.r, scope)
	if err != nil {
		return web.Answer{}, err
	}
	var list []store.Token
	err = a.Store.View(c.r.Context(), func(tx *store.Tx) error {
		client, err := tx.Client(c.client())
		if err != nil {
			return err
		}
		list, err = tx.ListTokens(client.Key)
		return err
	})
	if err != nil {
		return web.Answer{}, err
	}
	name := func(t store.Token) string { return t.Name }
	list, next := cut(a, scope, behind(list, after, name), limit, name)
	out := make([]tokenView, len(list))
	for i, t := range list {
		out[i] = describeToken(t)
	}
	return web.JSON(http.StatusOK, map[string]any{"tokens": out, "next_cursor": next}), nil
}

type madeToken struct {
	Token tokenView `json:"token"`
	Value *string   `json:"value"`
}

func (a *API) createToken(c *adminCall) (web.Answer, error) {
	body, err := readObject(c.r, false)
	if err != nil {
		return web.Answer{}, err
	}
	// The answer may be remembered under a key: with the value sealed.
	bound := "answer/" + c.client()
	out, err := a.adminOnce(c, body, func(tx *store.Tx) (web.Answer, error) {
		t, value, err := a.Manifest.AddToken(tx, c.client(), body, c.actor)
		if err != nil {
			return web.Answer{}, err
		}
		made := madeToken{Token: describeToken(t)}
		if value != "" {
			sealed, err := a.Sealer.Seal([]byte(value), bound)
			if err != nil {
				return web.Answer{}, err
			}
			made.Value = &sealed
		}
		return web.JSON(http.StatusCreated, made), nil
	})
	if err != nil {
		return web.Answer{}, err
	}
	var made madeToken
	if err := json.Unmarshal(out.Body, &made); err != nil {
		return web.Answer{}, fmt.Errorf("read the answer: %w", err)
	}
	if made.Value != nil {
		value, err := a.Sealer.Open(*made.Value, bound)
		if err != nil {
			return web.Answer{}, fmt.Errorf("open the token's value: %w", err)
		}
		*made.Value = string(value)
	}
	return web.JSON(out.Status, made), nil
}

// adminChange runs a change that has no answer.
func (a *API) adminChange(c *adminCall, fn func(tx *store.Tx) error) (web.Answer, error) {
	if err := a.Store.Update(c.r.Context(), fn); err != nil {
		return web.Answer{}, err
	}
	return web.NoContent(), nil
}

func (a *API) revokeToken(c *adminCall) (web.Answer, error) {
	return a.adminChange(c, func(tx *store.Tx) error {
		return a.Manifest.RevokeToken(tx, c.client(), c.r.PathValue("token"), c.actor)
	})
}

func (a *API) revokeAccess(c *adminCall) (web.Answer, error) {
	return a.adminChange(c, func(tx *store.Tx) error {
		return a.Manifest.RevokeAccess(tx, c.client(), c.r.PathValue("tool"), c.actor)
	})
}

type certificateView struct {
	UUID      string `json:"uuid"`
	PEM       string `json:"pem"`
	NotAfter  any    `json:"not_after"` // null when the certificate cannot be read
	CreatedAt string `json:"created_at"`
	RevokedAt any    `json:"revoked_at"`
}

func describeCertificate(k tract.Certificate) certificateView {
	v := certificateView{UUID: k.UUID, PEM: k.PEM, CreatedAt: stamp(k.CreatedAt), RevokedAt: stampOrNil(k.RevokedAt)}
	if block, _ := pem.Decode([]byte(k.PEM)); block != nil {
		if x, err := x509.ParseCertificate(block.Bytes); err == nil {
			v.NotAfter = stamp(x.NotAfter)
		}
	}
	return v
}

// toolIn finds the tool in the path, or says that there is none.
func (a *API) toolIn(tx *store.Tx, c *adminCall) (client tract.Client, tool tract.ReceiverID, err error) {
	o, err := a.Manifest.Get(tx, c.client(), store.KindTool, c.r.PathValue("tool"))
	if err != nil {
		return client, "", err
	}
	client, err = tx.Client(c.client())
	return client, tract.ReceiverID(o.ID), err
}

func (a *API) listCertificates(c *adminCall) (web.Answer, error) {
	scope := "certificates/" + c.client() + "/" + c.r.PathValue("tool")
	after, limit, err := a.listPage(c.r, scope)
	if err != nil {
		return web.Answer{}, err
	}
	var list []tract.Certificate
	err = a.Store.View(c.r.Context(), func(tx *store.Tx) error {
		client, tool, err := a.toolIn(tx, c)
		if err != nil {
			return err
		}
		list, err = tx.ListCertificates(client.Key)
		list = slices.DeleteFunc(list, func(k tract.Certificate) bool { return k.Tool != tool })
		return err
	})
	if err != nil {
		return web.Answer{}, err
	}
	uuid := func(k tract.Certificate) string { return k.UUID }
	list, next := cut(a, scope, behind(list, after, uuid), limit, uuid)
	out := make([]certificateView, len(list))
	for i, k := range list {
		out[i] = describeCertificate(k)
	}
	return web.JSON(http.StatusOK, map[string]any{"certificates": out, "next_cursor": next}), nil
}

func (a *API) addCertificate(c *adminCall) (web.Answer, error) {
	body, err := readObject(c.r, false)
	if err != nil {
		return web.Answer{}, err
	}
	return a.adminOnce(c, body, func(tx *store.Tx) (web.Answer, error) {
		made, err := a.Manifest.AddCertificate(tx, c.client(), c.r.PathValue("tool"), body, c.actor)
		if err != nil {
			return web.Answer{}, err
		}
		return web.JSON(http.StatusCreated, describeCertificate(made)), nil
	})
}

func (a *API) revokeCertificate(c *adminCall) (web.Answer, error) {
	tool := c.r.PathValue("tool")
	return a.adminChange(c, func(tx *store.Tx) error {
		return a.Manifest.RevokeCertificate(tx, c.client(), tool, c.r.PathValue("uuid"), c.actor)
	})
}
