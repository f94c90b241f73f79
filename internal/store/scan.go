package store

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// values turns arguments into what both drivers take.
func values(args []any) []any {
	for i, a := range args {
		switch v := a.(type) {
		case time.Time:
			args[i] = micros(v)
		case bool:
			args[i] = int64(0)
			if v {
				args[i] = int64(1)
			}
		case int:
			args[i] = int64(v)
		}
	}
	return args
}

// micros is an instant as the store keeps it; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// instant is the reverse of micros.
func instant(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// stored is an instant as it will be read again.
func stored(t time.Time) time.Time { return instant(micros(t)) }

// at scans an instant.
func at(t *time.Time) sql.Scanner { return instantScanner{t} }

type instantScanner struct{ t *time.Time }

func (s instantScanner) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("an instant is a number, not %T", v)
	}
	*s.t = instant(n)
	return nil
}

// flag scans a 0 or 1.
func flag(b *bool) sql.Scanner { return flagScanner{b} }

type flagScanner struct{ b *bool }

func (s flagScanner) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a flag is a number, not %T", v)
	}
	*s.b = n != 0
	return nil
}

// js scans JSON text into v; empty text leaves v as it is.
func js(v any) sql.Scanner { return jsonScanner{v} }

type jsonScanner struct{ v any }

func (s jsonScanner) Scan(v any) error {
	switch t := v.(type) {
	case string:
		if t == "" {
			return nil
		}
		return json.Unmarshal([]byte(t), s.v)
	case []byte:
		if len(t) == 0 {
			return nil
		}
		return json.Unmarshal(t, s.v)
	}
	return fmt.Errorf("JSON is text, not %T", v)
}

// toJSON writes v for a text column. The types stored cannot fail to marshal.
func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("store: " + err.Error())
	}
	return string(b)
}

// list reads every row of a query.
func list[T any](tx *Tx, scan func(row, *T) error, sql string, args ...any) (out []T, err error) {
	err = tx.each(func(r row) error {
		var v T
		err := scan(r, &v)
		out = append(out, v)
		return err
	}, sql, args...)
	return out, err
}
