package store

import (
	"encoding/json"
	"fmt"

	"tract"
)

// Kinds of configuration documents.
const (
	KindBot      = "bot"
	KindTeam     = "team"
	KindAgent    = "agent"
	KindTool     = "tool"
	KindBusiness = "business"
)

// PutClient creates or replaces a client by its id and returns its key.
func (tx *Tx) PutClient(c tract.Client) (key int64, err error) {
	_, err = tx.writeOne([]any{&key}, `insert into clients (id, version, body, updated_at) values ($1, 1, $2, $3)
		on conflict (id) do update set body = excluded.body, version = clients.version + 1, updated_at = excluded.updated_at returning key`,
		c.ID, toJSON(c), tx.Now)
	tx.commit.Configs = append(tx.commit.Configs, key)
	return key, err
}

// Client reads a client by its id; ErrNotFound when there is none.
func (tx *Tx) Client(id string) (c tract.Client, err error) {
	var key int64
	found, err := tx.one([]any{&key, js(&c)}, `select key, body from clients where id = $1 and body <> '{}'`, id)
	if err == nil && !found {
		err = ErrNotFound.With("no client %q", id)
	}
	c.Key = key
	return c, err
}

// ListClients returns every client that was not removed, by id.
func (tx *Tx) ListClients() (out []tract.Client, err error) {
	err = tx.each(func(r row) error {
		var c tract.Client
		var key int64
		if err := r.Scan(&key, js(&c)); err != nil {
			return err
		}
		c.Key = key
		out = append(out, c)
		return nil
	}, `select key, body from clients where body <> '{}' order by id`)
	return out, err
}

// DeleteClient removes a client's configuration, tokens and certificates and
// marks it gone; its log stays until retention takes it.
func (tx *Tx) DeleteClient(key int64) error {
	// Nobody adds a model to a set of steps that is going.
	if err := tx.each(func(row) error { return nil }, tx.s.engine.forUpdate(`select f.id from faqs f where f.client = $1`, "f"), key); err != nil {
		return err
	}
	for _, q := range []string{
		`delete from config where client = $1`, `delete from texts where client = $1`, `delete from text_changes where client = $1`, `delete from tokens where client = $1`, `delete from certificates where client = $1`,
		`update model_files set gone = 1 where faq in (select id from faqs where client = $1)`, `delete from models where faq in (select id from faqs where client = $1)`,
		`delete from steps where faq in (select id from faqs where client = $1)`, `delete from faqs where client = $1`,
		`delete from faq_parts where task in (select seq from faq_tasks where client = $1)`, `delete from faq_tasks where client = $1`,
		`delete from unanswered where client = $1`,
		`update endpoints set enabled = 0, disabled_reason = 'client_removed', generation = generation + 1 where client = $1`,
		`update clients set id = id || ' (removed ' || key || ')', version = version + 1, body = '{}' where key = $1`,
	} {
		if err := tx.exec(q, key); err != nil {
			return err
		}
	}
	tx.commit.Configs = append(tx.commit.Configs, key)
	// Who sends must hear that these may not be called any more.
	return tx.each(func(r row) error {
		var id int64
		err := r.Scan(&id)
		tx.commit.Endpoints = append(tx.commit.Endpoints, id)
		return err
	}, `select id from endpoints where client = $1`, key)
}

// Document is one stored piece of configuration.
type Document struct {
	Kind, ID string
	Body     json.RawMessage
	Version  int64
}

// PutDocument stores a piece of configuration; lookup is what it is found by
// across clients ("" if nothing).
func (tx *Tx) PutDocument(client int64, kind, id, lookup string, v any) error {
	if err := tx.exec(`insert into config (client, kind, id, lookup, body, version, updated_at) values ($1, $2, $3, $4, $5, 1, $6)
		on conflict (client, kind, id) do update set lookup = excluded.lookup, body = excluded.body, version = config.version + 1, updated_at = excluded.updated_at`,
		client, kind, id, lookup, toJSON(v), tx.Now); err != nil {
		return err
	}
	return tx.BumpConfig(client)
}

// DeleteDocument removes a piece of configuration; a missing one is fine.
func (tx *Tx) DeleteDocument(client int64, kind, id string) error {
	if err := tx.exec(`delete from config where client = $1 and kind = $2 and id = $3`, client, kind, id); err != nil {
		return err
	}
	return tx.BumpConfig(client)
}

// ListDocuments returns a client's configuration by kind and id.
func (tx *Tx) ListDocuments(client int64) (out []Document, err error) {
	err = tx.each(func(r row) error {
		var d Document
		var body string
		if err := r.Scan(&d.Kind, &d.ID, &body, &d.Version); err != nil {
			return err
		}
		d.Body = json.RawMessage(body)
		out = append(out, d)
		return nil
	}, `select kind, id, body, version from config where client = $1 order by kind, id`, client)
	return out, err
}

// BumpConfig makes every cached copy of a client's configuration stale.
func (tx *Tx) BumpConfig(client int64) error {
	tx.commit.Configs = append(tx.commit.Configs, client)
	return tx.exec(`update clients set version = version + 1 where key = $1`, client)
}

// ConfigVersion is the present version of a client's configuration.
func (tx *Tx) ConfigVersion(client int64) (v int64, err error) {
	found, err := tx.one([]any{&v}, `select version from clients where key = $1`, client)
	if err == nil && !found {
		err = ErrNotFound.With("no such client")
	}
	return v, err
}

// Config builds what decides about a client's threads.
func (tx *Tx) Config(client int64) (*tract.Config, error) {
	c := &tract.Config{
		Businesses: map[int64]*tract.Business{}, Bots: map[string]*tract.Bot{}, Teams: map[string]*tract.Team{},
		Tools: map[tract.ReceiverID]*tract.Tool{}, Hooks: map[tract.ReceiverID][]tract.Hook{},
		Channels: map[int64]int64{}, BotLanes: map[int64]int64{}, Texts: map[string]tract.Text{},
	}
	found := false
	err := tx.many(
		query{`select version, body from clients where key = $1`, []any{client}, func(r row) error {
			found = true
			return r.Scan(&c.Version, js(&c.Client))
		}},
		query{`select kind, id, body from config where client = $1`, []any{client}, func(r row) error { return readDocument(c, r) }},
		query{`select id, kind, tool, category, subcategory, business, enabled from endpoints where client = $1 order by id`, []any{client}, func(r row) error { return readEndpoint(c, r) }},
		query{`select key, body from texts where client = $1`, []any{client}, func(r row) error { return readText(c.Texts, r) }},
	)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNotFound.With("no such client")
	}
	c.Client.Key = client
	return c, nil
}

func readDocument(c *tract.Config, r row) error {
	var kind, id, body string
	if err := r.Scan(&kind, &id, &body); err != nil {
		return err
	}
	var err error
	switch kind {
	case KindBot:
		v := &tract.Bot{}
		err = json.Unmarshal([]byte(body), v)
		c.Bots[v.DomainName] = v
	case KindTeam:
		v := &tract.Team{}
		err = json.Unmarshal([]byte(body), v)
		c.Teams[v.Name] = v
	case KindTool:
		v := &tract.Tool{}
		err = json.Unmarshal([]byte(body), v)
		c.Tools[v.ID] = v
	case KindBusiness:
		v := &tract.Business{}
		err = json.Unmarshal([]byte(body), v)
		c.Businesses[v.ID] = v
	}
	if err != nil {
		return fmt.Errorf("read %s %q: %w", kind, id, err)
	}
	return nil
}

func readEndpoint(c *tract.Config, r row) error {
	var h tract.Hook
	var kind string
	var business int64
	if err := r.Scan(&h.Endpoint, &kind, &h.Tool, &h.Category, &h.Subcategory, &business, flag(&h.Enabled)); err != nil {
		return err
	}
	switch kind {
	case EndpointChannel:
		c.Channels[business] = h.Endpoint
	case EndpointBot:
		c.BotLanes[business] = h.Endpoint
	case EndpointHook:
		h.Event, _ = tract.HookEvent(h.Category, h.Subcategory)
		c.Hooks[h.Tool] = append(c.Hooks[h.Tool], h)
	}
	return nil
}

// Attachment is a tool as one client attached it.
type Attachment struct {
	Client   tract.Client
	Tool     tract.Tool
	Business []int64 // businesses it is attached to
}

// ListAttachments finds the clients that attached the tool with an FQDN
// (lower case), by client id.
func (tx *Tx) ListAttachments(fqdn string) (out []Attachment, err error) {
	err = tx.each(func(r row) error {
		var a Attachment
		var key int64
		if err := r.Scan(&key, js(&a.Client), js(&a.Tool)); err != nil {
			return err
		}
		a.Client.Key = key
		out = append(out, a)
		return nil
	}, `select c.key, c.body, g.body from config g join clients c on c.key = g.client where g.kind = 'tool' and g.lookup = $1 order by c.id`, fqdn)
	if err != nil {
		return nil, err
	}
	for i := range out {
		cfg, err := tx.Config(out[i].Client.Key)
		if err != nil {
			return nil, err
		}
		out[i].Business = businessesOf(cfg, out[i].Tool.ID)
	}
	return out, nil
}

// ListAgents returns a client's desk agents, by e-mail.
func (tx *Tx) ListAgents(client int64) (out []tract.AgentAccount, err error) {
	err = tx.each(func(r row) error {
		var a tract.AgentAccount
		err := r.Scan(js(&a))
		out = append(out, a)
		return err
	}, `select body from config where client = $1 and kind = 'agent' order by id`, client)
	return out, err
}
