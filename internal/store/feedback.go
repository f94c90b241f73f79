package store

import (
	"time"

	"tract"
)

// Feedback is what a user thought of a conversation.
type Feedback struct {
	Client, Business int64
	User, Thread     int64
	Conversation     int
	Owner            tract.ReceiverID // who had the conversation
	Resolved         bool
	Rating           int // 1 to 5
	Comment          string
}

// InsertFeedback notes feedback, once per thread since an instant; inserted is
// false when there is one already. The caller holds the thread.
func (tx *Tx) InsertFeedback(f Feedback, since time.Time) (inserted bool, err error) {
	var newer int
	if _, err := tx.one([]any{&newer}, `select count(*) from feedback where thread = $1 and at > $2`, f.Thread, since); err != nil || newer > 0 {
		return false, err
	}
	return true, tx.exec(`insert into feedback (client, business, user_id, thread, conversation, owner, resolved, rating, comment, at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		f.Client, f.Business, f.User, f.Thread, f.Conversation, string(f.Owner), f.Resolved, f.Rating, f.Comment, tx.Now)
}

// ListFeedback returns a thread's feedback, oldest first.
func (tx *Tx) ListFeedback(thread int64) (out []Feedback, err error) {
	err = tx.each(func(r row) error {
		var f Feedback
		err := r.Scan(&f.Client, &f.Business, &f.User, &f.Thread, &f.Conversation, &f.Owner, flag(&f.Resolved), &f.Rating, &f.Comment)
		out = append(out, f)
		return err
	}, `select client, business, user_id, thread, conversation, owner, resolved, rating, comment from feedback where thread = $1 order by at, id`, thread)
	return out, err
}

// CompletedBy is who had a conversation when it was completed; "" when it was not.
func (tx *Tx) CompletedBy(thread int64, conversation int) (owner tract.ReceiverID, err error) {
	es, err := tx.entries(`select `+entryColumns+` from entries where thread = $1 and conversation = $2 and event = $3 order by id desc limit 1`, thread, conversation, string(tract.EventComplete))
	if err != nil || len(es) == 0 {
		return "", err
	}
	return es[0].Meta.Owner, nil
}
