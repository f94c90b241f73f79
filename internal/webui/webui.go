// Package webui owns the pages that people open in a browser, and what they
// share: the stylesheet with all colours and sizes, and the icon.
//
// It must not hold rules: what a page asks for is handed in. Invariants: every
// page works under the policy default-src 'self'; nothing is fetched from
// elsewhere; a secret is shown in the answer that made it and nowhere else.
package webui

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"net/url"
	"path"

	"tract"
	"tract/internal/web"
)

//go:embed static
var static embed.FS

//go:embed home.html
var homeText string

//go:embed setup.html
var setupText string

// maxForm bounds the body of the form.
const maxForm = 8 << 10

// Create makes the first administrator by the one-time link and gives the
// administrator's token.
type Create func(ctx context.Context, link, email, name, password string) (token string, err error)

// Config is what the pages ask the server for. All but Home are required.
type Config struct {
	Check  func(ctx context.Context, link string) error // refuses a one-time link that does not work
	Create Create
	Ready  func(ctx context.Context) bool
	Home   web.Handler // answers GET /; nil = a page that says where to go

	PublicURL string // how others reach the server
}

// Routes registers the pages: /, /setup and what they load from /ui/.
func Routes(m *web.Mux, c Config) {
	if c.Home == nil {
		c.Home = home(c)
	}
	s := &setup{Config: c, page: template.Must(template.New("setup").Parse(setupText))}
	m.Handle("GET /", web.Hub, c.Home)
	m.Handle("GET /setup", s.failed, s.form)
	m.Handle("POST /setup", s.failed, s.submit)
	m.Handle("GET /ui/{asset}", web.Hub, func(_ http.ResponseWriter, r *http.Request) (web.Answer, error) {
		data, kind, ok := Asset(r.PathValue("asset"))
		if !ok {
			return web.Answer{}, &tract.Error{Kind: tract.KindNotFound, Code: "not_found", Msg: "there is nothing at this path"}
		}
		return web.Answer{Status: http.StatusOK, Body: data, Type: kind}, nil
	})
}

// Asset gives a file that pages share, with its content type: base.css and
// icon.svg among them.
func Asset(name string) (data []byte, contentType string, ok bool) {
	data, err := static.ReadFile(path.Join("static", path.Base(name)))
	if err != nil {
		return nil, "", false
	}
	return data, ContentType(name), true
}

// ContentType is the type of an embedded file by its name, the same on every
// machine.
func ContentType(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "application/octet-stream"
}

// Headers sets what every page is sent with: it loads from here only, is never
// framed, and tells no other site its address.
func Headers(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'")
	h.Set("Referrer-Policy", "same-origin") // with no-referrer browsers would hide the Origin of a form
}

// home is the page for who opens the hub's address and looks for a way on.
func home(c Config) web.Handler {
	page := template.Must(template.New("home").Parse(homeText))
	return func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
		Headers(w.Header())
		return render(page, http.StatusOK, struct {
			Ready  bool
			Server string
		}{c.Ready(r.Context()), c.PublicURL})
	}
}

type setup struct {
	Config
	page *template.Template
}

// setupView is what the page shows: the token, else the form for a link, else
// that a link is needed.
type setupView struct {
	Token, Server              string
	Link, Name, Email, Problem string
}

func (s *setup) form(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
	Headers(w.Header())
	link, _, err := web.Query(r, "token")
	if err != nil {
		return web.Answer{}, err
	}
	if link != "" {
		if err := s.Check(r.Context(), link); err != nil {
			return web.Answer{}, err
		}
	}
	return s.show(http.StatusOK, setupView{Link: link})
}

func (s *setup) submit(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
	Headers(w.Header())
	in, err := readForm(r)
	if err != nil {
		return web.Answer{}, err
	}
	v := setupView{Link: in.Get("token"), Name: in.Get("name"), Email: in.Get("email")}
	token, err := s.Create(r.Context(), v.Link, v.Email, v.Name, in.Get("password"))
	if tract.KindOf(err) == tract.KindInvalid { // to be corrected; the link still works
		v.Problem = err.Error()
		return s.show(http.StatusBadRequest, v)
	}
	if err != nil {
		return web.Answer{}, err
	}
	return s.show(http.StatusOK, setupView{Token: token, Server: origin(r)})
}

func readForm(r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, web.ErrUnsupported.With("Content-Type must be application/x-www-form-urlencoded")
	}
	body, err := web.ReadRaw(r, maxForm)
	if err != nil {
		return nil, err
	}
	in, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, tract.Invalid("invalid_form", "the form is malformed")
	}
	return in, nil
}

// origin is how the caller reaches this server: the browser knows it, behind
// proxies too.
func origin(r *http.Request) string {
	if u, err := url.Parse(r.Header.Get("Origin")); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host == r.Host {
		return u.Scheme + "://" + u.Host
	}
	return "http://" + r.Host
}

func (s *setup) show(status int, v setupView) (web.Answer, error) { return render(s.page, status, v) }

func render(page *template.Template, status int, view any) (web.Answer, error) {
	var b bytes.Buffer
	if err := page.Execute(&b, view); err != nil {
		return web.Answer{}, fmt.Errorf("write the page: %w", err)
	}
	return web.Answer{Status: status, Body: b.Bytes(), Type: "text/html; charset=utf-8"}, nil
}

// failed shows an error as a page.
func (s *setup) failed(f web.Failure) web.Answer {
	a, err := s.show(f.Status, setupView{Problem: f.Text})
	if err != nil {
		return web.Hub(f)
	}
	return a
}
