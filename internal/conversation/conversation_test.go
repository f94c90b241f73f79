package conversation_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tract"
	"tract/internal/conversation"
	"tract/internal/hsl"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// room is a client with a bot, a desk and two tools, and one thread.
type room struct {
	t      *testing.T
	s      *store.Store
	c      *conversation.Service
	clock  *tracttest.Clock
	client int64
	user   store.User
	thread int64
}

const business = 343

// tick is more than what the entries of a thread are apart while the clock stands.
const tick = time.Millisecond

// newRoom makes a room; change adjusts the business and tools before they are stored.
func newRoom(t *testing.T, o store.Options, change func(b *tract.Business, one, two *tract.Tool)) *room {
	t.Helper()
	r := &room{t: t, clock: tracttest.NewClock()}
	o.Now = r.clock.Now
	r.s = tracttest.Open(t, o)
	r.c = conversation.New(r.s, "https://hub.example", nil)
	if _, err := r.s.RegisterReplica(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	b := tract.Business{ID: business, Name: "Support", Bot: "faq", HumanAssistance: true, DefaultTeam: "Support", Tools: []tract.ReceiverID{"one", "two"}, AutoCompleteAfter: tract.Duration(8 * time.Minute), Active: true}
	one := tract.Tool{ID: "one", Name: "One", FQDN: "one.example", Deliver: tract.DeliverAll, Active: true, Permissions: tract.Permissions{Take: true, Request: true, PassTo: "any"}}
	two := tract.Tool{ID: "two", Name: "Two", FQDN: "two.example", Deliver: tract.DeliverAll, Active: true}
	if change != nil {
		change(&b, &one, &two)
	}
	r.update(func(tx *store.Tx) (err error) {
		if r.client, err = tx.PutClient(tract.Client{ID: "acme", Name: "Acme", Active: true, Desk: tract.Desk{Enabled: true}}); err != nil {
			return err
		}
		for _, d := range []struct {
			kind, id string
			v        any
		}{{store.KindBot, "faq", tract.Bot{DomainName: "faq", Language: "en", Active: true}}, {store.KindTeam, "Support", tract.Team{Name: "Support", Active: true}},
			{store.KindTool, "one", one}, {store.KindTool, "two", two}, {store.KindBusiness, "343", b}} {
			if err := tx.PutDocument(r.client, d.kind, d.id, "", d.v); err != nil {
				return err
			}
		}
		for _, e := range []store.Endpoint{{Kind: store.EndpointChannel, Business: business, URL: "https://acme.example/hook"}, {Kind: store.EndpointBot, Business: business},
			r.hook("one", "message", "receive"), r.hook("one", "conversation_state", "waiting"), r.hook("one", "collection_state", "incomplete"), r.hook("one", "user_events", "create_user"),
			r.hook("two", "message", "receive"), r.hook("two", "conversation_state", "waiting"), r.hook("two", "thread_control", "passed"), r.hook("two", "thread_control", "failed_over")} {
			e.Client = r.client
			if _, err := tx.PutEndpoint(e); err != nil {
				return err
			}
		}
		if r.user, err = tx.PutUser(store.User{Client: r.client, AuthID: "asha", UserName: "u1", Details: store.Details{Name: "Asha", LanguageCode: "hi"}}); err != nil {
			return err
		}
		r.thread, err = r.c.Open(tx, r.client, business, r.user.ID, tract.PlatformWebhook)
		return err
	})
	return r
}

func (r *room) hook(tool tract.ReceiverID, category, subcategory string) store.Endpoint {
	return store.Endpoint{Kind: store.EndpointHook, Tool: tool, Category: category, Subcategory: subcategory, URL: "https://" + string(tool) + ".example/" + subcategory}
}

func (r *room) update(fn func(*store.Tx) error) {
	r.t.Helper()
	if err := r.s.Update(r.t.Context(), fn); err != nil {
		r.t.Fatal(err)
	}
}

func (r *room) view(fn func(*store.Tx) error) {
	r.t.Helper()
	if err := r.s.View(r.t.Context(), fn); err != nil {
		r.t.Fatal(err)
	}
}

func (r *room) do(c tract.Command) *conversation.Result {
	r.t.Helper()
	res, err := r.c.Do(r.t.Context(), r.thread, c)
	if err != nil {
		r.t.Fatalf("%T: %v", c, err)
	}
	return res
}

func (r *room) says(text string) *conversation.Result {
	r.t.Helper()
	return r.do(tract.UserMessage{Body: hsl.Text(text).Body()})
}

func (r *room) state() (t tract.Thread) {
	r.t.Helper()
	r.view(func(tx *store.Tx) error {
		th, err := tx.Thread(r.thread)
		t = th.State
		return err
	})
	return t
}

// events lists what happened, oldest first.
func (r *room) events() (out []tract.Event) {
	r.t.Helper()
	r.view(func(tx *store.Tx) error {
		es, err := tx.ListEntries(r.thread, 0, 1000)
		for _, e := range es {
			if e.Event != "" {
				out = append(out, e.Event)
			}
		}
		return err
	})
	return out
}

// sent lists the payloads of a tool, in its own order.
func (r *room) sent(tool tract.ReceiverID) (out []map[string]any) {
	r.t.Helper()
	r.view(func(tx *store.Tx) error {
		ds, err := tx.ListFeed(r.thread, tool, 0, 1000)
		for _, d := range ds {
			p := map[string]any{}
			if err := json.Unmarshal(d.Payload, &p); err != nil {
				return err
			}
			if s, ok := p["metadata"].(string); ok {
				meta := map[string]any{}
				if err := json.Unmarshal([]byte(s), &meta); err != nil {
					return err
				}
				p["metadata"] = meta
			}
			out = append(out, p)
		}
		return err
	})
	return out
}

func meta(p map[string]any) map[string]any { m, _ := p["metadata"].(map[string]any); return m }

func TestTimersFireOnceHoweverManyLook(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		r := newRoom(t, o, nil)
		r.says("hello")
		r.do(tract.MoveLater{To: tract.SAC, Team: "Support", Delay: 5 * time.Second})
		r.clock.Advance(4 * time.Second)
		if n, err := r.c.FireDue(t.Context()); n != 0 || err != nil {
			t.Fatalf("fired %d early, %v", n, err)
		}
		r.clock.Advance(time.Second + tick)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := r.c.FireDue(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if st := r.state(); st.Owner != tract.SAC || st.State != tract.StateQueued || st.Epoch != 2 || st.Team != "Support" {
			t.Errorf("state %+v", st)
		}
		if got := r.events(); !slices.Equal(got, []tract.Event{tract.EventBot, tract.EventPassed, tract.EventWaiting}) {
			t.Errorf("events %v", got)
		}
	})
}

func TestTimersSurviveARestart(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		clock := tracttest.NewClock()
		var thread int64
		t.Run("before", func(t *testing.T) {
			r := newRoom(t, o, nil)
			r.says("hello")
			clock, thread = r.clock, r.thread
		})
		clock.Advance(9 * time.Minute)
		o.Now = clock.Now
		s := tracttest.Open(t, o)
		c := conversation.New(s, "", nil)
		if n, err := c.FireDue(t.Context()); n != 1 || err != nil {
			t.Fatalf("fired %d, %v", n, err)
		}
		if err := s.View(t.Context(), func(tx *store.Tx) error {
			th, err := tx.Thread(thread)
			if th.State.State != tract.StateComplete || th.State.Reason != tract.ReasonAuto {
				t.Errorf("state %+v", th.State)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestActivityPutsOffAutoCompletion(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		r := newRoom(t, o, nil)
		r.says("hello")
		r.clock.Advance(7 * time.Minute)
		r.says("still here")
		r.clock.Advance(7 * time.Minute)
		for _, want := range []tract.State{tract.StateBot, tract.StateComplete} {
			if _, err := r.c.FireDue(t.Context()); err != nil {
				t.Fatal(err)
			}
			if st := r.state(); st.State != want {
				t.Fatalf("state %s, want %s", st.State, want)
			}
			r.clock.Advance(time.Minute)
		}
	})
}

func TestAcknowledgementTimeoutFailsOver(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		r := newRoom(t, o, func(b *tract.Business, _, _ *tract.Tool) {
			b.Failover, b.AckTimeout, b.FailoverMessage = []tract.ReceiverID{"two", tract.SAC}, tract.Duration(time.Minute), "One moment, please."
		})
		r.says("hello")
		r.do(tract.Control{Op: tract.OpPass, By: tract.IVA, To: "one"})
		r.clock.Advance(time.Minute + tick)
		if _, err := r.c.FireDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st := r.state(); st.Owner != "two" || st.Epoch != 3 {
			t.Fatalf("owner %s, epoch %d: the dead tool kept the thread", st.Owner, st.Epoch)
		}
		if got := r.events(); !slices.Contains(got, tract.EventFailedOver) {
			t.Errorf("events %v", got)
		}
		// The second tool answers its hook: then it has heard, and keeps the thread.
		r.settle("two")
		r.clock.Advance(time.Minute + tick)
		if _, err := r.c.FireDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st := r.state(); st.Owner != "two" {
			t.Errorf("owner %s: a tool that answered lost the thread", st.Owner)
		}
	})
}

// settle marks everything queued for a tool as answered with 2xx.
func (r *room) settle(tool tract.ReceiverID) {
	r.t.Helper()
	r.update(func(tx *store.Tx) error {
		es, err := tx.ListEndpoints(r.client, store.EndpointHook, tool)
		if err != nil {
			return err
		}
		for _, e := range es {
			l, ok, err := tx.Lane(store.LaneKey{Thread: r.thread, Endpoint: e.ID})
			if err != nil {
				return err
			}
			for seq := l.Done + 1; ok && seq <= l.Last; seq++ {
				if open, err := tx.SettleTurn(l.LaneKey, seq); err != nil || !open {
					return errors.Join(err, errors.New("not settled"))
				}
			}
		}
		return nil
	})
}

func TestJobsLookAfterThreadsOfAToolThatIsGone(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		r := newRoom(t, o, func(b *tract.Business, _, _ *tract.Tool) { b.Failover = []tract.ReceiverID{"two"} })
		r.says("hello")
		r.do(tract.Control{Op: tract.OpTake, By: "one"})
		r.update(func(tx *store.Tx) error {
			return tx.InsertJob(store.JobHookDisabled, r.client, map[string]any{"tool": "one"}, tx.Now)
		})
		if n, err := r.c.DoJobs(t.Context()); n != 1 || err != nil {
			t.Fatalf("did %d jobs, %v", n, err)
		}
		if st := r.state(); st.Owner != "two" {
			t.Fatalf("owner %s after the hook was disabled", st.Owner)
		}
		r.update(func(tx *store.Tx) error {
			return tx.InsertJob(store.JobToolGone, r.client, map[string]any{"tool": "two"}, tx.Now)
		})
		if _, err := r.c.DoJobs(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st := r.state(); st.Owner != tract.IVA || st.State != tract.StateBot {
			t.Errorf("owner %s, state %s after the tool was removed", st.Owner, st.State)
		}
		if n, err := r.c.DoJobs(t.Context()); n != 0 || err != nil {
			t.Errorf("a job was left: %d, %v", n, err)
		}
	})
}

func TestDetachedToolLosesItsThreads(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		r := newRoom(t, o, nil)
		r.says("hello")
		r.do(tract.Control{Op: tract.OpTake, By: "one"})
		r.update(func(tx *store.Tx) error {
			b := tract.Business{ID: business, Name: "Support", Bot: "faq", Tools: []tract.ReceiverID{"two"}, Active: true}
			if err := tx.PutDocument(r.client, store.KindBusiness, "343", "", b); err != nil {
				return err
			}
			return tx.InsertJob(store.JobAdopt, r.client, struct{}{}, tx.Now)
		})
		if _, err := r.c.DoJobs(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st := r.state(); st.Owner != tract.IVA {
			t.Errorf("owner %s", st.Owner)
		}
	})
}

func TestOrphanedMessageIsKeptAndAdopted(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		r := newRoom(t, o, func(b *tract.Business, one, two *tract.Tool) {
			b.Bot, one.Active, two.Active = "", false, false
		})
		r.update(func(tx *store.Tx) error { // no desk either
			_, err := tx.PutClient(tract.Client{ID: "acme", Active: true})
			return err
		})
		if res := r.says("is anybody there"); !res.Outcome.Orphaned {
			t.Fatal("the message found a receiver")
		}
		if st := r.state(); st.Owner != "" || st.State != tract.StateQueued || st.Conversation != 1 {
			t.Fatalf("state %+v", st)
		}
		r.update(func(tx *store.Tx) error {
			if err := tx.PutDocument(r.client, store.KindTool, "one", "", tract.Tool{ID: "one", Name: "One", Deliver: tract.DeliverActive, Active: true}); err != nil {
				return err
			}
			return tx.InsertJob(store.JobAdopt, r.client, struct{}{}, tx.Now)
		})
		if _, err := r.c.DoJobs(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st := r.state(); st.Owner != "one" || st.Epoch != 1 {
			t.Fatalf("owner %s, epoch %d", st.Owner, st.Epoch)
		}
		heard := false
		for _, p := range r.sent("one") {
			body, _ := p["message_body"].(string)
			heard = heard || strings.Contains(body, "is anybody there")
		}
		if !heard {
			t.Error("the adopting tool was not given the message that waited")
		}
	})
}

func TestGainerOfActiveThreadsGetsWhatNobodyAnswered(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		r := newRoom(t, o, func(_ *tract.Business, one, two *tract.Tool) {
			two.Deliver, two.HistoryOnHandover = tract.DeliverActive, 1
		})
		r.says("first")
		r.do(tract.Control{Op: tract.OpTake, By: "one"})
		r.do(tract.Send{By: "one", Sender: tract.SenderAEU, Agent: tract.Agent{Name: "Mia"}, Body: hsl.Text("answered").Body()})
		r.says("second")
		r.says("third")
		if got := r.sent("two"); len(got) != 0 {
			t.Fatalf("a tool that hears only its own threads was sent %v", got)
		}
		r.do(tract.Control{Op: tract.OpPass, By: "one", To: "two", Reason: "expert"})
		var texts []string
		for i, p := range r.sent("two") {
			if seq := meta(p)["delivery_seq"]; seq != float64(i+1) {
				t.Errorf("delivery_seq %v at %d", seq, i+1)
			}
			if body, ok := p["message_body"].(string); ok {
				el, err := hsl.Parse([]byte(body))
				if err != nil {
					t.Fatal(err)
				}
				texts = append(texts, el.Text)
				if meta(p)["history"] != true || meta(p)["standby"] != false || meta(p)["control_epoch"] != float64(3) {
					t.Errorf("metadata %v", meta(p))
				}
			}
		}
		if !slices.Equal(texts, []string{"second", "third"}) {
			t.Errorf("got %q", texts)
		}
	})
}

func TestHandOverCarriesABrief(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		r := newRoom(t, o, func(b *tract.Business, _, _ *tract.Tool) { b.HandoverTo = "one" })
		res := r.says("my blender " + strings.Repeat("exploded ", 200))
		if res.Turn == nil {
			t.Fatal("the bot has no turn")
		}
		if err := r.c.Answer(context.Background(), *res.Turn, tract.BotAnswer{Handoff: tract.ReasonBotBreak, HandoverBody: hsl.Text("a colleague").Body()},
			map[string]any{"guesses": []any{map[string]any{"step": "Returns", "confidence": 0.2}}}, nil); err != nil {
			t.Fatal(err)
		}
		var brief map[string]any
		r.view(func(tx *store.Tx) (err error) { brief, err = tx.Brief(r.thread, 1); return err })
		question, _ := brief["question"].(string)
		if brief["reason"] != tract.ReasonBotBreak || !strings.HasPrefix(question, "my blender") || len(question) > 510 || brief["language"] != "hi" || len(brief["guesses"].([]any)) != 1 {
			t.Errorf("brief %v", brief)
		}
		got := r.sent("one")
		var names []string
		for _, p := range got {
			if p["subcategory"] != nil {
				names = append(names, p["category"].(string)+"/"+p["subcategory"].(string))
				if meta(p)["reason"] != tract.ReasonBotBreak || meta(p)["thread_owner"] != "one" || meta(p)["control_epoch"] != float64(2) || meta(p)["by"] != "iva" || meta(p)["brief"] == nil || meta(p)["transcript_url"] == nil {
					t.Errorf("metadata of %v: %v", names, meta(p))
				}
			}
		}
		if !slices.Equal(names, []string{"conversation_state/waiting", "collection_state/incomplete"}) {
			t.Errorf("the tool got %v: each registered name once", names)
		}
		// The turn is settled: the same answer again changes nothing.
		before := len(r.events())
		if err := r.c.Answer(context.Background(), *res.Turn, tract.BotAnswer{Bodies: []string{hsl.Text("again").Body()}}, nil, nil); err != nil {
			t.Fatal(err)
		}
		if after := len(r.events()); after != before {
			t.Errorf("an answered turn was answered again: %d events, then %d", before, after)
		}
	})
}

func TestRefusalChangesNothingButTheLedger(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		r := newRoom(t, o, nil)
		r.says("hello")
		before, events := r.state(), len(r.events())
		_, err := r.c.Do(t.Context(), r.thread, tract.Control{Op: tract.OpPass, By: "two", To: tract.SAC, Reason: "why not"})
		if !errors.Is(err, tract.ErrNotOwner) {
			t.Fatalf("got %v", err)
		}
		if after := r.state(); after.Epoch != before.Epoch || after.Owner != before.Owner || len(r.events()) != events {
			t.Errorf("state %+v", after)
		}
		r.view(func(tx *store.Tx) error {
			lines, err := tx.ListLedger(r.thread)
			if len(lines) != 2 || lines[1].Granted || lines[1].Code != "not_owner" || lines[1].Requester != "two" || lines[1].Reason != "why not" {
				t.Errorf("ledger %+v", lines)
			}
			return err
		})
	})
}

func TestEightTakersOneWinnerPerEpoch(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		r := newRoom(t, o, func(_ *tract.Business, _, two *tract.Tool) { two.Permissions = tract.Permissions{Take: true} })
		r.says("hello")
		var mu sync.Mutex
		granted := 0
		var wg sync.WaitGroup
		for i := range 8 {
			by := []tract.ReceiverID{"one", "two"}[i%2]
			wg.Go(func() {
				_, err := r.c.Do(t.Context(), r.thread, tract.Control{Op: tract.OpTake, By: by, Epoch: 1})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					granted++
				case !errors.Is(err, tract.ErrEpochMismatch):
					t.Errorf("refused with %v", err)
				}
			})
		}
		wg.Wait()
		if st := r.state(); granted != 1 || st.Epoch != 2 {
			t.Errorf("%d takes at epoch 1 were granted; the epoch is %d", granted, st.Epoch)
		}
	})
}
