// Package docs_test holds the documentation against the code: error codes,
// metrics, log keys, alarms, layers, places and links.
package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tract"
	"tract/internal/web"
)

// root is the repository as seen from here.
const root = ".."

type source struct {
	path string // from the root
	ast  *ast.File
}

// sources parses every Go file of the module that is no test.
func sources(t *testing.T) (out []source) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "data") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		out = append(out, source{filepath.ToSlash(rel), f})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("found only %d files: the test runs in the wrong folder", len(out))
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// text is the value of a string literal.
func text(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

// last is the last part of a name: Error of tract.Error.
func last(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// statuses asks the one place that knows which kind is which status.
func statuses(t *testing.T) map[string]int {
	t.Helper()
	kinds := map[string]tract.Kind{
		"KindInternal": tract.KindInternal, "KindInvalid": tract.KindInvalid, "KindUnauthorized": tract.KindUnauthorized, "KindForbidden": tract.KindForbidden,
		"KindNotFound": tract.KindNotFound, "KindConflict": tract.KindConflict, "KindMismatch": tract.KindMismatch, "KindPrecondition": tract.KindPrecondition, "KindTooLarge": tract.KindTooLarge,
		"KindUnsupported": tract.KindUnsupported, "KindRateLimited": tract.KindRateLimited, "KindUnavailable": tract.KindUnavailable,
	}
	out := map[string]int{}
	for name, kind := range kinds {
		m := web.NewMux(web.Config{Now: func() time.Time { return time.Time{} }})
		m.Handle("GET /x", web.Hub, func(http.ResponseWriter, *http.Request) (web.Answer, error) {
			return web.Answer{}, &tract.Error{Kind: kind, Code: "x", Msg: "x"}
		})
		rec := httptest.NewRecorder()
		m.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/x", nil))
		out[name] = rec.Code
	}
	return out
}

// codes collects error codes with the statuses they are answered with.
type codes struct {
	t         *testing.T
	statuses  map[string]int
	constants map[string]string // that hold a text, by name
	found     map[string]map[int]bool
}

func (c *codes) add(code string, status int) {
	if c.found[code] == nil {
		c.found[code] = map[int]bool{}
	}
	c.found[code][status] = true
}

func (c *codes) literal(f source, lit *ast.CompositeLit) {
	switch last(lit.Type) {
	case "Error":
		code, kind := "", "KindInternal"
		for _, e := range lit.Elts {
			kv, ok := e.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			switch last(kv.Key) {
			case "Code":
				code, _ = text(kv.Value)
			case "Kind":
				kind = last(kv.Value)
			}
		}
		if status, ok := c.statuses[kind]; ok && code != "" {
			c.add(code, status)
		}
	case "refusal": // of internal/web: an error of HTTP itself
		if code, ok := text(lit.Elts[1]); ok {
			c.add(code, statusNames()[last(lit.Elts[0])])
		}
	case "Failure":
		for _, e := range lit.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok && last(kv.Key) == "Code" {
				if code, ok := text(kv.Value); ok {
					c.add(code, http.StatusInternalServerError)
				}
			}
		}
	}
}

func constants(files []source) map[string]string {
	out := map[string]string{}
	for _, f := range files {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				for i, name := range spec.Names {
					if i < len(spec.Values) {
						if s, ok := text(spec.Values[i]); ok {
							out[name.Name] = s
						}
					}
				}
			}
			return true
		})
	}
	return out
}

func statusNames() map[string]int {
	return map[string]int{"StatusBadRequest": 400, "StatusNotFound": 404, "StatusMethodNotAllowed": 405, "StatusRequestTimeout": 408, "StatusRequestURITooLong": 414,
		"StatusRequestedRangeNotSatisfiable": 416, "StatusInternalServerError": 500}
}

// forwarders take a code from their callers, which are looked at instead.
func forwarders() map[string]string {
	return map[string]string{"badURL": "cert_url_", "fail": "", "invalid": ""}
}

func (c *codes) call(f source, within string, call *ast.CallExpr) {
	name := last(call.Fun)
	if name == "JSON" && len(call.Args) == 2 {
		c.answer(call)
	}
	prefix, forwards := forwarders()[name]
	if name != "Invalid" && !forwards || len(call.Args) == 0 {
		return
	}
	arg := call.Args[0]
	if code, ok := text(arg); ok {
		if name == "Invalid" || prefix != "" {
			c.add(prefix+code, http.StatusBadRequest)
		}
		return
	}
	if _, ok := forwarders()[within]; ok || name != "Invalid" {
		return
	}
	if code, ok := c.constants[last(arg)]; ok {
		c.add(code, http.StatusBadRequest)
		return
	}
	c.t.Errorf("%s: in %s, Invalid gets a code that this test cannot read", f.path, within)
}

// answer is web.JSON(status, map[string]any{…, "code": "…"}): an error written out.
func (c *codes) answer(call *ast.CallExpr) {
	body, ok := call.Args[1].(*ast.CompositeLit)
	if !ok {
		return
	}
	for _, e := range body.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			if key, _ := text(kv.Key); key == "code" {
				if code, ok := text(kv.Value); ok {
					c.add(code, statusNames()[last(call.Args[0])])
				}
			}
		}
	}
}

func collectCodes(t *testing.T) map[string]map[int]bool {
	files := sources(t)
	c := &codes{t, statuses(t), constants(files), map[string]map[int]bool{}}
	for _, f := range files {
		for _, decl := range f.ast.Decls {
			within := ""
			if fn, ok := decl.(*ast.FuncDecl); ok {
				within = fn.Name.Name
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CompositeLit:
					c.literal(f, n)
				case *ast.CallExpr:
					c.call(f, within, n)
				case *ast.ValueSpec:
					for i, name := range n.Names {
						if strings.HasPrefix(name.Name, "Code") && i < len(n.Values) {
							if code, ok := text(n.Values[i]); ok {
								c.add(code, http.StatusBadRequest)
							}
						}
					}
				}
				return true
			})
		}
	}
	return c.found
}

var codeRow = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| ([0-9, ]+|–) \\| \\S.* \\| \\S.* \\|$")

func TestEveryErrorCodeIsDocumented(t *testing.T) {
	found := collectCodes(t)
	if len(found) < 80 {
		t.Fatalf("found only %d codes", len(found))
	}
	documented := map[string]string{}
	for _, m := range codeRow.FindAllStringSubmatch(read(t, "docs/errors.md"), -1) {
		if _, twice := documented[m[1]]; twice {
			t.Errorf("%s is documented twice", m[1])
		}
		documented[m[1]] = m[2]
	}
	for _, code := range slices.Sorted(maps.Keys(found)) {
		var is []string
		for _, s := range slices.Sorted(maps.Keys(found[code])) {
			is = append(is, strconv.Itoa(s))
		}
		want := strings.Join(is, ", ")
		switch got, ok := documented[code]; {
		case !ok:
			t.Errorf("docs/errors.md does not have `%s` (status %s)", code, want)
		case got != "–" && got != want:
			t.Errorf("docs/errors.md says %s for `%s`; it is %s", got, code, want)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(documented)) {
		if found[code] == nil {
			t.Errorf("docs/errors.md has `%s`, which is not in the code", code)
		}
	}
}

// section is the part of a document below a heading.
func section(t *testing.T, doc, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(read(t, doc), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", doc, heading)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	return rest
}

var firstCell = regexp.MustCompile("(?m)^\\| `([^`]+)`")

// same compares what a table's first cells name with what the code has.
func same(t *testing.T, what, table string, found map[string]bool) {
	t.Helper()
	if len(found) == 0 {
		t.Fatalf("the code has no %s: this test looks in the wrong place", what)
	}
	documented := map[string]bool{}
	for _, m := range firstCell.FindAllStringSubmatch(table, -1) {
		documented[m[1]] = true
		if !found[m[1]] {
			t.Errorf("%s `%s` is documented but not in the code", what, m[1])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if !documented[name] {
			t.Errorf("%s `%s` is not documented", what, name)
		}
	}
}

var metricName = regexp.MustCompile(`"(tract_[a-z]+(?:_[a-z]+)*)"`)

func TestEveryMetricIsDocumented(t *testing.T) {
	found := map[string]bool{}
	for _, f := range sources(t) {
		code := read(t, f.path)
		if !strings.Contains(code, "prometheus/client_golang") {
			continue
		}
		for _, m := range metricName.FindAllStringSubmatch(code, -1) {
			found[m[1]] = true
		}
	}
	same(t, "metric", section(t, "docs/operate.md", "Metrics"), found)
}

// logMethods are those of slog.Logger, with the place of their first key.
func logMethods() map[string]int {
	return map[string]int{"Debug": 1, "Info": 1, "Warn": 1, "Error": 1, "DebugContext": 2, "InfoContext": 2, "WarnContext": 2, "ErrorContext": 2, "Log": 3}
}

var logWords = regexp.MustCompile(`^[a-z][a-z_]*$`)

func TestEveryLogKeyIsDocumented(t *testing.T) {
	found := map[string]bool{}
	note := func(args []ast.Expr, from int) {
		for i := from; i < len(args); i += 2 {
			if key, ok := text(args[i]); ok && logWords.MatchString(key) {
				found[key] = true
			}
		}
	}
	for _, f := range sources(t) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := last(call.Fun)
			from, isLog := logMethods()[name]
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && (last(sel.X) == "math" || last(sel.X) == "t") {
				isLog = false
			}
			if name == "level" { // the delivery's line picks its method first
				from, isLog = 1, true
			}
			if isLog && len(call.Args) >= from {
				if _, constant := text(call.Args[from-1]); constant {
					note(call.Args, from)
				}
			}
			if name == "append" && len(call.Args) > 1 && last(call.Args[0]) == "attrs" {
				note(call.Args, 1)
			}
			return true
		})
	}
	for _, key := range []string{"method", "route", "status", "duration_ms", "request_id"} { // the access line's list
		found[key] = true
	}
	same(t, "log key", section(t, "docs/operate.md", "Logs"), found)
}

func TestEveryAlarmIsDocumented(t *testing.T) {
	found := map[string]bool{}
	for _, f := range sources(t) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for i, left := range n.Lhs {
					if last(left) == "Alarm" && i < len(n.Rhs) {
						if code, ok := text(n.Rhs[i]); ok {
							found[code] = true
						}
					}
				}
			case *ast.CallExpr:
				if name := last(n.Fun); (name == "Alarm" || name == "alarm") && len(n.Args) > 0 {
					if code, ok := text(n.Args[0]); ok {
						found[code] = true
					}
				}
			}
			return true
		})
	}
	same(t, "alarm", section(t, "docs/operate.md", "Alarms"), found)
}

// The picture of the layers and the table of the packages are those of
// arch_test.go.
func TestPackagesAreThoseOfTheArchitecture(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "arch_test.go"), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != "imports" {
			return true
		}
		for _, e := range spec.Values[0].(*ast.CompositeLit).Elts {
			kv := e.(*ast.KeyValueExpr)
			pkg, _ := text(kv.Key)
			want[pkg], _ = text(kv.Value)
		}
		return false
	})
	delete(want, "tract/docs") // nothing but tests
	got := map[string]string{}
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|.*\\| ([^|]*) \\|$")
	for _, m := range row.FindAllStringSubmatch(section(t, "ARCHITECTURE.md", "Packages"), -1) {
		pkg := "tract/" + m[1]
		if m[1] == "tract" {
			pkg = "tract"
		}
		got[pkg] = strings.Trim(strings.TrimSpace(m[2]), "`–")
	}
	for _, pkg := range slices.Sorted(maps.Keys(want)) {
		if is, ok := got[pkg]; !ok || words(is) != words(want[pkg]) {
			t.Errorf("ARCHITECTURE.md says %q for %s; arch_test.go says %q", is, pkg, want[pkg])
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[pkg]; !ok {
			t.Errorf("ARCHITECTURE.md has %s, arch_test.go does not", pkg)
		}
	}
}

func words(s string) string {
	w := strings.Fields(s)
	slices.Sort(w)
	return strings.Join(w, " ")
}

func documents(t *testing.T) (out []string) {
	t.Helper()
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			rel, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, filepath.ToSlash(rel))
		}
	}
	if len(out) < 20 {
		t.Fatalf("found only %d documents", len(out))
	}
	return out
}

var (
	link  = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
	place = regexp.MustCompile("`([a-z_/0-9]+\\.go)(?: ([A-Za-z]+(?:\\.[A-Za-z]+)?))?`")
)

func TestLinksLeadSomewhere(t *testing.T) {
	for _, doc := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, doc), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", doc, m[1])
			}
		}
	}
}

// Places are written `path/file.go` or `path/file.go Type.Method`.
func TestPlacesExist(t *testing.T) {
	declared := map[string]map[string]bool{}
	for _, f := range sources(t) {
		names := map[string]bool{}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				names[d.Name.Name] = true
				if d.Recv != nil {
					recv := d.Recv.List[0].Type
					if p, ok := recv.(*ast.StarExpr); ok {
						recv = p.X
					}
					names[last(recv)+"."+d.Name.Name] = true
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						names[s.Name.Name] = true
					case *ast.ValueSpec:
						for _, n := range s.Names {
							names[n.Name] = true
						}
					}
				}
			}
		}
		declared[f.path] = names
	}
	seen := 0
	for _, doc := range documents(t) {
		for _, m := range place.FindAllStringSubmatch(read(t, doc), -1) {
			seen++
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s names %s, which is not there", doc, m[1])
			} else if m[2] != "" && !declared[m[1]][m[2]] {
				t.Errorf("%s names %s in %s, which is not there", doc, m[2], m[1])
			}
		}
	}
	if seen < 20 {
		t.Errorf("found only %d places", seen)
	}
}

// Every key of the declarative file is explained.
func TestDeclarativeKeysAreDocumented(t *testing.T) {
	found := map[string]bool{}
	for _, f := range sources(t) {
		if !strings.HasPrefix(f.path, "internal/manifest/") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && last(call.Fun) == "object" && len(call.Args) > 1 {
				for _, arg := range call.Args[1:] {
					if key, ok := text(arg); ok {
						found[key] = true
					}
				}
			}
			return true
		})
	}
	if len(found) < 40 {
		t.Fatalf("found only %d keys", len(found))
	}
	doc := section(t, "docs/configuration.md", "The declarative file")
	for _, key := range slices.Sorted(maps.Keys(found)) {
		if !strings.Contains(doc, "`"+key+"`") {
			t.Errorf("docs/configuration.md does not explain the key `%s`", key)
		}
	}
}
