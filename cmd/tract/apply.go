package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"tract/internal/auth"
	"tract/internal/manifest"
	"tract/internal/safehttp"
	"tract/internal/server"
	"tract/internal/sign"
	"tract/internal/store"
)

type applyCmd struct {
	File   string `short:"f" required:"" help:"The declarative file; - reads standard input." placeholder:"FILE"`
	DryRun bool   `help:"Only show what would change."`
	Prune  bool   `help:"Also remove what the file does not name."`
	Server string `help:"URL of a running server to apply to, instead of the store." placeholder:"URL"`
	Token  string `help:"The server's administrator token; TRACT_ADMIN_TOKEN by default." placeholder:"TOKEN"`
}

func (a *applyCmd) Run(ctx context.Context, s *Settings, c *console, in io.Reader) error {
	var res manifest.Result
	var err error
	if a.Server != "" {
		res, err = a.remote(ctx, s, in)
	} else {
		res, err = a.local(ctx, s, c, in)
	}
	if err != nil {
		return err
	}
	for _, w := range res.Warnings {
		fmt.Fprintln(c.errs, "warning:", w)
	}
	for _, ch := range res.Changes {
		c.say("%s", ch)
	}
	for _, g := range res.Generated {
		c.say("%s: %s   (shown this once)", g.What, g.Value)
	}
	switch {
	case len(res.Changes) == 0:
		c.say("nothing to change")
	case a.DryRun:
		c.say("%d changes; nothing was applied (--dry-run)", len(res.Changes))
	default:
		c.say("%d changes applied", len(res.Changes))
	}
	return nil
}

func (a *applyCmd) local(ctx context.Context, s *Settings, c *console, in io.Reader) (res manifest.Result, err error) {
	f, err := manifest.Load(a.File, in, os.LookupEnv)
	if err != nil {
		return res, err
	}
	err = s.offline(ctx, c, func(m *manifest.Service, _ *auth.Service, _ *store.Store) (err error) {
		res, err = m.Apply(ctx, f, manifest.Flags{DryRun: a.DryRun, Prune: a.Prune, Actor: "apply"})
		return err
	})
	return res, held(err, askServer)
}

// askServer is what apply and export can do beside a server.
const askServer = "stop it, or speak to it: --server URL --token TOKEN"

// offline works on the store itself: nobody else may hold it.
func (s *Settings) offline(ctx context.Context, c *console, fn func(*manifest.Service, *auth.Service, *store.Store) error) error {
	st, err := s.openStore(ctx, c.logger(s))
	if err != nil {
		return err
	}
	defer st.Close()
	key, err := s.secretKey()
	if err != nil {
		return err
	}
	sealer, err := sign.NewSealer(key)
	if err != nil {
		return err
	}
	au := auth.New(auth.Config{Store: st, Sealer: sealer})
	return fn(manifest.New(server.ManifestConfig(st, sealer, au, safehttp.Policy{AllowPrivate: s.AllowPrivateTargets})), au, st)
}

func (a *applyCmd) remote(ctx context.Context, s *Settings, in io.Reader) (res manifest.Result, err error) {
	body, err := manifest.EncodeBundle(a.File, in, os.LookupEnv)
	if err != nil {
		return res, err
	}
	q := url.Values{"dry_run": {strconv.FormatBool(a.DryRun)}, "prune": {strconv.FormatBool(a.Prune)}}
	b, err := callServer(ctx, http.MethodPost, a.Server, "/api/manifest/?"+q.Encode(), firstOf(a.Token, s.AdminToken), body)
	if err != nil {
		return res, err
	}
	return res, json.Unmarshal(b, &res)
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// callServer speaks to a running server as its administrator.
func callServer(ctx context.Context, method, base, path, token string, body []byte) ([]byte, error) {
	if token == "" {
		return nil, errors.New("the administrator's token is needed: --token or TRACT_ADMIN_TOKEN")
	}
	if u, err := url.Parse(base); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("--server must be a URL such as http://localhost:8080, not %q", safehttp.Redact(base))
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(base, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("--server: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	client := safehttp.New(safehttp.Config{Policy: safehttp.Policy{AllowPrivate: true}, Timeout: 5 * time.Minute, MaxResponse: 64 << 20, UserAgent: "tract/" + version})
	res, err := client.Do(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("the server at %s: %w", safehttp.Redact(base), err)
	}
	if res.Status == http.StatusOK {
		return res.Body, nil
	}
	var e struct {
		Error    string   `json:"error"`
		Problems []string `json:"problems"`
	}
	_ = json.Unmarshal(res.Body, &e)
	if len(e.Problems) > 0 {
		return nil, errors.New(strings.Join(e.Problems, "\n") + "\nnothing was applied")
	}
	return nil, fmt.Errorf("the server answered %d: %s", res.Status, e.Error)
}

type exportCmd struct {
	Server string `help:"URL of a running server to export from." placeholder:"URL"`
	Token  string `help:"The server's administrator token; TRACT_ADMIN_TOKEN by default." placeholder:"TOKEN"`
}

func (e *exportCmd) Run(ctx context.Context, s *Settings, c *console) error {
	if e.Server != "" {
		b, err := callServer(ctx, http.MethodGet, e.Server, "/api/manifest/", firstOf(e.Token, s.AdminToken), nil)
		if err == nil {
			_, err = c.out.Write(b)
		}
		return err
	}
	return held(s.offline(ctx, c, func(m *manifest.Service, _ *auth.Service, _ *store.Store) error {
		b, err := m.Export(ctx)
		if err == nil {
			_, err = c.out.Write(b)
		}
		return err
	}), askServer)
}
