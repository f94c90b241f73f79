package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"tract"
	"tract/internal/auth"
	"tract/internal/safehttp"
	"tract/internal/sign"
	"tract/internal/store"
)

// errPostgres names the tools that copy a PostgreSQL database.
var errPostgres = errors.New("the store is a PostgreSQL database: use its own tools, pg_dump and pg_restore, or your provider's snapshots")

type backupCmd struct {
	File string `arg:"" help:"The file to write; it must not exist."`
}

func (b *backupCmd) Run(ctx context.Context, s *Settings, c *console) error {
	if s.DatabaseURL != "" {
		return errPostgres
	}
	if err := store.Backup(ctx, s.DataDir, b.File); err != nil {
		return err
	}
	c.say("copied the store in %s to %s", s.DataDir, b.File)
	c.say("keep %s with it: without the secret key, sealed secrets cannot be opened", filepath.Join(s.DataDir, "secret.key"))
	return nil
}

type restoreCmd struct {
	File  string `arg:"" type:"existingfile" help:"A file written by tract backup."`
	Force bool   `help:"Replace an SQLite store that is there; it is kept beside with the suffix .before-restore."`
}

func (r *restoreCmd) Run(ctx context.Context, s *Settings, c *console) error {
	if s.DatabaseURL != "" {
		return r.load(ctx, s, c)
	}
	if err := store.Restore(ctx, r.File, s.DataDir, r.Force); err != nil {
		return held(err, "stop it first")
	}
	st, err := s.openStore(ctx, c.logger(s))
	if err != nil {
		return err
	}
	defer st.Close()
	if err := st.AfterRestore(ctx); err != nil {
		return err
	}
	c.say("restored %s into %s; message ids, epochs and delivery counters go on above everything handed out before", r.File, s.DataDir)
	return nil
}

// load moves a store to PostgreSQL.
func (r *restoreCmd) load(ctx context.Context, s *Settings, c *console) error {
	if r.Force {
		return errors.New("--force replaces an SQLite store only: name an empty database")
	}
	if err := store.Load(ctx, r.File, s.DatabaseURL, os.TempDir()); err != nil {
		return fmt.Errorf("%s (nothing was restored)", oneLine(err))
	}
	c.say("restored %s into the database; message ids, epochs and delivery counters go on above everything handed out before", r.File)
	c.say("start its replicas with TRACT_SECRET_KEY set to what secret.key beside the old store holds, and give them its folder files, or an object store with the same content (--files-url)")
	return nil
}

type doctorCmd struct{}

// finding is what the doctor says of one thing; why is empty when it is well.
type finding struct{ what, why, mend string }

func (doctorCmd) Run(ctx context.Context, k *kong.Context, s *Settings, c *console) error {
	var all []finding
	add := func(what string, err error, mend string) bool {
		f := finding{what: what}
		if err != nil {
			f.why, f.mend = err.Error(), mend
		}
		all = append(all, f)
		return err == nil
	}
	add("no unknown settings", unknownVariables(k.Model), "correct its name, or remove it")
	if err := s.storeExists(); err != nil {
		add("store", err, "is --data-dir (TRACT_DATA_DIR) right? The first tract serve makes a store")
		return report(c.out, all)
	}
	key, err := s.secretKey()
	add("secret key", err, "set TRACT_SECRET_KEY, or restore secret.key from the back-up")
	st, err := s.openStore(ctx, c.logger(s))
	if errors.Is(err, store.ErrBusy) {
		if err := s.ready(ctx); err != nil {
			add("store", fmt.Errorf("a server holds it, and %w", err), "look at its log; is --listen (TRACT_LISTEN) the server's?")
		} else {
			add("a server runs on this store and is ready; stop it to have all of the store checked", nil, "")
		}
		return report(c.out, all)
	}
	if add("store opens, schema is current", err, "see the text; a back-up is restored with: tract restore FILE") {
		defer st.Close()
		s.examine(ctx, st, key, add)
	}
	if l, err := s.listen(); err != nil {
		add("port", err, "stop what listens there, or choose another port")
	} else {
		l.Close()
		add("port "+s.Listen+" is free", nil, "")
	}
	return report(c.out, all)
}

// storeExists keeps a check from making the store it should check.
func (s *Settings) storeExists() error {
	if s.DatabaseURL != "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(s.DataDir, "tract.db")); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("there is no store in %s", s.DataDir)
	}
	return nil
}

// ready asks the running server whether it is ready.
func (s *Settings) ready(ctx context.Context) error {
	host, port, _ := net.SplitHostPort(s.Listen)
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "localhost"
	}
	url := "http://" + net.JoinHostPort(host, port) + "/readyz"
	client := safehttp.New(safehttp.Config{Policy: safehttp.Policy{AllowPrivate: true}, Timeout: 3 * time.Second})
	res, err := client.Get(ctx, url)
	if err != nil {
		return fmt.Errorf("%s does not answer", url)
	}
	if res.Status != http.StatusOK {
		return fmt.Errorf("%s says %s", url, strings.TrimSpace(string(res.Body)))
	}
	return nil
}

// examine looks at what is in the store.
func (s *Settings) examine(ctx context.Context, st *store.Store, key []byte, add func(string, error, string) bool) {
	add("every log entry and page is intact", st.View(ctx, func(tx *store.Tx) error { return tx.CheckAll() }), "restore a back-up with: tract restore FILE")
	skew, err := st.ClockSkew(ctx)
	if err == nil && (skew > 2*time.Second || skew < -2*time.Second) {
		err = fmt.Errorf("this machine and the database differ by %s", skew)
	}
	add("clock", err, "synchronise the clocks (NTP); signed requests tolerate 150 s")
	var problems []error
	if err := st.View(ctx, func(tx *store.Tx) error {
		problems = nil
		es, err := tx.ListAllEndpoints()
		if err != nil {
			return err
		}
		for _, e := range es {
			problems = append(problems, s.lookAt(e, key))
		}
		return eachClient(tx, func(c tract.Client, cfg *tract.Config) error {
			problems = append(problems, s.externalBots(c, cfg, key)...)
			certs, err := certificates(tx, c, cfg)
			problems = append(problems, certs...)
			return err
		})
	}); err != nil {
		problems = append(problems, err)
	}
	var wording error
	err = st.View(ctx, func(tx *store.Tx) (err error) { wording, err = missingTexts(tx); return err })
	add("texts", errors.Join(wording, err), "add them to the declarative file, or with PUT /api/clients/CLIENT/texts/KEY; until then {{text:…}} is shown as written")
	add("hooks and certificates", errors.Join(problems...), "enable hooks again with POST /tract/hooks/enable/; register new certificates with tract cert add")
}

// lookAt says what is wrong with an endpoint.
func (s *Settings) lookAt(e store.Endpoint, key []byte) error {
	if e.Kind == store.EndpointBot {
		return nil
	}
	name := fmt.Sprintf("%s of business %d", e.Kind, e.Business)
	if e.Kind == store.EndpointHook {
		name = fmt.Sprintf("%s %s %s/%s", e.Kind, e.Tool, e.Category, e.Subcategory)
	}
	if !e.Enabled {
		return fmt.Errorf("%s is disabled (%s)", name, e.DisabledReason)
	}
	if _, err := (safehttp.Policy{AllowPrivate: s.AllowPrivateTargets}).CheckURL(e.URL); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	sealer, err := sign.NewSealer(key)
	if err != nil {
		return nil // said above
	}
	for _, sealed := range e.Secrets {
		if _, err := sealer.Open(sealed, store.SecretContext(e.Client)); err != nil {
			return fmt.Errorf("%s: its secret cannot be opened with this secret key", name)
		}
	}
	return nil
}

// externalBots says what is wrong with the bots that businesses have elsewhere.
func (s *Settings) externalBots(c tract.Client, cfg *tract.Config, key []byte) (problems []error) {
	for id, b := range cfg.Businesses {
		if b.ExternalBot == nil {
			continue
		}
		e := store.Endpoint{Kind: "external bot", Client: c.Key, Business: id, URL: b.ExternalBot.URL, Enabled: true}
		if b.ExternalBot.Secret != "" {
			e.Secrets = []string{b.ExternalBot.Secret}
		}
		problems = append(problems, s.lookAt(e, key))
	}
	return problems
}

// certificates says what is wrong with those that tools sign with.
func certificates(tx *store.Tx, c tract.Client, cfg *tract.Config) (problems []error, err error) {
	certs, err := tx.ListCertificates(c.Key)
	for _, k := range certs {
		if t := cfg.Tools[k.Tool]; t != nil && k.RevokedAt.IsZero() {
			if _, err := auth.ParseCertificate([]byte(k.PEM), t.FQDN, tx.Now); err != nil {
				problems = append(problems, fmt.Errorf("certificate %s of %s: %w", k.UUID, k.Tool, err))
			}
		}
	}
	return problems, err
}

// eachClient calls look with every client and its configuration.
func eachClient(tx *store.Tx, look func(tract.Client, *tract.Config) error) error {
	clients, err := tx.ListClients()
	if err != nil {
		return err
	}
	for _, c := range clients {
		cfg, err := tx.Config(c.Key)
		if err != nil {
			return err
		}
		if err := look(c, cfg); err != nil {
			return err
		}
	}
	return nil
}

func report(w io.Writer, all []finding) error {
	bad := 0
	for _, f := range all {
		if f.why == "" {
			fmt.Fprintf(w, "ok    %s\n", f.what)
			continue
		}
		bad++
		fmt.Fprintf(w, "WRONG %s: %s\n      %s\n", f.what, strings.ReplaceAll(f.why, "\n", "\n      "), f.mend)
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d checks found something", bad, len(all))
	}
	return nil
}
