package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"tract"
	"tract/internal/bot"
	"tract/internal/store"
	"tract/internal/web"
)

// Figures of the calls: an activation is waited for before it is answered that
// it goes on.
const (
	activateWait = 10 * time.Second
	activateLook = 25 * time.Millisecond

	compareWithin = 2 * time.Minute
)

// modelPath is whose models a call is about.
type modelPath struct {
	client tract.Client
	domain string
}

// modelsOf finds the bot that a path names.
func modelsOf(tx *store.Tx, r *http.Request) (p modelPath, err error) {
	if p.client, err = tx.Client(r.PathValue("client")); err != nil {
		return p, err
	}
	cfg, err := tx.Config(p.client.Key)
	if p.domain = r.PathValue("domain"); err == nil && cfg.Bots[p.domain] == nil {
		err = store.ErrNotFound.With("no bot %.64q", p.domain)
	}
	return p, err
}

// version reads a version's number.
func version(name, text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, tract.Invalid("invalid_parameter", "%s must be the number of a version", name)
	}
	return n, nil
}

// modelView is a version as answers show it.
type modelView struct {
	Version      int64           `json:"version"`
	State        string          `json:"state"`
	Active       bool            `json:"active"`
	Language     string          `json:"language"`
	FAQVersion   int64           `json:"faq_version"`
	Steps        int             `json:"steps"`
	ChangedBy    string          `json:"changed_by"`
	RestoredFrom any             `json:"restored_from"`
	Error        string          `json:"error"`
	TrainMS      int64           `json:"train_ms"`
	CreatedAt    string          `json:"created_at"`
	ReadyAt      any             `json:"ready_at"`
	Report       json.RawMessage `json:"report,omitempty"`
}

func viewModel(m, active store.Model) modelView {
	v := modelView{Version: m.Number, State: m.State, Active: m.ID == active.ID, Language: m.Language, FAQVersion: m.FAQVersion, Steps: m.Steps, ChangedBy: m.ChangedBy,
		Error: m.Error, TrainMS: m.TrainMS, CreatedAt: stamp(m.CreatedAt), ReadyAt: stampOrNil(m.ReadyAt)}
	if m.RestoredFrom != 0 {
		v.RestoredFrom = m.RestoredFrom
	}
	return v
}

// listModels shows the versions of a bot's model that are kept.
func (a *API) listModels(_ http.ResponseWriter, r *http.Request) (web.Answer, error) {
	views := []modelView{}
	err := a.Store.View(r.Context(), func(tx *store.Tx) error {
		p, err := modelsOf(tx, r)
		if err != nil {
			return err
		}
		active, err := bot.Active(tx, p.client.Key, p.domain)
		if err != nil {
			return err
		}
		all, err := tx.ListModels(p.client.Key, p.domain)
		views = views[:0]
		for _, m := range all {
			views = append(views, viewModel(m, active))
		}
		return err
	})
	return web.JSON(http.StatusOK, map[string]any{"models": views}), err
}

// showModel shows one version with its report.
func (a *API) showModel(_ http.ResponseWriter, r *http.Request) (web.Answer, error) {
	number, err := version("version", r.PathValue("version"))
	if err != nil {
		return web.Answer{}, err
	}
	var view modelView
	err = a.Store.View(r.Context(), func(tx *store.Tx) error {
		p, err := modelsOf(tx, r)
		if err != nil {
			return err
		}
		m, err := tx.Model(p.client.Key, p.domain, number)
		if err != nil {
			return err
		}
		active, err := bot.Active(tx, p.client.Key, p.domain)
		view = viewModel(m, active)
		if view.Report = m.Report; view.Report == nil {
			view.Report = json.RawMessage("null")
		}
		return err
	})
	return web.JSON(http.StatusOK, view), err
}

// compareModels says what changes from one version to another.
func (a *API) compareModels(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
	var numbers [2]int64
	for i, name := range []string{"from", "to"} {
		text, given, err := web.Query(r, name)
		if err == nil && !given {
			err = missing(name)
		}
		if err == nil {
			numbers[i], err = version(name, text)
		}
		if err != nil {
			return web.Answer{}, err
		}
	}
	var p modelPath
	if err := a.Store.View(r.Context(), func(tx *store.Tx) (err error) { p, err = modelsOf(tx, r); return err }); err != nil {
		return web.Answer{}, err
	}
	stop, err := web.Extend(w, compareWithin)
	if err != nil {
		return web.Answer{}, err
	}
	defer stop()
	c, err := bot.Compare(r.Context(), a.Store, p.client.Key, p.domain, numbers[0], numbers[1])
	return web.JSON(http.StatusOK, c), err
}

// activateModel brings the steps and the model of a version back, as a new
// version, and answers when the bot's next version is ready or after a while.
func (a *API) activateModel(_ http.ResponseWriter, r *http.Request) (web.Answer, error) {
	number, err := version("version", r.PathValue("version"))
	if err != nil {
		return web.Answer{}, err
	}
	var p modelPath
	if err := a.Store.View(r.Context(), func(tx *store.Tx) (err error) { p, err = modelsOf(tx, r); return err }); err != nil {
		return web.Answer{}, err
	}
	task, err := a.Imports.Activate(r.Context(), p.client.Key, p.domain, number, func(tx *store.Tx, task string) error {
		return tx.InsertAudit(p.client.Key, "admin", "model_activated", p.domain, map[string]any{"version": number, "task": task})
	})
	if err != nil {
		return web.Answer{}, err
	}
	if task == "" {
		return web.JSON(http.StatusOK, map[string]any{"state": "active", "version": number, "restored_from": number}), nil
	}
	made, err := a.awaitActive(r.Context(), p, task, number)
	switch {
	case err != nil:
		return web.Answer{}, err
	case made == 0:
		return web.JSON(http.StatusAccepted, map[string]any{"state": "in_progress", "version": nil, "restored_from": number}), nil
	}
	return web.JSON(http.StatusOK, map[string]any{"state": "active", "version": made, "restored_from": number}), nil
}

// errNotActivated is an activation that could not be brought to its end.
var errNotActivated = &tract.Error{Kind: tract.KindConflict, Code: "activation_failed", Msg: "the version could not be made active"}

// awaitActive waits for the version that a task brings; 0 when it takes long.
func (a *API) awaitActive(ctx context.Context, p modelPath, task string, from int64) (made int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, activateWait)
	defer cancel()
	tick := time.NewTicker(activateLook)
	defer tick.Stop()
	for {
		err := a.Store.View(ctx, func(tx *store.Tx) error {
			t, err := tx.Task(p.client.Key, task)
			if err != nil {
				return err
			}
			if t.State == store.TaskFailed {
				return errNotActivated.With("version %d could not be made active: %s", from, t.Error)
			}
			if t.State != store.TaskDone {
				return nil
			}
			m, err := bot.Active(tx, p.client.Key, p.domain)
			if err == nil && m.FAQVersion > t.BaseVersion && m.RestoredFrom == from {
				made = m.Number
			}
			return err
		})
		if ctx.Err() != nil {
			return 0, nil
		}
		if err != nil || made != 0 {
			return made, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, nil
		}
	}
}

// modelHeadline is what the status of an upload tells of the model made of it;
// nil until there is one.
func modelHeadline(tx *store.Tx, t store.Task) (any, error) {
	if t.State != store.TaskDone || t.DryRun {
		return nil, nil
	}
	all, err := tx.ListModels(t.Client, t.Domain)
	for _, m := range all {
		if err != nil || m.FAQVersion != t.BaseVersion+1 {
			continue
		}
		head := map[string]any{"version": m.Number, "state": m.State, "accuracy_random": nil, "accuracy_hard": nil}
		var report struct {
			Random struct {
				Accuracy *float64 `json:"in_scope_accuracy"`
			} `json:"random_folds"`
			Hard struct {
				Accuracy *float64 `json:"in_scope_accuracy"`
			} `json:"hard_folds"`
		}
		if m.Report != nil && json.Unmarshal(m.Report, &report) == nil {
			head["accuracy_random"], head["accuracy_hard"] = report.Random.Accuracy, report.Hard.Accuracy
		}
		return head, nil
	}
	return nil, err
}
