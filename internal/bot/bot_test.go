package bot_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/bot"
	"tract/internal/conversation"
	"tract/internal/hsl"
	"tract/internal/store"
	"tract/internal/tracttest"
)

func diff(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestAnswers(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.load(shopFAQ)
		id := w.thread(assisted)
		w.ask(id, "how do I return an item")
		got, _ := w.log(id, 0)
		diff(t, "log", []string{botEvent, "ceu: how do I return an item", returns1, returns2}, got)
		texts, _, raw := w.sent(id, store.EndpointChannel)
		diff(t, "channel", []string{"You can return items within 30 days.", "Shall I send you a <m> label?"}, texts)
		const object = `{"text": "Shall I send you a <m> label?", "type":"TEXT","data":{"quick_replies":[{"actionable_text":"Yes","is_default":0,"type":"TEXT_ONLY","payload":{"message":"Yes, please","gogo_message":"how long does delivery take{task}"}}]}}`
		var entries []store.Entry
		w.view(func(tx *store.Tx) (err error) { entries, err = tx.ListEntries(id, 0, 10); return err })
		diff(t, "the object in the log", object, entries[3].Body)
		if len(raw) == 2 {
			// The envelope of the channel's payload is compact JSON.
			diff(t, "the object on the channel", strings.NewReplacer(`": "`, `":"`, `, "type"`, `,"type"`).Replace(object), string(raw[1]))
		}
		// The reply's hidden message is what is matched.
		w.ask(id, "Yes, please")
		all := w.answers(id)
		diff(t, "after the quick reply", delivery, all[len(all)-1])
		st := w.state(id)
		diff(t, "owner and state", []any{tract.IVA, tract.StateBot}, []any{st.Owner, st.State})
	})
}

// TestQuestions are what a shop hears: the bot says what it knows and nothing else.
func TestQuestions(t *testing.T) {
	s := tracttest.Open(t, sqlite(t))
	w := newWorld(t, s)
	w.load(shopFAQ)
	tests := []struct {
		said string
		want []string
	}{
		{"what are your opening hours", []string{hours}},
		{"when are you open", []string{hours}},
		{"When are you OPEN?!", []string{hours}},
		{"when are you open {task}", []string{hours}},
		{"how do I return an item", []string{returns1, returns2}},
		{"what is your return policy", []string{returns1, returns2}},
		{"how long does delivery take", []string{delivery}},
		{"delivery time", []string{delivery}},
		{"xyzzy plugh qwrtz", []string{broken}},
		{"my blender exploded and singed the cat", []string{broken}},
		{"tell me about zanzibar\nplease", []string{broken}},
		{"hello there friend", []string{"iva: Hello! How can I help you?"}},
		{"Thanks a lot!", []string{"iva: You are welcome!"}},
		{"ok bye", []string{"iva: Goodbye!"}},
		{"secret words of acme", []string{broken}},
		{"sign this please", []string{broken}},
		{"warm up line", []string{broken}},
		{"order 1", []string{broken}},
		{"order 5", []string{broken}},
		{"{delivery time}", []string{broken}},
		{"🙂", []string{broken}},
		{"can I talk to an agent", []string{broken}}, // nobody is there
		{strings.Repeat("when open ", 5000), nil},
	}
	for _, tt := range tests {
		t.Run(tt.said[:min(len(tt.said), 40)], func(t *testing.T) {
			w.t = t
			id := w.thread(alone)
			w.ask(id, tt.said)
			got := w.answers(id)
			if tt.want != nil {
				diff(t, "answers", append([]string{botEvent}, tt.want...), got)
			} else if len(got) < 2 {
				t.Errorf("no answer: %q", got)
			}
		})
	}
}

func sqlite(t *testing.T) store.Options {
	o := tracttest.Fresh(t, "sqlite")
	o.Now = tracttest.NewClock().Now
	return o
}

func TestHandOver(t *testing.T) {
	tests := []struct {
		name   string
		bot    tract.Bot
		said   tract.UserMessage
		reason string
		want   []string
	}{
		{"unknown", tract.Bot{}, text("my blender exploded"), "bot_break", []string{handover}},
		{"asks for a human", tract.Bot{}, text("Can I talk to an agent, please?"), "user_asked", []string{handover}},
		{"asks for a human in the bot's language", tract.Bot{Language: "de"}, text("Ich möchte mit einem Mitarbeiter sprechen"), "user_asked", []string{handover}},
		{"asks in words that the bot could answer", tract.Bot{}, text("when are you open? human please, connect me to an agent"), "user_asked", []string{handover}},
		{"image", tract.Bot{}, tract.UserMessage{Body: hsl.Text("delivery time").Body(), MessageType: tract.TypeImage}, "bot_break", []string{received, handover}},
		{"document", tract.Bot{}, tract.UserMessage{Body: hsl.Text("delivery time").Body(), MessageType: tract.TypeDocument}, "bot_break", []string{received, handover}},
		{"threshold above everything", tract.Bot{Threshold: 1.5, SuggestFrom: 1.5}, text("delivery time"), "bot_break", []string{handover}},
		{"wording that is an element", tract.Bot{Handover: `{"text":"One moment","type":"TEXT","data":{"quick_replies":[]}}`}, text("zanzibar"), "bot_break", []string{"iva: One moment"}},
		{"welcome first", tract.Bot{Welcome: "Welcome!"}, text("zanzibar"), "bot_break", []string{"iva: Welcome!", handover}},
	}
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.load(shopFAQ)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				w.t = t
				w.setBot(tt.bot)
				if err := w.iva.Preload(w.ctx); err != nil {
					t.Fatal(err)
				}
				id := w.thread(assisted)
				if err := w.turn(w.saying(id, tt.said)); err != nil {
					t.Fatal(err)
				}
				want := append([]string{botEvent}, tt.want...)
				diff(t, "answers", append(want, "thread_control/passed "+tt.reason, "conversation_state/waiting "+tt.reason), w.answers(id))
				st := w.state(id)
				diff(t, "state", []any{tract.SAC, tract.StateQueued, "Support"}, []any{st.Owner, st.State, st.Team})
			})
		}
	})
}

func text(s string) tract.UserMessage { return tract.UserMessage{Body: hsl.Text(s).Body()} }

func TestBrief(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.load(shopFAQ)
		id := w.thread(assisted)
		w.ask(id, "delivery time")
		for range 12 { // more than the bot looks at when it answers
			w.ask(id, "what is your return policy")
		}
		w.setBot(tract.Bot{Threshold: 1.5, SuggestFrom: 1.5}) // nothing is sure enough now
		w.ask(id, "when will the delivery of my parcel be")
		var brief map[string]any
		w.view(func(tx *store.Tx) (err error) { brief, err = tx.Brief(id, 1); return err })
		diff(t, "steps shown", any([]any{"Delivery time", "Return policy"}), brief["steps_shown"])
		diff(t, "rest", []any{"bot_break", "when will the delivery of my parcel be", "Support", "en"}, []any{brief["reason"], brief["question"], brief["team"], brief["language"]})
		guesses, _ := brief["guesses"].([]any)
		if len(guesses) != 3 {
			t.Fatalf("guesses: %v", brief["guesses"])
		}
		seen := map[string]bool{}
		for _, g := range guesses {
			g := g.(map[string]any)
			seen[g["step"].(string)] = true
			if c := g["confidence"].(float64); c < 0 || c > 1 {
				t.Errorf("confidence: %v", c)
			}
		}
		diff(t, "guessed steps", map[string]bool{"Opening hours": true, "Return policy": true, "Delivery time": true}, seen)
		diff(t, "best guess", any("Delivery time"), guesses[0].(map[string]any)["step"])
		_, told, _ := w.sent(id, store.EndpointHook)
		if len(told) != 1 || told[0]["subcategory"] != "waiting" || !strings.Contains(told[0]["metadata"].(string), `"reason":"bot_break"`) {
			t.Errorf("the tool was told: %v", told)
		}
	})
}

func TestNoHandOver(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.load(shopFAQ)
		id := w.thread(alone)
		w.ask(id, "my blender exploded")
		w.setBot(tract.Bot{BotBreak: "Pardon?"})
		w.ask(id, "human please")
		diff(t, "answers", []string{botEvent, broken, "iva: Pardon?"}, w.answers(id))
		st := w.state(id)
		diff(t, "state", []any{tract.IVA, tract.StateBot}, []any{st.Owner, st.State})

		// An empty handover text says nothing.
		w.put(store.KindBot, domain, tract.Bot{DomainName: domain, Language: "en", Active: true})
		id = w.thread(assisted)
		w.ask(id, "my blender exploded")
		diff(t, "silent", []string{botEvent, "thread_control/passed bot_break", "conversation_state/waiting bot_break"}, w.answers(id))
	})
}

func TestWelcomeOnce(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.setBot(tract.Bot{Welcome: "Hi! Ask me."})
		w.load(shopFAQ)
		id := w.thread(assisted)
		first, second := w.say(id, "delivery time"), w.say(id, "when are you open")
		for _, turn := range []*conversation.Turn{first, second} {
			if err := w.turn(turn); err != nil {
				t.Fatal(err)
			}
		}
		diff(t, "answers", []string{botEvent, "iva: Hi! Ask me.", delivery, hours}, w.answers(id))
		_, last := w.log(id, 0)
		if _, err := w.c.Do(w.ctx, id, tract.RaiseEvent{By: tract.IVA, Event: tract.EventComplete}); err != nil {
			t.Fatal(err)
		}
		w.ask(id, "delivery time")
		got, _ := w.log(id, last)
		diff(t, "the next conversation", []string{"conversation_state/complete bot", botEvent, "ceu: delivery time", "iva: Hi! Ask me.", delivery}, got)
	})
}

func TestLateAnswerIsDropped(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.load(shopFAQ)
		id := w.thread(assisted)
		turn := w.say(id, "delivery time")
		if _, err := w.c.Do(w.ctx, id, tract.Control{Op: tract.OpTake, By: tract.SAC}); err != nil {
			t.Fatal(err)
		}
		before, last := w.log(id, 0)
		if err := w.turn(turn); err != nil {
			t.Fatal(err)
		}
		after, _ := w.log(id, last)
		diff(t, "log", []string(nil), after)
		if !w.settled(turn) {
			t.Error("the turn is still open")
		}
		diff(t, "owner", tract.SAC, w.state(id).Owner)
		if len(before) == 0 {
			t.Error("nothing was logged at all")
		}
	})
}

func TestTwice(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.load(shopFAQ)
		id := w.thread(assisted)
		turn := w.say(id, "delivery time")
		errs := make([]error, 8)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = w.turn(turn) })
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				t.Error(err)
			}
		}
		diff(t, "answers", []string{botEvent, delivery}, w.answers(id))
		texts, _, _ := w.sent(id, store.EndpointChannel)
		diff(t, "channel", []string{"Delivery takes two to four days."}, texts)
	})
}

func TestSwitch(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		id := w.thread(alone)
		w.ask(id, "delivery time") // no steps: nothing is known, and nothing waited for
		w.load(shopFAQ)
		w.ask(id, "delivery time")
		const next = "node_name,question,answer\nDelivery time,how long does delivery take|delivery time,One day.\nGifts,do you wrap gifts,We do.\n"
		if err := bot.LoadFAQ(w.ctx, s, w.client, domain, []byte(next)); err != nil {
			t.Fatal(err)
		}
		w.ask(id, "delivery time") // the new steps are not trained yet
		if err := w.iva.Ready(w.ctx); err != nil {
			t.Errorf("a bot that answers from old steps is not ready: %v", err)
		}
		if err := w.iva.Preload(w.ctx); err != nil {
			t.Fatal(err)
		}
		w.ask(id, "delivery time")
		w.ask(id, "do you wrap gifts")
		w.ask(id, "what is your return policy")
		diff(t, "answers", []string{botEvent, broken, delivery, delivery, "iva: One day.", "iva: We do.", broken}, w.answers(id))
	})
}

func TestRun(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		if err := bot.LoadFAQ(w.ctx, s, w.client, domain, []byte(shopFAQ)); err != nil {
			t.Fatal(err)
		}
		if err := w.iva.Ready(w.ctx); tract.CodeOf(err) != "bot_not_ready" || tract.KindOf(err) != tract.KindUnavailable {
			t.Errorf("ready before anything was trained: %v", err)
		}
		ctx, cancel := context.WithCancel(w.ctx)
		var run sync.WaitGroup
		run.Go(func() {
			if err := w.iva.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		defer run.Wait()
		defer cancel()
		id := w.thread(alone)
		w.ask(id, "delivery time") // waits for the first model
		if err := w.iva.Ready(w.ctx); err != nil {
			t.Error(err)
		}
		if err := bot.LoadFAQ(w.ctx, s, w.client, domain, []byte("node_name,question,answer\nDelivery time,delivery time,One day.\n")); err != nil {
			t.Fatal(err)
		}
		wait, stop := context.WithTimeout(w.ctx, 20*time.Second)
		defer stop()
		if err := w.iva.Await(wait, w.client, domain, 2); err != nil {
			t.Fatal("the new steps were never trained")
		}
		w.ask(id, "delivery time")
		diff(t, "answers", []string{botEvent, delivery, "iva: One day."}, w.answers(id))
	})
}

func TestFailureIsABotBreak(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		if err := bot.LoadFAQ(w.ctx, s, w.client, domain, []byte(shopFAQ)); err != nil {
			t.Fatal(err)
		}
		w.iva.Limit = time.Millisecond
		id := w.thread(alone)
		w.ask(id, "delivery time") // nobody trains the model
		diff(t, "no model in time", []string{botEvent, broken}, w.answers(id))

		w.iva.Limit = time.Minute
		if err := w.iva.Preload(w.ctx); err != nil {
			t.Fatal(err)
		}
		w.iva.Spoil(w.client, domain)
		id = w.thread(assisted)
		w.ask(id, "delivery time")
		diff(t, "a model that panics", []string{botEvent, handover, "thread_control/passed bot_break", "conversation_state/waiting bot_break"}, w.answers(id))

		id = w.thread(alone)
		turn := w.say(id, "delivery time")
		if err := w.iva.Turn(w.ctx, []byte(`{"client":`), turn.Lane, turn.Seq); err != nil {
			t.Fatal(err)
		}
		diff(t, "a payload that cannot be read", []string{botEvent, broken}, w.answers(id))
	})
}

func TestWordlessSteps(t *testing.T) {
	s := tracttest.Open(t, sqlite(t))
	w := newWorld(t, s)
	w.load("node_name,question,answer\n🙂,🙃,Smile!\n")
	if err := w.iva.Ready(w.ctx); err != nil {
		t.Error(err)
	}
	id := w.thread(alone)
	w.ask(id, "🙂")
	diff(t, "answers", []string{botEvent, broken}, w.answers(id))
}

func TestGoneBusiness(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.load(shopFAQ)
		id := w.thread(alone)
		turn := w.say(id, "delivery time")
		w.update(func(tx *store.Tx) error { return tx.DeleteDocument(w.client, store.KindBusiness, "346") })
		if err := w.turn(turn); err != nil {
			t.Fatal(err)
		}
		if !w.settled(turn) {
			t.Error("the turn would come back for ever")
		}
	})
}

func TestStoreAway(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.load(shopFAQ)
		id := w.thread(alone)
		turn := w.say(id, "delivery time")
		payload, err := json.Marshal(turn)
		if err != nil {
			t.Fatal(err)
		}
		gone, cancel := context.WithCancel(w.ctx)
		cancel()
		if err := w.iva.Turn(gone, payload, turn.Lane, turn.Seq); err == nil {
			t.Error("the store was away and the turn passed for answered")
		}
		if w.settled(turn) {
			t.Error("the turn is settled without an answer")
		}
		if err := w.turn(turn); err != nil {
			t.Fatal(err)
		}
		diff(t, "answers", []string{botEvent, delivery}, w.answers(id))
	})
}

func TestInactiveBot(t *testing.T) {
	s := tracttest.Open(t, sqlite(t))
	w := newWorld(t, s)
	w.load(shopFAQ)
	id := w.thread(alone)
	w.ask(id, "delivery time")
	w.put(store.KindBot, domain, tract.Bot{DomainName: domain, Language: "en"})
	w.ask(id, "delivery time")
	diff(t, "answers", []string{botEvent, delivery, broken}, w.answers(id))
}

func TestMeant(t *testing.T) {
	offer := `{"text":"Well?","type":"TEXT","data":{"quick_replies":[{"actionable_text":"Track","type":"TEXT_ONLY","payload":{"message":"Track it","gogo_message":"where is my order{task}"}},{"actionable_text":"Help","type":"TEXT_ONLY","payload":{"message":"Help","gogo_message":""}}]}}`
	tests := []struct {
		name, said string
		before     []string
		want       string
	}{
		{"text", `{"text":"hello","type":"TEXT","data":{}}`, nil, "hello"},
		{"braces", `{"text":"hello {task}","type":"TEXT","data":{}}`, nil, "hello"},
		{"hidden in data", `{"text":"Track it","type":"TEXT","data":{"gogo_message":"where is it{task}"}}`, []string{offer}, "where is it"},
		{"hidden in a payload", `{"text":"Track it","type":"TEXT","data":{"payload":{"gogo_message":"where is it"}}}`, nil, "where is it"},
		{"null", `{"text":"Track","type":"TEXT","data":{"gogo_message":null}}`, nil, "Track"},
		{"other meaning", `{"text":"Track","type":"RECEIPT","data":{"payload":[1]}}`, nil, "Track"},
		{"chosen", `{"text":"track it ","type":"TEXT","data":{}}`, []string{offer, hsl.Text("more").Body()}, "where is my order"},
		{"chosen without hidden message", `{"text":"Help","type":"TEXT","data":{}}`, []string{offer}, "Help"},
		{"what is on the button", `{"text":"Track","type":"TEXT","data":{}}`, []string{offer}, "where is my order"},
		{"what was on a button", `{"text":"Track","type":"TEXT","data":{}}`, []string{offer, hsl.Text("more").Body()}, "Track"},
		{"not offered", `{"text":"Track it","type":"TEXT","data":{}}`, []string{hsl.Text("Well?").Body()}, "Track it"},
		{"no element", `nonsense`, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			diff(t, "meant", tt.want, bot.Meant(tt.said, tt.before...))
		})
	}
}
