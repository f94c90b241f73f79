package bot

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"tract"
	"tract/internal/store"
	"tract/internal/texts"
)

// Bounds of what an import says of texts.
const (
	mostNamed   = 1000 // keys that are looked at
	mostMissing = 50   // warnings
)

// namedTexts are the texts that the answers of a file name, each with the line
// where it is named first.
type namedTexts map[string]int

func (n namedTexts) note(line int, s tract.Step) {
	for _, answer := range s.Answers {
		for _, key := range texts.Named(answer) {
			if _, known := n[key]; !known && len(n) < mostNamed {
				n[key] = line
			}
		}
	}
}

// missing warns of the texts that the client does not have.
func (n namedTexts) missing(tx *store.Tx, client int64) (warnings []string, err error) {
	if len(n) == 0 {
		return nil, nil
	}
	all, err := tx.Texts(client)
	if err != nil {
		return nil, err
	}
	keys := slices.SortedFunc(maps.Keys(n), func(a, b string) int { return cmp.Or(cmp.Compare(n[a], n[b]), cmp.Compare(a, b)) })
	keys = slices.DeleteFunc(keys, func(k string) bool { _, known := all[k]; return known })
	for i, key := range keys {
		if i == mostMissing {
			return append(warnings, fmt.Sprintf("%d more texts do not exist", len(keys)-i)), nil
		}
		warnings = append(warnings, fmt.Sprintf("line %d, column %s: the text %s does not exist: {{text:%s}} is shown as written", n[key], columnAnswer, key, key))
	}
	return warnings, nil
}
