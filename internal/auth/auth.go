// Package auth owns the answer to "who is calling": signed management requests
// of tools, the tokens they get for them, clients' static tokens, agents'
// passwords and the operator's own token.
//
// It must not know of statuses and routes, nor what a caller may do with a
// thread.
//
// Invariants: nothing a caller claims decides where the hub connects to or which
// key proves the claim, only the tool's record does; a signed body is accepted
// once; a revocation counts from its commit on, at every replica; nothing that
// would let somebody in is stored or logged in clear.
package auth

import (
	"crypto/rand"
	"crypto/x509"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sync/singleflight"

	"tract/internal/safehttp"
	"tract/internal/sign"
	"tract/internal/store"
)

// Config is what a Service is made from.
type Config struct {
	Store  *store.Store
	Sealer *sign.Sealer // for the keys that sign tokens
	// Issuer is the iss of tokens: this deployment's public URL.
	Issuer        string
	TokenLifetime time.Duration // of tools' tokens; 0 means 1 h
	// Roots are trusted for certificate chains and for the hosts they are fetched
	// from; nil means the system's.
	Roots *x509.CertPool
	// Policy says which addresses a chain may be fetched from.
	Policy safehttp.Policy
	// Fetch gets a certificate chain; nil means over the network, under Policy.
	Fetch      Fetch
	AdminToken sign.Secret  // of the operator; "" = there is none
	Rand       io.Reader    // nil means the system's
	Log        *slog.Logger // nil is silent
}

// Service answers who is calling. Safe for concurrent use.
type Service struct {
	store      *store.Store
	sealer     *sign.Sealer
	issuer     string
	lifetime   time.Duration
	adminToken sign.Secret
	rand       io.Reader
	log        *slog.Logger
	chains     chains
	keys       keyRing
	tokens     cache[*proven]      // tools' tokens: a signature takes longer to check than all the rest
	clients    cache[*clientProof] // by client and token hash
	hashing    chan struct{}       // a place for each password being hashed
}

const (
	defaultLifetime = time.Hour
	maxHashing      = 2 // each takes 19 MiB and a core
)

// New makes a Service.
func New(cfg Config) *Service {
	s := &Service{
		store: cfg.Store, sealer: cfg.Sealer, issuer: cfg.Issuer, lifetime: cfg.TokenLifetime,
		adminToken: cfg.AdminToken, rand: cfg.Rand, log: cfg.Log,
		hashing: make(chan struct{}, maxHashing),
	}
	if s.lifetime <= 0 {
		s.lifetime = defaultLifetime
	}
	if s.rand == nil {
		s.rand = rand.Reader
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	fetch := cfg.Fetch
	if fetch == nil {
		fetch = overNetwork(cfg.Policy, cfg.Roots)
	}
	s.chains = chains{fetch: fetch, roots: cfg.Roots, flight: new(singleflight.Group), tools: map[string]*toolChains{}}
	return s
}
