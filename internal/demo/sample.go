package demo

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"tract"
	"tract/internal/ect"
	"tract/internal/manifest"
	"tract/internal/sign"
)

//go:embed acme.yaml
var sampleFile string

//go:embed acme_faq.csv
var sampleFAQ string

// What the page and the sample file call the same.
const (
	clientID = "acme"
	business = 343
)

// sample is one of the simulated tools, as the sample file describes it.
type sample struct {
	ID     tract.ReceiverID
	Name   string
	Agent  string // who works there
	Rights string // what it may do, in words
	fqdn   string
	first  tract.ReceiverID // whom the page suggests to pass to
}

func samples() []sample {
	return []sample{
		{"desk-one", "Northwind Desk", "Nora", "Answers while it has the thread; may give it back.", "desk.northwind.example", tract.IVA},
		{"desk-two", "Harbor Chat", "Hassan", "May also take, request, and pass to anyone.", "chat.harbor.example", "desk-one"},
	}
}

// secrets are what the parts of the demo prove themselves with.
type secrets struct {
	clientToken  string
	identities   map[tract.ReceiverID]*ect.Identity
	certificates map[tract.ReceiverID]string
}

// applySample fills the store through the declarative file, as an operator would.
func (d *demo) applySample(ctx context.Context) (*secrets, error) {
	channelSecret, err := sign.NewSecret(rand.Reader)
	if err != nil {
		return nil, err
	}
	d.channel.secret = channelSecret
	s := &secrets{clientToken: rand.Text(), identities: map[tract.ReceiverID]*ect.Identity{}, certificates: map[tract.ReceiverID]string{}}
	env := map[string]string{"CLIENT_TOKEN": s.clientToken, "CHANNEL_URL": d.channel.url(), "CHANNEL_SECRET": channelSecret, "ACK_TIMEOUT": d.cfg.AckTimeout.String()}
	files := map[string][]byte{"acme_faq.csv": []byte(sampleFAQ)}
	for _, t := range samples() {
		id, err := ect.NewIdentity(t.fqdn, ect.ECDSA, d.cfg.Now())
		if err != nil {
			return nil, err
		}
		s.identities[t.ID], s.certificates[t.ID] = id, uuid.NewString()
		files[string(t.ID)+".pem"] = id.CertificatePEM()
		env[strings.ToUpper(strings.ReplaceAll(string(t.ID), "-", "_"))+"_CERT"] = s.certificates[t.ID]
	}
	f, err := manifest.Parse(strings.NewReader(sampleFile), "acme.yaml", manifest.Options{
		Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		ReadFile: func(path string) ([]byte, error) {
			b, ok := files[path]
			if !ok {
				return nil, fmt.Errorf("%s is not part of the sample", path)
			}
			return b, nil
		},
	})
	if err != nil {
		return nil, err
	}
	_, err = d.srv.Manifest.Apply(ctx, f, manifest.Flags{Actor: "demo"})
	return s, err
}
