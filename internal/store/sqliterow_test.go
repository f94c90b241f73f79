package store_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"tract"
	"tract/internal/store"
)

// What SQLite stores is read into the types that queries use, and into no other.
func TestAssign(t *testing.T) {
	for _, tt := range []struct {
		value, dest, want any // want nil: refused
	}{
		{int64(7), new(int64), int64(7)},
		{int64(7), new(int), 7},
		{int64(7), new(tract.MessageID), tract.MessageID(7)},
		{int64(1), new(bool), true},
		{int64(2), new(bool), nil},
		{int64(300), new(int8), nil},
		{int64(3), new(float64), 3.0},
		{2.5, new(float64), 2.5},
		{2.5, new(int64), nil},
		{"x", new(string), "x"},
		{"iva", new(tract.ReceiverID), tract.IVA},
		{[]byte("x"), new(string), "x"},
		{[]byte("x"), new(tract.ReceiverID), tract.ReceiverID("x")},
		{"{}", new(json.RawMessage), json.RawMessage("{}")},
		{[]byte("{}"), new(json.RawMessage), json.RawMessage("{}")},
		{"x", new([]byte), []byte("x")},
		{nil, new([]byte), []byte(nil)},
		{nil, new(int64), nil},
		{nil, new(string), nil},
		{"7", new(int64), nil},
		{int64(7), new(string), nil},
		{"x", "no pointer", nil},
	} {
		err := store.Assign(tt.dest, tt.value)
		if tt.want == nil {
			if err == nil {
				t.Errorf("%T %v into %T passed", tt.value, tt.value, tt.dest)
			}
			continue
		}
		if got := reflect.ValueOf(tt.dest).Elem().Interface(); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%T %v into %T: %v, %v", tt.value, tt.value, tt.dest, got, err)
		}
	}
}
