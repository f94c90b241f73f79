package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"tract"
	"tract/internal/auth"
	"tract/internal/manifest"
	"tract/internal/store"
)

// held says what to do when another process, mostly a server, holds the store.
func held(err error, advice string) error {
	if errors.Is(err, store.ErrBusy) {
		return fmt.Errorf("%w; %s", err, advice)
	}
	return err
}

// askAdministration is what commands on tokens, certificates and agents can do
// beside a server.
const askAdministration = "stop it, or use the administration API of the running server (docs/admin.md)"

// list prints what a client has, a row each.
func (s *Settings) list(ctx context.Context, c *console, id string, head []string, read func(tx *store.Tx, client int64) ([][]string, error)) error {
	return held(s.offline(ctx, c, func(_ *manifest.Service, _ *auth.Service, st *store.Store) error {
		var rows [][]string
		err := st.View(ctx, func(tx *store.Tx) error {
			client, err := tx.Client(id)
			if err == nil {
				rows, err = read(tx, client.Key)
			}
			return err
		})
		if err == nil {
			table(c.out, append([][]string{head}, rows...)...)
		}
		return err
	}), askAdministration)
}

// cliActor is who changes things here, for the audit trail.
const cliActor = "command line"

// credential runs a change on the store.
func (s *Settings) credential(ctx context.Context, c *console, fn func(*manifest.Service, *store.Tx) error) error {
	return held(s.offline(ctx, c, func(m *manifest.Service, _ *auth.Service, st *store.Store) error {
		return st.Update(ctx, func(tx *store.Tx) error { return fn(m, tx) })
	}), askAdministration)
}

func asJSON(body map[string]any) []byte {
	b, err := json.Marshal(body)
	if err != nil {
		panic("write a body: " + err.Error()) // texts and numbers always can be
	}
	return b
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
	body := map[string]any{"name": t.Name}
	if len(t.Scopes) > 0 {
		body["scopes"] = t.Scopes
	}
	if t.Expires > 0 {
		body["expires_at"] = instant().Add(t.Expires).UTC().Format(time.RFC3339)
	}
	var value string
	err := s.credential(ctx, c, func(m *manifest.Service, tx *store.Tx) (err error) {
		_, value, err = m.AddToken(tx, t.Client, asJSON(body), cliActor)
		return err
	})
	if err != nil {
		return err
	}
	c.say("%s", value)
	fmt.Fprintln(c.errs, "This is the only time the token is shown.")
	return nil
}

type tokenList struct {
	Client string `required:"" help:"The client's id."`
}

func (t *tokenList) Run(ctx context.Context, s *Settings, c *console) error {
	return s.list(ctx, c, t.Client, []string{"NAME", "SCOPES", "CREATED", "EXPIRES", "REVOKED"}, func(tx *store.Tx, client int64) (rows [][]string, err error) {
		ts, err := tx.ListTokens(client)
		for _, k := range ts {
			rows = append(rows, []string{k.Name, strings.Join(k.Scopes, ","), day(k.CreatedAt), day(k.ExpiresAt), day(k.RevokedAt)})
		}
		return rows, err
	})
}

type tokenRevoke struct {
	Client string `required:"" help:"The client's id."`
	Name   string `arg:"" help:"The token's name."`
}

func (t *tokenRevoke) Run(ctx context.Context, s *Settings, c *console) error {
	return s.credential(ctx, c, func(m *manifest.Service, tx *store.Tx) error {
		return m.RevokeToken(tx, t.Client, t.Name, cliActor)
	})
}

type certCmd struct {
	Add    certAdd    `cmd:"" help:"Register a tool's self-signed certificate and print its UUID."`
	List   certList   `cmd:"" help:"List the certificates of a client's tools."`
	Revoke certRevoke `cmd:"" help:"Revoke a certificate; the tokens made with it end, and no more are issued for it."`
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
	body := map[string]any{"pem": string(pem)}
	if t.UUID != "" {
		body["uuid"] = t.UUID
	}
	var made tract.Certificate
	err = s.credential(ctx, c, func(m *manifest.Service, tx *store.Tx) (err error) {
		made, err = m.AddCertificate(tx, t.Client, t.Tool, asJSON(body), cliActor)
		return err
	})
	if err == nil {
		c.say("%s", made.UUID)
	}
	return err
}

type certList struct {
	Client string `required:"" help:"The client's id."`
}

func (t *certList) Run(ctx context.Context, s *Settings, c *console) error {
	return s.list(ctx, c, t.Client, []string{"UUID", "TOOL", "CREATED", "REVOKED"}, func(tx *store.Tx, client int64) (rows [][]string, err error) {
		cs, err := tx.ListCertificates(client)
		for _, k := range cs {
			rows = append(rows, []string{k.UUID, string(k.Tool), day(k.CreatedAt), day(k.RevokedAt)})
		}
		return rows, err
	})
}

type certRevoke struct {
	Client string `required:"" help:"The client's id."`
	UUID   string `arg:"" help:"The certificate's UUID." name:"uuid"`
}

func (t *certRevoke) Run(ctx context.Context, s *Settings, c *console) error {
	return s.credential(ctx, c, func(m *manifest.Service, tx *store.Tx) error {
		return m.RevokeCertificate(tx, t.Client, "", t.UUID, cliActor)
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
	password, err := readPassword(c, in)
	if err != nil {
		return err
	}
	return s.putAgent(ctx, c, manifest.Write{
		Client: t.Client, ID: strings.ToLower(t.Email), If: manifest.Condition{NoneMatch: []string{"*"}},
		Body: asJSON(map[string]any{"name": t.Name, "role": t.Role, "concurrency": t.Concurrency, "teams": append([]string{}, t.Teams...), "password": password}),
	}, fmt.Sprintf("client %s has an agent %s already", t.Client, t.Email))
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
	return s.putAgent(ctx, c, manifest.Write{Client: t.Client, ID: strings.ToLower(t.Email), Patch: true, Body: asJSON(map[string]any{"password": password})}, "")
}

// putAgent stores an agent as a file would.
func (s *Settings) putAgent(ctx context.Context, c *console, w manifest.Write, exists string) error {
	w.Kind, w.Actor = store.KindAgent, cliActor
	return held(s.offline(ctx, c, func(m *manifest.Service, _ *auth.Service, _ *store.Store) error {
		_, _, err := m.Put(ctx, w)
		if errors.Is(err, manifest.ErrPrecondition) {
			return errors.New(exists)
		}
		return err
	}), askAdministration)
}

type agentList struct {
	Client string `required:"" help:"The client's id."`
}

func (t *agentList) Run(ctx context.Context, s *Settings, c *console) error {
	return s.list(ctx, c, t.Client, []string{"E-MAIL", "NAME", "ROLE", "CONCURRENCY", "TEAMS"}, func(tx *store.Tx, client int64) (rows [][]string, err error) {
		as, err := tx.ListAgents(client)
		for _, k := range as {
			rows = append(rows, []string{k.Email, k.Name, k.Role, fmt.Sprint(k.Concurrency), strings.Join(k.Teams, ",")})
		}
		return rows, err
	})
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
