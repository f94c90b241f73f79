package apitest

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"net/http"

	"tract"
	"tract/internal/store"
)

// User is a chat end user with a thread on one business.
type User struct {
	AuthID   string // the client's identifier
	Name     string // ours, of the platform APIs
	ID       string // the user_id of the tools; "" before the first message
	Business int64
	Client   string
}

// User makes a user of acme who has not written yet, on business 343. fields
// are further ones of the call.
func (w *World) User(fields ...map[string]any) User {
	w.T.Helper()
	return w.UserOf("acme", 343, fields...)
}

// UserOf makes a user of a client on a business.
func (w *World) UserOf(client string, business int64, fields ...map[string]any) User {
	w.T.Helper()
	u := User{AuthID: "u-" + rand.Text()[:12], Business: business, Client: client}
	body := map[string]any{"auth_id": u.AuthID, "name": "Asha"}
	for _, f := range fields {
		for k, v := range f {
			body[k] = v
		}
	}
	call := w.Platform
	if client == "other" {
		call = w.Other
	}
	u.Name = call("POST", "/v1.0/user/", body).Want(w.T, http.StatusOK).Text("user_name")
	return u
}

// Message is the body of a user's message.
func (u User) Message(text string) map[string]any {
	return map[string]any{"user": map[string]any{"auth_id": u.AuthID}, "message_body": text, "message_type": 0, "business_id": u.Business}
}

// TrySay lets a user write and gives the answer.
func (w *World) TrySay(u User, text string, headers ...string) Answer {
	w.T.Helper()
	call := w.Platform
	if u.Client == "other" {
		call = w.Other
	}
	return call("POST", "/v1.0/log_message_from_user/", u.Message(text), headers...)
}

// Say lets a user write and gives the message's id; the user's own id is known
// afterwards.
func (w *World) Say(u *User, text string) int64 {
	w.T.Helper()
	id := w.TrySay(*u, text).Want(w.T, http.StatusOK).Int("message_id")
	if u.ID == "" {
		u.ID = w.Thread(*u).Pxut
	}
	return id
}

// Thread reads the thread of a user who has written.
func (w *World) Thread(u User) (t store.Thread) {
	w.T.Helper()
	client := w.ClientKey(u.Client)
	w.View(func(tx *store.Tx) error {
		who, err := tx.UserByAuthID(client, u.AuthID)
		if err != nil {
			return err
		}
		id, err := tx.ThreadOf(client, u.Business, who.ID)
		if err != nil {
			return err
		}
		t, err = tx.Thread(id)
		return err
	})
	return t
}

// Log reads the log of a user's thread.
func (w *World) Log(u User) (out []store.Entry) {
	w.T.Helper()
	id := w.Thread(u).ID
	w.View(func(tx *store.Tx) (err error) { out, err = tx.ListEntries(id, 0, 10_000); return err })
	return out
}

// Answered waits until the bot has dealt with everything the user wrote.
func (w *World) Answered(u User) {
	w.T.Helper()
	t := w.Thread(u)
	w.Until("the bot's turn is settled", func(tx *store.Tx) (bool, error) {
		cfg, err := w.Server.Conversation.Config(tx, t.Client)
		if err != nil {
			return false, err
		}
		l, ok, err := tx.Lane(store.LaneKey{Thread: t.ID, Endpoint: cfg.BotLanes[t.Business]})
		return !ok || l.Done == l.Last, err
	})
}

// Register registers a tool's hook at its receiver, under /category/subcategory.
func (w *World) Register(tool, category, subcategory string) Answer {
	w.T.Helper()
	return w.Tool(tool, "POST", "/tract/hooks/register/", map[string]any{"category": category, "subcategory": subcategory,
		"url": w.receiver(tool).URL("/" + category + "/" + subcategory)}).Want(w.T, http.StatusOK)
}

// Hooks registers hooks of a tool, each "category/subcategory", once a world.
func (w *World) Hooks(tool string, names ...string) {
	w.T.Helper()
	for _, n := range names {
		w.shared.mu.Lock()
		known := w.shared.hooks[tool+" "+n]
		w.shared.hooks[tool+" "+n] = true
		w.shared.mu.Unlock()
		if !known {
			category, subcategory := split(n)
			w.Register(tool, category, subcategory)
		}
	}
}

func split(name string) (category, subcategory string) {
	for i := range len(name) {
		if name[i] == '/' {
			return name[:i], name[i+1:]
		}
	}
	return name, ""
}

func (w *World) receiver(tool string) *Receiver {
	if tool == "desk-two" {
		return w.Two
	}
	return w.One
}

// Control asks for a thread control operation in a tool's own name.
func (w *World) Control(tool, op string, u User, receiver string, more ...map[string]any) Answer {
	w.T.Helper()
	body := map[string]any{"user_id": u.ID, "type": op, "requester": tool}
	if receiver != "" {
		body["receiver"] = receiver
	}
	for _, m := range more {
		for k, v := range m {
			body[k] = v
		}
	}
	return w.Tool(tool, "POST", "/tract/thread_control/request", body)
}

// Granted is Control that must succeed.
func (w *World) Granted(tool, op string, u User, receiver string, more ...map[string]any) Answer {
	w.T.Helper()
	a := w.Control(tool, op, u, receiver, more...).Want(w.T, http.StatusOK)
	if a.At("success") != true {
		w.T.Fatalf("%s by %s is refused: %s", op, tool, a)
	}
	return a
}

// Write sends a message of a tool.
func (w *World) Write(tool string, u User, text string, more ...map[string]any) Answer {
	w.T.Helper()
	body := map[string]any{"user_id": u.ID, "message_body": text, "sender": "aeu"}
	for _, m := range more {
		for k, v := range m {
			body[k] = v
		}
	}
	return w.Tool(tool, "POST", "/tract/message/send/", body)
}

// Event sends an event of a tool; name is "category/subcategory".
func (w *World) Event(tool, name string, u User, metadata any) Answer {
	w.T.Helper()
	category, subcategory := split(name)
	body := map[string]any{"user_id": u.ID, "category": category, "subcategory": subcategory}
	if metadata != nil {
		body["metadata"] = metadata
	}
	return w.Tool(tool, "POST", "/tract/events/send/", body)
}

// ToDesk makes a user on 343 whose bot could not answer: the desk has the thread.
func (w *World) ToDesk() User {
	w.T.Helper()
	u := w.User()
	w.Say(&u, Unanswerable)
	w.Answered(u)
	if owner := w.Thread(u).State.Owner; owner != "sac" {
		w.T.Fatalf("the bot handed over to %q, want sac", owner)
	}
	return u
}

// ToDeskTwo makes a user whose thread desk-two took from the desk.
func (w *World) ToDeskTwo() User {
	w.T.Helper()
	w.Hooks("desk-two", "message/receive")
	u := w.ToDesk()
	w.Granted("desk-two", "take", u, "desk-two")
	return u
}

// ToDeskOne makes a user whose thread desk-two took and passed to desk-one.
func (w *World) ToDeskOne() User {
	w.T.Helper()
	w.Hooks("desk-one", "message/receive")
	u := w.ToDeskTwo()
	w.Granted("desk-two", "pass", u, "desk-one")
	return u
}

// Effects are what was committed about a thread: the log, as the sender of each
// message and the name of each event, and what was queued, as "receiver what".
type Effects struct {
	Log    []string
	Queued []string
}

// Watch remembers where a user's thread stands; the function it returns gives
// what was committed since.
func (w *World) Watch(u User) func() Effects {
	w.T.Helper()
	lasts, last := map[int64]int64{}, tract.MessageID(0)
	var t store.Thread
	if u.ID != "" {
		t = w.Thread(u)
		last = t.LastEntry
	}
	each := func(fn func(tx *store.Tx, e store.Endpoint, l store.Lane) error) {
		w.View(func(tx *store.Tx) error {
			for _, kind := range []string{store.EndpointHook, store.EndpointChannel, store.EndpointBot} {
				es, err := tx.ListEndpoints(t.Client, kind, "")
				if err != nil {
					return err
				}
				for _, e := range es {
					l, _, err := tx.Lane(store.LaneKey{Thread: t.ID, Endpoint: e.ID})
					if err == nil {
						err = fn(tx, e, l)
					}
					if err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	each(func(_ *store.Tx, e store.Endpoint, l store.Lane) error { lasts[e.ID] = l.Last; return nil })
	return func() (out Effects) {
		w.T.Helper()
		w.View(func(tx *store.Tx) error {
			es, err := tx.ListEntries(t.ID, last, 1000)
			for _, e := range es {
				out.Log = append(out.Log, cmp.Or(string(e.Event), string(e.Sender)))
			}
			return err
		})
		each(func(tx *store.Tx, e store.Endpoint, l store.Lane) error {
			ds, err := tx.ListDeliveries(store.LaneKey{Thread: t.ID, Endpoint: e.ID}, lasts[e.ID], 1000)
			for _, d := range ds {
				out.Queued = append(out.Queued, deliveryName(e, d))
			}
			return err
		})
		return out
	}
}

func deliveryName(e store.Endpoint, d store.Delivery) string {
	switch e.Kind {
	case store.EndpointHook:
		return string(e.Tool) + " " + e.Category + "/" + e.Subcategory
	case store.EndpointChannel:
		h := Hook{}
		_ = json.Unmarshal(d.Payload, &h.body)
		return "channel " + h.Name()
	}
	return "bot"
}
