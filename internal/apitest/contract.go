package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	apidocs "tract/docs/api"
)

// contract is the description of the API, ready to be asked.
type contract struct {
	doc    *openapi3.T
	router routers.Router
}

var described = sync.OnceValue(func() *contract {
	doc := must(openapi3.NewLoader().LoadFromData(apidocs.YAML()))
	return &contract{doc, must(gorillamux.NewRouter(doc))}
})

// Described lists the endpoints of the description as "METHOD /path/".
func Described() []string {
	var out []string
	for path, item := range described().doc.Paths.Map() {
		for method := range item.Operations() {
			out = append(out, method+" "+path)
		}
	}
	return out
}

// find gives the described operation that answers a request; paths may come
// with and without the trailing slash.
func (c *contract) find(req *http.Request) (*routers.Route, map[string]string, error) {
	method := req.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	first := error(nil)
	escaped := req.URL.EscapedPath() // an escaped slash is part of a name
	for _, path := range []string{escaped, strings.TrimSuffix(escaped, "/"), escaped + "/"} {
		route, params, err := c.router.FindRoute(&http.Request{Method: method, URL: &url.URL{Path: path}, Header: req.Header})
		if err == nil {
			return route, params, nil
		}
		if first == nil || errors.Is(err, routers.ErrMethodNotAllowed) {
			first = err
		}
	}
	return nil, nil, first
}

// everywhere are the statuses that HTTP itself may lead to on any path, with
// their codes.
var everywhere = map[int]string{
	http.StatusMethodNotAllowed: "method_not_allowed", http.StatusRequestURITooLong: "uri_too_long", http.StatusRequestTimeout: "body_timeout",
}

// checkAnswer holds an answer against the description.
func checkAnswer(req *http.Request, a Answer) error {
	if a.Status == http.StatusRequestHeaderFieldsTooLarge || a.Status == http.StatusBadRequest && a.Header.Get("X-Request-Id") == "" {
		return nil // net/http's own answer: the request never got to a handler
	}
	h := a.Header
	switch {
	case h.Get("X-Request-Id") == "":
		return errors.New("no X-Request-Id")
	case h.Get("X-Content-Type-Options") != "nosniff":
		return errors.New("X-Content-Type-Options is not nosniff")
	case h.Get("Cache-Control") != "no-store":
		return errors.New("Cache-Control is not no-store")
	case a.Status/100 == 3:
		return errors.New("nothing redirects")
	case a.Status == http.StatusInternalServerError:
		return errors.New("an internal error")
	}
	c := described()
	route, params, err := c.find(req)
	if code, ok := everywhere[a.Status]; ok {
		return c.checkError(req, a, code)
	}
	if a.Code() == "invalid_query" {
		return c.checkError(req, a, "invalid_query")
	}
	switch {
	case errors.Is(err, routers.ErrPathNotFound):
		if a.Status != http.StatusNotFound {
			return errors.New("the path is not described")
		}
		return c.checkError(req, a, "not_found")
	case errors.Is(err, routers.ErrMethodNotAllowed):
		if req.Method == http.MethodOptions && a.Status == http.StatusNoContent {
			return nil
		}
		return fmt.Errorf("the method is not described")
	case err != nil:
		return err
	}
	return c.checkResponse(req, a, route, params)
}

func (c *contract) checkResponse(req *http.Request, a Answer, route *routers.Route, params map[string]string) error {
	if id := a.Text("request_id"); a.Status >= 400 && id != "" && id != a.Header.Get("X-Request-Id") {
		return fmt.Errorf("request_id %q is not that of the header", id)
	}
	kind, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
	options := &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true, ExcludeResponseBody: kind != "application/json"}
	if options.ExcludeResponseBody && a.Status != http.StatusNoContent && req.Method != http.MethodHead {
		if r := route.Operation.Responses.Status(a.Status); r == nil || r.Value.Content.Get(kind) == nil {
			return fmt.Errorf("status %d with content type %q is not described", a.Status, kind)
		}
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 a.Status, Header: a.Header, Body: io.NopCloser(bytes.NewReader(a.Body)), Options: options,
	})
}

// checkError holds an error that is not of one endpoint against the general
// shape of errors.
func (c *contract) checkError(req *http.Request, a Answer, code string) error {
	if req.Method == http.MethodHead {
		return nil
	}
	if a.Code() != code {
		return fmt.Errorf("code %q, want %q", a.Code(), code)
	}
	schema := "Error"
	for _, p := range []string{"/v1.0", "/integration", "/mogambo_api"} {
		if strings.HasPrefix(req.URL.Path, p) {
			schema = "PlatformError"
		}
	}
	return c.visit(schema, a.Body)
}

func (c *contract) visit(schema string, body []byte) error {
	ref := c.doc.Components.Schemas[schema]
	if ref == nil {
		return fmt.Errorf("the description has no schema %s", schema)
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	return ref.Value.VisitJSON(v, openapi3.MultiErrors())
}

// checkHook holds a call that a receiver got against the description of what
// the hub sends.
func checkHook(h *Hook) error {
	c := described()
	for _, name := range []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "X-Hub-Signature", "X-Hub-Signature-256", "X-Tract-Attempt"} {
		if h.Header.Get(name) == "" {
			return fmt.Errorf("no header %s", name)
		}
	}
	if got := h.Header.Get("Content-Type"); got != "application/json" {
		return fmt.Errorf("content type %q", got)
	}
	if got := h.Header.Get("User-Agent"); got != "tract/test" {
		return fmt.Errorf("user agent %q", got)
	}
	switch {
	case h.At("event_name") != nil:
		return c.visit("ChannelEvent", h.Raw)
	case h.At("message_body") != nil:
		return c.visit("MessagePayload", h.Raw)
	case h.At("details_available") != nil:
		return c.visit("CreateUserPayload", h.Raw)
	case h.At("type") == "ping":
		return c.visit("PingPayload", h.Raw)
	}
	if err := c.visit("EventPayload", h.Raw); err != nil {
		return err
	}
	text, _ := h.At("metadata").(string)
	return c.visit("EventMetadata", []byte(text))
}
