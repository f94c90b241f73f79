package nlu

import (
	"math"
	"unicode/utf8"
)

// The blocks of features. Each is brought to its own length, so that none
// drowns another.
const (
	blockWords     = iota // words and pairs of words
	blockLetters          // letter n-grams within words
	blockSkeletons        // words without their vowels
	blockConcepts         // what words of like meaning share
	blocks
)

const (
	edgeFactor    = 0.5 // the first and the last word once more, as such
	unseenFactor  = 0.8 // what training never saw still lengthens the sentence
	shortestGram  = 2
	longestGram   = 5
	longestPhrase = 3 // words of a concept's phrase
)

// blockLength is how long each block's part of a sentence is.
func blockLength(block int) float64 {
	if block == blockSkeletons {
		return 0.25
	}
	return 1
}

// feature is one occurrence of a feature in a sentence.
type feature struct {
	key    uint64 // hash of block and text
	factor float32
	block  uint8
}

// hash64 is FNV-1a with a finishing step that spreads short keys.
type hash64 uint64

func newHash(block uint64) hash64 { return hash64(14695981039346656037 ^ block*0x9e3779b97f4a7c15) }

func (h hash64) byte(b byte) hash64 { return (h ^ hash64(b)) * 1099511628211 }

func (h hash64) add(s string) hash64 {
	for i := range len(s) {
		h = h.byte(s[i])
	}
	return h
}

func (h hash64) sum() uint64 {
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return uint64(h ^ h>>32)
}

// wordKey is the feature of a single word.
func wordKey(stem string) uint64 { return newHash(blockWords).add(stem).sum() }

// extract appends the features of a sentence, one entry per occurrence.
func (l *lexicon) extract(dst []feature, tokens []token) []feature {
	dst = l.meanings(dst, tokens)
	var before *token
	for i := range tokens {
		t := &tokens[i]
		if t.factor == 0 {
			continue
		}
		dst = append(dst, feature{wordKey(t.stem), t.factor, blockWords})
		if before == nil {
			dst = append(dst, feature{newHash(blockWords).add("^ ").add(t.stem).sum(), edgeFactor * t.factor, blockWords})
		} else {
			pair := newHash(blockWords).add(before.stem).byte(' ').add(t.stem)
			dst = append(dst, feature{pair.sum(), max(before.factor, t.factor), blockWords})
		}
		before = t
		if !t.number {
			dst = grams(dst, t)
			dst = skeleton(dst, t)
		}
	}
	if before != nil {
		dst = append(dst, feature{newHash(blockWords).add(before.stem).add(" ^").sum(), edgeFactor * before.factor, blockWords})
	}
	return dst
}

// meanings adds the concepts of words and phrases; a word of many meanings
// counts less for each.
func (l *lexicon) meanings(dst []feature, tokens []token) []feature {
	var buf [longestPhrase * (4*maxWord + 1)]byte
	for i := range tokens {
		key := buf[:0]
		for n := 0; n < longestPhrase && i+n < len(tokens); n++ {
			if n > 0 {
				key = append(key, ' ')
			}
			stem := tokens[i+n].stem
			if !tokens[i+n].topic {
				stem = l.stem(tokens[i+n].word)
			}
			key = append(key, stem...)
			groups := l.concepts[string(key)]
			if len(groups) == 0 {
				continue
			}
			factor := float32(1 / math.Sqrt(float64(len(groups))))
			for _, g := range groups {
				h := newHash(blockConcepts).byte(byte(g)).byte(byte(g >> 8))
				dst = append(dst, feature{h.sum(), factor, blockConcepts})
			}
		}
	}
	return dst
}

// grams adds the letter n-grams of a word with its two edges.
func grams(dst []feature, t *token) []feature {
	var buf [4*maxWord + 2]byte
	b := append(append(append(buf[:0], '_'), t.word...), '_')
	var at [maxWord + 3]int // where each rune begins
	n := 0
	for i := 0; i < len(b) && n < len(at)-1; n++ {
		at[n] = i
		_, size := utf8.DecodeRune(b[i:])
		i += size
	}
	at[n] = len(b)
	for from := range n {
		h := newHash(blockLetters)
		for to := from; to < min(n, from+longestGram); to++ {
			for _, c := range b[at[to]:at[to+1]] {
				h = h.byte(c)
			}
			if to-from+1 >= shortestGram {
				dst = append(dst, feature{h.sum(), t.factor, blockLetters})
			}
		}
	}
	return dst
}

// skeleton adds a longer word's first letter and consonants, which survive
// most misspellings.
func skeleton(dst []feature, t *token) []feature {
	if len(t.stem) < 4 || !ascii(t.stem) {
		return dst
	}
	h := newHash(blockSkeletons)
	n := 0
	var last byte
	for i := range len(t.stem) {
		c := t.stem[i]
		if i > 0 && (vowel(c) || c == last) {
			continue
		}
		h = h.byte(c)
		last = c
		n++
	}
	if n < 2 {
		return dst
	}
	return append(dst, feature{h.sum(), t.factor, blockSkeletons})
}
