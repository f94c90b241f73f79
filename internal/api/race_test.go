package api_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tract"
	"tract/internal/apitest"
	"tract/internal/sign"
	"tract/internal/store"
)

// callers is how many call at once.
const callers = 8

// lawful checks what must hold of a log whatever happened at once: ids and times
// increase, numbers of conversations have no gaps, epochs never fall, every
// message of a tool was written by the owner.
func lawful(t *testing.T, w *apitest.World, u apitest.User) {
	t.Helper()
	log := w.Log(u)
	conversation, epoch := 0, int64(0)
	for i, e := range log {
		if i > 0 && (e.ID <= log[i-1].ID || e.At.Before(log[i-1].At)) {
			t.Errorf("entry %d is not after the one before", e.ID)
		}
		if e.Conversation != conversation && e.Conversation != conversation+1 {
			t.Errorf("conversation %d follows %d", e.Conversation, conversation)
		}
		conversation = e.Conversation
		if e.Meta.Epoch < epoch {
			t.Errorf("epoch %d follows %d", e.Meta.Epoch, epoch)
		}
		epoch = e.Meta.Epoch
		if e.Event == "" && e.By != "" && e.By != e.Meta.Owner {
			t.Errorf("%s wrote while %s had the thread", e.By, e.Meta.Owner)
		}
	}
}

func TestRaces(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive", "conversation_state/complete")
		w.Hooks("desk-two", "message/receive", "conversation_state/complete")
		t.Run("TC-01 take with the same epoch", func(t *testing.T) {
			w := w.On(t)
			u := w.ToDeskOne()
			var won, lost atomic.Int32
			apitest.Race(callers, func(int) {
				switch a := w.Control("desk-two", "take", u, "", m{"control_epoch": 4}); {
				case a.At("success") == true:
					won.Add(1)
				case a.Code() == "epoch_mismatch" && a.Int("reason.control_epoch") == 5 && a.Text("reason.thread_owner") == "desk-two":
					lost.Add(1)
				default:
					t.Errorf("answer: %s", a)
				}
			})
			if won.Load() != 1 || lost.Load() != callers-1 {
				t.Errorf("%d won, %d lost", won.Load(), lost.Load())
			}
			lawful(t, w, u)
		})
		t.Run("TC-02 take by the desk, a tool and the bot", func(t *testing.T) {
			w := w.On(t)
			u := w.ToDeskOne()
			var won atomic.Int64
			apitest.Race(callers, func(i int) {
				if i%2 == 0 {
					if a := w.Control("desk-two", "take", u, ""); a.At("success") == true {
						won.Add(1)
					} else if a.Code() != "already_owner" {
						t.Errorf("answer: %s", a)
					}
					return
				}
				if _, err := w.Do(u, tract.Control{By: tract.SAC, Op: tract.OpTake}); err == nil {
					won.Add(1)
				} else if tract.CodeOf(err) != "already_owner" {
					t.Errorf("take by sac: %v", err)
				}
			})
			s := w.Thread(u).State
			if s.Epoch != 4+won.Load() {
				t.Errorf("%d takes succeeded, the epoch is %d", won.Load(), s.Epoch)
			}
			granted := 0
			w.View(func(tx *store.Tx) error {
				lines, err := tx.ListLedger(w.Thread(u).ID)
				for _, l := range lines {
					if l.Granted && l.Op == tract.OpTake && l.Epoch > 4 {
						granted++
					}
				}
				if last := lines[len(lines)-1]; last.Granted && last.To != s.Owner {
					t.Errorf("the ledger ends with %s, the owner is %s", last.To, s.Owner)
				}
				return err
			})
			if int64(granted) != won.Load() {
				t.Errorf("%d takes succeeded, the ledger has %d", won.Load(), granted)
			}
			lawful(t, w, u)
		})
		t.Run("pass to the desk", func(t *testing.T) {
			w := w.On(t)
			u := w.ToDeskOne()
			var won atomic.Int32
			apitest.Race(callers, func(int) {
				if a := w.Control("desk-one", "pass", u, "sac"); a.At("success") == true {
					won.Add(1)
				} else if a.Code() != "not_owner" {
					t.Errorf("answer: %s", a)
				}
			})
			if won.Load() != 1 {
				t.Errorf("%d of %d passes succeeded", won.Load(), callers)
			}
			lawful(t, w, u)
		})
		t.Run("accept and decline", func(t *testing.T) {
			w := w.On(t)
			u := w.ToDeskTwo()
			w.Granted("desk-two", "offer", u, "desk-one")
			var won atomic.Int32
			apitest.Race(callers, func(i int) {
				op := []string{"accept", "decline"}[i%2]
				if a := w.Control("desk-one", op, u, ""); a.At("success") == true {
					won.Add(1)
				} else if a.Code() != "no_offer" {
					t.Errorf("answer: %s", a)
				}
			})
			if won.Load() != 1 {
				t.Errorf("%d answers to one offer", won.Load())
			}
			lawful(t, w, u)
		})
		t.Run("request", func(t *testing.T) {
			w := w.On(t)
			u := w.ToDeskOne()
			var won atomic.Int32
			apitest.Race(callers, func(int) {
				if a := w.Control("desk-two", "request", u, ""); a.At("success") == true {
					won.Add(1)
				} else if a.Code() != "request_pending" {
					t.Errorf("answer: %s", a)
				}
			})
			if won.Load() != 1 {
				t.Errorf("%d requests stand", won.Load())
			}
		})
		t.Run("release and complete", func(t *testing.T) {
			w := w.On(t)
			u := w.ToDeskOne()
			apitest.Race(callers, func(i int) {
				if i%2 == 0 {
					if a := w.Control("desk-one", "release", u, ""); a.At("success") != true && a.Code() != "not_owner" && a.Code() != "conversation_complete" {
						t.Errorf("release: %s", a)
					}
					return
				}
				if a := w.Event("desk-one", "conversation_state/complete", u, nil); a.Status != 200 && a.Code() != "not_owner" {
					t.Errorf("complete: %s", a)
				}
			})
			w.Answered(u)
			lawful(t, w, u)
		})
		t.Run("allocated", func(t *testing.T) {
			w := w.On(t)
			u := w.ToDeskOne()
			apitest.Race(callers, func(i int) {
				w.Event("desk-one", "aeu_events/allocated", u, fmt.Sprintf("Agent %d", i)).Check(t, 200)
			})
			pinned := 0
			last := ""
			for _, e := range w.Log(u) {
				if e.Event == tract.EventPinned {
					pinned++
					last = e.Meta.Agent.Name
				}
			}
			if s := w.Thread(u).State; pinned != callers || s.State != tract.StateAssigned || s.Agent.Name != last {
				t.Errorf("%d allocations, state %s, agent %s, last %s", pinned, s.State, s.Agent.Name, last)
			}
		})
		t.Run("TC-11 complete and the user's messages", func(t *testing.T) {
			w := w.On(t)
			u := w.ToDeskOne()
			apitest.Race(callers, func(i int) {
				if i == 0 {
					w.Event("desk-one", "conversation_state/complete", u, nil).Check(t, 200)
					return
				}
				w.TrySay(u, fmt.Sprintf("m%d", i)).Check(t, 200)
			})
			w.Answered(u)
			var said int
			over := false
			for _, e := range w.Log(u) {
				if e.Event == tract.EventComplete && e.Conversation == 1 {
					over = true
				}
				if e.Sender == tract.SenderCEU && len(e.Body) < 50 {
					said++
				}
				if e.Sender == tract.SenderCEU && over && e.Conversation == 1 {
					t.Errorf("entry %d belongs to a conversation that is over", e.ID)
				}
				if e.Sender == tract.SenderCEU && e.Conversation == 2 && e.Meta.Owner != tract.IVA && e.Meta.Owner != tract.SAC {
					t.Errorf("the next conversation began with %s", e.Meta.Owner)
				}
			}
			if !over || said != callers-1 {
				t.Errorf("complete: %v, %d messages of %d", over, said, callers-1)
			}
			lawful(t, w, u)
		})
		t.Run("TC-12 two first messages of a new user", func(t *testing.T) {
			w := w.On(t)
			u := w.UserOf("acme", 344)
			var mu sync.Mutex
			var ids []int64
			apitest.Race(callers, func(i int) {
				id := w.TrySay(u, fmt.Sprintf("m%d", i)).Check(t, 200).Int("message_id")
				mu.Lock()
				defer mu.Unlock()
				ids = append(ids, id)
			})
			u.ID = w.Thread(u).Pxut
			var logged []int64
			begins := 0
			for _, e := range w.Log(u) {
				if e.Sender == tract.SenderCEU {
					logged = append(logged, int64(e.ID))
				}
				if e.Event == tract.EventWaiting {
					begins++
				}
				if e.Conversation != 1 {
					t.Errorf("entry %d is in conversation %d", e.ID, e.Conversation)
				}
			}
			slices.Sort(ids)
			if begins != 1 || !slices.Equal(ids, logged) {
				t.Errorf("%d conversations, messages %v, want %v", begins, logged, ids)
			}
			heard := w.One.WaitN(t, callers, "every message", apitest.About(u, "message"))
			for i, h := range heard {
				if h.Int("message_id") != ids[i] {
					t.Errorf("call %d brings message %d, want %d", i, h.Int("message_id"), ids[i])
				}
			}
			lawful(t, w, u)
		})
		t.Run("TC-10 send and pass", func(t *testing.T) {
			w := w.On(t)
			for range 6 {
				u := w.ToDeskOne()
				var mu sync.Mutex
				sent := map[int64]bool{}
				apitest.Race(callers, func(i int) {
					if i == callers/2 {
						if a := w.Control("desk-one", "pass", u, "sac"); a.At("success") != true {
							t.Errorf("pass: %s", a)
						}
						return
					}
					switch a := w.Write("desk-one", u, fmt.Sprintf("m%d", i)); {
					case a.Status == 200:
						mu.Lock()
						sent[a.Int("message_id")] = true
						mu.Unlock()
					case a.Status != 403 || a.Text("thread_owner") != "sac":
						t.Errorf("answer: %s", a)
					}
				})
				passed := false
				for _, e := range w.Log(u) {
					if e.Event == tract.EventPassed && e.By == "desk-one" {
						passed = true
					}
					if e.Event == "" && e.By == "desk-one" {
						if passed {
							t.Errorf("message %d was taken after the pass", e.ID)
						}
						if !sent[int64(e.ID)] {
							t.Errorf("message %d is logged but was refused", e.ID)
						}
						delete(sent, int64(e.ID))
					}
				}
				if len(sent) > 0 {
					t.Errorf("accepted but not logged: %v", sent)
				}
				lawful(t, w, u)
			}
		})
		t.Run("one Idempotency-Key", func(t *testing.T) {
			w := w.On(t)
			u := w.ToDeskOne()
			var mu sync.Mutex
			ids := map[int64]int{}
			apitest.Race(callers, func(i int) {
				var a apitest.Answer
				if i%2 == 0 {
					a = w.Tool("desk-one", "POST", send, m{"user_id": u.ID, "message_body": "once", "sender": "aeu"}, "Idempotency-Key: race")
				} else {
					a = w.TrySay(u, "once", "Idempotency-Key: race")
				}
				if a.Check(t, 200).Status == 200 {
					mu.Lock()
					ids[a.Int("message_id")]++
					mu.Unlock()
				}
			})
			n := 0
			for _, e := range w.Log(u) {
				if e.Body == `{"text":"once","type":"TEXT","data":{}}` {
					n++
				}
			}
			if len(ids) != 2 || n != 2 {
				t.Errorf("two calls were made once each: answers %v, %d messages", ids, n)
			}
		})
		t.Run("one new user", func(t *testing.T) {
			w := w.On(t)
			var mu sync.Mutex
			names := map[string]bool{}
			apitest.Race(callers, func(i int) {
				name := w.Platform("POST", "/v1.0/user/", m{"auth_id": "raced", "name": fmt.Sprint(i)}).Check(t, 200).Text("user_name")
				mu.Lock()
				defer mu.Unlock()
				names[name] = true
			})
			if len(names) != 1 {
				t.Errorf("one user has the names %v", names)
			}
		})
		t.Run("one hook", func(t *testing.T) {
			w := w.On(t)
			var shown atomic.Int32
			apitest.Race(callers, func(i int) {
				if w.Tool("desk-two", "POST", "/tract/hooks/register/", m{"category": "thread_control", "subcategory": "reset", "url": w.Two.URL(fmt.Sprint("/", i))}).Check(t, 200).Text("secret") != "" {
					shown.Add(1)
				}
			})
			if shown.Load() != 1 {
				t.Errorf("%d of %d were told a secret", shown.Load(), callers)
			}
		})
		t.Run("one secret", func(t *testing.T) {
			w := w.On(t)
			w.Register("desk-two", "thread_control", "taken")
			var mu sync.Mutex
			told := map[string]bool{}
			apitest.Race(callers, func(int) {
				secret := w.Tool("desk-two", "POST", "/tract/hooks/register/", m{"category": "thread_control", "subcategory": "taken", "url": w.Two.URL("/taken"), "rotate_secret": true}).Check(t, 200).Text("secret")
				mu.Lock()
				defer mu.Unlock()
				told[secret] = true
			})
			w.Tool("desk-two", "POST", "/tract/hooks/test/", m{"category": "thread_control", "subcategory": "taken"}).Want(t, 200)
			h := w.Two.Wait(t, "the ping", func(h *apitest.Hook) bool { return h.Name() == "ping" && h.Path == "/taken" })
			good := 0
			for secret := range told {
				if sign.Verify(secret, h.Header, h.Raw, h.When, time.Minute) == nil {
					good++
				}
			}
			if len(told) != callers || good != 2 {
				t.Errorf("%d secrets were told, %d of them sign now", len(told), good)
			}
		})
		w.Settle()
	})
}
