package manifest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tract"
	"tract/internal/store"
)

// Export writes the present configuration as a file that, applied, changes
// nothing. Secrets and FAQ files are left out; certificates are inline.
func (s *Service) Export(ctx context.Context) ([]byte, error) {
	var w writer
	err := s.cfg.Store.View(ctx, func(tx *store.Tx) error {
		w = writer{}
		clients, err := tx.ListClients()
		if err != nil {
			return err
		}
		slices.SortFunc(clients, func(a, b tract.Client) int { return strings.Compare(a.ID, b.ID) })
		out := []fields{}
		for _, c := range clients {
			if c.ID == "" { // a removed client is a row without a body
				continue
			}
			one, err := exportClient(tx, c)
			if err != nil {
				return err
			}
			out = append(out, one)
		}
		w.fields(0, fields{{"version", int64(1)}, {"clients", out}})
		return nil
	})
	return w.Bytes(), err
}

func exportClient(tx *store.Tx, c tract.Client) (fields, error) {
	docs, err := tx.ListDocuments(c.Key)
	if err != nil {
		return nil, err
	}
	tokens, err := tx.ListTokens(c.Key)
	if err != nil {
		return nil, err
	}
	certs, err := tx.ListCertificates(c.Key)
	if err != nil {
		return nil, err
	}
	wording, err := tx.Texts(c.Key)
	if err != nil {
		return nil, err
	}
	// Databases differ in how they order text.
	slices.SortFunc(docs, func(a, b store.Document) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(tokens, func(a, b store.Token) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(certs, func(a, b tract.Certificate) int { return strings.Compare(a.UUID, b.UUID) })
	parts := map[string][]fields{}
	for _, d := range docs {
		if d.Kind == "text" {
			continue // written by the version before, while replicas were replaced
		}
		one, err := exportDocument(d, certs)
		if err != nil {
			return nil, fmt.Errorf("read %s %q of %s: %w", d.Kind, d.ID, c.ID, err)
		}
		parts[d.Kind] = append(parts[d.Kind], one)
	}
	slices.SortFunc(parts[store.KindBusiness], func(a, b fields) int { return cmp.Compare(a[0].val.(int64), b[0].val.(int64)) })
	var named []fields
	for _, t := range tokens {
		if t.RevokedAt.IsZero() {
			slices.Sort(t.Scopes)
			one := fields{{"name", t.Name}, {"scopes", t.Scopes}}
			if !t.ExpiresAt.IsZero() {
				one = append(one, field{"expires_at", t.ExpiresAt.UTC().Format(time.RFC3339Nano)})
			}
			named = append(named, one)
		}
	}
	out := exportOwn(c)
	out.items("tokens", named)
	out.items("bots", parts[store.KindBot])
	out.items("teams", parts[store.KindTeam])
	out.items("agents", parts[store.KindAgent])
	if texts := exportTexts(wording); len(texts) > 0 {
		out = append(out, field{"texts", texts})
	}
	out.items("external_chat_tools", parts[store.KindTool])
	out.items("businesses", parts[store.KindBusiness])
	return out, nil
}

// exportOwn is what of a client is in no list.
func exportOwn(c tract.Client) fields {
	out := fields{{"id", c.ID}, {"name", c.Name}}
	out.add("active", c.Active, true)
	var desk, rates fields
	desk.add("enabled", c.Desk.Enabled, false)
	desk.add("assignment", c.Desk.Assignment, "balanced")
	out.group("desk", desk)
	rates.rate("per_token", c.RateLimit.PerToken)
	rates.rate("per_client", c.RateLimit.PerClient)
	out.group("rate_limit", rates)
	return out
}

func exportDocument(d store.Document, certs []tract.Certificate) (fields, error) {
	switch d.Kind {
	case store.KindTeam:
		var t tract.Team
		err := json.Unmarshal(d.Body, &t)
		return exportTeam(t), err
	case store.KindBot:
		var b tract.Bot
		err := json.Unmarshal(d.Body, &b)
		return exportBot(b), err
	case store.KindAgent:
		var a tract.AgentAccount
		err := json.Unmarshal(d.Body, &a)
		return exportAgent(a), err
	case store.KindTool:
		var t tract.Tool
		err := json.Unmarshal(d.Body, &t)
		return exportTool(t, certs), err
	case store.KindBusiness:
		var b tract.Business
		if err := json.Unmarshal(d.Body, &b); err != nil {
			return nil, err
		}
		return exportBusiness(b)
	}
	return nil, fmt.Errorf("documents of this kind are not known")
}

func exportTeam(t tract.Team) fields {
	out := fields{{"name", t.Name}}
	out.add("offline_message", t.OfflineMessage, "")
	out.add("delay_message", t.DelayMessage, "")
	out.add("delay_after", t.DelayAfter, tract.Duration(defaultDelay))
	out.add("recall_message", t.RecallMessage, "")
	out.add("recall_after", t.RecallAfter, tract.Duration(defaultRecall))
	out.add("complete_when_offline", t.CompleteWhenOffline, false)
	out.add("active", t.Active, true)
	return out
}

func exportAgent(a tract.AgentAccount) fields {
	out := fields{{"email", a.Email}, {"name", a.Name}}
	out.add("role", a.Role, "agent")
	out.add("concurrency", int64(a.Concurrency), int64(defaultConcurrency))
	out.list("teams", a.Teams)
	out.add("active", a.Active, true)
	return out
}

func exportTool(t tract.Tool, certs []tract.Certificate) fields {
	out := fields{{"id", string(t.ID)}, {"name", t.Name}, {"fqdn", t.FQDN}}
	var listed []fields
	for _, c := range certs {
		if c.Tool == t.ID && c.RevokedAt.IsZero() {
			listed = append(listed, fields{{"uuid", c.UUID}, {"pem", block(c.PEM)}})
		}
	}
	out.items("certificates", listed)
	out.add("ca_signed", t.CASigned, false)
	out.add("require_sha256", t.RequireSHA256, false)
	var p fields
	p.add("take", t.Permissions.Take, false)
	p.add("request", t.Permissions.Request, false)
	p.add("pass_to", t.Permissions.PassTo, "default")
	out.group("permissions", p)
	out.add("deliver", t.Deliver, tract.DeliverAll)
	out.add("history_on_handover", int64(t.HistoryOnHandover), int64(0))
	out.add("active", t.Active, true)
	return out
}

func exportBusiness(b tract.Business) (fields, error) {
	out := fields{{"id", b.ID}}
	out.add("name", b.Name, "")
	out.add("bot", b.Bot, "")
	out.add("human_assistance", b.HumanAssistance, false)
	out.add("default_team", b.DefaultTeam, "")
	out.add("default_receiver", string(b.DefaultReceiver), "")
	out.list("external_chat_tools", ids(b.Tools))
	out.list("failover", ids(b.Failover))
	out.add("failover_message", b.FailoverMessage, "")
	out.add("ack_timeout", b.AckTimeout, tract.Duration(defaultAck))
	out.add("handover_to", string(b.HandoverTo), "")
	out.add("release_after", b.ReleaseAfter, tract.Duration(0))
	out.add("auto_complete_after", b.AutoCompleteAfter, tract.Duration(defaultAuto))
	if b.ExternalBot == nil {
		out.either("external_bot", nil, true)
	} else {
		out = append(out, field{"external_bot", exportExternalBot(b.ExternalBot)})
	}
	out.add("active", b.Active, true)
	var channels []fields
	for _, c := range b.Channels {
		one := fields{{"platform", c.Platform}}
		settings := struct {
			Origins []string `json:"allowed_origins"`
			Phone   string   `json:"phone_number_id"`
			Page    string   `json:"page_id"`
		}{}
		if len(c.Settings) > 0 {
			if err := json.Unmarshal(c.Settings, &settings); err != nil {
				return nil, fmt.Errorf("settings of channel %s: %w", c.Platform, err)
			}
		}
		switch c.Platform {
		case platformWebhook:
			one.add("url", c.URL, "")
		case platformWebSDK:
			one.list("allowed_origins", settings.Origins)
		case platformWhatsApp:
			one.add("phone_number_id", settings.Phone, "")
		case platformFacebook:
			one.add("page_id", settings.Page, "")
		}
		channels = append(channels, one)
	}
	out.items("channels", channels)
	return out, nil
}

func ids(receivers []tract.ReceiverID) []string {
	out := make([]string, len(receivers))
	for i, id := range receivers {
		out[i] = string(id)
	}
	return out
}

// fields are a mapping in the order in which it is written.
type fields []field

type field struct {
	key string
	val any // string, block, bool, int64, float64, tract.Duration, []string, fields, []fields, assumed
}

// block is a text of several lines that is written as such.
type block string

// assumed is a value that an absent key stands for: a file leaves it out, an
// object on its own does not.
type assumed struct{ val any }

func (f *fields) either(key string, val any, absent bool) {
	if absent {
		val = assumed{val}
	}
	*f = append(*f, field{key, val})
}

func (f *fields) add(key string, val, absent any) { f.either(key, val, val == absent) }

func (f *fields) list(key string, val []string) { f.either(key, val, len(val) == 0) }

func (f *fields) items(key string, val []fields) { f.either(key, val, len(val) == 0) }

// group is a mapping that says nothing when each of its values is assumed.
func (f *fields) group(key string, val fields) { f.either(key, val, len(val.said()) == 0) }

// rate is nothing when the server's own applies.
func (f *fields) rate(key string, r tract.Rate) {
	if r == (tract.Rate{}) {
		f.either(key, nil, true)
		return
	}
	one := fields{{"per_second", int64(r.PerSecond)}}
	one.add("burst", int64(r.Burst), int64(2*r.PerSecond))
	f.group(key, one)
}

// said are the fields that a file has to name.
func (f fields) said() fields {
	var out fields
	for _, one := range f {
		if _, ok := one.val.(assumed); !ok {
			out = append(out, one)
		}
	}
	return out
}

// writer writes YAML that every reader understands alike.
type writer struct{ bytes.Buffer }

func (w *writer) fields(indent int, f fields) {
	for i, one := range f.said() {
		if i > 0 {
			w.pad(indent)
		}
		w.WriteString(quote(one.key) + ":")
		w.value(indent+2, one.val)
	}
}

func (w *writer) value(indent int, val any) {
	switch v := val.(type) {
	case fields:
		w.WriteByte('\n')
		w.pad(indent)
		w.fields(indent, v)
	case []fields:
		w.WriteByte('\n')
		for _, item := range v {
			w.pad(indent)
			w.WriteString("- ")
			w.fields(indent+2, item)
		}
		if len(v) == 0 {
			w.WriteString("  []\n")
		}
	case block:
		w.WriteString(" |\n")
		for line := range strings.Lines(string(v)) {
			w.pad(indent)
			w.WriteString(line)
		}
	default:
		w.WriteString(" " + scalar(v) + "\n")
	}
}

func (w *writer) pad(n int) { w.WriteString(strings.Repeat(" ", n)) }

func scalar(val any) string {
	switch v := val.(type) {
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case tract.Duration:
		return quote(time.Duration(v).String())
	case []string:
		out := make([]string, len(v))
		for i, s := range v {
			out[i] = quote(s)
		}
		return "[" + strings.Join(out, ", ") + "]"
	case string:
		return quote(v)
	}
	panic(fmt.Sprintf("manifest: no way to write a %T", val))
}

// quote writes a text bare where no reader can take it for anything else.
func quote(s string) string {
	if isPlain(s) {
		return s
	}
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range escape(s) {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r == ' ' || unicode.IsPrint(r):
			out.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			fmt.Fprintf(&out, `\U%08x`, r)
		}
	}
	out.WriteByte('"')
	return out.String()
}

// isPlain accepts words that contain nothing special and mean nothing special.
func isPlain(s string) bool {
	if s == "" || !(s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z') {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isID(string(c)) && c != '.' && c != '_' && c != '-' && c != '@' {
			return false
		}
	}
	return !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, strings.ToLower(s))
}
