package manifest

import (
	"cmp"
	"strings"
	"unicode"

	"tract"
)

// Bounds of what a bot understands beside its steps.
const (
	mostMisunderstandings = 10
	mostPhrases           = 200
	mostTalks             = 100
	mostPhraseBytes       = 200
)

func (d *decoder) bot(v *value) *bot {
	o := d.object(v, "domain_name", "language", "threshold", "suggest_from", "misunderstandings", "welcome", "bot_break", "handover",
		"did_you_mean", "something_else", "file_received", "small_talk", "human_phrases", "faq", "active")
	b := &bot{object: o, body: tract.Bot{DomainName: o.id("domain_name"), Language: o.text("language", "en")}}
	if !isLanguage(b.body.Language) {
		o.bad("language", "%s is not a language code such as en or pt-BR", o.get("language").shown())
	}
	otherwise := tract.DefaultWording(b.body.Language)
	b.body.Threshold = o.ratio("threshold", tract.DefaultThreshold)
	b.body.SuggestFrom = d.suggestFrom(o, b.body.Threshold)
	b.body.Misunderstandings = int(o.number("misunderstandings", tract.DefaultMisunderstandings, 1, mostMisunderstandings))
	b.body.Welcome = o.text("welcome", "")
	b.body.BotBreak = o.text("bot_break", otherwise.BotBreak)
	b.body.Handover = o.text("handover", otherwise.Handover)
	b.body.DidYouMean = cmp.Or(o.text("did_you_mean", ""), otherwise.DidYouMean)
	b.body.SomethingElse = cmp.Or(o.text("something_else", ""), otherwise.SomethingElse)
	b.body.FileReceived = cmp.Or(o.text("file_received", ""), otherwise.FileReceived)
	b.body.SmallTalk = d.smallTalk(o)
	b.body.HumanPhrases = d.phrases(o, "human_phrases")
	b.body.Active = o.flag("active", true)
	b.faq = d.named(o, "faq")
	return b
}

// suggestFrom may equal the threshold: then nothing is ever suggested.
func (d *decoder) suggestFrom(o *object, threshold float64) float64 {
	from := o.ratio("suggest_from", assumedSuggestFrom(threshold))
	if o.has("suggest_from") && (from == 0 || from > threshold) {
		o.bad("suggest_from", "must be above 0 and at most the threshold, which is %v", threshold)
	}
	return from
}

func assumedSuggestFrom(threshold float64) float64 {
	return min(tract.DefaultSuggestFrom, threshold)
}

func (d *decoder) smallTalk(o *object) (t tract.SmallTalk) {
	v := o.get("small_talk")
	if v == nil {
		return t
	}
	s := d.object(v, "enabled", "greeting", "thanks", "bye", "more")
	t = tract.SmallTalk{Off: !s.flag("enabled", true), Greeting: s.text("greeting", ""), Thanks: s.text("thanks", ""), Bye: s.text("bye", "")}
	for i, v := range s.list("more") {
		if i == mostTalks {
			s.bad("more", "holds more than %d entries", mostTalks)
			break
		}
		m := d.object(v, "said", "answer")
		if m.need("said") && m.get("said") != nil && len(m.list("said")) == 0 {
			m.bad("said", "must hold at least one message")
		}
		t.More = append(t.More, tract.Talk{Said: d.phrases(m, "said"), Answer: m.needText("answer")})
	}
	return t
}

// phrases is a list of texts with at least one word each; nil when there is none.
func (d *decoder) phrases(o *object, key string) []string {
	if len(o.list(key)) == 0 {
		return nil
	}
	out := o.names(key)
	if len(out) > mostPhrases {
		o.bad(key, "holds more than %d texts", mostPhrases)
	}
	for _, item := range o.list(key) {
		switch {
		case item.kind != isText:
		case len(item.text) > mostPhraseBytes:
			d.bad.add(item.at, "is longer than %d bytes", mostPhraseBytes)
		case item.text != "" && !strings.ContainsFunc(item.text, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }):
			d.bad.add(item.at, "holds no word")
		}
	}
	return out
}

func exportBot(b tract.Bot) fields {
	otherwise := tract.DefaultWording(b.Language)
	out := fields{{"domain_name", b.DomainName}, {"language", b.Language}}
	out.add("threshold", b.Threshold, tract.DefaultThreshold)
	// What was stored before there were these settings has nothing for them.
	out.add("suggest_from", cmp.Or(b.SuggestFrom, assumedSuggestFrom(b.Threshold)), assumedSuggestFrom(b.Threshold))
	out.add("misunderstandings", int64(cmp.Or(b.Misunderstandings, tract.DefaultMisunderstandings)), int64(tract.DefaultMisunderstandings))
	out.add("welcome", b.Welcome, "")
	out.add("bot_break", b.BotBreak, otherwise.BotBreak)
	out.add("handover", b.Handover, otherwise.Handover)
	out.add("did_you_mean", cmp.Or(b.DidYouMean, otherwise.DidYouMean), otherwise.DidYouMean)
	out.add("something_else", cmp.Or(b.SomethingElse, otherwise.SomethingElse), otherwise.SomethingElse)
	out.add("file_received", cmp.Or(b.FileReceived, otherwise.FileReceived), otherwise.FileReceived)
	out.group("small_talk", exportSmallTalk(b.SmallTalk))
	out.list("human_phrases", b.HumanPhrases)
	out.add("active", b.Active, true)
	return out
}

func exportSmallTalk(t tract.SmallTalk) (out fields) {
	out.add("enabled", !t.Off, true)
	out.add("greeting", t.Greeting, "")
	out.add("thanks", t.Thanks, "")
	out.add("bye", t.Bye, "")
	var more []fields
	for _, m := range t.More {
		more = append(more, fields{{"said", m.Said}, {"answer", m.Answer}})
	}
	out.items("more", more)
	return out
}
