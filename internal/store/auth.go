package store

import (
	"fmt"
	"strings"
	"time"

	"tract"
)

// signingKeyKept is how long a key stays after it retired.
const signingKeyKept = 24 * time.Hour

// Token is a client's static token. Only its hash is kept.
type Token struct {
	ID        string
	Client    int64
	Name      string
	Hash      string // of the token, hex
	Scopes    []string
	CreatedAt time.Time
	ExpiresAt time.Time // zero = never
	RevokedAt time.Time
}

// Valid says whether the token may be used at an instant.
func (t Token) Valid(now time.Time) bool {
	return t.RevokedAt.IsZero() && (t.ExpiresAt.IsZero() || now.Before(t.ExpiresAt))
}

const tokenColumns = `id, client, name, hash, scopes, created_at, expires_at, revoked_at`

func readToken(r row, t *Token) error {
	return r.Scan(&t.ID, &t.Client, &t.Name, &t.Hash, js(&t.Scopes), at(&t.CreatedAt), at(&t.ExpiresAt), at(&t.RevokedAt))
}

// InsertToken adds a token; a revoked one of the same name makes room. inserted
// is false when the client has a token of that name or the value is in use.
func (tx *Tx) InsertToken(t Token) (inserted bool, err error) {
	if err := tx.exec(`delete from tokens where client = $1 and name = $2 and revoked_at > 0`, t.Client, t.Name); err != nil {
		return false, err
	}
	n, err := tx.count(`insert into tokens (`+tokenColumns+`) values ($1, $2, $3, $4, $5, $6, $7, 0) on conflict do nothing`,
		t.ID, t.Client, t.Name, t.Hash, toJSON(t.Scopes), tx.Now, t.ExpiresAt)
	return n == 1, err
}

// DeleteToken removes a client's token by name, so that another may take its
// place; a missing one is fine.
func (tx *Tx) DeleteToken(client int64, name string) error {
	if err := tx.exec(`delete from tokens where client = $1 and name = $2`, client, name); err != nil {
		return err
	}
	return tx.BumpConfig(client)
}

// RevokeToken makes a client's token void at once. revoked is false when there
// is no such token in force.
func (tx *Tx) RevokeToken(client int64, name string) (revoked bool, err error) {
	n, err := tx.count(`update tokens set revoked_at = $3 where client = $1 and name = $2 and revoked_at = 0`, client, name, tx.Now)
	if err != nil || n == 0 {
		return false, err
	}
	return true, tx.BumpConfig(client)
}

// ListTokens returns a client's tokens by name, revoked ones included.
func (tx *Tx) ListTokens(client int64) (out []Token, err error) {
	err = tx.each(func(r row) error {
		var t Token
		err := readToken(r, &t)
		out = append(out, t)
		return err
	}, `select `+tokenColumns+` from tokens where client = $1 order by name`, client)
	return out, err
}

// TokenByHash finds a token, valid or not; found is false when there is none.
func (tx *Tx) TokenByHash(hash string) (t Token, found bool, err error) {
	err = tx.each(func(r row) error { found = true; return readToken(r, &t) }, `select `+tokenColumns+` from tokens where hash = $1`, hash)
	return t, found, err
}

// ClientAndToken reads in one trip what proves a client's call. A missing client
// has key 0, a missing token no id. version is that of the client's configuration.
func (tx *Tx) ClientAndToken(clientID, hash string) (c tract.Client, version int64, t Token, err error) {
	var key int64
	err = tx.many(
		query{`select key, version, body from clients where id = $1`, []any{clientID}, func(r row) error { return r.Scan(&key, &version, js(&c)) }},
		query{`select ` + tokenColumns + ` from tokens where hash = $1`, []any{hash}, func(r row) error { return readToken(r, &t) }},
	)
	c.Key = key
	return c, version, t, err
}

// InsertCertificate lists a tool's certificate under its UUID. inserted is false
// when the client has listed that UUID before, revoked or not.
func (tx *Tx) InsertCertificate(c tract.Certificate) (inserted bool, err error) {
	n, err := tx.count(`insert into certificates (uuid, client, tool, pem, created_at, revoked_at) values ($1, $2, $3, $4, $5, 0) on conflict (uuid, client) do nothing`,
		strings.ToLower(c.UUID), c.Client, string(c.Tool), c.PEM, tx.Now)
	return n == 1, err
}

const certificateColumns = `uuid, client, tool, pem, created_at, revoked_at`

func (tx *Tx) certificates(where string, args ...any) (out []tract.Certificate, err error) {
	err = tx.each(func(r row) error {
		var c tract.Certificate
		err := r.Scan(&c.UUID, &c.Client, &c.Tool, &c.PEM, at(&c.CreatedAt), at(&c.RevokedAt))
		out = append(out, c)
		return err
	}, `select `+certificateColumns+` from certificates where `+where, args...)
	return out, err
}

// Certificates finds a UUID at every client that lists it, revoked or not: one
// certificate may serve several clients.
func (tx *Tx) Certificates(uuid string) ([]tract.Certificate, error) {
	return tx.certificates(`uuid = $1 order by client`, strings.ToLower(uuid))
}

// ListCertificates returns a client's certificates, oldest first.
func (tx *Tx) ListCertificates(client int64) ([]tract.Certificate, error) {
	return tx.certificates(`client = $1 order by created_at, uuid`, client)
}

// RevokeCertificate makes a certificate void for one client. revoked is false
// when it lists no such certificate in force.
func (tx *Tx) RevokeCertificate(client int64, uuid string) (revoked bool, err error) {
	n, err := tx.count(`update certificates set revoked_at = $3 where client = $1 and uuid = $2 and revoked_at = 0`, client, strings.ToLower(uuid), tx.Now)
	return n == 1, err
}

// SigningKey signs the tools' tokens.
type SigningKey struct {
	KID       string
	Sealed    string
	Public    []byte
	CreatedAt time.Time
	RetiredAt time.Time // tokens are accepted until then; zero = it signs
}

// LockSigningKeys makes whoever else changes the keys wait for this transaction.
func (tx *Tx) LockSigningKeys() error {
	return tx.SetMeta("signing_keys_at", fmt.Sprint(micros(tx.Now)))
}

// InsertSigningKey adds a key; call LockSigningKeys first.
func (tx *Tx) InsertSigningKey(k SigningKey) error {
	return tx.exec(`insert into signing_keys (kid, sealed, public, created_at, retired_at) values ($1, $2, $3, $4, 0)`, k.KID, k.Sealed, k.Public, tx.Now)
}

// ListSigningKeys returns the keys, newest first, retired ones included.
func (tx *Tx) ListSigningKeys() (out []SigningKey, err error) {
	err = tx.each(func(r row) error {
		var k SigningKey
		err := r.Scan(&k.KID, &k.Sealed, &k.Public, at(&k.CreatedAt), at(&k.RetiredAt))
		out = append(out, k)
		return err
	}, `select kid, sealed, public, created_at, retired_at from signing_keys order by retired_at > 0, created_at desc, kid`)
	return out, err
}

// RetireSigningKey ends a key's use: its tokens are void from an instant on.
// Whatever was concluded from it under a configuration version is void, too.
func (tx *Tx) RetireSigningKey(kid string, from time.Time) error {
	if err := tx.exec(`update signing_keys set retired_at = $2 where kid = $1`, kid, from); err != nil {
		return err
	}
	return tx.exec(`update clients set version = version + 1`)
}

// TokenCutoff is the instant up to which a tool's tokens are void; zero when
// they never were revoked.
func (tx *Tx) TokenCutoff(client int64, tool tract.ReceiverID) (cutoff time.Time, err error) {
	_, err = tx.one([]any{at(&cutoff)}, `select not_before from token_cutoffs where client = $1 and tool = $2`, client, string(tool))
	return cutoff, err
}

// SetTokenCutoff makes void every token a tool was given up to now. Instants in
// tokens are whole seconds, and the first one after a cutoff is dated into the
// next: so a second cutoff lies at least a second behind the one before.
func (tx *Tx) SetTokenCutoff(client int64, tool tract.ReceiverID) error {
	if err := tx.exec(`insert into token_cutoffs (client, tool, not_before) values ($1, $2, $3)
		on conflict (client, tool) do update set not_before = case when excluded.not_before > token_cutoffs.not_before + 1000000 then excluded.not_before else token_cutoffs.not_before + 1000000 end`,
		client, string(tool), tx.Now); err != nil {
		return err
	}
	return tx.BumpConfig(client)
}

// Standing is what decides whether a tool's token still counts.
type Standing struct {
	Client       tract.Client
	Version      int64 // of the client's configuration
	Tool         tract.Tool
	Cutoff       time.Time
	KeyRetiredAt time.Time
}

// Standing reads where a tool stands, in one trip; found is false when the
// client, the tool or the key does not exist.
func (tx *Tx) Standing(clientID string, tool tract.ReceiverID, kid string) (st Standing, found bool, err error) {
	var key int64
	found, err = tx.one([]any{&key, &st.Version, js(&st.Client), js(&st.Tool), at(&st.Cutoff), at(&st.KeyRetiredAt)},
		`select c.key, c.version, c.body, g.body, coalesce(t.not_before, 0), k.retired_at
		from clients c join config g on g.client = c.key and g.kind = 'tool' and g.id = $2 join signing_keys k on k.kid = $3
		left join token_cutoffs t on t.client = c.key and t.tool = g.id where c.id = $1`, clientID, string(tool), kid)
	st.Client.Key = key
	return st, found, err
}

// InsertReplay notes that a signed body was used. fresh is false when it was
// noted before and the note has not expired.
func (tx *Tx) InsertReplay(digest []byte, expires time.Time) (fresh bool, err error) {
	n, err := tx.count(`insert into replays (digest, expires_at) values ($1, $2)
		on conflict (digest) do update set expires_at = excluded.expires_at where replays.expires_at <= $3`, digest, expires, tx.Now)
	return n == 1, err
}

// DeleteExpired removes up to limit used bodies that are too old, and signing
// keys long retired. It returns how many rows went.
func (tx *Tx) DeleteExpired(limit int) (deleted int64, err error) {
	for _, q := range []struct {
		sql  string
		args []any
	}{
		{`delete from replays where digest in (select digest from replays where expires_at <= $1 order by expires_at limit $2)`, []any{tx.Now, limit}},
		{`delete from signing_keys where retired_at > 0 and retired_at <= $1`, []any{tx.Now.Add(-signingKeyKept)}},
	} {
		n, err := tx.count(q.sql, q.args...)
		if err != nil {
			return deleted, err
		}
		deleted += n
	}
	return deleted, nil
}

// DeleteMeta removes a value of the store itself if it still is what the caller
// read: of several who try, one is told that it was the one.
func (tx *Tx) DeleteMeta(key, value string) (deleted bool, err error) {
	n, err := tx.count(`delete from meta where key = $1 and value = $2`, key, value)
	return n == 1, err
}
