package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	cafeFAQ = "node_name,question,answer\n" +
		"Hours,when are you open|opening hours on sunday|what time do you close,9 to 18h\n" +
		"Table,book a table for two|i want to reserve a table|do you have a free table tonight,Sure\n" +
		"Menu,show me the menu|what cakes do you have,Here\n" +
		"Cake,what cakes do you have,Apple\n"
	cafeTest = "\xef\xbb\xbfLabel,Sentence\r\nhours,\"when do you open, please\"\r\nTABLE,reserve a table\r\nno_nodes_detected,who won the match\r\nNO_NODES_DETECTED,how deep is the ocean\r\n"
)

func TestBotTrain(t *testing.T) {
	s := newShell(t)
	faq := s.write("cafe.csv", cafeFAQ)
	model := filepath.Join(s.dir, "cafe.model")
	out := s.must("bot", "train", "--csv", faq, "--model", model)
	for _, want := range []string{"trained 4 steps on 9 different sentences", "questions like the examples", "questions in new words", "answered at 0.5", "fewer than 3", "Menu  2", "Cake  1", `"what cakes do you have": Menu, Cake`} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q:\n%s", want, out)
		}
	}
	first, err := os.ReadFile(model)
	if err != nil {
		t.Fatal(err)
	}
	// The other kind of file with the same sentences makes the same model.
	plain := s.write("plain.csv", "sentence,label\nwhen are you open,Hours\nopening hours on sunday,Hours\nwhat time do you close,Hours\nbook a table for two,Table\ni want to reserve a table,Table\ndo you have a free table tonight,Table\nshow me the menu,Menu\nwhat cakes do you have,Menu\nwhat cakes do you have,Cake\n")
	var report map[string]any
	if err := json.Unmarshal([]byte(s.must("bot", "train", "--csv", plain, "--model", model, "--json", "--threshold", "0.3")), &report); err != nil {
		t.Fatal(err)
	}
	again, err := os.ReadFile(model)
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("another model, %v", err)
	}
	folds, _ := report["random_folds"].(map[string]any)
	if report["steps"] != 4.0 || folds["threshold"] != 0.3 || folds["oos_recall"] != nil || folds["in_scope_accuracy"] == nil {
		t.Errorf("the report as JSON: %v", report)
	}
	if asked, loaded := s.must("bot", "ask", "--csv", faq, "--json", "resrve tabel"), s.must("bot", "ask", "--model", model, "--json", "resrve tabel"); asked != loaded || !strings.Contains(asked, `"Table"`) {
		t.Errorf("asked %s\nand of the model file %s", asked, loaded)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "data")); err == nil {
		t.Error("a data folder was made")
	}
}

func TestBotEval(t *testing.T) {
	s := newShell(t)
	faq, test := s.write("cafe.csv", cafeFAQ), s.write("test.csv", cafeTest)
	var got map[string]any
	if err := json.Unmarshal([]byte(s.must("bot", "eval", "--train", faq, "--test", test, "--json")), &got); err != nil {
		t.Fatal(err)
	}
	want := []string{"auroc", "in_scope_accuracy", "in_scope_accuracy_at_threshold", "mcc", "oos_recall", "p50_us", "p99_us", "precision", "threshold", "top3", "train_ms"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Error(diff)
	}
	for key, value := range map[string]float64{"in_scope_accuracy": 1, "oos_recall": 1, "auroc": 1, "top3": 1, "threshold": 0.5} {
		if got[key] != value {
			t.Errorf("%s is %v, not %v", key, got[key], value)
		}
	}
	for _, key := range []string{"train_ms", "p50_us", "p99_us"} {
		if v, _ := got[key].(float64); v <= 0 {
			t.Errorf("%s is %v", key, got[key])
		}
	}
	// With threshold 0 everything is answered; what cannot be counted is null.
	got = nil
	if err := json.Unmarshal([]byte(s.must("bot", "eval", "--train", faq, "--test", s.write("oos.csv", "node_name,question,answer\nNO_NODES_DETECTED,who won the match|how deep is the ocean,\n"), "--threshold", "0", "--json")), &got); err != nil {
		t.Fatal(err)
	}
	if got["oos_recall"] != 0.0 || got["precision"] != 0.0 || got["threshold"] != 0.0 || got["in_scope_accuracy"] != nil || got["auroc"] != nil || got["top3"] != nil {
		t.Errorf("without a question in scope: %v", got)
	}
	out, errs, code := s.run("bot", "eval", "--train", faq, "--test", s.write("strange.csv", "text,category\nreserve a table,Table\ncall a taxi,Taxi\n"))
	if code != 0 || !strings.Contains(out, "in-scope accuracy                   50.0 %") || !strings.Contains(errs, `1 labels of `) || !strings.Contains(errs, `"Taxi"`) {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

func TestBotAsk(t *testing.T) {
	s := newShell(t)
	faq := s.write("cafe.csv", cafeFAQ)
	out := s.must("bot", "ask", "--csv", faq, "pls resrve a tabel")
	for _, want := range []string{"read as:     please reserve a table", "answered at 0.5", "rank  confidence  score", "Table", "margin", "jaccard"} {
		if !strings.Contains(out, want) {
			t.Errorf("the answer lacks %q:\n%s", want, out)
		}
	}
	if out := s.must("bot", "ask", "--csv", faq, "who won the match"); !strings.Contains(out, "not answered at 0.5") {
		t.Errorf("said %q", out)
	}
	if out := s.must("bot", "ask", "--csv", faq, "?!"); !strings.Contains(out, "no words") {
		t.Errorf("said %q", out)
	}
}

func TestBotRefuses(t *testing.T) {
	s := newShell(t)
	faq := s.write("cafe.csv", cafeFAQ)
	bad := s.write("bad.csv", "sentence,label\na,X\nb,\n")
	s.fails(bad+": line 3, column label: the sentence has no label", "bot", "train", "--csv", bad)
	s.fails("line 3", "bot", "eval", "--train", faq, "--test", bad)
	s.fails("line 3", "bot", "eval", "--train", bad, "--test", faq)
	s.fails("no such file", "bot", "ask", "--csv", filepath.Join(s.dir, "none.csv"), "hello")
	s.fails("no step to learn", "bot", "train", "--csv", s.write("oos.csv", "sentence,label\nhello,NO_NODES_DETECTED\n"))
	s.fails("no step with a sentence", "bot", "train", "--csv", s.write("empty.csv", "sentence,label\n?,!\n"))
	s.fails("between 0 and 1", "bot", "train", "--csv", faq, "--threshold", "50")
	s.fails("between 0 and 1", "bot", "eval", "--train", faq, "--test", faq, "--threshold", "NaN")
	s.fails("not an undamaged model", "bot", "ask", "--model", faq, "hello")
	s.fails("--csv FILE, or --model FILE", "bot", "ask", "hello")
	s.fails("no such file", "bot", "train", "--csv", faq, "--model", filepath.Join(s.dir, "nowhere", "m"))
	for _, args := range [][]string{{"bot", "train"}, {"bot", "eval", "--train", faq}, {"bot", "ask", "--csv", faq}, {"bot"}} {
		if _, errs, code := s.run(args...); code != 2 || errs == "" {
			t.Errorf("tract %s: exit %d, %q", strings.Join(args, " "), code, errs)
		}
	}
}
