package files

import (
	"context"
	"io"
	"os"
	"path"
)

// folder keeps content in files below the root.
type folder struct{ root *os.Root }

var _ Objects = (*folder)(nil)

// place spreads the files over folders.
func place(id string) (dir, name string) {
	dir = path.Join(objectDir, id[:2])
	return dir, path.Join(dir, id)
}

// Put moves the upload into its place.
func (f *folder) Put(_ context.Context, id string, up *Upload) error {
	dir, name := place(id)
	if err := up.file.Sync(); err != nil {
		return err
	}
	if err := f.root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := f.root.Rename(up.path, name); err != nil {
		return err
	}
	// The folder may be new: without its parent's entry it is lost with the power.
	if err := f.sync(dir); err != nil {
		return err
	}
	return f.sync(objectDir)
}

// sync makes the entries of a folder durable.
func (f *folder) sync(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Open opens the file.
func (f *folder) Open(_ context.Context, id string) (io.ReadSeekCloser, error) {
	_, name := place(id)
	return f.root.Open(name)
}

// Delete removes the file.
func (f *folder) Delete(_ context.Context, id string) error {
	_, name := place(id)
	return ignoreMissing(f.root.Remove(name))
}
