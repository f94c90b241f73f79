package api

import (
	"fmt"
	"net/http"
	"strconv"

	"tract"
	"tract/internal/bot"
	"tract/internal/store"
	"tract/internal/web"
)

// botOf reads whose questions a call is about.
func (a *API) botOf(r *http.Request) (p modelPath, err error) {
	err = a.Store.View(r.Context(), func(tx *store.Tx) error { p, err = modelsOf(tx, r); return err })
	return p, err
}

// listUnanswered gives the questions that a bot had no sure answer to, grouped.
func (a *API) listUnanswered(_ http.ResponseWriter, r *http.Request) (web.Answer, error) {
	p, err := a.botOf(r)
	if err != nil {
		return web.Answer{}, err
	}
	limit, err := web.Limit(r, defaultPage, maxPage)
	if err != nil {
		return web.Answer{}, err
	}
	cursor, given, err := web.Query(r, "cursor")
	if err != nil {
		return web.Answer{}, err
	}
	count, id, scope := 0, tract.MessageID(0), "unanswered/"+p.client.ID+"/"+p.domain
	if given {
		at, err := web.DecodeCursor(a.CursorKey, scope, cursor)
		if err != nil {
			return web.Answer{}, err
		}
		if _, err := fmt.Sscanf(at, "%d %d", &count, &id); err != nil {
			return web.Answer{}, tract.Invalid("invalid_cursor", "cursor is not one that this list gave")
		}
	}
	page, clusters, questions, err := a.Bot.ListUnanswered(r.Context(), p.client.Key, p.domain, count, id, limit+1) // one more says whether there is a next page
	if err != nil {
		return web.Answer{}, err
	}
	page, next := cut(a, scope, page, limit, func(g bot.Cluster) string { return fmt.Sprintf("%d %d", g.Count, g.ID) })
	out := make([]map[string]any, len(page))
	for i := range page {
		out[i] = unansweredJSON(&page[i])
	}
	return web.JSON(http.StatusOK, map[string]any{"unanswered": out, "clusters": clusters, "questions": questions, "next_cursor": next}), nil
}

func unansweredJSON(c *bot.Cluster) map[string]any {
	chosen, examples, nearest := []map[string]any{}, []map[string]any{}, []map[string]any{}
	for _, n := range c.Chosen {
		chosen = append(chosen, map[string]any{"step": n.Step, "count": n.Count})
	}
	for _, w := range c.Wordings {
		examples = append(examples, map[string]any{"id": w.ID, "question": w.Question, "count": w.Count})
	}
	for _, n := range c.Nearest {
		nearest = append(nearest, map[string]any{"step": n.Step, "confidence": n.Confidence})
	}
	did := map[string]int{}
	for _, d := range []string{store.DidSuggest, store.DidBreak, store.DidHandOver} {
		did[d] = c.Did[d]
	}
	return map[string]any{"id": c.ID, "question": c.Question, "count": c.Count, "first_seen_at": stamp(c.FirstAt), "last_seen_at": stamp(c.LastAt),
		"did": did, "chosen": chosen, "examples": examples, "nearest_steps": nearest}
}

// mostOnly bounds the questions that a resolution may name.
const mostOnly = 100

// resolveUnanswered makes a group of questions part of a step, or drops it.
func (a *API) resolveUnanswered(c *adminCall) (web.Answer, error) {
	r := c.r
	p, err := a.botOf(r)
	if err != nil {
		return web.Answer{}, err
	}
	var in struct {
		AddToStep string `json:"add_to_step"`
		NewStep   *struct {
			Name    string   `json:"name"`
			Answers []string `json:"answers"`
		} `json:"new_step"`
		Dismiss   bool              `json:"dismiss"`
		Questions []tract.MessageID `json:"questions"`
	}
	body, err := web.ReadJSON(r, web.MaxBody, &in)
	if err != nil {
		return web.Answer{}, err
	}
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return web.Answer{}, store.ErrNotFound.With("no such question")
	}
	res := bot.Resolution{AddTo: in.AddToStep, Dismiss: in.Dismiss, Only: in.Questions}
	ways := 0
	for _, given := range []bool{in.AddToStep != "", in.NewStep != nil, in.Dismiss} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return web.Answer{}, tract.Invalid("field_value", "one of add_to_step, new_step and dismiss must be given")
	case len(in.Questions) > mostOnly:
		return web.Answer{}, badValue("questions", "holds more than %d ids", mostOnly)
	case in.NewStep != nil:
		res.New = &tract.Step{Name: in.NewStep.Name, Answers: in.NewStep.Answers}
	}
	key, err := a.Idempotency.Key(r, body, "admin", p.client.ID, "unanswered/"+p.domain+"/"+r.PathValue("id"))
	if err != nil {
		return web.Answer{}, err
	}
	apply, err := a.Bot.Resolve(r.Context(), p.client.Key, p.domain, tract.MessageID(id), res)
	if err != nil {
		return web.Answer{}, err
	}
	return key.Update(r.Context(), 0, func(tx *store.Tx) (web.Answer, error) {
		done, err := apply(tx)
		if err != nil {
			return web.Answer{}, err
		}
		var step any
		if done.Step != "" {
			step = done.Step
		}
		return web.JSON(http.StatusOK, map[string]any{"removed": done.Removed, "added": done.Added, "step": step, "version": done.Version}),
			tx.InsertAudit(p.client.Key, c.actor, "unanswered_resolved", p.domain, map[string]any{"question": id, "removed": done.Removed, "added": done.Added, "step": done.Step})
	})
}
