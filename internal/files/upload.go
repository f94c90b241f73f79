package files

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"
)

// Folders below ours. Both are on one file system, so that an upload moves into
// its place at once.
const (
	spoolDir  = "incoming"
	objectDir = "objects"
)

// spoolFor is how long an upload may lie in the folder of a process that does
// not come back.
const spoolFor = 24 * time.Hour

// Upload is a file on its way, in a temporary file. Close it in any case.
type Upload struct {
	Content // after Check
	Name    string
	Size    int64
	Digest  string // sha256, in hex

	s    *Service
	file *os.File
	path string // below the root
}

// Receive reads a file of at most MaxSize bytes to its end. An error of r comes
// back as it is.
func (s *Service) Receive(name string, r io.Reader) (up *Upload, err error) {
	if name, err = CleanName(name); err != nil {
		return nil, err
	}
	up = &Upload{Name: name, s: s, path: path.Join(s.spool, rand.Text())}
	if up.file, err = s.root.OpenFile(up.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err != nil {
		return nil, ErrStorage.Because(err)
	}
	in := &source{r: io.LimitReader(r, MaxSize+1)}
	digest := sha256.New()
	up.Size, err = io.Copy(io.MultiWriter(up.file, digest), in)
	switch {
	case in.err != nil:
		err = in.err
	case err != nil:
		err = ErrStorage.Because(err)
	case up.Size > MaxSize:
		err = ErrTooLarge
	}
	if err != nil {
		up.Close()
		return nil, err
	}
	up.Digest = hex.EncodeToString(digest.Sum(nil))
	return up, nil
}

// source remembers that it was the reading that failed.
type source struct {
	r   io.Reader
	err error
}

// Read reads on.
func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// Check refuses an upload whose name, bytes and message type do not agree.
func (u *Upload) Check(messageType int) (err error) {
	u.Content, err = Check(u.Name, messageType, u.Size, u.file)
	return err
}

// Reader gives the bytes.
func (u *Upload) Reader() *io.SectionReader { return io.NewSectionReader(u.file, 0, u.Size) }

// Close removes the temporary file, unless it was moved into its place.
func (u *Upload) Close() {
	_ = u.file.Close()
	if err := u.s.root.Remove(u.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		u.s.cfg.Log.Warn("temporary file not removed", "error", err)
	}
}

// emptySpool makes this process' own folder of uploads, empty. It is named
// after the process, so that several on one folder leave each other alone.
func (s *Service) emptySpool() error {
	name := sha256.Sum256([]byte(s.cfg.Name))
	s.spool = path.Join(spoolDir, hex.EncodeToString(name[:8]))
	if err := errors.Join(s.root.RemoveAll(s.spool), s.root.MkdirAll(s.spool, 0o700), s.root.MkdirAll(objectDir, 0o700)); err != nil {
		return fmt.Errorf("prepare the folder of files: %w", err)
	}
	return nil
}

// sweepSpools removes uploads that lie in the folders of others for long.
func (s *Service) sweepSpools() error {
	old := s.cfg.Now().Add(-spoolFor)
	return fs.WalkDir(s.root.FS(), spoolDir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Dir(name) == s.spool {
			return ignoreMissing(err)
		}
		info, err := d.Info()
		if err == nil && info.ModTime().Before(old) {
			err = s.root.Remove(name)
		}
		return ignoreMissing(err)
	})
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
