package conversation_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"tract"
	"tract/internal/hsl"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// A bot's answer locks the thread before the lane of its turn. The other way
// round it and a message that comes in meanwhile would each hold what the other
// needs, and PostgreSQL looks for that only after a second.
func TestAnswerLocksTheThreadFirst(t *testing.T) {
	o := tracttest.Fresh(t, "postgres")
	r := newRoom(t, o, nil)
	turn := *r.says("hello").Turn
	ctx := t.Context()
	look, err := pgx.Connect(ctx, o.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close(context.Background())
	answered := make(chan error, 1)
	var free, open int
	r.update(func(tx *store.Tx) error {
		if _, err := tx.LockThread(r.thread); err != nil {
			return err
		}
		go func() {
			answered <- r.c.Answer(ctx, turn, tract.BotAnswer{Bodies: []string{hsl.Text("hi").Body()}}, nil, nil)
		}()
		for waiting := false; !waiting; {
			if err := look.QueryRow(ctx, `select count(*) > 0 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`).Scan(&waiting); err != nil {
				return err
			}
		}
		if err := look.QueryRow(ctx, `select count(*) from (select 1 from lanes where thread = $1 for update skip locked) l`, r.thread).Scan(&free); err != nil {
			return err
		}
		return look.QueryRow(ctx, `select count(*) from lanes where thread = $1`, r.thread).Scan(&open)
	})
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if free != open || open == 0 {
		t.Errorf("%d of %d lanes were free while the answer waited for the thread", free, open)
	}
	if got, want := r.lane(turn.Lane).Done, turn.Seq; got != want {
		t.Errorf("the turn's lane stands at %d, want %d", got, want)
	}
}

func (r *room) lane(k store.LaneKey) (l store.Lane) {
	r.t.Helper()
	r.view(func(tx *store.Tx) (err error) { l, _, err = tx.Lane(k); return err })
	return l
}
