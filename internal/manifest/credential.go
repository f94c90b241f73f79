package manifest

import (
	"errors"
	"slices"
	"strings"

	"tract"
	"tract/internal/store"
)

// ErrTokenExists is a token whose name a token in force has.
var ErrTokenExists = &tract.Error{Kind: tract.KindConflict, Code: "token_exists", Msg: "there is a token of this name already"}

// ErrCertificateExists is a UUID under which the client has listed a certificate.
var ErrCertificateExists = &tract.Error{Kind: tract.KindConflict, Code: "certificate_exists", Msg: "there is a certificate with this UUID already; it may have been revoked"}

// credentials begins a change to what proves a client or a tool.
func (s *Service) credentials(tx *store.Tx, client, actor string) (*planner, *tenant, error) {
	if err := lock(tx); err != nil {
		return nil, nil, err
	}
	c, err := tx.Client(client)
	if err != nil {
		return nil, nil, err
	}
	p := &planner{cfg: &s.cfg, tx: tx, flags: Flags{Actor: actor}, bad: &problems{}, strict: true}
	t, err := p.tenant(client, map[string]tract.Client{client: c})
	return p, t, err
}

// AddToken makes a client's token from a JSON body with the keys of the file.
// value is "" when the body gave one.
func (s *Service) AddToken(tx *store.Tx, clientID string, body []byte, actor string) (token store.Token, value string, err error) {
	p, t, err := s.credentials(tx, clientID, actor)
	if err != nil {
		return token, "", err
	}
	v, err := parseJSON(body, "")
	if err != nil {
		return token, "", err
	}
	one := (&decoder{bad: p.bad}).token(v)
	if !one.expiresAt.IsZero() && !one.expiresAt.After(tx.Now) {
		one.bad("expires_at", "lies in the past")
	}
	if err := p.bad.err(); err != nil {
		return token, "", refusal(err)
	}
	if old, ok := t.tokens[one.name]; ok {
		if old.RevokedAt.IsZero() {
			return token, "", ErrTokenExists
		}
		delete(t.tokens, one.name) // it makes room
	}
	if err := p.token(&client{}, t, one); err != nil {
		return token, "", err
	}
	if err := p.bad.err(); err != nil {
		return token, "", refusal(err)
	}
	if err := p.run(); err != nil {
		return token, "", err
	}
	if len(p.made) > 0 {
		value = p.made[0].Value
	}
	tokens, err := tx.ListTokens(t.key)
	i := slices.IndexFunc(tokens, func(k store.Token) bool { return k.Name == one.name })
	if err == nil && i >= 0 {
		token = tokens[i]
	}
	return token, value, err
}

// RevokeToken makes a client's token void at once, by its id or its name.
func (s *Service) RevokeToken(tx *store.Tx, client, name, actor string) error {
	p, t, err := s.credentials(tx, client, actor)
	if err != nil {
		return err
	}
	for _, k := range t.tokens {
		if k.RevokedAt.IsZero() && (k.ID == name || k.Name == name) {
			p.step(t, "-", "token/"+k.Name, []string{"revoked"}, func(tx *store.Tx, s *step) error {
				_, err := tx.RevokeToken(s.t.key, k.Name)
				return err
			})
			return p.run()
		}
	}
	return store.ErrNotFound.With("client %s has no token %q in force", client, name)
}

// toolOf finds a tool of the tenant.
func (t *tenant) toolOf(id string) (*tool, error) {
	doc, ok := t.docs[document{store.KindTool, id}]
	if !ok {
		return nil, notFound(t.id, store.KindTool, id)
	}
	one := &tool{}
	return one, decodeNumbers(doc, &one.body)
}

// AddCertificate lists a certificate of a tool, from a JSON body with the keys
// of the file. It must be able to prove the tool.
func (s *Service) AddCertificate(tx *store.Tx, client, id string, body []byte, actor string) (made tract.Certificate, err error) {
	p, t, err := s.credentials(tx, client, actor)
	if err != nil {
		return made, err
	}
	one, err := t.toolOf(id)
	if err != nil {
		return made, err
	}
	v, err := parseJSON(body, "")
	if err != nil {
		return made, err
	}
	c := (&decoder{bad: p.bad, readFile: noFiles}).certificate(v)
	if err := p.bad.err(); err != nil {
		return made, refusal(err)
	}
	if c.uuid != "" && slices.ContainsFunc(t.certs, func(old tract.Certificate) bool { return old.UUID == c.uuid }) {
		return made, ErrCertificateExists
	}
	if c.uuid == "" {
		// The same certificate may be listed twice: a tool goes by the UUID.
		if c.uuid, err = s.cfg.NewUUID(); err != nil {
			return made, err
		}
	}
	p.certificate(t, one, c)
	if err := p.bad.err(); err != nil {
		return made, refusal(err)
	}
	if err := p.run(); err != nil {
		return made, err
	}
	certs, err := tx.ListCertificates(t.key)
	if i := slices.IndexFunc(certs, func(k tract.Certificate) bool { return k.UUID == c.uuid }); err == nil && i >= 0 {
		made = certs[i]
	}
	return made, err
}

// RevokeCertificate makes a certificate of a tool void, and every access token
// that the tool holds for the client.
func (s *Service) RevokeCertificate(tx *store.Tx, client, tool, uuid, actor string) error {
	p, t, err := s.credentials(tx, client, actor)
	if err != nil {
		return err
	}
	for _, old := range t.certs {
		if old.RevokedAt.IsZero() && old.UUID == strings.ToLower(uuid) && (tool == "" || string(old.Tool) == tool) {
			p.revokeCertificate(t, old)
			return p.run()
		}
	}
	return store.ErrNotFound.With("client %s has no certificate %s in force", client, uuid)
}

// RevokeAccess makes void every access token that a tool holds for the client.
// It can ask for new ones.
func (s *Service) RevokeAccess(tx *store.Tx, client, id, actor string) error {
	p, t, err := s.credentials(tx, client, actor)
	if err != nil {
		return err
	}
	one, err := t.toolOf(id)
	if err != nil {
		return err
	}
	p.step(t, "~", "tool/"+id, []string{"access tokens revoked"}, func(tx *store.Tx, s *step) error {
		return tx.SetTokenCutoff(s.t.key, one.body.ID)
	})
	return p.run()
}

func noFiles(string) ([]byte, error) {
	return nil, errors.New("files cannot be named here: put certificates into pem, upload FAQ files to /mogambo_api/nodes/faq/create/")
}
