// Package server puts the parts together into one process: store, dispatcher,
// bot, timers, API. It is what tract serve, tract demo and the API tests run.
//
// It holds no rules of its own. Invariant: nothing is served before the store is
// migrated, and what was accepted is finished before the process ends.
package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	apidocs "tract/docs/api"
	"tract/internal/api"
	"tract/internal/auth"
	"tract/internal/bot"
	"tract/internal/bot/external"
	"tract/internal/conversation"
	"tract/internal/delivery"
	"tract/internal/files"
	"tract/internal/intake"
	"tract/internal/manifest"
	"tract/internal/retention"
	"tract/internal/safehttp"
	"tract/internal/sign"
	"tract/internal/store"
	"tract/internal/web"
	"tract/internal/webui"
)

// Config is what a server is made from. Store and SecretKey are required; the
// zero value of the rest works.
type Config struct {
	Store         *store.Store
	SecretKey     []byte // 32 bytes: seals stored secrets
	DataDir       string // where uploads wait until they are complete; "" = the system's folder for such
	PublicURL     string // how callers reach this server
	AdminToken    sign.Secret
	AllowPrivate  bool          // hooks may be http and point at private addresses
	HookTimeout   time.Duration // 5 s
	Ladder        []time.Duration
	TokenLifetime time.Duration
	RateLimit     int // calls a second for each client token; 0 = 100, negative = none
	MetricsToken  sign.Secret
	Files         files.Settings // without a folder no files are taken in
	Keep          retention.Settings
	Version       string
	Name          string // of this process, for people
	Now           func() time.Time
	Log           *slog.Logger
	Fetch         auth.Fetch // of certificate chains; nil = over the network
	Resolver      safehttp.Resolver
	Observe       func(delivery.Event)
	Home          web.Handler // answers GET /; nil = a page that says where to go
}

// Server is one process of the hub.
type Server struct {
	Store        *store.Store
	Auth         *auth.Service
	Conversation *conversation.Service
	Intake       *intake.Service
	Delivery     *delivery.Dispatcher
	Bot          *bot.IVA
	Manifest     *manifest.Service
	Files        *files.Service
	Imports      *bot.Importer
	Retention    *retention.Sweeper
	Mux          *web.Mux
	Registry     *prometheus.Registry

	cfg Config
}

// New wires a server. It does nothing before Run.
func New(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	sealer, err := sign.NewSealer(cfg.SecretKey)
	if err != nil {
		return nil, fmt.Errorf("the secret key: %w", err)
	}
	s := &Server{Store: cfg.Store, Registry: prometheus.NewRegistry(), cfg: cfg}
	policy := safehttp.Policy{AllowPrivate: cfg.AllowPrivate, Resolver: cfg.Resolver}
	client := safehttp.New(safehttp.Config{Policy: policy, Timeout: cfg.HookTimeout, UserAgent: "tract/" + cfg.Version})
	alarms := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tract_alarms_total", Help: "Things that need an operator's eyes, by code."}, []string{"code"})
	s.Registry.MustRegister(alarms)

	s.Auth = auth.New(auth.Config{Store: cfg.Store, Sealer: sealer, Issuer: cfg.PublicURL, TokenLifetime: cfg.TokenLifetime, Policy: policy, Fetch: cfg.Fetch, AdminToken: cfg.AdminToken, Log: cfg.Log})
	s.Conversation = conversation.New(cfg.Store, cfg.PublicURL, cfg.Log)
	s.Conversation.Alarm = func(code string, _, _ int64) { alarms.WithLabelValues(code).Inc() }
	s.Intake = &intake.Service{Conversation: s.Conversation}
	s.Bot = bot.New(cfg.Store, s.Conversation, cfg.Log)
	s.Bot.External = external.New(external.Config{HTTP: safehttp.New(safehttp.Config{Policy: policy, MaxResponse: 256 << 10, UserAgent: "tract/" + cfg.Version}), Now: cfg.Now, Log: cfg.Log, Count: s.Registry,
		Open: func(sealed string, client int64) (string, error) {
			plain, err := sealer.Open(sealed, store.SecretContext(client))
			return string(plain), err
		},
		Alarm: func(code string) { alarms.WithLabelValues(code).Inc() }})
	s.Imports = bot.NewImporter(cfg.Store, cfg.DataDir, cfg.Log)
	cfg.Store.Watch(s.Imports)
	s.Delivery = delivery.New(delivery.Config{Store: cfg.Store, HTTP: client, Sealer: sealer, Log: cfg.Log, Now: cfg.Now, Bot: s.Bot.Turn, Name: cfg.Name, Ladder: cfg.Ladder,
		Metrics: delivery.NewMetrics(s.Registry), Observe: cfg.Observe, Alarm: func(code string, _, _ int64) { alarms.WithLabelValues(code).Inc() }})
	s.Manifest = manifest.New(ManifestConfig(cfg.Store, sealer, s.Auth, policy))
	if s.Files, err = files.New(files.Config{Settings: cfg.Files, Store: cfg.Store, Key: cfg.SecretKey, PublicURL: cfg.PublicURL, Name: cfg.Name, Now: cfg.Now, Log: cfg.Log}); err != nil {
		return nil, err
	}
	s.Retention = retention.New(retention.Config{Keep: cfg.Keep, Store: cfg.Store, Name: cfg.Name, Now: cfg.Now, Log: cfg.Log, Count: s.Registry})
	s.registerMetrics()
	s.routes(sealer, policy)
	return s, nil
}

// ManifestConfig is what the declarative file needs, also without a server.
func ManifestConfig(st *store.Store, sealer *sign.Sealer, a *auth.Service, policy safehttp.Policy) manifest.Config {
	return manifest.Config{
		Store: st, Seal: sealer.Seal, Open: sealer.Open,
		HashPassword:  a.HashPassword,
		CheckPassword: a.CheckPassword,
		NewToken:      func() (string, error) { t, err := auth.RandomToken(); return "tract_" + t, err },
		HashToken:     auth.HashToken,
		NewUUID:       func() (string, error) { u, err := uuid.NewRandom(); return u.String(), err },
		CheckURL:      func(raw string) error { _, err := policy.CheckURL(raw); return err },
		CheckCertificate: func(pem []byte, fqdn string, now time.Time) error {
			_, err := auth.ParseCertificate(pem, fqdn, now)
			return err
		},
		CheckFAQ: bot.CheckFAQ,
		LoadFAQ: func(ctx context.Context, client int64, domain string, csv []byte) error {
			return bot.LoadFAQ(ctx, st, client, domain, csv)
		},
	}
}

func (s *Server) routes(sealer *sign.Sealer, policy safehttp.Policy) {
	cfg := s.cfg
	cursor := sha256.Sum256(append([]byte("cursor"), cfg.SecretKey...))
	s.Mux = web.NewMux(web.Config{Log: cfg.Log, Now: cfg.Now, Metrics: web.NewMetrics(s.Registry)})
	a := &api.API{Store: cfg.Store, Auth: s.Auth, Conversation: s.Conversation, Intake: s.Intake, Delivery: s.Delivery, Manifest: s.Manifest, Files: s.Files, Imports: s.Imports, Bot: s.Bot, Sealer: sealer, Policy: policy,
		Idempotency: &web.Idempotency{Store: cfg.Store}, Limiter: &web.Limiter{Now: cfg.Now}, Rate: web.Rate{PerSecond: cfg.RateLimit}, CursorKey: cursor[:], Now: cfg.Now, Log: cfg.Log,
		Ready: s.ready, Administrator: s.administrator, Metrics: s.metricsHandler(), Docs: api.Docs{OpenAPI: apidocs.JSON(), HTML: apidocs.HTML(), Asset: apidocs.Asset}, SyncWait: 5 * time.Second}
	a.Routes(s.Mux)
	webui.Routes(s.Mux, webui.Config{Check: s.CheckSetupLink, Create: s.CreateAdministrator, PublicURL: cfg.PublicURL, Home: cfg.Home, Ready: func(ctx context.Context) bool {
		return strings.Join(slices.Collect(maps.Values(s.ready(ctx))), "") == ""
	}})
}

// Handler answers HTTP.
func (s *Server) Handler() http.Handler { return s.Mux }

// Run dispatches, fires timers and trains until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Bot.Run(ctx) })
	g.Go(func() error { return s.Delivery.Run(ctx) })
	g.Go(func() error { return s.Conversation.Run(ctx) })
	g.Go(func() error { return s.Imports.Run(ctx) })
	g.Go(func() error { return s.Retention.Run(ctx) })
	g.Go(func() error { return s.sweep(ctx) })
	g.Go(func() error { return s.Files.Run(ctx) })
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-s.Store.Failed():
			return errors.New("the store failed; the process ends so that it can start from what is on disk")
		}
	})
	return g.Wait()
}

// Serve runs the server with its API on a listener until ctx ends: then calls
// that came in are answered and deliveries in flight end.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := web.NewServer(l.Addr().String(), s.Handler(), s.cfg.Log)
	g, ctx := errgroup.WithContext(ctx)
	// What is behind the API goes on until the last call is answered.
	behind, end := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error {
		defer end()
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		wait, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		defer end()
		if err := srv.Shutdown(wait); err != nil {
			return srv.Close()
		}
		return nil
	})
	g.Go(func() error { return s.Run(behind) })
	return g.Wait()
}

// ready says what keeps the server from serving.
func (s *Server) ready(ctx context.Context) map[string]string {
	text := func(err error) string {
		if err != nil {
			return err.Error()
		}
		return ""
	}
	checks := map[string]string{"store": text(s.Store.Ping(ctx)), "bot": text(s.Bot.Ready(ctx)), "dispatcher": ""}
	if !s.Delivery.Ready() {
		checks["dispatcher"] = "not running, or its lease is not renewed"
	}
	return checks
}

// Of housekeeping. What is removed because of its age is with retention.
const (
	sweepEvery  = time.Minute
	sweepRows   = 5000
	rotateAfter = 30 * 24 * time.Hour
)

// sweep forgets processes that died, and gives the signing key a successor in time.
func (s *Server) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := s.Store.UpdateLow(ctx, func(tx *store.Tx) error { return tx.RetireReplicas(sweepRows) })
		if err == nil {
			_, err = s.Auth.RotateKeys(ctx, rotateAfter)
		}
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("housekeeping failed", "error", err)
		}
	}
}
