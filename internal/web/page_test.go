package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tract"
	"tract/internal/web"
)

func query(t *testing.T, q string) *http.Request {
	t.Helper()
	return httptest.NewRequest("GET", "/x?"+q, nil)
}

func TestLimit(t *testing.T) {
	tests := []struct {
		query string
		want  int // 0 = refused
	}{
		{"", 50}, {"limit=1", 1}, {"limit=100", 100}, {"limit=7&other=8", 7},
		{"limit=0", 0}, {"limit=-1", 0}, {"limit=101", 0}, {"limit=1000000000", 0}, {"limit=abc", 0}, {"limit=1e2", 0},
		{"limit=%EF%BC%91%EF%BC%90", 0}, {"limit=5&limit=5", 0}, {"limit=", 0}, {"limit=%2B5", 0}, {"limit=05", 0},
		{"limit=+5", 0}, {"limit=5.0", 0}, {"limit=18446744073709551617", 0}, {"limit=0x10", 0}, {"limit=1_0", 0}, {"limit=-0", 0},
	}
	for _, tt := range tests {
		t.Run("HT-01 "+tt.query, func(t *testing.T) {
			got, err := web.Limit(query(t, tt.query), 50, 100)
			if got != tt.want || (err == nil) != (tt.want > 0) {
				t.Fatalf("got %d, %v; want %d", got, err, tt.want)
			}
			if err != nil && (tract.CodeOf(err) != "invalid_limit" || tract.KindOf(err) != tract.KindInvalid) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestQueryInt(t *testing.T) {
	if n, given, err := web.QueryInt(query(t, "after=-9223372036854775808"), "after"); n != -1<<63 || !given || err != nil {
		t.Error(n, given, err)
	}
	if _, given, err := web.QueryInt(query(t, "a=1"), "after"); given || err != nil {
		t.Error(given, err)
	}
	if s, given, err := web.Query(query(t, "a="), "a"); s != "" || !given || err != nil {
		t.Error(s, given, err)
	}
	for _, q := range []string{"after=x", "after=", "after=1&after=2"} {
		if _, _, err := web.QueryInt(query(t, q), "after"); tract.CodeOf(err) != "invalid_parameter" {
			t.Errorf("%s: %v", q, err)
		}
	}
}

func TestCursor(t *testing.T) {
	key := []byte("a key for cursors")
	for _, position := range []string{"", "1743", `{"at":17,"id":"é"}`, strings.Repeat("p", 700)} {
		got, err := web.DecodeCursor(key, "deliveries acme", web.EncodeCursor(key, "deliveries acme", position))
		if got != position || err != nil {
			t.Errorf("position %q came back as %q, %v", position, got, err)
		}
	}
	const scope = "deliveries acme"
	good := web.EncodeCursor(key, scope, "1743")
	refused := func(name string, k []byte, scope, cursor string) {
		t.Helper()
		if p, err := web.DecodeCursor(k, scope, cursor); tract.CodeOf(err) != "invalid_cursor" || tract.KindOf(err) != tract.KindInvalid || p != "" {
			t.Errorf("HT-02 %s: %q, %v", name, p, err)
		}
	}
	for i := range good {
		refused("cut", key, scope, good[:i])
		for bit := range 8 {
			b := []byte(good)
			b[i] ^= 1 << bit
			refused("flipped", key, scope, string(b))
		}
	}
	refused("other client", key, "deliveries umbrella", good)
	refused("other route", key, "feed acme", good)
	refused("other key", []byte("another key"), scope, good)
	refused("parts split differently", key, scope[:5], web.EncodeCursor(key, scope[:6], "1743"))
	refused("1 MiB", key, scope, strings.Repeat("A", 1<<20))
	refused("padding", key, scope, good+"=")
	refused("line break", key, scope, good+"\n")
}
