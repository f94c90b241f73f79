package manifest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tract"
	"tract/internal/store"
)

// KindClient is a client without what is in its lists. The other kinds of
// objects are those of documents: store.KindBot and so on.
const KindClient = "client"

// Object is one part of the configuration on its own. Body has the keys of the
// file, defaults included and secrets left out.
type Object struct {
	ID   string
	ETag string // changes whenever the object does, also its secrets
	Body json.RawMessage
}

// Condition makes a change depend on what is stored (RFC 9110, section 13).
type Condition struct {
	Match     []string // If-Match: entity tags, or "*"
	NoneMatch []string // If-None-Match
}

// Write is one object to be stored or removed.
type Write struct {
	Client string
	Kind   string
	ID     string
	Body   []byte // JSON that was checked; not for Delete
	Patch  bool   // Body is a merge patch of what is stored (RFC 7396)
	If     Condition
	Actor  string // for the audit trail
}

// Refusals of writes to single objects.
var (
	ErrPrecondition = &tract.Error{Kind: tract.KindPrecondition, Code: "precondition_failed", Msg: "the object is not what If-Match or If-None-Match asks for"}
	ErrInUse        = &tract.Error{Kind: tract.KindConflict, Code: "in_use", Msg: "other objects refer to it"}
)

var errNoObject = tract.Invalid("object_expected", "the body must be a JSON object")

// section is a list of the file whose items are objects of their own.
type section struct{ kind, key, id string }

// sections are in the order of the tables of the tenant that they need.
func sections() []section {
	return []section{
		{store.KindBot, "bots", "domain_name"},
		{store.KindTeam, "teams", "name"},
		{store.KindAgent, "agents", "email"},
		{store.KindTool, "external_chat_tools", "id"},
		{store.KindBusiness, "businesses", "id"},
	}
}

func sectionOf(kind string) section {
	for _, s := range sections() {
		if s.kind == kind {
			return s
		}
	}
	return section{KindClient, "", "id"}
}

// Get reads one object within a transaction; store.ErrNotFound when there is
// none. For KindClient id is the client's.
func (s *Service) Get(tx *store.Tx, client, kind, id string) (Object, error) {
	c, err := tx.Client(client)
	if err != nil {
		return Object{}, err
	}
	if kind == KindClient {
		return clientObject(c), nil
	}
	o, found, err := readObject(tx, c.Key, kind, id)
	if err == nil && !found {
		err = notFound(client, kind, id)
	}
	return o, err
}

func notFound(client, kind, id string) error {
	return store.ErrNotFound.With("client %s has no %s %q", client, words(kind), id)
}

func words(kind string) string {
	if kind == store.KindTool {
		return "external chat tool"
	}
	return kind
}

func clientObject(c tract.Client) Object {
	body := appendJSON(nil, exportOwn(c))
	return Object{c.ID, tag(body), body}
}

// tag makes an entity tag of everything that an object is.
func tag(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write(p)
	}
	return `"` + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12]) + `"`
}

func readObject(tx *store.Tx, client int64, kind, id string) (o Object, found bool, err error) {
	d, found, err := tx.Document(client, kind, id)
	if err != nil || !found {
		return o, false, err
	}
	var certs []tract.Certificate
	var hidden []byte
	switch kind {
	case store.KindTool:
		certs, err = tx.ListCertificates(client)
	case store.KindBusiness:
		hidden, err = hookSecrets(tx, client, id)
	}
	if err != nil {
		return o, false, err
	}
	body, err := documentJSON(d, certs)
	return Object{id, tag(d.Body, body, hidden), body}, true, err
}

// hookSecrets are kept with the endpoint and not with the business.
func hookSecrets(tx *store.Tx, client int64, id string) ([]byte, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return nil, err
	}
	e, err := tx.FindEndpoint(store.Endpoint{Client: client, Kind: store.EndpointChannel, Business: n})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return raw(e.Secrets), err
}

func documentJSON(d store.Document, certs []tract.Certificate) (json.RawMessage, error) {
	slices.SortFunc(certs, func(a, b tract.Certificate) int { return strings.Compare(a.UUID, b.UUID) })
	f, err := exportDocument(d, certs)
	if err != nil {
		return nil, fmt.Errorf("read %s %q: %w", d.Kind, d.ID, err)
	}
	return appendJSON(nil, f), nil
}

// List reads up to limit objects by id, beginning behind an id ("" = with the
// first), without their entity tags. For KindClient client is not looked at.
func (s *Service) List(tx *store.Tx, client, kind, after string, limit int) (out []Object, err error) {
	if kind == KindClient {
		clients, err := tx.ListClientsAfter(after, limit)
		for _, c := range clients {
			out = append(out, clientObject(c))
		}
		return out, err
	}
	c, err := tx.Client(client)
	if err != nil {
		return nil, err
	}
	docs, err := tx.ListDocumentsAfter(c.Key, kind, after, limit)
	if err != nil {
		return nil, err
	}
	var certs []tract.Certificate
	if kind == store.KindTool {
		if certs, err = tx.ListCertificates(c.Key); err != nil {
			return nil, err
		}
	}
	for _, d := range docs {
		body, err := documentJSON(d, certs)
		if err != nil {
			return nil, err
		}
		out = append(out, Object{ID: d.ID, Body: body})
	}
	return out, nil
}

// Put stores one object: the configuration with that object replaced goes
// through the same checks as a file. Whatever secrets the body leaves out stay
// as they are stored.
func (s *Service) Put(ctx context.Context, w Write) (o Object, created bool, err error) {
	for try := 1; ; try++ {
		o, created, err = s.put(ctx, w)
		if try == tries || !errors.Is(err, ErrMoved) {
			return o, created, err
		}
	}
}

func (s *Service) put(ctx context.Context, w Write) (o Object, created bool, err error) {
	var d *draft
	if err := s.cfg.Store.View(ctx, func(tx *store.Tx) (err error) { d, err = s.draft(tx, w, nil); return err }); err != nil {
		return o, false, err
	}
	// What takes long, or asks others, is done outside of the transaction.
	f := &File{clients: []*client{d.only}}
	if err := s.Check(f); err != nil {
		return o, false, refusal(err)
	}
	passwords, err := s.passwords(ctx, f, false)
	if err != nil {
		return o, false, refusal(err)
	}
	err = s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		o, created, err = s.store(tx, w, passwords)
		return err
	})
	return o, created, err
}

// PutIn is Put within a transaction, for objects that have neither passwords
// nor addresses: clients.
func (s *Service) PutIn(tx *store.Tx, w Write) (o Object, created bool, err error) {
	return s.store(tx, w, nil)
}

func (s *Service) store(tx *store.Tx, w Write, passwords map[string]password) (o Object, created bool, err error) {
	if err := lock(tx); err != nil {
		return o, false, err
	}
	d, err := s.draft(tx, w, passwords)
	if err != nil {
		return o, false, err
	}
	if err := d.plan(); err != nil {
		return o, false, refusal(err)
	}
	if err := d.p.run(); err != nil {
		return o, false, err
	}
	o, err = s.Get(tx, w.Client, w.Kind, w.ID)
	return o, !d.known, err
}

// lock makes whoever else changes the configuration wait for this transaction.
func lock(tx *store.Tx) error {
	return tx.LockConfiguration()
}

// Delete removes one object; ErrInUse when others refer to it.
func (s *Service) Delete(ctx context.Context, w Write) error {
	w.Body = nil
	return s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		if err := lock(tx); err != nil {
			return err
		}
		d, err := s.draft(tx, w, nil)
		if err != nil {
			return err
		}
		if !d.known {
			if w.Kind == KindClient {
				return store.ErrNotFound.With("no client %q", w.Client)
			}
			return notFound(w.Client, w.Kind, w.ID)
		}
		if w.Kind == KindClient {
			d.p.removeClient(d.t.body)
		} else {
			d.p.removeDocument(d.t, document{w.Kind, w.ID})
		}
		return d.p.run()
	})
}

// draft is a client's configuration with one object replaced or taken out.
type draft struct {
	p     *planner
	t     *tenant
	w     Write
	known bool    // the object is stored already
	only  *client // with nothing in its lists but the object
}

func (s *Service) draft(tx *store.Tx, w Write, passwords map[string]password) (*draft, error) {
	d := &draft{w: w, p: &planner{cfg: &s.cfg, tx: tx, flags: Flags{Actor: w.Actor}, passwords: passwords, bad: &problems{}, strict: true, removed: map[int64]bool{}}}
	c, err := tx.Client(w.Client)
	known := map[string]tract.Client{w.Client: c}
	if errors.Is(err, store.ErrNotFound) && w.Kind == KindClient {
		clear(known)
	} else if err != nil {
		return nil, err
	}
	if d.t, err = d.p.tenant(w.Client, known); err != nil {
		return nil, err
	}
	var stored Object
	if d.known = d.t.key != 0; d.known {
		if w.Kind == KindClient {
			stored = clientObject(c)
		} else if stored, d.known, err = readObject(tx, c.Key, w.Kind, w.ID); err != nil {
			return nil, err
		}
	}
	if !w.If.Met(stored.ETag) {
		return nil, ErrPrecondition
	}
	var body *value
	if w.Body != nil {
		if body, err = d.body(stored); err != nil {
			return nil, err
		}
	}
	if body == nil && !d.known {
		return d, nil
	}
	return d, d.decode(body)
}

// Met says whether a condition allows a change of what has an entity tag; "" is
// something that does not exist.
func (c Condition) Met(etag string) bool {
	is := func(list []string) bool {
		return etag != "" && (slices.Contains(list, "*") || slices.Contains(list, etag))
	}
	return (len(c.Match) == 0 || is(c.Match)) && !is(c.NoneMatch)
}

// body is the object as it is to be, with its id.
func (d *draft) body(stored Object) (*value, error) {
	text := d.w.Body
	if d.w.Patch {
		if !d.known {
			return nil, notFound(d.w.Client, d.w.Kind, d.w.ID)
		}
		var err error
		if text, err = mergePatch(stored.Body, text); err != nil {
			return nil, err
		}
	}
	v, err := parseJSON(text, "")
	if err != nil {
		return nil, err
	}
	if v.kind != isMap {
		return nil, errNoObject
	}
	sec := sectionOf(d.w.Kind)
	if id := v.get(sec.id); id == nil || id.kind == isNull {
		v.pairs = slices.DeleteFunc(v.pairs, func(p pair) bool { return p.key == sec.id })
		id = &value{kind: isText, at: place{path: sec.id}, text: d.w.ID, raw: d.w.ID}
		if d.w.Kind == store.KindBusiness {
			id.kind = isInt
		}
		v.set(sec.id, id)
	}
	return v, nil
}

// decode reads the client with the object (nil = without it) as a file of it
// would be read.
func (d *draft) decode(body *value) error {
	dec := &decoder{bad: d.p.bad, readFile: noFiles}
	whole, index, err := d.whole(body)
	if err != nil {
		return err
	}
	c := dec.client(whole)
	d.only = &client{object: c.object, body: c.body}
	got := c.body.ID
	if body != nil && index >= 0 {
		got = d.pick(c, index)
	}
	if body != nil && got != d.w.ID && got != "" && got != "0" {
		d.p.bad.add(place{path: sectionOf(d.w.Kind).id}, "must be %q, as in the path", d.w.ID)
	}
	if len(d.p.bad.list) == 0 {
		dec.checkFile([]*client{c})
	}
	if err := d.p.bad.err(); err != nil {
		if body == nil {
			return inUse(d.w, d.p.bad)
		}
		return refusal(err)
	}
	return nil
}

// whole is the client as its file would say it, and where in its list the
// object stands (-1: it is the client, or goes).
func (d *draft) whole(body *value) (v *value, index int, err error) {
	index = -1
	if d.w.Kind == KindClient && body != nil {
		v = body
		for _, sec := range append(sections(), section{key: "tokens"}, section{key: "texts"}) {
			if one := v.get(sec.key); one != nil {
				d.p.bad.add(one.at, "is written by itself and not with the client")
			}
		}
		v.pairs = slices.DeleteFunc(v.pairs, func(p pair) bool {
			return slices.ContainsFunc(d.p.bad.list, func(one Problem) bool { return one.Path == p.key })
		})
	} else if v, err = parseJSON(appendJSON(nil, exportOwn(d.t.body)), "client"); err != nil {
		return nil, 0, err
	}
	if d.w.Kind == KindClient && body == nil {
		return v, -1, nil // it goes, with all it has
	}
	docs := map[string][]document{}
	for doc := range d.t.docs {
		docs[doc.kind] = append(docs[doc.kind], doc)
	}
	for _, sec := range sections() {
		list := &value{kind: isList, at: place{path: sec.key}}
		slices.SortFunc(docs[sec.kind], compareIDs)
		for _, doc := range docs[sec.kind] {
			if doc.kind == d.w.Kind && doc.id == d.w.ID {
				continue
			}
			text, err := documentJSON(store.Document{Kind: doc.kind, ID: doc.id, Body: d.t.docs[doc]}, d.t.certs)
			if err != nil {
				return nil, 0, err
			}
			item, err := parseJSON(text, sec.key+"/"+doc.id)
			if err != nil {
				return nil, 0, err
			}
			list.items = append(list.items, item)
		}
		if body != nil && sec.kind == d.w.Kind {
			index = len(list.items) // last, so that a name that is taken is its fault
			list.items = append(list.items, body)
		}
		v.set(sec.key, list)
	}
	return v, index, nil
}

// pick takes the object out of the whole client and gives its id.
func (d *draft) pick(c *client, i int) (id string) {
	switch d.w.Kind {
	case store.KindBot:
		d.only.bots = c.bots[i : i+1]
		return c.bots[i].body.DomainName
	case store.KindTeam:
		d.only.teams = c.teams[i : i+1]
		return c.teams[i].body.Name
	case store.KindAgent:
		d.only.agents = c.agents[i : i+1]
		return c.agents[i].body.Email
	case store.KindTool:
		d.only.tools = c.tools[i : i+1]
		return string(c.tools[i].body.ID)
	}
	d.only.businesses = c.businesses[i : i+1]
	return strconv.FormatInt(c.businesses[i].body.ID, 10)
}

// plan finds the steps that store the object.
func (d *draft) plan() error {
	if d.w.Kind == KindClient {
		d.p.own(d.only, d.t)
	} else if err := d.p.parts(d.only, d.t); err != nil {
		return err
	}
	// A tool that names its certificates has no others.
	if d.w.Kind == store.KindTool && d.only.tools[0].has("certificates") {
		d.p.pruneCertificates(d.only, d.t, map[document]bool{{store.KindTool, d.w.ID}: true})
	}
	return d.p.bad.err()
}

// Fault is one thing wrong with an object: the key, as a path from the object,
// or from the client when another object is meant.
type Fault struct {
	Path    string `json:"path"`
	Message string `json:"message"`
}

// refusal makes of the problems of a file those of a body.
func refusal(err error) error {
	list := Problems(err)
	if len(list) == 0 {
		return err
	}
	faults, lines := make([]Fault, len(list)), make([]string, len(list))
	for i, p := range list {
		faults[i], lines[i] = Fault{p.Path, p.Message}, p.Message
		if p.Path != "" {
			lines[i] = p.Path + ": " + p.Message
		}
	}
	return tract.Invalid("invalid_configuration", "%s", strings.Join(lines, "; ")).Fact("problems", faults)
}

// inUse says who refers to what was to be removed.
func inUse(w Write, bad *problems) error {
	var by []string
	for _, p := range bad.list {
		by = append(by, p.Path)
	}
	return ErrInUse.With("the %s %q is referred to by %s", words(w.Kind), w.ID, strings.Join(by, ", ")).Fact("referred_by", by)
}
