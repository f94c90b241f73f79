package web

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Handler answers one request. An error becomes an answer in the style of the
// route; a handler that has written its answer itself returns the zero Answer.
type Handler func(w http.ResponseWriter, r *http.Request) (Answer, error)

// Config is what a Mux needs.
type Config struct {
	Log     *slog.Logger     // nil is silent
	Now     func() time.Time // measures how long calls take
	NewID   func() string    // makes request ids; nil makes random ones
	Metrics *Metrics         // nil counts nothing
}

// Mux sends requests to handlers. Paths are served with and without a trailing
// slash and nothing redirects.
type Mux struct {
	cfg    Config
	mux    *http.ServeMux
	nodes  map[string]*node
	styles map[string]Style // by first path segment, for paths that do not exist
	routes []string
}

// node is one path with its methods.
type node struct {
	m       *Mux
	style   Style
	methods map[string]*route
	allow   string
}

type route struct {
	label  string
	style  Style
	handle Handler
}

const (
	maxURL  = 2048
	noRoute = "none"
)

// NewMux makes an empty Mux.
func NewMux(c Config) *Mux {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.NewID == nil {
		c.NewID = rand.Text
	}
	return &Mux{cfg: c, mux: http.NewServeMux(), nodes: map[string]*node{}, styles: map[string]Style{}}
}

// Handle registers a handler for "METHOD /path/" and for further paths with the
// same method. Paths may hold wildcards: {name}, and {name...} at the end;
// otherwise a path stands for itself only. GET answers HEAD, too. An unknown path
// is answered in the style of the first route with the same first segment. A
// pattern that is malformed or taken panics.
func (m *Mux) Handle(pattern string, style Style, h Handler, aliases ...string) {
	method, path, ok := strings.Cut(pattern, " ")
	if !ok || !strings.HasPrefix(path, "/") {
		panic(fmt.Sprintf("web: pattern %q is not METHOD /path", pattern))
	}
	r := &route{label: path, style: style, handle: h}
	for _, p := range append([]string{path}, aliases...) {
		n := m.node(p, style)
		if n.methods[method] != nil {
			panic(fmt.Sprintf("web: %s %s is registered twice", method, p))
		}
		n.methods[method] = r
		n.allow = allowed(n.methods)
		m.routes = append(m.routes, method+" "+p)
		if s := firstSegment(p); m.styles[s] == nil {
			m.styles[s] = style
		}
	}
}

// Routes lists the patterns and aliases as they were registered.
func (m *Mux) Routes() []string { return slices.Clone(m.routes) }

func (m *Mux) node(path string, style Style) *node {
	bare := strings.TrimSuffix(path, "/")
	if n := m.nodes[bare]; n != nil {
		return n
	}
	n := &node{m: m, style: style, methods: map[string]*route{}}
	m.nodes[bare] = n
	if strings.HasSuffix(bare, "...}") {
		m.mux.Handle(bare, n)
		return n
	}
	if bare != "" {
		m.mux.Handle(bare, n)
	}
	m.mux.Handle(bare+"/{$}", n)
	return n
}

// refuse says which methods the path takes.
func (n *node) refuse(method string) error {
	takes := slices.Sorted(maps.Keys(n.methods))
	if method = methodName(method); method == "other" {
		method = "this method"
	}
	return &refusal{http.StatusMethodNotAllowed, "method_not_allowed", fmt.Sprintf("this path takes %s, not %s", strings.Join(takes, " or "), method)}
}

func allowed(methods map[string]*route) string {
	all := []string{http.MethodOptions}
	for m := range methods {
		all = append(all, m)
	}
	if methods[http.MethodGet] != nil {
		all = append(all, http.MethodHead)
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}

func firstSegment(path string) string {
	s, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return s
}

type requestIDKey struct{}

// RequestID is the id of the request that a context belongs to.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// ServeHTTP answers a request.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := m.now()
	id := m.requestID(r)
	h := w.Header()
	h.Set("X-Request-Id", id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
		// There may have been a Content-Length beside it, which Go drops unseen.
		// A proxy that went by it sees another end of this request: the
		// connection is not used for a second one.
		h.Set("Connection", "close")
	}
	r = r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id))
	rec := &recorder{ResponseWriter: w, route: noRoute, style: m.styleFor(r.URL.Path)}
	defer func() { m.finish(rec, r, m.now().Sub(start)) }()
	defer m.rescue(rec, r)
	m.serve(rec, r)
}

func (m *Mux) serve(w *recorder, r *http.Request) {
	if len(r.RequestURI) > maxURL {
		m.fail(w, r, errLongURL)
		return
	}
	if !plainPath(r.URL.Path) {
		m.fail(w, r, errNoPath)
		return
	}
	// ServeMux would answer some unknown paths with a redirect; only a node is ours.
	if h, _ := m.mux.Handler(r); !isNode(h) {
		m.fail(w, r, errNoPath)
		return
	}
	m.mux.ServeHTTP(w, r)
}

func isNode(h http.Handler) bool { _, ok := h.(*node); return ok }

// ServeHTTP picks the method. The mux calls it with its own recorder.
func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := w.(*recorder)
	rec.style = n.style
	rt := n.methods[r.Method]
	if rt == nil && r.Method == http.MethodHead {
		rt = n.methods[http.MethodGet]
	}
	if rt == nil {
		w.Header().Set("Allow", n.allow)
		if r.Method == http.MethodOptions {
			NoContent().write(w)
			return
		}
		n.m.fail(rec, r, n.refuse(r.Method))
		return
	}
	rec.style, rec.route = rt.style, rt.label
	if !plainQuery(r.URL.RawQuery) {
		n.m.fail(rec, r, errQuery)
		return
	}
	a, err := rt.handle(rec, r)
	switch {
	case err == nil && a.err != nil:
		err = a.err
	case err == nil && a.Status == 0 && rec.status == 0:
		err = errNoAnswer
	}
	if err != nil {
		n.m.fail(rec, r, err)
		return
	}
	if a.Status != 0 {
		a.write(rec)
	}
}

// rescue answers a panic like an unclassified error.
func (m *Mux) rescue(w *recorder, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	m.log().ErrorContext(r.Context(), "request panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()),
		"method", methodName(r.Method), "route", w.route, "request_id", RequestID(r.Context()))
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	f := Failure{Status: http.StatusInternalServerError, Code: "internal", Text: "internal error", RequestID: RequestID(r.Context())}
	w.code = f.Code
	w.style(f).write(w)
}

// finish writes the access line and counts the call. The path and the query
// stay out: they may hold names and secrets.
func (m *Mux) finish(w *recorder, r *http.Request, took time.Duration) {
	method := methodName(r.Method)
	m.cfg.Metrics.observe(w.route, method, w.status, took)
	level := slog.LevelDebug
	if w.status >= http.StatusBadRequest {
		level = slog.LevelInfo
	}
	if !m.log().Enabled(r.Context(), level) {
		return
	}
	attrs := []any{"method", method, "route", w.route, "status", w.status, "duration_ms", float64(took.Microseconds()) / 1000, "request_id", RequestID(r.Context())}
	if w.code != "" {
		attrs = append(attrs, "code", w.code)
	}
	if w.cause != nil {
		attrs = append(attrs, "error", w.cause)
	}
	m.log().Log(r.Context(), level, "request answered", attrs...)
}

func (m *Mux) log() *slog.Logger { return m.cfg.Log }

func (m *Mux) now() time.Time { return m.cfg.Now() }

func (m *Mux) styleFor(path string) Style {
	if s := m.styles[firstSegment(path)]; s != nil {
		return s
	}
	return Hub
}

func (m *Mux) requestID(r *http.Request) string {
	if v := r.Header.Values("X-Request-Id"); len(v) == 1 && saneID(v[0]) {
		return v[0]
	}
	return m.cfg.NewID()
}

func saneID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// plainPath refuses what two parsers could take for different paths.
func plainPath(p string) bool {
	closed := p + "/"
	return strings.HasPrefix(p, "/") && !strings.Contains(p, "//") && !strings.Contains(closed, "/./") && !strings.Contains(closed, "/../") && plainText(p)
}

func plainQuery(raw string) bool {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return false
	}
	for name, vs := range values {
		if !plainText(name) || !plainText(strings.Join(vs, "")) {
			return false
		}
	}
	return true
}

// plainText is what both databases can hold.
func plainText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// methodName bounds the values that a caller can put into log and metrics.
func methodName(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return m
	}
	return "other"
}
