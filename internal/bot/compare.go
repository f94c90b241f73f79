package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"slices"

	"tract"
	"tract/internal/bot/nlu"
	"tract/internal/store"
)

// errUnusable refuses a version that cannot be made active or compared.
var errUnusable = &tract.Error{Kind: tract.KindConflict, Code: "version_unusable", Msg: "this version is not ready"}

// usable says why a version cannot be used.
func usable(v store.Model) error {
	switch {
	case v.State == store.ModelFailed:
		return errUnusable.With("version %d could not be trained", v.Number)
	case v.State != store.ModelReady:
		return errUnusable.With("version %d is still being trained", v.Number)
	}
	return nil
}

// Active is the version that a bot answers from; zero when there is none.
func Active(tx *store.Tx, client int64, domain string) (store.Model, error) {
	cfg, err := tx.Config(client)
	if err != nil || cfg.Bots[domain] == nil {
		return store.Model{}, err
	}
	language := cfg.Bots[domain].Language
	return tx.ActiveModel(client, domain, language, nlu.Trainer(language))
}

// Activate queues a task that makes the steps of a version the bot's again; the
// model comes with them, without training. note is called in the transaction
// that queues it. A version whose steps are the present ones is active already:
// then there is no task.
func (im *Importer) Activate(ctx context.Context, client int64, domain string, version int64, note func(tx *store.Tx, task string) error) (task string, err error) {
	var v, now store.Model
	if err := im.Store.View(ctx, func(tx *store.Tx) (err error) {
		if v, err = tx.Model(client, domain, version); err != nil {
			return err
		}
		now, err = Active(tx, client, domain)
		return err
	}); err != nil {
		return "", err
	}
	if err := usable(v); err != nil {
		return "", err
	}
	steps, err := loadSteps(ctx, im.Store, v)
	switch {
	case err != nil:
		return "", err
	case now.ID == v.ID:
		return "", nil
	case len(steps) == 0:
		return "", errUnusable.With("version %d has no steps", v.Number)
	}
	f, err := im.temporary()
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := WriteCSV(f, func(fn func(tract.Step) error) error {
		for _, s := range steps {
			if err := fn(s); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return "", errDisk.Because(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", errDisk.Because(err)
	}
	up, err := im.keep(ctx, store.Task{Client: client, Domain: domain, Hash: v.Hash, By: "admin", Restores: v.Number}, f)
	if err != nil {
		return "", err
	}
	if err := im.Store.Update(ctx, func(tx *store.Tx) error {
		if err := im.Queue(tx, up); err != nil {
			return err
		}
		return note(tx, up.ID)
	}); err != nil {
		return "", err // whether it was queued may be unknown; what was not goes after a while
	}
	im.Wake()
	return up.ID, nil
}

// Bounds of a comparison.
const (
	maxAsked   = 5000
	maxChanged = 100
	maxNames   = 500
)

// Comparison is what changes from one version of a bot to another.
type Comparison struct {
	From Side `json:"from"`
	To   Side `json:"to"`
	// Steps that are only in the second version, only in the first, and in both
	// with other questions or answers; each list shows the first 500.
	Added   Names `json:"steps_added"`
	Removed Names `json:"steps_removed"`
	Changed Names `json:"steps_changed"`
	// The user messages of both versions were asked of both, at most 5,000.
	Messages      int      `json:"messages"`
	Asked         int      `json:"messages_asked"`
	AnswerChanges int      `json:"answer_changes"`
	Answers       []Change `json:"answers"` // the first 100 of those that changed
}

// Names are steps, counted, and the first of them.
type Names struct {
	Count int      `json:"count"`
	Names []string `json:"names"`
}

func (n *Names) add(name string) {
	if n.Count++; len(n.Names) < maxNames {
		n.Names = append(n.Names, name)
	}
}

// Side is one of two versions.
type Side struct {
	Version int64           `json:"version"`
	Steps   int             `json:"steps"`
	Report  json.RawMessage `json:"report"` // null = there is none yet
}

// Change is a user message that is answered otherwise.
type Change struct {
	Message string  `json:"message"`
	From    Replied `json:"from"`
	To      Replied `json:"to"`
}

// Replied is how a version answers a message.
type Replied struct {
	Step       *string  `json:"step"` // null = it does not answer
	Confidence float64  `json:"confidence"`
	Answers    []string `json:"answers"`
}

// compared is a version to be asked.
type compared struct {
	steps   []tract.Step
	at      map[string]int // a step's place, by its key
	matcher *nlu.Model
}

// Compare says what changes from one version of a bot to another. It takes some
// seconds for large bots.
func Compare(ctx context.Context, s *store.Store, client int64, domain string, from, to int64) (Comparison, error) {
	versions := [2]store.Model{}
	threshold := tract.DefaultThreshold
	if err := s.View(ctx, func(tx *store.Tx) error {
		for i, number := range []int64{from, to} {
			v, err := tx.Model(client, domain, number)
			if err == nil {
				err = usable(v)
			}
			if err != nil {
				return err
			}
			versions[i] = v
		}
		cfg, err := tx.Config(client)
		if err == nil && cfg.Bots[domain] != nil {
			threshold = cmp.Or(cfg.Bots[domain].Threshold, tract.DefaultThreshold)
		}
		return err
	}); err != nil {
		return Comparison{}, err
	}
	var sides [2]compared
	for i, v := range versions {
		steps, err := loadSteps(ctx, s, v)
		if err != nil {
			return Comparison{}, err
		}
		sides[i] = compared{steps: steps, at: map[string]int{}}
		for at, step := range steps {
			sides[i].at[store.StepKey(step.Name)] = at
		}
		if v.ModelFile != 0 {
			if sides[i].matcher, err = loadMatcher(ctx, s, v.ModelFile); err != nil {
				return Comparison{}, err
			}
		}
	}
	c := Comparison{From: side(versions[0]), To: side(versions[1]), Answers: []Change{}, Added: Names{Names: []string{}}, Removed: Names{Names: []string{}}, Changed: Names{Names: []string{}}}
	c.compareSteps(sides[0], sides[1])
	return c, c.ask(ctx, sides[0], sides[1], threshold)
}

func side(v store.Model) Side {
	s := Side{Version: v.Number, Steps: v.Steps, Report: v.Report}
	if s.Report == nil {
		s.Report = json.RawMessage(noReport)
	}
	return s
}

func (c *Comparison) compareSteps(from, to compared) {
	for _, s := range from.steps {
		at, ok := to.at[store.StepKey(s.Name)]
		switch {
		case !ok:
			c.Removed.add(s.Name)
		case !slices.Equal(s.Questions, to.steps[at].Questions) || !slices.Equal(s.Answers, to.steps[at].Answers):
			c.Changed.add(s.Name)
		}
	}
	for _, s := range to.steps {
		if _, ok := from.at[store.StepKey(s.Name)]; !ok {
			c.Added.add(s.Name)
		}
	}
}

// ask asks both versions the user messages of both, of very many every n-th.
func (c *Comparison) ask(ctx context.Context, from, to compared, threshold float64) error {
	var messages []string
	known := map[string]bool{}
	for _, side := range []compared{from, to} {
		for _, s := range side.steps {
			for _, q := range s.Questions {
				if !known[q] {
					known[q] = true
					messages = append(messages, q)
				}
			}
		}
	}
	c.Messages = len(messages)
	every := max(1, (len(messages)+maxAsked-1)/maxAsked)
	for i := 0; i < len(messages); i += every {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.Asked++
		a, b := from.reply(messages[i], threshold), to.reply(messages[i], threshold)
		if (a.Step == nil) == (b.Step == nil) && slices.Equal(a.Answers, b.Answers) {
			continue
		}
		if c.AnswerChanges++; len(c.Answers) < maxChanged {
			c.Answers = append(c.Answers, Change{messages[i], a, b})
		}
	}
	return nil
}

func (v compared) reply(message string, threshold float64) Replied {
	r := Replied{Answers: []string{}}
	if v.matcher == nil {
		return r
	}
	m := v.matcher.Match(message)
	r.Confidence = readable(m.Confidence)
	if len(m.Candidates) == 0 || m.Confidence < threshold {
		return r
	}
	step := v.steps[m.Candidates[0].Step]
	r.Step, r.Answers = &step.Name, step.Answers
	return r
}
