package store_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tract/internal/store"
	"tract/internal/tracttest"
)

func TestIdempotencyRows(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		scope, other := bytes.Repeat([]byte{7}, 32), append(bytes.Repeat([]byte{7}, 31), 8) // one lock, two keys
		one := store.Remembered{RequestHash: []byte{0, 1, 255}, Status: 201, Response: []byte("{\"a\":\"é\x00\"}")}
		two := store.Remembered{RequestHash: []byte{2}, Status: 200, Response: []byte{}}
		lock := func(tx *store.Tx, since time.Time, want *store.Remembered) {
			t.Helper()
			got, found, err := tx.LockIdempotency(scope, since)
			if err != nil || found != (want != nil) {
				t.Fatalf("found %v, %v", found, err)
			}
			if want != nil {
				if d := cmp.Diff(*want, got, cmpopts.EquateEmpty()); d != "" {
					t.Error(d)
				}
			}
		}
		var now time.Time
		steps := []func(tx *store.Tx) error{
			func(tx *store.Tx) error {
				now = tx.Now
				lock(tx, time.Time{}, nil)
				return tx.PutIdempotency(scope, one)
			},
			func(tx *store.Tx) error {
				lock(tx, now, &one)
				lock(tx, now.Add(time.Microsecond), nil)
				if _, found, err := tx.LockIdempotency(other, time.Time{}); found || err != nil {
					t.Errorf("another key: %v, %v", found, err)
				}
				return tx.PutIdempotency(scope, two)
			},
			func(tx *store.Tx) error { lock(tx, now, &two); return nil },
		}
		for _, step := range steps {
			if err := s.Update(ctx, step); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestKeyHeldTooLong(t *testing.T) {
	o := tracttest.Fresh(t, "postgres")
	one, two := tracttest.Open(t, o), tracttest.Open(t, o)
	ctx := context.Background()
	scope := bytes.Repeat([]byte{7}, 32)
	lock := func(tx *store.Tx) error {
		if err := store.ShortLockTimeout(tx); err != nil {
			return err
		}
		_, _, err := tx.LockIdempotency(scope, time.Time{})
		return err
	}
	err := one.Update(ctx, func(tx *store.Tx) error {
		if err := lock(tx); err != nil {
			return err
		}
		if err := two.Update(ctx, lock); !errors.Is(err, store.ErrKeyHeld) || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := two.Update(ctx, lock); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
}
