package manifest

import (
	"encoding/json"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"

	"tract"
)

// What an absent key stands for.
const (
	defaultDelay       = time.Minute
	defaultRecall      = 4 * time.Minute
	mostRecall         = 8 * time.Minute
	defaultAck         = time.Minute
	defaultAuto        = 8 * time.Minute
	defaultConcurrency = 3
	mostConcurrency    = 20
	mostHistory        = 1000
	mostToken          = 512
	mostRate           = 100_000
)

// The parts of a file. Each keeps its object for the places of later errors.
type (
	client struct {
		*object
		body       tract.Client
		tokens     []*clientToken
		bots       []*bot
		teams      []*team
		agents     []*agent
		texts      []*wording
		tools      []*tool
		businesses []*business
	}
	clientToken struct {
		*object
		name   string
		value  *string // nil = made once, then kept
		scopes []string

		expiresAt time.Time // zero = as stored
	}
	bot struct {
		*object
		body tract.Bot
		faq  *namedFile
	}
	team struct {
		*object
		body tract.Team
	}
	agent struct {
		*object
		body     tract.AgentAccount
		password *string // nil = as stored
	}
	wording struct {
		at   place
		key  string
		body tract.Text
	}
	tool struct {
		*object
		body         tract.Tool
		certificates []*certificate
	}
	certificate struct {
		*object
		uuid string // "" = made once, then kept
		pem  string
	}
	business struct {
		*object
		body     tract.Business // without Channels and the secret of ExternalBot
		channels []*channel
		external *externalBot // nil = none
	}
	channel struct {
		*object
		platform string
		url      string
		settings map[string]any     // what is no secret
		secrets  map[string]*string // nil = as stored, "" = none
		needed   []string           // secrets that a new channel must have
	}
	namedFile struct {
		at      place
		path    string
		content []byte
	}
)

func (d *decoder) file(root *value) []*client {
	o := d.object(root, "version", "clients")
	if o.need("version") && o.number("version", 1, 1, 1<<31) != 1 {
		o.bad("version", "must be 1")
	}
	if o.need("clients") && len(o.list("clients")) == 0 && o.get("clients") != nil && o.get("clients").kind == isList {
		o.bad("clients", "names no client")
	}
	var out []*client
	for _, v := range o.list("clients") {
		out = append(out, d.client(v))
	}
	return out
}

func (d *decoder) client(v *value) *client {
	o := d.object(v, "id", "name", "active", "rate_limit", "tokens", "bots", "desk", "teams", "agents", "texts", "external_chat_tools", "businesses")
	c := &client{object: o, body: tract.Client{ID: o.id("id"), Active: o.flag("active", true)}}
	c.body.Name = o.text("name", c.body.ID)
	c.body.Desk = tract.Desk{Assignment: "balanced"}
	if v := o.get("desk"); v != nil {
		desk := d.object(v, "enabled", "assignment")
		c.body.Desk = tract.Desk{Enabled: desk.flag("enabled", false), Assignment: desk.choice("assignment", "balanced", "balanced", "speedy")}
	}
	if v := o.get("rate_limit"); v != nil {
		c.body.RateLimit = d.rateLimit(v)
	}
	for _, v := range o.list("tokens") {
		c.tokens = append(c.tokens, d.token(v))
	}
	for _, v := range o.list("bots") {
		c.bots = append(c.bots, d.bot(v))
	}
	for _, v := range o.list("teams") {
		c.teams = append(c.teams, d.team(v))
	}
	for _, v := range o.list("agents") {
		c.agents = append(c.agents, d.agent(v))
	}
	c.texts = d.texts(o)
	for _, v := range o.list("external_chat_tools") {
		c.tools = append(c.tools, d.tool(v))
	}
	for _, v := range o.list("businesses") {
		c.businesses = append(c.businesses, d.business(v))
	}
	return c
}

func (d *decoder) rateLimit(v *value) tract.RateLimit {
	o := d.object(v, "per_token", "per_client")
	return tract.RateLimit{PerToken: d.rate(o.get("per_token")), PerClient: d.rate(o.get("per_client"))}
}

func (d *decoder) rate(v *value) (r tract.Rate) {
	if v == nil {
		return r
	}
	o := d.object(v, "per_second", "burst")
	o.need("per_second")
	r.PerSecond = int(o.number("per_second", 1, 1, mostRate))
	r.Burst = int(o.number("burst", int64(2*r.PerSecond), 1, 2*mostRate))
	return r
}

func (d *decoder) token(v *value) *clientToken {
	o := d.object(v, "name", "value", "scopes", "expires_at")
	t := &clientToken{object: o, name: o.label("name"), scopes: tract.Scopes(), value: o.optional("value"), expiresAt: o.instant("expires_at")}
	if t.value != nil && *t.value == "" && o.get("value").kind == isText {
		o.bad("value", "must not be empty; leave the key out to have a token made")
	}
	if t.value != nil && (len(*t.value) > mostToken || strings.ContainsFunc(*t.value, func(r rune) bool { return r <= ' ' || r > '~' })) {
		o.bad("value", "must be at most %d printable ASCII characters without spaces", mostToken)
	}
	if o.has("scopes") {
		t.scopes = o.names("scopes")
		d.words(o.list("scopes"), tract.Scopes())
		slices.Sort(t.scopes)
	}
	return t
}

// words checks that every text is one of some words.
func (d *decoder) words(items []*value, words []string) {
	for _, v := range items {
		if v.kind == isText && v.text != "" && !slices.Contains(words, v.text) {
			d.bad.add(v.at, "%s is not one of %s%s", v.shown(), strings.Join(words, ", "), suggestion(v, words))
		}
	}
}

func isLanguage(s string) bool {
	first, rest, more := strings.Cut(s, "-")
	lower := func(r rune) bool { return r < 'a' || r > 'z' }
	return len(first) >= 2 && len(first) <= 3 && !strings.ContainsFunc(first, lower) && (!more || isID(rest))
}

// named reads the file that a key names; nil when there is none.
func (d *decoder) named(o *object, key string) *namedFile {
	if o.get(key) == nil || o.get(key).kind != isText {
		o.text(key, "")
		return nil
	}
	path := o.needText(key)
	if path == "" {
		return nil
	}
	content, err := d.readFile(path)
	if err != nil {
		o.bad(key, "cannot read %s: %v", o.get(key).shown(), err)
		return nil
	}
	return &namedFile{at: o.place(key), path: path, content: content}
}

func (d *decoder) team(v *value) *team {
	o := d.object(v, "name", "offline_message", "delay_message", "delay_after", "recall_message", "recall_after", "complete_when_offline", "active")
	return &team{object: o, body: tract.Team{
		Name:                o.label("name"),
		OfflineMessage:      o.text("offline_message", ""),
		DelayMessage:        o.text("delay_message", ""),
		DelayAfter:          o.duration("delay_after", defaultDelay, 0),
		RecallMessage:       o.text("recall_message", ""),
		RecallAfter:         o.duration("recall_after", defaultRecall, mostRecall),
		CompleteWhenOffline: o.flag("complete_when_offline", false),
		Active:              o.flag("active", true),
	}}
}

func (d *decoder) agent(v *value) *agent {
	o := d.object(v, "email", "name", "password", "role", "concurrency", "teams", "active")
	a := &agent{object: o, password: o.optional("password"), body: tract.AgentAccount{
		Email:       strings.ToLower(o.needText("email")),
		Role:        o.choice("role", "agent", "agent", "lead", "admin"),
		Concurrency: int(o.number("concurrency", defaultConcurrency, 1, mostConcurrency)),
		Teams:       o.names("teams"),
		Active:      o.flag("active", true),
	}}
	a.body.Name = o.text("name", a.body.Email)
	if a.body.Email != "" && !isEmail(a.body.Email) {
		o.bad("email", "%s is not an e-mail address", o.get("email").shown())
		a.body.Email = ""
	}
	if a.password != nil && *a.password == "" && o.get("password").kind == isText {
		o.bad("password", "must not be empty; leave the key out to keep the one that is stored")
	}
	return a
}

func isEmail(s string) bool {
	m, err := mail.ParseAddress(s)
	return err == nil && m.Address == s && m.Name == "" && len(s) <= 254 && isFQDN(s[strings.LastIndexByte(s, '@')+1:])
}

// isFQDN accepts lower-case names with at least one dot that are no addresses.
func isFQDN(s string) bool {
	labels := strings.Split(s, ".")
	if len(s) > 253 || len(labels) < 2 {
		return false
	}
	for _, l := range labels {
		if !isID(l) || strings.Contains(l, "_") || strings.HasSuffix(l, "-") || l != strings.ToLower(l) {
			return false
		}
	}
	return strings.ContainsFunc(labels[len(labels)-1], func(r rune) bool { return r >= 'a' && r <= 'z' })
}

func (d *decoder) tool(v *value) *tool {
	o := d.object(v, "id", "name", "fqdn", "certificates", "ca_signed", "require_sha256", "permissions", "deliver", "history_on_handover", "active")
	t := &tool{object: o, body: tract.Tool{
		ID:                tract.ReceiverID(o.id("id")),
		FQDN:              strings.ToLower(o.needText("fqdn")),
		CASigned:          o.flag("ca_signed", false),
		RequireSHA256:     o.flag("require_sha256", false),
		Permissions:       tract.Permissions{PassTo: "default"},
		Deliver:           o.choice("deliver", tract.DeliverAll, tract.DeliverAll, tract.DeliverActive),
		HistoryOnHandover: int(o.number("history_on_handover", 0, 0, mostHistory)),
		Active:            o.flag("active", true),
	}}
	t.body.Name = o.text("name", string(t.body.ID))
	if t.body.ID.Primary() {
		o.bad("id", "%q is taken: it stands for a receiver of the hub", t.body.ID)
	}
	if t.body.FQDN != "" && !isFQDN(t.body.FQDN) {
		o.bad("fqdn", "%s is not a full domain name such as desk.example.com", o.get("fqdn").shown())
		t.body.FQDN = ""
	}
	if v := o.get("permissions"); v != nil {
		p := d.object(v, "take", "request", "pass_to")
		t.body.Permissions = tract.Permissions{Take: p.flag("take", false), Request: p.flag("request", false), PassTo: p.choice("pass_to", "default", "default", "any")}
	}
	for _, v := range o.list("certificates") {
		t.certificates = append(t.certificates, d.certificate(v))
	}
	return t
}

func (d *decoder) business(v *value) *business {
	o := d.object(v, "id", "name", "bot", "human_assistance", "default_team", "default_receiver", "external_chat_tools", "failover", "failover_message",
		"ack_timeout", "handover_to", "release_after", "auto_complete_after", "channels", "external_bot", "active")
	o.need("id")
	b := &business{object: o, body: tract.Business{
		ID:                o.number("id", 0, 1, 1<<53-1),
		Name:              o.text("name", ""),
		Bot:               o.text("bot", ""),
		HumanAssistance:   o.flag("human_assistance", false),
		DefaultTeam:       o.text("default_team", ""),
		DefaultReceiver:   tract.ReceiverID(o.text("default_receiver", "")),
		Tools:             receivers(o.names("external_chat_tools")),
		Failover:          receivers(o.names("failover")),
		FailoverMessage:   o.text("failover_message", ""),
		AckTimeout:        o.duration("ack_timeout", defaultAck, 0),
		HandoverTo:        tract.ReceiverID(o.text("handover_to", "")),
		ReleaseAfter:      o.duration("release_after", 0, 0),
		AutoCompleteAfter: o.duration("auto_complete_after", defaultAuto, 0),
		Channels:          []tract.Channel{},
		Active:            o.flag("active", true),
	}}
	for _, v := range o.list("channels") {
		if c := d.channel(v); c != nil {
			b.channels = append(b.channels, c)
		}
	}
	if v := o.get("external_bot"); v != nil {
		b.external = d.externalBot(v)
		b.body.ExternalBot = &b.external.body
	}
	return b
}

func receivers(names []string) []tract.ReceiverID {
	out := make([]tract.ReceiverID, len(names))
	for i, n := range names {
		out[i] = tract.ReceiverID(n)
	}
	return out
}

// The platforms that can be configured.
const (
	platformWebhook  = "webhook"
	platformWebSDK   = "websdk"
	platformWhatsApp = "whatsapp"
	platformFacebook = "facebook"
)

// shape is which keys a platform has.
type shape struct {
	plain   []string // needed texts
	secrets []string
	needed  []string // of the secrets
}

func shapes() map[string]shape {
	tokens := []string{"access_token", "app_secret", "verify_token"}
	return map[string]shape{
		platformWebhook:  {secrets: []string{"secret"}},
		platformWebSDK:   {secrets: []string{"secret"}},
		platformWhatsApp: {plain: []string{"phone_number_id"}, secrets: tokens, needed: tokens},
		platformFacebook: {plain: []string{"page_id"}, secrets: tokens, needed: tokens},
	}
}

// channel is nil when not even the platform is known.
func (d *decoder) channel(v *value) *channel {
	platforms := []string{platformWebhook, platformWebSDK, platformWhatsApp, platformFacebook}
	platform := platformOf(v)
	s, known := shapes()[platform]
	if !known {
		o := d.object(v, "platform", "url", "secret", "allowed_origins", "phone_number_id", "page_id", "access_token", "app_secret", "verify_token")
		if o.need("platform") {
			o.choice("platform", "", platforms...)
		}
		return nil
	}
	keys := append([]string{"platform"}, s.plain...)
	switch platform {
	case platformWebhook:
		keys = append(keys, "url")
	case platformWebSDK:
		keys = append(keys, "allowed_origins")
	}
	o := d.object(v, append(keys, s.secrets...)...)
	c := &channel{object: o, platform: platform, settings: map[string]any{}, secrets: map[string]*string{}, needed: s.needed}
	for _, key := range s.plain {
		c.settings[key] = o.needText(key)
	}
	for _, key := range s.secrets {
		c.secrets[key] = o.optional(key)
	}
	switch platform {
	case platformWebhook:
		c.url = o.needText("url")
		if u, err := url.Parse(c.url); c.url != "" && (err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "") {
			o.bad("url", "must be an http or https URL")
			c.url = ""
		}
	case platformWebSDK:
		origins := o.names("allowed_origins")
		for _, item := range o.list("allowed_origins") {
			if item.kind == isText && item.text != "" && !isOrigin(item.text) {
				d.bad.add(item.at, "%s is not an origin such as https://www.example.com", item.shown())
			}
		}
		c.settings["allowed_origins"] = origins
	}
	return c
}

func platformOf(v *value) string {
	if v == nil || v.kind != isMap {
		return ""
	}
	for _, p := range v.pairs {
		if p.key == "platform" && p.val != nil && p.val.kind == isText {
			return p.val.text
		}
	}
	return ""
}

func isOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && s == u.Scheme+"://"+u.Host
}

// raw is JSON of something that cannot fail to become it.
func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("manifest: " + err.Error())
	}
	return b
}
