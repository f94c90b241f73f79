package store

import (
	"cmp"
	"slices"
)

// Few is a map of few keys, in their order. There is one for each of thousands of
// remembered threads, and a built-in map of a single key takes a kilobyte.
type Few[K cmp.Ordered, V any] []few[K, V]

type few[K cmp.Ordered, V any] struct {
	Key   K
	Value V
}

func (f Few[K, V]) find(k K) (int, bool) {
	return slices.BinarySearchFunc(f, k, func(e few[K, V], k K) int { return cmp.Compare(e.Key, k) })
}

// Has says whether there is a value of a key.
func (f Few[K, V]) Has(k K) bool {
	_, found := f.find(k)
	return found
}

// Get is the value of a key; the zero value when there is none.
func (f Few[K, V]) Get(k K) (v V) {
	if i, found := f.find(k); found {
		v = f[i].Value
	}
	return v
}

// Put sets the value of a key.
func (f *Few[K, V]) Put(k K, v V) {
	i, found := f.find(k)
	if !found {
		*f = slices.Insert(*f, i, few[K, V]{Key: k})
	}
	(*f)[i].Value = v
}
