package apitest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"testing"
	"time"

	"tract/internal/clock"
	"tract/internal/files"
	"tract/internal/manifest"
	"tract/internal/server"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// identity is what proves a tool.
type identity struct {
	key  crypto.Signer
	pem  []byte
	uuid string
	fqdn string
}

// identities are made once a process: RSA keys take long.
var identities = sync.OnceValue(func() map[string]*identity {
	return map[string]*identity{
		"desk-one": newIdentity("desk-one.example", "6b0f6d0e-54c8-4d5c-9d56-1d6f0a5f0001", must(rsa.GenerateKey(rand.Reader, 2048))),
		"desk-two": newIdentity("desk-two.example", "6b0f6d0e-54c8-4d5c-9d56-1d6f0a5f0002", must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))),
	}
})

func newIdentity(fqdn, uuid string, key crypto.Signer) *identity {
	now := clock.System()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: fqdn}, DNSNames: []string{fqdn},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), BasicConstraintsValid: true}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	return &identity{key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), uuid, fqdn}
}

// taught is a store in which the fixture's bots have learnt and been reviewed,
// which takes longer than most tests. All else of the fixture is each world's own.
var taught = &tracttest.Preparation{Name: "taught", Fill: func(t *testing.T, s *store.Store) {
	srv, err := server.New(server.Config{Store: s, SecretKey: secretKey(), Files: files.Settings{Dir: t.TempDir()}, Now: clock.System})
	if err != nil {
		t.Fatalf("make a server for the template: %v", err)
	}
	w := &World{T: t, Server: srv}
	w.Apply(fmt.Sprintf("version: 1\nclients:\n  - {id: acme, name: Acme Stores, bots: [%s]}\n  - {id: other, name: Other Ltd, bots: [%s]}\n", acmeBot, otherBot), manifest.Flags{})
	if err := errors.Join(srv.Bot.Preload(t.Context()), srv.Bot.Report(t.Context())); err != nil {
		t.Fatalf("teach the bots: %v", err)
	}
}}

// The bots of the fixture that have steps.
const (
	acmeBot  = `{domain_name: acme_faq, language: en, welcome: "", bot_break: "` + BotBreak + `", handover: "` + Handover + `", faq: ./faq.csv}`
	otherBot = `{domain_name: other_faq, language: en, faq: ./faq.csv}`
)

const faq = `node_name,question,answer
Opening hours,"when are you open|what are your opening hours|are you open on sunday","We are open Mon to Fri, 9 to 18h."
Return policy,"how do I return an item|what is your return policy|can I send it back","You can return items within 30 days.<m>Shall I send you a label?"
Delivery time,"how long does delivery take|when will my parcel arrive|delivery time","Delivery takes two to four days."
`

// What the bot of the fixture understands and says, and what it does not
// understand.
const (
	Answerable   = "what are your opening hours"
	AnswerText   = "We are open Mon to Fri, 9 to 18h."
	TwoAnswers   = "how do I return an item"
	Unanswerable = "my blender exploded and singed the cat"
	BotBreak     = "Sorry, I did not get that."
	Handover     = "Let me get a colleague."
)

func fixtureFile(path string) ([]byte, error) {
	switch path {
	case "./faq.csv":
		return []byte(faq), nil
	case "./desk-one.pem":
		return identities()["desk-one"].pem, nil
	case "./desk-two.pem":
		return identities()["desk-two"].pem, nil
	}
	return nil, errors.New("no such file in the fixture")
}

// Secrets of the channel webhooks.
const (
	ChannelSecret = "channel-secret"
	OtherSecret   = "other-secret"
)

// Fixture is the declarative file that a world begins with.
func (w *World) Fixture() string {
	hook := fmt.Sprintf(`{platform: webhook, url: %q, secret: %s}`, w.Channel.URL("/channel"), ChannelSecret)
	ids := identities()
	return fmt.Sprintf(`version: 1
clients:
  - id: acme
    name: Acme Stores
    tokens:
      - {name: main, value: %[1]q}
      - {name: narrow, value: "%[1]s-narrow", scopes: [faq]}
    bots:
      - %[6]s
      - {domain_name: acme_import, language: en}
    desk: {enabled: true, assignment: balanced}
    teams: [{name: Support}, {name: Billing}, {name: Closed, active: false}]
    agents:
      - {email: mia@acme.example, name: Mia, password: "correct horse battery", role: agent, concurrency: 3, teams: [Support, Billing]}
    external_chat_tools:
      - {id: desk-one, name: Desk One, fqdn: desk-one.example, certificates: [{file: ./desk-one.pem, uuid: %[2]q}]}
      - {id: desk-two, name: Desk Two, fqdn: desk-two.example, certificates: [{file: ./desk-two.pem, uuid: %[3]q}], permissions: {take: true, request: true, pass_to: any}}
    businesses:
      - {id: 343, name: Acme Support, bot: acme_faq, human_assistance: true, default_team: Support, external_chat_tools: [desk-one, desk-two], channels: [%[4]s]}
      - {id: 344, name: Tool first, human_assistance: true, default_receiver: desk-one, external_chat_tools: [desk-one], channels: [%[4]s]}
      - {id: 345, name: Shut, bot: acme_faq, active: false, channels: [%[4]s]}
      - {id: 346, name: Bot only, bot: acme_faq, human_assistance: false, channels: [%[4]s]}
  - id: other
    name: Other Ltd
    tokens: [{name: main, value: %[8]q}]
    bots: [%[7]s]
    businesses:
      - {id: 900, name: Other, bot: other_faq, channels: [{platform: webhook, url: %[5]q, secret: %[9]s}]}
`, w.Token, ids["desk-one"].uuid, ids["desk-two"].uuid, hook, w.Channel.URL("/other"), acmeBot, otherBot, w.OtherToken, OtherSecret)
}
