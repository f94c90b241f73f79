package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"

	"tract/internal/clock"
	"tract/internal/server"
	"tract/internal/store"
	"tract/internal/tracttest"
)

const examples = "../../examples"

// example is a file of the folder examples; docs are what it holds when it is
// YAML or JSON.
type example struct {
	path, text string
	docs       []any
}

func readDeployments(t *testing.T) (out []example) {
	t.Helper()
	err := filepath.WalkDir(examples, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		e := example{path: strings.TrimPrefix(filepath.ToSlash(path), examples+"/"), text: string(b)}
		switch filepath.Ext(path) {
		case ".yaml":
			e.docs = yamlDocuments(t, e.path, b)
		case ".json":
			var doc any
			if err := json.Unmarshal(b, &doc); err != nil {
				t.Errorf("%s: %v", e.path, err)
			}
			e.docs = []any{doc}
		case ".service", ".env":
			checkLines(t, e)
		case "", ".example": // Dockerfile, Caddyfile, env.example
		default:
			t.Errorf("%s: no test looks at files of this kind", e.path)
		}
		out = append(out, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 10 {
		t.Fatalf("found only %d files", len(out))
	}
	return out
}

func yamlDocuments(t *testing.T, path string, b []byte) (out []any) {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var doc any
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil || doc == nil {
			t.Errorf("%s: document %d: %v", path, len(out)+1, err)
			return out
		}
		out = append(out, doc)
	}
}

var settingLine = regexp.MustCompile(`^[A-Za-z_]+=`)

// checkLines looks at the form of units and environment files.
func checkLines(t *testing.T, e example) {
	t.Helper()
	for i, line := range strings.Split(e.text, "\n") {
		section := strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]")
		if line != "" && line[0] != '#' && !section && !settingLine.MatchString(line) {
			t.Errorf("%s:%d: %q", e.path, i+1, line)
		}
	}
}

var settingName = regexp.MustCompile(`\bTRACT_[A-Z][A-Z_]*`)

// Every setting that an example names is one.
func TestExamplesNameSettingsThatExist(t *testing.T) {
	parser, err := kong.New(&commands{}, kong.Name("tract"), kong.Writers(io.Discard, io.Discard), kong.Configuration(yamlConfig))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, f := range parser.Model.Flags {
		for _, env := range f.Envs {
			known[env] = true
		}
	}
	seen := 0
	for _, e := range readDeployments(t) {
		for _, name := range settingName.FindAllString(e.text, -1) {
			if seen++; !known[name] {
				t.Errorf("%s names the setting %s, which is none", e.path, name)
			}
		}
	}
	if seen < 30 {
		t.Errorf("found only %d settings", seen)
	}
}

func TestExamplesAreDescribed(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range readDeployments(t) {
		if !strings.Contains(string(doc), "examples/"+e.path) && !strings.Contains(string(doc), "examples/"+filepath.Dir(e.path)+")") {
			t.Errorf("docs/operate.md does not name examples/%s", e.path)
		}
	}
}

// exampleServer is a server that has every metric and route.
func exampleServer(t *testing.T) *server.Server {
	t.Helper()
	s, err := server.New(server.Config{Store: tracttest.Open(t, store.Options{Dir: t.TempDir()}), SecretKey: bytes.Repeat([]byte{7}, 32), DataDir: t.TempDir(), Now: clock.System})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var describedName = regexp.MustCompile(`fqName: "([a-z_]+)"`)

// registered are the metrics that the server has, with the series of histograms.
func registered(t *testing.T, s *server.Server) map[string]bool {
	t.Helper()
	names := map[string]bool{"up": true}
	descs := make(chan *prometheus.Desc, 1000)
	s.Registry.Describe(descs)
	close(descs)
	for d := range descs {
		if m := describedName.FindStringSubmatch(d.String()); m != nil {
			names[m[1]] = true
		}
	}
	families, err := s.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		names[f.GetName()] = true
	}
	for _, name := range slices.Collect(maps.Keys(names)) {
		if strings.HasSuffix(name, "_seconds") {
			names[name+"_bucket"], names[name+"_count"], names[name+"_sum"] = true, true, true
		}
	}
	return names
}

// expressions are all queries below v: the values of expr.
func expressions(v any) (out []string) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if text, ok := v[key].(string); ok && key == "expr" {
				out = append(out, text)
				continue
			}
			out = append(out, expressions(v[key])...)
		}
	case []any:
		for _, one := range v {
			out = append(out, expressions(one)...)
		}
	}
	return out
}

var (
	inQuotes    = regexp.MustCompile(`"[^"]*"`)
	queryMetric = regexp.MustCompile(`\b(?:up|(?:tract|go|process)_[a-z0-9_]+)\b`)
	queryLabel  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
)

// Alerts and dashboard ask for metrics that the server registers, with labels
// and values that are documented.
func TestMonitoringNamesWhatExists(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	_, described, _ := strings.Cut(string(doc), "\n## Metrics\n")
	described, _, _ = strings.Cut(described, "\n## Logs\n")
	known := registered(t, exampleServer(t))
	queries := 0
	for _, e := range readDeployments(t) {
		for _, doc := range e.docs {
			for _, query := range expressions(doc) {
				queries++
				for _, name := range queryMetric.FindAllString(inQuotes.ReplaceAllString(query, ""), -1) {
					base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
					if !known[name] || strings.HasPrefix(name, "tract_") && !strings.Contains(described, "| `"+base+"` |") {
						t.Errorf("%s: %s is no metric of the server: %s", e.path, name, query)
					}
				}
				for _, m := range queryLabel.FindAllStringSubmatch(query, -1) {
					if m[1] == "job" {
						continue
					}
					if strings.Trim(m[2], "abcdefghijklmnopqrstuvwxyz_|") != "" {
						continue // a pattern
					}
					for word := range strings.SplitSeq(m[2], "|") {
						if !regexp.MustCompile(`\b` + word + `\b`).MatchString(described) {
							t.Errorf("%s: %s is never %q: %s", e.path, m[1], word, query)
						}
					}
				}
			}
		}
	}
	if queries < 40 {
		t.Errorf("found only %d queries", queries)
	}
}

func TestEveryAlarmHasARule(t *testing.T) {
	rules, err := os.ReadFile(examples + "/monitoring/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	_, alarms, _ := strings.Cut(string(doc), "\n## Alarms\n")
	alarms, _, _ = strings.Cut(alarms, "\n## ")
	codes := regexp.MustCompile("(?m)^\\| `([a-z_]+)`").FindAllStringSubmatch(alarms, -1)
	if len(codes) < 5 {
		t.Fatalf("found only %d alarms", len(codes))
	}
	for _, m := range codes {
		if !strings.Contains(string(rules), m[1]) {
			t.Errorf("no rule of examples/monitoring/alerts.yaml looks at the alarm %s", m[1])
		}
	}
}

func TestDashboardPanels(t *testing.T) {
	b, err := os.ReadFile(examples + "/monitoring/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			ID      int
			Type    string
			Title   string
			Targets []struct{ Expr string }
			GridPos struct{ X, W int }
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	ids := map[int]string{}
	for _, p := range d.Panels {
		if other, ok := ids[p.ID]; ok || p.Title == "" {
			t.Errorf("panel %d: %q and %q", p.ID, p.Title, other)
		}
		ids[p.ID] = p.Title
		if p.Type != "row" && len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q has no query, or no room", p.Title)
		}
	}
	if len(ids) < 20 {
		t.Errorf("only %d panels", len(ids))
	}
}

var probedPath = regexp.MustCompile(`(?m)(?:httpGet: \{path: |health_uri |\spath: )(/[a-z]*)`)

// What is probed and scraped is served, and the manifests are whole.
func TestExamplesProbeWhatIsServed(t *testing.T) {
	h := exampleServer(t).Handler()
	probes := 0
	for _, e := range readDeployments(t) {
		for _, m := range probedPath.FindAllStringSubmatch(e.text, -1) {
			if m[1] == "/" { // all of an Ingress
				continue
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequest("GET", m[1], nil))
			if probes++; rec.Code == 404 {
				t.Errorf("%s probes %s, which is not served", e.path, m[1])
			}
		}
		if !strings.HasPrefix(e.path, "kubernetes/") {
			continue
		}
		for i, doc := range e.docs {
			m, _ := doc.(map[string]any)
			meta, _ := m["metadata"].(map[string]any)
			if m["apiVersion"] == nil || m["kind"] == nil || meta["name"] == nil {
				t.Errorf("%s: document %d lacks apiVersion, kind or name: %s", e.path, i+1, fmt.Sprint(doc))
			}
		}
	}
	if probes < 5 {
		t.Errorf("found only %d probes", probes)
	}
}
