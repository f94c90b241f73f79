package bot

import (
	"context"

	"tract"
	"tract/internal/bot/nlu"
)

// Await waits until a bot answers from a version of its steps or a later one.
func (b *IVA) Await(ctx context.Context, client int64, domain string, version int64) error {
	for {
		b.models.mu.Lock()
		have, news := b.models.ready[key{client, domain}], b.models.news
		b.models.mu.Unlock()
		if have != nil && have.version >= version {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Spoil puts a model in place that panics when it matches.
func (b *IVA) Spoil(client int64, domain string) {
	k := key{client, domain}
	bad := *b.models.now(k)
	bad.matcher = new(nlu.Model)
	bad.steps = nil
	b.models.put(k, &bad)
}

// AsksForHuman says whether a message asks for a human in a language.
func (b *IVA) AsksForHuman(language, text string) bool {
	for _, book := range b.books.of(language) {
		if book.asksForHuman(wordsOf(text)) {
			return true
		}
	}
	return false
}

// Chat answers small talk in a language.
func (b *IVA) Chat(language, text string) string {
	for _, book := range b.books.of(language) {
		if answer, ok := book.chat(wordsOf(text), &tract.SmallTalk{}); ok {
			return answer
		}
	}
	return ""
}

// Meant is what a user's message says after the bot's messages.
func Meant(said string, before ...string) string {
	q := question{body: said, past: past{said: before}}
	return q.meant(nil).text
}

// StepID stands for a step in a choice.
func StepID(name string) string { return stepID(name) }
