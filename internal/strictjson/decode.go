package strictjson

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"tract"
)

// Decode checks b with the default limits and fills v, a pointer to a struct,
// from the object in it. Members match fields by the exact spelling of the json
// tag (or of the field's name); others are ignored. Nothing is converted: a
// wrong type is refused with code field_type and a text that names the field.
//
// Integers are written plainly: 1.0 and 1e3 are not integers, and what does not
// fit the field's type is refused. null is taken only by pointers, by any, and
// by types that decode themselves, so that an optional field that may be null
// is a pointer. The error of a type that decodes itself is put behind the
// field's name and keeps its code if it has one.
func Decode(b []byte, v any) error {
	if err := Check(b, Limits{}); err != nil {
		return err
	}
	target := reflect.ValueOf(v)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return fmt.Errorf("decode into %T: need a pointer", v)
	}
	d := decoder{b: b, fields: map[reflect.Type]map[string][]int{}}
	d.space()
	if d.b[d.i] != '{' {
		return tract.Invalid(CodeObjectExpected, "the JSON text must be an object")
	}
	return d.value(target.Elem())
}

// decoder reads a text that Check accepted; it therefore never looks for
// errors of syntax, and its recursion is bounded by the depth limit.
type decoder struct {
	b      []byte
	i      int
	path   path
	fields map[reflect.Type]map[string][]int // per struct type: member name to field index
}

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func (d *decoder) value(v reflect.Value) error {
	d.space()
	c := d.b[d.i]
	ptr := v.Addr()
	switch {
	case v.Kind() == reflect.Pointer:
		if c == 'n' {
			d.skip()
			v.SetZero()
			return nil
		}
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return d.value(v.Elem())
	case ptr.Type().Implements(jsonUnmarshaler):
		return d.own(ptr.Interface().(json.Unmarshaler).UnmarshalJSON(d.skip()))
	case ptr.Type().Implements(textUnmarshaler):
		if c != '"' {
			return d.wrong("a string")
		}
		return d.own(ptr.Interface().(encoding.TextUnmarshaler).UnmarshalText(appendString(nil, d.skip())))
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.object(c, func(name string) error { return d.field(v, name) })
	case reflect.Map:
		return d.mapping(c, v)
	case reflect.Slice:
		return d.slice(c, v)
	case reflect.Interface:
		if v.NumMethod() == 0 {
			return d.own(json.Unmarshal(d.skip(), ptr.Interface()))
		}
	}
	return d.scalar(c, v)
}

func (d *decoder) scalar(c byte, v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		if c != '"' {
			return d.wrong("a string")
		}
		v.SetString(string(appendString(nil, d.skip())))
	case reflect.Bool:
		if c != 't' && c != 'f' {
			return d.wrong("true or false")
		}
		d.skip()
		v.SetBool(c == 't')
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(string(d.skip()), 10, v.Type().Bits())
		if err != nil {
			return d.wrong("an integer of at most %d bits", v.Type().Bits())
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(string(d.skip()), 10, v.Type().Bits())
		if err != nil {
			return d.wrong("an integer from 0 of at most %d bits", v.Type().Bits())
		}
		v.SetUint(n)
	case reflect.Float32, reflect.Float64:
		n, err := strconv.ParseFloat(string(d.skip()), v.Type().Bits())
		if err != nil {
			return d.wrong("a number")
		}
		v.SetFloat(n)
	default:
		return fmt.Errorf("decode field %s: type %s is not supported", d.path, v.Type())
	}
	return nil
}

func (d *decoder) slice(c byte, v reflect.Value) error {
	if c != '[' {
		return d.wrong("an array")
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	d.path = append(d.path, segment{})
	err := d.list(']', func() error {
		d.path[len(d.path)-1].index = v.Len()
		v.Grow(1)
		v.SetLen(v.Len() + 1)
		return d.value(v.Index(v.Len() - 1))
	})
	if err == nil {
		d.path = d.path[:len(d.path)-1]
	}
	return err
}

func (d *decoder) mapping(c byte, v reflect.Value) error {
	if v.Type().Key().Kind() != reflect.String {
		return fmt.Errorf("decode field %s: type %s is not supported", d.path, v.Type())
	}
	m := reflect.MakeMap(v.Type())
	err := d.object(c, func(name string) error {
		elem := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(elem); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), elem)
		return nil
	})
	v.Set(m)
	return err
}

// field reads one member's value into the field of that name, if there is one.
func (d *decoder) field(v reflect.Value, name string) error {
	t := v.Type()
	fields := d.fields[t]
	if fields == nil {
		fields = make(map[string][]int, t.NumField())
		addFields(fields, t, nil)
		d.fields[t] = fields
	}
	index, ok := fields[name]
	if !ok {
		d.skip()
		return nil
	}
	return d.value(v.FieldByIndex(index))
}

// addFields lists a struct's members; those of embedded structs count as its
// own unless it has one of the same name.
func addFields(fields map[string][]int, t reflect.Type, outer []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		index := append(outer[:len(outer):len(outer)], i)
		switch {
		case f.Anonymous && f.Type.Kind() == reflect.Struct && name == "":
			addFields(fields, f.Type, index)
			continue
		case !f.IsExported() || tag == "-":
			continue
		case name == "":
			name = f.Name
		}
		if was, ok := fields[name]; !ok || len(index) < len(was) {
			fields[name] = index
		}
	}
}

// object calls f before each member's value.
func (d *decoder) object(c byte, f func(name string) error) error {
	if c != '{' {
		return d.wrong("an object")
	}
	return d.list('}', func() error {
		name := string(appendString(nil, d.skip()))
		d.space()
		d.i++ // the colon
		d.path = append(d.path, member(name))
		if err := f(name); err != nil {
			return err // the path stays as it is, for the text
		}
		d.path = d.path[:len(d.path)-1]
		return nil
	})
}

// list calls f before each item of an array or object.
func (d *decoder) list(closer byte, f func() error) error {
	for d.i++; ; {
		d.space()
		switch d.b[d.i] {
		case closer:
			d.i++
			return nil
		case ',':
			d.i++
			d.space()
		}
		if err := f(); err != nil {
			return err
		}
	}
}

// skip passes over one value and returns its text.
func (d *decoder) skip() []byte {
	d.space()
	start := d.i
	for depth := 0; ; {
		switch d.b[d.i] {
		case '"':
			for d.i++; d.b[d.i] != '"'; d.i++ {
				if d.b[d.i] == '\\' {
					d.i++
				}
			}
			d.i++
		case '{', '[':
			depth++
			d.i++
		case '}', ']':
			depth--
			d.i++
		case ',', ':', ' ', '\t', '\n', '\r':
			d.i++
		default:
			for d.i < len(d.b) && strings.IndexByte(",]}: \t\r\n", d.b[d.i]) < 0 {
				d.i++
			}
		}
		if depth == 0 {
			return d.b[start:d.i]
		}
	}
}

func (d *decoder) space() {
	for d.i < len(d.b) && isSpace(d.b[d.i]) {
		d.i++
	}
}

func (d *decoder) wrong(format string, args ...any) error {
	return tract.Invalid(CodeFieldType, "field %s must be %s", d.path, fmt.Sprintf(format, args...))
}

// own gives the error of a type that decodes itself.
func (d *decoder) own(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*tract.Error](err); ok {
		return e.With("field %s: %s", d.path, e.Msg)
	}
	return tract.Invalid(CodeFieldType, "field %s: %v", d.path, err)
}

// IntOrString is a field that some callers write as a number and others as a
// string holding one. Decoding never fails: whoever asked for it decides what
// a value that is not an integer means.
type IntOrString struct {
	Set   bool // the member was there
	Valid bool // Value is the integer it held
	Value int64
	Raw   string // the string's content, or the JSON text of anything else
}

// UnmarshalJSON takes any JSON value.
func (n *IntOrString) UnmarshalJSON(b []byte) error {
	*n = IntOrString{Set: true, Raw: string(b)}
	if b[0] == '"' {
		if err := json.Unmarshal(b, &n.Raw); err != nil {
			return err
		}
	}
	if digits := strings.TrimPrefix(n.Raw, "-"); digits == "" || digits[0] == '+' || digits[0] == '0' && len(digits) > 1 {
		return nil
	}
	if v, err := strconv.ParseInt(n.Raw, 10, 64); err == nil {
		n.Value, n.Valid = v, true
	}
	return nil
}
