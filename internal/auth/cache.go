package auth

import (
	"strings"
	"sync"
)

const maxCached = 4096

// cache remembers what was proven by a text. Its zero value works.
type cache[V any] struct {
	mu   sync.Mutex // guards held
	held map[string]V
}

func (c *cache[V]) get(text string) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok = c.held[text]
	return v, ok
}

// put remembers; a full cache forgets any other text.
func (c *cache[V]) put(text string, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.held = map[string]V{}
	}
	if len(c.held) >= maxCached {
		for other := range c.held {
			delete(c.held, other)
			break
		}
	}
	c.held[strings.Clone(text)] = v
}
