package api_test

import (
	"bytes"
	"crypto/rand"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract/internal/apitest"
	"tract/internal/bot"
	"tract/internal/store"
)

const (
	faqCreate  = "/mogambo_api/nodes/faq/create/"
	faqExport  = "/mogambo_api/nodes/faq/?domain_name="
	faqRestore = "/mogambo_api/nodes/faq/restore/"
	faqHead    = "node_name,question,answer\n"
	faqOK      = "all steps have been created successfully"
)

// faqPart is one part of a form; a name is that of a file.
type faqPart struct{ field, name, value string }

func faqForm(domain, csv string) []faqPart {
	return []faqPart{{"domain_name", "", domain}, {"csv_file", "faq.csv", csv}}
}

// sendForm makes a call with a form as the client acme.
func sendForm(w *apitest.World, path string, parts []faqPart, headers ...string) apitest.Answer {
	w.T.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	for _, p := range parts {
		var to io.Writer
		var err error
		if p.name != "" {
			to, err = m.CreateFormFile(p.field, p.name)
		} else {
			to, err = m.CreateFormField(p.field)
		}
		if err == nil {
			_, err = io.WriteString(to, p.value)
		}
		if err != nil {
			w.T.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		w.T.Fatal(err)
	}
	return w.Platform("POST", path, b.Bytes(), append([]string{"Content-Type: " + m.FormDataContentType()}, headers...)...)
}

// importFAQ uploads a file and waits for its end.
func importFAQ(w *apitest.World, domain, csv string, more ...faqPart) apitest.Answer {
	w.T.Helper()
	a := sendForm(w, faqCreate, append(faqForm(domain, csv), more...)).Want(w.T, http.StatusOK)
	if a.At("success") != true || a.At("error") != "" || a.At("meta") == nil {
		w.T.Errorf("answer: %s", a)
	}
	return ended(w, a.Text("body.task_id"))
}

func ended(w *apitest.World, task string) (a apitest.Answer) {
	w.T.Helper()
	w.Until("the task ends", func(*store.Tx) (bool, error) {
		a = w.Platform("GET", faqCreate+"status/"+task, nil).Want(w.T, http.StatusOK)
		return a.Text("body.status") != "In Progress", nil
	})
	return a
}

func exported(w *apitest.World, domain string) string {
	w.T.Helper()
	a := w.Platform("GET", faqExport+domain, nil).Want(w.T, http.StatusOK)
	if got := a.Header.Get("Content-Type"); got != "text/csv; charset=utf-8" || a.Header.Get("Content-Disposition") != `attachment; filename="faq.csv"` {
		w.T.Errorf("headers: %v", a.Header)
	}
	return string(a.Body)
}

func TestFAQ(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		meta := func(a apitest.Answer) string {
			return fmt.Sprintf("%v %q %d/%d +%d ~%d -%d %v", a.At("success"), a.Text("body.status"), a.Int("meta.rows_done"), a.Int("meta.rows_total"), a.Int("meta.created"), a.Int("meta.updated"), a.Int("meta.deactivated"), a.At("meta.warnings"))
		}
		check := func(a apitest.Answer, want string) {
			t.Helper()
			if got := meta(a); got != want {
				t.Errorf("task: %s\nwant  %s", got, want)
			}
		}
		a := importFAQ(w, "acme_import", "\ufeff\"Node_Name\",question,Answer,topic\r\nWarranty,how long is the warranty|warranty period,Two years.<m>More?,t\r\nGift cards,do you sell gift cards,Yes.,t\r\n")
		check(a, `true "`+faqOK+`" 2/2 +2 ~0 -0 [column "topic" is not known and ignored]`)
		check(importFAQ(w, "acme_import", faqHead+"Warranty,warranty?,Three years.\nSizes,which sizes,S to XL.\n", faqPart{"dry_run", "", "true"}), `true "`+faqOK+`" 2/2 +1 ~1 -1 []`)
		if got := exported(w, "acme_import"); got != faqHead+"Warranty,how long is the warranty|warranty period,Two years.<m>More?\nGift cards,do you sell gift cards,Yes.\n" {
			t.Errorf("after a dry run: %s", got)
		}
		check(importFAQ(w, "acme_import", faqHead+"Warranty,warranty?,Three years.\nSizes,which sizes,S to XL.\n"), `true "`+faqOK+`" 2/2 +1 ~1 -1 []`)
		bad := importFAQ(w, "acme_import", faqHead+"A,a,b\nB,,c\n")
		check(bad, `false "line 3, column question: the step has no user message" 0/0 +0 ~0 -0 []`)
		if bad.Text("error") != bad.Text("body.status") {
			t.Errorf("error: %s", bad)
		}
		if got := exported(w, "acme_import"); got != faqHead+"Warranty,warranty?,Three years.\nSizes,which sizes,S to XL.\n" {
			t.Errorf("export: %s", got)
		}
		if got := string(w.Platform("GET", faqExport+"acme_import&active=false", nil).Want(t, 200).Body); got != faqHead+"Gift cards,do you sell gift cards,Yes.\n" {
			t.Errorf("inactive: %s", got)
		}
		head := w.Platform("HEAD", faqExport+"acme_import", nil).Want(t, 200)
		if len(head.Body) != 0 {
			t.Errorf("HEAD: %s", head)
		}

		// Restored steps are behind the others.
		restore := map[string]any{"domain_name": "acme_import", "node_names": []string{"gift cards", "Sizes"}}
		if a := w.Platform("POST", faqRestore, restore, "Idempotency-Key: back").Want(t, 200); a.Int("body.restored") != 1 || a.At("success") != true {
			t.Errorf("restored: %s", a)
		}
		if a := w.Platform("POST", faqRestore, restore).Want(t, 200); a.Int("body.restored") != 0 {
			t.Errorf("restored again: %s", a)
		}
		for code, body := range map[string]map[string]any{
			"unknown_step": {"domain_name": "acme_import", "node_names": []string{"Warranty", "Nope"}}, "invalid_domain": {"domain_name": "other_faq", "node_names": []string{"Opening hours"}},
			"field_missing": {"domain_name": "acme_import"}, "field_type": {"domain_name": "acme_import", "node_names": "Sizes"}, "field_value": {"domain_name": "acme_import", "node_names": make([]string, 501)},
		} {
			if a := w.Platform("POST", faqRestore, body); a.Status != 400 || a.Code() != code {
				t.Errorf("restore %v: %s", body["node_names"], a)
			}
		}
		if got := exported(w, "acme_import"); !strings.HasSuffix(got, "S to XL.\nGift cards,do you sell gift cards,Yes.\n") {
			t.Errorf("restored: %s", got)
		}

		// What looks like a formula comes back as it was, and never begins a cell.
		formulas := faqHead + "=1+1,+q|-r,\"@SUM(A1)<m>=2\"\n'=A,\"'q\",'\n"
		importFAQ(w, "acme_import", formulas)
		out := exported(w, "acme_import")
		rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			for _, cell := range row {
				if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
					t.Errorf("a cell that is a formula: %q", cell)
				}
			}
		}
		importFAQ(w, "acme_import", out)
		if again := exported(w, "acme_import"); again != out {
			t.Errorf("exported again: %s\nbefore: %s", again, out)
		}
		steps, _, err := bot.ParseCSV([]byte(formulas))
		if err != nil {
			t.Fatal(err)
		}
		w.View(func(tx *store.Tx) error {
			stored, err := tx.ListSteps(w.Thread(asked(w)).Client, "acme_import")
			if d := cmp.Diff(steps, stored); d != "" {
				t.Errorf("stored (-want +got):\n%s", d)
			}
			return err
		})
	})
}

// asked makes a user who has written.
func asked(w *apitest.World) apitest.User {
	u := w.User()
	w.Say(&u, apitest.Answerable)
	return u
}

func TestFAQRequestErrors(t *testing.T) {
	withoutFAQ := func(s *apitest.Settings) {
		s.Fixture = func(yaml string) string {
			return strings.Replace(yaml, "    tokens:\n      - {name: main, value: ", "    tokens:\n      - {name: nofaq, value: nofaq-token, scopes: [transfer, transcripts, delivery]}\n      - {name: main, value: ", 1)
		}
	}
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		good := faqForm("acme_import", faqHead+"A,a,b\n")
		calls := map[string]func(headers ...string) apitest.Answer{
			"create":  func(h ...string) apitest.Answer { return sendForm(w, faqCreate, good, h...) },
			"status":  func(h ...string) apitest.Answer { return w.Platform("GET", faqCreate+"status/x/", nil, h...) },
			"export":  func(h ...string) apitest.Answer { return w.Platform("GET", faqExport+"acme_import", nil, h...) },
			"restore": func(h ...string) apitest.Answer { return w.Platform("POST", faqRestore, "{}", h...) },
		}
		for name, call := range calls {
			for _, h := range [][]string{{"Authorization:"}, {"Authorization: Bearer x"}, {"Authorization: Token " + w.Token}, {"client-id:"}, {"client-id: other"}, {"client-id: nobody"}, {"Authorization: Bearer " + w.OtherToken}, {"+client-id: acme"}} {
				refused(t, fmt.Sprint(name, h), call(h...), http.StatusUnauthorized, "Unauthorized Access or invalid token")
			}
			refused(t, name+" without the scope", call("Authorization: Bearer nofaq-token"), http.StatusForbidden, "Access Forbidden")
		}
		file := func(csv string) []faqPart { return faqForm("acme_import", csv) }
		for _, tt := range []struct {
			name, code, reason string
			parts              []faqPart
		}{
			{"no domain", "field_missing", "", good[1:]},
			{"no file", "field_missing", "", good[:1]},
			{"unknown domain", "invalid_domain", "", faqForm("nope", faqHead+"A,a,b\n")},
			{"another client's domain", "invalid_domain", "", faqForm("other_faq", faqHead+"A,a,b\n")},
			{"two files", "multipart", "", append(good, good[1])},
			{"a long domain", "field_value", "", faqForm(strings.Repeat("d", 257), "x")},
			{"dry_run", "field_value", "", append(good, faqPart{"dry_run", "", "perhaps"})},
			{"many parts", "multipart", "", append(good, make([]faqPart, 30)...)},
			{"CS-03 CR only", "csv_invalid", "line_endings", file("node_name,question,answer\rA,q,x\r")},
			{"CS-08 empty", "csv_invalid", "no_rows", file("")},
			{"CS-08 only a header", "csv_invalid", "no_rows", file(faqHead)},
			{"CS-08 no node_name", "csv_invalid", "column_missing", file("question,answer\nq,x\n")},
			{"CS-08 no question", "csv_invalid", "column_missing", file("node_name,answer\nA,x\n")},
			{"CS-08 no answer", "csv_invalid", "column_missing", file("node_name,question\nA,q\n")},
			{"CS-08 misspelt", "csv_invalid", "column_missing", file("node_name,questions,answer\nA,q,x\n")},
			{"CS-10 column twice", "csv_invalid", "column_duplicate", file("node_name,question,answer,ANSWER\nA,q,x,y\n")},
			{"CS-13 UTF-16LE", "csv_invalid", "encoding", file("\xff\xfen\x00o\x00")},
			{"CS-13 UTF-16BE", "csv_invalid", "encoding", file("\xfe\xff\x00n\x00o")},
			{"CS-13 NUL", "csv_invalid", "encoding", file("node_name\x00,question,answer\n")},
			{"CS-14 semicolons", "csv_invalid", "delimiter", file("node_name;question;answer\nA;q;x\n")},
			{"CS-14 tabs", "csv_invalid", "delimiter", file("node_name\tquestion\tanswer\nA\tq\tx\n")},
			{"CS-19 many columns", "csv_invalid", "too_many_columns", file(faqHead[:len(faqHead)-1] + strings.Repeat(",c", 1000) + "\nA,q,x\n")},
			{"CS-20 a spreadsheet", "csv_invalid", "encoding", file("PK\x03\x04\x14\x00")},
			{"CS-20 gzip", "csv_invalid", "encoding", file("\x1f\x8b\x08\x00")},
			{"CS-20 an image", "csv_invalid", "encoding", file("\x89PNG\n\x1a\n\x00")},
		} {
			a := sendForm(w, faqCreate, tt.parts)
			reason := a.Text("reason")
			if a.Status != http.StatusBadRequest || a.Code() != tt.code || tt.reason != "" && (reason != tt.reason || a.Int("line") != 1 && tt.reason != "no_rows") {
				t.Errorf("%s: %s", tt.name, a)
			}
		}
		for name, body := range map[string][]string{
			"JSON":             {`{"domain_name":"acme_import"}`, "application/json"},
			"no type":          {"x", ""},
			"no boundary":      {"x", "multipart/form-data"},
			"another boundary": {"--a\r\nContent-Disposition: form-data; name=\"domain_name\"\r\n\r\nx\r\n--a--\r\n", "multipart/form-data; boundary=b"},
			"cut off":          {"--a\r\nContent-Disposition: form-data; name=\"csv_file\"; filename=\"x\"\r\n\r\n" + faqHead + "A,q", "multipart/form-data; boundary=a"},
			"nothing":          {"", "multipart/form-data; boundary=a"},
		} {
			if a := w.Platform("POST", faqCreate, body[0], "Content-Type: "+body[1]); a.Status != http.StatusBadRequest || a.Code() != "multipart" {
				t.Errorf("%s: %s", name, a)
			}
		}
		for _, id := range []string{"not-a-task", "0b5f6f5e-6a3c-4c53-9f8b-5f1f4b0f6a11", "'--"} {
			w.Platform("GET", faqCreate+"status/"+id+"/", nil).Want(t, http.StatusNotFound)
		}
		for query, code := range map[string]string{"": "field_missing", "nope": "invalid_domain", "other_faq": "invalid_domain", "acme_import&active=2": "field_value", "a&domain_name=b": "invalid_parameter"} {
			if a := w.Platform("GET", faqExport+query, nil); a.Status != http.StatusBadRequest || a.Code() != code {
				t.Errorf("export %q: %s", query, a)
			}
		}
		nothingLeft(t, w)
	}, withoutFAQ, inFolder(t))
}

// inFolder lets uploads wait in a folder of the test.
func inFolder(t *testing.T) func(*apitest.Settings) {
	dir := t.TempDir()
	t.Cleanup(func() {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left behind in the spool folder: %v %v", left, err)
		}
	})
	return func(s *apitest.Settings) { s.Server.DataDir = dir }
}

// nothingLeft checks that no upload that was refused is in the store.
func nothingLeft(t *testing.T, w *apitest.World) {
	t.Helper()
	w.View(func(tx *store.Tx) error {
		left, err := tx.ListTaskLeftovers(tx.Now.Add(time.Hour), 100)
		if len(left) > 0 {
			t.Errorf("%d uploads are left in the store", len(left))
		}
		return err
	})
}

// filling gives bytes for ever and counts them.
type filling struct{ read int64 }

func (f *filling) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	f.read += int64(len(p))
	return len(p), nil
}

// CS-06, CS-07: refused as soon as it is known, and no more is read than may be.
func TestFAQUploadTooLarge(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		const head = "--a\r\nContent-Disposition: form-data; name=\"csv_file\"; filename=\"x\"\r\n\r\n" + faqHead + "A,q,\""
		for _, tt := range []struct {
			name   string
			length int64
			most   int64
		}{{"with a length", 100 << 20, 0}, {"without", -1, 51 << 20}} {
			filler := &filling{}
			// Past the network: a client that is cut off while it writes may not
			// get to read the answer.
			req := httptest.NewRequest("POST", faqCreate, io.MultiReader(strings.NewReader(head), io.LimitReader(filler, 100<<20)))
			req.ContentLength = tt.length
			req.Header.Set("Authorization", "Bearer "+w.Token)
			req.Header.Set("client-id", "acme")
			req.Header.Set("Content-Type", "multipart/form-data; boundary=a")
			rec := httptest.NewRecorder()
			w.Server.Handler().ServeHTTP(rec, req)
			if rec.Code != http.StatusRequestEntityTooLarge || !strings.Contains(rec.Body.String(), `"csv_too_large"`) {
				t.Errorf("%s: %d %s", tt.name, rec.Code, rec.Body)
			}
			if filler.read > tt.most {
				t.Errorf("%s: %d bytes were read", tt.name, filler.read)
			}
		}
		nothingLeft(t, w)
	}, inFolder(t))
}

// Callers who leave in the middle leave nothing behind.
func TestFAQUploadAborted(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		left := errors.New("the caller leaves")
		apitest.Race(20, func(i int) {
			body := io.MultiReader(strings.NewReader("--a\r\nContent-Disposition: form-data; name=\"csv_file\"; filename=\"x\"\r\n\r\n"+faqHead+strings.Repeat("A,q,x\n", i*1000)), failing{left})
			req, err := http.NewRequest("POST", w.URL+faqCreate, body)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Authorization", "Bearer "+w.Token)
			req.Header.Set("client-id", "acme")
			req.Header.Set("Content-Type", "multipart/form-data; boundary=a")
			if res, err := http.DefaultTransport.RoundTrip(req); err == nil {
				res.Body.Close()
				t.Errorf("answered with %d", res.StatusCode)
			}
		})
		nothingLeft(t, w)
	}, inFolder(t))
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestFAQIdempotency(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		key := "Idempotency-Key: " + rand.Text()
		first := faqForm("acme_import", faqHead+"A,a,b\n")
		id := sendForm(w, faqCreate, first, key).Want(t, 200).Text("body.task_id")
		ended(w, id)
		ended(w, sendForm(w, faqCreate, faqForm("acme_import", faqHead+"B,a,b\n")).Want(t, 200).Text("body.task_id"))
		// The same file in another form: the same call.
		again := []faqPart{first[1], {"note", "", "ignored"}, first[0], {"dry_run", "", "false"}}
		if got := sendForm(w, faqCreate, again, key).Want(t, 200).Text("body.task_id"); got != id {
			t.Errorf("CS-22: task %s, want %s", got, id)
		}
		for name, parts := range map[string][]faqPart{"another file": faqForm("acme_import", faqHead+"A,a,c\n"), "another domain": faqForm("acme_faq", faqHead+"A,a,b\n"), "a dry run": append(first, faqPart{"dry_run", "", "true"})} {
			if a := sendForm(w, faqCreate, parts, key); a.Status != http.StatusUnprocessableEntity {
				t.Errorf("%s: %s", name, a)
			}
		}
		if got := exported(w, "acme_import"); got != faqHead+"B,a,b\n" {
			t.Errorf("the repeated call was carried out: %s", got)
		}
		tasks := make([]string, 8)
		apitest.Race(8, func(i int) {
			tasks[i] = sendForm(w, faqCreate, faqForm("acme_import", faqHead+"C,a,b\n"), "Idempotency-Key: at-once").Text("body.task_id")
		})
		for _, id := range tasks {
			if id == "" || id != tasks[0] {
				t.Errorf("calls at once gave the tasks %v", tasks)
				break
			}
		}
		ended(w, tasks[0])
	})
}

// Two uploads at once: both end well, one after the other.
func TestFAQUploadsAtOnce(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		var sets [4]string
		var tasks [4]string
		for i := range sets {
			var b strings.Builder
			b.WriteString(faqHead)
			for n := range 600 {
				fmt.Fprintf(&b, "s%d-%d,ask %d,x\n", i, n, n)
			}
			sets[i] = b.String()
		}
		apitest.Race(4, func(i int) {
			tasks[i] = sendForm(w, faqCreate, faqForm("acme_import", sets[i])).Want(t, 200).Text("body.task_id")
		})
		last := int64(0)
		winner := -1
		for i, id := range tasks {
			if a := ended(w, id); a.Text("body.status") != faqOK {
				t.Errorf("upload %d: %s", i, a)
			}
			w.View(func(tx *store.Tx) error {
				task, err := tx.Task(w.Thread(asked(w)).Client, id)
				if task.Seq > last {
					last, winner = task.Seq, i
				}
				return err
			})
		}
		if got := exported(w, "acme_import"); got != sets[winner] {
			t.Errorf("the set is not that of the last upload: %.200s", got)
		}
	})
}

// Another client sees nothing of tasks and steps, and its own of the same name
// are its own.
func TestFAQWalls(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		id := sendForm(w, faqCreate, faqForm("acme_import", faqHead+"A,a,b\n")).Want(t, 200).Text("body.task_id")
		ended(w, id)
		refused(t, "another client's task", w.Other("GET", faqCreate+"status/"+id+"/", nil), http.StatusNotFound, "no such task")
		refused(t, "another client's steps", w.Other("GET", faqExport+"acme_import", nil), http.StatusBadRequest, "invalid domain")
		refused(t, "another client's restore", w.Other("POST", faqRestore, map[string]any{"domain_name": "acme_import", "node_names": []string{"A"}}), http.StatusBadRequest, "invalid domain")

		// A client that is removed takes its tasks and steps along.
		key := w.ClientKey("acme")
		w.Update(func(tx *store.Tx) error { return tx.DeleteClient(key) })
		refused(t, "a client that is gone", w.Platform("GET", faqCreate+"status/"+id+"/", nil), http.StatusUnauthorized, "Unauthorized Access or invalid token")
		w.View(func(tx *store.Tx) error {
			_, err := tx.Task(key, id)
			steps, err2 := tx.ListSteps(key, "acme_import")
			if !errors.Is(err, store.ErrNotFound) || err2 != nil || len(steps) > 0 {
				t.Errorf("left of a client that is gone: %v, %v %v", err, steps, err2)
			}
			return nil
		})
	})
}

// The bot answers from the old set until the new one is trained, then from the
// new one.
func TestFAQReachesTheBot(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		importFAQ(w, "acme_faq", faqHead+"Opening hours,what are your opening hours|when are you open,Always.\nOther,something else entirely,No.\n")
		u := w.User()
		w.Until("the bot answers from the new set", func(*store.Tx) (bool, error) {
			a := w.Platform("POST", "/v1.0/message/sync/", u.Message(apitest.Answerable)).Want(t, 200)
			said := a.Text("message.0.body.text")
			if said != "Always." && said != apitest.AnswerText {
				t.Fatalf("the bot says %s", a)
			}
			return said == "Always.", nil
		})
	})
}
