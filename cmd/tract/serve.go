package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"runtime/pprof"

	"github.com/alecthomas/kong"

	"tract/internal/clock"
	"tract/internal/server"
	"tract/internal/sign"
	"tract/internal/store"
)

type serveCmd struct {
	CPUProfile string `name:"cpu-profile" help:"Write where processor time goes, from start to stop, to this file, for go tool pprof." placeholder:"FILE"`
}

func (cmd serveCmd) Run(ctx context.Context, k *kong.Context, s *Settings, c *console) (err error) {
	if err := unknownVariables(k.Model); err != nil {
		return err
	}
	if cmd.CPUProfile != "" {
		end, failed := profile(cmd.CPUProfile)
		if failed != nil {
			return fmt.Errorf("--cpu-profile: %w", failed)
		}
		defer func() { err = errors.Join(err, end()) }()
	}
	log := c.logger(s)
	l, err := s.listen()
	if err != nil {
		return err
	}
	defer l.Close()
	st, err := s.openStore(ctx, log)
	if err != nil {
		return held(err, "stop it, or give this server a folder of its own with --data-dir (TRACT_DATA_DIR)")
	}
	defer st.Close()
	srv, err := s.newServer(st, c, l.Addr())
	if err != nil {
		return err
	}
	if err := firstStart(ctx, srv, s, c, s.publicURL(l.Addr())); err != nil {
		return err
	}
	log.Info("serving", "listen", l.Addr().String(), "public_url", s.publicURL(l.Addr()), "store", st.Engine(), "version", version)
	if os.Getenv("GOGC") == "" {
		go keepHeadroom(ctx)
	}
	debug.FreeOSMemory() // what only the start needed: most of it
	err = srv.Serve(ctx, l)
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	log.Info("stopped")
	return err
}

// profile begins to write a CPU profile.
func profile(file string) (end func() error, err error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

// newServer wires a server that listens on addr. Its name is host and address:
// who can listen there again knows that the process before is dead.
func (s *Settings) newServer(st *store.Store, c *console, addr net.Addr) (*server.Server, error) {
	key, err := s.secretKey()
	if err != nil {
		return nil, err
	}
	host, _ := os.Hostname()
	return server.New(server.Config{
		Store: st, SecretKey: key, DataDir: s.DataDir, PublicURL: s.publicURL(addr), AdminToken: sign.Secret(s.AdminToken), AllowPrivate: s.AllowPrivateTargets, HookTimeout: s.HookTimeout, Ladder: s.HookRetrySchedule,
		TokenLifetime: s.TokenLifetime, RateLimit: s.RateLimit, MetricsToken: sign.Secret(s.MetricsToken), Files: s.files(), Keep: s.keep(), Version: version, Name: host + "/" + addr.String(), Now: clock.System, Log: c.logger(s),
	})
}

// firstStart prints a link to make the first administrator when there is none
// and no token is set.
func firstStart(ctx context.Context, srv *server.Server, s *Settings, c *console, publicURL string) error {
	if s.AdminToken != "" {
		return nil
	}
	link, err := srv.SetupLink(ctx)
	if err != nil || link == "" {
		return err
	}
	fmt.Fprintf(c.errs, "\nNobody administers this server yet. Open this link once to become its administrator:\n\n    %s%s\n\n", publicURL, link)
	return nil
}
