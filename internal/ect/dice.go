package ect

import (
	crand "crypto/rand"
	"encoding/hex"
	"math/rand/v2"
	"sync"
	"time"
)

// dice is the tool's randomness: one source, so that a seed decides everything
// but keys and signatures.
type dice struct {
	mu   sync.Mutex // guards rand, which is not safe for concurrent use
	rand *rand.Rand
}

func newDice(src rand.Source) *dice {
	if src == nil {
		var seed [32]byte
		crand.Read(seed[:]) // never fails: the program ends if the system has no randomness
		src = rand.NewChaCha8(seed)
	}
	return &dice{rand: rand.New(src)}
}

// chance is true with probability p.
func (d *dice) chance(p float64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rand.Float64() < p
}

// word is 128 bits in hex: unique, not secret.
func (d *dice) word() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b [16]byte
	for i := range b {
		b[i] = byte(d.rand.Uint32())
	}
	return hex.EncodeToString(b[:])
}

// backoff doubles from 250 ms up to maxBackoff, less up to a quarter so that
// several tools do not knock at the same instant.
func (d *dice) backoff(attempt int) time.Duration {
	pause := maxBackoff
	if attempt < 6 {
		pause = min(250*time.Millisecond<<attempt, maxBackoff)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return pause - time.Duration(d.rand.Int64N(int64(pause)/4))
}
