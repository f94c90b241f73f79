package api

import (
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"tract"
	"tract/internal/bot"
	"tract/internal/store"
	"tract/internal/web"
)

// Errors of the FAQ endpoints, with the documented texts.
var (
	errFAQToken  = &tract.Error{Kind: tract.KindUnauthorized, Code: "invalid_token", Msg: "Unauthorized Access or invalid token"}
	errFAQScope  = &tract.Error{Kind: tract.KindForbidden, Code: "scope_missing", Msg: "Access Forbidden"}
	errFAQDomain = tract.Invalid("invalid_domain", "invalid domain")
	errForm      = tract.Invalid("multipart", "the form is malformed or did not arrive whole; send multipart/form-data")
)

// Limits of an upload.
const (
	maxForm     = bot.MaxCSVBytes + 1<<20 // with what stands around the file
	maxParts    = 20
	maxField    = 256
	formPace    = time.Minute // for each formStretch of an upload
	formStretch = 4 << 20
	mostNames   = 500 // restored at once
)

// faqDone is the status of a task that went well.
const faqDone = "all steps have been created successfully"

// faqReply is the shape of every good answer here.
func faqReply(ok bool, body any, text string, meta any) web.Answer {
	return web.JSON(http.StatusOK, map[string]any{"success": ok, "body": body, "error": text, "meta": meta})
}

// faq proves the caller of an FAQ endpoint.
func (a *API) faq(h func(*clientCall) (web.Answer, error)) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
		token, ok := bearerOf(r)
		ids := r.Header.Values("client-id")
		if !ok || len(ids) != 1 {
			return web.Answer{}, errFAQToken
		}
		call, err := a.Auth.VerifyClient(r.Context(), ids[0], token, tract.ScopeFAQ)
		switch {
		case err != nil:
			return web.Answer{}, err
		case !call.Token:
			return web.Answer{}, errFAQToken
		case !call.Scope:
			return web.Answer{}, errFAQScope
		}
		if err := a.limit(w, call.Client, token); err != nil {
			return web.Answer{}, err
		}
		return h(&clientCall{w, r, call.Client, call, errFAQToken})
	}
}

// createFAQ takes a file in and answers once it is stored; the rest is a task.
func (a *API) createFAQ(c *clientCall) (web.Answer, error) {
	form, err := a.readFAQForm(c)
	if err != nil {
		return web.Answer{}, err
	}
	defer form.file.Close()
	if err := a.Store.View(c.ctx(), func(tx *store.Tx) error { return a.checkDomain(tx, c.client, form.domain) }); err != nil {
		return web.Answer{}, err
	}
	if err := form.file.CheckHead(); err != nil {
		return web.Answer{}, err
	}
	sent := strings.Join([]string{form.domain, strconv.FormatBool(form.dryRun), form.file.Hash()}, "\n")
	key, err := a.Idempotency.Key(c.r, []byte(sent), "client", c.client.ID, "faq/create")
	if err != nil {
		return web.Answer{}, err
	}
	up, err := a.Imports.Keep(c.ctx(), c.client.Key, form.domain, form.dryRun, form.file)
	if err != nil {
		return web.Answer{}, err
	}
	out, err := key.Update(c.ctx(), 0, func(tx *store.Tx) (web.Answer, error) {
		if err := a.Imports.Queue(tx, up); err != nil {
			return web.Answer{}, err
		}
		return faqReply(true, map[string]any{"task_id": up.ID}, "", map[string]any{}), tx.InsertAudit(c.client.Key, "client", "faq_uploaded", form.domain, map[string]any{"task": up.ID, "sha256": form.file.Hash(), "dry_run": form.dryRun})
	})
	if err != nil {
		// Whether it was queued may be unknown; what was not goes after a while.
		return web.Answer{}, err
	}
	if !strings.Contains(string(out.Body), up.ID) { // the answer to an earlier call with this key
		a.Imports.Discard(c.ctx(), up)
	}
	a.Imports.Wake()
	return out, nil
}

func (a *API) checkDomain(tx *store.Tx, client tract.Client, domain string) error {
	cfg, err := a.Conversation.Config(tx, client.Key)
	if err == nil && cfg.Bots[domain] == nil {
		err = errFAQDomain
	}
	return err
}

// faqForm is an upload, read to its end.
type faqForm struct {
	domain string
	dryRun bool
	file   *bot.Spool
}

func (a *API) readFAQForm(c *clientCall) (form faqForm, err error) {
	if c.r.ContentLength > maxForm {
		return form, bot.ErrCSVTooLarge
	}
	body := &paced{w: c.w, body: http.MaxBytesReader(c.w, c.r.Body, maxForm)}
	defer body.end()
	c.r.Body = body
	parts, err := c.r.MultipartReader()
	if err != nil {
		return form, errForm
	}
	fields := map[string]string{"dry_run": c.r.URL.Query().Get("dry_run")}
	if err = a.readParts(parts, fields, &form); err == nil {
		err = form.fill(fields)
	} else {
		err = formError(err)
	}
	if err != nil && form.file != nil {
		form.file.Close()
	}
	return form, err
}

func (a *API) readParts(parts *multipart.Reader, fields map[string]string, form *faqForm) error {
	for n := 0; ; n++ {
		p, err := parts.NextPart()
		if errors.Is(err, io.EOF) && n > 0 { // without a part the boundary was another
			return nil
		}
		if err != nil {
			return err
		}
		name := p.FormName()
		if n == maxParts {
			return errForm.With("the form has more than %d parts", maxParts)
		}
		switch name {
		case "csv_file":
			if form.file != nil {
				return errForm.With("csv_file is there twice")
			}
			if form.file, err = a.Imports.Spool(p); err != nil {
				return err
			}
		case "domain_name", "dry_run":
			b, err := io.ReadAll(io.LimitReader(p, maxField+1))
			if err != nil {
				return err
			}
			if len(b) > maxField {
				return badValue(name, "is longer than %d bytes", maxField)
			}
			fields[name] = string(b)
		}
	}
}

func (f *faqForm) fill(fields map[string]string) error {
	f.domain = fields["domain_name"]
	switch {
	case f.domain == "":
		return missing("domain_name")
	case f.file == nil:
		return missing("csv_file")
	}
	switch fields["dry_run"] {
	case "true":
		f.dryRun = true
	case "", "false":
	default:
		return badValue("dry_run", "must be true or false")
	}
	return nil
}

// formError makes an error of reading the form one for the caller.
func formError(err error) error {
	if _, ours := errors.AsType[*tract.Error](err); ours {
		return err
	}
	if _, big := errors.AsType[*http.MaxBytesError](err); big {
		return bot.ErrCSVTooLarge
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return web.BodyError(err)
	}
	return errForm.Because(err)
}

// paced reads a body for as long as it comes: each stretch has a time of its own.
type paced struct {
	w    http.ResponseWriter
	body io.ReadCloser
	stop func()
	left int64
}

// Read reads on.
func (p *paced) Read(b []byte) (int, error) {
	if p.left <= 0 {
		p.end()
		stop, err := web.Extend(p.w, formPace)
		if err != nil {
			return 0, err
		}
		p.stop, p.left = stop, formStretch
	}
	n, err := p.body.Read(b)
	p.left -= int64(n)
	return n, err
}

// Close closes the body.
func (p *paced) Close() error { return p.body.Close() }

func (p *paced) end() {
	if p.stop != nil {
		p.stop()
	}
}

// faqStatus says how far a task is.
func (a *API) faqStatus(c *clientCall) (web.Answer, error) {
	var t store.Task
	var model any
	if err := a.Store.View(c.ctx(), func(tx *store.Tx) (err error) {
		if t, err = tx.Task(c.client.Key, c.r.PathValue("task_id")); err == nil {
			model, err = modelHeadline(tx, t)
		}
		return err
	}); err != nil {
		return web.Answer{}, err
	}
	status := "In Progress"
	switch t.State {
	case store.TaskDone:
		status = faqDone
	case store.TaskFailed:
		status = t.Error
	}
	warnings := t.Warnings
	if warnings == nil {
		warnings = []string{}
	}
	meta := map[string]any{"rows_total": t.Total, "rows_done": t.Done, "created": t.Created, "updated": t.Updated, "deactivated": t.Deactivated, "warnings": warnings}
	if t.DryRun {
		meta["dry_run"] = true
	}
	if model != nil {
		meta["model"] = model
	}
	return faqReply(t.State != store.TaskFailed, map[string]any{"status": status}, t.Error, meta), nil
}

// exportFAQ gives a bot's steps as a file that can be uploaded again.
func (a *API) exportFAQ(c *clientCall) (web.Answer, error) {
	domain, _, err := web.Query(c.r, "domain_name")
	if err != nil {
		return web.Answer{}, err
	}
	which, _, err := web.Query(c.r, "active")
	switch {
	case err != nil:
		return web.Answer{}, err
	case domain == "":
		return web.Answer{}, missing("domain_name")
	case which != "" && which != "true" && which != "false":
		return web.Answer{}, badValue("active", "must be true or false")
	}
	f, size, err := a.Imports.Export(c.ctx(), func(tx *store.Tx, fn func(tract.Step) error) error {
		if err := a.checkDomain(tx, c.client, domain); err != nil {
			return err
		}
		return tx.EachStep(c.client.Key, domain, which != "false", fn)
	})
	if err != nil {
		return web.Answer{}, err
	}
	defer f.Close()
	stop, err := web.Extend(c.w, formPace)
	if err != nil {
		return web.Answer{}, err
	}
	defer stop()
	h := c.w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="faq.csv"`)
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	c.w.WriteHeader(http.StatusOK)
	_, _ = io.Copy(c.w, f) // the caller has left: nothing to be done
	return web.Answer{}, nil
}

// restoreFAQ makes inactive steps active again: all that are named, or none.
func (a *API) restoreFAQ(c *clientCall) (web.Answer, error) {
	var in struct {
		DomainName string   `json:"domain_name"`
		NodeNames  []string `json:"node_names"`
	}
	body, err := web.ReadJSON(c.r, web.MaxBody, &in)
	if err != nil {
		return web.Answer{}, err
	}
	switch {
	case in.DomainName == "":
		return web.Answer{}, missing("domain_name")
	case len(in.NodeNames) == 0:
		return web.Answer{}, missing("node_names")
	case len(in.NodeNames) > mostNames:
		return web.Answer{}, badValue("node_names", "holds more than %d names", mostNames)
	}
	return a.once(c, "faq/restore", body, func(tx *store.Tx) (web.Answer, error) {
		if err := a.checkDomain(tx, c.client, in.DomainName); err != nil {
			return web.Answer{}, err
		}
		n, unknown, tooMany, err := tx.RestoreSteps(c.client.Key, in.DomainName, in.NodeNames, bot.MaxCSVRows)
		switch {
		case err != nil:
			return web.Answer{}, err
		case len(unknown) > 0:
			return web.Answer{}, tract.Invalid("unknown_step", "%d of the steps do not exist; the first is %.64q", len(unknown), unknown[0])
		case tooMany:
			return web.Answer{}, tract.Invalid("too_many_steps", "the bot would have more than %d steps", bot.MaxCSVRows)
		}
		return faqReply(true, map[string]any{"restored": n}, "", map[string]any{}), tx.InsertAudit(c.client.Key, "client", "faq_restored", in.DomainName, map[string]any{"steps": n})
	})
}
