package files_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tract"
	"tract/internal/files"
	"tract/internal/tracttest"
)

func itoa(n int) string { return strconv.Itoa(n) }

// standIn is an S3-compatible store, as much of one as is used.
type standIn struct {
	*httptest.Server
	t       *testing.T
	mu      sync.Mutex // guards what follows
	objects map[string][]byte
	fail    int      // status for the next calls; 0 = work
	calls   []string // methods and paths
}

func newStandIn(t *testing.T) *standIn {
	s := &standIn{t: t, objects: map[string][]byte{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *standIn) settings() files.Settings {
	return files.Settings{URL: "s3://uploads/of/users", Endpoint: s.URL, Region: "eu-central-1", AccessKey: "access", SecretKey: "very secret"}
}

// signed is what a signed call carries.
var signed = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=access/\d{8}/eu-central-1/s3/aws4_request, ?SignedHeaders=[a-z0-9;-]*host[a-z0-9;-]*, ?Signature=[0-9a-f]{64}$`)

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, r.Method+" "+r.URL.Path)
	if !signed.MatchString(r.Header.Get("Authorization")) {
		s.t.Errorf("%s %s is not signed: %q", r.Method, r.URL.Path, r.Header.Get("Authorization"))
	}
	if s.fail != 0 {
		w.WriteHeader(s.fail)
		return
	}
	key := r.URL.Path
	switch r.Method {
	case http.MethodPut:
		b, err := content(r)
		if err != nil {
			s.t.Errorf("put: %v", err)
		}
		s.objects[key] = b
		w.Header().Set("ETag", `"e"`)
	case http.MethodGet, http.MethodHead:
		b, ok := s.objects[key]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `<Error><Code>NoSuchKey</Code><Message>none</Message></Error>`)
			return
		}
		w.Header().Set("ETag", `"e"`)
		http.ServeContent(w, r, "", time.Unix(1_700_000_000, 0), bytes.NewReader(b))
	case http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		s.t.Errorf("unexpected %s", r.Method)
	}
}

// content undoes the chunks in which a signed body comes without TLS.
func content(r *http.Request) ([]byte, error) {
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return io.ReadAll(r.Body)
	}
	var out []byte
	in := bufio.NewReader(r.Body)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		head, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, err := strconv.ParseInt(head, 16, 64)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		piece := make([]byte, n+2)
		if _, err := io.ReadFull(in, piece); err != nil {
			return nil, err
		}
		out = append(out, piece[:n]...)
	}
	if want := r.Header.Get("X-Amz-Decoded-Content-Length"); want != strconv.Itoa(len(out)) {
		return nil, fmt.Errorf("%d bytes came, %s were announced", len(out), want)
	}
	return out, nil
}

func TestBucket(t *testing.T) {
	s := newStandIn(t)
	w := newWorld(t, tracttest.Fresh(t, "sqlite"), files.Config{Settings: s.settings()})
	data := bytes.Repeat([]byte("name,amount\n"), files.MaxSize/12)
	id := w.keep("a.csv", data, tract.TypeDocument)
	key := "/uploads/of/users/" + id[:2] + "/" + id
	if !bytes.Equal(s.objects[key], data) {
		t.Fatalf("the store has %d bytes at %s of %d; calls: %v", len(s.objects[key]), key, len(data), s.calls)
	}
	if len(s.calls) != 1 {
		t.Errorf("more than one call for one file: %v", s.calls)
	}
	_, token := parts(t, w.files.Link(w.client, id, time.Hour))
	if b, _, err := w.open(id, token); err != nil || !bytes.Equal(b, data) {
		t.Errorf("read %d bytes: %v", len(b), err)
	}
	delete(s.objects, key)
	if _, _, err := w.open(id, token); !errors.Is(err, files.ErrStorage) {
		t.Errorf("an object that is lost: %v", err)
	}
	up := w.receive("b.csv", []byte("a,b\n"), tract.TypeDocument)
	other, err := w.reserve(up)
	if err != nil {
		t.Fatal(err)
	}
	s.fail = http.StatusForbidden
	if err := w.files.Put(context.Background(), other, up); !errors.Is(err, files.ErrStorage) {
		t.Errorf("a store that refuses: %v", err)
	}
	w.files.Release(context.Background(), other)
	s.fail = 0
	if err := w.files.Sweep(context.Background()); err != nil || w.usage() != int64(len(data)) {
		t.Errorf("swept: %v, usage %d", err, w.usage())
	}
}
