package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"tract"
	"tract/internal/bot/nlu"
	"tract/internal/store"
)

const (
	// lookEvery is how often the bots are looked at, for changes by other processes.
	lookEvery = 10 * time.Second
	// awaitEvery is how often a model is asked for that another process trains.
	awaitEvery = time.Second
)

// Run gives bots the models that they need, one after the other, and writes
// reports of them, and forgets old questions, until ctx ends.
func (b *IVA) Run(ctx context.Context) error {
	if b.Store.Engine() == "sqlite" { // nobody else can hold a version
		if err := b.Store.Update(ctx, func(tx *store.Tx) error { return tx.ReleaseModels() }); err != nil && ctx.Err() == nil {
			b.Log.Error("models not released", "error", err)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return b.runModels(ctx) })
	g.Go(func() error { return b.runReports(ctx) })
	g.Go(func() error { return b.runForget(ctx) })
	return g.Wait()
}

func (b *IVA) runModels(ctx context.Context) error {
	tick, soon := time.NewTicker(lookEvery), time.NewTicker(awaitEvery)
	defer tick.Stop()
	defer soon.Stop()
	token(b.models.look)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			b.lookForWork(ctx)
		case <-b.models.look:
			b.lookForWork(ctx)
		case <-soon.C:
			b.models.askAgain()
		case <-b.models.work:
		}
		for k, ok := b.models.next(); ok && ctx.Err() == nil; k, ok = b.models.next() {
			if b.train(ctx, k) {
				b.models.await(k)
			}
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

// Preload gives every active bot its present model, and returns when all have it.
func (b *IVA) Preload(ctx context.Context) error {
	soon := time.NewTicker(awaitEvery)
	defer soon.Stop()
	for {
		bots, err := b.activeBots(ctx)
		if err != nil {
			return err
		}
		_, stale := b.models.missing(bots)
		waiting := false
		for _, k := range stale {
			waiting = b.train(ctx, k) || waiting
		}
		if !waiting {
			return ctx.Err()
		}
		select {
		case <-soon.C:
		case <-ctx.Done():
		}
	}
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

// train gives a bot the model of its present steps and switches to it. One model
// is made at a time. It says whether another process makes it.
func (b *IVA) train(ctx context.Context, k key) (waiting bool) {
	select {
	case <-b.models.slot:
	case <-ctx.Done():
		return false
	}
	defer func() { b.models.slot <- struct{}{} }()
	made, waiting, err := b.renew(ctx, k)
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		b.Log.Error("bot not trained", "client", k.client, "domain", k.domain, "error", err)
	case made != nil:
		b.Log.Info("bot trained", "client", k.client, "domain", k.domain, "version", made.version, "steps", len(made.steps))
	}
	return waiting
}

// renew gives nil when the model is there already, or another process makes it.
func (b *IVA) renew(ctx context.Context, k key) (made *model, waiting bool, err error) {
	old := b.models.now(k)
	var e edition
	if err := b.Store.View(ctx, func(tx *store.Tx) error {
		cfg, err := b.Conversation.Config(tx, k.client)
		if err != nil {
			return err
		}
		e = edition{}
		if bot := cfg.Bots[k.domain]; bot != nil {
			e.language = bot.Language
		}
		e.version, _, err = tx.FAQVersion(k.client, k.domain)
		return err
	}); err != nil || e.version == 0 || old != nil && old.edition == e {
		return nil, false, err
	}
	made, err = b.obtain(ctx, k, e)
	switch {
	case errors.Is(err, errFailed):
		// Trying again would fail again: the bot goes on with what it has.
		made = &model{}
		if old != nil {
			*made = *old
		}
		made.edition = e
	case err != nil || made == nil:
		return nil, err == nil, err
	}
	b.models.put(k, made)
	return made, false, err
}

// runReports says of every version how good it is, as soon as it is in use.
func (b *IVA) runReports(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if err := b.Report(ctx); err != nil && ctx.Err() == nil {
			b.Log.Warn("report not written", "error", err)
		}
		if err := b.Sweep(ctx); err != nil && ctx.Err() == nil {
			b.Log.Warn("old models not removed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-b.models.unreported:
		}
	}
}

// Report writes the reports of the versions that have none, and returns when
// that is done.
func (b *IVA) Report(ctx context.Context) error {
	for {
		var client int64
		var domain string
		var v store.Model
		var found, taken bool
		if err := b.Store.View(ctx, func(tx *store.Tx) (err error) {
			client, domain, v, found, err = tx.UnreportedModel()
			return err
		}); err != nil || !found {
			return err
		}
		next := v
		if err := b.Store.Update(ctx, func(tx *store.Tx) (err error) { v, taken, err = tx.ClaimReport(next, modelLease); return err }); err != nil {
			return err
		}
		if !taken {
			continue
		}
		if err := b.hold(ctx, v, func(ctx context.Context) error { return b.report(ctx, client, domain, v) }); err != nil && !errors.Is(err, store.ErrTaskLost) {
			return err
		}
	}
}

// noReport stands for the report of a version whose review ended the process
// several times.
const noReport = "null"

func (b *IVA) report(ctx context.Context, client int64, domain string, v store.Model) error {
	text := []byte(noReport)
	if v.Fence <= 2*maxTrainings {
		steps, err := loadSteps(ctx, b.Store, v)
		if err != nil {
			return err
		}
		m, err := loadMatcher(ctx, b.Store, v.ModelFile)
		if err != nil {
			return err
		}
		threshold := tract.DefaultThreshold
		if err := b.Store.View(ctx, func(tx *store.Tx) error {
			cfg, err := tx.Config(client)
			if err == nil && cfg.Bots[domain] != nil {
				threshold = cmp.Or(cfg.Bots[domain].Threshold, tract.DefaultThreshold)
			}
			return err
		}); err != nil {
			return err
		}
		r, err := nlu.Review(ctx, m, learnable(steps), options(v.Language), threshold)
		if err != nil {
			return err
		}
		if text, err = json.Marshal(r); err != nil {
			return err
		}
	}
	return b.Store.UpdateLow(ctx, func(tx *store.Tx) error { return tx.SaveModelReport(v, text) })
}

// nothingLearnt is the report of a bot without a sentence.
func nothingLearnt(steps int) json.RawMessage {
	r := nlu.Report{Steps: steps, ThinSteps: steps, Confused: []nlu.Confusion{}, Thin: []nlu.ThinStep{}, Shared: []nlu.SharedSentence{}}
	text, err := json.Marshal(r)
	if err != nil {
		return json.RawMessage(noReport)
	}
	return text
}
