package delivery

import (
	"tract"
	"tract/internal/store"
)

// ErrNotSettled refuses to replay what will be sent anyway.
var ErrNotSettled = &tract.Error{Kind: tract.KindConflict, Code: "still_queued", Msg: "the delivery is still queued: it will be sent by itself"}

// ErrNoReplay refuses to ask the bot again.
var ErrNoReplay = &tract.Error{Kind: tract.KindConflict, Code: "no_replay", Msg: "a turn of the bot cannot be replayed"}

// ErrErased refuses to send what was erased.
var ErrErased = &tract.Error{Kind: tract.KindConflict, Code: "erased", Msg: "the user was erased, and what the delivery said with it"}

// Replay queues a settled delivery once more, at the end of its lane: the same
// bytes under the same webhook-id, so that a receiver that has it already can
// tell. The tool's feed does not show it a second time. A disabled endpoint gets
// it when it is enabled; one that was removed is ErrNotFound.
//
// It locks the thread: a caller that replays deliveries of several threads uses
// a transaction for each.
func Replay(tx *store.Tx, k store.LaneKey, seq int64) error {
	l, err := tx.LockThread(k.Thread)
	if err != nil {
		return err
	}
	if l.Erased() {
		return ErrErased
	}
	item, err := tx.Delivery(k, seq)
	if err != nil {
		return err
	}
	e, err := tx.Endpoint(k.Endpoint)
	if err != nil {
		return err
	}
	if e.Kind == store.EndpointBot {
		return ErrNoReplay
	}
	lane, _, err := tx.Lane(k)
	if err != nil {
		return err
	}
	if seq > lane.Done {
		return ErrNotSettled
	}
	again := store.Delivery{Entry: item.Entry, DeliverySeq: item.DeliverySeq, Payload: item.Payload}
	if err := tx.AppendDelivery(l, k.Endpoint, again); err != nil {
		return err
	}
	if err := tx.SetReplayed(k, seq); err != nil {
		return err
	}
	return tx.SaveThread(l, l.State)
}
