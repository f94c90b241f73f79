package api

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"strconv"
	"strings"

	"tract"
	"tract/internal/intake"
	"tract/internal/store"
	"tract/internal/web"
)

// eraseUser begins to erase everything about a user.
func (a *API) eraseUser(c *operation) (web.Answer, error) {
	auth := c.r.PathValue("auth_id")
	if err := intake.CheckAuthID(auth); err != nil {
		return web.Answer{}, err
	}
	key, err := a.Idempotency.Key(c.r, nil, "admin", c.actor, c.client.ID, "users/erase", auth)
	if err != nil {
		return web.Answer{}, err
	}
	subject := a.subjectOf(c.client, auth)
	return key.Update(c.ctx(), 0, func(tx *store.Tx) (web.Answer, error) {
		id := "ers_" + strings.ToLower(rand.Text())
		u, err := a.Conversation.Erase(tx, c.client.Key, auth, id, subject)
		if tract.KindOf(err) == tract.KindNotFound {
			e, asked, err := tx.ErasureOf(c.client.Key, subject)
			if err == nil && !asked {
				err = store.ErrNotFound.With("no such user")
			}
			return web.JSON(http.StatusAccepted, erasureOf(&e)), err
		}
		if err != nil {
			return web.Answer{}, err
		}
		if err := tx.InsertAudit(c.client.Key, c.actor, "user_erased", auditUser(u.ID), map[string]any{"erasure": id}); err != nil {
			return web.Answer{}, err
		}
		return web.JSON(http.StatusAccepted, erasureOf(&store.Erasure{ID: id, State: store.ErasureWaiting, RequestedAt: tx.Now, Counts: map[string]int64{}})), nil
	})
}

// subjectOf stands for an auth id among the erasures. Without the server's secret
// key nobody can tell whose it is.
func (a *API) subjectOf(client tract.Client, authID string) []byte {
	mac := hmac.New(sha256.New, a.CursorKey)
	mac.Write([]byte("erasure\x00" + client.ID + "\x00" + authID))
	return mac.Sum(nil)
}

// auditUser names a user in the audit log, which outlives its auth id.
func auditUser(id int64) string { return "user/" + strconv.FormatInt(id, 10) }

func erasureOf(e *store.Erasure) map[string]any {
	return map[string]any{"id": e.ID, "state": e.State, "counts": e.Counts, "requested_at": stamp(e.RequestedAt), "finished_at": stampOrNil(e.FinishedAt)}
}

// readErasure says how far an erasure is.
func (a *API) readErasure(c *operation) (web.Answer, error) {
	var e store.Erasure
	err := a.Store.View(c.ctx(), func(tx *store.Tx) (err error) {
		e, err = tx.Erasure(c.client.Key, c.r.PathValue("id"))
		return err
	})
	if err != nil {
		return web.Answer{}, err
	}
	return web.JSON(http.StatusOK, erasureOf(&e)), nil
}
