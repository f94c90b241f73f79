package nlu_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestWordLists holds the lists to the form they are searched in.
func TestWordLists(t *testing.T) {
	least := map[string]int{"common.en.txt": 8000, "background.en.txt": 200}
	files, err := filepath.Glob(filepath.Join("words", "*.txt"))
	if err != nil || len(files) < 25 {
		t.Fatalf("%d lists: %v", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		if len(lines) < max(least[name], 20) {
			t.Errorf("%s has %d lines", name, len(lines))
		}
		kind, _, _ := strings.Cut(name, ".")
		searched := kind == "common" || kind == "function" || kind == "slang"
		keys := make([]string, len(lines))
		for i, line := range lines {
			key, meaning, ok := strings.Cut(line, "\t")
			keys[i] = key
			if line == "" || line != strings.ToLower(strings.TrimSpace(line)) {
				t.Errorf("%s:%d: %q", name, i+1, line)
			}
			if ok != (kind == "slang") || kind == "slang" && (meaning == "" || meaning == key) {
				t.Errorf("%s:%d: %q means %q", name, i+1, key, meaning)
			}
			if searched && strings.Contains(key, " ") {
				t.Errorf("%s:%d: %q is not one word", name, i+1, key)
			}
		}
		if searched && !slices.IsSorted(keys) {
			t.Errorf("%s is not sorted", name)
		}
		slices.Sort(keys)
		if len(slices.Compact(keys)) != len(lines) {
			t.Errorf("%s has a line twice", name)
		}
	}
}
