package store

import (
	"time"

	"tract"
)

// File is what is known of a file that a user sent; the content is elsewhere.
type File struct {
	ID        string
	Client    int64
	Name      string // for people
	MediaType string
	Size      int64
	Digest    string // sha256, in hex
	Inline    bool   // a browser may show it
	CreatedAt time.Time
}

// The states of a file.
const (
	filePending = "pending" // its content may be there or not; no message names it
	fileLive    = "live"
	fileGone    = "gone" // its content is to be removed
)

// InsertFile notes a file that is about to be stored. It is false when the
// client's files would take more than quota bytes.
func (tx *Tx) InsertFile(f File, quota int64) (fits bool, err error) {
	if err := tx.exec(`insert into file_usage (client, bytes) values ($1, 0) on conflict do nothing`, f.Client); err != nil {
		return false, err
	}
	n, err := tx.count(`update file_usage set bytes = bytes + $2 where client = $1 and bytes <= $3`, f.Client, f.Size, quota-f.Size)
	if err != nil || n == 0 {
		return false, err
	}
	return true, tx.exec(`insert into files (id, client, state, thread, entry, name, media_type, size, digest, inline, created_at) values ($1, $2, $3, 0, 0, $4, $5, $6, $7, $8, $9)`,
		f.ID, f.Client, filePending, f.Name, f.MediaType, f.Size, f.Digest, f.Inline, tx.Now)
}

// SettleFile says that a message names the file. It is false when the file was
// given up meanwhile.
func (tx *Tx) SettleFile(id string, thread int64, entry tract.MessageID) (bool, error) {
	n, err := tx.count(`update files set state = $2, thread = $3, entry = $4 where id = $1 and state = $5`, id, fileLive, thread, int64(entry), filePending)
	return n == 1, err
}

// File reads a file that a message names; ErrNotFound when there is none.
func (tx *Tx) File(id string) (f File, err error) {
	found, err := tx.one([]any{&f.ID, &f.Client, &f.Name, &f.MediaType, &f.Size, &f.Digest, flag(&f.Inline), at(&f.CreatedAt)},
		`select id, client, name, media_type, size, digest, inline, created_at from files where id = $1 and state = $2`, id, fileLive)
	if err == nil && !found {
		err = ErrNotFound.With("no such file")
	}
	return f, err
}

// DropFile gives up a file that no message names. It is false when one does, or
// when there is no such file.
func (tx *Tx) DropFile(id string) (bool, error) {
	n, err := tx.count(`update files set state = $2 where id = $1 and state <> $3`, id, fileGone, fileLive)
	return n == 1, err
}

// DropFilesBefore gives up what was pending before t: who stored it has died. (That
// it is not live is said for the sake of the index.)
func (tx *Tx) DropFilesBefore(t time.Time) error {
	return tx.exec(`update files set state = $1 where state = $2 and state <> 'live' and created_at < $3`, fileGone, filePending, t)
}

// DropFilesOf gives up the files of a thread, whose messages are erased in the
// same transaction.
func (tx *Tx) DropFilesOf(thread int64) error {
	return tx.exec(`update files set state = $1 where thread = $2 and state = $3`, fileGone, thread, fileLive)
}

// ListFilesOf returns the files of a thread that its messages name.
func (tx *Tx) ListFilesOf(thread int64) (out []File, err error) {
	err = tx.each(func(r row) error {
		var f File
		err := r.Scan(&f.ID, &f.Client, &f.Name, &f.MediaType, &f.Size, &f.Digest, flag(&f.Inline), at(&f.CreatedAt))
		out = append(out, f)
		return err
	}, `select id, client, name, media_type, size, digest, inline, created_at from files where thread = $1 and state = $2 order by created_at, id`, thread, fileLive)
	return out, err
}

// ListGoneFiles names files whose content is to be removed, oldest first.
func (tx *Tx) ListGoneFiles(limit int) (ids []string, err error) {
	err = tx.each(func(r row) error {
		var id string
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	}, `select id from files where state = $1 and state <> 'live' order by created_at limit $2`, fileGone, limit)
	return ids, err
}

// DeleteFile forgets a file that was given up and whose content is removed.
func (tx *Tx) DeleteFile(id string) error {
	var client, size int64
	found, err := tx.writeOne([]any{&client, &size}, `delete from files where id = $1 and state = $2 returning client, size`, id, fileGone)
	if err != nil || !found {
		return err
	}
	return tx.exec(`update file_usage set bytes = bytes - $2 where client = $1`, client, size)
}

// FileUsage is how many bytes the files of a client take.
func (tx *Tx) FileUsage(client int64) (n int64, err error) {
	_, err = tx.one([]any{&n}, `select bytes from file_usage where client = $1`, client)
	return n, err
}
