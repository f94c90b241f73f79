package bot

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
	"unicode"

	"tract"
	"tract/internal/bot/nlu"
	"tract/internal/hsl"
	"tract/internal/store"
)

// Cluster is questions of nearly the same meaning that a bot had no sure answer to.
type Cluster struct {
	ID              tract.MessageID // of the question asked first
	Question        string          // the one asked most often
	Count           int             // how often any was asked
	FirstAt, LastAt time.Time
	Did             map[string]int // how often the bot did what: store.DidSuggest and so on
	Chosen          []Counted      // steps that users picked when asked what they meant
	Wordings        []Wording      // the different questions, those asked most often first
	Nearest         []Near         // the likeliest steps; none while the bot has no model
	entries         []tract.MessageID
}

// Counted is a step with a number of times.
type Counted struct {
	Step  string
	Count int
}

// Wording is a question as it was asked, once or more often.
type Wording struct {
	ID       tract.MessageID // of the first one
	Question string
	Count    int
	key      string
	entries  []tract.MessageID
}

// Near is a step that a question may mean.
type Near struct {
	Step       string
	Confidence float64 // from 0 to 1
}

// mostWordings is how many wordings of a cluster are told, and learnt.
const mostWordings = 50

// Before says whether a cluster is listed before a position: the one asked more
// often, else the one asked first.
func (c *Cluster) Before(count int, id tract.MessageID) bool {
	return cmp.Or(cmp.Compare(count, c.Count), cmp.Compare(c.ID, id)) < 0
}

// ListUnanswered returns clusters of a bot's questions without a sure answer,
// the biggest first, behind the position of one that was returned (count 0 =
// from the start), and how many questions and clusters there are in all.
func (b *IVA) ListUnanswered(ctx context.Context, client int64, domain string, count int, id tract.MessageID, limit int) (page []Cluster, clusters, questions int, err error) {
	all, err := b.clusters(ctx, client, domain)
	if err != nil {
		return nil, 0, 0, err
	}
	for i := range all {
		questions += all[i].Count
	}
	from := 0
	if count > 0 {
		from, _ = slices.BinarySearchFunc(all, 0, func(c Cluster, _ int) int {
			if c.ID == id && c.Count == count || c.Before(count, id) {
				return -1
			}
			return 1
		})
	}
	page = all[from:min(from+limit, len(all))]
	m := b.models.now(key{client, domain})
	for i := range page {
		c := &page[i]
		c.Wordings = c.Wordings[:min(len(c.Wordings), mostWordings)]
		if m == nil {
			continue
		}
		_, _, guesses := m.match(c.Question)
		for _, g := range guesses {
			c.Nearest = append(c.Nearest, Near(g))
		}
	}
	return page, len(all), questions, nil
}

// clusters groups what is kept of a bot.
func (b *IVA) clusters(ctx context.Context, client int64, domain string) ([]Cluster, error) {
	var kept []store.Unanswered
	language := ""
	if err := b.Store.View(ctx, func(tx *store.Tx) error {
		cfg, err := b.Conversation.Config(tx, client)
		if err != nil {
			return err
		}
		bot := cfg.Bots[domain]
		if bot == nil {
			return store.ErrNotFound.With("no bot %q", domain)
		}
		language = bot.Language
		kept, err = tx.ListUnanswered(client, domain, mostUnanswered)
		return err
	}); err != nil {
		return nil, err
	}
	texts := make([]string, len(kept))
	for i := range kept {
		texts[i] = kept[i].Question
	}
	leader, err := nlu.Clusters(ctx, texts, language)
	if err != nil {
		return nil, err
	}
	var out []Cluster
	at := map[int]int{}
	for i := range kept {
		n, ok := at[leader[i]]
		if !ok {
			n, at[leader[i]] = len(out), len(out)
			out = append(out, Cluster{ID: kept[i].Entry, FirstAt: kept[i].At, Did: map[string]int{}})
		}
		out[n].add(&kept[i])
	}
	for i := range out {
		out[i].sum()
	}
	slices.SortFunc(out, func(a, b Cluster) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.ID, b.ID)) })
	return out, nil
}

func (c *Cluster) add(u *store.Unanswered) {
	c.Count++
	c.LastAt = u.At
	c.Did[u.Did]++
	c.entries = append(c.entries, u.Entry)
	if u.Chosen != "" {
		i := slices.IndexFunc(c.Chosen, func(n Counted) bool { return n.Step == u.Chosen })
		if i < 0 {
			i, c.Chosen = len(c.Chosen), append(c.Chosen, Counted{Step: u.Chosen})
		}
		c.Chosen[i].Count++
	}
	key := sameWords(u.Question)
	i := slices.IndexFunc(c.Wordings, func(w Wording) bool { return w.key == key })
	if i < 0 {
		i, c.Wordings = len(c.Wordings), append(c.Wordings, Wording{ID: u.Entry, Question: u.Question, key: key})
	}
	c.Wordings[i].Count++
	c.Wordings[i].entries = append(c.Wordings[i].entries, u.Entry)
}

// sameWords is equal for texts of the same words.
func sameWords(text string) string {
	if words := wordsOf(text); len(words) > 0 {
		return strings.Join(words, " ")
	}
	return store.StepKey(text)
}

// sum puts what was asked most often first.
func (c *Cluster) sum() {
	slices.SortStableFunc(c.Chosen, func(a, b Counted) int { return cmp.Compare(b.Count, a.Count) })
	slices.SortStableFunc(c.Wordings, func(a, b Wording) int { return cmp.Compare(b.Count, a.Count) })
	c.Question = c.Wordings[0].Question
}

// Resolution is what is to become of a cluster. One of the first three is set.
type Resolution struct {
	AddTo   string            // the questions become user messages of this step
	New     *tract.Step       // or of this new one, beside its own Questions
	Dismiss bool              // or they are only removed
	Only    []tract.MessageID // ids of wordings: no others; none = all
}

// Resolved is what became of a cluster.
type Resolved struct {
	Removed int    // questions that are not listed any more
	Added   int    // user messages that the step has got
	Step    string // its name; "" = none
	Version int64  // of the bot's steps
}

// Errors of Resolve.
var (
	ErrUnknownStep  = tract.Invalid("unknown_step", "the bot has no such step")
	ErrStepExists   = &tract.Error{Kind: tract.KindConflict, Code: "step_exists", Msg: "the bot has a step of that name"}
	ErrTooManySteps = tract.Invalid("too_many_steps", "the bot would have more than %d steps", MaxCSVRows)
	errGone         = store.ErrNotFound.With("no such question, or somebody else has dealt with it")
)

// Resolve finds the cluster that a question belongs to and gives what has to be
// done in a transaction; the model is trained once that is committed. What is
// not there fails within the transaction: it may be a call that is repeated.
func (b *IVA) Resolve(ctx context.Context, client int64, domain string, question tract.MessageID, r Resolution) (func(tx *store.Tx) (Resolved, error), error) {
	if r.New != nil {
		if err := checkStep(r.New); err != nil {
			return nil, err
		}
	}
	all, err := b.clusters(ctx, client, domain)
	if err != nil {
		return nil, err
	}
	texts, entries := chosenOf(all, question, r.Only)
	return func(tx *store.Tx) (out Resolved, err error) {
		removed, err := tx.DeleteUnanswered(client, domain, entries)
		if err == nil && removed == 0 {
			err = errGone
		}
		if err != nil {
			return out, err
		}
		out.Removed = int(removed)
		switch {
		case r.AddTo != "":
			err = addTo(tx, client, domain, r.AddTo, texts, &out)
		case r.New != nil:
			err = makeStep(tx, client, domain, *r.New, texts, &out)
		}
		if err == nil {
			out.Version, _, err = tx.FAQVersion(client, domain)
		}
		return out, err
	}, nil
}

// chosenOf finds the cluster that a question belongs to and gives the different
// questions of it, or those of them that are named, and all their entries.
func chosenOf(all []Cluster, question tract.MessageID, only []tract.MessageID) (texts []string, entries []tract.MessageID) {
	i := slices.IndexFunc(all, func(c Cluster) bool { return slices.Contains(c.entries, question) })
	if i < 0 {
		return nil, nil
	}
	for _, w := range all[i].Wordings {
		if len(only) > 0 && !slices.ContainsFunc(only, func(id tract.MessageID) bool { return slices.Contains(w.entries, id) }) {
			continue
		}
		entries = append(entries, w.entries...)
		if len(texts) < mostWordings {
			texts = append(texts, strings.TrimSpace(strings.ReplaceAll(w.Question, "|", "/"))) // the separator of an FAQ file
		}
	}
	return texts, entries
}

func addTo(tx *store.Tx, client int64, domain, name string, texts []string, out *Resolved) error {
	s, found, err := tx.LockStep(client, domain, name)
	if err != nil {
		return err
	}
	if !found {
		return ErrUnknownStep.With("the bot has no step %.200q", name)
	}
	questions := with(s.Questions, texts)
	out.Step, out.Added = s.Name, len(questions)-len(s.Questions)
	if out.Added == 0 {
		return nil
	}
	if err := checkQuestions(questions); err != nil {
		return err
	}
	return tx.SetQuestions(s, questions)
}

func makeStep(tx *store.Tx, client int64, domain string, s tract.Step, texts []string, out *Resolved) error {
	s.Questions = with(s.Questions, texts)
	out.Step, out.Added = s.Name, len(s.Questions)
	if err := checkQuestions(s.Questions); err != nil {
		return err
	}
	inserted, full, err := tx.InsertStep(client, domain, s, MaxCSVRows)
	switch {
	case err != nil:
		return err
	case full:
		return ErrTooManySteps
	case !inserted:
		return ErrStepExists
	}
	return nil
}

// with adds the texts that are not among the questions yet.
func with(questions, texts []string) []string {
	out, known := slices.Clone(questions), map[string]bool{}
	for _, q := range questions {
		known[sameWords(q)] = true
	}
	for _, t := range texts {
		if key := sameWords(t); !known[key] {
			known[key] = true
			out = append(out, t)
		}
	}
	return out
}

// checkQuestions keeps a step within what an FAQ file can hold.
func checkQuestions(questions []string) error {
	if len(strings.Join(questions, "|")) > maxFieldBytes {
		return tract.Invalid("field_value", "the step's user messages would be longer than %d bytes in all", maxFieldBytes)
	}
	return nil
}

// checkStep holds a step that somebody wrote to what an FAQ file may hold.
func checkStep(s *tract.Step) error {
	s.Name = strings.TrimSpace(s.Name)
	bad := func(format string, args ...any) error { return tract.Invalid("field_value", format, args...) }
	switch {
	case s.Name == "":
		return tract.Invalid("field_missing", "field new_step.name is missing")
	case len(s.Name) > maxNameBytes:
		return bad("field new_step.name is longer than %d bytes", maxNameBytes)
	case strings.ContainsFunc(s.Name, unicode.IsControl):
		return bad("field new_step.name holds a line break or another control character")
	case len(s.Answers) == 0:
		return tract.Invalid("field_missing", "field new_step.answers is missing")
	case len(s.Answers) > maxMessages:
		return bad("field new_step.answers holds more than %d responses", maxMessages)
	}
	for i, a := range s.Answers {
		a = strings.TrimSpace(a)
		s.Answers[i] = a
		if a == "" || len(a) > maxFieldBytes {
			return bad("field new_step.answers[%d] is empty or longer than %d bytes", i, maxFieldBytes)
		}
		if !meansObject(a) {
			if strings.Contains(a, separator) {
				return bad("field new_step.answers[%d] holds %s, which separates responses: send each as one", i, separator)
			}
			continue
		}
		if _, err := hsl.Parse([]byte(a)); err != nil {
			return bad("field new_step.answers[%d]: %s", i, strings.TrimPrefix(err.Error(), "message_body: "))
		}
	}
	if len(strings.Join(s.Answers, separator)) > maxFieldBytes {
		return bad("field new_step.answers is longer than %d bytes in all", maxFieldBytes)
	}
	return nil
}
