package bot

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"tract/internal/conversation"
	"tract/internal/store"
)

// Bounds of what is kept of questions without a sure answer.
const (
	mostUnanswered = 10_000 // of one bot, the newest
	unansweredFor  = 90 * 24 * time.Hour
	forgetEvery    = 10 * time.Minute
	forgetAtOnce   = 1000
	mostQuestion   = 500 // bytes of one
)

// lesson is what there is to learn of a reply.
type lesson struct {
	question string   // that had no sure answer; "" = there was none
	offered  []string // the steps that were suggested for it
	chosen   string   // the step that was picked among suggested ones
	refused  bool     // none of them was meant
}

// keep writes the lesson of a reply down, in the transaction in which the reply
// is given; nil when there is nothing to keep.
func (r *reply) keep(q *question) func(tx *store.Tx, res *conversation.Result) error {
	l := r.lesson
	text := strings.Join(strings.Fields(l.question), " ")
	if text == "" && l.chosen == "" && !l.refused {
		return nil
	}
	return func(tx *store.Tx, res *conversation.Result) error {
		did := store.DidBreak
		switch {
		case res.Outcome.HandedTo != "":
			did = store.DidHandOver
		case len(l.offered) > 0:
			did = store.DidSuggest
		}
		switch {
		case l.chosen != "":
			return tx.SetUnansweredChosen(q.Thread, l.chosen)
		case l.refused:
			return tx.SetUnansweredDid(q.Thread, did)
		}
		return tx.InsertUnanswered(store.Unanswered{Entry: q.Entry, Client: q.Client, Domain: q.bot.DomainName, Thread: q.Thread, Question: shorten(text), Did: did, Offered: l.offered})
	}
}

func shorten(s string) string {
	if len(s) <= mostQuestion {
		return s
	}
	n := mostQuestion
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func (b *IVA) runForget(ctx context.Context) error {
	tick := time.NewTicker(forgetEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := b.Forget(ctx); err != nil && ctx.Err() == nil {
			b.Log.Error("unanswered questions not tidied", "error", err)
		}
	}
}

// Forget removes questions without an answer that are not to be kept any longer.
// Run does it now and then.
func (b *IVA) Forget(ctx context.Context) error {
	bots, err := b.activeBots(ctx)
	if err != nil {
		return err
	}
	for k := range bots {
		if err := b.Store.UpdateLow(ctx, func(tx *store.Tx) error { return tx.TrimUnanswered(k.client, k.domain, mostUnanswered) }); err != nil {
			return err
		}
	}
	for gone := int64(forgetAtOnce); gone == forgetAtOnce; {
		if err := b.Store.UpdateLow(ctx, func(tx *store.Tx) (err error) {
			gone, err = tx.DeleteUnansweredBefore(tx.Now.Add(-unansweredFor), forgetAtOnce)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
