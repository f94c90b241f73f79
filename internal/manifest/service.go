package manifest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"tract"
	"tract/internal/store"
)

// Config is what a Service works with. All functions are needed.
type Config struct {
	Store *store.Store

	Seal func(plain []byte, context string) (string, error)
	Open func(sealed, context string) ([]byte, error)

	HashPassword  func(ctx context.Context, password string) (string, error)
	CheckPassword func(ctx context.Context, hash, password string) (bool, error)
	NewToken      func() (string, error)
	HashToken     func(token string) string
	NewUUID       func() (string, error)

	// CheckURL says whether a channel's webhook may be called.
	CheckURL func(raw string) error
	// CheckCertificate says whether a certificate can prove the tool of an
	// FQDN now; what it finds is a warning.
	CheckCertificate func(pem []byte, fqdn string, now time.Time) error
	// CheckFAQ and LoadFAQ read a bot's FAQ file; their errors name the row.
	// LoadFAQ stores the steps with the file's sha256 in hex as their hash.
	CheckFAQ func(csv []byte) error
	LoadFAQ  func(ctx context.Context, client int64, domain string, csv []byte) error
}

// Service compares files with the store, applies and writes them.
type Service struct{ cfg Config }

// New makes a Service.
func New(cfg Config) *Service { return &Service{cfg} }

// Flags say how to apply a file.
type Flags struct {
	DryRun bool   // only say what would change
	Prune  bool   // also remove what the file does not name
	Actor  string // for the audit trail
}

// Change is one difference between a file and the store. It holds no secrets.
type Change struct {
	Op      string   `json:"op"`   // + | ~ | -
	Path    string   `json:"path"` // client, or client/kind/id
	Details []string `json:"details,omitempty"`
}

// String is "~ acme/team/Support: delay_after 1m0s → 2m0s".
func (c Change) String() string {
	out := c.Op + " " + c.Path
	if len(c.Details) > 0 {
		out += ": " + strings.Join(c.Details, ", ")
	}
	return out
}

// Secret was made while applying and is shown this once.
type Secret struct {
	What  string `json:"what"`
	Value string `json:"value"`
}

// Result is what applying did.
type Result struct {
	Changes   []Change `json:"changes"`
	Generated []Secret `json:"generated"`
	Warnings  []string `json:"warnings"`
}

// ErrMoved is a configuration that somebody else kept changing meanwhile.
var ErrMoved = &tract.Error{Kind: tract.KindConflict, Code: "configuration_moved", Msg: "the configuration was changed at the same time; apply again"}

const tries = 3

// Check finds what Parse cannot: addresses that may not be called and FAQ files
// that cannot be read.
func (s *Service) Check(f *File) error {
	bad := &problems{file: f.name}
	for _, c := range f.clients {
		for _, b := range c.businesses {
			if b.external != nil {
				if err := s.cfg.CheckURL(b.external.body.URL); err != nil {
					bad.add(b.external.place("url"), "%v", err)
				}
			}
			for _, ch := range b.channels {
				if ch.platform != platformWebhook {
					continue
				}
				if err := s.cfg.CheckURL(ch.url); err != nil {
					bad.add(ch.place("url"), "%v", err)
				}
			}
		}
		for _, b := range c.bots {
			if b.faq == nil {
				continue
			}
			if err := s.cfg.CheckFAQ(b.faq.content); err != nil {
				bad.add(b.faq.at, "%s: %v", b.faq.path, err)
			}
		}
	}
	return bad.err()
}

// Plan says what Apply would change.
func (s *Service) Plan(ctx context.Context, f *File, prune bool) ([]Change, error) {
	r, err := s.Apply(ctx, f, Flags{DryRun: true, Prune: prune})
	return r.Changes, err
}

// Apply makes the store match the file, in one transaction but for FAQ files,
// which are loaded afterwards. When one of them fails the rest stands: the
// result says what was done, with the error.
func (s *Service) Apply(ctx context.Context, f *File, flags Flags) (Result, error) {
	if err := s.Check(f); err != nil {
		return Result{}, err
	}
	for try := 1; ; try++ {
		r, err := s.apply(ctx, f, flags)
		if try == tries || !errors.Is(err, ErrMoved) {
			return r, err
		}
	}
}

func (s *Service) apply(ctx context.Context, f *File, flags Flags) (Result, error) {
	passwords, err := s.passwords(ctx, f, flags.DryRun)
	if err != nil {
		return Result{}, err
	}
	var p *planner
	look := func(tx *store.Tx) error {
		p = &planner{cfg: &s.cfg, tx: tx, f: f, flags: flags, passwords: passwords, bad: &problems{file: f.name}}
		return p.plan()
	}
	if err := s.cfg.Store.View(ctx, look); err != nil {
		return Result{}, err
	}
	if flags.DryRun {
		return p.result(true), nil
	}
	if len(p.steps) > 0 {
		err := s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
			if err := lock(tx); err != nil {
				return err
			}
			if err := look(tx); err != nil {
				return err
			}
			return p.run()
		})
		if err != nil {
			return Result{}, err
		}
	}
	r := p.result(false)
	for _, l := range p.loads {
		if err := s.load(ctx, f, l, flags.Actor); err != nil {
			return r, err
		}
		r.Changes = append(r.Changes, l.change)
	}
	return r, nil
}

// load loads one FAQ file and notes it.
func (s *Service) load(ctx context.Context, f *File, l *faqLoad, actor string) error {
	if err := s.cfg.LoadFAQ(ctx, l.t.key, l.domain, l.file.content); err != nil {
		bad := &problems{file: f.name}
		bad.add(l.file.at, "%s: %v", l.file.path, err)
		return bad.err()
	}
	return s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		return audit(tx, l.t, actor, l.change)
	})
}

// passwords settles before any transaction which agents get a new hash, because
// hashing is slow on purpose.
func (s *Service) passwords(ctx context.Context, f *File, dry bool) (map[string]password, error) {
	stored := map[string]string{}
	err := s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		for _, c := range f.clients {
			known, err := tx.Client(c.body.ID)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			docs, err := tx.ListDocuments(known.Key)
			if err != nil {
				return err
			}
			for _, d := range docs {
				var a tract.AgentAccount
				if d.Kind == store.KindAgent && json.Unmarshal(d.Body, &a) == nil {
					stored[agentKey(c, d.ID)] = a.PasswordHash
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := map[string]password{}
	bad := &problems{file: f.name}
	for _, c := range f.clients {
		for _, a := range c.agents {
			if a.password == nil {
				continue
			}
			key := agentKey(c, a.body.Email)
			p := password{seen: stored[key], hash: stored[key]}
			fits := false
			if p.seen != "" {
				if fits, err = s.cfg.CheckPassword(ctx, p.seen, *a.password); err != nil {
					return nil, fmt.Errorf("check a password: %w", err)
				}
			}
			switch {
			case fits:
			case dry:
				p.hash = "(new)"
			default:
				if p.hash, err = s.cfg.HashPassword(ctx, *a.password); err != nil {
					bad.add(a.place("password"), "%v", err)
				}
			}
			out[key] = p
		}
	}
	return out, bad.err()
}

// password is what was decided about an agent's password.
type password struct {
	seen string // the hash that was stored then
	hash string // what is to be stored
}

func agentKey(c *client, email string) string { return c.body.ID + "/" + email }

func fileHash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// audit notes a change.
func audit(tx *store.Tx, t *tenant, actor string, c Change) error {
	action := map[string]string{"+": "configuration_added", "~": "configuration_changed", "-": "configuration_removed"}[c.Op]
	details := c.Details
	if details == nil {
		details = []string{}
	}
	return tx.InsertAudit(t.key, actor, action, c.Path, map[string]any{"changes": details})
}
