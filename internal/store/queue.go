package store

import "context"

// queue is the way to the goroutines that commit.
type queue struct {
	quit  chan struct{} // closed when nothing more is taken in
	ended chan struct{} // closed when nothing commits any more
}

// job is a closure that waits to be committed.
type job struct {
	ctx    context.Context
	thread int64 // that it is about, where transactions are shared by threads; else 0
	fn     func(*Tx) error
	result chan error
}

func newQueue() queue { return queue{make(chan struct{}), make(chan struct{})} }

// put queues a closure and gives what came of it.
func (q queue) put(ctx context.Context, jobs chan<- *job, thread int64, fn func(*Tx) error) error {
	closed := ErrUnavailable.With("the store is closed")
	j := &job{context.WithValue(ctx, inUpdate{}, true), thread, fn, make(chan error, 1)}
	select {
	case <-q.quit:
		return closed
	default:
	}
	select {
	case jobs <- j:
	case <-ctx.Done():
		return ErrUnavailable.Because(ctx.Err())
	case <-q.quit:
		return closed
	}
	// Once queued the answer is awaited whatever happens to the caller: only the
	// committer knows whether it was stored.
	select {
	case err := <-j.result:
		return err
	case <-q.ended:
	}
	select {
	case err := <-j.result:
		return err
	default: // it came in after the last commit
		return closed
	}
}

// gather takes what else waits, without waiting for it.
func gather(first *job, jobs <-chan *job, most int) []*job {
	batch := []*job{first}
	for len(batch) < most {
		select {
		case j := <-jobs:
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}
