package external_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/safehttp"
)

const good = `{"response":["Hello"]}`

// resultOf is the first word of what ask gave.
func resultOf(s string) string {
	rest, failed := strings.CutPrefix(s, "error: ")
	if !failed {
		return "answered"
	}
	word, _, _ := strings.Cut(rest, ":")
	return word
}

func (s *standIn) results(bot *tract.ExternalBot, n int) (out []string) {
	for range n {
		out = append(out, resultOf(s.ask(bot)))
	}
	return out
}

const alone = "it failed too often and is left alone for a while"

func TestBreaker(t *testing.T) {
	s := newStandIn(t, safehttp.Policy{AllowPrivate: true})
	bot := s.webhook()
	expect := func(what string, want, got []string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	s.says(status(500))
	expect("four failures", []string{"status", "status", "status", "status"}, s.results(bot, 4))
	s.says(text(good))
	expect("a success forgives", []string{"answered"}, s.results(bot, 1))
	s.says(status(500))
	expect("five failures", []string{"status", "status", "status", "status", "status", alone, alone}, s.results(bot, 7))
	expect("the alarm", []string{"external_bot_down"}, s.alarms)
	expect("the gauge", []string{" 1"}, s.counted("tract_bot_external_open"))
	called := s.called()

	s.clock.Advance(30*time.Second - 1)
	expect("not yet", []string{alone}, s.results(bot, 1))
	if s.called() != called {
		t.Error("it was called while it was to be left alone")
	}
	s.clock.Advance(1)
	expect("one try that fails", []string{"status", alone, alone}, s.results(bot, 3))
	s.says(text(good))
	expect("still", []string{alone}, s.results(bot, 1))
	s.clock.Advance(30 * time.Second)
	expect("recovered", []string{"answered", "answered"}, s.results(bot, 2))
	expect("the gauge", []string{" 0"}, s.counted("tract_bot_external_open"))
	expect("one alarm", []string{"external_bot_down"}, s.alarms)
	s.says(status(500))
	expect("counted from the beginning", []string{"status", "status", "status", "status", "status", alone}, s.results(bot, 6))
}

// While one question tries a bot, the others do not wait for it.
func TestOneProbeAtATime(t *testing.T) {
	s := newStandIn(t, safehttp.Policy{AllowPrivate: true})
	bot := s.webhook()
	s.says(status(500))
	s.results(bot, 5)
	s.clock.Advance(time.Minute)
	called, ended := make(chan bool), make(chan bool)
	s.says(func(w http.ResponseWriter, r *http.Request) { called <- true; silent(w, r) })
	ctx, giveUp := context.WithCancel(t.Context())
	go func() {
		defer close(ended)
		if _, err := s.bots.Ask(ctx, bot, question()); err == nil {
			t.Error("it answered")
		}
	}()
	<-called
	if got := s.ask(bot); !strings.Contains(got, alone) {
		t.Errorf("a second question got through: %s", got)
	}
	giveUp()
	<-ended
	// A probe that was given up says nothing: the next one may try.
	s.says(text(good))
	if got := s.results(bot, 1); got[0] != "answered" {
		t.Errorf("after a probe that was given up: %v", got)
	}
}

func TestBreakersAreApart(t *testing.T) {
	s := newStandIn(t, safehttp.Policy{AllowPrivate: true})
	s.says(status(500))
	bot := s.webhook()
	s.results(bot, 5)
	s.says(text(good))
	q := question()
	q.Business = 344
	a, err := s.bots.Ask(t.Context(), bot, q)
	if got := resultOf(said(t, a, err)); got != "answered" {
		t.Errorf("another business: %s", got)
	}
	changed := s.webhook()
	changed.URL += "/new"
	if got := s.results(changed, 1); got[0] != "answered" {
		t.Errorf("configured anew: %v", got)
	}
}

// What one user can bring about does not take the bot from the others.
func TestBadAnswersDoNotOpenTheBreaker(t *testing.T) {
	s := newStandIn(t, safehttp.Policy{AllowPrivate: true})
	s.says(text("garbage"))
	for _, r := range s.results(s.webhook(), 8) {
		if r != "bad_answer" {
			t.Error(r)
		}
	}
}
