package nlu

import "slices"

// speller mends words towards the training vocabulary. It is guarded: a word
// that training knows, or that is common in the language, is left alone.
type speller struct {
	known  map[string]int32 // how often training has the word
	stems  map[string]bool  // of the known words
	common list
	// near holds the words that may be mended to, by first letter, shorter
	// ones first; words of equal length in order of the alphabet.
	near map[byte][]string
}

const (
	mendFrom      = 4 // letters; shorter words are never mended
	mendTwiceFrom = 7
)

func newSpeller(known map[string]int32, lex *lexicon) *speller {
	s := &speller{known: known, stems: make(map[string]bool, len(known)), common: lex.common, near: make(map[byte][]string)}
	for w := range known {
		s.stems[lex.stem(w)] = true
		if len(w) >= mendFrom-1 && ascii(w) && w[0] != '#' {
			s.near[w[0]] = append(s.near[w[0]], w)
		}
	}
	for _, words := range s.near {
		slices.SortFunc(words, func(a, b string) int {
			if d := len(a) - len(b); d != 0 {
				return d
			}
			if a < b {
				return -1
			}
			return 1
		})
	}
	return s
}

// mend gives the word of the training vocabulary that was probably meant: the
// nearest within the allowed edits, of those the most frequent, of those the
// first in the alphabet.
func (s *speller) mend(word string) string {
	if len(word) < mendFrom || !ascii(word) || word[0] == '#' {
		return word
	}
	if _, ok := s.known[word]; ok || s.common.has(word) {
		return word
	}
	allowed := 1
	if len(word) >= mendTwiceFrom {
		allowed = 2
	}
	best, bestEdits, bestCount := word, allowed+1, int32(0)
	words := s.near[word[0]]
	from, _ := slices.BinarySearchFunc(words, len(word)-allowed, func(w string, n int) int { return len(w) - n })
	for _, w := range words[from:] {
		if len(w) > len(word)+allowed {
			break
		}
		e := edits(word, w, min(allowed, bestEdits))
		if e > allowed {
			continue
		}
		if n := s.known[w]; e < bestEdits || e == bestEdits && n > bestCount {
			best, bestEdits, bestCount = w, e, n
		}
	}
	return best
}

// edits counts the insertions, deletions, replacements and swaps of neighbours
// that turn a into b; more than limit is reported as limit+1.
func edits(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit {
		return limit + 1
	}
	var rows [3][maxWord + 2]int8
	before, prev, cur := &rows[0], &rows[1], &rows[2]
	if len(a) > maxWord || len(b) > maxWord {
		return limit + 1
	}
	for j := 0; j <= len(b); j++ {
		prev[j] = int8(j)
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = int8(i)
		least := cur[0]
		for j := 1; j <= len(b); j++ {
			cost := int8(1)
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, before[j-2]+1)
			}
			cur[j] = d
			least = min(least, d)
		}
		if int(least) > limit {
			return limit + 1
		}
		before, prev, cur = prev, cur, before
	}
	return min(int(prev[len(b)]), limit+1)
}
