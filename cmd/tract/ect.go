package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"tract/internal/clock"
	"tract/internal/ect"
)

// ectCmd is for developers of connectors: a tool on a real hub that behaves as
// told. Where it listens and how the hub reaches it are --listen and
// --public-url.
type ectCmd struct {
	Hub           string            `help:"URL of the hub." default:"http://localhost:8080"`
	Client        string            `required:"" help:"The client organisation the tool works for."`
	ID            string            `required:"" help:"The tool's own id at that client."`
	FQDN          string            `help:"The tool's domain name as the hub knows it; by default the one its certificate was made for." name:"fqdn"`
	Identity      string            `help:"Folder of the tool's key and certificate; they are made if there are none." default:"./ect-identity" placeholder:"DIR"`
	CertUUID      string            `help:"The id of the certificate at the hub. Without it the command prints what the hub's declarative file needs, and ends." name:"cert-uuid" placeholder:"UUID"`
	Reply         string            `help:"Answer each message with this while the tool owns the thread; {{text}} is what the user wrote." placeholder:"TEXT"`
	Allocate      string            `help:"Give each chat that is handed over to this agent." placeholder:"NAME"`
	CompleteAfter ect.CompleteAfter `help:"Complete a conversation after a silence such as 30s, or after a number of replies." placeholder:"30s|3"`
	Fail          float64           `help:"Share of the hook calls to refuse, from 0 to 1." placeholder:"SHARE"`
	Delay         time.Duration     `help:"Answer every hook call this late." placeholder:"TIME"`
}

// Validate refuses what no type catches.
func (e *ectCmd) Validate() error {
	switch {
	case !(e.Fail >= 0 && e.Fail <= 1):
		return fmt.Errorf("--fail must be from 0 to 1, not %g", e.Fail)
	case e.Delay < 0:
		return fmt.Errorf("--delay must not be negative, as %s is", e.Delay)
	}
	return nil
}

func (e *ectCmd) Run(ctx context.Context, k *kong.Context, s *Settings, c *console, in io.Reader) error {
	id, err := e.identity()
	if err != nil {
		return err
	}
	if e.CertUUID == "" {
		return e.introduce(c, id)
	}
	tool, err := ect.New(ect.Config{
		Hub: e.Hub, Identity: id, CertUUID: e.CertUUID, FQDN: e.FQDN, ClientID: e.Client, ReceiverID: e.ID,
		Listen: listenOr(k, s, "127.0.0.1:0"), PublicURL: s.PublicURL, Colour: colourful(c.out), Now: clock.System,
		Rules: ect.Rules{Reply: e.Reply, Allocate: e.Allocate, CompleteAfter: e.CompleteAfter},
	})
	if err != nil {
		return err
	}
	tool.SetFaults(ect.Faults{Fail: e.Fail, Delay: e.Delay})
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return tool.Run(ctx) })
	g.Go(func() error {
		defer quit()
		return ect.Terminal(ctx, tool, &endless{in, ctx}, c.out)
	})
	return g.Wait()
}

// identity loads what the tool proves itself with, or makes it.
func (e *ectCmd) identity() (*ect.Identity, error) {
	if e.FQDN != "" {
		return ect.OpenIdentity(e.Identity, e.FQDN, ect.ECDSA, clock.System())
	}
	id, err := ect.LoadIdentity(e.Identity)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no key and certificate in %s; to make them, say for which domain name with --fqdn", e.Identity)
	}
	return id, err
}

// introduce says what the hub has to be told of the tool. The certificate's id
// is made from the certificate, so that it stays the same when asked again.
func (e *ectCmd) introduce(c *console, id *ect.Identity) error {
	file, err := filepath.Abs(filepath.Join(e.Identity, "certificate.pem"))
	if err != nil {
		return err
	}
	cert := uuid.NewSHA1(uuid.NameSpaceOID, id.CertificatePEM())
	c.say(`The tool's key and certificate are in %s.

Put this into the hub's declarative file, below the client %q, and apply it:

    external_chat_tools:
      - id: %s
        fqdn: %s
        certificates: [{file: %q, uuid: %s}]

Name %s in "external_chat_tools" of a business, too. The tool's hooks are http on
this machine, so the hub needs TRACT_ALLOW_PRIVATE_TARGETS=true. Then run:

    tract ect --hub %s --client %s --id %s --identity %q --cert-uuid %s`,
		e.Identity, e.Client, e.ID, id.FQDN(), file, cert, e.ID, e.Hub, e.Client, e.ID, e.Identity, cert)
	return nil
}

// listenOr is --listen where the command line has it; a tool must not take the
// address that the settings give the server.
func listenOr(k *kong.Context, s *Settings, otherwise string) string {
	if given(k, "listen") {
		return s.Listen
	}
	return otherwise
}

// given says whether the command line itself has a flag.
func given(k *kong.Context, name string) bool {
	for _, p := range k.Path {
		if p.Flag != nil && p.Flag.Name == name && !p.Resolved {
			return true
		}
	}
	return false
}

// colourful says whether colours would be seen as such.
func colourful(out io.Writer) bool {
	if _, off := os.LookupEnv("NO_COLOR"); off {
		return false
	}
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// endless is input whose end is not the session's: a tool without a keyboard
// goes on until it is stopped.
type endless struct {
	r   io.Reader
	ctx context.Context
}

// Read waits at the end of the input.
func (e *endless) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if n == 0 && err != nil {
		<-e.ctx.Done()
		return 0, io.EOF
	}
	return n, nil
}
