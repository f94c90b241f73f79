package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"tract/internal/hsl"
	"tract/internal/sign"
)

const (
	maxHook       = 1 << 20
	signTolerance = 5 * time.Minute
)

// channel is the customer's side of the webhook channel: a server of its own
// that the hub calls, as a shop would run it.
type channel struct {
	d      *demo
	ln     net.Listener
	secret string
	seen   *seen
}

func newChannel(d *demo) (*channel, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the channel: %w", err)
	}
	return &channel{d: d, ln: ln, seen: newSeen(4096)}, nil
}

func (c *channel) url() string { return "http://" + c.ln.Addr().String() + "/hooks/chat" }

// serve takes calls until ctx ends. One that comes in at that moment is cut off:
// nobody looks at the chat any more.
func (c *channel) serve(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /hooks/chat", c.receive)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, IdleTimeout: time.Minute}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	if err := srv.Serve(c.ln); ctx.Err() == nil {
		return fmt.Errorf("serve the channel: %w", err)
	}
	return nil
}

// outgoing is what the hub sends to a webhook channel.
type outgoing struct {
	EventName string `json:"event_name"`
	Timestamp string `json:"timestamp"`
	User      struct {
		AuthID string `json:"auth_id"`
	} `json:"user"`
	Agent struct {
		Name        string `json:"name"`
		IsAutomated bool   `json:"is_automated"`
	} `json:"agent"`
	Message struct {
		ID   int64           `json:"id"`
		Body json.RawMessage `json:"body"`
	} `json:"message"`
}

// receive believes a call only when both signatures are right, and acts on it
// once.
func (c *channel) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHook))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	err = errors.Join(sign.VerifyHub(c.secret, r.Header, body), sign.Verify(c.secret, r.Header, body, c.d.cfg.Now(), signTolerance))
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	var out outgoing
	if err := json.Unmarshal(body, &out); err != nil {
		http.Error(w, "the body is not what a channel is sent", http.StatusBadRequest)
		return
	}
	if line, shown := out.line(); shown && c.seen.add(r.Header.Get(sign.HeaderID)) {
		c.d.visitors.hear(out.User.AuthID, line)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, "{}\n") // a hub that has hung up calls again
}

// line is what the customer sees of it.
func (o *outgoing) line() (l chatLine, shown bool) {
	el, err := hsl.Parse(o.Message.Body)
	if err != nil {
		return l, false // of a completion the second call, which has no message
	}
	l = chatLine{ID: o.Message.ID, At: o.Timestamp, From: "agent", Name: o.Agent.Name, Text: el.Display()}
	switch {
	case o.EventName != "message":
		l.From = "notice"
	case o.Agent.IsAutomated:
		l.From, l.Name = "bot", "Acme assistant"
	}
	for _, choice := range el.Choices() {
		l.Choices = append(l.Choices, choice.Message)
	}
	return l, true
}
