// Package manifest owns the declarative file: reading it with a position for
// every error, comparing it with the store, applying and writing it. An object
// that is written by itself is the stored configuration as a file with that
// object replaced, so that every rule stands once.
//
// It must not know how passwords and tokens are hashed, how FAQ files are
// understood or which addresses may be called: those are handed in.
//
// Invariants: a file with any error changes nothing; applying the same file
// twice changes nothing the second time; no secret is in a change, an error or
// an exported file.
package manifest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tract"
)

const (
	maxFile     = 1 << 20  // bytes of the file itself
	maxNamed    = 16 << 20 // bytes of a file it names
	maxProblems = 50
)

// Options say where a file's parts come from. Without Env every variable is
// missing, without ReadFile every named file.
type Options struct {
	Env      func(name string) (string, bool)
	ReadFile func(path string) ([]byte, error)
}

// File is a declarative file that was read without errors. It holds secrets.
type File struct {
	name    string
	text    []byte
	env     map[string]string // the variables it used
	named   map[string][]byte // the files it names
	clients []*client
}

// Name is what the file is called in errors.
func (f *File) Name() string { return f.name }

// String keeps secrets out of what is printed.
func (f *File) String() string { return f.name }

// GoString keeps secrets out of what is printed.
func (f *File) GoString() string { return f.name }

// Files lists the files that it names, as written there.
func (f *File) Files() []string {
	out := make([]string, 0, len(f.named))
	for path := range f.named {
		out = append(out, path)
	}
	slices.Sort(out)
	return out
}

// Problem is one thing wrong with a file.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"`
	Message string `json:"message"`
}

// String is "file:line:column: path: message".
func (p Problem) String() string {
	out := p.File + ":"
	if p.Line > 0 {
		out += fmt.Sprintf("%d:%d:", p.Line, p.Column)
	}
	if p.Path != "" {
		out += " " + p.Path + ":"
	}
	return out + " " + p.Message
}

// Problems are the single problems of an error made by this package, in the
// order of the file; nil for any other error.
func Problems(err error) []Problem {
	var e *tract.Error
	if !errors.As(err, &e) {
		return nil
	}
	list, _ := e.Fields["problems"].([]Problem)
	return list
}

// place is a position in a file with the path of the key that is there.
type place struct {
	line, col int
	path      string
}

// problems collects what is wrong, up to a bound.
type problems struct {
	file string
	list []Problem
	more bool
}

func (p *problems) add(at place, format string, args ...any) {
	one := Problem{p.file, at.line, at.col, at.path, fmt.Sprintf(format, args...)}
	switch {
	case slices.Contains(p.list, one): // a value may be looked at twice
	case len(p.list) == maxProblems:
		p.more = true
	default:
		p.list = append(p.list, one)
	}
}

// err is nil when nothing is wrong.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	slices.SortStableFunc(p.list, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	lines := make([]string, len(p.list))
	for i, one := range p.list {
		lines[i] = one.String()
	}
	if p.more {
		lines = append(lines, fmt.Sprintf("more than %d errors: the rest is not shown", maxProblems))
	}
	return tract.Invalid("manifest", "%s", strings.Join(lines, "\n")).Fact("problems", p.list)
}

// Parse reads a declarative file and the files it names. Everything wrong with
// it is in the error; see Problems.
func Parse(r io.Reader, name string, o Options) (*File, error) {
	bad := &problems{file: name}
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxFile {
		bad.add(place{}, "is larger than %d bytes", maxFile)
		return nil, bad.err()
	}
	f := &File{name: name, text: text, env: map[string]string{}, named: map[string][]byte{}}
	t := &tree{bad: bad, env: recordEnv(o.Env, f.env)}
	root := t.parse(text)
	if root == nil {
		return nil, bad.err()
	}
	d := &decoder{bad: bad, readFile: recordFiles(o.ReadFile, f.named)}
	f.clients = d.file(root)
	d.checkFile(f.clients)
	if err := bad.err(); err != nil {
		return nil, err
	}
	return f, nil
}

func recordEnv(env func(string) (string, bool), used map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		if env == nil {
			return "", false
		}
		v, ok := env(name)
		if ok {
			used[name] = v
		}
		return v, ok
	}
}

func recordFiles(read func(string) ([]byte, error), named map[string][]byte) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		if b, ok := named[path]; ok {
			return b, nil
		}
		if read == nil {
			return nil, errors.New("no files can be read here")
		}
		b, err := read(path)
		if err != nil {
			return nil, err
		}
		if len(b) > maxNamed {
			return nil, fmt.Errorf("is larger than %d bytes", maxNamed)
		}
		named[path] = b
		return b, nil
	}
}

// Load reads the file at path ("-" is stdin); what it names is looked up
// relative to it.
func Load(path string, stdin io.Reader, env func(name string) (string, bool)) (*File, error) {
	name, dir, r := path, filepath.Dir(path), stdin
	if path == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(path)
		if err != nil {
			return nil, tract.Invalid("manifest", "%v", err)
		}
		defer f.Close()
		r = f
	}
	return Parse(r, name, Options{Env: env, ReadFile: func(named string) ([]byte, error) { return readBounded(dir, named) }})
}

func readBounded(dir, named string) ([]byte, error) {
	if !filepath.IsAbs(named) {
		named = filepath.Join(dir, named)
	}
	f, err := os.Open(named)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err // the path is in the problem already
		}
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxNamed+1))
}
