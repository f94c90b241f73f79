package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tract"
	"tract/internal/conversation"
	"tract/internal/files"
	"tract/internal/hsl"
	"tract/internal/intake"
	"tract/internal/store"
	"tract/internal/web"
)

// Bounds of an upload.
const (
	fileUploadTime = 60 * time.Second
	maxFileForm    = files.MaxSize + 1<<20 // bytes of the whole body
	maxFileParts   = 32
	maxFileDrain   = 64 << 20 // bytes read after a refusal, so that it is seen
	codeFileForm   = "multipart"
)

// fileForm is what log_file_from_user is sent.
type fileForm struct {
	fields map[string]string
	upload *files.Upload
}

// close removes the temporary file.
func (f *fileForm) close() {
	if f.upload != nil {
		f.upload.Close()
	}
}

// logFile takes a file in. What it stores is reserved before and settled with
// the message, so that neither is there without the other.
func (a *API) logFile(c *clientCall) (web.Answer, error) {
	leave, err := a.Files.Enter(c.client.Key)
	if err != nil {
		drainFile(c.r)
		return web.Answer{}, err
	}
	defer leave()
	stop, err := web.Extend(c.w, fileUploadTime)
	if err != nil {
		return web.Answer{}, err
	}
	defer stop()
	form, err := a.readFileForm(c.r)
	defer form.close()
	if err != nil {
		drainFile(c.r)
		return web.Answer{}, err
	}
	in, err := form.read()
	if err != nil {
		return web.Answer{}, err
	}
	key, err := a.key(c, "log_file", in.digest())
	if err != nil {
		return web.Answer{}, err
	}
	// Asked first whether this was answered before: then nothing is stored, not
	// even if there is no space any more.
	out, err := key.Update(c.ctx(), 0, func(tx *store.Tx) (web.Answer, error) { return a.reserveFile(tx, c, in) })
	if err != nil || out.Status != http.StatusContinue {
		return out, err
	}
	return a.keepFile(c, key, in)
}

// reserveFile answers 100, which is not remembered: the call goes on.
func (a *API) reserveFile(tx *store.Tx, c *clientCall, in *fileInput) (web.Answer, error) {
	if err := a.stillNow(tx, c); err != nil {
		return web.Answer{}, err
	}
	_, err := tx.UserByAuthID(c.client.Key, in.authID)
	if tract.KindOf(err) == tract.KindNotFound {
		return web.Answer{}, intake.ErrNotRegistered
	}
	if err != nil {
		return web.Answer{}, err
	}
	settings, err := a.Conversation.Settings(tx, c.client.Key, in.business)
	if err != nil {
		return web.Answer{}, err
	}
	if settings == nil {
		return web.Answer{}, intake.ErrInvalidBusiness
	}
	in.id, err = a.Files.Reserve(tx, c.client.Key, in.upload)
	return web.Answer{Status: http.StatusContinue}, err
}

// keepFile stores the content and takes the message in.
func (a *API) keepFile(c *clientCall, key *web.Keyed, in *fileInput) (out web.Answer, err error) {
	settled, orphaned := false, false
	defer func() {
		if err != nil || !settled {
			a.Files.Release(c.ctx(), in.id)
		}
		if err == nil && orphaned {
			err = intake.ErrNoReceiver
		}
	}()
	if err := a.Files.Put(c.ctx(), in.id, in.upload); err != nil {
		return web.Answer{}, err
	}
	link := a.Files.Link(c.client.Key, in.id, files.LastingLife)
	el, err := in.upload.Element(in.body, link)
	if err != nil {
		return web.Answer{}, err
	}
	return key.Update(c.ctx(), 0, func(tx *store.Tx) (web.Answer, error) {
		settled, orphaned = false, false
		res, err := a.appendFile(tx, c, in, el)
		if err != nil {
			return web.Answer{}, err
		}
		settled = true
		if orphaned = res.Outcome.Orphaned; orphaned {
			return web.Answer{Status: http.StatusServiceUnavailable}, nil // stored, not remembered
		}
		e := userEntry(res)
		return web.JSON(http.StatusOK, map[string]any{"message_id": e.ID, "message_body": in.body, "created_at": stamp(e.At), "message_type": e.MessageType, "file_url": link}), nil
	})
}

func (a *API) appendFile(tx *store.Tx, c *clientCall, in *fileInput, el hsl.Element) (*conversation.Result, error) {
	res, err := a.Intake.Append(tx, intake.Message{Client: c.client.Key, Business: in.business, AuthID: in.authID, Platform: tract.PlatformWebhook, Body: el.Body(), Type: in.upload.MessageType,
		Check: func(tx *store.Tx, version int64) error { return a.still(tx, c, version) }})
	if err != nil {
		return nil, err
	}
	ok, err := tx.SettleFile(in.id, res.Thread.ID, userEntry(res).ID)
	if err == nil && !ok {
		err = files.ErrStorage.Because(errors.New("the upload was given up before its message came"))
	}
	return res, err
}

// readFileForm reads the parts as they come. The form is to be closed even if
// there is an error.
func (a *API) readFileForm(r *http.Request) (*fileForm, error) {
	form := &fileForm{fields: map[string]string{}}
	if r.ContentLength > maxFileForm {
		return form, web.ErrTooLarge.With("the body is larger than %d MiB", maxFileForm>>20)
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case kind != "multipart/form-data":
		return form, web.ErrUnsupported.With("Content-Type must be multipart/form-data")
	case err != nil || params["boundary"] == "":
		return form, tract.Invalid(codeFileForm, "the Content-Type has no boundary")
	case r.Header.Get("Content-Encoding") != "" && !strings.EqualFold(r.Header.Get("Content-Encoding"), "identity"):
		return form, web.ErrUnsupported.With("Content-Encoding is not supported; send the body as it is")
	}
	parts := multipart.NewReader(http.MaxBytesReader(nil, r.Body, maxFileForm), params["boundary"])
	for n := 0; ; n++ {
		p, err := parts.NextPart()
		if err == io.EOF {
			return form, nil
		}
		if err != nil {
			return form, fileFormError(err)
		}
		if n == maxFileParts {
			return form, tract.Invalid(codeFileForm, "the form has more than %d parts", maxFileParts)
		}
		if err := a.readPart(form, p); err != nil {
			return form, err
		}
	}
}

func (a *API) readPart(form *fileForm, p *multipart.Part) (err error) {
	name := p.FormName()
	if p.FileName() != "" || name == "file" {
		switch {
		case name != "file":
			return tract.Invalid(codeFileForm, "files are taken in the part file only")
		case form.upload != nil:
			return tract.Invalid(codeFileForm, "the form has more than one part file")
		}
		form.upload, err = a.Files.Receive(p.FileName(), p)
		if err != nil && tract.KindOf(err) == tract.KindInternal {
			err = fileFormError(err)
		}
		return err
	}
	b, err := io.ReadAll(io.LimitReader(p, hsl.MaxBody+1))
	_, again := form.fields[name]
	switch {
	case err != nil:
		return fileFormError(err)
	case len(b) > hsl.MaxBody:
		return web.ErrTooLarge.With("field %.64q is larger than %d KiB", name, hsl.MaxBody>>10)
	case again:
		return tract.Invalid(codeFileForm, "field %.64q is given more than once", name)
	case !utf8.Valid(b) || strings.ContainsRune(string(b), 0):
		return badValue(strconv.Quote(fmt.Sprintf("%.64s", name)), "must be UTF-8 without NUL characters")
	}
	form.fields[name] = string(b)
	return nil
}

// fileFormError is what the caller is told when a form cannot be read on.
func fileFormError(err error) error {
	if _, large := errors.AsType[*http.MaxBytesError](err); large || errors.Is(err, os.ErrDeadlineExceeded) {
		return web.BodyError(err)
	}
	return tract.Invalid(codeFileForm, "the form is malformed or did not arrive whole").Because(err)
}

// drainFile reads on after a refusal: a caller that is still sending would see a
// broken connection instead of the answer. One that waits for leave to send
// does not get it.
func drainFile(r *http.Request) {
	if r.ContentLength <= maxFileForm+maxFileDrain && !(r.ContentLength > maxFileForm && r.Header.Get("Expect") != "") {
		_, _ = io.CopyN(io.Discard, r.Body, maxFileDrain)
	}
}

// fileInput is a form that makes sense.
type fileInput struct {
	authID   string
	business int64
	body     string
	upload   *files.Upload
	id       string // once reserved
}

func (f *fileForm) read() (*fileInput, error) {
	in := &fileInput{authID: f.fields["auth_id"], body: f.fields["message_body"], upload: f.upload}
	for _, name := range []string{"auth_id", "business_id", "message_type"} {
		if f.fields[name] == "" {
			return nil, missing(name)
		}
	}
	if f.upload == nil {
		return nil, missing("file")
	}
	if err := intake.CheckAuthID(in.authID); err != nil {
		return nil, err
	}
	var err error
	if in.business, err = strconv.ParseInt(f.fields["business_id"], 10, 64); err != nil {
		return nil, intake.ErrInvalidBusiness
	}
	kind := map[string]int{strconv.Itoa(tract.TypeImage): tract.TypeImage, strconv.Itoa(tract.TypeDocument): tract.TypeDocument}[f.fields["message_type"]]
	if kind == 0 {
		return nil, tract.Invalid("message_type", "field message_type must be %d (image) or %d (document)", tract.TypeImage, tract.TypeDocument)
	}
	return in, f.upload.Check(kind)
}

// digest stands for the body under an Idempotency-Key: boundaries and the order
// of the parts may differ.
func (in *fileInput) digest() []byte {
	b, _ := json.Marshal([]any{in.authID, in.business, in.upload.MessageType, in.body, in.upload.Name, in.upload.Digest}) // strings and numbers
	return b
}

// fileDownloadTime is how long giving a file out may take.
const fileDownloadTime = 2 * time.Minute

// file gives out what a link leads to.
func (a *API) file(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
	stop, err := web.Extend(w, fileDownloadTime)
	if err != nil {
		return web.Answer{}, err
	}
	defer stop()
	ctx, cancel := context.WithTimeout(r.Context(), fileDownloadTime)
	defer cancel()
	f, err := a.Files.Open(ctx, r.PathValue("id"), r.URL.Query().Get("t"))
	if err != nil {
		return web.Answer{}, err
	}
	defer f.Content.Close()
	h := w.Header()
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin") // the widget shows images on others' pages
	h.Set("Referrer-Policy", "no-referrer")
	if !oneRange(r.Header.Get("Range"), f.Size) {
		h.Set("Content-Range", fmt.Sprintf("bytes */%d", f.Size))
		return web.JSON(http.StatusRequestedRangeNotSatisfiable, map[string]any{"error": "not one range of bytes of this file", "code": "range", "request_id": web.RequestID(r.Context())}), nil
	}
	h.Set("Content-Type", f.MediaType)
	h.Set("Content-Disposition", disposition(f.File))
	h.Set("ETag", `"`+f.Digest+`"`)
	http.ServeContent(w, r, "", f.CreatedAt, f.Content)
	return web.Answer{}, nil
}

func disposition(f store.File) string {
	kind := "attachment"
	if f.Inline {
		kind = "inline"
	}
	if d := mime.FormatMediaType(kind, map[string]string{"filename": f.Name}); d != "" {
		return d
	}
	return kind
}

// oneRange says whether a Range header asks for one part of a file, or for no
// part. net/http would also answer many at once.
func oneRange(header string, size int64) bool {
	if header == "" {
		return true
	}
	spec, ok := strings.CutPrefix(header, "bytes=")
	from, to, dash := strings.Cut(spec, "-")
	if !ok || !dash {
		return false
	}
	first, err := strconv.ParseUint(from, 10, 63)
	if from == "" {
		last, err := strconv.ParseUint(to, 10, 63) // so many from the end
		return err == nil && last > 0
	}
	if err != nil || to == "" {
		return err == nil && int64(first) < size
	}
	last, err := strconv.ParseUint(to, 10, 63)
	return err == nil && first <= last && int64(first) < size
}
