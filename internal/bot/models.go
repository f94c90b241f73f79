package bot

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"tract/internal/bot/nlu"
	"tract/internal/store"
)

// key names a bot.
type key struct {
	client int64
	domain string
}

// edition is what a model is made of; the zero edition is a bot without steps.
type edition struct {
	version  int64 // of the steps
	language string
}

// model is what a bot answers from at one edition of its steps. It never
// changes once it is made.
type model struct {
	edition
	matcher *nlu.Model // nil when there is nothing to match
	steps   []answers
	stepOf  map[string]string // step by the template of a response
}

// answers are a step's responses, as messages.
type answers struct {
	name   string
	asked  string // its first user message
	bodies []string
}

// byName finds a step; false when there is none.
func (m *model) byName(name string) (*answers, bool) {
	return m.find(func(a *answers) bool { return a.name == name })
}

// byID finds the step that an id of a choice stands for.
func (m *model) byID(id string) (*answers, bool) {
	if id == "" {
		return nil, false
	}
	return m.find(func(a *answers) bool { return stepID(a.name) == id })
}

func (m *model) find(is func(*answers) bool) (*answers, bool) {
	i := slices.IndexFunc(m.steps, func(a answers) bool { return is(&a) })
	if i < 0 {
		return nil, false
	}
	return &m.steps[i], true
}

// guess is a step that a question may mean, as a brief names it.
type guess struct {
	Step       string  `json:"step"`
	Confidence float64 `json:"confidence"`
}

// mostGuesses is how many guesses a brief carries.
const mostGuesses = 3

// match gives the best step's answers with how likely it is right, and the
// guesses for a brief.
func (m *model) match(question string) (best answers, confidence float64, guesses []guess) {
	if m.matcher == nil {
		return answers{}, 0, nil
	}
	r := m.matcher.Match(question)
	for i, c := range r.Candidates[:min(len(r.Candidates), mostGuesses)] {
		p := c.Confidence
		if i == 0 {
			p = r.Confidence
			best, confidence = m.steps[c.Step], p
		}
		guesses = append(guesses, guess{c.Name, readable(p)})
	}
	return best, confidence, guesses
}

// readable is a probability for people: three digits, never what JSON lacks.
func readable(p float64) float64 {
	if math.IsNaN(p) {
		return 0
	}
	return math.Round(min(max(p, 0), 1)*1000) / 1000
}

// models are the trained models, and those to be trained.
type models struct {
	mu     sync.Mutex // guards all below
	ready  map[key]*model
	wanted []key
	others []key         // whose models other processes make
	news   chan struct{} // closed, and made anew, when a model is ready

	work chan struct{} // a token when something is wanted
	look chan struct{} // a token when a configuration changed
	slot chan struct{} // holds a token while nothing is being trained

	unreported chan struct{} // a token when a version has no report
}

func newModels() *models {
	m := &models{ready: map[key]*model{}, news: make(chan struct{}), work: make(chan struct{}, 1), look: make(chan struct{}, 1), slot: make(chan struct{}, 1), unreported: make(chan struct{}, 1)}
	m.slot <- struct{}{}
	return m
}

// The three methods of store.Watcher: changed steps come as a changed configuration.

func (m *models) Appending([]store.LaneKey) {}
func (m *models) Aborted([]store.LaneKey)   {}

func (m *models) Committed(c *store.Commit) {
	if len(c.Configs) > 0 || c.Missed {
		token(m.look)
	}
}

// token leaves one for who looks next; one is enough.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// get gives the model of an edition of a bot's steps. While that is being
// trained the one before answers; only a bot's first model is waited for.
func (m *models) get(ctx context.Context, k key, e edition) (*model, error) {
	if e.version == 0 {
		return &model{}, nil
	}
	for {
		m.mu.Lock()
		have, news := m.ready[k], m.news
		if have == nil || have.edition != e {
			m.want(k)
		}
		m.mu.Unlock()
		if have != nil {
			return have, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the first model: %w", ctx.Err())
		}
	}
}

// now gives the model that is there, maybe none.
func (m *models) now(k key) *model {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ready[k]
}

// want puts a bot into the queue of those to train. The caller has the lock.
func (m *models) want(k key) {
	if !slices.Contains(m.wanted, k) {
		m.wanted = append(m.wanted, k)
		token(m.work)
	}
}

// next takes a bot off the queue.
func (m *models) next() (k key, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.wanted) == 0 {
		return key{}, false
	}
	k, m.wanted = m.wanted[0], m.wanted[1:]
	return k, true
}

// await remembers a bot whose model another process makes.
func (m *models) await(k key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(m.others, k) {
		m.others = append(m.others, k)
	}
}

// askAgain wants the models that other processes make.
func (m *models) askAgain() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.others {
		m.want(k)
	}
	m.others = m.others[:0]
}

func (m *models) put(k key, made *model) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ready[k] = made
	close(m.news)
	m.news = make(chan struct{})
}

// keep forgets the models of bots that are not among those given.
func (m *models) keep(bots map[key]edition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.ready {
		if _, ok := bots[k]; !ok {
			delete(m.ready, k)
		}
	}
}

// missing lists the bots with steps that have no model at all, and stale those
// whose model, if any, is not of their edition.
func (m *models) missing(bots map[key]edition) (missing, stale []key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, e := range bots {
		have := m.ready[k]
		if e.version == 0 || have != nil && have.edition == e {
			continue
		}
		stale = append(stale, k)
		if have == nil {
			missing = append(missing, k)
		}
	}
	byKey := func(a, b key) int { return cmp.Or(cmp.Compare(a.client, b.client), cmp.Compare(a.domain, b.domain)) }
	slices.SortFunc(missing, byKey)
	slices.SortFunc(stale, byKey)
	return missing, stale
}
