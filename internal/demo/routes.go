package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"strings"
	"unicode/utf8"

	"tract"
	"tract/internal/hsl"
	"tract/internal/web"
	"tract/internal/webui"
)

//go:embed static
var static embed.FS

//go:embed page.html
var pageText string

const (
	cookieName = "tract_demo"
	cookieSize = 26 // of rand.Text
	maxBody    = 16 << 10
	maxText    = 2000 // characters of a message
)

// routes writes the page, and adds what it calls to the server's own.
func (d *demo) routes() error {
	page, err := template.New("page").Parse(pageText)
	if err != nil {
		return err
	}
	var html bytes.Buffer
	if err := page.Execute(&html, struct{ Tools []*tool }{d.tools}); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	d.html = html.Bytes()
	m := d.srv.Mux
	m.Handle("GET /demo/static/{asset}", web.Hub, asset)
	m.Handle("GET /demo/events", web.Hub, d.events)
	m.Handle("POST /demo/customer/message", web.Hub, d.act(d.customerSays))
	m.Handle("POST /demo/customer/new", web.Hub, d.act(d.newCustomer))
	m.Handle("POST /demo/tool/reply", web.Hub, d.act(d.toolReplies))
	m.Handle("POST /demo/tool/do", web.Hub, d.act(d.toolDoes))
	m.Handle("POST /demo/tool/mode", web.Hub, d.act(d.setMode))
	return nil
}

// page is the demo's one page, in place of the hub's own first page. It gives the
// visitor the cookie that it is known by.
func (d *demo) page(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
	if _, err := r.Cookie(cookieName); err != nil {
		http.SetCookie(w, &http.Cookie{Name: cookieName, Value: rand.Text(), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	}
	webui.Headers(w.Header())
	return web.Answer{Status: http.StatusOK, Body: d.html, Type: "text/html; charset=utf-8"}, nil
}

var errNothing = &tract.Error{Kind: tract.KindNotFound, Code: "not_found", Msg: "there is nothing at this path"}

// asset serves the demo's own files and those that all pages share.
func asset(_ http.ResponseWriter, r *http.Request) (web.Answer, error) {
	name := path.Base(r.PathValue("asset"))
	data, err := static.ReadFile("static/" + name)
	if err != nil {
		var ok bool
		if data, _, ok = webui.Asset(name); !ok {
			return web.Answer{}, errNothing
		}
	}
	return web.Answer{Status: http.StatusOK, Body: data, Type: webui.ContentType(name)}, nil
}

// errNoPage is a call that no page of the demo has made.
var errNoPage = &tract.Error{Kind: tract.KindForbidden, Code: "no_visitor", Msg: "open the demo's page first"}

// visitor knows the caller by the cookie of the page. One that was forgotten, as
// by a restart, begins anew.
func (d *demo) visitor(r *http.Request) (*visitor, error) {
	c, err := r.Cookie(cookieName)
	if err != nil || len(c.Value) != cookieSize || strings.Trim(c.Value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return nil, errNoPage
	}
	return d.visitors.get(c.Value)
}

// events is the page's stream: each part of its state when it changes. It goes
// on after the event that the page has seen last.
func (d *demo) events(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
	v, err := d.visitor(r)
	if err != nil {
		return web.Answer{}, err
	}
	wake, stop, ok := d.visitors.watch(v)
	if !ok {
		return web.Answer{}, web.ErrRateLimited.With("this demo is open in too many windows")
	}
	defer stop()
	after := v.after(r.Header.Get("Last-Event-ID"))
	st := web.OpenStream(w, r)
	st.Send(web.StreamEvent{Name: "clock", Data: []byte(`"` + stamp(d.cfg.Now()) + `"`)})
	for ok := true; ok; ok = st.Wait(wake) {
		if err := d.refresh(r.Context(), v); err != nil {
			d.cfg.Log.WarnContext(r.Context(), "page not drawn", "error", err)
			continue // it is woken again soon
		}
		for _, s := range d.visitors.since(v, after) {
			st.Send(web.StreamEvent{ID: v.eventID(s.seq), Name: s.name, Data: s.data})
			after = s.seq
		}
	}
	return web.Answer{}, nil
}

// order is what a page asks for.
type order struct {
	Text string `json:"text"`
	Tool string `json:"tool"`
	Op   string `json:"op"`
	To   string `json:"to"`
	Mode string `json:"mode"`
}

// act carries out what a page asks for. What the hub refuses is an answer like
// any other: the page shows it.
func (d *demo) act(do func(ctx context.Context, v *visitor, in order) error) web.Handler {
	return func(_ http.ResponseWriter, r *http.Request) (web.Answer, error) {
		v, err := d.visitor(r)
		if err != nil {
			return web.Answer{}, err
		}
		var in order
		if _, err := web.ReadJSON(r, maxBody, &in); err != nil {
			return web.Answer{}, err
		}
		err = do(r.Context(), v, in)
		var e *tract.Error
		if err != nil && !errors.As(err, &e) {
			return web.Answer{}, err
		}
		return web.JSON(http.StatusOK, map[string]*no{"refused": refusal(err)}), nil
	}
}

func checkText(text string) error {
	switch {
	case strings.TrimSpace(text) == "":
		return tract.Invalid("field_missing", "there is no text")
	case utf8.RuneCountInString(text) > maxText:
		return tract.Invalid("field_value", "the text is longer than %d characters", maxText)
	}
	return nil
}

func (d *demo) customerSays(ctx context.Context, v *visitor, in order) error {
	if err := checkText(in.Text); err != nil {
		return err
	}
	return d.say(ctx, v, in.Text)
}

func (d *demo) newCustomer(_ context.Context, v *visitor, _ order) error { return d.visitors.renew(v) }

// errNobody is an action before the customer has written.
var errNobody = &tract.Error{Kind: tract.KindConflict, Code: "no_conversation", Msg: "the customer has not written yet"}

// toolAnd finds the tool that is meant, and the visitor's own conversation as it
// knows it: a page never names one.
func (d *demo) toolAnd(v *visitor, in order) (t *tool, user string, err error) {
	if t = d.tool(in.Tool); t == nil {
		return nil, "", tract.Invalid("field_value", "there is no tool %.64q", in.Tool)
	}
	if user = d.visitors.userOf(v); user == "" {
		return nil, "", errNobody
	}
	return t, user, nil
}

// userOf is the user_id of the visitor's customer; "" before the first message.
func (s *visitors) userOf(v *visitor) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.current == nil {
		return ""
	}
	return v.current.user
}

func (d *demo) toolReplies(ctx context.Context, v *visitor, in order) error {
	if err := checkText(in.Text); err != nil {
		return err
	}
	t, user, err := d.toolAnd(v, in)
	if err != nil {
		return err
	}
	_, err = t.Send(ctx, user, hsl.Text(in.Text).Body(), t.Agent)
	return err
}

func (d *demo) toolDoes(ctx context.Context, v *visitor, in order) error {
	t, user, err := d.toolAnd(v, in)
	if err != nil {
		return err
	}
	switch in.Op {
	case "pass":
		_, err = t.Pass(ctx, user, in.To, "")
	case "offer":
		_, err = t.Offer(ctx, user, in.To, "")
	case "take":
		_, err = t.Take(ctx, user, "", "")
	case "request":
		_, err = t.Request(ctx, user, "", "")
	case "accept":
		_, err = t.Accept(ctx, user, "", "")
	case "decline":
		_, err = t.Decline(ctx, user, "", "")
	case "release":
		_, err = t.Release(ctx, user, "", "")
	case "allocate":
		err = t.Allocate(ctx, user, t.Agent)
	case "complete":
		err = t.Complete(ctx, user)
	default:
		err = tract.Invalid("field_value", "there is no operation %.64q", in.Op)
	}
	return err
}

// setMode breaks a tool or mends it. A mended tool switches on again what the
// hub has switched off meanwhile.
func (d *demo) setMode(ctx context.Context, _ *visitor, in order) error {
	t := d.tool(in.Tool)
	if t == nil {
		return tract.Invalid("field_value", "there is no tool %.64q", in.Tool)
	}
	f, ok := d.faults(in.Mode)
	if !ok {
		return tract.Invalid("field_value", "there is no mode %.64q", in.Mode)
	}
	t.SetFaults(f)
	defer d.visitors.wakeAll()
	if in.Mode != modeHealthy {
		return nil
	}
	_, err := t.EnableHooks(ctx)
	return err
}
