package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"tract"
	"tract/internal/store"
)

// connection is a channel on its way into the store.
type connection struct {
	c    *channel
	keep map[string]string // sealed secrets that stay, by key
	set  map[string]string // new secrets in clear
}

func (p *planner) business(t *tenant, b *business) {
	id := strconv.FormatInt(b.body.ID, 10)
	var old tract.Business
	doc, known := t.docs[document{store.KindBusiness, id}]
	if known {
		if err := json.Unmarshal(doc, &old); err != nil {
			p.bad.add(b.object.at, "what is stored of it cannot be read: %v", err)
			return
		}
	}
	hook, hooked := t.endpoint(store.EndpointChannel, b.body.ID)
	bot, botted := t.endpoint(store.EndpointBot, b.body.ID)

	var details []string
	var connections []*connection
	for _, c := range b.channels {
		conn, d := p.connect(t, c, channelOf(old, c.platform), hook)
		connections, details = append(connections, conn), append(details, d...)
	}
	for _, c := range old.Channels {
		if !slices.ContainsFunc(b.channels, func(n *channel) bool { return n.platform == c.Platform }) {
			details = append(details, "channel "+c.Platform+" removed")
		}
	}
	outside, d := p.connectExternal(t, b.external, old.ExternalBot)
	details = append(details, d...)
	var webhook *connection
	for _, conn := range connections {
		if conn.c.platform == platformWebhook {
			webhook = conn
		}
	}
	putHook := webhook != nil && (!hooked || gone(hook) || hook.URL != webhook.c.url || len(webhook.set) > 0 || (len(hook.Secrets) > 0) != (webhook.keep["secret"] != ""))
	if putHook && known && len(details) == 0 {
		details = append(details, "channel webhook set up again")
	}
	putBot := b.body.Bot != "" && (!botted || gone(bot))
	if putBot && known && old.Bot == b.body.Bot {
		details = append(details, "bot set up again")
	}
	p.put(t, store.KindBusiness, id, "", b.body, details, func(tx *store.Tx, s *step) error {
		body := b.body
		body.Channels = []tract.Channel{}
		for _, conn := range connections {
			stored, err := p.channel(s.t, conn)
			if err != nil {
				return err
			}
			body.Channels = append(body.Channels, stored)
		}
		var err error
		if body.ExternalBot, err = p.external(s.t, outside); err != nil {
			return err
		}
		if err := tx.PutDocument(s.t.key, store.KindBusiness, id, "", body); err != nil {
			return err
		}
		return p.endpoints(tx, s.t, b, webhook, putHook, putBot)
	})
}

// gone says whether an endpoint was switched off because it was not configured.
func gone(e store.Endpoint) bool { return !e.Enabled && e.DisabledReason == store.DisabledRemoved }

func (t *tenant) endpoint(kind string, business int64) (store.Endpoint, bool) {
	for _, e := range t.endpoints {
		if e.Kind == kind && e.Business == business {
			return e, true
		}
	}
	return store.Endpoint{}, false
}

func channelOf(b tract.Business, platform string) *tract.Channel {
	for i := range b.Channels {
		if b.Channels[i].Platform == platform {
			return &b.Channels[i]
		}
	}
	return nil
}

// connect compares a channel with the stored one. Sealing is random, so secrets
// are compared opened, and the sealed text of an equal one stays.
func (p *planner) connect(t *tenant, c *channel, old *tract.Channel, hook store.Endpoint) (*connection, []string) {
	conn := &connection{c: c, keep: map[string]string{}, set: map[string]string{}}
	settings, sealed := map[string]any{}, map[string]string{}
	if old != nil {
		settings, sealed = storedChannel(c, *old, hook)
	}
	var details []string
	note := func(format string, args ...any) {
		details = append(details, "channel "+c.platform+": "+fmt.Sprintf(format, args...))
	}
	for _, key := range slices.Sorted(maps.Keys(c.secrets)) {
		given, before := c.secrets[key], sealed[key]
		switch {
		case given == nil && before != "":
			conn.keep[key] = before
		case given == nil || *given == "":
			if slices.Contains(c.needed, key) {
				p.bad.add(c.place(key), "is needed: none is stored")
			} else if before != "" {
				note("%s removed", key)
			}
		case p.opensTo(t, before, *given):
			conn.keep[key] = before
		default:
			conn.set[key] = *given
			note("%s set", key)
		}
	}
	if old == nil {
		return conn, []string{"channel " + c.platform + " added"}
	}
	if old.URL != c.url {
		note("url changed")
	}
	for _, key := range slices.Sorted(maps.Keys(c.settings)) {
		if string(raw(settings[key])) != string(raw(c.settings[key])) {
			note("%s %s → %s", key, show(raw(settings[key])), show(raw(c.settings[key])))
		}
	}
	return conn, details
}

// storedChannel takes a stored channel apart: settings, and sealed secrets.
func storedChannel(c *channel, old tract.Channel, hook store.Endpoint) (settings map[string]any, sealed map[string]string) {
	settings, sealed = map[string]any{}, map[string]string{}
	if len(old.Settings) > 0 {
		// What cannot be read is written anew.
		_ = json.Unmarshal(old.Settings, &settings)
	}
	for key := range c.secrets {
		if text, ok := settings[key].(string); ok {
			sealed[key] = text
			delete(settings, key)
		}
	}
	switch {
	case c.platform == platformWebhook && len(hook.Secrets) > 0:
		sealed["secret"] = hook.Secrets[0]
	case c.platform == platformWebSDK:
		sealed["secret"] = old.Secret
	}
	return settings, sealed
}

func (p *planner) opensTo(t *tenant, sealed, plain string) bool {
	if sealed == "" {
		return false
	}
	opened, err := p.cfg.Open(sealed, store.SecretContext(t.key))
	return err == nil && string(opened) == plain
}

// channel is what is stored of a connection. A webhook's secret is not there
// but with its endpoint.
func (p *planner) channel(t *tenant, conn *connection) (tract.Channel, error) {
	c := conn.c
	out := tract.Channel{Platform: c.platform, URL: c.url}
	if c.platform == platformWebhook {
		return out, nil
	}
	settings := maps.Clone(c.settings)
	for key := range c.secrets {
		sealed, err := p.sealed(t, conn, key)
		if err != nil {
			return out, err
		}
		if c.platform == platformWebSDK {
			out.Secret = sealed
		} else {
			settings[key] = sealed
		}
	}
	out.Settings = raw(settings)
	return out, nil
}

// sealed is the sealed secret of a connection, "" if it has none.
func (p *planner) sealed(t *tenant, conn *connection, key string) (string, error) {
	plain, ok := conn.set[key]
	if !ok {
		return conn.keep[key], nil
	}
	sealed, err := p.cfg.Seal([]byte(plain), store.SecretContext(t.key))
	if err != nil {
		return "", fmt.Errorf("seal a secret: %w", err)
	}
	return sealed, nil
}

// endpoints makes the ways out of a business match its channels and bot. An
// endpoint that is as it should be is left alone: putting it enables it.
func (p *planner) endpoints(tx *store.Tx, t *tenant, b *business, webhook *connection, putHook, putBot bool) error {
	if putHook {
		sealed, err := p.sealed(t, webhook, "secret")
		if err != nil {
			return err
		}
		e := store.Endpoint{Client: t.key, Kind: store.EndpointChannel, Business: b.body.ID, URL: webhook.c.url, Secrets: []string{}}
		if sealed != "" {
			e.Secrets = []string{sealed}
		}
		if _, err := tx.PutEndpoint(e); err != nil {
			return err
		}
	}
	if putBot {
		if _, err := tx.PutEndpoint(store.Endpoint{Client: t.key, Kind: store.EndpointBot, Business: b.body.ID, Secrets: []string{}}); err != nil {
			return err
		}
	}
	return removeEndpoints(tx, t.endpoints, func(e store.Endpoint) bool {
		return e.Business == b.body.ID && ((e.Kind == store.EndpointChannel && webhook == nil) || (e.Kind == store.EndpointBot && b.body.Bot == ""))
	})
}
