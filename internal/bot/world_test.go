package bot_test

import (
	"context"
	"encoding/json"
	"strconv"
	"testing"

	"tract"
	"tract/internal/bot"
	"tract/internal/conversation"
	"tract/internal/hsl"
	"tract/internal/store"
)

const shopFAQ = `node_name,question,answer
Opening hours,"when are you open|what are your opening hours|are you open on sunday","We are open Mon to Fri, 9 to 18h."
Return policy,"how do I return an item|what is your return policy|can I send it back","You can return items within 30 days.<m>{""text"": ""Shall I send you a <m> label?"", ""type"":""TEXT"",""data"":{""quick_replies"":[{""actionable_text"":""Yes"",""is_default"":0,""type"":""TEXT_ONLY"",""payload"":{""message"":""Yes, please"",""gogo_message"":""how long does delivery take{task}""}}]}}"
Delivery time,"how long does delivery take|when will my parcel arrive|delivery time","Delivery takes two to four days."
`

const (
	hours    = "iva: We are open Mon to Fri, 9 to 18h."
	returns1 = "iva: You can return items within 30 days."
	returns2 = "iva: Shall I send you a <m> label?"
	delivery = "iva: Delivery takes two to four days."
	handover = "iva: Let me get a colleague."
	broken   = "iva: Sorry, I did not get that."
	received = "iva: Thank you, I have received your file. I cannot look into it myself."
	botEvent = "conversation_state/bot new_conversation"
)

const (
	assisted = 343 // a bot, a desk and human assistance
	alone    = 346 // a bot without
	domain   = "acme_faq"
)

// world is one client with two businesses on one bot.
type world struct {
	t      *testing.T
	ctx    context.Context
	s      *store.Store
	c      *conversation.Service
	iva    *bot.IVA
	client int64
	users  int

	platform int // of new threads
}

func newWorld(t *testing.T, s *store.Store) *world {
	w := &world{t: t, ctx: t.Context(), s: s, platform: tract.PlatformWebhook}
	w.c = conversation.New(s, "https://hub.example", nil)
	w.iva = bot.New(s, w.c, nil)
	w.update(func(tx *store.Tx) (err error) {
		w.client, err = tx.PutClient(tract.Client{ID: "acme", Name: "Acme Stores", Active: true, Desk: tract.Desk{Enabled: true, Assignment: "balanced"}})
		return err
	})
	w.setBot(tract.Bot{})
	w.put(store.KindTeam, "Support", tract.Team{Name: "Support", Active: true})
	w.put(store.KindTool, "desk-one", tract.Tool{ID: "desk-one", Name: "Desk One", FQDN: "desk-one.example", Deliver: tract.DeliverAll, Active: true})
	w.setBusiness(tract.Business{ID: assisted, HumanAssistance: true, DefaultTeam: "Support", Tools: []tract.ReceiverID{"desk-one"}})
	w.setBusiness(tract.Business{ID: alone})
	w.update(func(tx *store.Tx) error {
		for _, b := range []int64{assisted, alone} {
			for _, kind := range []string{store.EndpointBot, store.EndpointChannel} {
				if _, err := tx.PutEndpoint(store.Endpoint{Client: w.client, Kind: kind, Business: b, URL: "https://acme.example/channel"}); err != nil {
					return err
				}
			}
		}
		_, err := tx.PutEndpoint(store.Endpoint{Client: w.client, Kind: store.EndpointHook, Tool: "desk-one", Category: "conversation_state", Subcategory: "waiting", URL: "https://desk-one.example/waiting"})
		return err
	})
	return w
}

func (w *world) update(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.s.Update(w.ctx, fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) view(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.s.View(w.ctx, fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) put(kind, id string, v any) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error { return tx.PutDocument(w.client, kind, id, "", v) })
}

// setBot stores the bot with the fixture's wording where the test has none.
func (w *world) setBot(b tract.Bot) {
	w.t.Helper()
	b.DomainName, b.Active = domain, true
	if b.Language == "" {
		b.Language = "en"
	}
	if b.Handover == "" {
		b.Handover = "Let me get a colleague."
	}
	w.put(store.KindBot, domain, b)
}

func (w *world) setBusiness(b tract.Business) {
	w.t.Helper()
	b.Name, b.Bot, b.Active = "Acme", domain, true
	b.Channels = []tract.Channel{{Platform: "webhook", URL: "https://acme.example/channel"}}
	w.put(store.KindBusiness, strconv.FormatInt(b.ID, 10), b)
}

// load gives the bot its steps and trains it.
func (w *world) load(csv string) {
	w.t.Helper()
	if err := bot.LoadFAQ(w.ctx, w.s, w.client, domain, []byte(csv)); err != nil {
		w.t.Fatal(err)
	}
	if err := w.iva.Preload(w.ctx); err != nil {
		w.t.Fatal(err)
	}
}

// thread opens the thread of a new user.
func (w *world) thread(business int64) (id int64) {
	w.t.Helper()
	w.users++
	w.update(func(tx *store.Tx) error {
		name := "u" + strconv.Itoa(w.users)
		u, err := tx.PutUser(store.User{Client: w.client, AuthID: name, UserName: name})
		if err != nil {
			return err
		}
		id, err = w.c.Open(tx, w.client, business, u.ID, w.platform)
		return err
	})
	return id
}

// say takes a message of the user in and gives the bot's turn, which must be.
func (w *world) say(thread int64, text string) *conversation.Turn {
	w.t.Helper()
	return w.saying(thread, tract.UserMessage{Body: hsl.Text(text).Body()})
}

func (w *world) saying(thread int64, m tract.UserMessage) *conversation.Turn {
	w.t.Helper()
	res, err := w.c.Do(w.ctx, thread, m)
	if err != nil {
		w.t.Fatal(err)
	}
	if res.Turn == nil {
		w.t.Fatal("the message began no turn of the bot")
	}
	return res.Turn
}

// turn lets the bot do what it was given, as the outbox has it.
func (w *world) turn(t *conversation.Turn) error {
	w.t.Helper()
	var rows []store.Delivery
	w.view(func(tx *store.Tx) (err error) {
		rows, err = tx.ListDeliveries(t.Lane, t.Seq-1, 1)
		return err
	})
	if len(rows) != 1 {
		w.t.Fatalf("%d rows in the outbox for the turn", len(rows))
	}
	return w.iva.Turn(w.ctx, rows[0].Payload, t.Lane, t.Seq)
}

// ask is say and turn.
func (w *world) ask(thread int64, text string) {
	w.t.Helper()
	if err := w.turn(w.say(thread, text)); err != nil {
		w.t.Fatal(err)
	}
}

// log is a thread's log after an id, one line an entry, with the last id.
func (w *world) log(thread int64, after tract.MessageID) (lines []string, last tract.MessageID) {
	w.t.Helper()
	var entries []store.Entry
	w.view(func(tx *store.Tx) (err error) {
		entries, err = tx.ListEntries(thread, after, 1000)
		return err
	})
	last = after
	for _, e := range entries {
		last = e.ID
		if e.Event != "" {
			lines = append(lines, string(e.Event)+" "+e.Meta.Reason)
			continue
		}
		el, err := hsl.Parse([]byte(e.Body))
		if err != nil {
			w.t.Fatalf("entry %d: %v", e.ID, err)
		}
		lines = append(lines, string(e.Sender)+": "+el.Transcript())
	}
	return lines, last
}

// answers are what the bot said in a thread, with the events.
func (w *world) answers(thread int64) (lines []string) {
	w.t.Helper()
	all, _ := w.log(thread, 0)
	for _, l := range all {
		if len(l) < 4 || l[:4] != "ceu:" {
			lines = append(lines, l)
		}
	}
	return lines
}

// state is a thread as it stands.
func (w *world) state(thread int64) (t tract.Thread) {
	w.t.Helper()
	w.view(func(tx *store.Tx) error {
		all, err := tx.Thread(thread)
		t = all.State
		return err
	})
	return t
}

// sent are the texts in an outbox lane of a thread, and raw the bodies.
func (w *world) sent(thread int64, kind string) (texts []string, payloads []map[string]any, raw [][]byte) {
	w.t.Helper()
	w.view(func(tx *store.Tx) error {
		es, err := tx.ListEndpoints(w.client, kind, "")
		if err != nil {
			return err
		}
		for _, e := range es {
			rows, err := tx.ListDeliveries(store.LaneKey{Thread: thread, Endpoint: e.ID}, 0, 100)
			if err != nil {
				return err
			}
			for _, r := range rows {
				var p struct {
					Message struct{ Body json.RawMessage }
				}
				var all map[string]any
				if json.Unmarshal(r.Payload, &p) != nil || json.Unmarshal(r.Payload, &all) != nil {
					w.t.Fatalf("payload: %s", r.Payload)
				}
				payloads = append(payloads, all)
				if el, err := hsl.Parse(p.Message.Body); err == nil {
					texts, raw = append(texts, el.Text), append(raw, p.Message.Body)
				}
			}
		}
		return nil
	})
	return texts, payloads, raw
}

// settled says whether a turn is answered in the store.
func (w *world) settled(t *conversation.Turn) (done bool) {
	w.t.Helper()
	w.view(func(tx *store.Tx) error {
		l, ok, err := tx.Lane(t.Lane)
		done = ok && l.Done >= t.Seq
		return err
	})
	return done
}
