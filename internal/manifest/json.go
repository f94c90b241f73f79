package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"tract"
)

// JSON of one object: the keys of the file, with what absent ones stand for.

var errNoJSON = tract.Invalid("invalid_json", "the body is not JSON")

// appendJSON writes a value of fields.
func appendJSON(b []byte, val any) []byte {
	switch v := val.(type) {
	case assumed:
		return appendJSON(b, v.val)
	case fields:
		b = append(b, '{')
		for i, one := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(b, plain(one.key)...), ':')
			b = appendJSON(b, one.val)
		}
		return append(b, '}')
	case []fields:
		return appendList(b, v)
	case []string:
		return appendList(b, v)
	case tract.Duration:
		val = time.Duration(v).String()
	case block:
		val = string(v)
	}
	return append(b, plain(val)...)
}

// plain is raw with < and > as they are.
func plain(val any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(val); err != nil {
		panic("manifest: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func appendList[T any](b []byte, list []T) []byte {
	b = append(b, '[')
	for i, one := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSON(b, one)
	}
	return append(b, ']')
}

// parseJSON reads a text that was checked to be one JSON value without doubled
// members. Its places have no lines, only paths.
func parseJSON(text []byte, path string) (*value, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := readJSON(d, path)
	if err != nil {
		return nil, errNoJSON.Because(err)
	}
	return v, nil
}

func readJSON(d *json.Decoder, path string) (*value, error) {
	tk, err := d.Token()
	if err != nil {
		return nil, err
	}
	v := &value{at: place{path: path}}
	switch tk := tk.(type) {
	case nil:
	case bool:
		v.kind, v.text = isFlag, strconv.FormatBool(tk)
	case json.Number:
		v.kind, v.text = isFloat, tk.String()
		if _, err := strconv.ParseInt(v.text, 10, 64); err == nil {
			v.kind = isInt
		}
	case string:
		v.kind, v.text = isText, tk
	case json.Delim:
		if err := v.readInside(d, tk); err != nil {
			return nil, err
		}
	}
	v.raw = v.text
	return v, nil
}

func (v *value) readInside(d *json.Decoder, open json.Delim) error {
	v.kind = isMap
	if open == '[' {
		v.kind = isList
	}
	for d.More() {
		if v.kind == isList {
			item, err := readJSON(d, v.at.path+"["+strconv.Itoa(len(v.items))+"]")
			if err != nil {
				return err
			}
			v.items = append(v.items, item)
			continue
		}
		tk, err := d.Token()
		if err != nil {
			return err
		}
		key, ok := tk.(string)
		if !ok {
			return fmt.Errorf("a key is no string: %v", tk)
		}
		p := pair{key: key, at: place{path: join(v.at.path, key)}}
		if p.val, err = readJSON(d, p.at.path); err != nil {
			return err
		}
		v.pairs = append(v.pairs, p)
	}
	_, err := d.Token()
	return err
}

// set puts a value under a key that a mapping does not have.
func (v *value) set(key string, val *value) {
	v.pairs = append(v.pairs, pair{key, val.at, val})
}

func (v *value) get(key string) *value {
	i := slices.IndexFunc(v.pairs, func(p pair) bool { return p.key == key })
	if i < 0 {
		return nil
	}
	return v.pairs[i].val
}

// mergePatch changes an object by a merge patch (RFC 7396).
func mergePatch(object, patch []byte) ([]byte, error) {
	var target, change any
	if err := decodeNumbers(object, &target); err != nil {
		return nil, err
	}
	if err := decodeNumbers(patch, &change); err != nil {
		return nil, errNoJSON.Because(err)
	}
	if _, ok := change.(map[string]any); !ok {
		return nil, errNoObject
	}
	return raw(merged(target, change)), nil
}

// decodeNumbers leaves numbers as they are written.
func decodeNumbers(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(v)
}

func merged(target, patch any) any {
	change, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out, ok := target.(map[string]any)
	if !ok {
		out = map[string]any{}
	}
	for key, val := range change {
		if val == nil {
			delete(out, key)
		} else {
			out[key] = merged(out[key], val)
		}
	}
	return out
}
