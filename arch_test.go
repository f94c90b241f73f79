package tract_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tract/internal/store"
)

// imports is the table of layers: what each package may import of ours. Imports
// point down only. It is the picture of ARCHITECTURE.md, held by this test.
var imports = map[string]string{
	"tract":                       "",
	"tract/docs":                  "",
	"tract/docs/api":              "",
	"tract/internal/clock":        "",
	"tract/internal/strictjson":   "tract",
	"tract/internal/hsl":          "tract strictjson",
	"tract/internal/texts":        "tract hsl",
	"tract/internal/safehttp":     "tract",
	"tract/internal/sign":         "tract",
	"tract/internal/store":        "tract clock",
	"tract/internal/auth":         "tract store safehttp sign strictjson",
	"tract/internal/conversation": "tract store hsl texts",
	"tract/internal/files":        "tract store hsl safehttp sign",
	"tract/internal/intake":       "tract store conversation",
	"tract/internal/delivery":     "tract store safehttp sign",
	"tract/internal/bot/nlu":      "tract",
	"tract/internal/bot/external": "tract safehttp sign hsl strictjson",
	"tract/internal/bot":          "tract store conversation hsl texts strictjson bot/nlu bot/external",
	"tract/internal/report":       "tract store hsl",
	"tract/internal/manifest":     "tract store texts",
	"tract/internal/retention":    "store",
	"tract/internal/web":          "tract store strictjson",
	"tract/internal/ect":          "tract safehttp sign hsl strictjson",
	"tract/internal/webui":        "tract web",
	"tract/internal/api":          "tract store auth bot conversation delivery files intake manifest report hsl texts safehttp sign strictjson web",
	"tract/internal/server":       "tract docs/api store auth conversation delivery files intake manifest retention bot bot/external api webui web safehttp sign",
	"tract/internal/demo":         "tract store conversation delivery ect files manifest server web webui clock safehttp sign hsl auth",
	"tract/internal/bench":        "tract store ect hsl intake manifest safehttp server sign strictjson web",
	"tract/cmd/tract":             "*",
	"tract/internal/tracttest":    "store",
	"tract/internal/apitest":      "*",
}

type file struct {
	path string // of the file
	pkg  string // import path
	test bool
	ast  *ast.File
	set  *token.FileSet
}

// sources parses every Go file of the module.
func sources(t *testing.T) []file {
	t.Helper()
	var out []file
	set := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata" || d.Name() == "data") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		pkg := "tract"
		if dir := filepath.ToSlash(filepath.Dir(path)); dir != "." {
			pkg += "/" + dir
		}
		out = append(out, file{path, pkg, strings.HasSuffix(path, "_test.go"), f, set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("found only %d files: the test runs in the wrong folder", len(out))
	}
	return out
}

func TestImportsPointDown(t *testing.T) {
	for _, f := range sources(t) {
		allowed, known := imports[f.pkg]
		if !known {
			t.Errorf("%s: package %s is not in the table of imports", f.path, f.pkg)
			continue
		}
		if f.test || allowed == "*" {
			continue
		}
		may := strings.Fields(allowed)
		for _, im := range f.ast.Imports {
			path := strings.Trim(im.Path.Value, `"`)
			if path != "tract" && !strings.HasPrefix(path, "tract/") {
				if f.pkg == "tract" && strings.Contains(path, ".") {
					t.Errorf("%s: the root package imports %s: only the standard library is allowed", f.path, path)
				}
				continue
			}
			short := strings.TrimPrefix(strings.TrimPrefix(path, "tract/internal/"), "tract/")
			if !slices.Contains(may, short) {
				t.Errorf("%s: %s may not import %s", f.path, f.pkg, path)
			}
		}
	}
}

func TestPackagesAndNamesAreDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		if _, ok := documented[f.pkg]; !ok || f.ast.Doc != nil {
			documented[f.pkg] = documented[f.pkg] || f.ast.Doc != nil
		}
		for _, d := range f.ast.Decls {
			for _, name := range undocumented(d) {
				t.Errorf("%s: exported %s has no comment", f.path, name)
			}
		}
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
}

func undocumented(d ast.Decl) (names []string) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
			names = append(names, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
					names = append(names, s.Name.Name)
				}
			case *ast.ValueSpec:
				if s.Names[0].IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					names = append(names, s.Names[0].Name)
				}
			}
		}
	}
	return names
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	if p, ok := t.(*ast.StarExpr); ok {
		t = p.X
	}
	id, ok := t.(*ast.Ident)
	return ok && id.IsExported()
}

// homes are the only packages that may use a thing.
var homes = []struct {
	what string // package.Name
	pkgs []string
	why  string
}{
	{"time.Now", []string{"tract/internal/clock"}, "time is handed in"},
	{"time.Since", []string{"tract/internal/clock"}, "time is handed in"},
	{"time.Until", []string{"tract/internal/clock"}, "time is handed in"},
	{"time.Sleep", nil, "wait for a signal"},
	{"http.Client", []string{"tract/internal/safehttp"}, "outgoing HTTP is safehttp's"},
	{"http.Get", []string{"tract/internal/safehttp"}, "outgoing HTTP is safehttp's"},
	{"http.Post", []string{"tract/internal/safehttp"}, "outgoing HTTP is safehttp's"},
	{"http.DefaultClient", nil, "outgoing HTTP is safehttp's"},
	{"http.Transport", []string{"tract/internal/safehttp"}, "outgoing HTTP is safehttp's"},
	{"net.Dial", []string{"tract/internal/safehttp"}, "outgoing connections are safehttp's"},
	{"os.Getenv", []string{"tract/cmd/tract", "tract/internal/tracttest", "tract/internal/apitest"}, "the environment is read in cmd"},
	{"os.LookupEnv", []string{"tract/cmd/tract", "tract/internal/tracttest"}, "the environment is read in cmd"},
	{"sql.Open", []string{"tract/internal/store"}, "SQL lives in store"},
	{"slog.Default", nil, "the logger is handed in"},
}

func TestThingsStayAtHome(t *testing.T) {
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			id, ok := sel.X.(*ast.Ident)
			if !ok || id.Obj != nil {
				return true
			}
			for _, h := range homes {
				if id.Name+"."+sel.Sel.Name == h.what && !slices.Contains(h.pkgs, f.pkg) {
					t.Errorf("%s: %s is used outside its home: %s", f.set.Position(n.Pos()), h.what, h.why)
				}
			}
			return true
		})
	}
}

func TestNoInitAndNoSleepInTests(t *testing.T) {
	for _, f := range sources(t) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "init" && n.Recv == nil {
					t.Errorf("%s: no init(): wiring is written out in cmd", f.set.Position(n.Pos()))
				}
			case *ast.SelectorExpr:
				if id, ok := n.X.(*ast.Ident); ok && f.test && id.Name == "time" && n.Sel.Name == "Sleep" {
					t.Errorf("%s: no sleeps in tests: wait for a signal", f.set.Position(n.Pos()))
				}
			}
			return true
		})
	}
}

func TestMigrationsComeInPairs(t *testing.T) {
	names := func(engine string) []string {
		es, err := fs.ReadDir(store.Migrations(engine), ".")
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, e := range es {
			out = append(out, e.Name())
		}
		return out
	}
	lite, pg := names("sqlite"), names("postgres")
	if len(lite) == 0 || !slices.Equal(lite, pg) {
		t.Errorf("the engines have different migrations: %v and %v", lite, pg)
	}
}

func TestDirectDependenciesAreFewAndExplained(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	why, err := os.ReadFile("CONVENTIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	inRequire := false
	for line := range strings.Lines(string(mod)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "require (":
			inRequire = true
		case line == ")":
			inRequire = false
		case inRequire && !strings.Contains(line, "// indirect"):
			path, _, _ := strings.Cut(line, " ")
			if !strings.Contains(string(why), path) {
				t.Errorf("dependency %s has no line of reason in CONVENTIONS.md", path)
			}
		}
	}
}
