package auth_test

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/auth"
	"tract/internal/store"
)

func TestClientToken(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		w = w.on(t)
		s, ctx := w.service(), context.Background()
		const all = "tract_all"
		for value, n := range map[string]store.Token{
			all: {Client: w.acme, Name: "all", Scopes: tract.Scopes()}, "given": {Client: w.acme, Name: "kms", Scopes: []string{tract.ScopeFAQ}},
			"short":  {Client: w.acme, Name: "short", Scopes: tract.Scopes(), ExpiresAt: start.Add(time.Minute)},
			"theirs": {Client: w.globex, Name: "all", Scopes: tract.Scopes()}, "gone": {Client: w.acme, Name: "gone", Scopes: tract.Scopes()},
		} {
			w.addToken(n, value)
		}
		w.update(func(tx *store.Tx) error { _, err := tx.RevokeToken(w.acme, "gone"); return err })

		acme := tract.Client{Key: w.acme, ID: "acme", Name: "Acme", Active: true}
		type want struct {
			Client              tract.Client
			Known, Token, Scope bool
		}
		tests := []struct {
			name, client, token, scope string
			want                       want
		}{
			{"all scopes", "acme", all, tract.ScopeDelivery, want{acme, true, true, true}},
			{"its scope", "acme", "given", tract.ScopeFAQ, want{acme, true, true, true}},
			{"another scope", "acme", "given", tract.ScopeDelivery, want{acme, true, true, false}},
			{"no scope", "acme", "given", "", want{acme, true, true, false}},
			{"not yet expired", "acme", "short", tract.ScopeFAQ, want{acme, true, true, true}},
			{"another client's", "acme", "theirs", tract.ScopeFAQ, want{acme, true, false, false}},
			{"revoked", "acme", "gone", tract.ScopeFAQ, want{acme, true, false, false}},
			{"wrong", "acme", "wrong", tract.ScopeFAQ, want{acme, true, false, false}},
			{"none", "acme", "", tract.ScopeFAQ, want{acme, true, false, false}},
			{"hash for token", "acme", auth.HashToken("given"), tract.ScopeFAQ, want{acme, true, false, false}},
			{"unknown client", "nobody", "given", tract.ScopeFAQ, want{}},
			{"no client", "", "given", tract.ScopeFAQ, want{}},
			{"not UTF-8", "\xff", "given", tract.ScopeFAQ, want{}},
			{"NUL", "ac\x00me", "given", tract.ScopeFAQ, want{}},
			{"long", strings.Repeat("a", 129), "given", tract.ScopeFAQ, want{}},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				got, err := s.VerifyClient(ctx, tt.client, tt.token, tt.scope)
				if d := cmp.Diff(tt.want, want{got.Client, got.Known, got.Token, got.Scope}); d != "" || err != nil {
					t.Errorf("%v %s", err, d)
				}
			})
		}
		t.Run("expired", func(t *testing.T) {
			w.clock.Advance(time.Minute)
			if c, err := s.VerifyClient(ctx, "acme", "short", tract.ScopeFAQ); err != nil || c.Token {
				t.Errorf("%+v, %v", c, err)
			}
		})
		t.Run("revoked later", func(t *testing.T) {
			w.update(func(tx *store.Tx) error { _, err := tx.RevokeToken(w.acme, "all"); return err })
			if c, err := s.VerifyClient(ctx, "acme", all, tract.ScopeFAQ); err != nil || c.Token {
				t.Errorf("%+v, %v", c, err)
			}
		})
		t.Run("inactive client", func(t *testing.T) {
			w.update(func(tx *store.Tx) error { _, err := tx.PutClient(tract.Client{ID: "acme"}); return err })
			if c, err := s.VerifyClient(ctx, "acme", "given", tract.ScopeFAQ); err != nil || c.Known {
				t.Errorf("%+v, %v", c, err)
			}
		})
	})
}

// TestClientTokenCached: a call identified from memory is refused by the check in
// the command's transaction as soon as its token ended, at both replicas.
func TestClientTokenCached(t *testing.T) {
	ends := map[string]func(w *world, tx *store.Tx) error{
		"revoked": func(w *world, tx *store.Tx) error { _, err := tx.RevokeToken(w.acme, "kms"); return err },
		"deleted": func(w *world, tx *store.Tx) error { return tx.DeleteToken(w.acme, "kms") },
		"client inactive": func(w *world, tx *store.Tx) error {
			_, err := tx.PutClient(tract.Client{ID: "acme"})
			return err
		},
		"client removed": func(w *world, tx *store.Tx) error { return tx.DeleteClient(w.acme) },
		"expired":        func(w *world, _ *store.Tx) error { w.clock.Advance(time.Hour / 2); return nil }, // runs twice
		"given to another": func(w *world, tx *store.Tx) error {
			if err := tx.DeleteToken(w.acme, "kms"); err != nil {
				return err
			}
			_, err := tx.InsertToken(store.Token{ID: "t", Client: w.globex, Name: "kms", Hash: auth.HashToken("v")})
			return err
		},
		"less scope": func(w *world, tx *store.Tx) error {
			if err := tx.DeleteToken(w.acme, "kms"); err != nil {
				return err
			}
			_, err := tx.InsertToken(store.Token{ID: "t", Client: w.acme, Name: "kms", Hash: auth.HashToken("v"), Scopes: []string{tract.ScopeDelivery}})
			return err
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			worlds(t, func(t *testing.T, w *world) {
				w = w.on(t)
				ctx := context.Background()
				replicas := []*auth.Service{w.service(), w.service()}
				w.addToken(store.Token{Client: w.acme, Name: "kms", Scopes: tract.Scopes(), ExpiresAt: start.Add(time.Hour)}, "v")
				check := func(s *auth.Service, want bool) {
					t.Helper()
					c, err := s.IdentifyClient(ctx, "acme", "v", tract.ScopeFAQ)
					if err != nil || !c.Scope || c.Client.Key != w.acme {
						t.Fatalf("not identified: %+v, %v", c, err)
					}
					w.update(func(tx *store.Tx) error {
						ok, err := s.CheckClientAt(tx, c, version(t, tx, w.acme))
						if ok != want {
							t.Errorf("counts: %v, want %v", ok, want)
						}
						return err
					})
				}
				for _, s := range replicas {
					check(s, true)
				}
				w.update(func(tx *store.Tx) error { return end(w, tx) })
				for _, s := range replicas {
					check(s, false)
				}
				w.update(func(tx *store.Tx) error {
					ok, err := replicas[0].CheckClientAt(tx, auth.ClientCall{}, 1)
					if ok {
						t.Error("a call that nobody identified counts")
					}
					return err
				})
			})
		})
	}
}

func TestPassword(t *testing.T) {
	s := auth.New(auth.Config{})
	stored, err := auth.HashPassword(rand.Reader, "correct horse")
	if err != nil || !strings.HasPrefix(stored, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("%q, %v", stored, err)
	}
	again, _ := auth.HashPassword(rand.Reader, "correct horse")
	if again == stored {
		t.Error("the salt does not change")
	}
	// Made with other parameters than ours, by the reference implementation's
	// test vector.
	const older = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	tests := []struct {
		name, stored, password string
		want                   bool
	}{
		{"right", stored, "correct horse", true},
		{"wrong", stored, "correct horsf", false},
		{"empty", stored, "", false},
		{"too long", stored, strings.Repeat("a", 257), false},
		{"other cost", older, "password", true},
		{"other cost, wrong", older, "Password", false},
		{"no account", "", "correct horse", false},
		{"no account, no password", "", "", false},
		{"other hash", "$2a$10$abcdefghijklmnopqrstuv", "correct horse", false},
		{"endless", strings.Replace(stored, "t=2", "t=4000000000", 1), "correct horse", false},
		{"huge", strings.Replace(stored, "m=19456", "m=4000000000", 1), "correct horse", false},
		{"cut", stored[:len(stored)-40], "correct horse", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := s.CheckPassword(context.Background(), tt.stored, tt.password); got != tt.want || err != nil {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	for _, bad := range []string{"", "short", strings.Repeat("a", 257)} {
		if _, err := auth.HashPassword(rand.Reader, bad); tract.CodeOf(err) != "password_length" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestAdmin(t *testing.T) {
	worlds(t, func(t *testing.T, w *world) {
		w = w.on(t)
		s := w.service()
		for token, want := range map[string]bool{"operator's": true, "operator": false, "": false} {
			if s.IsAdmin(token) != want {
				t.Errorf("IsAdmin(%q) is not %v", token, want)
			}
		}
		if auth.New(auth.Config{}).IsAdmin("") {
			t.Error("no token configured: anybody is admin")
		}
		redeem := func(secret string) (ok bool) {
			t.Helper()
			w.update(func(tx *store.Tx) (err error) { ok, err = s.RedeemAdminLink(tx, secret); return err })
			return ok
		}
		link := func() string { t.Helper(); return must(s.AdminLink(context.Background())) }
		if redeem("") {
			t.Error("redeemed before there was a link")
		}
		replaced, secret := link(), link()
		if redeem(replaced) || redeem("wrong") || !redeem(secret) || redeem(secret) {
			t.Error("only the newest link, and only once, is to be taken")
		}
		late := link()
		w.clock.Advance(24 * time.Hour)
		if redeem(late) {
			t.Error("a link of yesterday was taken")
		}
	})
}
