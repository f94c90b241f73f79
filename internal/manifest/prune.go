package manifest

import (
	"slices"
	"strconv"
	"strings"

	"tract"
	"tract/internal/store"
)

// prune plans the removal of what a client has and the file does not name.
func (p *planner) prune(c *client, t *tenant) {
	if !p.flags.Prune || t.key == 0 {
		return
	}
	named := map[document]bool{}
	for _, one := range c.bots {
		named[document{store.KindBot, one.body.DomainName}] = true
	}
	for _, one := range c.teams {
		named[document{store.KindTeam, one.body.Name}] = true
	}
	for _, one := range c.agents {
		named[document{store.KindAgent, one.body.Email}] = true
	}
	for _, one := range c.tools {
		named[document{store.KindTool, string(one.body.ID)}] = true
	}
	for _, one := range c.businesses {
		named[document{store.KindBusiness, strconv.FormatInt(one.body.ID, 10)}] = true
	}
	for _, d := range sortedDocuments(t) {
		if !named[d] {
			p.removeDocument(t, d)
		}
	}
	p.pruneTexts(c, t)
	p.pruneTokens(c, t)
	p.pruneCertificates(c, t, named)
}

// sortedDocuments puts users before what they use: businesses come first.
func sortedDocuments(t *tenant) []document {
	order := []string{store.KindBusiness, store.KindAgent, store.KindTool, store.KindBot, store.KindTeam}
	var out []document
	for _, kind := range order {
		from := len(out)
		for d := range t.docs {
			if d.kind == kind {
				out = append(out, d)
			}
		}
		slices.SortFunc(out[from:], compareIDs)
	}
	return out
}

// compareIDs orders numbers, which have no leading zeros, by their value.
func compareIDs(a, b document) int {
	if a.kind == store.KindBusiness && len(a.id) != len(b.id) {
		return len(a.id) - len(b.id)
	}
	return strings.Compare(a.id, b.id)
}

func (p *planner) removeDocument(t *tenant, d document) {
	p.step(t, "-", d.kind+"/"+d.id, nil, func(tx *store.Tx, s *step) error {
		if err := tx.DeleteDocument(s.t.key, d.kind, d.id); err != nil {
			return err
		}
		switch d.kind {
		case store.KindBusiness:
			return removeEndpoints(tx, s.t.endpoints, func(e store.Endpoint) bool { return strconv.FormatInt(e.Business, 10) == d.id })
		case store.KindBot:
			// Steps left behind would answer again when a bot of that name comes.
			if version, _, err := tx.FAQVersion(s.t.key, d.id); err != nil || version == 0 {
				return err
			}
			return tx.PutSteps(s.t.key, d.id, "", nil)
		case store.KindTool:
			return removeTool(tx, s, tract.ReceiverID(d.id))
		}
		return nil
	})
	if d.kind == store.KindBot || d.kind == store.KindBusiness || d.kind == store.KindTool {
		t.adopt = true
	}
}

func removeEndpoints(tx *store.Tx, list []store.Endpoint, which func(store.Endpoint) bool) error {
	for _, e := range list {
		if !which(e) {
			continue
		}
		if err := tx.DeleteEndpoint(e); err != nil {
			return err
		}
	}
	return nil
}

// removeTool takes from a tool whatever could act for it: another tool may get
// its id.
func removeTool(tx *store.Tx, s *step, id tract.ReceiverID) error {
	if err := removeEndpoints(tx, s.t.hooks, func(e store.Endpoint) bool { return e.Tool == id }); err != nil {
		return err
	}
	for _, c := range s.t.certs {
		if c.Tool != id || !c.RevokedAt.IsZero() {
			continue
		}
		if _, err := tx.RevokeCertificate(s.t.key, c.UUID); err != nil {
			return err
		}
	}
	if err := tx.SetTokenCutoff(s.t.key, id); err != nil {
		return err
	}
	return toolGone(tx, s, id)
}

// pruneTokens leaves revoked tokens: they are void and part of the record.
func (p *planner) pruneTokens(c *client, t *tenant) {
	var names []string
	for name, old := range t.tokens {
		if old.RevokedAt.IsZero() && !c.names(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		p.step(t, "-", "token/"+name, nil, func(tx *store.Tx, s *step) error { return tx.DeleteToken(s.t.key, name) })
	}
}

// pruneCertificates revokes what the tools that stay no longer list.
func (p *planner) pruneCertificates(c *client, t *tenant, named map[document]bool) {
	for _, old := range t.certs {
		if !old.RevokedAt.IsZero() || !named[document{store.KindTool, string(old.Tool)}] {
			continue
		}
		listed := false
		for _, one := range c.tools {
			for _, crt := range one.certificates {
				listed = listed || (one.body.ID == old.Tool && (crt.uuid == old.UUID || (crt.uuid == "" && crt.pem == old.PEM)))
			}
		}
		if !listed {
			p.revokeCertificate(t, old)
		}
	}
}

// revokeCertificate plans the end of a certificate and of the tokens made with
// it. Which those are is not known: all of the tool's end, and it can have new
// ones for another certificate.
func (p *planner) revokeCertificate(t *tenant, old tract.Certificate) {
	p.step(t, "-", "tool/"+string(old.Tool)+"/certificate/"+old.UUID, nil, func(tx *store.Tx, s *step) error {
		if _, err := tx.RevokeCertificate(s.t.key, old.UUID); err != nil {
			return err
		}
		return tx.SetTokenCutoff(s.t.key, old.Tool)
	})
}
