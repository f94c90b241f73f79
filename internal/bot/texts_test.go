package bot_test

import (
	"strconv"
	"testing"

	"tract"
	"tract/internal/store"
	"tract/internal/tracttest"
)

func (w *world) setText(key, text string) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		_, err := tx.PutText(w.client, key, &tract.Text{In: map[string]string{"": text}}, "x", store.ViaREST)
		return err
	})
}

const wordedFAQ = `node_name,question,answer
Opening hours,"when are you open|what are your opening hours|are you open on sunday","We are open {{text:hours}}.<m>{""text"":""Anything else, {{user.name}}?"",""type"":""TEXT"",""data"":{""quick_replies"":[{""actionable_text"":""{{text:yes}}"",""payload"":{""message"":""{{text:yes}}"",""gogo_message"":""how long does delivery take{task}""}}]}}"
Delivery time,"how long does delivery take|when will my parcel arrive|delivery time","Delivery takes {{text:days}}."
Return policy,"how do I return an item|what is your return policy|can I send it back","Within 30 days."
`

// What the bot says has the client's texts in it; it still knows which steps it
// has shown, also after a text changed, and what a choice means.
func TestTexts(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		w.setText("hours", `"9 to 18"`)
		w.setText("yes", "Ja, {{text:please}}")
		w.setText("please", "bitte")
		w.setText("days", "two days")
		w.setBot(tract.Bot{Welcome: "Welcome, {{text:please}}!", Handover: "One moment, {{text:please}}.", BotBreak: "{{text:please}}?"})
		w.load(wordedFAQ)
		id := w.thread(assisted)
		w.ask(id, "when are you open")
		w.ask(id, "ja, bitte")
		w.setText("hours", "never")
		w.setText("days", "three days")
		w.ask(id, "delivery time")
		w.setBot(tract.Bot{Threshold: 1.5, SuggestFrom: 1.5, Handover: "One moment, {{text:please}}."})
		w.ask(id, "what is your {{text:please}} return policy")
		lines, _ := w.log(id, 0)
		diff(t, "log", []string{botEvent, "ceu: when are you open", "iva: Welcome, bitte!", `iva: We are open "9 to 18".`, "iva: Anything else,?", "ceu: ja, bitte", "iva: Delivery takes two days.",
			"ceu: delivery time", "iva: Delivery takes three days.", "ceu: what is your {{text:please}} return policy", "iva: One moment, bitte."}, lines[:11])
		var brief map[string]any
		w.view(func(tx *store.Tx) (err error) { brief, err = tx.Brief(id, 1); return err })
		diff(t, "steps shown", any([]any{"Opening hours", "Delivery time"}), brief["steps_shown"])
		diff(t, "question", any("what is your {{text:please}} return policy"), brief["question"])

		id = w.thread(alone)
		w.setBot(tract.Bot{BotBreak: "{{text:please}}?"})
		w.ask(id, "gibberish qwertz")
		if lines, _ := w.log(id, 0); lines[len(lines)-1] != "iva: bitte?" {
			t.Errorf("log %q", lines)
		}
	})
}

// An import warns of texts that do not exist, and is not stopped by them.
func TestImportOfMissingTexts(t *testing.T) {
	eachImports(t, func(t *testing.T, w *imports) {
		w.setText("hours", "9 to 18")
		task := w.upload(wordedFAQ)
		w.work()
		got := w.task(task)
		diff(t, "state", store.TaskDone, got.State)
		diff(t, "warnings", []string{
			"line 2, column answer: the text yes does not exist: {{text:yes}} is shown as written",
			"line 3, column answer: the text days does not exist: {{text:days}} is shown as written",
		}, got.Warnings)
		many := ""
		for i := range 60 {
			many += "{{text:m" + strconv.Itoa(i) + "}}"
		}
		task = w.upload("node_name,question,answer,extra\nA,b,\"" + many + "\",\n")
		w.work()
		if got := w.task(task).Warnings; len(got) != 52 || got[0] != `column "extra" is not known and ignored` || got[51] != "10 more texts do not exist" {
			t.Errorf("%d warnings: %q", len(got), got)
		}
	})
}
