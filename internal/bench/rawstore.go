package bench

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"tract"
	"tract/internal/hsl"
	"tract/internal/intake"
	"tract/internal/manifest"
	"tract/internal/server"
	"tract/internal/sign"
	"tract/internal/store"
)

// batch is how many messages the control B puts into one transaction.
const batch = 256

// rawStore is a store in this process with the quiet scene's client and some
// users, for the controls and for filling.
type rawStore struct {
	*server.Server
	client int64
	users  []store.User
}

// openRaw opens a store on a home and brings the client and its users in.
func (b *bench) openRaw(ctx context.Context, home homeOf, users int) (w *rawStore, err error) {
	st, err := store.Open(ctx, store.Options{URL: home.url, Dir: home.dir, Now: clockFor(home, b.cfg.Now)})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.Close())
		}
	}()
	key, err := sign.ParseKey(secretKey)
	if err != nil {
		return nil, err
	}
	srv, err := server.New(server.Config{Store: st, SecretKey: key, DataDir: home.dir, AllowPrivate: true, Now: b.cfg.Now})
	if err != nil {
		return nil, err
	}
	w = &rawStore{Server: srv}
	dir := filepath.Join(b.dir, "scene")
	if _, err := b.quietScene().bundle(dir, clientToken); err != nil {
		return nil, err
	}
	f, err := manifest.Load(filepath.Join(dir, "scene.yaml"), nil, nil)
	if err != nil {
		return nil, err
	}
	if _, err := srv.Manifest.Apply(ctx, f, manifest.Flags{Actor: "bench"}); err != nil {
		return nil, err
	}
	if err := st.View(ctx, func(tx *store.Tx) error {
		c, err := tx.Client(clientName)
		w.client = c.Key
		return err
	}); err != nil {
		return nil, err
	}
	return w, w.makeUsers(ctx, users)
}

// clockFor leaves PostgreSQL its own clock, as the hub does.
func clockFor(h homeOf, now func() time.Time) func() time.Time {
	if h.url != "" {
		return nil
	}
	return now
}

func (w *rawStore) makeUsers(ctx context.Context, n int) error {
	name := "Asha"
	w.users = make([]store.User, n)
	for from := 0; from < n; from += batch {
		if err := w.Store.Update(ctx, func(tx *store.Tx) (err error) {
			for i := from; i < min(n, from+batch) && err == nil; i++ {
				w.users[i], err = w.Intake.PutUser(tx, w.client, intake.UserInput{AuthID: userOf(i), Name: &name}, true)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// append takes one message in, as the API does behind HTTP.
func (w *rawStore) append(ctx context.Context, user int, body string) error {
	m := intake.Message{Client: w.client, Business: businessIntake, AuthID: userOf(user), Platform: tract.PlatformWebhook, Body: body}
	return w.Store.UpdateThread(ctx, w.Intake.Thread(m), func(tx *store.Tx) error {
		_, err := w.Intake.Append(tx, m)
		return err
	})
}

// rawSingles is the control N: the same rows as intake, each message with a
// commit of its own. Nothing runs beside, so that it is an upper bound of what
// the hub could do without committing together.
func (r *round) rawSingles(ctx context.Context) (samples []Sample, err error) {
	home, err := r.home(ctx, "single")
	if err != nil {
		return nil, err
	}
	w, err := r.openRaw(ctx, home, 64)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Store.Close()) }()
	body := rawBody()
	n := 0
	next := func(ctx context.Context) error { n++; return w.append(ctx, n%len(w.users), body) }
	for range w.users {
		if err := next(ctx); err != nil {
			return nil, err
		}
	}
	return r.repeat(ctx, "single", 1, next)
}

// rawBatches is the control B: the least rows a message that is delivered needs.
func (r *round) rawBatches(ctx context.Context) (samples []Sample, err error) {
	home, err := r.home(ctx, "batched")
	if err != nil {
		return nil, err
	}
	w, err := r.openRaw(ctx, home, 64)
	if err != nil {
		return nil, err
	}
	threads, err := w.threads(ctx)
	if err := errors.Join(err, w.Store.Close()); err != nil {
		return nil, err
	}
	// Opened anew without a hub: no dispatcher hears of these deliveries.
	st, err := store.Open(ctx, store.Options{URL: home.url, Dir: home.dir, Now: clockFor(home, r.cfg.Now)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	all := make([]*store.Locked, batch)
	for i := range all {
		all[i] = threads[i%len(threads)]
	}
	body := rawBody()
	payload := []byte(body + strings.Repeat(".", payloadBytes-len(body)))
	return r.repeat(ctx, "batched", batch, func(ctx context.Context) error {
		return st.Update(ctx, func(tx *store.Tx) error { return insert(tx, all, body, payload) })
	})
}

// payloadBytes is about what a hook is sent for one of our messages.
const payloadBytes = 600

func rawBody() string { return hsl.Text(string((&flow{}).appendText(nil, 0, 0))).Body() }

// threads makes a thread for each user and gives them as they are when locked.
func (w *rawStore) threads(ctx context.Context) (out []*store.Locked, err error) {
	for from := 0; from < len(w.users); from += batch {
		var some []*store.Locked
		if err := w.Store.Update(ctx, func(tx *store.Tx) error {
			some = nil
			for _, u := range w.users[from:min(len(w.users), from+batch)] {
				id, err := tx.InsertThread(w.client, businessIntake, u.ID, "raw-"+u.AuthID, tract.PlatformWebhook)
				if err != nil {
					return err
				}
				l, err := tx.LockThread(id)
				if err != nil {
					return err
				}
				some = append(some, l)
			}
			return nil
		}); err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	return out, nil
}

// insert writes one entry to each of some threads, with an outbox row where there
// is a payload.
func insert(tx *store.Tx, threads []*store.Locked, body string, payload []byte) error {
	for _, l := range threads {
		id, err := tx.NextID()
		if err != nil {
			return err
		}
		if err := tx.InsertEntry(l, &store.Entry{ID: id, Thread: l.ID, Conversation: 1, Sender: tract.SenderCEU, Body: body, At: tx.Now}); err != nil {
			return err
		}
		if payload == nil {
			continue
		}
		if err := tx.AppendDelivery(l, rawEndpoint, store.Delivery{Entry: id, Tool: "one", DeliverySeq: int64(id), Payload: payload}); err != nil {
			return err
		}
	}
	return nil
}

// rawEndpoint is the number of no endpoint: nobody sends to it.
const rawEndpoint = 1 << 40

func (r *round) home(ctx context.Context, name string) (homeOf, error) {
	home, err := r.newHome(ctx, name, r.cfg.Engine)
	if err == nil {
		r.homes = append(r.homes, home)
	}
	return home, err
}
