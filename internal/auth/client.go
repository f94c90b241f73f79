package auth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"tract"
	"tract/internal/store"
)

const maxClientID = 128

// randomText is 256 bits that fit into URLs and headers.
func randomText(random io.Reader) (string, error) {
	b := make([]byte, 32)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("make a secret: %w", err)
	}
	return base64url(b), nil
}

// HashToken is what is stored of a token. Tokens are long and random, so that a
// plain hash is enough.
func HashToken(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

// ClientCall says how far a client's call is proven. The edges have a text for
// each step.
type ClientCall struct {
	Client tract.Client
	Known  bool // the client exists and is active
	Token  bool // the token is this client's and in force
	Scope  bool // and has the scope that was asked for

	proof *clientProof // when Token
}

// clientProof is what a client's call was proven by, at one version of its
// configuration. It never changes.
type clientProof struct {
	client  tract.Client
	token   store.Token
	version int64
}

func (p *clientProof) call(scope string) ClientCall {
	return ClientCall{Client: p.client, Known: true, Token: true, Scope: slices.Contains(p.token.Scopes, scope), proof: p}
}

// VerifyClient checks a client's id and static token, reading the store once.
func (s *Service) VerifyClient(ctx context.Context, clientID, token, scope string) (c ClientCall, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) (err error) {
		c, err = s.CheckClient(tx, clientID, token, scope)
		return err
	})
	return c, err
}

// IdentifyClient is VerifyClient for callers who check again in the transaction
// of their command (CheckClientAt), which they must: for a token that was good
// before, the store is not asked.
func (s *Service) IdentifyClient(ctx context.Context, clientID, token, scope string) (ClientCall, error) {
	if p, ok := s.clients.get(clientID + " " + HashToken(token)); ok {
		return p.call(scope), nil
	}
	return s.VerifyClient(ctx, clientID, token, scope)
}

// CheckClient is VerifyClient in the caller's transaction.
func (s *Service) CheckClient(tx *store.Tx, clientID, token, scope string) (ClientCall, error) {
	return s.checkClient(tx, clientID, HashToken(token), scope)
}

// CheckClientAt says whether a call that was identified still counts, in a
// transaction that knows the version of the client's configuration. Only at
// another version than the last one seen is the store asked.
func (s *Service) CheckClientAt(tx *store.Tx, c ClientCall, version int64) (ok bool, err error) {
	p := c.proof
	if p == nil {
		return false, nil
	}
	if p.version == version && p.token.Valid(tx.Now) {
		return true, nil
	}
	now, err := s.checkClient(tx, p.client.ID, p.token.Hash, "")
	if err != nil || !now.Token || now.Client.Key != p.client.Key {
		return false, err
	}
	return !c.Scope || slices.Equal(now.proof.token.Scopes, p.token.Scopes), nil
}

func (s *Service) checkClient(tx *store.Tx, clientID, hash, scope string) (c ClientCall, err error) {
	// PostgreSQL fails on text that is not UTF-8.
	if clientID == "" || len(clientID) > maxClientID || !utf8.ValidString(clientID) || strings.Contains(clientID, "\x00") {
		return c, nil
	}
	client, version, t, err := tx.ClientAndToken(clientID, hash)
	if err != nil || client.Key == 0 || !client.Active {
		return c, err
	}
	if t.ID == "" || t.Client != client.Key || !t.Valid(tx.Now) {
		return ClientCall{Client: client, Known: true}, nil
	}
	p := &clientProof{client, t, version}
	s.clients.put(clientID+" "+hash, p)
	return p.call(scope), nil
}
