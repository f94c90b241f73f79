package server

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"net/mail"
	"strings"

	"tract"
	"tract/internal/auth"
	"tract/internal/store"
)

// administratorKey is where the store keeps the first administrator.
const administratorKey = "administrator"

// Administrator is who administers the server, made through the one-time link.
type Administrator struct {
	Email        string `json:"email"`
	Name         string `json:"name"`
	PasswordHash string `json:"password_hash"`
	TokenHash    string `json:"token_hash"`
}

// SetupLink makes the path of the page that creates the first administrator; ""
// when there is one.
func (s *Server) SetupLink(ctx context.Context) (string, error) {
	known := ""
	if err := s.Store.View(ctx, func(tx *store.Tx) (err error) { known, err = tx.Meta(administratorKey); return err }); err != nil || known != "" {
		return "", err
	}
	secret, err := s.Auth.AdminLink(ctx)
	return "/setup?token=" + secret, err
}

// errSetup is a link that does not work (any more).
var errSetup = &tract.Error{Kind: tract.KindForbidden, Code: "invalid_setup_link", Msg: "this link is older than a day, or a later start of the server has printed another; open the newest one, or start the server again"}

// notByLink says why a link does not work.
func notByLink(tx *store.Tx) error {
	known, err := tx.Meta(administratorKey)
	if err == nil && known != "" {
		return errSetup.With("this link was used: the server has its administrator")
	}
	if err != nil {
		return err
	}
	return errSetup
}

// CheckSetupLink refuses a link that would not make an administrator.
func (s *Server) CheckSetupLink(ctx context.Context, link string) error {
	return s.Store.View(ctx, func(tx *store.Tx) error {
		ok, err := s.Auth.AdminLinkWorks(tx, link)
		if err == nil && !ok {
			err = notByLink(tx)
		}
		return err
	})
}

// CreateAdministrator redeems the link and returns the administrator's token,
// which is shown once.
func (s *Server) CreateAdministrator(ctx context.Context, link, email, name, password string) (token string, err error) {
	if a, err := mail.ParseAddress(email); err != nil || a.Address != email {
		return "", tract.Invalid("field_value", "the e-mail address is not one")
	}
	if len(password) < 12 || len(password) > 256 {
		return "", tract.Invalid("field_value", "the password must have 12 to 256 characters")
	}
	if strings.TrimSpace(name) == "" || len(name) > 128 {
		return "", tract.Invalid("field_value", "the name must have 1 to 128 characters")
	}
	hash, err := s.Auth.HashPassword(ctx, password)
	if err != nil {
		return "", err
	}
	if token, err = auth.RandomToken(); err != nil {
		return "", err
	}
	body, err := json.Marshal(Administrator{Email: email, Name: strings.TrimSpace(name), PasswordHash: hash, TokenHash: auth.HashToken(token)})
	if err != nil {
		return "", err
	}
	return token, s.Store.Update(ctx, func(tx *store.Tx) error {
		ok, err := s.Auth.RedeemAdminLink(tx, link)
		if err != nil {
			return err
		}
		if !ok {
			return notByLink(tx)
		}
		if err := tx.InsertAudit(0, email, "administrator_created", email, struct{}{}); err != nil {
			return err
		}
		return tx.SetMeta(administratorKey, string(body))
	})
}

// administrator says whether a token is that of the administrator made through
// the link, and who that is.
func (s *Server) administrator(ctx context.Context, token string) (email string, ok bool) {
	var a Administrator
	err := s.Store.View(ctx, func(tx *store.Tx) error {
		v, err := tx.Meta(administratorKey)
		if err != nil || v == "" {
			return err
		}
		return json.Unmarshal([]byte(v), &a)
	})
	return a.Email, err == nil && a.TokenHash != "" && subtle.ConstantTimeCompare([]byte(a.TokenHash), []byte(auth.HashToken(token))) == 1
}
