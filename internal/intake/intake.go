// Package intake is the front door of the channels: it says who a user is,
// appends what the user wrote, and drops what was taken in before.
//
// It must not know how the platforms talk (channel packages parse) nor what a
// message leads to (package conversation). Invariant: what it answers with
// success is committed.
package intake

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"tract"
	"tract/internal/conversation"
	"tract/internal/store"
)

// Errors of the front door. The texts are the documented ones.
var (
	ErrNotRegistered    = &tract.Error{Kind: tract.KindForbidden, Code: "user_not_registered", Msg: "user is not registered"}
	ErrInvalidBusiness  = tract.Invalid("invalid_business", "invalid business_id provided")
	ErrInactiveBusiness = tract.Invalid("business_inactive", "the business is inactive")
	ErrNoReceiver       = &tract.Error{Kind: tract.KindUnavailable, Code: "no_default_receiver", Msg: "the message is stored, but nobody is configured to answer it: the business has no default receiver"}
)

// Service takes messages in.
type Service struct {
	Conversation *conversation.Service
	Rand         io.Reader // for user names; crypto/rand by default
}

// UserInput is what a channel says of a user. A nil field is not mentioned.
type UserInput struct {
	AuthID       string
	Name         *string
	Email        *string
	MobileNo     *string
	LanguageCode *string
	PhoneModel   *string
	OSVersion    *string
	PackageName  *string
	Custom       map[string]any
}

// mostText bounds a text field of a user, in bytes.
const mostText = 1024

// CheckAuthID refuses what cannot be a client's identifier of a user.
func CheckAuthID(id string) error {
	switch {
	case id == "":
		return tract.Invalid("field_missing", "auth_id is missing")
	case len(id) > 128:
		return tract.Invalid("field_value", "auth_id is longer than 128 bytes")
	case strings.ContainsFunc(id, unicode.IsControl):
		return tract.Invalid("field_value", "auth_id holds a control character")
	}
	return nil
}

// PutUser creates a user or updates what is mentioned of it. With create false
// the user must exist.
func (s *Service) PutUser(tx *store.Tx, client int64, in UserInput, create bool) (store.User, error) {
	if err := check(in); err != nil {
		return store.User{}, err
	}
	u, err := tx.LockUserByAuthID(client, in.AuthID)
	switch {
	case err == nil:
	case tract.KindOf(err) != tract.KindNotFound:
		return u, err
	case !create:
		return u, ErrNotRegistered
	default:
		if u, err = s.newUser(client, in.AuthID); err != nil {
			return u, err
		}
	}
	d := &u.Details
	for dest, v := range map[*string]*string{&d.Name: in.Name, &d.Email: in.Email, &d.MobileNo: in.MobileNo, &d.LanguageCode: in.LanguageCode, &d.PhoneModel: in.PhoneModel, &d.OSVersion: in.OSVersion, &d.PackageName: in.PackageName} {
		if v != nil {
			*dest = *v
		}
	}
	d.Name = cleanName(d.Name)
	if in.Custom != nil {
		d.Custom = in.Custom
	}
	return tx.PutUser(u)
}

func (s *Service) newUser(client int64, authID string) (store.User, error) {
	source := s.Rand
	if source == nil {
		source = rand.Reader
	}
	var b [10]byte
	if _, err := io.ReadFull(source, b[:]); err != nil {
		return store.User{}, fmt.Errorf("make a user name: %w", err)
	}
	return store.User{Client: client, AuthID: authID, UserName: strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))}, nil
}

func check(in UserInput) error {
	if err := CheckAuthID(in.AuthID); err != nil {
		return err
	}
	for name, v := range map[string]*string{"name": in.Name, "email": in.Email, "mobile_no": in.MobileNo, "phone_model": in.PhoneModel, "os_version": in.OSVersion, "package_name": in.PackageName} {
		if v != nil && len(*v) > mostText {
			return tract.Invalid("field_value", "%s is longer than %d bytes", name, mostText)
		}
	}
	if c := in.LanguageCode; c != nil && *c != "" && !languageCode(*c) {
		return tract.Invalid("field_value", "language_code must be an ISO 639-1 code such as en")
	}
	for k, v := range in.Custom {
		switch v.(type) {
		case map[string]any, []any:
			return tract.Invalid("field_value", "custom_data.%s must not be an object or array: custom_data is flat", k)
		}
	}
	return nil
}

func languageCode(c string) bool {
	base, _, _ := strings.Cut(c, "-")
	return len(base) == 2 && strings.IndexFunc(base, func(r rune) bool { return r < 'a' || r > 'z' }) < 0 && len(c) <= 16
}

// cleanName drops what would turn other text around.
func cleanName(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s))
}

// Message is one message of a user.
type Message struct {
	Client   int64
	Business int64
	AuthID   string
	Platform int
	Body     string // HSL
	Type     int
	Hold     time.Duration // keep the bot's replies for a caller that waits
	// Check says, with the version of the client's configuration, whether the
	// caller still may; nil asks nobody.
	Check func(tx *store.Tx, version int64) error
}

// Thread is the thread that a message will probably go to, so that calls for it
// can wait for each other before they take a connection; 0 = not known yet.
func (s *Service) Thread(m Message) int64 {
	return s.Conversation.Remembered(m.Client, m.Business, m.AuthID)
}

// errStranger says that a remembered thread is not that user's any more.
var errStranger = errors.New("intake: another user's thread")

// Append takes a message in. The result is to be committed also when its
// message found no receiver: then Orphaned is set and the caller says so with
// ErrNoReceiver.
func (s *Service) Append(tx *store.Tx, m Message) (*conversation.Result, error) {
	if thread := s.Thread(m); thread != 0 {
		res, err := s.apply(tx, thread, m)
		if !errors.Is(err, errStranger) && tract.KindOf(err) != tract.KindNotFound {
			return res, err
		}
	}
	u, err := tx.UserByAuthID(m.Client, m.AuthID)
	if tract.KindOf(err) == tract.KindNotFound {
		return nil, ErrNotRegistered
	}
	if err != nil {
		return nil, err
	}
	cfg, err := s.Conversation.Config(tx, m.Client)
	if err != nil {
		return nil, err
	}
	if err := takes(cfg, m.Business); err != nil {
		return nil, err
	}
	thread, err := s.Conversation.Open(tx, m.Client, m.Business, u.ID, m.Platform)
	if err == nil && thread == 0 { // the user was erased just now
		err = ErrNotRegistered
	}
	if err != nil {
		return nil, err
	}
	s.Conversation.Remember(m.Client, m.Business, m.AuthID, thread)
	return s.apply(tx, thread, m)
}

func (s *Service) apply(tx *store.Tx, thread int64, m Message) (*conversation.Result, error) {
	check := func(tx *store.Tx, l *store.Locked, c *tract.Config) error {
		if l.Client != m.Client || l.Business != m.Business || l.User.AuthID != m.AuthID {
			return errStranger
		}
		if err := takes(c, m.Business); err != nil || m.Check == nil {
			return err
		}
		return m.Check(tx, l.ConfigVersion)
	}
	return s.Conversation.Apply(tx, thread, tract.UserMessage{Body: m.Body, MessageType: m.Type}, conversation.Options{Hold: m.Hold, Check: check})
}

// takes says whether a business takes messages.
func takes(c *tract.Config, business int64) error {
	b := c.Businesses[business]
	switch {
	case b == nil:
		return ErrInvalidBusiness
	case !b.Active:
		return ErrInactiveBusiness.With("business \"%d\" is inactive", business)
	}
	return nil
}

// Replies waits for the bot's replies to a message that was appended with a
// hold. What it returns will not be sent to the channel; what is not there in
// time will.
func (s *Service) Replies(ctx context.Context, res *conversation.Result) ([]store.Entry, error) {
	if res.Turn == nil {
		return nil, nil
	}
	turn := *res.Turn
	changed, stop := s.Conversation.Watch(turn.Thread)
	defer stop()
	// Another replica may answer the turn: then nothing wakes us.
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		settled, err := s.settled(ctx, turn)
		if err != nil {
			return nil, err
		}
		if settled {
			return s.take(ctx, turn, res.Config.Channels[turn.Business], res.Entries[len(res.Entries)-1].ID)
		}
		select {
		case <-changed:
		case <-again.C:
		case <-ctx.Done():
			return nil, nil
		}
	}
}

func (s *Service) settled(ctx context.Context, t conversation.Turn) (done bool, err error) {
	err = s.Conversation.Store.View(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		l, ok, err := tx.Lane(t.Lane)
		done = ok && l.Done >= t.Seq
		return err
	})
	return done, err
}

// take claims the held replies; without a channel webhook nothing was held and
// they are read from the log.
func (s *Service) take(ctx context.Context, t conversation.Turn, channel int64, after tract.MessageID) (out []store.Entry, err error) {
	err = s.Conversation.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		out = nil
		if channel == 0 {
			es, err := tx.ListEntries(t.Thread, after, 100)
			for _, e := range es {
				if e.Event == "" && e.By == tract.IVA {
					out = append(out, e)
				}
			}
			return err
		}
		held, err := tx.TakeHeld(store.LaneKey{Thread: t.Thread, Endpoint: channel}, t.HoldUntil)
		if err != nil {
			return err
		}
		for _, d := range held {
			e, err := tx.Entry(d.Entry)
			if err != nil {
				return err
			}
			out = append(out, e)
		}
		return nil
	})
	return out, err
}
