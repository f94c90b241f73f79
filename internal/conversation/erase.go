package conversation

import (
	"context"
	"encoding/json"
	"time"

	"tract"
	"tract/internal/store"
)

// ErrErased is the answer about a user who is not there any more: the same as
// about one who never was.
var ErrErased = &tract.Error{Kind: tract.KindForbidden, Code: "user_not_registered", Msg: "user is not registered"}

type eraseJob struct {
	Erasure string `json:"erasure"`
}

// Pace of erasing: how many steps are done at a time, so that timers are looked
// at in between, and how often files are looked at that are still there.
const (
	eraseSteps = 20
	eraseFiles = 2 * time.Second
)

// Erase begins to erase a user, and is once committed what the rest of the hub
// goes by: the user and its threads are not found any more, open conversations
// are complete, and nothing queued about them is sent. A job does the rest. What
// tools and channel knew is not told them: they are not found any more either.
// ErrNotFound when there is no such user.
func (s *Service) Erase(tx *store.Tx, client int64, authID, id string, subject []byte) (store.User, error) {
	u, err := tx.LockUserByAuthID(client, authID)
	if err != nil {
		return u, err
	}
	ids, err := tx.ListThreadsOfUser(u.ID)
	if err != nil {
		return u, err
	}
	var threads []*store.Locked
	for _, thread := range ids {
		l, err := tx.LockThread(thread)
		if err != nil {
			return u, err
		}
		if err := s.closeSilently(tx, l); err != nil {
			return u, err
		}
		threads = append(threads, l)
	}
	return u, tx.InsertErasure(id, u, threads, subject)
}

// closeSilently completes an open conversation in the log and tells nobody.
func (s *Service) closeSilently(tx *store.Tx, l *store.Locked) error {
	cfg, err := s.configs.get(tx, l.Client, l.ConfigVersion)
	if err != nil {
		return err
	}
	settings := cfg.settings[l.Business]
	if settings == nil || !l.State.State.Open() {
		return nil
	}
	out, err := tract.Decide(l.State, settings, tract.Close{}, tx.Now)
	if err != nil {
		return err
	}
	for i := range out.Ledger {
		if err := tx.InsertLedger(l.ID, out.Ledger[i]); err != nil {
			return err
		}
	}
	for i := range out.Entries {
		e, err := newEntry(tx, l, &out.Entries[i])
		if err == nil {
			err = tx.InsertEntry(l, &e)
		}
		if err != nil {
			return err
		}
	}
	return tx.SaveThread(l, out.Thread)
}

// erase does some steps of an erasure. done is false while some are left: then
// the job is to be claimed again at next.
func (s *Service) erase(ctx context.Context, j store.Job) (done bool, next time.Duration, err error) {
	var body eraseJob
	if err := json.Unmarshal(j.Body, &body); err != nil {
		return false, 0, err
	}
	for range eraseSteps {
		var e store.Erasure
		if err := s.Store.UpdateLow(ctx, func(tx *store.Tx) (err error) { e, err = tx.EraseSome(body.Erasure); return err }); err != nil {
			return false, 0, err
		}
		switch e.State {
		case store.ErasureDone:
			return true, 0, nil
		case store.ErasureFiles:
			return false, eraseFiles, nil
		}
	}
	return false, 0, nil
}
