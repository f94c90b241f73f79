package manifest

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tract"
	"tract/internal/store"
)

// What an absent key of an external bot stands for, and the most it may be.
const (
	defaultExternalTimeout = 5 * time.Second
	defaultExternalTokens  = 500
	mostExternalTokens     = 8000
	mostPrice              = 1e6
	mostSecret             = 4096
)

// externalBot is the bot of somebody else that a business may have.
type externalBot struct {
	*object
	body      tract.ExternalBot // without Secret
	secretKey string            // the key that the secret stands under
	secret    *string           // nil = as stored, "" = none
}

func (d *decoder) externalBot(v *value) *externalBot {
	kind := ""
	if v.kind == isMap {
		for _, p := range v.pairs {
			if p.key == "kind" && p.val != nil && p.val.kind == isText {
				kind = p.val.text
			}
		}
	}
	b := &externalBot{}
	switch kind {
	case tract.ExternalWebhook:
		b.object, b.secretKey = d.object(v, "kind", "url", "secret", "timeout"), "secret"
	case tract.ExternalOpenAI:
		b.object, b.secretKey = d.object(v, "kind", "url", "model", "api_key", "timeout", "max_tokens", "price_per_million_input", "price_per_million_output"), "api_key"
	default:
		b.object = d.object(v, "kind", "url", "secret", "timeout", "model", "api_key", "max_tokens", "price_per_million_input", "price_per_million_output")
		if b.need("kind") {
			b.choice("kind", "", tract.ExternalWebhook, tract.ExternalOpenAI)
		}
		return b
	}
	b.body = tract.ExternalBot{Kind: kind, URL: b.needText("url"), Timeout: b.duration("timeout", defaultExternalTimeout, defaultExternalTimeout)}
	if b.body.Timeout == 0 {
		b.bad("timeout", "must be more than 0s")
	}
	if b.secret = b.optional(b.secretKey); b.secret != nil && len(*b.secret) > mostSecret {
		b.bad(b.secretKey, "must be at most %d bytes", mostSecret)
	}
	if kind == tract.ExternalOpenAI {
		if b.secret != nil && strings.ContainsFunc(*b.secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
			b.bad(b.secretKey, "must be printable ASCII characters without spaces")
		}
		b.body.Model = b.needText("model")
		b.body.MaxTokens = int(b.number("max_tokens", defaultExternalTokens, 1, mostExternalTokens))
		b.body.PriceIn, b.body.PriceOut = b.price("price_per_million_input"), b.price("price_per_million_output")
		if u, err := url.Parse(b.body.URL); err == nil && (u.RawQuery != "" || u.ForceQuery || strings.HasSuffix(u.Path, "/chat/completions")) {
			b.bad("url", "must be the base of the API, such as https://llm.example/v1: /chat/completions is added to it")
		}
	}
	return b
}

func (o *object) price(key string) float64 {
	v := o.get(key)
	if v == nil {
		return 0
	}
	f, err := strconv.ParseFloat(v.text, 64)
	if (v.kind != isInt && v.kind != isFloat && !v.fromVariable()) || err != nil || f < 0 || f > mostPrice {
		o.bad(key, "must be a number from 0 to %d", int(mostPrice))
		return 0
	}
	return f
}

// outside is an external bot on its way into the store.
type outside struct {
	body tract.ExternalBot // with the sealed secret that stays, if one does
	set  string            // new secret in clear
}

// connectExternal compares an external bot with the stored one, like connect.
func (p *planner) connectExternal(t *tenant, b *externalBot, old *tract.ExternalBot) (*outside, []string) {
	if b == nil {
		if old != nil {
			return nil, []string{"external bot removed"}
		}
		return nil, nil
	}
	out := &outside{body: b.body}
	var details []string
	note := func(format string, args ...any) {
		details = append(details, "external bot: "+fmt.Sprintf(format, args...))
	}
	before, sealed := tract.ExternalBot{}, ""
	if old != nil && old.Kind == b.body.Kind {
		before, sealed = *old, old.Secret
	}
	switch {
	case b.secret == nil && sealed != "":
		if before.URL != b.body.URL {
			// Whoever may change the address need not know the secret, and must
			// not get it sent to them that way.
			p.bad.add(b.place(b.secretKey), "is needed again, because the url changes: what is stored is for another one (\"\" removes it)")
		}
		out.body.Secret = sealed
	case b.secret == nil || *b.secret == "":
		if sealed != "" {
			note("%s removed", b.secretKey)
		}
	case p.opensTo(t, sealed, *b.secret):
		out.body.Secret = sealed
	default:
		out.set = *b.secret
		note("%s set", b.secretKey)
	}
	if before.Kind == "" {
		return out, []string{"external bot " + b.body.Kind + " added"}
	}
	if before.URL != b.body.URL {
		note("url changed")
	}
	before.URL, before.Secret = b.body.URL, ""
	for _, d := range differences(raw(before), raw(b.body)) {
		note("%s", d)
	}
	return out, details
}

// external is what is stored of an external bot; nil when there is none.
func (p *planner) external(t *tenant, o *outside) (*tract.ExternalBot, error) {
	if o == nil {
		return nil, nil
	}
	body := o.body
	if o.set != "" {
		var err error
		if body.Secret, err = p.cfg.Seal([]byte(o.set), store.SecretContext(t.key)); err != nil {
			return nil, fmt.Errorf("seal a secret: %w", err)
		}
	}
	return &body, nil
}

func exportExternalBot(b *tract.ExternalBot) fields {
	out := fields{{"kind", b.Kind}, {"url", b.URL}}
	if b.Kind == tract.ExternalOpenAI {
		out = append(out, field{"model", b.Model})
		out.add("max_tokens", int64(b.MaxTokens), int64(defaultExternalTokens))
		out.add("price_per_million_input", b.PriceIn, 0.0)
		out.add("price_per_million_output", b.PriceOut, 0.0)
	}
	out.add("timeout", b.Timeout, tract.Duration(defaultExternalTimeout))
	return out
}
