package ect

import (
	"context"
	"sync"
)

// job is something the tool does by itself, outside of any hook call.
type job func(ctx context.Context)

// work runs jobs: those of one user in order, different users side by side. A
// job that asks the hub for something may itself cause a hook call; since no
// hook call ever waits for a job, the two cannot lock each other up.
type work struct {
	mu      sync.Mutex // guards the fields below
	ctx     context.Context
	spawn   func(func()) // nil before open
	closed  bool
	pending map[string][]job
	busy    map[string]bool
}

// add queues a job. Before open it waits; after close it is dropped.
func (w *work) add(user string, j job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	if w.pending == nil {
		w.pending, w.busy = map[string][]job{}, map[string]bool{}
	}
	w.pending[user] = append(w.pending[user], j)
	w.start(user)
}

// open begins to run jobs. spawn starts a goroutine that somebody waits for.
func (w *work) open(ctx context.Context, spawn func(func())) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ctx, w.spawn = ctx, spawn
	for user := range w.pending {
		w.start(user)
	}
}

// close drops what has not begun. Afterwards nothing is spawned any more.
func (w *work) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed, w.pending = true, nil
}

// start is called with the lock held.
func (w *work) start(user string) {
	if w.spawn == nil || w.busy[user] {
		return
	}
	w.busy[user] = true
	w.spawn(func() {
		for j := w.next(user); j != nil; j = w.next(user) {
			j(w.ctx)
		}
	})
}

// next takes the user's next job; without one the user's goroutine ends.
func (w *work) next(user string) job {
	w.mu.Lock()
	defer w.mu.Unlock()
	queue := w.pending[user]
	if len(queue) == 0 {
		delete(w.pending, user)
		delete(w.busy, user)
		return nil
	}
	w.pending[user] = queue[1:]
	return queue[0]
}
