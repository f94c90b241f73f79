// Package apidocs owns the description of the HTTP API and the pages that show
// it. The description is openapi.yaml, written by hand and kept in one file so
// that any tool can read it as it lies there; answers of the server are held
// against it in tests.
//
// It must not know the server: it hands out bytes, and whoever serves them
// chooses paths and headers. The page expects the description at
// /openapi.json and its own assets below /docs/.
//
// Invariants: everything is embedded, nothing is fetched from elsewhere, and
// the page works under the policy default-src 'self'.
package apidocs

import (
	_ "embed"
	"fmt"
	"sync"

	"github.com/goccy/go-yaml"
)

//go:embed openapi.yaml
var specYAML string

//go:embed reference.html
var pageHTML string

//go:embed reference.css
var pageCSS string

//go:embed reference.js
var pageJS string

//go:embed reference.svg
var pageIcon string

// The document is converted once: the server hands it out on every request.
var specJSON = sync.OnceValue(func() []byte {
	out, err := yaml.YAMLToJSON([]byte(specYAML))
	if err != nil {
		panic(fmt.Sprintf("embedded openapi.yaml: %v", err))
	}
	return out
})

// YAML returns the OpenAPI document as it was written.
func YAML() []byte { return []byte(specYAML) }

// JSON returns the OpenAPI document as JSON, its keys in the order in which
// they were written. The slice is shared; it must not be changed.
func JSON() []byte { return specJSON() }

// HTML returns the page of the API reference.
func HTML() []byte { return []byte(pageHTML) }

// Asset returns a file that the page loads from /docs/, with its content type:
// reference.js, reference.css or reference.svg. Any other name is not ok.
func Asset(name string) (data []byte, contentType string, ok bool) {
	switch name {
	case "reference.js":
		return []byte(pageJS), "text/javascript; charset=utf-8", true
	case "reference.css":
		return []byte(pageCSS), "text/css; charset=utf-8", true
	case "reference.svg":
		return []byte(pageIcon), "image/svg+xml", true
	}
	return nil, "", false
}
