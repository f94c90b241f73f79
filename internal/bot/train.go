package bot

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"tract"
	"tract/internal/bot/nlu"
	"tract/internal/store"
)

// lookEvery is how often the bots are looked at, for changes by other processes.
const lookEvery = 10 * time.Second

// Run trains what bots need, one after the other, until ctx ends.
func (b *IVA) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	token(b.models.look)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			b.lookForWork(ctx)
		case <-b.models.look:
			b.lookForWork(ctx)
		case <-b.models.work:
		}
		for k, ok := b.models.next(); ok && ctx.Err() == nil; k, ok = b.models.next() {
			b.train(ctx, k)
		}
	}
}

func (b *IVA) lookForWork(ctx context.Context) {
	bots, err := b.activeBots(ctx)
	if err != nil {
		if ctx.Err() == nil {
			b.Log.Error("bots not read", "error", err)
		}
		return
	}
	b.models.keep(bots)
	_, stale := b.models.missing(bots)
	b.models.mu.Lock()
	defer b.models.mu.Unlock()
	for _, k := range stale {
		b.models.want(k)
	}
}

// activeBots gives the edition of every active bot.
func (b *IVA) activeBots(ctx context.Context) (map[key]edition, error) {
	var clients []tract.Client
	if err := b.Store.View(ctx, func(tx *store.Tx) (err error) { clients, err = tx.ListClients(); return err }); err != nil {
		return nil, err
	}
	bots := map[key]edition{}
	for _, c := range clients {
		if !c.Active {
			continue
		}
		if err := b.Store.View(ctx, func(tx *store.Tx) error {
			cfg, err := b.Conversation.Config(tx, c.Key)
			if err != nil {
				return err
			}
			for domain, bot := range cfg.Bots {
				if !bot.Active {
					continue
				}
				version, _, err := tx.FAQVersion(c.Key, domain)
				if err != nil {
					return err
				}
				bots[key{c.Key, domain}] = edition{version, bot.Language}
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return bots, nil
}

// Preload trains every active bot whose model is missing or old, and returns
// when that is done.
func (b *IVA) Preload(ctx context.Context) error {
	bots, err := b.activeBots(ctx)
	if err != nil {
		return err
	}
	_, stale := b.models.missing(bots)
	for _, k := range stale {
		b.train(ctx, k)
	}
	return ctx.Err()
}

// Ready is nil when every active bot can answer.
func (b *IVA) Ready(ctx context.Context) error {
	bots, err := b.activeBots(ctx)
	if err != nil {
		return err
	}
	if missing, _ := b.models.missing(bots); len(missing) > 0 {
		return &tract.Error{Kind: tract.KindUnavailable, Code: "bot_not_ready", Msg: fmt.Sprintf("%d bots are not trained yet, among them %s", len(missing), missing[0].domain)}
	}
	return nil
}

// train makes the model of a bot's present steps and switches to it. One bot is
// trained at a time.
func (b *IVA) train(ctx context.Context, k key) {
	select {
	case <-b.models.slot:
	case <-ctx.Done():
		return
	}
	defer func() { b.models.slot <- struct{}{} }()
	made, err := b.retrain(ctx, k)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		b.Log.Error("bot not trained", "client", k.client, "domain", k.domain, "error", err)
	case made != nil:
		b.Log.Info("bot trained", "client", k.client, "domain", k.domain, "version", made.version, "steps", len(made.steps))
	}
}

// retrain gives nil when the model is there already.
func (b *IVA) retrain(ctx context.Context, k key) (*model, error) {
	old := b.models.now(k)
	var e edition
	var steps []tract.Step
	err := b.Store.View(ctx, func(tx *store.Tx) error {
		cfg, err := b.Conversation.Config(tx, k.client)
		if err != nil {
			return err
		}
		if bot := cfg.Bots[k.domain]; bot != nil {
			e.language = bot.Language
		}
		if e.version, _, err = tx.FAQVersion(k.client, k.domain); err != nil || old != nil && old.edition == e {
			return err
		}
		steps, err = tx.ListSteps(k.client, k.domain)
		return err
	})
	if err != nil || old != nil && old.edition == e {
		return nil, err
	}
	made, err := build(ctx, e, steps)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		// Trying again would fail again: the bot goes on with what it has.
		made = &model{}
		if old != nil {
			*made = *old
		}
		made.edition = e
	}
	b.models.put(k, made)
	return made, err
}

// build trains a model. It leaves half of the processors to the traffic.
func build(ctx context.Context, e edition, steps []tract.Step) (m *model, err error) {
	defer func() {
		if p := recover(); p != nil {
			m, err = nil, fmt.Errorf("training panicked: %v", p)
		}
	}()
	m = &model{edition: e, stepOf: map[string]string{}}
	learn := make([]nlu.Step, len(steps))
	for i, s := range steps {
		learn[i] = nlu.Step{Name: s.Name, Examples: s.Questions}
		a := answers{name: s.Name}
		for _, text := range s.Answers {
			said := body(text)
			a.bodies = append(a.bodies, said)
			if _, known := m.stepOf[said]; !known {
				m.stepOf[said] = s.Name
			}
		}
		m.steps = append(m.steps, a)
	}
	m.matcher, err = nlu.Train(ctx, learn, nlu.Options{Language: e.language, Workers: max(1, runtime.GOMAXPROCS(0)/2)})
	if errors.Is(err, nlu.ErrNoExamples) {
		return m, nil
	}
	return m, err
}
