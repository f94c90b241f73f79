package store

import (
	"maps"
	"time"

	"tract"
)

// Ways by which a text is changed.
const (
	ViaManifest = "manifest"
	ViaREST     = "rest"
)

// Text is a client's text with its place in the history.
type Text struct {
	Key     string
	Version int64 // grows with each change and is never used twice for a key
	At      time.Time
	Actor   string // who changed it last
	tract.Text
}

// TextChange is one change of a text. Before is nil when there was none, After
// when it was removed.
type TextChange struct {
	Version       int64
	At            time.Time
	Actor, Via    string
	Before, After *tract.Text
}

const textColumns = `t.key, t.version, t.body, c.at, c.actor from texts t join text_changes c on c.client = t.client and c.key = t.key and c.version = t.version`

func (tx *Tx) texts(sql string, args ...any) (out []Text, err error) {
	err = tx.each(func(r row) error {
		var t Text
		err := r.Scan(&t.Key, &t.Version, js(&t.Text), at(&t.At), &t.Actor)
		out = append(out, t)
		return err
	}, sql, args...)
	return out, err
}

// Text reads a text of a client; ErrNotFound when there is none.
func (tx *Tx) Text(client int64, key string) (Text, error) {
	list, err := tx.texts(`select `+textColumns+` where t.client = $1 and t.key = $2`, client, key)
	if err == nil && len(list) == 0 {
		err = ErrNotFound.With("no text %q", key)
	}
	if err != nil {
		return Text{}, err
	}
	return list[0], nil
}

// ListTexts returns the texts whose keys begin with prefix (ASCII; "" = all) and
// come after a key, by key.
func (tx *Tx) ListTexts(client int64, prefix, after string, limit int) ([]Text, error) {
	return tx.texts(`select `+textColumns+` where t.client = $1 and t.key >= $2 and t.key < $3 and t.key > $4 order by t.key limit $5`, client, prefix, prefix+"\u007f", after, limit)
}

// Texts returns every text of a client by its key.
func (tx *Tx) Texts(client int64) (map[string]tract.Text, error) {
	out := map[string]tract.Text{}
	return out, tx.each(func(r row) error { return readText(out, r) }, `select key, body from texts where client = $1`, client)
}

func readText(into map[string]tract.Text, r row) error {
	var key string
	var t tract.Text
	err := r.Scan(&key, js(&t))
	into[key] = t
	return err
}

// LockConfiguration lets one transaction at a time change what spans more than
// one document: others wait here for its end.
func (tx *Tx) LockConfiguration() error {
	return tx.SetMeta("configuration_at", tx.Now.Format(time.RFC3339))
}

// PutText makes a client's text of a key that of t, nil to remove it, and notes
// the change. changed is false when it is that already.
func (tx *Tx) PutText(client int64, key string, t *tract.Text, actor, via string) (changed bool, err error) {
	if err := tx.BumpConfig(client); err != nil { // who changes the client at the same time waits here
		return false, err
	}
	var before tract.Text
	found, err := tx.one([]any{js(&before)}, `select body from texts where client = $1 and key = $2`, client, key)
	if err != nil || t == nil && !found || t != nil && found && sameText(before, *t) {
		return false, err
	}
	var last int64
	if _, err := tx.one([]any{&last}, `select coalesce(max(version), 0) from text_changes where client = $1 and key = $2`, client, key); err != nil {
		return false, err
	}
	was, is := "", ""
	if found {
		was = toJSON(before)
	}
	if t == nil {
		err = tx.exec(`delete from texts where client = $1 and key = $2`, client, key)
	} else {
		is = toJSON(t)
		err = tx.exec(`insert into texts (client, key, version, body) values ($1, $2, $3, $4) on conflict (client, key) do update set version = excluded.version, body = excluded.body`,
			client, key, last+1, is)
	}
	if err != nil {
		return false, err
	}
	return true, tx.exec(`insert into text_changes (client, key, version, at, actor, via, body_before, body_after) values ($1, $2, $3, $4, $5, $6, $7, $8)`,
		client, key, last+1, tx.Now, actor, via, was, is)
}

func sameText(a, b tract.Text) bool { return a.Fallback == b.Fallback && maps.Equal(a.In, b.In) }

// ListTextChanges returns the changes of a text before a version (0 = the
// newest), the newest first.
func (tx *Tx) ListTextChanges(client int64, key string, before int64, limit int) (out []TextChange, err error) {
	if before == 0 {
		before = 1<<53 - 1
	}
	err = tx.each(func(r row) error {
		var c TextChange
		err := r.Scan(&c.Version, at(&c.At), &c.Actor, &c.Via, js(&c.Before), js(&c.After))
		out = append(out, c)
		return err
	}, `select version, at, actor, via, body_before, body_after from text_changes where client = $1 and key = $2 and version < $3 order by version desc limit $4`, client, key, before, limit)
	return out, err
}

// TextChange reads one change of a text; ErrNotFound when there is none.
func (tx *Tx) TextChange(client int64, key string, version int64) (TextChange, error) {
	list, err := tx.ListTextChanges(client, key, version+1, 1)
	if err == nil && (len(list) == 0 || list[0].Version != version) {
		err = ErrNotFound.With("the text %q has no version %d", key, version)
	}
	if err != nil {
		return TextChange{}, err
	}
	return list[0], nil
}
