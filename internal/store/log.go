package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"tract"
)

// Entry is one line of a thread's log as stored. Event is "" for a message.
type Entry struct {
	ID           tract.MessageID
	Thread       int64
	Conversation int
	Event        tract.Event
	Sender       tract.Sender
	By           tract.ReceiverID
	MessageType  int
	Body         string
	Meta         EntryMeta
	At           time.Time
}

// EntryMeta is what an entry carries beside its text.
type EntryMeta struct {
	Agent    *tract.Agent     `json:"agent,omitempty"`
	Op       tract.Op         `json:"op,omitempty"`
	Reason   string           `json:"reason,omitempty"`
	From     tract.ReceiverID `json:"from,omitempty"`
	To       tract.ReceiverID `json:"to,omitempty"`
	Team     string           `json:"team,omitempty"`
	Owner    tract.ReceiverID `json:"owner,omitempty"`
	Epoch    int64            `json:"epoch,omitempty"`
	Metadata map[string]any   `json:"metadata,omitempty"`
	// Template identifies what the message was written as, where texts were filled in.
	Template string `json:"template,omitempty"`
}

const insertEntry = `insert into entries (id, thread, conversation, event, sender, by_receiver, message_type, body, meta, at, hash) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`

// InsertEntry appends to a locked thread's log.
func (tx *Tx) InsertEntry(l *Locked, e *Entry) error {
	meta := toJSON(e.Meta)
	l.LastEntry, l.LastEntryAt = e.ID, e.At
	return tx.exec(insertEntry, int64(e.ID), e.Thread, e.Conversation, string(e.Event), string(e.Sender), string(e.By), e.MessageType, e.Body, meta, e.At, entryHash(e, meta))
}

func entryHash(e *Entry, meta string) []byte {
	h := sha256.New()
	var n [8]byte
	for _, v := range []int64{int64(e.ID), e.Thread, int64(e.Conversation), int64(e.MessageType), micros(e.At)} {
		binary.BigEndian.PutUint64(n[:], uint64(v))
		h.Write(n[:])
	}
	for _, s := range []string{string(e.Event), string(e.Sender), string(e.By), e.Body, meta} {
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	return h.Sum(nil)[:16]
}

const entryColumns = `id, thread, conversation, event, sender, by_receiver, message_type, body, meta, at`

func scanEntry(r row, e *Entry, meta *string, more ...any) error {
	err := r.Scan(append([]any{&e.ID, &e.Thread, &e.Conversation, &e.Event, &e.Sender, &e.By, &e.MessageType, &e.Body, meta, at(&e.At)}, more...)...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(*meta), &e.Meta)
}

func (tx *Tx) entries(sql string, args ...any) (out []Entry, err error) {
	err = tx.each(func(r row) error {
		var e Entry
		var meta string
		err := scanEntry(r, &e, &meta)
		out = append(out, e)
		return err
	}, sql, args...)
	return out, err
}

// Entry reads one line of the log; ErrNotFound when there is none.
func (tx *Tx) Entry(id tract.MessageID) (Entry, error) {
	es, err := tx.entries(`select `+entryColumns+` from entries where id = $1`, int64(id))
	if err == nil && len(es) == 0 {
		return Entry{}, ErrNotFound.With("no such entry")
	}
	if err != nil {
		return Entry{}, err
	}
	return es[0], nil
}

// The log of a thread is ordered by conversation and id, which is the order of
// its ids, because only entries_conversation has that order. With "order by id"
// PostgreSQL may go through everybody's log by id, looking for one thread.
const (
	listEntries = `select ` + entryColumns + ` from entries where thread = $1 and id > $2
		and conversation >= coalesce((select conversation from entries where id = $2), 0) order by conversation, id limit $3`
	recentEntries = `select * from (select ` + entryColumns + ` from entries where thread = $1 order by conversation desc, id desc limit $2) newest order by id`
	// It reads back from the end of the conversation and drops what is of the one
	// before: to bound the reading by $2, too, makes PostgreSQL think that there is
	// little to read, and read and sort the whole conversation.
	recentMessages = `select * from (select ` + entryColumns + ` from entries where thread = $1 and (conversation, id) < ($2, $3)
		and event = '' and sender <> 'haptik' order by conversation desc, id desc limit $4) newest where conversation = $2 order by id`
)

// ListEntries returns a thread's log after an id, oldest first.
func (tx *Tx) ListEntries(thread int64, after tract.MessageID, limit int) ([]Entry, error) {
	return tx.entries(listEntries, thread, int64(after), limit)
}

// ListRecentEntries returns the newest lines of a thread's log, oldest first.
func (tx *Tx) ListRecentEntries(thread int64, limit int) ([]Entry, error) {
	return tx.entries(recentEntries, thread, limit)
}

// ListRecentMessages returns the newest messages of one conversation (the
// system's own left out) before an id (0 = the newest), oldest first.
func (tx *Tx) ListRecentMessages(thread int64, conversation int, before tract.MessageID, limit int) ([]Entry, error) {
	if before == 0 {
		before = 1<<53 - 1
	}
	return tx.entries(recentMessages,
		thread, conversation, int64(before), limit)
}

// InsertLedger appends an operation to a thread's ledger.
func (tx *Tx) InsertLedger(thread int64, e tract.LedgerEntry) error {
	return tx.exec(`insert into ledger (thread, at, op, requester, from_receiver, to_receiver, granted, code, reason, metadata, epoch, first_answer_ms) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, -1)`,
		thread, tx.Now, string(e.Op), string(e.Requester), string(e.From), string(e.To), e.Granted, e.Code, e.Reason, toJSON(e.Metadata), e.Epoch)
}

// SetFirstAnswer notes how long the owner of an epoch took to answer.
func (tx *Tx) SetFirstAnswer(thread, epoch int64, after time.Duration) error {
	return tx.exec(`update ledger set first_answer_ms = $3 where id = (select max(id) from ledger where thread = $1 and epoch = $2 and granted = 1 and first_answer_ms = -1)`, thread, epoch, after.Milliseconds())
}

// LedgerLine is one operation of the ledger.
type LedgerLine struct {
	ID int64
	At time.Time
	tract.LedgerEntry
	FirstAnswer time.Duration // -1 ms when nobody has answered
}

// ListLedger returns a thread's operations, oldest first.
func (tx *Tx) ListLedger(thread int64) ([]LedgerLine, error) {
	return tx.ledger(`thread = $1 order by id`, thread)
}

func (tx *Tx) ledger(where string, args ...any) (out []LedgerLine, err error) {
	err = tx.each(func(r row) error {
		var l LedgerLine
		var ms int64
		err := r.Scan(&l.ID, at(&l.At), &l.Op, &l.Requester, &l.From, &l.To, flag(&l.Granted), &l.Code, &l.Reason, js(&l.Metadata), &l.Epoch, &ms)
		l.FirstAnswer = time.Duration(ms) * time.Millisecond
		out = append(out, l)
		return err
	}, `select id, at, op, requester, from_receiver, to_receiver, granted, code, reason, metadata, epoch, first_answer_ms from ledger where `+where, args...)
	return out, err
}

// PutBrief keeps the brief of a conversation's latest hand-over.
func (tx *Tx) PutBrief(thread int64, conversation int, brief map[string]any) error {
	return tx.exec(`insert into briefs (thread, conversation, at, body) values ($1, $2, $3, $4) on conflict (thread, conversation) do update set at = excluded.at, body = excluded.body`,
		thread, conversation, tx.Now, toJSON(brief))
}

// Brief reads the brief of a conversation; nil when there is none.
func (tx *Tx) Brief(thread int64, conversation int) (brief map[string]any, err error) {
	_, err = tx.one([]any{js(&brief)}, `select body from briefs where thread = $1 and conversation = $2`, thread, conversation)
	return brief, err
}

// newestChecked is how many of the newest entries are checked at start.
const newestChecked = 1000

// checkEntries compares the newest entries with their hashes (0 = all).
func (tx *Tx) checkEntries(newest int) error {
	q := `select ` + entryColumns + `, hash from entries order by id desc`
	var args []any
	if newest > 0 {
		q, args = q+` limit $1`, []any{newest}
	}
	return tx.each(func(r row) error {
		var e Entry
		var meta string
		var hash []byte
		if err := scanEntry(r, &e, &meta, &hash); err != nil {
			return ErrCorrupt.With("a log entry cannot be read; restore a backup with: tract restore FILE").Because(err)
		}
		if !bytes.Equal(hash, entryHash(&e, meta)) {
			return ErrCorrupt.With("log entry %d of thread %d is not what was stored; restore a backup with: tract restore FILE", e.ID, e.Thread)
		}
		return nil
	}, q, args...)
}

// CheckAll reads every log entry and, on SQLite, every page, and says what is
// damaged. It may take long.
func (tx *Tx) CheckAll() error {
	if tx.s.Engine() == "sqlite" {
		var verdict string
		if _, err := tx.one([]any{&verdict}, `pragma integrity_check(1)`); err != nil {
			return err
		}
		if verdict != "ok" {
			return ErrCorrupt.With("the store is damaged: %s", fmt.Sprint(verdict))
		}
	}
	return tx.checkEntries(0)
}
