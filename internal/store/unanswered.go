package store

import (
	"slices"
	"time"

	"tract"
)

// What a bot did with a question that it had no sure answer to.
const (
	DidSuggest  = "suggested"
	DidBreak    = "broke"
	DidHandOver = "handed_over"
)

// Unanswered is a question that a bot had no sure answer to.
type Unanswered struct {
	Entry    tract.MessageID
	Client   int64
	Domain   string
	Thread   int64
	Question string
	Did      string
	Offered  []string // names of the steps that were suggested
	Chosen   string   // the one of them that the user picked; "" = none
	At       time.Time
}

// InsertUnanswered keeps a question; the same entry is kept once.
func (tx *Tx) InsertUnanswered(u Unanswered) error {
	if u.Offered == nil {
		u.Offered = []string{}
	}
	return tx.exec(`insert into unanswered (entry, client, domain, thread, question, did, offered, chosen, at) values ($1, $2, $3, $4, $5, $6, $7, '', $8) on conflict do nothing`,
		int64(u.Entry), u.Client, u.Domain, u.Thread, u.Question, u.Did, toJSON(u.Offered), tx.Now)
}

// newestSuggested is a thread's last kept question, when steps were suggested for it.
const newestSuggested = `entry = (select max(entry) from unanswered where thread = $1) and did = 'suggested'`

// SetUnansweredChosen notes which of the steps suggested last the user picked.
func (tx *Tx) SetUnansweredChosen(thread int64, step string) error {
	return tx.exec(`update unanswered set chosen = $2 where `+newestSuggested, thread, step)
}

// SetUnansweredDid notes what became of the question whose suggestions the user
// refused.
func (tx *Tx) SetUnansweredDid(thread int64, did string) error {
	return tx.exec(`update unanswered set did = $2 where `+newestSuggested+` and chosen = ''`, thread, did)
}

// ListUnanswered returns the newest kept questions of a bot, oldest first.
func (tx *Tx) ListUnanswered(client int64, domain string, limit int) (out []Unanswered, err error) {
	err = tx.each(func(r row) error {
		u := Unanswered{Client: client, Domain: domain}
		err := r.Scan(&u.Entry, &u.Thread, &u.Question, &u.Did, js(&u.Offered), &u.Chosen, at(&u.At))
		out = append(out, u)
		return err
	}, `select entry, thread, question, did, offered, chosen, at from unanswered where client = $1 and domain = $2 order by entry desc limit $3`, client, domain, limit)
	slices.Reverse(out)
	return out, err
}

// DeleteUnanswered removes kept questions of a bot and says how many were there.
func (tx *Tx) DeleteUnanswered(client int64, domain string, entries []tract.MessageID) (deleted int64, err error) {
	for _, e := range entries {
		n, err := tx.count(`delete from unanswered where entry = $1 and client = $2 and domain = $3`, int64(e), client, domain)
		if err != nil {
			return 0, err
		}
		deleted += n
	}
	return deleted, nil
}

// DropUnansweredOf removes the kept questions of a thread, whose messages are
// erased in the same transaction.
func (tx *Tx) DropUnansweredOf(thread int64) error {
	return tx.exec(`delete from unanswered where thread = $1`, thread)
}

// TrimUnanswered removes the oldest kept questions of a bot beyond most.
func (tx *Tx) TrimUnanswered(client int64, domain string, most int) error {
	return tx.exec(`delete from unanswered where client = $1 and domain = $2 and entry <= (select entry from unanswered where client = $1 and domain = $2 order by entry desc limit 1 offset $3)`,
		client, domain, most)
}

// DeleteUnansweredBefore removes up to limit questions kept before t and says how
// many there were.
func (tx *Tx) DeleteUnansweredBefore(t time.Time, limit int) (int64, error) {
	return tx.count(`delete from unanswered where entry in (select entry from unanswered where at < $1 order by at limit $2)`, t, limit)
}
