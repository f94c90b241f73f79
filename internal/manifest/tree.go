package manifest

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxDepth  = 64
	maxKeys   = 8_000   // in one block mapping: the parser's time grows with their square
	maxValues = 200_000 // after aliases were followed
)

type kind int

const (
	isNull kind = iota
	isFlag
	isInt
	isFloat
	isText
	isMap
	isList
)

// value is a YAML value with its place; aliases are followed and variables
// replaced.
type value struct {
	kind  kind
	at    place
	text  string // of a scalar
	raw   string // as written, before variables were replaced
	pairs []pair
	items []*value
}

type pair struct {
	key string
	at  place  // of the key
	val *value // nil when it could not be read, which was reported
}

// shown is the value for an error text: what came from a variable stays hidden.
func (v *value) shown() string { return strconv.Quote(clip(v.raw)) }

// fromVariable says whether the text is not what was written. Such a text may
// stand for a number or a flag.
func (v *value) fromVariable() bool { return v.kind == isText && v.raw != v.text }

func clip(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}

// tree makes values from text.
type tree struct {
	bad     *problems
	env     func(string) (string, bool)
	anchors map[string]ast.Node
	open    map[ast.Node]bool // what anchors and aliases being read stand for
	values  int
}

// parse returns nil when there is no tree; the reason is in bad.
func (t *tree) parse(text []byte) *value {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if at, ok := invalidText(text); ok {
		t.bad.add(at, "is not valid UTF-8 text")
		return nil
	}
	tokens := lexer.Tokenize(string(text))
	if at, why := tooMuch(tokens); why != "" {
		t.bad.add(at, "%s", why)
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var ye yaml.Error
		if errors.As(err, &ye) && ye.GetToken() != nil {
			t.bad.add(placeOf(ye.GetToken(), ""), "%s", ye.GetMessage())
		} else {
			t.bad.add(place{}, "%v", err)
		}
		return nil
	}
	return t.document(file)
}

func (t *tree) document(file *ast.File) *value {
	var root *ast.DocumentNode
	for _, d := range file.Docs {
		if d.Body == nil || d.Body.Type() == ast.DirectiveType || d.Body.Type() == ast.CommentType {
			continue
		}
		if root != nil {
			t.bad.add(placeOf(firstToken(d.Body), ""), "a second document begins here: a file holds one")
			return nil
		}
		root = d
	}
	if root == nil {
		t.bad.add(place{line: 1, col: 1}, "the file is empty")
		return nil
	}
	t.anchors, t.open = map[string]ast.Node{}, map[ast.Node]bool{}
	v := t.read(root.Body, placeOf(firstToken(root.Body), ""), 0)
	if t.values > maxValues {
		return nil
	}
	return v
}

// invalidText finds the first byte that is no text.
func invalidText(text []byte) (place, bool) {
	line, col := 1, 1
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if (r == utf8.RuneError && n == 1) || r == 0 {
			return place{line: line, col: col}, true
		}
		if col++; r == '\n' {
			line, col = line+1, 1
		}
		i += n
	}
	return place{}, false
}

// tooMuch refuses what would cost the parser more time or stack than a file of
// this kind ever needs.
func tooMuch(tokens token.Tokens) (place, string) {
	type level struct{ col, keys int }
	var levels []level
	flow, line, entries := 0, 0, 0
	for _, tk := range tokens {
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow = max(0, flow-1)
		}
		first := tk.Position.Line != line
		if first {
			line, entries = tk.Position.Line, 0
		}
		switch tk.Type {
		case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
			entries++
		}
		if first && flow == 0 {
			for len(levels) > 0 && levels[len(levels)-1].col > tk.Position.Column {
				levels = levels[:len(levels)-1]
			}
			if len(levels) == 0 || levels[len(levels)-1].col < tk.Position.Column {
				levels = append(levels, level{col: tk.Position.Column})
			}
			if tk.Type != token.SequenceEntryType {
				levels[len(levels)-1].keys++
			}
			if levels[len(levels)-1].keys > maxKeys {
				return placeOf(tk, ""), "more than " + strconv.Itoa(maxKeys) + " keys in one mapping"
			}
		}
		if flow+len(levels) > maxDepth || (flow == 0 && entries > maxDepth) {
			return placeOf(tk, ""), "nested too deeply"
		}
	}
	return place{}, ""
}

func placeOf(tk *token.Token, path string) place {
	if tk == nil || tk.Position == nil {
		return place{path: path}
	}
	return place{line: tk.Position.Line, col: max(1, tk.Position.Column), path: path}
}

// firstToken is where a node begins; a mapping's own token is its first colon.
func firstToken(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return firstToken(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return firstToken(n.Key)
	case *ast.AnchorNode:
		return n.Start
	}
	return n.GetToken()
}

// read makes a value of a node, or nil when that cannot be done.
func (t *tree) read(n ast.Node, at place, depth int) *value {
	if t.values++; t.values > maxValues {
		if t.values == maxValues+1 {
			t.bad.add(at, "more than %d values once aliases are followed", maxValues)
		}
		return nil
	}
	if depth > maxDepth {
		t.bad.add(at, "nested too deeply")
		return nil
	}
	v := &value{at: at}
	switch n := n.(type) {
	case nil, *ast.NullNode:
	case *ast.BoolNode:
		v.kind, v.text, v.raw = isFlag, strconv.FormatBool(n.Value), n.Token.Value
	case *ast.IntegerNode:
		v.kind, v.text, v.raw = isInt, n.Token.Value, n.Token.Value
	case *ast.FloatNode:
		v.kind, v.text, v.raw = isFloat, n.Token.Value, n.Token.Value
	case *ast.StringNode:
		return t.scalar(v, n.Value)
	case *ast.LiteralNode:
		return t.scalar(v, n.Value.Value)
	case *ast.MappingNode:
		v.kind = isMap
		t.readPairs(v, n.Values, depth)
	case *ast.MappingValueNode:
		v.kind = isMap
		t.readPairs(v, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		v.kind = isList
		for i, item := range n.Values {
			path := at.path + "[" + strconv.Itoa(i) + "]"
			if one := t.read(item, placeOf(firstToken(item), path), depth+1); one != nil {
				v.items = append(v.items, one)
			}
		}
	case *ast.AnchorNode:
		t.anchors[n.Name.GetToken().Value] = n.Value
		t.open[n.Value] = true
		defer delete(t.open, n.Value)
		return t.read(n.Value, at, depth)
	case *ast.AliasNode:
		return t.follow(n, at, depth)
	default:
		t.bad.add(at, "%s is not supported here", n.Type().YAMLName())
		return nil
	}
	return v
}

func (t *tree) follow(n *ast.AliasNode, at place, depth int) *value {
	name := n.Value.GetToken().Value
	target := t.anchors[name]
	if target == nil {
		t.bad.add(at, "no anchor &%s before this alias", name)
		return nil
	}
	if t.open[target] {
		t.bad.add(at, "the alias *%s contains itself", name)
		return nil
	}
	t.open[target] = true
	defer delete(t.open, target)
	return t.read(target, at, depth+1)
}

func (t *tree) readPairs(v *value, values []*ast.MappingValueNode, depth int) {
	seen := map[string]bool{}
	var merges []*value
	for _, mv := range values {
		key := mv.Key.GetToken()
		if k, ok := mv.Key.(*ast.MappingKeyNode); ok {
			key = firstToken(k.Value)
		}
		if mv.Key.IsMergeKey() {
			merges = append(merges, t.read(mv.Value, placeOf(key, v.at.path), depth+1))
			continue
		}
		at := placeOf(key, join(v.at.path, key.Value))
		if seen[key.Value] {
			t.bad.add(at, "the key stands here twice")
			continue
		}
		seen[key.Value] = true
		v.pairs = append(v.pairs, pair{key.Value, at, t.read(mv.Value, at, depth+1)})
	}
	for _, m := range merges {
		t.merge(v, m, seen)
	}
}

// merge takes over what m has and v does not.
func (t *tree) merge(v, m *value, seen map[string]bool) {
	if m == nil {
		return
	}
	if m.kind == isList {
		for _, item := range m.items {
			t.merge(v, item, seen)
		}
		return
	}
	if m.kind != isMap {
		t.bad.add(m.at, "only a mapping can be merged")
		return
	}
	for _, p := range m.pairs {
		if !seen[p.key] {
			seen[p.key] = true
			v.pairs = append(v.pairs, p)
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// scalar replaces ${NAME}; $${ stands for ${ itself.
func (t *tree) scalar(v *value, s string) *value {
	v.kind, v.raw = isText, s
	if !strings.Contains(s, "${") {
		v.text = s
		return v
	}
	var out strings.Builder
	for s != "" {
		switch {
		case strings.HasPrefix(s, "$${"):
			out.WriteString("${")
			s = s[3:]
		case strings.HasPrefix(s, "${"):
			name, rest, ok := strings.Cut(s[2:], "}")
			if !ok || !isVariable(name) {
				t.bad.add(v.at, "${ must be followed by the name of a variable and }; write $${ for ${ itself")
				return nil
			}
			text, found := t.env(name)
			if !found {
				t.bad.add(v.at, "the environment variable %s is not set", name)
				return nil
			}
			out.WriteString(text)
			s = rest
		default:
			out.WriteByte(s[0])
			s = s[1:]
		}
	}
	v.text = out.String()
	return v
}

func isVariable(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// escape is the reverse of scalar for a text that is to stay as it is.
func escape(s string) string { return strings.ReplaceAll(s, "${", "$${") }
