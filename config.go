package tract

import (
	"encoding/json"
	"fmt"
	"time"
)

// Duration is a time.Duration written as text ("60s", "8m") in files and JSON.
type Duration time.Duration

// MarshalText writes the shortest usual form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads a form that time.ParseDuration takes; negative ones are refused.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration such as 60s or 8m", b)
	}
	*d = Duration(v)
	return nil
}

// Client is a tenant. Everything belongs to exactly one client.
type Client struct {
	Key    int64  `json:"-"` // the store's own number
	ID     string `json:"id"`
	Name   string `json:"name"`
	Active bool   `json:"active"`
	Desk   Desk   `json:"desk"`

	RateLimit RateLimit `json:"rate_limit,omitzero"`
}

// RateLimit is how often a client may call.
type RateLimit struct {
	PerToken  Rate `json:"per_token,omitzero"`  // each of its tokens; zero = as the server is set
	PerClient Rate `json:"per_client,omitzero"` // its tokens and its tools together; zero = no limit
}

// Rate is a number of calls a second, and how many may come at once after a
// silence.
type Rate struct {
	PerSecond int `json:"per_second"`
	Burst     int `json:"burst"`
}

// Desk is a client's own agent desk (SAC).
type Desk struct {
	Enabled    bool   `json:"enabled"`
	Assignment string `json:"assignment"` // balanced | speedy
}

// Scopes of a client's static token.
const (
	ScopeTransfer    = "transfer"    // send_chat_to_agent
	ScopeTranscripts = "transcripts" // get_chat_history
	ScopeFAQ         = "faq"         // FAQ create, status, export
	ScopeDelivery    = "delivery"    // users, messages, the webhook channel
)

// Scopes lists every scope of a client token.
func Scopes() []string {
	return []string{ScopeTransfer, ScopeTranscripts, ScopeFAQ, ScopeDelivery}
}

// Bot is an IVA: it answers from the FAQ steps of its domain.
type Bot struct {
	DomainName string  `json:"domain_name"`
	Language   string  `json:"language"`
	Threshold  float64 `json:"threshold"` // below it the bot does not answer
	// SuggestFrom is the confidence from which, up to the threshold, it asks
	// which step was meant; 0 = the default.
	SuggestFrom float64 `json:"suggest_from"`
	// Misunderstandings is after how many in a row it hands over; 0 = the default.
	Misunderstandings int `json:"misunderstandings"`

	Welcome       string `json:"welcome"`
	BotBreak      string `json:"bot_break"`
	Handover      string `json:"handover"`
	DidYouMean    string `json:"did_you_mean"`
	SomethingElse string `json:"something_else"`
	FileReceived  string `json:"file_received"`

	SmallTalk    SmallTalk `json:"small_talk"`
	HumanPhrases []string  `json:"human_phrases,omitempty"` // that ask for a human, beside the languages' own
	Active       bool      `json:"active"`
}

// SmallTalk is what a bot changes of what it answers to greetings, thanks and
// goodbyes. An answer that is "" is the language's own.
type SmallTalk struct {
	Off      bool   `json:"off,omitempty"` // it makes none
	Greeting string `json:"greeting,omitempty"`
	Thanks   string `json:"thanks,omitempty"`
	Bye      string `json:"bye,omitempty"`
	More     []Talk `json:"more,omitempty"`
}

// Talk is an answer to some whole messages.
type Talk struct {
	Said   []string `json:"said"`
	Answer string   `json:"answer"`
}

// Defaults of a bot.
const (
	DefaultThreshold         = 0.5
	DefaultSuggestFrom       = 0.25
	DefaultMisunderstandings = 2
)

// Step is one FAQ entry: user messages that mean it and what the bot answers.
type Step struct {
	Name      string
	Questions []string
	Answers   []string // each plain text or one HSL object
}

// Team is a queue of the desk.
type Team struct {
	Name                string   `json:"name"`
	OfflineMessage      string   `json:"offline_message"`
	DelayMessage        string   `json:"delay_message"`
	DelayAfter          Duration `json:"delay_after"`
	RecallMessage       string   `json:"recall_message"`
	RecallAfter         Duration `json:"recall_after"`
	CompleteWhenOffline bool     `json:"complete_when_offline"`
	Active              bool     `json:"active"`
}

// AgentAccount is a person who works in the desk.
type AgentAccount struct {
	Email        string   `json:"email"`
	Name         string   `json:"name"`
	PasswordHash string   `json:"password_hash"`
	Role         string   `json:"role"` // agent | lead | admin
	Concurrency  int      `json:"concurrency"`
	Teams        []string `json:"teams"`
	Active       bool     `json:"active"`
}

// Tool is an external chat tool as one client attached it.
type Tool struct {
	ID                ReceiverID  `json:"id"`
	Name              string      `json:"name"`
	FQDN              string      `json:"fqdn"`
	CASigned          bool        `json:"ca_signed"`      // may prove itself by a certificate chain URL
	RequireSHA256     bool        `json:"require_sha256"` // SHA-1 signatures are refused
	Permissions       Permissions `json:"permissions"`
	Deliver           string      `json:"deliver"` // all | active
	HistoryOnHandover int         `json:"history_on_handover"`
	Active            bool        `json:"active"`
}

// Permissions are what was negotiated beyond the original's defaults.
type Permissions struct {
	Take    bool   `json:"take"`
	Request bool   `json:"request"`
	PassTo  string `json:"pass_to"` // default | any
}

// Deliver values of a Tool.
const (
	DeliverAll    = "all"
	DeliverActive = "active"
)

// Certificate proves who a tool is. PEM holds one self-signed certificate.
type Certificate struct {
	UUID      string     `json:"uuid"`
	Client    int64      `json:"-"`
	Tool      ReceiverID `json:"tool"`
	PEM       string     `json:"pem"`
	CreatedAt time.Time  `json:"created_at"`
	RevokedAt time.Time  `json:"revoked_at"`
}

// Business is a channel or queue of a client.
type Business struct {
	ID                int64        `json:"id"`
	Name              string       `json:"name"`
	Bot               string       `json:"bot"` // domain name, or ""
	HumanAssistance   bool         `json:"human_assistance"`
	DefaultTeam       string       `json:"default_team"`
	DefaultReceiver   ReceiverID   `json:"default_receiver"` // "" = the ladder
	Tools             []ReceiverID `json:"external_chat_tools"`
	Failover          []ReceiverID `json:"failover"`
	FailoverMessage   string       `json:"failover_message"`
	AckTimeout        Duration     `json:"ack_timeout"`
	HandoverTo        ReceiverID   `json:"handover_to"`
	ReleaseAfter      Duration     `json:"release_after"` // a silent tool gives the thread back; 0 = never
	AutoCompleteAfter Duration     `json:"auto_complete_after"`
	Channels          []Channel    `json:"channels"`
	ExternalBot       *ExternalBot `json:"external_bot,omitempty"` // nil = the bot answers from its own steps
	Active            bool         `json:"active"`
}

// Kinds of an ExternalBot.
const (
	ExternalWebhook = "webhook" // a signed call that answers with messages
	ExternalOpenAI  = "openai"  // a language model that is given the best steps
)

// ExternalBot answers in place of a business' built-in bot.
type ExternalBot struct {
	Kind      string   `json:"kind"`
	URL       string   `json:"url"`              // of the webhook, or the base of the endpoint
	Secret    string   `json:"secret,omitempty"` // sealed: signs the calls, or is the API key
	Timeout   Duration `json:"timeout"`
	Model     string   `json:"model,omitempty"`
	MaxTokens int      `json:"max_tokens,omitempty"`
	// Prices of a million tokens; 0 = cost is not counted.
	PriceIn  float64 `json:"price_per_million_input,omitempty"`
	PriceOut float64 `json:"price_per_million_output,omitempty"`
}

// Channel connects a business with a platform. Settings of a platform are
// kept as they came, secrets sealed; Platform says who reads them.
type Channel struct {
	Platform string          `json:"platform"` // webhook | websdk | whatsapp | facebook
	URL      string          `json:"url,omitempty"`
	Secret   string          `json:"secret,omitempty"` // sealed
	Settings json.RawMessage `json:"settings,omitempty"`
}

// Hook is one webhook of a tool: where it hears one event.
type Hook struct {
	Endpoint    int64
	Tool        ReceiverID
	Category    string
	Subcategory string
	Event       Event
	Enabled     bool
}

// Config is everything that decides about one client's threads, at one version.
// It is read-only once built.
type Config struct {
	Client     Client
	Version    int64
	Businesses map[int64]*Business
	Bots       map[string]*Bot
	Teams      map[string]*Team
	Tools      map[ReceiverID]*Tool
	Hooks      map[ReceiverID][]Hook
	// Channels and BotLanes give the endpoint of a business' channel and bot turns.
	Channels map[int64]int64
	BotLanes map[int64]int64
	// Texts is the client's wording by key.
	Texts map[string]Text
}

// Receiver is a tool as one business sees it.
type Receiver struct {
	ID                ReceiverID
	Name              string
	Available         bool
	Why               string // why it is not available
	Permissions       Permissions
	Deliver           string
	HistoryOnHandover int
}

// Settings is what the state machine needs to know beside the thread.
type Settings struct {
	Receivers       []Receiver
	Default         ReceiverID // "" when none can be derived
	HumanAssistance bool
	DefaultTeam     string
	Teams           map[string]bool // name → active
	Failover        []ReceiverID
	FailoverMessage string
	AckTimeout      time.Duration
	HandoverTo      ReceiverID
	ReleaseAfter    time.Duration
	AutoComplete    time.Duration
	PendingFor      time.Duration // how long an offer or request stands
}

// Receiver finds a receiver of the business.
func (s *Settings) Receiver(id ReceiverID) (Receiver, bool) {
	for _, r := range s.Receivers {
		if r.ID == id {
			return r, true
		}
	}
	return Receiver{}, false
}

// Settings derives what decides about the threads of one business. ok is false
// when the business does not exist.
func (c *Config) Settings(business int64) (s *Settings, ok bool) {
	b := c.Businesses[business]
	if b == nil {
		return nil, false
	}
	s = &Settings{
		HumanAssistance: b.HumanAssistance,
		DefaultTeam:     b.DefaultTeam,
		Teams:           make(map[string]bool, len(c.Teams)),
		Failover:        b.Failover,
		FailoverMessage: b.FailoverMessage,
		ReleaseAfter:    time.Duration(b.ReleaseAfter),
		AutoComplete:    time.Duration(b.AutoCompleteAfter),
		PendingFor:      time.Minute,
	}
	for name, t := range c.Teams {
		s.Teams[name] = t.Active
	}
	if len(b.Failover) > 0 {
		if s.AckTimeout = time.Duration(b.AckTimeout); s.AckTimeout == 0 {
			s.AckTimeout = time.Minute
		}
	}
	if bot := c.Bots[b.Bot]; b.Bot != "" && bot != nil {
		s.Receivers = append(s.Receivers, Receiver{ID: IVA, Name: bot.DomainName, Available: bot.Active, Why: unless(bot.Active, "the bot is inactive")})
	}
	if c.Client.Desk.Enabled {
		s.Receivers = append(s.Receivers, deskReceiver(c.Teams))
	}
	for _, id := range b.Tools {
		if t := c.Tools[id]; t != nil {
			s.Receivers = append(s.Receivers, toolReceiver(t, c.Hooks[id]))
		}
	}
	s.Default = defaultReceiver(b, c, s)
	s.HandoverTo = handoverTo(b, s)
	return s, true
}

func unless(ok bool, why string) string {
	if ok {
		return ""
	}
	return why
}

func deskReceiver(teams map[string]*Team) Receiver {
	r := Receiver{ID: SAC, Name: "Smart Agent Chat", Why: "the desk has no active team"}
	for _, t := range teams {
		if t.Active {
			r.Available, r.Why = true, ""
		}
	}
	return r
}

// toolReceiver holds the rule of availability: inactive, without a message
// hook, or with that hook disabled. Failing at the moment is not unavailable.
func toolReceiver(t *Tool, hooks []Hook) Receiver {
	r := Receiver{ID: t.ID, Name: t.Name, Permissions: t.Permissions, Deliver: t.Deliver, HistoryOnHandover: t.HistoryOnHandover, Why: "the tool has no message hook"}
	for _, h := range hooks {
		if h.Event == EventMessage {
			r.Available, r.Why = h.Enabled, unless(h.Enabled, "the tool's message hook is disabled")
		}
	}
	if !t.Active {
		r.Available, r.Why = false, "the tool is inactive"
	}
	return r
}

// defaultReceiver is the ladder: explicit, bot, desk, the only tool.
func defaultReceiver(b *Business, c *Config, s *Settings) ReceiverID {
	usable := func(id ReceiverID) bool {
		switch id {
		case IVA:
			return b.Bot != "" && c.Bots[b.Bot] != nil && c.Bots[b.Bot].Active
		case SAC:
			return c.Client.Desk.Enabled
		}
		_, attached := s.Receiver(id)
		return attached && c.Tools[id].Active
	}
	if b.DefaultReceiver != "" && usable(b.DefaultReceiver) {
		return b.DefaultReceiver
	}
	if usable(IVA) {
		return IVA
	}
	if usable(SAC) {
		return SAC
	}
	if only := onlyTool(b, usable); only != "" {
		return only
	}
	return ""
}

func onlyTool(b *Business, usable func(ReceiverID) bool) ReceiverID {
	var found ReceiverID
	for _, id := range b.Tools {
		if usable(id) {
			if found != "" {
				return ""
			}
			found = id
		}
	}
	return found
}

// handoverTo is who gets what the bot cannot answer: as set, else the desk,
// else the only tool.
func handoverTo(b *Business, s *Settings) ReceiverID {
	if b.HandoverTo != "" {
		return b.HandoverTo
	}
	if _, ok := s.Receiver(SAC); ok {
		return SAC
	}
	return onlyTool(b, func(id ReceiverID) bool { _, ok := s.Receiver(id); return ok })
}
