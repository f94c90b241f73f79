package web

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"tract"
	"tract/internal/store"
)

// Errors of calls with an Idempotency-Key.
var (
	ErrKeyMismatch   = &tract.Error{Kind: tract.KindMismatch, Code: "idempotency_mismatch", Msg: "Idempotency-Key was used with another body"}
	ErrKeyInProgress = &tract.Error{Kind: tract.KindConflict, Code: "idempotency_in_progress", Msg: "another call with this Idempotency-Key is still running"}
)

const (
	maxKey    = 255
	keyMemory = 24 * time.Hour
	keyWait   = 5 * time.Second
)

type digest = [sha256.Size]byte

// Idempotency lets callers repeat a request without repeating its effect. There
// is one for all endpoints of a process.
//
// The answer is stored in the transaction of the command: either both are there
// after a crash or neither is. Calls with one key pass one at a time: here
// before they take a connection, and in the store against other processes.
type Idempotency struct {
	Store *store.Store
	Wait  time.Duration // how long a call waits for another with its key; 0 = 5 s

	mu    sync.Mutex // guards gates
	gates map[digest]*gate
}

// gate lets one call of a key through at a time. It exists while a call is
// inside or waits.
type gate struct {
	users int
	free  chan struct{} // holds one token while nobody is inside
}

// Keyed is one request under its Idempotency-Key, or one without.
type Keyed struct {
	owner *Idempotency
	given bool
	scope digest
	body  digest
	// Check is asked before a remembered answer is given again, whether the
	// caller still may have it; nil asks nobody.
	Check func(*store.Tx) error
}

// Key reads the Idempotency-Key of a request. body is what the caller must send
// again for the same answer: the body, or a digest of one that was streamed.
// scope names the client, the caller and the endpoint. Without the header the
// result does nothing but run the command.
func (i *Idempotency) Key(r *http.Request, body []byte, scope ...string) (*Keyed, error) {
	k := &Keyed{owner: i}
	values := r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return k, nil
	}
	if len(values) > 1 || !saneKey(values[0]) {
		return nil, tract.Invalid("invalid_idempotency_key", "Idempotency-Key must be given once, with 1 to %d printable ASCII characters", maxKey)
	}
	h := sha256.New()
	for _, s := range scope {
		writePart(h, s)
	}
	writePart(h, values[0])
	k.given, k.scope, k.body = true, digest(h.Sum(nil)), sha256.Sum256(body)
	return k, nil
}

func saneKey(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxKey
}

// Update runs a command on a thread (0 = on none) in one transaction, once for
// all calls with this key: the others get its answer. An error of the command,
// or an answer that is not 2xx, is not remembered.
func (k *Keyed) Update(ctx context.Context, thread int64, command func(*store.Tx) (Answer, error)) (Answer, error) {
	leave, err := k.enter(ctx)
	if err != nil {
		return Answer{}, err
	}
	defer leave()
	var a Answer
	update := k.owner.Store.UpdateThread
	if !k.given {
		update = k.owner.Store.ShareThread
	}
	err = update(ctx, thread, func(tx *store.Tx) (err error) {
		var known bool
		if a, known, err = k.Replay(tx); known || err != nil {
			if known && k.Check != nil {
				return k.Check(tx)
			}
			return err
		}
		if a, err = command(tx); err != nil {
			return err
		}
		return k.Save(tx, a)
	})
	if errors.Is(err, store.ErrKeyHeld) {
		return Answer{}, ErrKeyInProgress.Because(err).Fact(retryAfter, 1)
	}
	if err != nil {
		return Answer{}, err
	}
	return a, nil
}

// Replay locks the key for the rest of the transaction and gives the answer
// saved under it. It comes before any other lock, Save after everything else.
// They are apart for commands whose final answer comes later: such a command
// saves a 202 of its own with its effect, and replaces it when it knows more.
func (k *Keyed) Replay(tx *store.Tx) (a Answer, known bool, err error) {
	if !k.given {
		return Answer{}, false, nil
	}
	was, known, err := tx.LockIdempotency(k.scope[:], tx.Now.Add(-keyMemory))
	if err != nil || !known {
		return Answer{}, false, err
	}
	if digest(was.RequestHash) != k.body {
		return Answer{}, false, ErrKeyMismatch
	}
	return Answer{Status: was.Status, Body: was.Response}, true, nil
}

// Save remembers a 2xx answer in JSON.
func (k *Keyed) Save(tx *store.Tx, a Answer) error {
	if a.err != nil {
		return a.err
	}
	if !k.given || a.Status/100 != 2 {
		return nil
	}
	if a.Type != "" {
		return fmt.Errorf("remember an answer of type %s: only JSON is", a.Type)
	}
	return tx.PutIdempotency(k.scope[:], store.Remembered{RequestHash: k.body[:], Status: a.Status, Response: append([]byte{}, a.Body...)})
}

// enter waits until no other call with the key is inside.
func (k *Keyed) enter(ctx context.Context) (leave func(), err error) {
	if !k.given {
		return func() {}, nil
	}
	i := k.owner
	g := i.join(k.scope)
	wait := i.Wait
	if wait == 0 {
		wait = keyWait
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-g.free:
		return func() { g.free <- struct{}{}; i.part(k.scope, g) }, nil
	case <-t.C:
	case <-ctx.Done():
	}
	i.part(k.scope, g)
	return nil, ErrKeyInProgress.Fact(retryAfter, 1)
}

func (i *Idempotency) join(scope digest) *gate {
	i.mu.Lock()
	defer i.mu.Unlock()
	g := i.gates[scope]
	if g == nil {
		g = &gate{free: make(chan struct{}, 1)}
		g.free <- struct{}{}
		if i.gates == nil {
			i.gates = map[digest]*gate{}
		}
		i.gates[scope] = g
	}
	g.users++
	return g
}

func (i *Idempotency) part(scope digest, g *gate) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if g.users--; g.users == 0 {
		delete(i.gates, scope)
	}
}
