package bot_test

import (
	"strings"
	"testing"

	"tract/internal/bot"
	"tract/internal/bot/nlu"
)

func TestReadExamples(t *testing.T) {
	two := []bot.Example{{Text: "when are you open", Step: "Hours"}, {Text: "send it back", Step: "Returns"}}
	for name, c := range map[string]struct {
		file string
		want []bot.Example
	}{
		"sentences":          {"sentence,label\nwhen are you open,Hours\nsend it back,Returns\n", two},
		"other names":        {"text,category\nwhen are you open,Hours\nsend it back,Returns\n", two},
		"mark, CRLF, case":   {"\xef\xbb\xbf\"Label\", SENTENCE\r\nHours,\"when are you open\"\r\n\r\n Returns , send it back ", two},
		"more columns":       {"id,sentence,label,note\n1,when are you open,Hours,\n2,send it back,Returns,x\n", two},
		"FAQ":                {"node_name,question,answer\nHours,when are you open,9 to 18h\nReturns,| send it back |,\n", two},
		"FAQ without answer": {"question,node_name\nwhen are you open,Hours\nsend it back,Returns\n", two},
		"FAQ of ours":        {"node_name,question,answer,apostrophe_added\nHours,'=a|b,x,question\n", []bot.Example{{Text: "=a", Step: "Hours"}, {Text: "b", Step: "Hours"}}},
		"one spelling":       {"sentence,label\na,Opening hours\nb,opening  HOURS\n", []bot.Example{{Text: "a", Step: "Opening hours"}, {Text: "b", Step: "Opening hours"}}},
		"comma, bar, quote":  {"sentence,label\n\"a|b, \"\"c\"\"\nd\",X\n", []bot.Example{{Text: "a|b, \"c\"\nd", Step: "X"}}},
		"nothing said":       {"sentence,label\n,NO_NODES_DETECTED\n", []bot.Example{{Step: nlu.OutOfScope}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := bot.ReadExamples(strings.NewReader(c.file))
			if err != nil {
				t.Fatal(err)
			}
			diff(t, "examples", c.want, got)
		})
	}
	for name, c := range map[string]struct{ file, want string }{
		"empty":      {"", "line 1: the file is empty"},
		"no rows":    {"sentence,label\n", "line 2: the file holds no sentence"},
		"header":     {"a,b\nx,y\n", "line 1: the header must name sentence and label, or node_name and question"},
		"delimiter":  {"sentence;label\nx;y\n", "separated by commas; it names sentence;label"},
		"no label":   {"sentence,label\na,X\nb, \n", "line 3, column label: the sentence has no label"},
		"fields":     {"sentence,label\na,X\nb,c,X\n", "line 3: the row has 3 fields, the header 2"},
		"quote":      {"sentence,label\na,X\n\"b,X\n", "line 3, column sentence: the quote opened on line 3 is never closed"},
		"not UTF-8":  {"sentence,label\n\xff,X\n", "line 2, column sentence: the text is not UTF-8"},
		"UTF-16":     {"\xff\xfes\x00", "UTF-16"},
		"NUL behind": {"sentence,label\na,X\nb\x00,X\n", "line 3, column sentence: the file holds a NUL byte"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := bot.ReadExamples(strings.NewReader(c.file)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestStepsOf(t *testing.T) {
	got := bot.StepsOf([]bot.Example{{Text: "a", Step: "X"}, {Text: "b", Step: "Y"}, {Text: "c", Step: nlu.OutOfScope}, {Step: "X"}, {Text: "d", Step: "X"}})
	diff(t, "steps", []nlu.Step{{Name: "X", Examples: []string{"a", "d"}}, {Name: "Y", Examples: []string{"b"}}}, got)
}
