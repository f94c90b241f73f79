package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"

	"tract/internal/clock"
	"tract/internal/files"
	"tract/internal/manifest"
	"tract/internal/retention"
	"tract/internal/sign"
	"tract/internal/store"
)

// Settings are the same for every command: by flag, environment variable or
// configuration file, in this order, else the default.
type Settings struct {
	Config kong.ConfigFlag `help:"YAML file with settings, the flags' names as keys." placeholder:"FILE" env:"TRACT_CONFIG"`

	Listen              string          `help:"Address the server listens on." default:"127.0.0.1:8080" env:"TRACT_LISTEN"`
	DatabaseURL         string          `help:"postgres:// URL; without it SQLite in the data folder is used." env:"TRACT_DATABASE_URL" name:"database-url"`
	DatabaseConns       int             `help:"Connections to PostgreSQL." default:"16" env:"TRACT_DATABASE_CONNS"`
	DataDir             string          `help:"Folder of the SQLite store and of what belongs to it." default:"./data" env:"TRACT_DATA_DIR"`
	PublicURL           string          `help:"URL under which others reach this server; by default http://localhost:PORT." env:"TRACT_PUBLIC_URL" name:"public-url"`
	LogLevel            string          `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"info" env:"TRACT_LOG_LEVEL"`
	LogFormat           string          `help:"json or text." enum:"json,text" default:"json" env:"TRACT_LOG_FORMAT"`
	AdminToken          string          `help:"Token of the administrator, for tract apply --server and the administration API." env:"TRACT_ADMIN_TOKEN"`
	SecretKey           string          `help:"Seals stored secrets: 32 bytes in hex or base64, or a passphrase of 16 characters. Made at first start on SQLite, required with PostgreSQL." env:"TRACT_SECRET_KEY"`
	AllowPrivateTargets bool            `help:"Let hooks use http and private addresses. For development." env:"TRACT_ALLOW_PRIVATE_TARGETS"`
	HookTimeout         time.Duration   `help:"Time for one webhook call." default:"5s" env:"TRACT_HOOK_TIMEOUT"`
	HookRetrySchedule   []time.Duration `help:"Waits between attempts, counted from the end of each." default:"5s,25s,125s,625s,1410s,1410s" sep:"," env:"TRACT_HOOK_RETRY_SCHEDULE"`
	TokenLifetime       time.Duration   `help:"Lifetime of the tokens of external chat tools." default:"1h" env:"TRACT_TOKEN_LIFETIME"`
	RateLimit           int             `help:"Calls a second for each client token, with a burst of twice as many; -1 = no limit." default:"100" env:"TRACT_RATE_LIMIT"`
	MetricsToken        string          `help:"Bearer token that GET /metrics asks for; without one everybody may read it." env:"TRACT_METRICS_TOKEN"`
	FilesURL            string          `help:"Where the files of users are kept: s3://BUCKET/PREFIX; without it the folder files in the data folder, which replicas then have to share." env:"TRACT_FILES_URL" name:"files-url"`
	FilesEndpoint       string          `help:"URL of the S3-compatible store." default:"https://s3.amazonaws.com" env:"TRACT_FILES_ENDPOINT"`
	FilesRegion         string          `help:"Region of the S3-compatible store." default:"us-east-1" env:"TRACT_FILES_REGION"`
	FilesAccessKey      string          `help:"Access key of the S3-compatible store." env:"TRACT_FILES_ACCESS_KEY"`
	FilesSecretKey      string          `help:"Secret key of the S3-compatible store." env:"TRACT_FILES_SECRET_KEY"`
	FilesQuota          int64           `help:"MiB that the files of each client may take; -1 = no limit." default:"10240" env:"TRACT_FILES_QUOTA"`
	FilesLinkLifetime   time.Duration   `help:"Lifetime of a link to a file where it is renewed whenever it is shown; links in webhook payloads and answers last 7 days." default:"24h" env:"TRACT_FILES_LINK_LIFETIME"`
	RetainDeliveries    int             `help:"Days that settled deliveries are kept, with their attempts and for the feed; 0 = for ever." default:"30" env:"TRACT_RETAIN_DELIVERIES"`
	RetainDead          int             `help:"Days that dead letters are kept with their payloads, replayed or not; 0 = for ever." default:"90" env:"TRACT_RETAIN_DEAD"`
	RetainLog           int             `help:"Days that completed conversations are kept: log, ledger, briefs and files; 0 = for ever." default:"0" env:"TRACT_RETAIN_LOG"`
	RetainAudit         int             `help:"Days that the audit log is kept; 0 = for ever." default:"400" env:"TRACT_RETAIN_AUDIT"`
}

// AfterApply refuses values that no type catches.
func (s *Settings) AfterApply() error {
	switch {
	case s.HookTimeout < 100*time.Millisecond || s.HookTimeout > 7*time.Second: // a call must end before another replica may take over
		return fmt.Errorf("--hook-timeout (TRACT_HOOK_TIMEOUT) must be from 100ms to 7s, not %s", s.HookTimeout)
	case len(s.HookRetrySchedule) == 0 || len(s.HookRetrySchedule) > 20 || slices.Min(s.HookRetrySchedule) <= 0:
		return errors.New("--hook-retry-schedule (TRACT_HOOK_RETRY_SCHEDULE) must be 1 to 20 positive durations such as 5s,25s")
	case s.TokenLifetime < time.Minute || s.TokenLifetime > 24*time.Hour:
		return fmt.Errorf("--token-lifetime (TRACT_TOKEN_LIFETIME) must be from 1m to 24h, not %s", s.TokenLifetime)
	case s.RateLimit == 0 || s.RateLimit < -1:
		return fmt.Errorf("--rate-limit (TRACT_RATE_LIMIT) must be positive, or -1 for none, not %d", s.RateLimit)
	case s.FilesQuota == 0 || s.FilesQuota < -1 || s.FilesQuota > 1<<40:
		return fmt.Errorf("--files-quota (TRACT_FILES_QUOTA) must be a positive number of MiB, or -1 for no limit, not %d", s.FilesQuota)
	case s.FilesLinkLifetime < time.Minute || s.FilesLinkLifetime > files.LastingLife:
		return fmt.Errorf("--files-link-lifetime (TRACT_FILES_LINK_LIFETIME) must be from 1m to 168h, not %s", s.FilesLinkLifetime)
	case s.DatabaseConns < 2 || s.DatabaseConns > 500:
		return fmt.Errorf("--database-conns (TRACT_DATABASE_CONNS) must be from 2 to 500, not %d", s.DatabaseConns)
	}
	for name, days := range map[string]int{"deliveries": s.RetainDeliveries, "dead": s.RetainDead, "log": s.RetainLog, "audit": s.RetainAudit} {
		if days < 0 || days > 36500 {
			return fmt.Errorf("--retain-%s (TRACT_RETAIN_%s) must be a number of days up to 36500, or 0 for ever, not %d", name, strings.ToUpper(name), days)
		}
	}
	if u := s.DatabaseURL; u != "" && !strings.HasPrefix(u, "postgres://") && !strings.HasPrefix(u, "postgresql://") {
		return errors.New("--database-url (TRACT_DATABASE_URL) must begin with postgres://; leave it out for SQLite in the data folder")
	}
	if _, _, err := net.SplitHostPort(s.Listen); err != nil {
		return fmt.Errorf("--listen (TRACT_LISTEN) must be HOST:PORT, not %q", s.Listen)
	}
	if err := files.CheckSettings(s.files()); err != nil {
		return fmt.Errorf("--files-url (TRACT_FILES_URL): %w", err)
	}
	if u := s.PublicURL; u != "" && !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "https://") {
		return fmt.Errorf("--public-url (TRACT_PUBLIC_URL) must begin with https:// or http://, not %q", u)
	}
	s.PublicURL = strings.TrimRight(s.PublicURL, "/")
	return nil
}

// files are the settings of where the files of users lie.
func (s *Settings) files() files.Settings {
	quota := s.FilesQuota
	if quota > 0 {
		quota <<= 20
	}
	return files.Settings{Dir: filepath.Join(s.DataDir, "files"), URL: s.FilesURL, Endpoint: s.FilesEndpoint, Region: s.FilesRegion, AccessKey: s.FilesAccessKey,
		SecretKey: sign.Secret(s.FilesSecretKey), Quota: quota, LinkLife: s.FilesLinkLifetime}
}

// keep is how long rows are kept.
func (s *Settings) keep() retention.Settings {
	days := func(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }
	return retention.Settings{Deliveries: days(s.RetainDeliveries), Dead: days(s.RetainDead), Log: days(s.RetainLog), Audit: days(s.RetainAudit)}
}

func (s *Settings) level() slog.Level {
	var l slog.Level
	_ = l.UnmarshalText([]byte(s.LogLevel)) // the flag's enum holds it
	return l
}

// publicURL is the one set, else that of the port really listened on.
func (s *Settings) publicURL(addr net.Addr) string {
	if s.PublicURL != "" {
		return s.PublicURL
	}
	_, port, _ := net.SplitHostPort(addr.String())
	return "http://localhost:" + port
}

// listen takes the address of the server.
func (s *Settings) listen() (net.Listener, error) {
	l, err := net.Listen("tcp", s.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is taken by another process (%w); choose another with --listen (TRACT_LISTEN)", s.Listen, syscall.EADDRINUSE)
	}
	if err != nil {
		return nil, fmt.Errorf("--listen (TRACT_LISTEN): %w", err)
	}
	return l, nil
}

func (s *Settings) openStore(ctx context.Context, log *slog.Logger) (*store.Store, error) {
	st, err := store.Open(ctx, store.Options{URL: s.DatabaseURL, Dir: s.DataDir, Conns: s.DatabaseConns, Log: log})
	var path *fs.PathError
	switch {
	case err != nil && s.DatabaseURL != "":
		return nil, fmt.Errorf("--database-url (TRACT_DATABASE_URL): %s", oneLine(err))
	case errors.As(err, &path):
		return nil, fmt.Errorf("--data-dir (TRACT_DATA_DIR): %w", err)
	}
	return st, err
}

// oneLine joins the lines of an error, each once: of a server with several
// addresses there is one for each.
func oneLine(err error) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}

// secretKey is the one set; on SQLite it is made at first start.
func (s *Settings) secretKey() ([]byte, error) {
	if s.SecretKey != "" {
		key, err := sign.ParseKey(s.SecretKey)
		if err != nil {
			return nil, fmt.Errorf("--secret-key (TRACT_SECRET_KEY): %w", err)
		}
		return key, nil
	}
	if s.DatabaseURL != "" {
		return nil, errors.New("TRACT_SECRET_KEY is needed with PostgreSQL: the same value for every replica (make one with: openssl rand -hex 32)")
	}
	path := filepath.Join(s.DataDir, "secret.key")
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return makeSecretKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the secret key: %w", err)
	}
	key, err := sign.ParseKey(strings.TrimSpace(string(b)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func makeSecretKey(path string) ([]byte, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	// Whole or not at all: half a key would lock everything that was sealed.
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(hex.EncodeToString(key)+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("keep the secret key: %w", err)
	}
	return key, os.Rename(tmp, path)
}

// yamlConfig reads a configuration file: the flags' names as keys.
func yamlConfig(r io.Reader) (kong.Resolver, error) {
	var values map[string]any
	if err := yaml.NewDecoder(r).Decode(&values); err != nil && !errors.Is(err, io.EOF) {
		var ye yaml.Error
		if errors.As(err, &ye) {
			err = fmt.Errorf("line %d, column %d: %s", ye.GetToken().Position.Line, ye.GetToken().Position.Column, ye.GetMessage())
		}
		return nil, fmt.Errorf("%s is not a file of settings in YAML: %w", fileName(r), err)
	}
	return &configFile{fileName(r), values}, nil
}

// fileName is how messages call the configuration file.
func fileName(r io.Reader) string {
	if f, ok := r.(*os.File); ok {
		return f.Name()
	}
	return "the configuration file"
}

type configFile struct {
	name   string
	values map[string]any
}

// Validate refuses keys that are no setting.
func (c *configFile) Validate(app *kong.Application) error {
	var known []string
	for _, f := range app.Flags {
		known = append(known, f.Name)
	}
	for key := range c.values {
		if name := strings.ReplaceAll(key, "_", "-"); !slices.Contains(known, name) {
			return fmt.Errorf("%s has an unknown key %q%s", c.name, key, manifest.DidYouMean(name, known))
		}
	}
	return nil
}

// Resolve gives the value of a flag that neither the command line nor the
// environment sets.
func (c *configFile) Resolve(_ *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
	for _, e := range f.Envs {
		if _, ok := os.LookupEnv(e); ok {
			return nil, nil
		}
	}
	for _, key := range []string{f.Name, strings.ReplaceAll(f.Name, "-", "_")} {
		if v, ok := c.values[key]; ok {
			if list, ok := v.([]any); ok {
				parts := make([]string, len(list))
				for i := range list {
					parts[i] = fmt.Sprint(list[i])
				}
				return strings.Join(parts, ","), nil
			}
			return fmt.Sprint(v), nil
		}
	}
	return nil, nil
}

// unknownVariables finds TRACT_ variables that are no setting: a misspelt one
// would be ignored silently.
func unknownVariables(app *kong.Application) error {
	var known []string
	for _, f := range app.Flags {
		known = append(known, f.Envs...)
	}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "TRACT_") && !strings.HasPrefix(name, "TRACT_TEST_") && !slices.Contains(known, name) {
			return fmt.Errorf("unknown setting %s in the environment%s; tract serve --help lists the settings", name, manifest.DidYouMean(name, known))
		}
	}
	return nil
}

// instant is the machine's time, for what only people read.
func instant() time.Time { return clock.System() }
