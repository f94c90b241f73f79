package tract_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
)

// config is one client with the business 343: a bot, the desk with an active
// team, and the tools "one" and "two" with their message hooks.
func config(edits ...func(*tract.Config, *tract.Business)) *tract.Config {
	hook := func(id tract.ReceiverID) []tract.Hook {
		return []tract.Hook{{Tool: id, Event: tract.EventMessage, Enabled: true}, {Tool: id, Event: tract.EventWaiting, Enabled: true}}
	}
	b := &tract.Business{ID: 343, Bot: "faq", HumanAssistance: true, DefaultTeam: "Support", Tools: []tract.ReceiverID{"one", "two"}}
	c := &tract.Config{
		Client:     tract.Client{Desk: tract.Desk{Enabled: true}},
		Businesses: map[int64]*tract.Business{343: b},
		Bots:       map[string]*tract.Bot{"faq": {DomainName: "faq", Active: true}},
		Teams:      map[string]*tract.Team{"Support": {Name: "Support", Active: true}, "Closed": {Name: "Closed"}},
		Tools: map[tract.ReceiverID]*tract.Tool{
			"one": {ID: "one", Name: "Desk One", Active: true, Deliver: tract.DeliverActive, HistoryOnHandover: 20, Permissions: tract.Permissions{Take: true}},
			"two": {ID: "two", Active: true},
		},
		Hooks: map[tract.ReceiverID][]tract.Hook{"one": hook("one"), "two": hook("two")},
	}
	for _, edit := range edits {
		edit(c, b)
	}
	return c
}

func derive(t *testing.T, c *tract.Config) *tract.Settings {
	t.Helper()
	s, ok := c.Settings(343)
	if !ok {
		t.Fatal("business 343 is not known")
	}
	return s
}

// The edits of a configuration.
func noBot(_ *tract.Config, b *tract.Business)   { b.Bot = "" }
func noDesk(c *tract.Config, _ *tract.Business)  { c.Client.Desk.Enabled = false }
func noTools(_ *tract.Config, b *tract.Business) { b.Tools = nil }
func oneTool(_ *tract.Config, b *tract.Business) { b.Tools = []tract.ReceiverID{"one"} }
func inactive(id tract.ReceiverID) func(*tract.Config, *tract.Business) {
	return func(c *tract.Config, _ *tract.Business) { c.Tools[id].Active = false }
}
func explicit(id tract.ReceiverID) func(*tract.Config, *tract.Business) {
	return func(_ *tract.Config, b *tract.Business) { b.DefaultReceiver = id }
}
func hooks(id tract.ReceiverID, hooks ...tract.Hook) func(*tract.Config, *tract.Business) {
	return func(c *tract.Config, _ *tract.Business) { c.Hooks[id] = hooks }
}

func TestSettings(t *testing.T) {
	got := derive(t, config(func(_ *tract.Config, b *tract.Business) {
		b.Failover, b.FailoverMessage, b.AckTimeout = []tract.ReceiverID{tract.SAC}, "One moment.", tract.Duration(45*time.Second)
		b.ReleaseAfter, b.AutoCompleteAfter = tract.Duration(time.Hour), tract.Duration(8*time.Minute)
	}))
	want := &tract.Settings{
		Receivers: []tract.Receiver{
			{ID: tract.IVA, Name: "faq", Available: true},
			{ID: tract.SAC, Name: "Smart Agent Chat", Available: true},
			{ID: "one", Name: "Desk One", Available: true, Deliver: tract.DeliverActive, HistoryOnHandover: 20, Permissions: tract.Permissions{Take: true}},
			{ID: "two", Available: true},
		},
		Default: tract.IVA, HumanAssistance: true, DefaultTeam: "Support", Teams: map[string]bool{"Support": true, "Closed": false},
		Failover: []tract.ReceiverID{tract.SAC}, FailoverMessage: "One moment.", AckTimeout: 45 * time.Second,
		HandoverTo: tract.SAC, ReleaseAfter: time.Hour, AutoComplete: 8 * time.Minute, PendingFor: time.Minute,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, ok := config().Settings(344); ok {
		t.Error("settings of a business that does not exist")
	}
	off := derive(t, config(func(_ *tract.Config, b *tract.Business) { b.AckTimeout = tract.Duration(time.Minute) }))
	if off.AckTimeout != 0 {
		t.Errorf("an acknowledgement timeout of %v without a failover list", off.AckTimeout)
	}
}

// TestDefaultReceiver walks down the ladder.
func TestDefaultReceiver(t *testing.T) {
	type edit = func(*tract.Config, *tract.Business)
	tests := []struct {
		name  string
		edits []edit
		want  tract.ReceiverID
	}{
		{"explicit tool", []edit{explicit("two")}, "two"},
		{"explicit desk", []edit{explicit(tract.SAC)}, tract.SAC},
		{"explicit bot", []edit{explicit(tract.IVA)}, tract.IVA},
		{"bot", nil, tract.IVA},
		{"desk", []edit{noBot}, tract.SAC},
		{"the only tool", []edit{noBot, noDesk, oneTool}, "one"},
		{"two tools", []edit{noBot, noDesk}, ""},
		{"nothing", []edit{noBot, noDesk, noTools}, ""},
		{"explicit tool that is not attached", []edit{explicit("two"), oneTool}, tract.IVA},
		{"explicit tool that does not exist", []edit{explicit("nobody")}, tract.IVA},
		{"explicit tool that is inactive", []edit{explicit("two"), inactive("two")}, tract.IVA},
		{"explicit desk that is disabled", []edit{explicit(tract.SAC), noDesk}, tract.IVA},
		{"explicit bot that is not there", []edit{explicit(tract.IVA), noBot}, tract.SAC},
		{"explicit tool without a hook", []edit{explicit("two"), hooks("two")}, "two"},
		{"a bot that is inactive", []edit{func(c *tract.Config, _ *tract.Business) { c.Bots["faq"].Active = false }}, tract.SAC},
		{"a bot that was removed", []edit{func(c *tract.Config, _ *tract.Business) { delete(c.Bots, "faq") }}, tract.SAC},
		{"a tool that was removed", []edit{noBot, noDesk, oneTool, func(c *tract.Config, _ *tract.Business) { delete(c.Tools, "one") }}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := derive(t, config(tt.edits...)).Default; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestAvailability: who counts as unavailable, and why.
func TestAvailability(t *testing.T) {
	type edit = func(*tract.Config, *tract.Business)
	message := func(enabled bool) tract.Hook { return tract.Hook{Event: tract.EventMessage, Enabled: enabled} }
	tests := []struct {
		name string
		id   tract.ReceiverID
		edit edit
		why  string
	}{
		{"tool", "one", explicit(""), ""},
		{"tool with other hooks disabled", "one", hooks("one", message(true), tract.Hook{Event: tract.EventWaiting}), ""},
		{"tool inactive", "one", inactive("one"), "the tool is inactive"},
		{"tool without hooks", "one", hooks("one"), "the tool has no message hook"},
		{"tool without a message hook", "one", hooks("one", tract.Hook{Event: tract.EventWaiting, Enabled: true}), "the tool has no message hook"},
		{"message hook disabled", "one", hooks("one", tract.Hook{Event: tract.EventWaiting, Enabled: true}, message(false)), "the tool's message hook is disabled"},
		{"desk", tract.SAC, explicit(""), ""},
		{"desk without an active team", tract.SAC, func(c *tract.Config, _ *tract.Business) { c.Teams["Support"].Active = false }, "the desk has no active team"},
		{"desk without a team", tract.SAC, func(c *tract.Config, _ *tract.Business) { c.Teams = nil }, "the desk has no active team"},
		{"bot", tract.IVA, explicit(""), ""},
		{"bot inactive", tract.IVA, func(c *tract.Config, _ *tract.Business) { c.Bots["faq"].Active = false }, "the bot is inactive"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, ok := derive(t, config(tt.edit)).Receiver(tt.id)
			if !ok || r.Available != (tt.why == "") || r.Why != tt.why {
				t.Errorf("got %v, %+v; want why %q", ok, r, tt.why)
			}
		})
	}
	for id, gone := range map[tract.ReceiverID]edit{tract.IVA: noBot, tract.SAC: noDesk, "one": noTools, "nobody": explicit("")} {
		if r, ok := derive(t, config(gone)).Receiver(id); ok {
			t.Errorf("%s is a receiver of the thread: %+v", id, r)
		}
	}
}

func TestHandoverTo(t *testing.T) {
	type edit = func(*tract.Config, *tract.Business)
	tests := []struct {
		name  string
		edits []edit
		want  tract.ReceiverID
	}{
		{"as set", []edit{func(_ *tract.Config, b *tract.Business) { b.HandoverTo = "two" }}, "two"},
		{"desk", nil, tract.SAC},
		{"the only tool", []edit{noDesk, oneTool}, "one"},
		{"two tools", []edit{noDesk}, ""},
		{"nobody", []edit{noDesk, noTools}, ""},
	}
	for _, tt := range tests {
		if got := derive(t, config(tt.edits...)).HandoverTo; got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"60s": time.Minute, "8m": 8 * time.Minute, "0s": 0, "1h30m": 90 * time.Minute} {
		var in, out struct{ D tract.Duration }
		if err := json.Unmarshal(fmt.Appendf(nil, `{"D": %q}`, text), &in); err != nil || time.Duration(in.D) != want {
			t.Errorf("%s: got %v, %v", text, in, err)
		}
		b, err := json.Marshal(in)
		if err == nil {
			err = json.Unmarshal(b, &out)
		}
		if err != nil || out != in {
			t.Errorf("%s does not come back from %s: %v, %v", text, b, out, err)
		}
	}
	for _, text := range []string{"", "60", "-1s", "soon"} {
		var d tract.Duration
		if err := d.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", text)) || d != 0 {
			t.Errorf("%q: got %v, %v", text, time.Duration(d), err)
		}
	}
}

// TestReceiverFlags: what a primary, the default and the active receiver may do,
// and that the flags add up.
func TestReceiverFlags(t *testing.T) {
	tests := []struct {
		who, owner, standard              tract.ReceiverID
		answers, takes, gives, first, prm bool
		kind                              string
	}{
		{who: tract.SAC, owner: "one", standard: tract.IVA, takes: true, gives: true, prm: true, kind: "sac"},
		{who: tract.SAC, owner: tract.SAC, standard: tract.IVA, answers: true, gives: true, prm: true, kind: "sac"},
		{who: tract.IVA, owner: "one", standard: tract.IVA, takes: true, gives: true, first: true, prm: true, kind: "iva"},
		{who: "two", owner: "one", standard: "two", first: true, kind: "ect"},
		{who: "two", owner: "two", standard: tract.IVA, answers: true, gives: true, kind: "ect"},
		{who: "two", owner: "two", standard: "two", answers: true, gives: true, first: true, kind: "ect"},
		{who: "two", owner: "one", standard: tract.IVA, kind: "ect"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s, owner %s, default %s", tt.who, tt.owner, tt.standard), func(t *testing.T) {
			to := tract.SAC // somebody who may have the thread and has it not
			if tt.who == tract.SAC {
				to = "two"
			}
			may := func(cmd tract.Command) bool {
				_, err := at(t, settings(byDefault(tt.standard)), tt.owner, tract.StateQueued).try(cmd)
				return err == nil
			}
			got := []bool{
				may(tract.Send{By: tt.who, Sender: tract.SenderAEU, Body: "x"}),
				may(tract.Control{Op: tract.OpTake, By: tt.who}),
				may(tract.Control{Op: tract.OpPass, By: tt.who, To: to}),
				fresh(t, settings(byDefault(tt.standard))).do(tract.UserMessage{}).Thread.Owner == tt.who,
				tt.who.Primary(),
			}
			if d := cmp.Diff([]bool{tt.answers, tt.takes, tt.gives, tt.first, tt.prm}, got); d != "" {
				t.Errorf("answers, takes, gives, gets the first message, is primary:\n%s", d)
			}
			if tt.who.Type() != tt.kind {
				t.Errorf("type %s", tt.who.Type())
			}
		})
	}
}

// TestEventNames: who may register for and who may send which name.
func TestEventNames(t *testing.T) {
	tests := []struct {
		name       string
		event      tract.Event
		hook, tool bool
	}{
		{"conversation_state/bot", tract.EventBot, true, false},
		{"collection_state/bot", tract.EventBot, true, false},
		{"conversation_state/waiting", tract.EventWaiting, true, true},
		{"conversation_state/incomplete", tract.EventWaiting, true, false},
		{"collection_state/incomplete", tract.EventWaiting, true, false},
		{"conversation_state/pinned", tract.EventPinned, true, false},
		{"conversation_state/complete", tract.EventComplete, true, true},
		{"collection_state/complete", tract.EventComplete, true, true},
		{"message/receive", tract.EventMessage, true, false},
		{"aeu_events/received", tract.EventReceived, false, true},
		{"aeu_events/allocated", tract.EventAllocated, false, true},
		{"message/allocated", tract.EventAllocated, false, true},
		{"aeu_events/user_timeout", tract.EventUserTimeout, false, true},
		{"message/user_timeout", tract.EventUserTimeout, false, true},
		{"user_events/create_user", tract.EventCreateUser, true, false},
		{"conversation_state/waiting_for_user", "", false, false},
		{"message/", "", false, false},
	}
	for _, name := range []string{"passed", "taken", "released", "reset", "failed_over", "requested", "offered", "accepted", "declined", "expired"} {
		e := tract.Event("thread_control/" + name)
		tests = append(tests, struct {
			name       string
			event      tract.Event
			hook, tool bool
		}{string(e), e, true, false})
		if !e.Control() || tract.EventComplete.Control() {
			t.Errorf("%s must be of thread control, and complete not", e)
		}
	}
	known := 0
	for _, tt := range tests {
		category, subcategory, _ := strings.Cut(tt.name, "/")
		for side, find := range map[bool]func(string, string) (tract.Event, bool){true: tract.HookEvent, false: tract.ToolEvent} {
			want := map[bool]bool{true: tt.hook, false: tt.tool}[side]
			if e, ok := find(category, subcategory); ok != want || ok && e != tt.event {
				t.Errorf("%s (hook %v): got %q, %v", tt.name, side, e, ok)
			}
			direction := map[bool]tract.Direction{true: tract.ToTool, false: tract.FromTool}[side]
			if listed := slices.Contains(strings.Split(tract.Names(direction), ", "), tt.name); listed != want {
				t.Errorf("%s is listed %s: %v", tt.name, direction, listed)
			}
		}
		if tt.hook || tt.tool {
			known++
		}
	}
	names := tract.EventNames()
	if len(names) != known {
		t.Errorf("%d names, want %d", len(names), known)
	}
	names[0].Category = "changed"
	if tract.EventNames()[0].Category == "changed" {
		t.Error("the caller can change the list")
	}
}

func TestNames(t *testing.T) {
	if got := []string{tract.PlatformName(tract.PlatformWebhook), tract.PlatformName(2), tract.PlatformName(22), tract.PlatformName(1)}; !slices.Equal(got, []string{"Webhook", "Android", "Sunshine Zendesk", ""}) {
		t.Errorf("platforms %q", got)
	}
	if got := tract.Scopes(); !slices.Equal(got, []string{"transfer", "transcripts", "faq", "delivery"}) {
		t.Errorf("scopes %q", got)
	}
	for _, op := range []tract.Op{"pass", "take", "request", "offer", "accept", "decline", "release"} {
		if !op.Valid() {
			t.Errorf("a receiver may ask for %s", op)
		}
	}
	for _, op := range []tract.Op{"", tract.OpBegin, tract.OpReset, tract.OpFailover, tract.OpExpire, "grab"} {
		if op.Valid() {
			t.Errorf("a receiver may not ask for %q", op)
		}
	}
}
