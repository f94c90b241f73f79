package auth

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"tract"
	"tract/internal/store"
	"tract/internal/strictjson"
)

const maxToken = 8 << 10

// ErrInvalidToken is the one answer to every tool whose token does not count.
var ErrInvalidToken = &tract.Error{Kind: tract.KindUnauthorized, Code: "invalid_token", Msg: "the access token is missing, invalid, expired or revoked"}

// Identity is a tool that proved by a token who it is.
type Identity struct {
	ClientKey int64
	ClientID  string
	Tool      tract.ReceiverID
	TokenID   string
	ExpiresAt time.Time
	Limits    tract.RateLimit // of the client, when the token was last looked up

	token *proven
}

// proven is a token whose signature and form were checked. These never change;
// what may change is its standing.
type proven struct {
	claims
	kid      string
	standing atomic.Pointer[standing] // the last one found good
}

// standing says until when a token counts if the client's configuration stays.
type standing struct {
	client  int64
	version int64
	until   time.Time
	limits  tract.RateLimit
}

// VerifyBearer checks a tool's token in full, reading the store once.
func (s *Service) VerifyBearer(ctx context.Context, h http.Header) (id Identity, err error) {
	p, err := s.proveToken(ctx, h)
	if err != nil {
		return Identity{}, err
	}
	return s.stand(ctx, p)
}

// Identify is VerifyBearer for callers who check the identity again in the
// transaction of their command (CheckIdentity, CheckIdentityAt), which they must:
// for a token seen before, the store is not asked.
func (s *Service) Identify(ctx context.Context, h http.Header) (Identity, error) {
	p, err := s.proveToken(ctx, h)
	if err != nil {
		return Identity{}, err
	}
	if st := p.standing.Load(); st != nil {
		return p.identity(st), nil
	}
	return s.stand(ctx, p)
}

func (s *Service) stand(ctx context.Context, p *proven) (id Identity, err error) {
	good := false
	err = s.store.View(ctx, func(tx *store.Tx) error {
		st, err := p.stands(tx)
		if good = st != nil; good {
			id = p.identity(st)
		}
		return err
	})
	if err == nil && !good {
		err = ErrInvalidToken
	}
	return id, err
}

// CheckIdentity says whether the token still counts: client and tool exist and
// are active, the tool's tokens were not revoked, the key is not void, the time
// is right. It is one query.
func (s *Service) CheckIdentity(tx *store.Tx, id Identity) error {
	st, err := id.token.stands(tx)
	if err == nil && (st == nil || st.client != id.ClientKey) {
		err = ErrInvalidToken
	}
	return err
}

// CheckIdentityAt is CheckIdentity for a transaction that knows the version of
// the client's configuration: everything that can end a token raises it, so at
// the version of the last check there is nothing to ask.
func (s *Service) CheckIdentityAt(tx *store.Tx, id Identity, version int64) error {
	if st := id.token.standing.Load(); st != nil && st.client == id.ClientKey && st.version == version && tx.Now.Before(st.until) {
		return nil
	}
	return s.CheckIdentity(tx, id)
}

func (p *proven) identity(st *standing) Identity {
	return Identity{ClientKey: st.client, Limits: st.limits, ClientID: p.ClientID, Tool: tract.ReceiverID(p.Tool), TokenID: p.ID, ExpiresAt: time.Unix(p.ExpiresAt, 0).UTC(), token: p}
}

// stands reads the standing; nil when the token does not count.
func (p *proven) stands(tx *store.Tx) (*standing, error) {
	r, found, err := tx.Standing(p.ClientID, tract.ReceiverID(p.Tool), p.kid)
	if err != nil || !found {
		return nil, err
	}
	st := &standing{client: r.Client.Key, version: r.Version, until: time.Unix(p.ExpiresAt, 0), limits: r.Client.RateLimit}
	if !r.KeyRetiredAt.IsZero() && r.KeyRetiredAt.Before(st.until) {
		st.until = r.KeyRetiredAt
	}
	issued := time.Unix(p.IssuedAt, 0)
	switch {
	case !r.Client.Active, !r.Tool.Active,
		!tx.Now.Before(st.until), tx.Now.Before(time.Unix(p.NotBefore, 0)), issued.After(tx.Now.Add(slack)),
		!r.Cutoff.IsZero() && !issued.After(r.Cutoff):
		return nil, nil
	}
	p.standing.Store(st)
	return st, nil
}

// proveToken checks all that depends on the token alone.
func (s *Service) proveToken(ctx context.Context, h http.Header) (*proven, error) {
	text, ok := bearer(h)
	if !ok {
		return nil, ErrInvalidToken
	}
	p, seen := s.tokens.get(text)
	if !seen {
		var err error
		if p, err = s.parseToken(ctx, text); err != nil {
			return nil, err
		}
		s.tokens.put(text, p)
	}
	ids := h.Values("client-id")
	if len(ids) > 1 || len(ids) == 1 && ids[0] != p.ClientID {
		return nil, ErrInvalidToken
	}
	return p, nil
}

// bearer gives the token of the one Authorization header.
func bearer(h http.Header) (text string, ok bool) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, text, ok := strings.Cut(values[0], " ")
	return text, ok && strings.EqualFold(scheme, "Bearer") && text != "" && len(text) <= maxToken
}

func (s *Service) parseToken(ctx context.Context, text string) (*proven, error) {
	header, rest, _ := strings.Cut(text, ".")
	body, tail, ok := strings.Cut(rest, ".")
	sig, good := decode(tail)
	if !ok || !good || len(sig) != ed25519.SignatureSize {
		return nil, ErrInvalidToken
	}
	key, found, err := s.publicKey(ctx, header)
	if err != nil {
		return nil, err
	}
	if !found || !ed25519.Verify(key.key, []byte(text[:len(header)+1+len(body)]), sig) {
		return nil, ErrInvalidToken
	}
	raw, good := decode(body)
	p := &proven{kid: key.kid}
	if !good || strictjson.Decode(raw, &p.claims) != nil {
		return nil, ErrInvalidToken
	}
	c := p.claims
	if c.Issuer != s.issuer || c.Audience != audience || c.Tool == "" || c.ClientID == "" || c.ID == "" || c.IssuedAt <= 0 || c.NotBefore <= 0 || c.ExpiresAt <= c.IssuedAt {
		return nil, ErrInvalidToken
	}
	return p, nil
}

// decode takes base64url in its one form; the decoder alone passes over line
// breaks.
func decode(s string) (b []byte, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return b, err == nil && !strings.ContainsAny(s, "\r\n")
}
