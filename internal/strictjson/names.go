package strictjson

import (
	"bytes"
	"hash/maphash"
	"unicode"
	"unicode/utf8"
)

// nameSet holds the member names of all open objects. Names leave in the
// reverse order of their coming (an object's names go when it closes), which
// makes deletion from the open-addressed table a plain clearing of the slot.
type nameSet struct {
	seed    maphash.Seed
	entries []nameEntry
	folded  []byte   // the names of entries, decoded and case-folded, end to end
	table   []uint32 // index into entries plus one; a power of two long
}

type nameEntry struct {
	hash     uint64
	slot     int
	off, len int // where its folded name is
	key, end int // the name as written in the text, quotes included
}

// add puts in the name written at b[key:end]. Only entries from base on belong
// to the same object; one of them with an equal name is returned as its twin.
func (n *nameSet) add(b []byte, key, end, base, depth int) (twin nameEntry, dup bool) {
	if 2*len(n.entries) >= len(n.table) {
		n.grow()
	}
	off := len(n.folded)
	n.folded = appendString(n.folded, b[key:end])
	n.folded = n.folded[:off+fold(n.folded[off:])]
	name := n.folded[off:]
	// Equal names at many depths must not pile up in one place of the table.
	hash := maphash.Bytes(n.seed, name) ^ uint64(depth)*0x9E3779B97F4A7C15

	slot := int(hash) & (len(n.table) - 1)
	for n.table[slot] != 0 {
		i := int(n.table[slot] - 1)
		if e := n.entries[i]; i >= base && e.hash == hash && bytes.Equal(n.folded[e.off:e.off+e.len], name) {
			return e, true
		}
		slot = (slot + 1) & (len(n.table) - 1)
	}
	n.entries = append(n.entries, nameEntry{hash: hash, slot: slot, off: off, len: len(name), key: key, end: end})
	n.table[slot] = uint32(len(n.entries))
	return nameEntry{}, false
}

// truncate removes all entries from base on.
func (n *nameSet) truncate(base int) {
	if base == len(n.entries) {
		return
	}
	for _, e := range n.entries[base:] {
		n.table[e.slot] = 0
	}
	n.folded = n.folded[:n.entries[base].off]
	n.entries = n.entries[:base]
}

func (n *nameSet) grow() {
	n.table = make([]uint32, max(64, 2*len(n.table)))
	for i := range n.entries {
		slot := int(n.entries[i].hash) & (len(n.table) - 1)
		for n.table[slot] != 0 {
			slot = (slot + 1) & (len(n.table) - 1)
		}
		n.entries[i].slot = slot
		n.table[slot] = uint32(i + 1)
	}
}

// fold replaces, in place, each character by the least one that differs from it
// only in case, as encoding/json does when it looks for a field, and returns
// the new length. The least one is never longer in UTF-8.
func fold(name []byte) int {
	w := 0
	for r := 0; r < len(name); {
		c := name[r]
		if c < utf8.RuneSelf {
			if 'a' <= c && c <= 'z' {
				c -= 'a' - 'A'
			}
			name[w] = c
			r, w = r+1, w+1
			continue
		}
		ch, size := utf8.DecodeRune(name[r:])
		least := ch
		for f := unicode.SimpleFold(ch); f != ch; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		r += size
		w += utf8.EncodeRune(name[w:w+utf8.RuneLen(least)], least)
	}
	return w
}
