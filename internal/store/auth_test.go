package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// clocked runs a test on both engines with a clock that it may move; every
// closure runs twice.
func clocked(t *testing.T, test func(t *testing.T, s *store.Store, c *tracttest.Clock)) {
	t.Helper()
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		c := tracttest.NewClock()
		o.Now, o.Rerun = c.Now, true
		test(t, tracttest.Open(t, o), c)
	})
}

func newClient(t *testing.T, s *store.Store, id string) (key int64) {
	t.Helper()
	update(t, s, func(tx *store.Tx) (err error) {
		key, err = tx.PutClient(tract.Client{ID: id, Name: id, Active: true})
		return err
	})
	return key
}

func TestTokens(t *testing.T) {
	clocked(t, func(t *testing.T, s *store.Store, c *tracttest.Clock) {
		acme, globex := newClient(t, s, "acme"), newClient(t, s, "globex")
		now := c.Now()
		want := store.Token{ID: "t1", Client: acme, Name: "kms", Hash: "h1", Scopes: []string{"faq"}, CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
		insert := func(tok store.Token) (ok bool) {
			t.Helper()
			update(t, s, func(tx *store.Tx) (err error) { ok, err = tx.InsertToken(tok); return err })
			return ok
		}
		if !insert(want) {
			t.Fatal("not inserted")
		}
		same, sameHash := want, want
		same.ID, same.Hash = "t2", "h2"
		sameHash.ID, sameHash.Client = "t3", globex
		if insert(same) || insert(sameHash) {
			t.Error("a name or a hash was taken twice")
		}
		update(t, s, func(tx *store.Tx) error {
			got, found, err := tx.TokenByHash("h1")
			if d := cmp.Diff(want, got); d != "" || !found || err != nil {
				t.Errorf("%v %v %s", found, err, d)
			}
			if _, found, err := tx.TokenByHash("h2"); found || err != nil {
				t.Errorf("a token nobody stored: %v", err)
			}
			cl, v, tok, err := tx.ClientAndToken("acme", "none")
			if cl.Key != acme || v != 1 || tok.ID != "" || err != nil {
				t.Errorf("client %+v, token %+v, %v", cl, tok, err)
			}
			if cl, _, tok, err = tx.ClientAndToken("none", "h1"); cl.Key != 0 || tok.ID != "t1" || err != nil {
				t.Errorf("client %+v, token %+v, %v", cl, tok, err)
			}
			for _, want := range []bool{true, false} {
				if ok, err := tx.RevokeToken(acme, "kms"); ok != want || err != nil {
					t.Errorf("revoked %v, %v", ok, err)
				}
			}
			list, err := tx.ListTokens(acme)
			if err != nil || len(list) != 1 || !list[0].RevokedAt.Equal(now) || list[0].Valid(now) {
				t.Errorf("list %+v, %v", list, err)
			}
			return nil
		})
		if !insert(same) {
			t.Error("a revoked token keeps its name")
		}
		update(t, s, func(tx *store.Tx) error { return tx.DeleteToken(acme, "kms") })
		update(t, s, func(tx *store.Tx) error {
			if list, err := tx.ListTokens(acme); len(list) != 0 || err != nil {
				t.Errorf("after deletion: %v, %v", list, err)
			}
			return nil
		})
	})
}

func TestTokenValid(t *testing.T) {
	now := time.Date(2026, 11, 20, 10, 30, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		tok  store.Token
		want bool
	}{
		"endless":      {store.Token{}, true},
		"before":       {store.Token{ExpiresAt: now.Add(1)}, true},
		"at its end":   {store.Token{ExpiresAt: now}, false},
		"revoked":      {store.Token{RevokedAt: now}, false},
		"revoked, new": {store.Token{RevokedAt: now, ExpiresAt: now.Add(1)}, false},
	} {
		if tt.tok.Valid(now) != tt.want {
			t.Errorf("%s: not %v", name, tt.want)
		}
	}
}

func TestCertificates(t *testing.T) {
	clocked(t, func(t *testing.T, s *store.Store, c *tracttest.Clock) {
		acme, globex := newClient(t, s, "acme"), newClient(t, s, "globex")
		one := tract.Certificate{UUID: "0B5C", Client: acme, Tool: "desk-one", PEM: "pem"}
		two := one
		two.Client = globex
		update(t, s, func(tx *store.Tx) error {
			for i, c := range []tract.Certificate{one, two, one} {
				if ok, err := tx.InsertCertificate(c); ok != (i < 2) || err != nil {
					t.Errorf("insert %d: %v, %v", i, ok, err)
				}
			}
			if ok, err := tx.RevokeCertificate(globex, "0b5C"); !ok || err != nil {
				t.Errorf("revoke: %v, %v", ok, err)
			}
			if ok, err := tx.RevokeCertificate(globex, "0b5c"); ok || err != nil {
				t.Errorf("revoke again: %v, %v", ok, err)
			}
			one.UUID, two.UUID, one.CreatedAt, two.CreatedAt, two.RevokedAt = "0b5c", "0b5c", c.Now(), c.Now(), c.Now()
			all, err := tx.Certificates("0B5c")
			if d := cmp.Diff([]tract.Certificate{one, two}, all); d != "" || err != nil {
				t.Errorf("%v %s", err, d)
			}
			mine, err := tx.ListCertificates(acme)
			if d := cmp.Diff([]tract.Certificate{one}, mine); d != "" || err != nil {
				t.Errorf("%v %s", err, d)
			}
			one.UUID, two.UUID, one.CreatedAt, two.CreatedAt, two.RevokedAt = "0B5C", "0B5C", time.Time{}, time.Time{}, time.Time{}
			return nil
		})
	})
}

func TestTokenCutoff(t *testing.T) {
	clocked(t, func(t *testing.T, s *store.Store, c *tracttest.Clock) {
		acme := newClient(t, s, "acme")
		set := func() (cutoff time.Time, raised int64) {
			t.Helper()
			update(t, s, func(tx *store.Tx) error {
				before, err := tx.ConfigVersion(acme)
				if err != nil {
					return err
				}
				if err := tx.SetTokenCutoff(acme, "desk-one"); err != nil {
					return err
				}
				after, err := tx.ConfigVersion(acme)
				if err != nil {
					return err
				}
				raised = after - before
				cutoff, err = tx.TokenCutoff(acme, "desk-one")
				return err
			})
			return cutoff, raised
		}
		for _, want := range []time.Duration{0, time.Second, 2 * time.Second} {
			if got, raised := set(); !got.Equal(c.Now().Add(want)) || raised != 1 {
				t.Errorf("cutoff %v, version raised by %d, want %v later", got, raised, want)
			}
		}
		c.Advance(time.Hour)
		if got, _ := set(); !got.Equal(c.Now()) {
			t.Errorf("an hour later: %v", got)
		}
		update(t, s, func(tx *store.Tx) error {
			if got, err := tx.TokenCutoff(acme, "other"); !got.IsZero() || err != nil {
				t.Errorf("another tool: %v, %v", got, err)
			}
			return nil
		})
	})
}

func TestReplays(t *testing.T) {
	clocked(t, func(t *testing.T, s *store.Store, c *tracttest.Clock) {
		use := func(digest string) (fresh bool) {
			t.Helper()
			update(t, s, func(tx *store.Tx) (err error) {
				fresh, err = tx.InsertReplay([]byte(digest), tx.Now.Add(time.Minute))
				return err
			})
			return fresh
		}
		if !use("a") || use("a") || !use("b") {
			t.Error("once each")
		}
		c.Advance(time.Minute)
		if !use("a") || use("a") {
			t.Error("once more after it expired")
		}
		update(t, s, func(tx *store.Tx) error {
			if n, err := tx.DeleteExpired(10); n != 1 || err != nil {
				t.Errorf("deleted %d, %v; want b", n, err)
			}
			return nil
		})
		if use("a") || !use("b") {
			t.Error("the wrong one was deleted")
		}
	})
}
