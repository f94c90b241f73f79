package files_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tract"
	"tract/internal/files"
	"tract/internal/hsl"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// world is a service on a database and a place for content.
type world struct {
	t      *testing.T
	store  *store.Store
	clock  *tracttest.Clock
	files  *files.Service
	dir    string
	client int64
}

// places runs a test on both databases with content in a folder, and once with
// it in an object store.
func places(t *testing.T, test func(t *testing.T, w *world)) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) { test(t, newWorld(t, o, files.Config{})) })
	t.Run("object store", func(t *testing.T) {
		test(t, newWorld(t, tracttest.Fresh(t, "sqlite"), files.Config{Settings: newStandIn(t).settings()}))
	})
}

func newWorld(t *testing.T, o store.Options, cfg files.Config) *world {
	t.Helper()
	w := &world{t: t, clock: tracttest.NewClock(), dir: t.TempDir()}
	o.Now = w.clock.Now
	w.store = tracttest.Open(t, o)
	cfg.Dir, cfg.Store, cfg.Key, cfg.PublicURL, cfg.Now = w.dir, w.store, bytes.Repeat([]byte{1}, 32), "https://hub.example", w.clock.Now
	if cfg.Name == "" {
		cfg.Name = "one"
	}
	var err error
	if w.files, err = files.New(cfg); err != nil {
		t.Fatal(err)
	}
	w.update(func(tx *store.Tx) error {
		w.client, err = tx.PutClient(tract.Client{ID: "acme", Name: "Acme", Active: true})
		return err
	})
	return w
}

func (w *world) update(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) receive(name string, data []byte, message int) *files.Upload {
	w.t.Helper()
	up, err := w.files.Receive(name, bytes.NewReader(data))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(up.Close)
	if err := up.Check(message); err != nil {
		w.t.Fatal(err)
	}
	return up
}

// reserve notes an upload; the error is that of the reservation.
func (w *world) reserve(up *files.Upload) (id string, err error) {
	_ = w.store.Update(context.Background(), func(tx *store.Tx) error { id, err = w.files.Reserve(tx, w.client, up); return err })
	return id, err
}

func (w *world) settle(id string) (ok bool) {
	w.t.Helper()
	w.update(func(tx *store.Tx) (err error) { ok, err = tx.SettleFile(id, 7, 9); return err })
	return ok
}

// keep stores a file with a message.
func (w *world) keep(name string, data []byte, message int) (id string) {
	w.t.Helper()
	up := w.receive(name, data, message)
	id, err := w.reserve(up)
	if err == nil {
		err = w.files.Put(context.Background(), id, up)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if !w.settle(id) {
		w.t.Fatal("the file was not settled")
	}
	return id
}

func (w *world) open(id, token string) ([]byte, files.Opened, error) {
	o, err := w.files.Open(context.Background(), id, token)
	if err != nil {
		return nil, o, err
	}
	defer o.Content.Close()
	b, err := io.ReadAll(o.Content)
	return b, o, err
}

func (w *world) usage() (n int64) {
	w.t.Helper()
	w.update(func(tx *store.Tx) (err error) { n, err = tx.FileUsage(w.client); return err })
	return n
}

// onDisk lists the files below the folder.
func (w *world) onDisk() (out []string) {
	w.t.Helper()
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, strings.TrimPrefix(path, w.dir))
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func parts(t *testing.T, link string) (id, token string) {
	t.Helper()
	rest, ok := strings.CutPrefix(link, "https://hub.example/files/")
	id, token, is := strings.Cut(rest, "?t=")
	if !ok || !is || strings.ContainsAny(link, `&"\<`) {
		t.Fatalf("link %q", link)
	}
	return id, token
}

func TestKeepAndOpen(t *testing.T) {
	places(t, func(t *testing.T, w *world) {
		data := aPNG(t)
		id := w.keep(`C:\pictures\a.png`, data, tract.TypeImage)
		gotID, token := parts(t, w.files.Link(w.client, id, time.Hour))
		b, o, err := w.open(gotID, token)
		if err != nil || !bytes.Equal(b, data) {
			t.Fatalf("opened %d bytes, %v", len(b), err)
		}
		if o.Name != "a.png" || o.MediaType != "image/png" || o.Size != int64(len(data)) || !o.Inline || o.Client != w.client || len(o.Digest) != 64 || !o.CreatedAt.Equal(w.clock.Now()) {
			t.Errorf("known of it: %+v", o.File)
		}
		if n := w.usage(); n != int64(len(data)) {
			t.Errorf("usage %d, want %d", n, len(data))
		}

		f, err := w.files.Open(context.Background(), gotID, token)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Content.Close()
		end, err := f.Content.Seek(0, io.SeekEnd)
		if err != nil || end != int64(len(data)) {
			t.Errorf("end at %d, %v", end, err)
		}
		tail := make([]byte, 4)
		if _, err := f.Content.Seek(-4, io.SeekEnd); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(f.Content, tail); err != nil || !bytes.Equal(tail, data[len(data)-4:]) {
			t.Errorf("the last bytes are %x, %v", tail, err)
		}
	})
}

// MF-16: every link but the right one is answered alike.
func TestLinks(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		w := newWorld(t, o, files.Config{})
		id, other := w.keep("a.png", aPNG(t), tract.TypeImage), w.keep("b.png", aPNG(t), tract.TypeImage)
		pending, err := w.reserve(w.receive("c.png", aPNG(t), tract.TypeImage))
		if err != nil {
			t.Fatal(err)
		}
		_, token := parts(t, w.files.Link(w.client, id, time.Hour))
		_, otherToken := parts(t, w.files.Link(w.client, other, time.Hour))
		_, otherClient := parts(t, w.files.Link(w.client+1, id, time.Hour))
		_, pendingToken := parts(t, w.files.Link(w.client, pending, time.Hour))
		_, ended := parts(t, w.files.Link(w.client, id, 0))
		end, signature, _ := strings.Cut(token, ".")
		for name, l := range map[string]struct{ id, token string }{
			"no token":                 {id, ""},
			"another file's token":     {id, otherToken},
			"another client's token":   {id, otherClient},
			"ended":                    {id, ended},
			"later end":                {id, end + "0." + signature},
			"same end, other spelling": {id, "0" + end + "." + signature},
			"cut signature":            {id, token[:len(token)-1]},
			"longer signature":         {id, token + "A"},
			"guessed":                  {strings.Repeat("a", 26), token},
			"no message yet":           {pending, pendingToken},
			"path":                     {"../etc/passwd", token},
			"path of an id's length":   {"../../../../../../etc/pass", token},
			"NUL":                      {id[:25] + "\x00", token},
			"capitals":                 {strings.ToUpper(id), token},
			"empty":                    {"", ""},
		} {
			if _, _, err := w.open(l.id, l.token); !errors.Is(err, files.ErrNoFile) || err.Error() != files.ErrNoFile.Error() {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, _, err := w.open(id, token); err != nil {
			t.Errorf("the right one: %v", err)
		}
		w.clock.Advance(time.Hour)
		if _, _, err := w.open(id, token); !errors.Is(err, files.ErrNoFile) {
			t.Errorf("an hour later: %v", err)
		}
	})
}

func TestRenew(t *testing.T) {
	w := newWorld(t, tracttest.Fresh(t, "sqlite"), files.Config{Settings: files.Settings{LinkLife: 2 * time.Hour}})
	up := w.receive("a.png", aPNG(t), tract.TypeImage)
	id := w.keep("a.png", aPNG(t), tract.TypeImage)
	old := w.files.Link(w.client, id, time.Hour)
	el, err := up.Element("see "+`"url":"`+old+`"`, old)
	if err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(48 * time.Hour)
	fresh := w.files.Link(w.client, id, 2*time.Hour)
	body := w.files.Renew(w.client, el.Body())
	// What the user typed stays; data.url and the thumbnail are new.
	if n := strings.Count(body, fresh); n != 2 || strings.Count(body, old) != 1 {
		t.Errorf("%d new links in %s", n, body)
	}
	if got := strings.ReplaceAll(body, fresh, old); got != el.Body() {
		t.Errorf("something else changed: %s", got)
	}
	_, token := parts(t, fresh)
	if _, _, err := w.open(id, token); err != nil {
		t.Errorf("the new link: %v", err)
	}
	for name, keep := range map[string]string{
		"text":                  `{"text":"` + old + `","type":"TEXT","data":{}}`,
		"forged":                strings.ReplaceAll(el.Body(), old, old[:len(old)-1]+"_"),
		"not ours":              strings.ReplaceAll(el.Body(), old, "https://a.example/x.png"),
		"a message without any": hsl.Text("hello").Body(),
	} {
		if got := w.files.Renew(w.client, keep); got != keep {
			t.Errorf("%s became %s", name, got)
		}
	}
	if got := w.files.Renew(w.client+1, el.Body()); got != el.Body() {
		t.Errorf("another client's message got a new link: %s", got)
	}
}

func TestElement(t *testing.T) {
	w := newWorld(t, tracttest.Fresh(t, "sqlite"), files.Config{})
	link := "https://hub.example/files/x?t=1.a"
	image, err := w.receive("a.png", aPNG(t), tract.TypeImage).Element("", link)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"text":"a.png","type":"CAROUSEL","data":{"image_aspect_ratio":1.33,"width":"MEDIUM","items":[{"thumbnail":{"image":"` + link + `","type":"LANDSCAPE"},"title":"","actionables":[]}],` +
		`"url":"` + link + `","name":"a.png","size":` + "SIZE" + `,"mime_type":"image/png"}}`
	if got := strings.Replace(image.Body(), `"size":`+itoa(len(aPNG(t))), `"size":SIZE`, 1); got != want {
		t.Errorf("image: %s", got)
	}
	document, err := w.receive("R&D <1>.csv", []byte("a,b\n"), tract.TypeDocument).Element("the list", link)
	if err != nil {
		t.Fatal(err)
	}
	want = `{"text":"the list","type":"BUTTON","data":{"items":[{"actionable_text":"Download Here","location_required":false,"is_default":0,"uri":"LINK","type":"APP_ACTION",` +
		`"payload":{"gogo_message":"","message":"","url":"` + link + `"}}],"url":"` + link + `","name":"R&D 1.csv","size":4,"mime_type":"text/csv; charset=utf-8"}}`
	if document.Body() != want {
		t.Errorf("document: %s", document.Body())
	}
}

// MF-03.
func TestSizes(t *testing.T) {
	w := newWorld(t, tracttest.Fresh(t, "sqlite"), files.Config{})
	up, err := w.files.Receive("a.csv", zeros(files.MaxSize))
	if err != nil || up.Size != files.MaxSize {
		t.Fatalf("10 MiB: %v", err)
	}
	up.Close()
	if _, err := w.files.Receive("a.csv", zeros(files.MaxSize+1)); !errors.Is(err, files.ErrTooLarge) {
		t.Errorf("a byte more: %v", err)
	}
	broken := errors.New("the caller left")
	if _, err := w.files.Receive("a.csv", io.MultiReader(zeros(1<<20), failing{broken})); !errors.Is(err, broken) {
		t.Errorf("a broken upload: %v", err)
	}
	if left := w.onDisk(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type zero struct{}

func (zero) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func zeros(n int64) io.Reader { return io.LimitReader(zero{}, n) }

// MF-14: over the quota, and nothing counts twice.
func TestQuota(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		w := newWorld(t, o, files.Config{Settings: files.Settings{Quota: 10}})
		first := w.keep("a.csv", []byte("a,b\n12"), tract.TypeDocument) // 6 bytes
		if _, err := w.reserve(w.receive("b.csv", []byte("a,b\n1"), tract.TypeDocument)); !errors.Is(err, files.ErrQuota) || tract.KindOf(err) != tract.KindTooLarge {
			t.Fatalf("5 more: %v", err)
		}
		second, err := w.reserve(w.receive("b.csv", []byte("a,b\n"), tract.TypeDocument))
		if err != nil || w.usage() != 10 {
			t.Fatalf("4 more: %v, usage %d", err, w.usage())
		}
		w.files.Release(context.Background(), second)
		w.files.Release(context.Background(), second)
		w.files.Release(context.Background(), first) // a message names it: it stays
		if n := w.usage(); n != 6 {
			t.Errorf("usage %d, want 6", n)
		}
		if w.settle(second) {
			t.Error("a released file was settled")
		}
	})
}

// When several reserve at once the quota holds.
func TestQuotaRace(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		w := newWorld(t, o, files.Config{Settings: files.Settings{Quota: 12}})
		up := w.receive("a.csv", []byte("a,b\n"), tract.TypeDocument)
		fits := make(chan bool)
		for range 8 {
			go func() { _, err := w.reserve(up); fits <- err == nil }()
		}
		n := 0
		for range 8 {
			if <-fits {
				n++
			}
		}
		if n != 3 || w.usage() != 12 {
			t.Errorf("%d of 8 fit, usage %d; want 3 and 12", n, w.usage())
		}
	})
}

func TestSweep(t *testing.T) {
	places(t, func(t *testing.T, w *world) {
		kept, erased := w.keep("a.png", aPNG(t), tract.TypeImage), ""
		{ // one whose messages are erased
			up := w.receive("b.png", aPNG(t), tract.TypeImage)
			var err error
			if erased, err = w.reserve(up); err == nil {
				err = w.files.Put(context.Background(), erased, up)
			}
			if err != nil {
				t.Fatal(err)
			}
			w.update(func(tx *store.Tx) error { _, err := tx.SettleFile(erased, 8, 10); return err })
		}
		up := w.receive("c.png", aPNG(t), tract.TypeImage)
		lost, err := w.reserve(up) // by a process that dies before the message
		if err == nil {
			err = w.files.Put(context.Background(), lost, up)
		}
		if err != nil {
			t.Fatal(err)
		}
		all := w.usage()
		sweep := func() {
			t.Helper()
			if err := w.files.Sweep(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		sweep()
		if w.usage() != all {
			t.Error("an upload of just now was swept")
		}
		w.clock.Advance(61 * time.Minute)
		w.update(func(tx *store.Tx) error { return tx.DropFilesOf(8) })
		sweep()
		if n := w.usage(); n != all/3 {
			t.Errorf("usage %d, want %d", n, all/3)
		}
		for id, want := range map[string]bool{kept: true, erased: false, lost: false} {
			_, token := parts(t, w.files.Link(w.client, id, time.Hour))
			_, _, err := w.open(id, token)
			if (err == nil) != want {
				t.Errorf("%v: %v", want, err)
			}
		}
		if w.settle(lost) {
			t.Error("a swept file was settled")
		}
	})
}

// What a dead process left is removed at its next start, and what others are
// receiving stays.
func TestCrash(t *testing.T) {
	w := newWorld(t, tracttest.Fresh(t, "sqlite"), files.Config{})
	if _, err := w.files.Receive("a.csv", zeros(100)); err != nil { // never closed
		t.Fatal(err)
	}
	cfg := files.Config{Settings: files.Settings{Dir: w.dir}, Store: w.store, Key: make([]byte, 32), Now: w.clock.Now}
	cfg.Name = "two"
	two, err := files.New(cfg)
	if err != nil || len(w.onDisk()) != 1 {
		t.Fatalf("another process removed it: %v", err)
	}
	mine, err := two.Receive("b.csv", zeros(100))
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	cfg.Name = "one"
	if _, err := files.New(cfg); err != nil || len(w.onDisk()) != 1 {
		t.Fatalf("after the start: %v, %v", w.onDisk(), err)
	}
	// The second process never comes back.
	old := w.clock.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(filepath.Join(w.dir, w.onDisk()[0]), old, old); err != nil {
		t.Fatal(err)
	}
	if err := w.files.Sweep(context.Background()); err != nil || len(w.onDisk()) > 0 {
		t.Errorf("a day later: %v, %v", w.onDisk(), err)
	}
}

// A full disk, or a place that is gone, is answered with 503 and leaves nothing.
func TestDiskFull(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		full := &fullDisk{}
		w := newWorld(t, o, files.Config{Objects: full})
		up := w.receive("a.png", aPNG(t), tract.TypeImage)
		id, err := w.reserve(up)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.files.Put(context.Background(), id, up); !errors.Is(err, files.ErrStorage) || tract.KindOf(err) != tract.KindUnavailable || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("put: %v", err)
		}
		full.alsoDelete = true
		w.files.Release(context.Background(), id)
		if w.usage() == 0 {
			t.Error("forgotten although the content may be there")
		}
		full.alsoDelete = false
		if err := w.files.Sweep(context.Background()); err != nil || w.usage() != 0 {
			t.Errorf("swept: %v, usage %d", err, w.usage())
		}
		up.Close()
		if err := os.RemoveAll(w.dir); err != nil {
			t.Fatal(err)
		}
		if _, err := w.files.Receive("a.png", zeros(1)); !errors.Is(err, files.ErrStorage) {
			t.Errorf("receive: %v", err)
		}
	})
}

// fullDisk is a place that takes nothing.
type fullDisk struct{ alsoDelete bool }

func (*fullDisk) Put(context.Context, string, *files.Upload) error { return syscall.ENOSPC }
func (*fullDisk) Open(context.Context, string) (io.ReadSeekCloser, error) {
	return nil, fs.ErrNotExist
}
func (f *fullDisk) Delete(context.Context, string) error {
	if f.alsoDelete {
		return syscall.EIO
	}
	return nil
}

func TestEnter(t *testing.T) {
	w := newWorld(t, tracttest.Fresh(t, "sqlite"), files.Config{})
	var leave []func()
	for {
		l, err := w.files.Enter(1)
		if err != nil {
			if !errors.Is(err, files.ErrBusy) || len(leave) != 32 {
				t.Fatalf("after %d: %v", len(leave), err)
			}
			break
		}
		leave = append(leave, l)
	}
	if l, err := w.files.Enter(2); err != nil {
		t.Errorf("another client: %v", err)
	} else {
		l()
	}
	leave[0]()
	if _, err := w.files.Enter(1); err != nil {
		t.Errorf("when one has left: %v", err)
	}
}

func TestSettings(t *testing.T) {
	tests := []struct {
		name string
		s    files.Settings
		ok   bool
	}{
		{"folder", files.Settings{}, true},
		{"bucket", files.Settings{URL: "s3://bucket/a/b", AccessKey: "a", SecretKey: "b"}, true},
		{"own endpoint", files.Settings{URL: "s3://bucket", Endpoint: "http://127.0.0.1:9000/", Region: "eu", AccessKey: "a", SecretKey: "b"}, true},
		{"no keys", files.Settings{URL: "s3://bucket"}, false},
		{"no secret", files.Settings{URL: "s3://bucket", AccessKey: "a"}, false},
		{"no bucket", files.Settings{URL: "s3:///a", AccessKey: "a", SecretKey: "b"}, false},
		{"another scheme", files.Settings{URL: "gs://bucket", AccessKey: "a", SecretKey: "b"}, false},
		{"keys in the URL", files.Settings{URL: "s3://a:b@bucket", AccessKey: "a", SecretKey: "b"}, false},
		{"endpoint without scheme", files.Settings{URL: "s3://bucket", Endpoint: "s3.example.com", AccessKey: "a", SecretKey: "b"}, false},
		{"endpoint with a path", files.Settings{URL: "s3://bucket", Endpoint: "https://s3.example.com/x", AccessKey: "a", SecretKey: "b"}, false},
	}
	for _, tt := range tests {
		if err := files.CheckSettings(tt.s); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
