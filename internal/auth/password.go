package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"tract"
	"tract/internal/store"
)

// The cost of a new password: Argon2id as OWASP advises.
const (
	argonMemory  = 19 << 10 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16
	argonKey     = 32

	minPassword = 8
	maxPassword = 256

	// Bounds of what is computed for a stored hash.
	maxArgonMemory = 256 << 10
	maxArgonTime   = 16
)

const (
	adminLinkKey  = "admin_link"
	adminLinkLife = 24 * time.Hour
)

// HashPassword gives the text to store for an agent's password: hash, salt and
// cost in the usual encoding.
func HashPassword(random io.Reader, password string) (string, error) {
	if len(password) < minPassword || len(password) > maxPassword {
		return "", tract.Invalid("password_length", "a password has %d to %d characters", minPassword, maxPassword)
	}
	salt := make([]byte, argonSalt)
	if _, err := io.ReadFull(random, salt); err != nil {
		return "", fmt.Errorf("make a salt: %w", err)
	}
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key)), nil
}

// CheckPassword says whether a password fits a stored text. With "" for an
// account that does not exist it takes as long and is false. Few run at a time;
// the others wait.
func (s *Service) CheckPassword(ctx context.Context, stored, password string) (bool, error) {
	select {
	case s.hashing <- struct{}{}:
		defer func() { <-s.hashing }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	h, ok := parseHash(stored)
	if !ok {
		h = argonHash{memory: argonMemory, time: argonTime, threads: argonThreads, salt: make([]byte, argonSalt), key: make([]byte, argonKey)}
	}
	if len(password) > maxPassword {
		password, ok = "", false
	}
	key := argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(key, h.key) == 1 && ok, nil
}

type argonHash struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

func parseHash(stored string) (h argonHash, ok bool) {
	parts := strings.Split(stored, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return h, false
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.threads); n != 3 || err != nil {
		return h, false
	}
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.DecodeString(parts[4])
	h.key, err2 = base64.RawStdEncoding.DecodeString(parts[5])
	return h, err1 == nil && err2 == nil && len(h.salt) >= 8 && len(h.key) >= 16 && len(h.key) <= 64 &&
		h.memory <= maxArgonMemory && h.time >= 1 && h.time <= maxArgonTime && h.threads >= 1
}

// IsAdmin says whether a token is the operator's.
func (s *Service) IsAdmin(token string) bool {
	given, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(s.adminToken.Reveal()))
	return subtle.ConstantTimeCompare(given[:], want[:]) == 1 && s.adminToken != ""
}

// AdminLink makes the one-time secret with which the first administrator is
// created, good for a day. It replaces an earlier one.
func (s *Service) AdminLink(ctx context.Context) (secret string, err error) {
	if secret, err = randomText(s.rand); err != nil {
		return "", err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		return tx.SetMeta(adminLinkKey, fmt.Sprintf("%s %d", HashToken(secret), tx.Now.Add(adminLinkLife).Unix()))
	})
	return secret, err
}

// RedeemAdminLink takes the one-time secret in the transaction that creates the
// administrator. ok is false when it is wrong, used or too old.
func (s *Service) RedeemAdminLink(tx *store.Tx, secret string) (ok bool, err error) {
	kept, err := adminLink(tx, secret)
	if err != nil || kept == "" {
		return false, err
	}
	return tx.DeleteMeta(adminLinkKey, kept)
}

// AdminLinkWorks says whether the one-time secret can still be redeemed.
func (s *Service) AdminLinkWorks(tx *store.Tx, secret string) (bool, error) {
	kept, err := adminLink(tx, secret)
	return kept != "", err
}

// adminLink is what is stored of the secret; "" when it does not work.
func adminLink(tx *store.Tx, secret string) (kept string, err error) {
	if kept, err = tx.Meta(adminLinkKey); err != nil {
		return "", err
	}
	hash, until, _ := strings.Cut(kept, " ")
	end, perr := strconv.ParseInt(until, 10, 64)
	if perr != nil || tx.Now.Unix() >= end || subtle.ConstantTimeCompare([]byte(hash), []byte(HashToken(secret))) != 1 {
		return "", nil
	}
	return kept, nil
}
