package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"tract"
	"tract/internal/store"
)

// tenant is a client as the store has it.
type tenant struct {
	id        string
	key       int64 // 0 until a new one was stored
	body      tract.Client
	docs      map[document]json.RawMessage
	texts     map[string]tract.Text
	tokens    map[string]store.Token
	certs     []tract.Certificate
	endpoints []store.Endpoint // of channels and bots
	hooks     []store.Endpoint
	adopt     bool // what decides about owners changes
}

type document struct{ kind, id string }

// step is one change and how to make it.
type step struct {
	Change
	t  *tenant
	do func(tx *store.Tx, s *step) error
}

type faqLoad struct {
	t      *tenant
	domain string
	file   *namedFile
	change Change
}

// planner finds the steps from the store to the file within one transaction.
type planner struct {
	cfg       *Config
	tx        *store.Tx
	f         *File
	flags     Flags
	passwords map[string]password
	bad       *problems
	strict    bool // what a file is only warned of is an error

	steps    []*step
	loads    []*faqLoad
	warnings []string
	made     []Secret
	removed  map[int64]bool // clients that go
}

func (p *planner) plan() error {
	known, err := p.tx.ListClients()
	if err != nil {
		return err
	}
	byID, named := map[string]tract.Client{}, map[string]bool{}
	for _, c := range known {
		if c.ID != "" { // a removed client is a row without a body
			byID[c.ID] = c
		}
	}
	for _, c := range p.f.clients {
		named[c.body.ID] = true
	}
	p.removed = map[int64]bool{}
	if p.flags.Prune {
		for _, c := range known {
			if c.ID != "" && !named[c.ID] {
				p.removeClient(c)
			}
		}
	}
	for _, c := range p.f.clients {
		t, err := p.tenant(c.body.ID, byID)
		if err != nil {
			return err
		}
		if err := p.client(c, t); err != nil {
			return err
		}
	}
	return p.bad.err()
}

func (p *planner) tenant(id string, byID map[string]tract.Client) (t *tenant, err error) {
	t = &tenant{id: id, docs: map[document]json.RawMessage{}, tokens: map[string]store.Token{}}
	old, ok := byID[id]
	if !ok {
		return t, nil
	}
	t.key, t.body = old.Key, old
	docs, err := p.tx.ListDocuments(t.key)
	if err != nil {
		return nil, err
	}
	for _, d := range docs {
		t.docs[document{d.Kind, d.ID}] = d.Body
	}
	if t.texts, err = p.tx.Texts(t.key); err != nil {
		return nil, err
	}
	tokens, err := p.tx.ListTokens(t.key)
	if err != nil {
		return nil, err
	}
	for _, one := range tokens {
		t.tokens[one.Name] = one
	}
	if t.certs, err = p.tx.ListCertificates(t.key); err != nil {
		return nil, err
	}
	for _, kind := range []string{store.EndpointChannel, store.EndpointBot} {
		es, err := p.tx.ListEndpoints(t.key, kind, "")
		if err != nil {
			return nil, err
		}
		t.endpoints = append(t.endpoints, es...)
	}
	t.hooks, err = p.tx.ListEndpoints(t.key, store.EndpointHook, "")
	return t, err
}

func (p *planner) step(t *tenant, op, path string, details []string, do func(tx *store.Tx, s *step) error) {
	if path != "" {
		path = "/" + path
	}
	p.steps = append(p.steps, &step{Change{op, t.id + path, details}, t, do})
}

// doubt is what a file is warned of: it may be applied again when nobody looks.
func (p *planner) doubt(at place, path, format string, args ...any) {
	if p.strict {
		p.bad.add(at, format, args...)
		return
	}
	p.warn(path+" "+format, args...)
}

func (p *planner) warn(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

func (p *planner) removeClient(c tract.Client) {
	p.removed[c.Key] = true
	p.step(&tenant{id: c.ID, key: c.Key}, "-", "", nil, func(tx *store.Tx, s *step) error { return tx.DeleteClient(s.t.key) })
}

func (p *planner) client(c *client, t *tenant) error {
	p.own(c, t)
	p.prune(c, t)
	if err := p.tokens(c, t); err != nil {
		return err
	}
	p.texts(c, t)
	if err := p.parts(c, t); err != nil {
		return err
	}
	return p.checkRest(c, t)
}

// own plans what of a client is in no list.
func (p *planner) own(c *client, t *tenant) {
	put := func(tx *store.Tx, s *step) (err error) {
		s.t.key, err = tx.PutClient(c.body)
		return err
	}
	if t.key == 0 {
		p.step(t, "+", "", nil, put)
	} else if d := differences(raw(t.body), raw(c.body)); len(d) > 0 {
		p.step(t, "~", "", d, put)
		t.adopt = true
	}
}

// parts plans what has a document of its own.
func (p *planner) parts(c *client, t *tenant) error {
	for _, one := range c.teams {
		p.put(t, store.KindTeam, one.body.Name, "", one.body, nil, nil)
	}
	for _, one := range c.bots {
		if err := p.bot(t, one); err != nil {
			return err
		}
	}
	for _, one := range c.tools {
		if err := p.tool(t, one); err != nil {
			return err
		}
	}
	for _, one := range c.agents {
		if err := p.agent(c, t, one); err != nil {
			return err
		}
	}
	for _, one := range c.businesses {
		p.business(t, one)
	}
	return nil
}

// put plans a document. more are differences that the documents do not show;
// do stores it when that takes more than the document.
func (p *planner) put(t *tenant, kind, id, lookup string, body any, more []string, do func(tx *store.Tx, s *step) error) {
	op, details := "+", []string(nil)
	if old, ok := t.docs[document{kind, id}]; ok {
		if details = append(differences(old, raw(body)), more...); len(details) == 0 {
			return
		}
		op = "~"
	}
	if do == nil {
		do = func(tx *store.Tx, s *step) error { return tx.PutDocument(s.t.key, kind, id, lookup, body) }
	}
	p.step(t, op, kind+"/"+id, details, do)
	if kind == store.KindBot || kind == store.KindBusiness || kind == store.KindTool {
		t.adopt = true
	}
}

func (p *planner) bot(t *tenant, b *bot) error {
	p.put(t, store.KindBot, b.body.DomainName, "", b.body, nil, nil)
	if b.faq == nil {
		return nil
	}
	op := "+"
	if t.key != 0 {
		version, hash, err := p.tx.FAQVersion(t.key, b.body.DomainName)
		if err != nil {
			return err
		}
		if hash == fileHash(b.faq.content) {
			return nil
		}
		if version > 0 {
			op = "~"
		}
	}
	p.loads = append(p.loads, &faqLoad{t, b.body.DomainName, b.faq, Change{Op: op, Path: t.id + "/bot/" + b.body.DomainName + "/faq"}})
	return nil
}

func (p *planner) agent(c *client, t *tenant, a *agent) error {
	owners, err := p.tx.ListOwners(store.KindAgent, a.body.Email)
	if err != nil {
		return err
	}
	for _, key := range owners {
		if key != t.key && !p.flags.Prune { // pruning takes it from the other one
			p.bad.add(a.place("email"), "the agent %q belongs to another client", a.body.Email)
		}
	}
	var old tract.AgentAccount
	if doc, ok := t.docs[document{store.KindAgent, a.body.Email}]; ok {
		if err := json.Unmarshal(doc, &old); err != nil {
			return fmt.Errorf("read agent %q: %w", a.body.Email, err)
		}
	}
	body := a.body
	body.PasswordHash = old.PasswordHash
	var more []string
	if a.password != nil {
		decided := p.passwords[agentKey(c, a.body.Email)]
		if decided.seen != old.PasswordHash {
			return ErrMoved
		}
		if body.PasswordHash = decided.hash; decided.hash != decided.seen {
			more = []string{"password set"}
		}
	}
	p.put(t, store.KindAgent, a.body.Email, a.body.Email, body, more, nil)
	return nil
}

func (p *planner) tool(t *tenant, one *tool) error {
	id := string(one.body.ID)
	var old tract.Tool
	if doc, ok := t.docs[document{store.KindTool, id}]; ok {
		if err := json.Unmarshal(doc, &old); err != nil {
			return fmt.Errorf("read tool %q: %w", id, err)
		}
	}
	p.put(t, store.KindTool, id, one.body.FQDN, one.body, nil, func(tx *store.Tx, s *step) error {
		if err := tx.PutDocument(s.t.key, store.KindTool, id, one.body.FQDN, one.body); err != nil {
			return err
		}
		if old.Active && !one.body.Active {
			return toolGone(tx, s, one.body.ID)
		}
		return nil
	})
	for _, c := range one.certificates {
		p.certificate(t, one, c)
	}
	return nil
}

// toolGone has the threads that the tool owns given to somebody else.
func toolGone(tx *store.Tx, s *step, id tract.ReceiverID) error {
	return tx.InsertJob(store.JobToolGone, s.t.key, map[string]any{"tool": id}, tx.Now)
}

// certificate plans to list a certificate. One without a UUID is known by what
// it holds.
func (p *planner) certificate(t *tenant, one *tool, c *certificate) {
	for _, old := range t.certs {
		same := old.Tool == one.body.ID && old.PEM == c.pem
		if c.uuid != old.UUID && (c.uuid != "" || !same) {
			continue
		}
		if !same {
			p.bad.add(c.place("uuid"), "%s stands for another certificate of the client; give this one a UUID of its own", old.UUID)
		} else if !old.RevokedAt.IsZero() {
			p.doubt(c.place("uuid"), t.id+"/tool/"+string(one.body.ID)+"/certificate/"+old.UUID, "was revoked and stays so: list it under another uuid to use it again")
		}
		return
	}
	if err := p.cfg.CheckCertificate([]byte(c.pem), one.body.FQDN, p.tx.Now); err != nil {
		p.doubt(c.place("pem"), t.id+"/tool/"+string(one.body.ID)+":", "%v", err)
	}
	path := "tool/" + string(one.body.ID) + "/certificate/"
	shown := c.uuid
	if shown == "" {
		shown = "(new)"
	}
	p.step(t, "+", path+shown, nil, func(tx *store.Tx, s *step) error {
		uuid := c.uuid
		if uuid == "" {
			var err error
			if uuid, err = p.cfg.NewUUID(); err != nil {
				return err
			}
			s.Path = s.t.id + "/" + path + uuid
			p.made = append(p.made, Secret{s.t.id + "/tool/" + string(one.body.ID) + " certificate", uuid})
		}
		inserted, err := tx.InsertCertificate(tract.Certificate{UUID: uuid, Client: s.t.key, Tool: one.body.ID, PEM: c.pem})
		if err == nil && !inserted {
			err = ErrMoved
		}
		return err
	})
}

func (p *planner) tokens(c *client, t *tenant) error {
	for _, one := range c.tokens {
		if err := p.token(c, t, one); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) token(c *client, t *tenant, one *clientToken) error {
	hash := ""
	if one.value != nil {
		hash = p.cfg.HashToken(*one.value)
		other, found, err := p.tx.TokenByHash(hash)
		if err != nil {
			return err
		}
		if found && (other.Client != t.key || other.Name != one.name) && !p.goes(c, t, other) {
			p.bad.add(one.place("value"), "the same value is in use as the token %q already", other.Name)
			return nil
		}
	}
	old, ok := t.tokens[one.name]
	scopes := slices.Clone(one.scopes)
	switch {
	case !ok:
		p.step(t, "+", "token/"+one.name, nil, p.putToken(store.Token{Name: one.name, Hash: hash, Scopes: scopes, ExpiresAt: one.expiresAt}))
		return nil
	case !old.RevokedAt.IsZero() && (hash == "" || hash == old.Hash):
		p.warn("%s/token/%s was revoked and stays so: give it another value to use it again", t.id, one.name)
		return nil
	}
	var details []string
	if hash != "" && hash != old.Hash {
		details = append(details, "value changed")
	}
	slices.Sort(old.Scopes)
	if slices.Sort(scopes); !slices.Equal(old.Scopes, scopes) {
		details = append(details, "scopes "+show(raw(old.Scopes))+" → "+show(raw(scopes)))
	}
	if !one.expiresAt.IsZero() && !one.expiresAt.Equal(old.ExpiresAt) {
		details = append(details, "expires_at → "+one.expiresAt.Format(time.RFC3339))
		old.ExpiresAt = one.expiresAt
	}
	if len(details) == 0 {
		return nil
	}
	next := store.Token{Name: one.name, Hash: old.Hash, Scopes: scopes, ExpiresAt: old.ExpiresAt}
	if hash != "" {
		next.Hash = hash
	}
	p.step(t, "~", "token/"+one.name, details, p.putToken(next))
	return nil
}

// goes says whether pruning removes a token before the others are stored.
func (p *planner) goes(c *client, t *tenant, old store.Token) bool {
	return p.removed[old.Client] || (p.flags.Prune && old.Client == t.key && old.RevokedAt.IsZero() && !c.names(old.Name))
}

// names says whether the file names a token of the client.
func (c *client) names(token string) bool {
	return slices.ContainsFunc(c.tokens, func(one *clientToken) bool { return one.name == token })
}

// putToken replaces a client's token; without a hash a value is made.
func (p *planner) putToken(next store.Token) func(tx *store.Tx, s *step) error {
	return func(tx *store.Tx, s *step) (err error) {
		row := next
		row.Client = s.t.key
		if row.ID, err = p.cfg.NewUUID(); err != nil {
			return err
		}
		if row.Hash == "" {
			value, err := p.cfg.NewToken()
			if err != nil {
				return err
			}
			row.Hash = p.cfg.HashToken(value)
			p.made = append(p.made, Secret{s.Path, value})
		}
		if err := tx.DeleteToken(row.Client, row.Name); err != nil {
			return err
		}
		inserted, err := tx.InsertToken(row)
		if err == nil && !inserted {
			err = ErrMoved
		}
		return err
	}
}

// checkRest finds businesses that the file does not name and that it leaves
// without a default receiver.
func (p *planner) checkRest(c *client, t *tenant) error {
	if p.flags.Prune || t.key == 0 {
		return nil
	}
	cfg := &tract.Config{Client: c.body, Businesses: map[int64]*tract.Business{}, Bots: map[string]*tract.Bot{},
		Teams: map[string]*tract.Team{}, Tools: map[tract.ReceiverID]*tract.Tool{}}
	named := c.config()
	var rest []int64
	for d, body := range t.docs {
		var err error
		switch d.kind {
		case store.KindBot:
			v := &tract.Bot{}
			err = json.Unmarshal(body, v)
			cfg.Bots[v.DomainName] = v
		case store.KindTool:
			v := &tract.Tool{}
			err = json.Unmarshal(body, v)
			cfg.Tools[v.ID] = v
		case store.KindBusiness:
			v := &tract.Business{}
			err = json.Unmarshal(body, v)
			cfg.Businesses[v.ID] = v
			if named.Businesses[v.ID] == nil && v.Active {
				rest = append(rest, v.ID)
			}
		}
		if err != nil {
			return fmt.Errorf("read %s %q: %w", d.kind, d.id, err)
		}
	}
	c.addTo(cfg)
	slices.Sort(rest)
	for _, id := range rest {
		if why := withoutDefault(cfg, id); why != "" {
			p.bad.add(c.object.at, "the business %d, which is not in this file: %s", id, why)
		}
	}
	return nil
}

// run makes the planned changes.
func (p *planner) run() error {
	var adopt []*tenant
	for _, s := range p.steps {
		if err := s.do(p.tx, s); err != nil {
			return err
		}
		if err := audit(p.tx, s.t, p.flags.Actor, s.Change); err != nil {
			return err
		}
		if s.t.adopt && !slices.Contains(adopt, s.t) {
			adopt = append(adopt, s.t)
		}
	}
	for _, t := range adopt {
		if err := p.tx.InsertJob(store.JobAdopt, t.key, map[string]any{}, p.tx.Now); err != nil {
			return err
		}
	}
	return nil
}

// result is what was, or would be, done.
func (p *planner) result(dry bool) Result {
	r := Result{Changes: []Change{}, Generated: append([]Secret{}, p.made...), Warnings: append([]string{}, p.warnings...)}
	for _, s := range p.steps {
		r.Changes = append(r.Changes, s.Change)
	}
	for _, l := range p.loads {
		if dry {
			r.Changes = append(r.Changes, l.change)
		}
	}
	return r
}

// differences lists what two documents differ in, without what may be secret.
// A missing value is the same as an empty one.
func differences(old, next json.RawMessage) []string {
	before, after := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	flatten("", old, before)
	flatten("", next, after)
	keys := make([]string, 0, len(after))
	for k := range after {
		keys = append(keys, k)
	}
	for k := range before {
		if _, ok := after[k]; !ok {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	var out []string
	for _, k := range keys {
		if k == "password_hash" || k == "channels" || strings.HasPrefix(k, "external_bot") || (empty(before[k]) && empty(after[k])) || string(before[k]) == string(after[k]) {
			continue
		}
		out = append(out, strings.TrimSpace(k+" "+show(before[k])+" → "+show(after[k])))
	}
	return out
}

func flatten(prefix string, body json.RawMessage, into map[string]json.RawMessage) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(body, &m); err != nil || m == nil {
		into[prefix] = raw(body) // compact
		return
	}
	for k, v := range m {
		flatten(join(prefix, k), v, into)
	}
}

func empty(v json.RawMessage) bool {
	switch string(v) {
	case "", "null", `""`, "[]", "{}", "false", "0", `"0s"`:
		return true
	}
	return false
}

// show writes a value for people: ids and durations bare, other texts quoted.
func show(v json.RawMessage) string {
	var list []string
	if json.Unmarshal(v, &list) == nil && list != nil {
		return "[" + strings.Join(list, ", ") + "]"
	}
	var s string
	switch {
	case len(v) == 0:
		return "(none)"
	case json.Unmarshal(v, &s) != nil:
		return clip(string(v))
	case isID(s):
		return s
	}
	return strconv.Quote(clip(s))
}
