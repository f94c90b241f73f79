package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"tract"
	"tract/internal/store"
)

const (
	audience  = "tract"
	tokenType = "tract+jwt"
	// slack covers the difference between the clocks of replicas.
	slack = 5 * time.Second
)

// Token is a tool's access token as it is handed out.
type Token struct {
	Token     string
	ExpiresAt time.Time
	ExpiresIn int64 // seconds
}

// ClientEntry is a client for which a caller may ask for tokens.
type ClientEntry struct {
	ClientID    string           `json:"client_id"`
	Name        string           `json:"name"`
	ReceiverID  tract.ReceiverID `json:"receiver_id"`
	BusinessIDs []int64          `json:"business_ids"`
}

// ListClients gives the clients for which the caller may ask for tokens, by id.
func (s *Service) ListClients(caller Caller) []ClientEntry {
	out := make([]ClientEntry, len(caller.clients))
	for i, a := range caller.clients {
		out[i] = ClientEntry{a.Client.ID, a.Client.Name, a.Tool.ID, append([]int64{}, a.Business...)}
	}
	return out
}

// tokenHeader is the first part of every token of a key. Its bytes are fixed, so
// that a token is looked at only if its header is one we write: there is no
// algorithm to confuse, no crit, and no pointer to another key to follow.
func tokenHeader(kid string) string {
	return base64url([]byte(`{"alg":"EdDSA","kid":"` + kid + `","typ":"` + tokenType + `"}`))
}

type claims struct {
	Issuer    string `json:"iss"`
	Audience  string `json:"aud"`
	Tool      string `json:"sub"`
	ClientID  string `json:"client_id"`
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	ExpiresAt int64  `json:"exp"`
	ID        string `json:"jti"`
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// IssueToken makes an access token for one of the caller's clients.
func (s *Service) IssueToken(ctx context.Context, caller Caller, clientID string) (Token, error) {
	i := slices.IndexFunc(caller.clients, func(a store.Attachment) bool { return a.Client.ID == clientID })
	if i < 0 {
		err := errNoClient
		if slices.Contains(caller.weak, clientID) {
			err = errWeakSign
		}
		s.log.WarnContext(ctx, "token refused", "code", err.Code, "fqdn", caller.FQDN)
		return Token{}, err
	}
	at := caller.clients[i]
	key, cutoff, now, err := s.signing(ctx, at)
	if err != nil {
		return Token{}, fmt.Errorf("prepare a token: %w", err)
	}
	id, err := uuid.NewRandomFromReader(s.rand)
	if err != nil {
		return Token{}, fmt.Errorf("make a token id: %w", err)
	}
	issued := now.Unix()
	if issued*1e6 <= cutoff.UnixMicro() { // tokens up to the cutoff are void
		issued = cutoff.Unix() + 1
	}
	expires := now.Add(s.lifetime).Truncate(time.Second)
	body, err := json.Marshal(claims{
		Issuer: s.issuer, Audience: audience, Tool: string(at.Tool.ID), ClientID: clientID,
		IssuedAt: issued, NotBefore: now.Add(-slack).Unix(), ExpiresAt: expires.Unix(), ID: id.String(),
	})
	if err != nil {
		return Token{}, fmt.Errorf("write a token: %w", err)
	}
	signed := tokenHeader(key.kid) + "." + base64url(body)
	s.log.InfoContext(ctx, "token issued", "client_id", clientID, "tool", at.Tool.ID, "token_id", id.String())
	return Token{
		Token:     signed + "." + base64url(ed25519.Sign(key.private, []byte(signed))),
		ExpiresAt: expires, ExpiresIn: int64(expires.Sub(now) / time.Second),
	}, nil
}

type signingKey struct {
	kid     string
	private ed25519.PrivateKey
}

// signing reads the key that signs now, and makes the first one.
func (s *Service) signing(ctx context.Context, a store.Attachment) (key signingKey, cutoff, now time.Time, err error) {
	var keys []store.SigningKey
	read := func(tx *store.Tx) (err error) {
		now = tx.Now
		if keys, err = tx.ListSigningKeys(); err == nil {
			cutoff, err = tx.TokenCutoff(a.Client.Key, a.Tool.ID)
		}
		return err
	}
	if err = s.store.View(ctx, read); err != nil {
		return key, cutoff, now, err
	}
	if !slices.ContainsFunc(keys, signs) {
		if _, err = s.replaceKey(ctx, func(time.Time, []store.SigningKey) bool { return false }); err != nil {
			return key, cutoff, now, err
		}
		if err = s.store.View(ctx, read); err != nil {
			return key, cutoff, now, err
		}
	}
	i := slices.IndexFunc(keys, signs)
	if i < 0 {
		return key, cutoff, now, fmt.Errorf("there is no signing key")
	}
	seed, err := s.sealer.Open(keys[i].Sealed, sealedFor(keys[i].KID))
	if err != nil {
		return key, cutoff, now, fmt.Errorf("open signing key %s: %w", keys[i].KID, err)
	}
	return signingKey{keys[i].KID, ed25519.NewKeyFromSeed(seed)}, cutoff, now, nil
}

func signs(k store.SigningKey) bool { return k.RetiredAt.IsZero() }

// sealedFor is the place a key is sealed for.
func sealedFor(kid string) string { return "signing_key/" + kid }

// RotateKeys makes a new signing key if the present one is at least so old (0:
// in any case). The present one stays good for the tokens it signed; one that
// was replaced before is void from now on, with its tokens.
func (s *Service) RotateKeys(ctx context.Context, olderThan time.Duration) (rotated bool, err error) {
	return s.replaceKey(ctx, func(now time.Time, keys []store.SigningKey) bool {
		i := slices.IndexFunc(keys, signs)
		return now.Sub(keys[i].CreatedAt) >= olderThan
	})
}

// replaceKey makes a key if there is none that signs, or if due says so.
func (s *Service) replaceKey(ctx context.Context, due func(now time.Time, keys []store.SigningKey) bool) (made bool, err error) {
	fresh, err := s.newKey()
	if err != nil {
		return false, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		made = false
		if err := tx.LockSigningKeys(); err != nil {
			return err
		}
		keys, err := tx.ListSigningKeys()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(keys, signs) && !due(tx.Now, keys) {
			return nil
		}
		for _, k := range keys {
			end := tx.Now
			if signs(k) {
				end = tx.Now.Add(s.lifetime + slack)
			} else if !k.RetiredAt.After(tx.Now) {
				continue
			}
			if err := tx.RetireSigningKey(k.KID, end); err != nil {
				return err
			}
		}
		made = true
		return tx.InsertSigningKey(fresh)
	})
	if err == nil && made {
		s.log.InfoContext(ctx, "signing key made", "key_id", fresh.KID)
	}
	return made && err == nil, err
}

func (s *Service) newKey() (k store.SigningKey, err error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(s.rand, seed); err != nil {
		return k, fmt.Errorf("make a signing key: %w", err)
	}
	k.Public = ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	// The key's thumbprint (RFC 7638) names it.
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64url(k.Public) + `"}`))
	k.KID = base64url(sum[:])
	k.Sealed, err = s.sealer.Seal(seed, sealedFor(k.KID))
	return k, err
}

// JWKS is the JSON Web Key Set of the keys whose tokens are accepted.
func (s *Service) JWKS(ctx context.Context) ([]byte, error) {
	type jwk struct {
		KTY string `json:"kty"`
		CRV string `json:"crv"`
		X   string `json:"x"`
		KID string `json:"kid"`
		ALG string `json:"alg"`
		Use string `json:"use"`
	}
	set := struct {
		Keys []jwk `json:"keys"`
	}{[]jwk{}}
	err := s.store.View(ctx, func(tx *store.Tx) error {
		keys, err := tx.ListSigningKeys()
		for _, k := range keys {
			if signs(k) || tx.Now.Before(k.RetiredAt) {
				set.Keys = append(set.Keys, jwk{"OKP", "Ed25519", base64url(k.Public), k.KID, "EdDSA", "sig"})
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list signing keys: %w", err)
	}
	return json.Marshal(set)
}

// keyRing holds public keys by the header of their tokens. Whether a key still
// counts is not decided here but read with the tool's standing.
type keyRing struct {
	mu       sync.Mutex // guards byHeader
	byHeader map[string]publicKey
}

type publicKey struct {
	kid string
	key ed25519.PublicKey
}

// publicKey gives the key of a token's header, reading the keys again if it is new.
func (s *Service) publicKey(ctx context.Context, header string) (k publicKey, found bool, err error) {
	s.keys.mu.Lock()
	k, found = s.keys.byHeader[header]
	s.keys.mu.Unlock()
	if found {
		return k, true, nil
	}
	var keys []store.SigningKey
	err = s.store.View(ctx, func(tx *store.Tx) (err error) {
		keys, err = tx.ListSigningKeys()
		return err
	})
	if err != nil {
		return k, false, err
	}
	fresh := make(map[string]publicKey, len(keys))
	for _, k := range keys {
		fresh[tokenHeader(k.KID)] = publicKey{k.KID, k.Public}
	}
	s.keys.mu.Lock()
	s.keys.byHeader = fresh
	s.keys.mu.Unlock()
	k, found = fresh[header]
	return k, found, nil
}
