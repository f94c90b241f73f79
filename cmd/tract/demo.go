package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"syscall"

	"github.com/alecthomas/kong"

	"tract/internal/clock"
	"tract/internal/demo"
)

type demoCmd struct{}

func (demoCmd) Run(ctx context.Context, k *kong.Context, s *Settings, c *console) error {
	if err := unknownVariables(k.Model); err != nil {
		return err
	}
	l, err := s.listen()
	if errors.Is(err, syscall.EADDRINUSE) && !given(k, "listen") {
		c.say("%s is taken; another port is used.", s.Listen)
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return err
	}
	defer l.Close()
	c.say("Starting the demo on a throw-away store …")
	err = demo.Run(ctx, demo.Config{
		Listener: l, PublicURL: s.publicURL(l.Addr()), Version: version, Now: clock.System, Log: s.demoLogger(k, c),
		Ready: func(url string) {
			c.say("\n    %s\n\nOpen it in a browser. The API reference is at %s/docs. Ctrl-C ends the demo and removes everything it wrote.", url, url)
		},
	})
	if err == nil {
		c.say("\nThe demo has ended; its store is removed.")
	}
	return err
}

// demoLogger is silent unless a level is asked for: failures are part of the
// show, and the page shows them.
func (s *Settings) demoLogger(k *kong.Context, c *console) *slog.Logger {
	if !given(k, "log-level") {
		return slog.New(slog.DiscardHandler)
	}
	return c.logger(s)
}
