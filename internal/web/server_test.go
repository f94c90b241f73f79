package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tract/internal/web"
)

// counting answers on three paths and notes which requests it saw.
func counting(t *testing.T) (*web.Mux, *[]string) {
	t.Helper()
	m, _ := newMux(t)
	seen := &[]string{}
	note := func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
		b, err := web.ReadRaw(r, web.MaxBody)
		*seen = append(*seen, r.Method+" "+r.URL.Path+" "+string(b))
		return web.JSON(200, "ok"), err
	}
	m.Handle("POST /a/", web.Hub, note)
	m.Handle("GET /b/", web.Hub, note)
	return m, seen
}

func TestHostileRequests(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "X-%d: y\r\n", i)
		}
		return b.String()
	}
	const second = "GET /b/ HTTP/1.1\r\nHost: x\r\n\r\n"
	tests := []struct {
		name, send string
		status     []int
		seen       []string
	}{
		{"two on one connection", "POST /a/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi" + second, []int{200, 200}, []string{"POST /a/ hi", "GET /b/ "}},
		{"HT-06 CL and TE", "POST /a/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second, []int{200}, []string{"POST /a/ "}},
		{"HT-06 TE and CL", "POST /a/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 40\r\n\r\n0\r\n\r\n" + second, []int{200}, []string{"POST /a/ "}},
		{"HT-06 two lengths", "POST /a/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi" + second, []int{400}, nil},
		{"HT-06 length with plus", "POST /a/ HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\nhi" + second, []int{400}, nil},
		{"HT-06 unknown coding", "POST /a/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + second, []int{501}, nil},
		{"HT-06 chunk size too large", "POST /a/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\nhi\r\n" + second, []int{400}, []string{"POST /a/ "}},
		{"HT-07 NUL in a value", "GET /b/ HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", []int{400}, nil},
		{"HT-07 bad name", "GET /b/ HTTP/1.1\r\nHost: x\r\nX Y: a\r\n\r\n", []int{400}, nil},
		{"HT-07 space before the colon", "GET /b/ HTTP/1.1\r\nHost: x\r\nContent-Length : 2\r\n\r\n", []int{400}, nil},
		{"HT-07 no host", "GET /b/ HTTP/1.1\r\n\r\n", []int{400}, nil},
		{"HT-07 two hosts", "GET /b/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", []int{400}, nil},
		{"HT-07 2 MiB header", "GET /b/ HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 2<<20) + "\r\n\r\n", []int{431}, nil},
		{"HT-07 10,000 headers", "GET /b/ HTTP/1.1\r\nHost: x\r\n" + many(10_000) + "\r\n", []int{431}, nil},
		{"HT-07 large but allowed", "GET /b/ HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 31<<10) + "\r\n\r\n", []int{200}, []string{"GET /b/ "}},
		{"HT-08 CR in client-id", "GET /b/ HTTP/1.1\r\nHost: x\r\nclient-id: a\rb\r\n\r\n", []int{400}, nil},
		{"HT-08 LF in client-id", "GET /b/ HTTP/1.1\r\nHost: x\r\nclient-id: a\nb\r\n\r\n", []int{400}, nil},
		{"HT-15 bad escape in the path", "GET /b/%zz HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}, nil},
		{"HT-15 long URL", "GET /b/?" + strings.Repeat("a", 2045) + " HTTP/1.1\r\nHost: x\r\n\r\n", []int{414}, nil},
		{"HT-04 CONNECT", "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", []int{404}, nil},
		{"HT-04 OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}, nil},
		{"HT-04 TRACE", "TRACE /b/ HTTP/1.1\r\nHost: x\r\n\r\n", []int{405}, nil},
		{"absolute form", "GET http://evil.example/b/ HTTP/1.1\r\nHost: x\r\n\r\n", []int{200}, []string{"GET /b/ "}},
		{"HT-11 HTTP/2 is not spoken", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00" + strings.Repeat("\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08", 10_000), []int{404}, nil},
		{"HT-11 upgrade to it neither", "GET /b/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", []int{200}, []string{"GET /b/ "}},
		{"not HTTP", "\x16\x03\x01\x00\xa5", []int{400}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, seen := counting(t)
			got := raw(t, listen(t, m), tt.send)
			if s := statuses(t, got); fmt.Sprint(s) != fmt.Sprint(tt.status) {
				t.Errorf("statuses %v, want %v", s, tt.status)
			}
			if fmt.Sprint(*seen) != fmt.Sprint(tt.seen) {
				t.Errorf("saw %q, want %q", *seen, tt.seen)
			}
		})
	}
}

func TestHeadersCannotBeSplit(t *testing.T) {
	m, _ := newMux(t)
	m.Handle("GET /x", web.Hub, func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
		w.Header().Set("X-Name", r.URL.Query().Get("name"))
		return web.NoContent(), nil
	})
	got := raw(t, listen(t, m), "GET /x?name=a%0d%0aX-Forged:%20yes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if strings.Contains(got, "\nX-Forged") || !strings.HasPrefix(got, "HTTP/1.1 204") {
		t.Errorf("HT-08: %q", got)
	}
}

func TestSlowCallers(t *testing.T) {
	tests := []struct {
		name, send string
		trickle    bool
		ends       time.Duration
		answer     string
	}{
		{"HT-10 slow header", "GET /b/ HTTP/1.1\r\n", true, 5 * time.Second, ""},
		{"HT-10 short body", "POST /a/ HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\nhi", false, 15 * time.Second, "HTTP/1.1 408"},
		{"HT-16 expectation never followed", "POST /a/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 20\r\n\r\n", false, 15 * time.Second, "HTTP/1.1 100"},
		{"idle", "GET /b/ HTTP/1.1\r\nHost: x\r\n\r\n", false, 120 * time.Second, "HTTP/1.1 200"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, _ := counting(t)
				l, _ := pipeServer(t, m)
				c := l.dial()
				begin := time.Now()
				var sending sync.WaitGroup
				defer sending.Wait()
				sending.Go(func() {
					_, _ = io.WriteString(c, tt.send)
					for tt.trickle {
						<-time.After(time.Second)
						if _, err := io.WriteString(c, "X"); err != nil {
							return
						}
					}
				})
				got, _ := io.ReadAll(c)
				// Closing may take Go's half second of lingering.
				if since := time.Since(begin); since < tt.ends || since > tt.ends+time.Second {
					t.Errorf("closed after %v, want %v", since, tt.ends)
				}
				if !strings.HasPrefix(string(got), tt.answer) {
					t.Errorf("got %q", got)
				}
				c.Close()
			})
		})
	}
}

func TestCallersThatDoNotReadTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newMux(t)
		done := make(chan struct{})
		m.Handle("GET /large", web.Hub, func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
			defer close(done)
			_, _ = w.Write(make([]byte, 1<<20))
			return web.Answer{}, nil
		})
		l, _ := pipeServer(t, m)
		c := l.dial()
		defer c.Close()
		begin := time.Now()
		_, _ = io.WriteString(c, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
		<-done
		if since := time.Since(begin); since != 30*time.Second {
			t.Errorf("given up after %v, want 30s", since)
		}
	})
}

func TestExtend(t *testing.T) {
	for _, last := range []time.Duration{40 * time.Second, 70 * time.Second} {
		t.Run(last.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, _ := newMux(t)
				m.Handle("POST /up", web.Hub, func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
					stop, err := web.Extend(w, time.Minute)
					if err != nil {
						return web.Answer{}, err
					}
					defer stop()
					b, err := web.ReadRaw(r, 100)
					if err == nil && r.Context().Err() != nil {
						t.Error("the call was cancelled")
					}
					return web.JSON(200, len(b)), err
				})
				l, _ := pipeServer(t, m)
				c := l.dial()
				begin := time.Now()
				_, _ = io.WriteString(c, "POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
				var rest sync.WaitGroup
				defer rest.Wait()
				rest.Go(func() {
					<-time.After(last)
					_, _ = io.WriteString(c, "cd")
				})
				res, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				defer c.Close()
				if last < time.Minute && (res.StatusCode != 200 || time.Since(begin) != last) {
					t.Errorf("%d after %v", res.StatusCode, time.Since(begin))
				}
				if last > time.Minute && (res.StatusCode != 408 || time.Since(begin) != time.Minute) {
					t.Errorf("%d after %v", res.StatusCode, time.Since(begin))
				}
			})
		})
	}
}
