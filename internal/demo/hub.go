package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"tract"
	"tract/internal/safehttp"
	"tract/internal/store"
)

// hub is the platform API as the shop's website uses it for its customers.
type hub struct {
	base, token string
	http        *safehttp.Client
}

func newHub(base, token string) *hub {
	return &hub{base: base, token: token, http: safehttp.New(safehttp.Config{Policy: safehttp.Policy{AllowPrivate: true}, Timeout: 10 * time.Second, UserAgent: "tract-demo"})}
}

func (h *hub) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+h.token)
	req.Header.Set("Client-Id", clientID)
	res, err := h.http.Do(ctx, req)
	if err != nil {
		return err
	}
	if res.Status != http.StatusOK {
		var no struct {
			Message string `json:"error_message"`
			Code    string `json:"code"`
		}
		_ = json.Unmarshal(res.Body, &no)
		return &tract.Error{Kind: tract.KindConflict, Code: no.Code, Msg: fmt.Sprintf("the hub answered %d: %s", res.Status, no.Message)}
	}
	return json.Unmarshal(res.Body, out)
}

// say writes as the visitor's customer.
func (d *demo) say(ctx context.Context, v *visitor, text string) error {
	if err := v.begin(ctx); err != nil {
		return err
	}
	defer v.end()
	c, err := d.visitors.customer(v)
	if err != nil {
		return err
	}
	var user struct {
		AuthID string `json:"auth_id"`
	}
	if !c.registered {
		if err := d.hub.post(ctx, "/v1.0/user/", map[string]any{"auth_id": c.authID, "name": c.name, "language_code": "en"}, &user); err != nil {
			return err
		}
		c.registered = true
	}
	var sent struct {
		MessageID int64  `json:"message_id"`
		CreatedAt string `json:"created_at"`
	}
	in := map[string]any{"user": map[string]any{"auth_id": c.authID}, "message_body": text, "message_type": 0, "business_id": business}
	if err := d.hub.post(ctx, "/v1.0/log_message_from_user/", in, &sent); err != nil {
		return err
	}
	if c.thread == 0 {
		if err := d.find(ctx, v, c); err != nil {
			return err
		}
	}
	d.visitors.hear(c.authID, chatLine{ID: sent.MessageID, At: sent.CreatedAt, From: "me", Text: text})
	return nil
}

// find learns which thread a customer's first message has begun.
func (d *demo) find(ctx context.Context, v *visitor, c *customer) error {
	var t store.Thread
	if err := d.srv.Store.View(ctx, func(tx *store.Tx) error {
		u, err := tx.UserByAuthID(d.client, c.authID)
		if err != nil {
			return err
		}
		id, err := tx.ThreadOf(d.client, business, u.ID)
		if err != nil {
			return err
		}
		t, err = tx.Thread(id)
		return err
	}); err != nil {
		return err
	}
	d.visitors.know(v, c, t.ID, t.Pxut)
	return nil
}
