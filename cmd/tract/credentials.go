package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"tract"
	"tract/internal/auth"
	"tract/internal/manifest"
	"tract/internal/store"
)

// held explains why a command cannot work beside a running SQLite server.
func held(err error) error {
	if errors.Is(err, store.ErrBusy) {
		return fmt.Errorf("%w; or put the change into the declarative file and use tract apply --server", err)
	}
	return err
}

// onClient runs a command on the store for one client.
func (s *Settings) onClient(ctx context.Context, c *console, id string, fn func(*auth.Service, *store.Store, tract.Client) error) error {
	return held(s.offline(ctx, c, func(_ *manifest.Service, a *auth.Service, st *store.Store) error {
		var client tract.Client
		if err := st.View(ctx, func(tx *store.Tx) (err error) { client, err = tx.Client(id); return err }); err != nil {
			return err
		}
		return fn(a, st, client)
	}))
}

func table(w io.Writer, rows ...[]string) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	t.Flush()
}

func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format("2006-01-02 15:04")
}

type tokenCmd struct {
	Create tokenCreate `cmd:"" help:"Create a token of a client and print it once."`
	List   tokenList   `cmd:"" help:"List the tokens of a client."`
	Revoke tokenRevoke `cmd:"" help:"Revoke a token; it stops working at once."`
}

type tokenCreate struct {
	Client  string        `required:"" help:"The client's id."`
	Name    string        `arg:"" help:"A name for the token."`
	Scopes  []string      `help:"transfer, transcripts, faq, delivery; all by default." sep:","`
	Expires time.Duration `help:"How long it is good for; for ever by default."`
}

func (t *tokenCreate) Run(ctx context.Context, s *Settings, c *console) error {
	return s.onClient(ctx, c, t.Client, func(a *auth.Service, _ *store.Store, client tract.Client) error {
		n := auth.NewToken{Client: client.Key, Name: t.Name, Scopes: t.Scopes}
		if t.Expires > 0 {
			n.ExpiresAt = instant().Add(t.Expires)
		}
		value, err := a.CreateToken(ctx, n)
		if err != nil {
			return err
		}
		c.say("%s", value)
		fmt.Fprintln(c.errs, "This is the only time the token is shown.")
		return nil
	})
}

type tokenList struct {
	Client string `required:"" help:"The client's id."`
}

func (t *tokenList) Run(ctx context.Context, s *Settings, c *console) error {
	return s.onClient(ctx, c, t.Client, func(_ *auth.Service, st *store.Store, client tract.Client) error {
		rows := [][]string{{"NAME", "SCOPES", "CREATED", "EXPIRES", "REVOKED"}}
		err := st.View(ctx, func(tx *store.Tx) error {
			ts, err := tx.ListTokens(client.Key)
			for _, k := range ts {
				rows = append(rows, []string{k.Name, strings.Join(k.Scopes, ","), day(k.CreatedAt), day(k.ExpiresAt), day(k.RevokedAt)})
			}
			return err
		})
		table(c.out, rows...)
		return err
	})
}

type tokenRevoke struct {
	Client string `required:"" help:"The client's id."`
	Name   string `arg:"" help:"The token's name."`
}

func (t *tokenRevoke) Run(ctx context.Context, s *Settings, c *console) error {
	return s.onClient(ctx, c, t.Client, func(_ *auth.Service, st *store.Store, client tract.Client) error {
		return st.Update(ctx, func(tx *store.Tx) error {
			ok, err := tx.RevokeToken(client.Key, t.Name)
			if err == nil && !ok {
				err = fmt.Errorf("client %s has no token %q in force", t.Client, t.Name)
			}
			return err
		})
	})
}

type certCmd struct {
	Add    certAdd    `cmd:"" help:"Register a tool's self-signed certificate and print its UUID."`
	List   certList   `cmd:"" help:"List the certificates of a client's tools."`
	Revoke certRevoke `cmd:"" help:"Revoke a certificate; no more tokens are issued for it."`
}

type certAdd struct {
	Client string `required:"" help:"The client's id."`
	Tool   string `required:"" help:"The tool's id."`
	File   string `arg:"" type:"existingfile" help:"PEM file with one certificate."`
	UUID   string `help:"The UUID to register it under; made by default." name:"uuid"`
}

func (t *certAdd) Run(ctx context.Context, s *Settings, c *console) error {
	pem, err := os.ReadFile(t.File)
	if err != nil {
		return err
	}
	id := uuid.New()
	if t.UUID != "" {
		if id, err = uuid.Parse(t.UUID); err != nil {
			return fmt.Errorf("--uuid: %w", err)
		}
	}
	return s.onClient(ctx, c, t.Client, func(_ *auth.Service, st *store.Store, client tract.Client) error {
		return st.Update(ctx, func(tx *store.Tx) error {
			cfg, err := tx.Config(client.Key)
			if err != nil {
				return err
			}
			tool := cfg.Tools[tract.ReceiverID(t.Tool)]
			if tool == nil {
				return fmt.Errorf("client %s has no external chat tool %q", t.Client, t.Tool)
			}
			if _, err := auth.ParseCertificate(pem, tool.FQDN, tx.Now); err != nil {
				return err
			}
			ok, err := tx.InsertCertificate(tract.Certificate{UUID: id.String(), Client: client.Key, Tool: tool.ID, PEM: string(pem), CreatedAt: tx.Now})
			if err == nil && !ok {
				err = fmt.Errorf("there is a certificate with the UUID %s already", id)
			}
			if err == nil {
				c.say("%s", id)
			}
			return err
		})
	})
}

type certList struct {
	Client string `required:"" help:"The client's id."`
}

func (t *certList) Run(ctx context.Context, s *Settings, c *console) error {
	return s.onClient(ctx, c, t.Client, func(_ *auth.Service, st *store.Store, client tract.Client) error {
		rows := [][]string{{"UUID", "TOOL", "CREATED", "REVOKED"}}
		err := st.View(ctx, func(tx *store.Tx) error {
			cs, err := tx.ListCertificates(client.Key)
			for _, k := range cs {
				rows = append(rows, []string{k.UUID, string(k.Tool), day(k.CreatedAt), day(k.RevokedAt)})
			}
			return err
		})
		table(c.out, rows...)
		return err
	})
}

type certRevoke struct {
	Client string `required:"" help:"The client's id."`
	UUID   string `arg:"" help:"The certificate's UUID." name:"uuid"`
}

func (t *certRevoke) Run(ctx context.Context, s *Settings, c *console) error {
	return s.onClient(ctx, c, t.Client, func(_ *auth.Service, st *store.Store, client tract.Client) error {
		return st.Update(ctx, func(tx *store.Tx) error {
			ok, err := tx.RevokeCertificate(client.Key, t.UUID)
			if err == nil && !ok {
				err = fmt.Errorf("client %s has no certificate %s in force", t.Client, t.UUID)
			}
			return err
		})
	})
}

type agentCmd struct {
	Create   agentCreate   `cmd:"" help:"Create an agent of a client's desk; the password is read from standard input."`
	Password agentPassword `cmd:"" help:"Set an agent's password, read from standard input."`
	List     agentList     `cmd:"" help:"List the agents of a client."`
}

type agentCreate struct {
	Client      string   `required:"" help:"The client's id."`
	Email       string   `arg:"" help:"The e-mail address the agent logs in with."`
	Name        string   `required:"" help:"The name shown to users."`
	Role        string   `enum:"agent,lead,admin" default:"agent" help:"agent, lead or admin."`
	Concurrency int      `default:"3" help:"Chats at a time, 1 to 20."`
	Teams       []string `sep:"," help:"Teams the agent works in."`
}

func (t *agentCreate) Run(ctx context.Context, s *Settings, c *console, in io.Reader) error {
	if t.Concurrency < 1 || t.Concurrency > 20 {
		return fmt.Errorf("--concurrency must be from 1 to 20, not %d", t.Concurrency)
	}
	password, err := readPassword(c, in)
	if err != nil {
		return err
	}
	return s.onClient(ctx, c, t.Client, func(a *auth.Service, st *store.Store, client tract.Client) error {
		hash, err := a.HashPassword(ctx, password)
		if err != nil {
			return err
		}
		return st.Update(ctx, func(tx *store.Tx) error {
			if _, err := findAgent(tx, client, t.Email); err == nil {
				return fmt.Errorf("client %s has an agent %s already", t.Client, t.Email)
			}
			cfg, err := tx.Config(client.Key)
			if err != nil {
				return err
			}
			for _, team := range t.Teams {
				if cfg.Teams[team] == nil {
					return fmt.Errorf("client %s has no team %q", t.Client, team)
				}
			}
			return tx.PutDocument(client.Key, store.KindAgent, t.Email, t.Email, tract.AgentAccount{Email: t.Email, Name: t.Name, PasswordHash: hash, Role: t.Role, Concurrency: t.Concurrency, Teams: t.Teams, Active: true})
		})
	})
}

type agentPassword struct {
	Client string `required:"" help:"The client's id."`
	Email  string `arg:"" help:"The agent's e-mail address."`
}

func (t *agentPassword) Run(ctx context.Context, s *Settings, c *console, in io.Reader) error {
	password, err := readPassword(c, in)
	if err != nil {
		return err
	}
	return s.onClient(ctx, c, t.Client, func(a *auth.Service, st *store.Store, client tract.Client) error {
		hash, err := a.HashPassword(ctx, password)
		if err != nil {
			return err
		}
		return st.Update(ctx, func(tx *store.Tx) error {
			agent, err := findAgent(tx, client, t.Email)
			if err != nil {
				return err
			}
			agent.PasswordHash = hash
			return tx.PutDocument(client.Key, store.KindAgent, t.Email, t.Email, agent)
		})
	})
}

type agentList struct {
	Client string `required:"" help:"The client's id."`
}

func (t *agentList) Run(ctx context.Context, s *Settings, c *console) error {
	return s.onClient(ctx, c, t.Client, func(_ *auth.Service, st *store.Store, client tract.Client) error {
		rows := [][]string{{"E-MAIL", "NAME", "ROLE", "CONCURRENCY", "TEAMS"}}
		err := st.View(ctx, func(tx *store.Tx) error {
			as, err := tx.ListAgents(client.Key)
			for _, k := range as {
				rows = append(rows, []string{k.Email, k.Name, k.Role, fmt.Sprint(k.Concurrency), strings.Join(k.Teams, ",")})
			}
			return err
		})
		table(c.out, rows...)
		return err
	})
}

func findAgent(tx *store.Tx, client tract.Client, email string) (tract.AgentAccount, error) {
	as, err := tx.ListAgents(client.Key)
	for _, a := range as {
		if a.Email == email {
			return a, err
		}
	}
	if err == nil {
		err = store.ErrNotFound.With("client %s has no agent %s", client.ID, email)
	}
	return tract.AgentAccount{}, err
}

// readPassword reads one line, so that no password stands in a process list.
func readPassword(c *console, in io.Reader) (string, error) {
	fmt.Fprint(c.errs, "Password: ")
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	p := strings.TrimRight(line, "\r\n")
	if len(p) < 12 || len(p) > 256 {
		return "", errors.New("the password must have 12 to 256 characters")
	}
	return p, nil
}
