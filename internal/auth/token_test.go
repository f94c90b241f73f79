package auth_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"tract"
	"tract/internal/auth"
	"tract/internal/store"
)

// issue gets a token for the good tool.
func issue(t *testing.T, w *world, s *auth.Service) auth.Token {
	t.Helper()
	tok, err := call(s, request{timestamp: `"` + w.clock.Now().Format(time.RFC3339) + `"`})
	if err != nil {
		t.Fatalf("issue: %v", err)
	}
	return tok
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// signingKey takes the hub's own key out of the store, to forge with.
func signingKey(t *testing.T, w *world) (kid string, key ed25519.PrivateKey) {
	t.Helper()
	w.update(func(tx *store.Tx) error {
		ks, err := tx.ListSigningKeys()
		if err != nil {
			return err
		}
		kid = ks[0].KID
		seed, err := w.sealer.Open(ks[0].Sealed, "signing_key/"+kid)
		key = ed25519.NewKeyFromSeed(seed)
		return err
	})
	return kid, key
}

func goodClaims(w *world) jwt.MapClaims {
	now := w.clock.Now()
	return jwt.MapClaims{
		"iss": issuer, "aud": "tract", "sub": "desk-one", "client_id": "acme", "jti": "j1",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
}

// forge signs any header and claims with the hub's key.
func forge(key ed25519.PrivateKey, header, claims string) string {
	s := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	return s + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(s)))
}

func wantRefused(t *testing.T, id auth.Identity, err error) {
	t.Helper()
	if err == nil {
		t.Fatalf("accepted as %s of %s", id.Tool, id.ClientID)
	}
	var e *tract.Error
	if !errors.As(err, &e) || e.Kind != tract.KindUnauthorized || e.Msg != auth.ErrInvalidToken.Msg || e.Code != "invalid_token" {
		t.Errorf("error = %v (%s), want the one text", err, tract.CodeOf(err))
	}
}

func TestTokenAsOthersReadIt(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		w = w.on(t)
		s := w.service()
		tok := issue(t, w, s)
		if tok.ExpiresIn != 3600 || !tok.ExpiresAt.Equal(start.Add(time.Hour)) {
			t.Errorf("expires in %d at %v", tok.ExpiresIn, tok.ExpiresAt)
		}
		set, err := s.JWKS(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var jwks struct{ Keys []map[string]string }
		if err := json.Unmarshal(set, &jwks); err != nil || len(jwks.Keys) != 1 {
			t.Fatalf("JWKS %s: %v", set, err)
		}
		k := jwks.Keys[0]
		public := must(base64.RawURLEncoding.DecodeString(k["x"]))
		claims := jwt.MapClaims{}
		parsed, err := jwt.ParseWithClaims(tok.Token, claims, func(*jwt.Token) (any, error) { return ed25519.PublicKey(public), nil },
			jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithIssuer(issuer), jwt.WithAudience("tract"), jwt.WithSubject("desk-one"), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithTimeFunc(w.clock.Now), jwt.WithStrictDecoding())
		if err != nil {
			t.Fatalf("the usual library refuses our token: %v", err)
		}
		if parsed.Header["kid"] != k["kid"] || parsed.Header["typ"] != "tract+jwt" || claims["client_id"] != "acme" || claims["jti"] == "" {
			t.Errorf("header %v, claims %v", parsed.Header, claims)
		}
		if k["kty"] != "OKP" || k["crv"] != "Ed25519" || k["alg"] != "EdDSA" || k["use"] != "sig" {
			t.Errorf("key %v", k)
		}
		id, err := s.VerifyBearer(context.Background(), bearer(tok.Token))
		if err != nil || id.ClientKey != w.acme || id.ClientID != "acme" || id.Tool != "desk-one" || id.TokenID != claims["jti"] || !id.ExpiresAt.Equal(tok.ExpiresAt) {
			t.Errorf("identity %+v, %v", id, err)
		}
	})
}

func TestTokenHeaders(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		w = w.on(t)
		s := w.service()
		tok := issue(t, w, s).Token
		head := func(name string, values ...string) http.Header {
			h := bearer(tok)
			h[http.CanonicalHeaderKey(name)] = values
			return h
		}
		tests := []struct {
			name string
			h    http.Header
			ok   bool
		}{
			{"base", bearer(tok), true},
			{"JT-01 none", http.Header{}, false},
			{"JT-01 no token", head("Authorization", "Bearer"), false},
			{"JT-01 blank token", head("Authorization", "Bearer "), false},
			{"JT-01 lower case", head("Authorization", "bearer "+tok), true},
			{"JT-01 upper case", head("Authorization", "BEARER "+tok), true},
			{"JT-01 two", head("Authorization", "Bearer "+tok, "Bearer "+tok), false},
			{"JT-01 other scheme", head("Authorization", "Basic "+tok), false},
			{"JT-08", head("client-id", "globex"), false},
			{"JT-19 equal", head("client-id", "acme"), true},
			{"JT-19 missing", bearer(tok), true},
			{"JT-19 twice", head("client-id", "acme", "acme"), false},
			{"JT-19 empty", head("client-id", ""), false},
			{"JT-19 10 KiB", head("client-id", strings.Repeat("a", 10<<10)), false},
			{"JT-13 stripped", head("Authorization", "Bearer "+tok[:strings.LastIndexByte(tok, '.')+1]), false},
			{"JT-13 2 parts", head("Authorization", "Bearer "+tok[:strings.LastIndexByte(tok, '.')]), false},
			{"JT-13 4 parts", head("Authorization", "Bearer "+tok+".e30"), false},
			{"JT-13 dots", head("Authorization", "Bearer "+strings.Repeat(".", 8<<20)), false},
			{"JT-14 last character", head("Authorization", "Bearer "+loosenedURL(tok)), false},
			{"JT-14 padding", head("Authorization", "Bearer "+tok+"=="), false},
			{"JT-14 space before", head("Authorization", "Bearer  "+tok), false},
			{"JT-14 space behind", head("Authorization", "Bearer "+tok+" "), false},
			{"JT-14 line break", head("Authorization", "Bearer "+tok[:len(tok)-4]+"\n"+tok[len(tok)-4:]), false},
			{"JT-17", http.Header{"X-Query": {"access_token=" + tok}}, false},
			{"JT-20", http.Header{"Cookie": {"session=" + tok}}, false},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				id, err := s.VerifyBearer(context.Background(), tt.h)
				if tt.ok {
					wantCode(t, err, "")
				} else {
					wantRefused(t, id, err)
				}
			})
		}
		if strings.Contains(w.log.String(), tok) {
			t.Error("JT-17: the token is in the log")
		}
	})
}

// loosenedURL sets a bit of the last character that carries nothing.
func loosenedURL(tok string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return tok[:len(tok)-1] + string(alphabet[strings.IndexByte(alphabet, tok[len(tok)-1])+1])
}

func TestTokenForgery(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		w = w.on(t)
		s := w.service()
		issue(t, w, s)
		kid, key := signingKey(t, w)
		good := `{"alg":"EdDSA","kid":"` + kid + `","typ":"tract+jwt"}`
		claims := func(edits ...any) string {
			c := goodClaims(w)
			for i := 0; i < len(edits); i += 2 {
				if edits[i+1] == nil {
					delete(c, edits[i].(string))
					continue
				}
				c[edits[i].(string)] = edits[i+1]
			}
			return string(must(json.Marshal(c)))
		}
		tests := []struct {
			name, token string
			ok          bool
		}{
			{"base", forge(key, good, claims()), true},
			{"base by the usual library", library(jwt.SigningMethodEdDSA, key, kid, goodClaims(w)), true},
			{"JT-02 none", library(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, kid, goodClaims(w)), false},
			{"JT-02 nOnE", forge(key, strings.Replace(good, "EdDSA", "nOnE", 1), claims()), false},
			{"JT-02 empty", forge(key, strings.Replace(good, "EdDSA", "", 1), claims()), false},
			{"JT-03", library(jwt.SigningMethodHS256, []byte(key.Public().(ed25519.PublicKey)), kid, goodClaims(w)), false},
			{"JT-04 RS256", library(jwt.SigningMethodRS256, keys.rsa().(*rsa.PrivateKey), kid, goodClaims(w)), false},
			{"JT-04 jku", forge(key, strings.Replace(good, `"kid"`, `"jku":"https://evil.com/k","kid"`, 1), claims()), false},
			{"JT-04 kid path", forge(key, strings.Replace(good, kid, "../../dev/null", 1), claims()), false},
			{"JT-04 kid SQL", forge(key, strings.Replace(good, kid, "' or 1=1 --", 1), claims()), false},
			{"JT-04 other key", forge(keys.ed().(ed25519.PrivateKey), good, claims()), false},
			{"JT-05 expired", forge(key, good, claims("exp", start.Unix()-1, "iat", start.Unix()-3600)), false},
			{"JT-05 expires now", forge(key, good, claims("exp", start.Unix(), "iat", start.Unix()-3600)), false},
			{"JT-05 nbf", forge(key, good, claims("nbf", start.Unix()+1)), false},
			{"JT-05 iat", forge(key, good, claims("iat", start.Unix()+600)), false},
			{"JT-06 missing", forge(key, good, claims("exp", nil)), false},
			{"JT-06 string", forge(key, good, claims("exp", "1795170600")), false},
			{"JT-06 1e300", forge(key, good, claims("exp", 1e300)), false},
			{"JT-06 negative", forge(key, good, claims("exp", -1)), false},
			{"JT-06 largest", forge(key, good, claims("exp", int64(1)<<62)), true},
			{"JT-07 audience", forge(key, good, claims("aud", "other")), false},
			{"JT-07 audiences", forge(key, good, claims("aud", []string{"tract"})), false},
			{"JT-07 issuer", forge(key, good, claims("iss", "https://staging.example")), false},
			{"JT-07 no issuer", forge(key, good, claims("iss", nil)), false},
			{"JT-10", forge(key, strings.Replace(good, "tract+jwt", "desk+jwt", 1), claims()), false},
			{"JT-10 JWT", forge(key, strings.Replace(good, "tract+jwt", "JWT", 1), claims()), false},
			{"JT-10 none", forge(key, strings.Replace(good, `,"typ":"tract+jwt"`, "", 1), claims()), false},
			{"JT-11", forge(key, strings.Replace(good, `"kid"`, `"crit":["x"],"x":1,"kid"`, 1), claims()), false},
			{"JT-12", forge(key, good, strings.Replace(claims(), `"client_id"`, `"client_id":"globex","client_id"`, 1)), false},
			{"JT-12 case", forge(key, good, strings.Replace(claims(), `"client_id"`, `"Client_Id":"globex","client_id"`, 1)), false},
			{"JT-18 b64", forge(key, strings.Replace(good, `"kid"`, `"b64":false,"kid"`, 1), claims()), false},
			{"JT-18 nested", forge(key, strings.Replace(good, `"kid"`, `"cty":"JWT","kid"`, 1), claims()), false},
			{"JT-18 JWE", "eyJhbGciOiJkaXIifQ..aXY.Y3Q.dGFn", false},
			{"no jti", forge(key, good, claims("jti", nil)), false},
			{"no nbf", forge(key, good, claims("nbf", nil)), false},
			{"no iat", forge(key, good, claims("iat", nil)), false},
			{"another tool", forge(key, good, claims("sub", "nobody")), false},
			{"another client's tool", forge(key, good, claims("client_id", "globex")), false},
			{"another client", forge(key, good, claims("client_id", "nobody")), false},
			{"not JSON", forge(key, good, "hello"), false},
			{"trailing data", forge(key, good, claims()+"{}"), false},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				id, err := s.VerifyBearer(context.Background(), bearer(tt.token))
				if tt.ok {
					wantCode(t, err, "")
				} else {
					wantRefused(t, id, err)
				}
			})
		}
	})
}

// library makes a token as golang-jwt does.
func library(method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
	tok := jwt.NewWithClaims(method, claims)
	tok.Header["kid"], tok.Header["typ"] = kid, "tract+jwt"
	return must(tok.SignedString(key))
}

// TestTokenRevocation is JT-15: whatever ends a token, both replicas refuse it at
// once, in each of the ways a token is checked; and what undoes it lets the tool in.
func TestTokenRevocation(t *testing.T) {
	tool := tract.Tool{ID: "desk-one", FQDN: fqdn, CASigned: true, Active: true}
	tests := []struct {
		name         string
		end, restore func(w *world, tx *store.Tx) error
	}{
		{"revoked", func(w *world, tx *store.Tx) error { return tx.SetTokenCutoff(w.acme, "desk-one") }, nil},
		{"tool inactive", func(w *world, tx *store.Tx) error {
			off := tool
			off.Active = false
			return putTool(tx, w.acme, off)
		}, func(w *world, tx *store.Tx) error { return putTool(tx, w.acme, tool) }},
		{"tool removed", func(w *world, tx *store.Tx) error { return tx.DeleteDocument(w.acme, store.KindTool, "desk-one") },
			func(w *world, tx *store.Tx) error { return putTool(tx, w.acme, tool) }},
		{"client inactive", func(w *world, tx *store.Tx) error {
			_, err := tx.PutClient(tract.Client{ID: "acme", Name: "Acme"})
			return err
		}, func(w *world, tx *store.Tx) error {
			_, err := tx.PutClient(tract.Client{ID: "acme", Name: "Acme", Active: true})
			return err
		}},
		{"client removed", func(w *world, tx *store.Tx) error { return tx.DeleteClient(w.acme) }, nil},
		{"key void", func(w *world, tx *store.Tx) error {
			ks, err := tx.ListSigningKeys()
			if err != nil {
				return err
			}
			return tx.RetireSigningKey(ks[0].KID, tx.Now)
		}, nil},
	}
	for _, tt := range tests {
		t.Run("JT-15 "+tt.name, func(t *testing.T) {
			worlds(t, func(t *testing.T, w *world) {
				w = w.on(t)
				replicas := []*auth.Service{w.service(), w.service()}
				h := bearer(issue(t, w, replicas[0]).Token)
				var ids []auth.Identity
				for _, s := range replicas {
					id, err := s.VerifyBearer(context.Background(), h)
					if err != nil {
						t.Fatal(err)
					}
					ids = append(ids, id)
					w.update(func(tx *store.Tx) error { return s.CheckIdentityAt(tx, id, version(t, tx, w.acme)) })
				}
				w.update(func(tx *store.Tx) error { return tt.end(w, tx) })
				for i, s := range replicas {
					id, err := s.VerifyBearer(context.Background(), h)
					wantRefused(t, id, err)
					w.update(func(tx *store.Tx) error {
						wantRefused(t, ids[i], s.CheckIdentity(tx, ids[i]))
						wantRefused(t, ids[i], s.CheckIdentityAt(tx, ids[i], version(t, tx, w.acme)))
						return nil
					})
				}
				if tt.restore == nil {
					return
				}
				w.update(func(tx *store.Tx) error { return tt.restore(w, tx) })
				for _, s := range replicas {
					_, err := s.VerifyBearer(context.Background(), h)
					wantCode(t, err, "")
				}
			})
		})
	}
}

func version(t *testing.T, tx *store.Tx, client int64) int64 {
	t.Helper()
	v, err := tx.ConfigVersion(client)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestTokenAfterRevocation: revoking twice within a second and asking for tokens
// between and after, without the clock moving.
func TestTokenAfterRevocation(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		w = w.on(t)
		w.clock.Advance(300 * time.Millisecond)
		s := w.service()
		ctx := context.Background()
		var old []string
		for range 3 {
			tok := issue(t, w, s).Token
			if _, err := s.VerifyBearer(ctx, bearer(tok)); err != nil {
				t.Fatalf("fresh after %d revocations: %v", len(old), err)
			}
			old = append(old, tok)
			w.update(func(tx *store.Tx) error { return tx.SetTokenCutoff(w.acme, "desk-one") })
			for i, o := range old {
				if _, err := s.VerifyBearer(ctx, bearer(o)); err == nil {
					t.Errorf("token %d lives after revocation %d", i, len(old))
				}
			}
		}
	})
}

func TestTokenExpires(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		w = w.on(t)
		s := w.service()
		h := bearer(issue(t, w, s).Token)
		id, err := s.Identify(context.Background(), h)
		if err != nil {
			t.Fatal(err)
		}
		check := func() (at, now error) {
			w.update(func(tx *store.Tx) error {
				at, now = s.CheckIdentityAt(tx, id, version(t, tx, w.acme)), s.CheckIdentity(tx, id)
				return nil
			})
			return at, now
		}
		w.clock.Advance(time.Hour - time.Microsecond)
		if at, now := check(); at != nil || now != nil {
			t.Errorf("before the end: %v, %v", at, now)
		}
		w.clock.Advance(time.Microsecond)
		at, now := check()
		wantRefused(t, id, at)
		wantRefused(t, id, now)
	})
}

func TestKeyRotation(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		w = w.on(t)
		ctx := context.Background()
		one, two := w.service(), w.service()
		rotate := func(olderThan time.Duration, want bool) {
			t.Helper()
			if did, err := one.RotateKeys(ctx, olderThan); err != nil || did != want {
				t.Fatalf("rotated %v, %v; want %v", did, err, want)
			}
		}
		accepted := func(tok string) bool {
			t.Helper()
			_, err := one.VerifyBearer(ctx, bearer(tok))
			_, err2 := two.VerifyBearer(ctx, bearer(tok))
			if (err == nil) != (err2 == nil) {
				t.Errorf("the replicas differ: %v, %v", err, err2)
			}
			return err == nil
		}
		published := func() int {
			return strings.Count(string(must(one.JWKS(ctx))), `"kid"`)
		}
		if published() != 0 {
			t.Error("keys before the first token")
		}
		first := issue(t, w, one).Token
		rotate(24*time.Hour, false)
		rotate(0, true)
		second := issue(t, w, two).Token
		if !accepted(first) || !accepted(second) || published() != 2 {
			t.Errorf("JT-16 during: first %v, second %v, %d keys", accepted(first), accepted(second), published())
		}
		rotate(0, true)
		third := issue(t, w, one).Token
		if accepted(first) || !accepted(second) || !accepted(third) || published() != 2 {
			t.Errorf("JT-16 after the next: first %v, second %v, third %v, %d keys", accepted(first), accepted(second), accepted(third), published())
		}
		w.clock.Advance(time.Hour + 10*time.Second)
		if published() != 1 {
			t.Errorf("%d keys after the old one's end", published())
		}
		rotate(time.Hour, true)
	})
}

// TestFirstKey: replicas that start together make one key.
func TestFirstKey(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		w = w.on(t)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := call(w.service(), request{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var ks []store.SigningKey
		w.update(func(tx *store.Tx) (err error) { ks, err = tx.ListSigningKeys(); return err })
		if len(ks) != 1 {
			t.Errorf("%d keys, want 1", len(ks))
		}
		for _, k := range ks {
			if _, key := signingKey(t, w); strings.Contains(k.Sealed, base64.RawURLEncoding.EncodeToString(key.Seed())) {
				t.Error("the key is stored in clear")
			}
		}
	})
}

// TestIdentifyCache: the cache holds many tokens and forgets some, none wrongly.
func TestIdentifyCache(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		w = w.on(t)
		s := w.service()
		issue(t, w, s)
		kid, key := signingKey(t, w)
		for i := range 4200 {
			c := goodClaims(w)
			c["jti"] = time.Duration(i).String()
			id, err := s.Identify(context.Background(), bearer(library(jwt.SigningMethodEdDSA, key, kid, c)))
			if err != nil || id.TokenID != c["jti"] {
				t.Fatalf("token %d: %+v, %v", i, id, err)
			}
		}
	})
}

var _ crypto.Signer = ed25519.PrivateKey{}
