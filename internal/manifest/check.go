package manifest

import (
	"slices"
	"strconv"

	"tract"
)

// seen finds ids that stand twice.
type seen map[string]place

// twice reports an id that was there before; an empty one was reported already.
func (s seen) twice(d *decoder, id string, at place, format string, args ...any) {
	if id == "" {
		return
	}
	if first, ok := s[id]; ok {
		where := first.path
		if first.line > 0 {
			where += " (line " + strconv.Itoa(first.line) + ")"
		}
		d.bad.add(at, format+" stands at %s already", append(args, where)...)
		return
	}
	s[id] = at
}

// checkFile checks what spans more than one part.
func (d *decoder) checkFile(clients []*client) {
	ids, mails, values, addresses := seen{}, seen{}, seen{}, seen{}
	for _, c := range clients {
		ids.twice(d, c.body.ID, c.place("id"), "the client %q", c.body.ID)
		for _, a := range c.agents {
			mails.twice(d, a.body.Email, a.place("email"), "the agent %q", a.body.Email)
		}
		for _, t := range c.tokens {
			if t.value != nil {
				values.twice(d, *t.value, t.place("value"), "the same value")
			}
		}
		for _, b := range c.businesses {
			for _, ch := range b.channels {
				for _, key := range []string{"phone_number_id", "page_id"} {
					if id, ok := ch.settings[key].(string); ok && id != "" {
						addresses.twice(d, key+id, ch.place(key), "this %s", key)
					}
				}
			}
		}
		d.checkClient(c)
	}
}

func (d *decoder) checkClient(c *client) {
	tokens, bots, teams, tools, fqdns, uuids, businesses := seen{}, seen{}, seen{}, seen{}, seen{}, seen{}, seen{}
	for _, t := range c.tokens {
		tokens.twice(d, t.name, t.place("name"), "the token %q", t.name)
	}
	for _, b := range c.bots {
		bots.twice(d, b.body.DomainName, b.place("domain_name"), "the bot %q", b.body.DomainName)
	}
	for _, t := range c.teams {
		teams.twice(d, t.body.Name, t.place("name"), "the team %q", t.body.Name)
	}
	for _, t := range c.tools {
		tools.twice(d, string(t.body.ID), t.place("id"), "the tool %q", t.body.ID)
		fqdns.twice(d, t.body.FQDN, t.place("fqdn"), "the fqdn %q", t.body.FQDN)
		for _, crt := range t.certificates {
			uuids.twice(d, crt.uuid, crt.place("uuid"), "the certificate %s", crt.uuid)
		}
	}
	teamNames := c.teamNames()
	for _, a := range c.agents {
		for _, item := range a.list("teams") {
			if item.kind == isText && item.text != "" && !slices.Contains(teamNames, item.text) {
				d.bad.add(item.at, "no team %s%s", item.shown(), suggestion(item, teamNames))
			}
		}
	}
	cfg := c.config()
	for _, b := range c.businesses {
		if b.body.ID != 0 {
			businesses.twice(d, strconv.FormatInt(b.body.ID, 10), b.place("id"), "the business %d", b.body.ID)
		}
		d.checkBusiness(c, b, cfg)
	}
}

func (d *decoder) checkBusiness(c *client, b *business, cfg *tract.Config) {
	before := len(d.bad.list)
	b.refers("bot", "bot", c.botNames())
	if b.external != nil && b.body.Bot == "" {
		b.bad("external_bot", "needs a bot beside it: that gives its language and wording, and the steps that a language model answers from")
	}
	b.refers("default_team", "team", c.teamNames())
	toolNames := c.toolNames()
	for _, item := range b.list("external_chat_tools") {
		if item.kind == isText && item.text != "" && !slices.Contains(toolNames, item.text) {
			d.bad.add(item.at, "no external chat tool %s%s", item.shown(), suggestion(item, toolNames))
		}
	}
	for _, item := range b.list("failover") {
		c.checkReceiver(b, item, item.at, true)
	}
	if v := b.get("default_receiver"); v != nil {
		c.checkReceiver(b, v, b.place("default_receiver"), true)
	}
	if v := b.get("handover_to"); v != nil {
		c.checkReceiver(b, v, b.place("handover_to"), false)
	}
	platforms := seen{}
	for _, ch := range b.channels {
		platforms.twice(d, ch.platform, ch.place("platform"), "a channel of platform %s", ch.platform)
	}
	if len(d.bad.list) > before || d.bad.more || !b.body.Active || b.broken || b.body.ID == 0 {
		return // the reference that is wrong may be the receiver that is missing
	}
	if why := withoutDefault(cfg, b.body.ID); why != "" {
		d.bad.add(b.object.at, "%s", why)
	}
}

// withoutDefault says why no receiver gets a business' first message, or "".
func withoutDefault(cfg *tract.Config, business int64) string {
	s, ok := cfg.Settings(business)
	if !ok || s.Default != "" {
		return ""
	}
	why := "no default receiver is possible: it has no active bot, the client's desk is not enabled, and it has no active external chat tool"
	active := 0
	for _, id := range cfg.Businesses[business].Tools {
		if t := cfg.Tools[id]; t != nil && t.Active {
			active++
		}
	}
	if active > 1 {
		why = "no default receiver can be derived: it has several external chat tools and neither bot nor desk; set default_receiver"
	}
	return why
}

// refers checks a key that names something of the client.
func (b *business) refers(key, what string, names []string) {
	v := b.get(key)
	if v == nil || v.kind != isText || v.text == "" || slices.Contains(names, v.text) {
		return
	}
	b.bad(key, "no %s %s%s", what, v.shown(), suggestion(v, names))
}

// checkReceiver checks the name of a receiver of the business.
func (c *client) checkReceiver(b *business, v *value, at place, bot bool) {
	if v.kind != isText || v.text == "" {
		return
	}
	usable := make([]string, 0, len(b.body.Tools)+2)
	for _, id := range b.body.Tools {
		usable = append(usable, string(id))
	}
	id := tract.ReceiverID(v.text)
	switch {
	case slices.Contains(b.body.Tools, id):
	case id == tract.IVA && !bot:
		b.d.bad.add(at, "the bot cannot hand over to itself")
	case id == tract.IVA && b.body.Bot == "":
		b.d.bad.add(at, "the business has no bot")
	case id == tract.SAC && !c.body.Desk.Enabled:
		b.d.bad.add(at, "the client's desk is not enabled")
	case id.Primary():
	case slices.Contains(c.toolNames(), v.text):
		b.d.bad.add(at, "%s is not among the external_chat_tools of the business", v.shown())
	default:
		b.d.bad.add(at, "no receiver %s%s", v.shown(), suggestion(v, append(usable, string(tract.SAC), string(tract.IVA))))
	}
}

func (c *client) botNames() (out []string) {
	for _, b := range c.bots {
		out = append(out, b.body.DomainName)
	}
	return out
}

func (c *client) teamNames() (out []string) {
	for _, t := range c.teams {
		out = append(out, t.body.Name)
	}
	return out
}

func (c *client) toolNames() (out []string) {
	for _, t := range c.tools {
		out = append(out, string(t.body.ID))
	}
	return out
}

// config is what the state machine would be told of the client.
func (c *client) config() *tract.Config {
	cfg := &tract.Config{Client: c.body, Businesses: map[int64]*tract.Business{}, Bots: map[string]*tract.Bot{},
		Teams: map[string]*tract.Team{}, Tools: map[tract.ReceiverID]*tract.Tool{}}
	c.addTo(cfg)
	return cfg
}

func (c *client) addTo(cfg *tract.Config) {
	for _, b := range c.bots {
		cfg.Bots[b.body.DomainName] = &b.body
	}
	for _, t := range c.teams {
		cfg.Teams[t.body.Name] = &t.body
	}
	for _, t := range c.tools {
		cfg.Tools[t.body.ID] = &t.body
	}
	for _, b := range c.businesses {
		cfg.Businesses[b.body.ID] = &b.body
	}
}
