// Package files owns what users send as files: which are taken, where their
// content lies, and the links under which it is served.
//
// It must not know about HTTP, senders or channels. Whoever takes a file in asks
// Receive for an upload, Reserve within a transaction, Put outside of it, and
// settles the file (store.Tx.SettleFile) in the transaction of its message.
//
// Invariants: content is streamed, never held whole in memory; its type is that
// of its bytes and its name both; a message never names a file whose content is
// not on disk; content that no message names is removed, also after a crash;
// nothing but a link made here leads to a file, and every link ends.
package files

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"tract"
	"tract/internal/sign"
	"tract/internal/store"
)

// Errors of taking a file in and giving it out.
var (
	ErrTooLarge = &tract.Error{Kind: tract.KindTooLarge, Code: "file_too_large", Msg: "the file is larger than 10 MiB"}
	ErrQuota    = &tract.Error{Kind: tract.KindTooLarge, Code: "quota", Msg: "the files of this client take all the space they may"}
	ErrBusy     = &tract.Error{Kind: tract.KindRateLimited, Code: "too_many_uploads", Msg: "too many uploads at the same time", Fields: map[string]any{"retry_after": 1}}
	ErrStorage  = &tract.Error{Kind: tract.KindUnavailable, Code: "file_storage", Msg: "files cannot be stored or read now; try again", Fields: map[string]any{"retry_after": 30}}
	// ErrNoFile is the one answer for a link that is wrong, has ended, or leads nowhere.
	ErrNoFile = store.ErrNotFound.With("there is no such file, or the link has expired")
)

// Limits.
const (
	MaxSize     = 10 << 20 // bytes of one file
	maxAtOnce   = 32       // uploads of one client
	sweepEvery  = time.Minute
	sweepFiles  = 100
	pendingFor  = time.Hour // longer than any upload takes
	callTime    = 30 * time.Second
	defaultSize = 10 << 30
)

// How long links are good for.
const (
	// LinkLife is the default for what is shown and can be shown again.
	LinkLife = 24 * time.Hour
	// LastingLife is for what is written once and read later: payloads, answers.
	LastingLife = 7 * 24 * time.Hour
)

// Settings are an operator's. The zero value of each works, but for Dir.
type Settings struct {
	Dir       string // folder of ours: content, unless URL is set, and what is on its way
	URL       string // s3://bucket/prefix; "" keeps content in Dir
	Endpoint  string // URL of the object store
	Region    string
	AccessKey string
	SecretKey sign.Secret
	Quota     int64         // bytes of each client; 0 = 10 GiB, negative = no limit
	LinkLife  time.Duration // 0 = 24 h
}

// Config is what a Service is made from.
type Config struct {
	Settings
	Store     *store.Store
	Objects   Objects // nil: as the settings say
	Key       []byte  // secret, from which that of the links is derived
	PublicURL string
	Name      string // of this process: two living ones never share it
	Now       func() time.Time
	Log       *slog.Logger
}

// Objects is where content lies, by the id of its file.
type Objects interface {
	// Put keeps the content of an upload; when it returns it is durable.
	Put(ctx context.Context, id string, up *Upload) error
	// Open gives the content; an error is that of the place, not of the caller.
	Open(ctx context.Context, id string) (io.ReadSeekCloser, error)
	// Delete removes the content; that it is not there is no error.
	Delete(ctx context.Context, id string) error
}

// Service takes files in and gives them out.
type Service struct {
	cfg     Config
	root    *os.Root
	objects Objects
	key     []byte // of the links
	links   *regexp.Regexp
	spool   string // folder of uploads on their way, below the root

	mu      sync.Mutex // guards uploads
	uploads map[int64]int
}

// New makes a service and removes what a process of the same name, which is
// dead, left half-way.
func New(cfg Config) (*Service, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.LinkLife == 0 {
		cfg.LinkLife = LinkLife
	}
	switch {
	case cfg.Quota == 0:
		cfg.Quota = defaultSize
	case cfg.Quota < 0:
		cfg.Quota = math.MaxInt64
	}
	key, err := hkdf.Key(sha256.New, cfg.Key, nil, "tract file links", 32)
	if err != nil {
		return nil, fmt.Errorf("derive the key of file links: %w", err)
	}
	s := &Service{cfg: cfg, key: key, objects: cfg.Objects, links: links(), uploads: map[int64]int{}}
	if cfg.Dir == "" {
		return s, nil // nothing is taken in
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of files: %w", err)
	}
	if s.root, err = os.OpenRoot(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open the folder of files: %w", err)
	}
	if err := s.emptySpool(); err != nil {
		return nil, err
	}
	if s.objects == nil {
		s.objects, err = s.open()
	}
	return s, err
}

func (s *Service) open() (Objects, error) {
	if s.cfg.URL != "" {
		return newBucket(s.cfg.Settings)
	}
	return &folder{s.root}, nil
}

// CheckSettings says what is wrong with the place named by the settings.
func CheckSettings(c Settings) error {
	if c.URL == "" {
		return nil
	}
	_, err := newBucket(c)
	return err
}

// Enter counts an upload of a client; leave ends it. A client with many at once
// is refused, so that it cannot fill the disk with files on their way.
func (s *Service) Enter(client int64) (leave func(), err error) {
	if s.root == nil {
		return nil, ErrStorage.With("this server has no place for files")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.uploads[client] >= maxAtOnce {
		return nil, ErrBusy
	}
	s.uploads[client]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.uploads[client]--; s.uploads[client] == 0 {
			delete(s.uploads, client)
		}
	}, nil
}

// Reserve notes, in the caller's transaction, that a checked upload is about to
// be stored, and gives the id it will have.
func (s *Service) Reserve(tx *store.Tx, client int64, up *Upload) (id string, err error) {
	id = strings.ToLower(rand.Text())
	fits, err := tx.InsertFile(store.File{ID: id, Client: client, Name: up.Name, MediaType: up.MediaType, Size: up.Size, Digest: up.Digest, Inline: up.Inline}, s.cfg.Quota)
	if err == nil && !fits {
		return "", ErrQuota
	}
	return id, err
}

// Put stores the content of a reserved file.
func (s *Service) Put(ctx context.Context, id string, up *Upload) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	if err := s.objects.Put(ctx, id, up); err != nil {
		return ErrStorage.Because(err)
	}
	return nil
}

// Release gives up a reserved file unless a message came to name it: a commit
// may have worked although the caller was not told.
func (s *Service) Release(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	dropped := false
	err := s.cfg.Store.Update(ctx, func(tx *store.Tx) (err error) {
		dropped, err = tx.DropFile(id)
		return err
	})
	if err == nil && dropped {
		err = s.remove(ctx, id)
	}
	if err != nil { // the sweep comes back to it
		s.cfg.Log.WarnContext(ctx, "unused file not removed yet", "error", err)
	}
}

// Opened is a file that is being given out.
type Opened struct {
	store.File
	Content io.ReadSeekCloser
}

// Open gives the file that a link leads to, with the link's id and token.
func (s *Service) Open(ctx context.Context, id, token string) (o Opened, err error) {
	if s.root == nil || !saneID(id) {
		return o, ErrNoFile
	}
	err = s.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		o.File, err = tx.File(id)
		return err
	})
	if tract.KindOf(err) == tract.KindNotFound {
		return o, ErrNoFile
	}
	if err != nil {
		return o, err
	}
	until, ok := s.verify(o.Client, id, token)
	if !ok || !until.After(s.cfg.Now()) {
		return o, ErrNoFile
	}
	if o.Content, err = s.objects.Open(ctx, id); err != nil {
		return o, ErrStorage.Because(err)
	}
	return o, nil
}

// Run removes what is not needed any more until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if s.root == nil {
		return nil
	}
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.WarnContext(ctx, "unused files not removed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Sweep removes what is not needed any more: content that no message names,
// and uploads that a dead process left.
func (s *Service) Sweep(ctx context.Context) error {
	var ids []string
	err := s.cfg.Store.UpdateLow(ctx, func(tx *store.Tx) (err error) {
		if err := tx.DropFilesBefore(tx.Now.Add(-pendingFor)); err != nil {
			return err
		}
		ids, err = tx.ListGoneFiles(sweepFiles)
		return err
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		errs = append(errs, s.remove(ctx, id))
	}
	return errors.Join(append(errs, s.sweepSpools())...)
}

// remove removes the content of a file that was given up, then its row: in this
// order nothing is forgotten.
func (s *Service) remove(ctx context.Context, id string) error {
	if err := s.objects.Delete(ctx, id); err != nil {
		return fmt.Errorf("remove the content of a file: %w", err)
	}
	return s.cfg.Store.UpdateLow(ctx, func(tx *store.Tx) error { return tx.DeleteFile(id) })
}
