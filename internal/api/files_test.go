package api_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"io/fs"
	"mime/multipart"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"tract/internal/apitest"
	"tract/internal/files"
	"tract/internal/store"
)

const logFile = "/v1.0/log_file_from_user/"

// uploads runs a test in a world that takes files, once per engine.
func uploads(t *testing.T, test func(t *testing.T, w *apitest.World, dir string), change ...func(*apitest.Settings)) {
	t.Helper()
	dirs := t.TempDir()
	dir := ""
	apitest.Engines(t, func(t *testing.T, w *apitest.World) { test(t, w, dir) }, append([]func(*apitest.Settings){func(s *apitest.Settings) {
		dir = filepath.Join(dirs, rand.Text())
		s.Server.Files.Dir = dir
	}}, change...)...)
}

// part is one part of a form; with a file name it is a file.
type part struct{ name, file, value string }

// form writes parts as they are and gives the header that names their boundary.
func form(parts ...part) (body []byte, header string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		h := textproto.MIMEHeader{}
		h.Set("Content-Disposition", `form-data; name="`+p.name+`"`)
		if p.file != "" {
			h.Set("Content-Disposition", `form-data; name="`+p.name+`"; `+p.file)
			h.Set("Content-Type", "application/octet-stream")
		}
		out, err := w.CreatePart(h)
		if err == nil {
			_, err = io.WriteString(out, p.value)
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes(), "Content-Type: " + w.FormDataContentType()
}

// fileOf is the part with the file.
func fileOf(name, data string) part { return part{"file", `filename="` + name + `"`, data} }

// fields are the other parts.
func fieldsOf(u apitest.User, messageType int, body string) []part {
	out := []part{{name: "auth_id", value: u.AuthID}, {name: "business_id", value: strconv.FormatInt(u.Business, 10)}, {name: "message_type", value: strconv.Itoa(messageType)}}
	if body != "" {
		out = append(out, part{name: "message_body", value: body})
	}
	return out
}

func upload(w *apitest.World, parts []part, headers ...string) apitest.Answer {
	w.T.Helper()
	body, header := form(parts...)
	return w.Platform("POST", logFile, body, append([]string{header}, headers...)...)
}

func aPicture() string {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 8, 6))); err != nil {
		panic(err)
	}
	return b.String()
}

// path is the link without the host.
func path(w *apitest.World, link string) string { return strings.TrimPrefix(link, w.URL) }

// left lists the files below a folder.
func left(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func usage(w *apitest.World) (n int64) {
	w.T.Helper()
	key := w.ClientKey("acme")
	w.View(func(tx *store.Tx) (err error) { n, err = tx.FileUsage(key); return err })
	return n
}

func TestFileFromUser(t *testing.T) {
	uploads(t, func(t *testing.T, w *apitest.World, dir string) {
		w.Hooks("desk-one", "message/receive")
		u, data := w.User(), aPicture()
		a := upload(w, append([]part{fileOf("Scratch é.png", data)}, fieldsOf(u, 1, "see here")...)).Want(t, 200) // the fields come last
		link := a.Text("file_url")
		if a.Text("message_body") != "see here" || a.Int("message_type") != 1 || a.Int("message_id") == 0 {
			t.Errorf("answer: %s", a)
		}
		got := w.Call("GET", path(w, link), nil).Want(t, 200)
		if string(got.Body) != data {
			t.Errorf("%d bytes came back", len(got.Body))
		}
		for name, want := range map[string]string{
			"Content-Type": "image/png", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'", "Cache-Control": "no-store",
			"Content-Disposition": "inline; filename*=utf-8''Scratch%20%C3%A9.png", "Referrer-Policy": "no-referrer", "Accept-Ranges": "bytes",
		} {
			if got.Header.Get(name) != want {
				t.Errorf("%s is %q, want %q", name, got.Header.Get(name), want)
			}
		}
		u.ID = w.Thread(u).Pxut
		h := w.One.Wait(t, "the file", apitest.Saying(u, "see here"))
		var el struct {
			Type string
			Data struct {
				URL, Name string
				Size      int
				MimeType  string `json:"mime_type"`
			}
		}
		if err := json.Unmarshal([]byte(h.Text("message_body")), &el); err != nil {
			t.Fatal(err)
		}
		if h.Int("metadata.message_type") != 1 || el.Type != "CAROUSEL" || el.Data.URL != link || el.Data.Name != "Scratch é.png" || el.Data.Size != len(data) || el.Data.MimeType != "image/png" {
			t.Errorf("the tool got %s", h.Raw)
		}

		doc := upload(w, append(fieldsOf(u, 52, ""), fileOf("list.csv", "a,b\n"))).Want(t, 200)
		got = w.Call("GET", path(w, doc.Text("file_url")), nil).Want(t, 200)
		if got.Header.Get("Content-Disposition") != "attachment; filename=list.csv" || got.Header.Get("Content-Type") != "text/csv; charset=utf-8" {
			t.Errorf("a document comes with %v", got.Header)
		}
		w.One.Wait(t, "the document", apitest.Saying(u, "list.csv"))

		for _, version := range []string{"1.0", "2.0"} {
			lines := w.Platform("GET", "/integration/external/v"+version+"/get_chat_history/?conversation_no=1&business_id=343&user_name="+u.Name, nil).Want(t, 200)
			fresh := lines.Text("chat_json.0.file_url")
			if lines.Text("chat_json.0.text") != "see here" || fresh == "" || fresh == link {
				t.Errorf("transcript: %s", lines)
			}
			w.Call("GET", path(w, fresh), nil).Want(t, 200)
		}
		if n := len(left(t, dir)); n != 2 {
			t.Errorf("%d files lie in the folder, want 2", n)
		}
	})
}

// Rows MF-01 to MF-13 that concern the form.
func TestFileFormRefused(t *testing.T) {
	uploads(t, func(t *testing.T, w *apitest.World, dir string) {
		u, data := w.User(), aPicture()
		good := func(more ...part) []part { return append(fieldsOf(u, 1, ""), more...) }
		without := func(name string) (out []part) {
			for _, p := range good(fileOf("a.png", data)) {
				if p.name != name {
					out = append(out, p)
				}
			}
			return out
		}
		with := func(name, value string) []part { return append(without(name), part{name: name, value: value}) }
		whole, header := form(good(fileOf("a.png", data))...)
		many := good(fileOf("a.png", data))
		for range 1001 {
			many = append(many, part{name: "x"})
		}
		type row struct {
			name   string
			body   []byte
			header string
			status int
			code   string
		}
		rows := []row{
			{"MF-01 no boundary", whole, "Content-Type: multipart/form-data", 400, "multipart"},
			{"MF-01 wrong boundary", whole, "Content-Type: multipart/form-data; boundary=other", 400, "multipart"},
			{"MF-01 truncated", whole[:len(whole)-8], header, 400, "multipart"},
			{"MF-01 truncated in the file", whole[:len(whole)-100], header, 400, "multipart"},
			{"nothing", nil, header, 400, "multipart"},
			{"JSON", []byte(`{"auth_id":"x"}`), "Content-Type: application/json", 415, "unsupported_media_type"},
			{"compressed", whole, header + "\r\nx: y", 0, ""},
		}
		rows = rows[:len(rows)-1]
		add := func(name string, parts []part, status int, code string) {
			b, h := form(parts...)
			rows = append(rows, row{name, b, h, status, code})
		}
		add("MF-02 1,001 parts", many, 400, "multipart")
		add("MF-02 field of 12 MiB", append([]part{{name: "message_body", value: strings.Repeat("x", 12<<20)}}, good(fileOf("a.png", data))...), 413, "too_large")
		add("MF-03 a byte too many", good(fileOf("a.png", data+strings.Repeat("x", files.MaxSize-len(data)+1))), 413, "file_too_large")
		add("far too large", good(fileOf("a.png", strings.Repeat("x", 24<<20))), 413, "too_large")
		add("MF-05 path", good(fileOf("../../etc/passwd", data)), 400, "file_type")
		add("MF-05 .htaccess", good(fileOf(".htaccess", data)), 400, "file_type")
		add("MF-05 device", good(fileOf("CON", data)), 400, "file_type")
		add("MF-05 turned around", good(fileOf("a\u202egnp.exe", data)), 400, "file_type")
		add("MF-06 two names", good(part{"file", `filename="a.png"; filename*=UTF-8''b.php`, data}), 400, "file_type")
		add("MF-07 something else", good(fileOf("a.png", "<svg onload=alert(1)>")), 400, "content_mismatch")
		add("MF-08 another kind", good(fileOf("a.svg", "<svg/>")), 400, "file_type")
		add("message_type of a document", append(fieldsOf(u, 52, ""), fileOf("a.png", data)), 400, "file_type")
		add("MF-11 two files", good(fileOf("a.png", data), fileOf("b.png", data)), 400, "multipart")
		add("MF-11 another file", good(fileOf("a.png", data), part{"other", `filename="b.png"`, data}), 400, "multipart")
		add("MF-11 empty file", good(fileOf("a.png", "")), 400, "file_empty")
		add("file without a name", good(part{name: "file", value: data}), 400, "file_name")
		add("MF-12 unknown user", with("auth_id", "nobody"), 403, "user_not_registered")
		add("MF-13 another client's business", with("business_id", "900"), 400, "invalid_business")
		add("MF-13 unknown business", with("business_id", "999"), 400, "invalid_business")
		add("business that is no number", with("business_id", "x"), 400, "invalid_business")
		add("inactive business", with("business_id", "345"), 400, "business_inactive")
		add("message_type 0", with("message_type", "0"), 400, "message_type")
		add("message_type 1.0", with("message_type", "1.0"), 400, "message_type")
		add("field twice", append(with("auth_id", "a"), part{name: "auth_id", value: "b"}), 400, "multipart")
		add("text that is no UTF-8", with("message_body", "\xff"), 400, "field_value")
		add("text with NUL", with("message_body", "a\x00b"), 400, "field_value")
		for _, name := range []string{"auth_id", "business_id", "message_type", "file"} {
			add("no "+name, without(name), 400, "field_missing")
		}
		for _, r := range rows {
			a := w.Platform("POST", logFile, r.body, r.header)
			if a.Status != r.status || a.Code() != r.code {
				t.Errorf("%s: %s, want %d %s", r.name, a, r.status, r.code)
			}
		}
		if a := w.Platform("POST", logFile, whole, header, "Content-Encoding: gzip"); a.Status != 415 {
			t.Errorf("compressed: %s", a)
		}
		if f := left(t, dir); len(f) > 0 || usage(w) != 0 {
			t.Errorf("left behind: %v, %d bytes", f, usage(w))
		}
		if es := w.Platform("GET", "/integration/external/v2.0/get_chat_history/?conversation_no=1&business_id=343&user_name="+u.Name, nil); es.Status != 400 {
			t.Errorf("a message was stored: %s", es)
		}
		// What is taken although it looks odd.
		for name, parts := range map[string][]part{
			"MF-03 exactly 10 MiB":     good(fileOf("a.png", data+strings.Repeat("x", files.MaxSize-len(data)))),
			"MF-05 name of 4 KiB":      good(fileOf(strings.Repeat("n", 4096)+".png", data)),
			"MF-08 capitals":           good(fileOf("A.PNG", data)),
			"unknown field":            good(fileOf("a.png", data), part{name: "more", value: "x"}),
			"name in another alphabet": good(fileOf("снимок.png", data)),
		} {
			if a := upload(w, parts); a.Status != 200 {
				t.Errorf("%s: %s", name, a)
			}
		}
	})
}

func TestFileIdempotency(t *testing.T) {
	uploads(t, func(t *testing.T, w *apitest.World, dir string) {
		u, data := w.User(), aPicture()
		parts := append(fieldsOf(u, 1, "once"), fileOf("a.png", data))
		first := upload(w, parts, "Idempotency-Key: k1").Want(t, 200)
		reversed := []part{parts[4], parts[3], parts[2], parts[1], parts[0]}
		again := upload(w, reversed, "Idempotency-Key: k1").Want(t, 200) // another boundary and order
		if string(first.Body) != string(again.Body) {
			t.Errorf("first %s, then %s", first, again)
		}
		for name, other := range map[string][]part{
			"another file": append(fieldsOf(u, 1, "once"), fileOf("a.png", data+"x")),
			"another name": append(fieldsOf(u, 1, "once"), fileOf("b.png", data)),
			"another text": append(fieldsOf(u, 1, "twice"), fileOf("a.png", data)),
		} {
			if a := upload(w, other, "Idempotency-Key: k1"); a.Status != 422 {
				t.Errorf("%s: %s", name, a)
			}
		}
		answers := make([]apitest.Answer, 8)
		apitest.Race(len(answers), func(i int) { answers[i] = upload(w, parts, "Idempotency-Key: k2") })
		for _, a := range answers {
			if a.Status != 200 || string(a.Body) != string(answers[0].Body) {
				t.Errorf("of eight at once: %s and %s", answers[0], a)
			}
		}
		if n, want := usage(w), int64(2*len(data)); n != want {
			t.Errorf("usage %d, want %d", n, want)
		}
		if f := left(t, dir); len(f) != 2 {
			t.Errorf("%d files, want 2", len(f))
		}
	})
}

// MF-14: the quota, also that a repeated call is answered when it is used up,
// and a place that takes no more.
func TestFileNoSpace(t *testing.T) {
	size := int64(len(aPicture()))
	uploads(t, func(t *testing.T, w *apitest.World, dir string) {
		u := w.User()
		parts := append(fieldsOf(u, 1, "one"), fileOf("a.png", aPicture()))
		first := upload(w, parts, "Idempotency-Key: k").Want(t, 200)
		if a := upload(w, parts); a.Status != 413 || a.Code() != "quota" {
			t.Errorf("the second: %s", a)
		}
		if a := upload(w, parts, "Idempotency-Key: k"); string(a.Body) != string(first.Body) {
			t.Errorf("the first again: %s", a)
		}
		if n := len(w.Log(u)); n == 0 || usage(w) != size {
			t.Errorf("usage %d", usage(w))
		}
		// The place for finished files cannot be written to any more.
		small := append(fieldsOf(u, 52, ""), fileOf("a.csv", "a"))
		messages := countFiles(w, u)
		objects := filepath.Join(dir, "objects")
		if err := os.RemoveAll(objects); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(objects, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		a := upload(w, small)
		if a.Status != 503 || a.Code() != "file_storage" || a.Header.Get("Retry-After") != "30" {
			t.Errorf("no place: %s, %v", a, a.Header)
		}
		if n := countFiles(w, u); n != messages {
			t.Errorf("%d messages became %d", messages, n)
		}
		if f := left(t, filepath.Join(dir, "incoming")); len(f) > 0 {
			t.Errorf("left behind: %v", f)
		}
	}, func(s *apitest.Settings) { s.Server.Files.Quota = size + 2 })
}

func countFiles(w *apitest.World, u apitest.User) (n int) {
	w.T.Helper()
	for _, e := range w.Log(u) {
		if e.MessageType != 0 {
			n++
		}
	}
	return n
}

// MF-16 and MF-17.
func TestFileServed(t *testing.T) {
	uploads(t, func(t *testing.T, w *apitest.World, _ string) {
		u := w.User()
		text := strings.Repeat("0123456789", 100)
		link := path(w, upload(w, append(fieldsOf(u, 52, ""), fileOf("a.csv", text))).Want(t, 200).Text("file_url"))
		id, token, _ := strings.Cut(strings.TrimPrefix(link, "/files/"), "?t=")
		missing := w.Call("GET", "/files/"+strings.Repeat("a", 26)+"?t="+token, nil).Want(t, 404)
		for _, p := range []string{
			"/files/" + id, "/files/" + id + "?t=", "/files/" + id + "?t=1." + token, "/files/" + id + "?t=" + token[:len(token)-1], "/files/" + strings.ToUpper(id) + "?t=" + token,
		} {
			if a := w.Call("GET", p, nil); a.Status != 404 || a.Message() != missing.Message() {
				t.Errorf("%s: %s", p, a)
			}
		}
		for _, p := range []string{"/files/..%2f..%2fetc%2fpasswd?t=" + token, "/files/..%2f" + id + "?t=" + token, "/files/%00?t=" + token, "/files/a/b", "/files/"} {
			if a := w.Call("GET", p, nil); a.Status != 404 {
				t.Errorf("%s: %s", p, a)
			}
		}
		if a := w.Call("HEAD", link, nil).Want(t, 200); len(a.Body) > 0 || a.Header.Get("Content-Length") != "1000" {
			t.Errorf("HEAD: %s %v", a, a.Header)
		}
		tests := []struct {
			ranges string
			status int
			body   string
		}{
			{"bytes=0-3", 206, "0123"},
			{"bytes=-4", 206, "6789"},
			{"bytes=998-", 206, "89"},
			{"bytes=0-0,2-2", 416, ""},
			{"bytes=" + strings.TrimSuffix(strings.Repeat("0-,", 1000), ","), 416, ""},
			{"bytes=5-1", 416, ""},
			{"bytes=1000-", 416, ""},
			{"bytes=-0", 416, ""},
			{"bytes=999-5000", 206, "9"},
			{"bytes=9223372036854775808-", 416, ""},
			{"bytes=", 416, ""},
			{"bytes=--1", 416, ""},
			{"lines=1-2", 416, ""},
		}
		for _, tt := range tests {
			a := w.Call("GET", link, nil, "Range: "+tt.ranges)
			if a.Status != tt.status || tt.status == 206 && string(a.Body) != tt.body || a.Header.Get("Content-Security-Policy") == "" {
				t.Errorf("%.40s: %s", tt.ranges, a)
			}
		}
	})
}

// MF-04 and MF-18: callers who break off, or say another length than they send.
func TestFileAborted(t *testing.T) {
	const times = 200
	uploads(t, func(t *testing.T, w *apitest.World, dir string) {
		u := w.User()
		body, header := form(append(fieldsOf(u, 1, ""), fileOf("a.png", aPicture()+strings.Repeat("x", 300_000)))...)
		head := func(length int) string {
			return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nclient-id: acme\r\n%s\r\nContent-Length: %d\r\n\r\n", logFile, w.Token, header, length)
		}
		dial := func() *net.TCPConn {
			c, err := net.Dial("tcp", strings.TrimPrefix(w.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			return c.(*net.TCPConn)
		}
		for i := range times {
			c := dial()
			if _, err := io.WriteString(c, head(len(body))+string(body[:len(body)*(i+1)/(times+2)])); err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				_ = c.SetLinger(0) // a reset instead of an orderly end
			}
			_ = c.Close()
		}
		for name, length := range map[string]int{"longer than announced": len(body) - 50, "shorter than announced": len(body) + 50} {
			c := dial()
			if _, err := io.WriteString(c, head(length)+string(body)); err != nil {
				t.Fatal(err)
			}
			_ = c.CloseWrite()
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			// All parts are there when more was announced: what is missing is not the form's.
			if want := map[bool]int{true: 400, false: 200}[length < len(body)]; res.StatusCode != want {
				t.Errorf("%s: %d, want %d", name, res.StatusCode, want)
			}
			_ = res.Body.Close()
			_ = c.Close()
		}
		incoming := filepath.Join(dir, "incoming")
		w.Until("every temporary file is gone", func(*store.Tx) (bool, error) { return len(left(t, incoming)) == 0, nil })
		if n := len(left(t, dir)); int64(n)*int64(len(aPicture())+300_000) != usage(w) || countFiles(w, u) != n {
			t.Errorf("%d files, %d bytes, %d messages", n, usage(w), countFiles(w, u))
		}
	})
}

// What is uploaded goes to the disk as it comes: twenty files of 10 MiB at once
// take little memory.
func TestFileMemory(t *testing.T) {
	w := apitest.New(t, apitest.SQLite(t), func(s *apitest.Settings) { s.Server.Files.Dir = t.TempDir() })
	u := w.User()
	for client, domain := range map[string]string{"acme": "acme_faq", "other": "other_faq"} { // nothing else is at work
		key := w.ClientKey(client)
		w.Until("the report of the bot is written", func(tx *store.Tx) (bool, error) {
			ms, err := tx.ListModels(key, domain)
			return len(ms) == 1 && ms[0].Report != nil, err
		})
	}
	const many = 20
	frame, header := form(append(fieldsOf(u, 52, ""), fileOf("a.csv", "SPLIT"))...)
	before, after, _ := bytes.Cut(frame, []byte("SPLIT"))
	var start, end runtime.MemStats
	runtime.ReadMemStats(&start)
	answers := make([]apitest.Answer, many)
	apitest.Race(many, func(i int) {
		body := io.MultiReader(bytes.NewReader(before), io.LimitReader(letters{}, files.MaxSize), bytes.NewReader(after))
		answers[i] = w.Platform("POST", logFile, body, header)
	})
	runtime.ReadMemStats(&end)
	for _, a := range answers {
		if a.Status != 200 {
			t.Fatalf("an upload: %s", a)
		}
	}
	// What was allocated in all, freed or not, client included.
	if n := (end.TotalAlloc - start.TotalAlloc) / many; n > 1<<20 {
		t.Errorf("an upload of 10 MiB allocates %d KiB", n>>10)
	} else {
		t.Logf("an upload of 10 MiB allocates %d KiB", n>>10)
	}
	if n := usage(w); n != many*files.MaxSize {
		t.Errorf("usage %d", n)
	}
}

type letters struct{}

func (letters) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'a'
	}
	return len(b), nil
}

// A link ends.
func TestFileLinkEnds(t *testing.T) {
	w := apitest.New(t, apitest.SQLite(t), func(s *apitest.Settings) { s.Server.Files.Dir = t.TempDir() })
	u := w.User()
	link := path(w, upload(w, append(fieldsOf(u, 52, ""), fileOf("a.csv", "a"))).Want(t, 200).Text("file_url"))
	id, _, _ := strings.Cut(strings.TrimPrefix(link, "/files/"), "?")
	ended := path(w, w.Server.Files.Link(w.ClientKey("acme"), id, -time.Second))
	w.Call("GET", ended, nil).Want(t, 404)
	other := path(w, w.Server.Files.Link(w.ClientKey("other"), id, time.Hour))
	w.Call("GET", other, nil).Want(t, 404)
	w.Call("GET", path(w, w.Server.Files.Link(w.ClientKey("acme"), id, time.Hour)), nil).Want(t, 200)
}
