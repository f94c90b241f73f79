package demo

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"tract"
	"tract/internal/ect"
	"tract/internal/hsl"
)

// toolView is one tool's card.
type toolView struct {
	ID      tract.ReceiverID `json:"id"`
	Mode    string           `json:"mode"`   // healthy | fail | hang | down
	Health  string           `json:"health"` // ok | failing | disabled
	Why     string           `json:"why"`
	Owner   bool             `json:"owner"`
	Notice  string           `json:"notice"` // what is open about the thread, for this tool
	AckAt   string           `json:"ack_at,omitempty"`
	AckTo   string           `json:"ack_to,omitempty"`
	Entries []heardLine      `json:"entries"`
	Can     map[string]*no   `json:"can"` // by action; null = the hub would do it
	Targets []target         `json:"targets"`
}

// no is why the hub would refuse something.
type no struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// target is a receiver that a tool could give the thread to.
type target struct {
	ID    tract.ReceiverID `json:"id"`
	Name  string           `json:"name"`
	Pass  *no              `json:"pass"`
	Offer *no              `json:"offer"`
}

// heardLine is one line of what a tool knows of the conversation.
type heardLine struct {
	Key      string `json:"key"`
	Seq      int64  `json:"seq,omitempty"`
	Kind     string `json:"kind"` // message | event
	From     string `json:"from"` // customer | bot | mine | other | system
	Who      string `json:"who"`
	Text     string `json:"text"`
	Standby  bool   `json:"standby"`
	CaughtUp bool   `json:"caught_up"`
}

func (d *demo) toolViews(s *snapshot, names map[tract.ReceiverID]string, heard []ect.Thread) []toolView {
	out := make([]toolView, len(d.tools))
	for i, t := range d.tools {
		v := toolView{ID: t.sample.ID, Mode: modeOf(t.Faults()), Owner: s.thread.State.Owner == t.sample.ID, Entries: d.heard(s, t, names, &heard[i])}
		v.Health, v.Why = "ok", "every call was answered"
		if n := d.board.failures(t.sample.ID); n > 0 {
			v.Health, v.Why = "failing", fmt.Sprintf("%d calls in a row failed", n)
			if n == 1 {
				v.Why = "the last call failed"
			}
		}
		if s.disabled[t.sample.ID] != "" {
			v.Health, v.Why = "disabled", "given up after the last retry; calls queue until it is enabled"
		}
		v.Notice = notice(&s.thread.State, t.sample.ID, names)
		if ack := s.thread.State.AckDue; v.Owner && !ack.IsZero() && v.Mode != modeHealthy {
			v.AckAt, v.AckTo = stamp(ack), nextInLine(s.settings, t.sample.ID)
		}
		v.Can, v.Targets = d.allowed(s, t, names)
		out[i] = v
	}
	return out
}

// nextInLine is whom the failover list names after a tool.
func nextInLine(s *tract.Settings, from tract.ReceiverID) string {
	for _, id := range s.Failover {
		if r, ok := s.Receiver(id); ok && id != from && r.Available {
			return r.Name
		}
	}
	return "the next in line"
}

func notice(t *tract.Thread, tool tract.ReceiverID, names map[tract.ReceiverID]string) string {
	p := t.Pending
	switch {
	case p == nil:
		return ""
	case p.Type == tract.OpOffer && p.Receiver == tool:
		return orElse(names[p.By], "The owner") + " offers you this conversation."
	case p.Type == tract.OpOffer && t.Owner == tool:
		return "Offered to " + names[p.Receiver] + "; yours until it accepts."
	case p.Type == tract.OpRequest && t.Owner == tool:
		return names[p.Receiver] + " asks for this conversation. Pass it on to agree."
	case p.Type == tract.OpRequest && p.Receiver == tool:
		return "Requested; " + names[t.Owner] + " has a minute to pass it."
	}
	return ""
}

// allowed asks the hub's own rules what each action would lead to now. Nothing
// is decided here: the page only says beforehand what the hub would say.
func (d *demo) allowed(s *snapshot, t *tool, names map[tract.ReceiverID]string) (map[string]*no, []target) {
	id := t.sample.ID
	try := func(c tract.Command) *no {
		if s.customer.thread == 0 {
			return &no{"no_conversation", "the customer has not written yet"}
		}
		if e, ok := c.(tract.RaiseEvent); ok && !s.thread.State.State.Open() { // a repeated completion would be taken, and do nothing
			e.Event = tract.EventReceived
			c = e
		}
		_, err := tract.Decide(s.thread.State, s.settings, c, d.cfg.Now())
		return refusal(err)
	}
	can := map[string]*no{
		"reply":    try(tract.Send{By: id, Sender: tract.SenderAEU, Body: hsl.Text("…").Body()}),
		"allocate": try(tract.RaiseEvent{By: id, Event: tract.EventAllocated, Agent: tract.Agent{Name: t.Agent}}),
		"complete": try(tract.RaiseEvent{By: id, Event: tract.EventComplete}),
	}
	for _, op := range []tract.Op{tract.OpTake, tract.OpRequest, tract.OpAccept, tract.OpDecline, tract.OpRelease} {
		can[string(op)] = try(tract.Control{Op: op, By: id, To: id})
	}
	var targets []target
	for _, r := range s.settings.Receivers {
		if r.ID != id {
			targets = append(targets, target{r.ID, names[r.ID], try(tract.Control{Op: tract.OpPass, By: id, To: r.ID}), try(tract.Control{Op: tract.OpOffer, By: id, To: r.ID})})
		}
	}
	slices.SortStableFunc(targets, func(a, b target) int { return cmp.Compare(rank(a, t.first), rank(b, t.first)) })
	return can, targets
}

func rank(one target, first tract.ReceiverID) int {
	if one.ID == first {
		return 0
	}
	return 1
}

// refusal is what the page shows of an error; nil for none.
func refusal(err error) *no {
	if err == nil {
		return nil
	}
	var e *tract.Error
	if !errors.As(err, &e) {
		return &no{"internal", "something went wrong"}
	}
	return &no{e.Code, e.Msg}
}

// heard is what a tool learned by its webhooks, and what it did itself.
func (d *demo) heard(s *snapshot, t *tool, names map[tract.ReceiverID]string, th *ect.Thread) []heardLine {
	owners := make(map[int64]tract.ReceiverID, len(s.entries))
	for i := range s.entries {
		owners[int64(s.entries[i].ID)] = s.entries[i].Meta.Owner
	}
	entries := th.Entries[max(0, len(th.Entries)-mostHeard):]
	out := make([]heardLine, 0, len(entries))
	for i := range entries {
		e := &entries[i]
		l := heardLine{Seq: e.Seq, Kind: "message", From: "other", Who: e.Agent, Text: e.Text, CaughtUp: e.CaughtUp}
		switch {
		case e.Seq > 0:
			l.Key = "s" + strconv.FormatInt(e.Seq, 10)
		default:
			l.Key = "o" + strconv.FormatInt(e.MessageID, 10) + "-" + e.At.Format(time.RFC3339Nano)
		}
		switch {
		case e.Event != "":
			l.Kind, l.From, l.Who = "event", "system", heardText(e)
		case e.Mine:
			l.From = "mine"
			l.Who = orElse(e.Agent, names[t.sample.ID])
		case e.Sender == tract.SenderCEU:
			l.From, l.Who = "customer", "Customer"
		case e.Sender == tract.SenderIVA:
			l.From, l.Who = "bot", "Bot"
		case e.Sender == tract.SenderSystem:
			l.From, l.Who = "system", "TRACT"
		case e.Agent == "":
			l.Who = "Another tool"
		}
		if owner, known := owners[e.MessageID]; known && !e.Mine {
			l.Standby = owner != t.sample.ID
		}
		out = append(out, l)
	}
	return out
}

// The ways a tool behaves.
const (
	modeHealthy = "healthy"
	modeFail    = "fail"
	modeHang    = "hang"
	modeDown    = "down"
)

// faults are what is wrong with a tool in a mode; ok is false for a mode that
// does not exist.
func (d *demo) faults(mode string) (f ect.Faults, ok bool) {
	switch mode {
	case modeHealthy:
		return ect.Faults{}, true
	case modeFail:
		return ect.Faults{Fail: 1, Status: 500}, true
	case modeHang:
		return ect.Faults{Delay: 2*d.cfg.HookTimeout + time.Second}, true
	case modeDown:
		return ect.Faults{Down: true}, true
	}
	return ect.Faults{}, false
}

func modeOf(f ect.Faults) string {
	switch {
	case f.Down:
		return modeDown
	case f.Fail > 0:
		return modeFail
	case f.Delay > 0:
		return modeHang
	}
	return modeHealthy
}
