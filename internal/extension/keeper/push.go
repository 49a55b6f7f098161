package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"

	"github.com/cyvive/cyvive/internal/extension"
	"github.com/cyvive/cyvive/internal/release"
)

const (
	// pushDir is where an extension lies until all of it has come.
	pushDir = ".push"
	// headBytes is what may come until the signed manifest is there, slackBytes what is around the parts: the headers of an archive and its end.
	headBytes  = 3 * release.MaxManifestBytes
	slackBytes = 64 << 10
	// keptFreeBytes are left to others on the data volume.
	keptFreeBytes = 64 << 20
)

// bounded ends a stream that brings more than it may.
type bounded struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("%w: more comes than belongs to it", extension.ErrMalformed)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// Push takes an extension from r and keeps it. It reads no further than it must to refuse it. One that is there already, the same, is no error; another
// of its name, version and kernel is ErrThere. Whether it fits the running system is of no account: it may be for the next.
func (k *Keeper) Push(_ context.Context, r io.Reader) (extension.Manifest, error) {
	if !k.pushing.TryLock() {
		return extension.Manifest{}, fmt.Errorf("push: %w", ErrBusy)
	}
	defer k.pushing.Unlock()
	stream := &bounded{r: r, left: headBytes}
	e, err := extension.Open(stream, k.cfg.Keys)
	if err != nil {
		return extension.Manifest{}, err
	}
	stream.left += e.Manifest.PartsBytes() + slackBytes
	into := filepath.Join(k.cfg.Dir, pushDir)
	if err := os.RemoveAll(into); err != nil { // of a push that was cut off: it needs no room any more
		return extension.Manifest{}, fmt.Errorf("push: %w", err)
	}
	if err := k.takes(e.Manifest); err != nil {
		return extension.Manifest{}, fmt.Errorf("push: %s: %w", e.Manifest, err)
	}
	err = receive(e, into)
	if err == nil {
		err = k.place(e.Manifest, into)
	}
	if err != nil {
		return extension.Manifest{}, errors.Join(err, os.RemoveAll(into))
	}
	return e.Manifest, nil
}

// takes refuses what would take the place of another, and what there is no room for.
func (k *Keeper) takes(m extension.Manifest) error {
	if m.Architecture != k.cfg.Node.Architecture {
		return m.Fits(k.cfg.Node)
	}
	if _, err := os.Stat(k.cfg.Dir); err != nil {
		return fmt.Errorf("%w: the data volume is not there: %w", ErrNoRoom, err)
	}
	stored, err := k.List()
	if err != nil {
		return err
	}
	others := 0
	for _, s := range stored {
		switch {
		case s.Dir != dirName(m):
			others++
		case s.Problem == "" && !reflect.DeepEqual(s.Manifest, m):
			return fmt.Errorf("%w, with the root hash %s or another manifest; remove that first, or give this one another version", ErrThere, s.Manifest.RootHash)
		}
	}
	if others >= maxStored {
		return fmt.Errorf("%w: %d are there already, which is the most; remove what is not used", ErrNoRoom, others)
	}
	if k.cfg.FreeBytes == nil {
		return nil
	}
	free, err := k.cfg.FreeBytes(k.cfg.Dir)
	if err != nil {
		return err
	}
	if free < m.PartsBytes()+keptFreeBytes {
		return fmt.Errorf("%w: it has %d bytes, and of the %d that the data volume has left, %d stay free", ErrNoRoom, m.PartsBytes(), free, keptFreeBytes)
	}
	return nil
}

// receive writes the parts and then the envelope into a directory of its own.
func receive(e *extension.Reader, into string) error {
	if err := os.Mkdir(into, 0o700); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	if err := e.Extract(func(f release.File) (io.WriteCloser, error) { return createSynced(filepath.Join(into, f.Name)) }); err != nil {
		return err
	}
	f, err := createSynced(filepath.Join(into, extension.Envelope))
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	_, err = f.Write(e.Envelope)
	if err := errors.Join(err, f.Close(), syncDir(into)); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	return nil
}

// place puts what was received in its place.
func (k *Keeper) place(m extension.Manifest, into string) error {
	k.work.Lock()
	defer k.work.Unlock()
	used, err := k.uses(dirName(m))
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	at := filepath.Join(k.cfg.Dir, dirName(m))
	if used { // its image is open, and the same; another key may have signed it
		if there, err := k.manifest(dirName(m)); err != nil || !reflect.DeepEqual(there, m) {
			return fmt.Errorf("push: %s: %w since this boot, and what lies there of it is not the same; reboot without it first", m, ErrInUse)
		}
		if err := os.Rename(filepath.Join(into, extension.Envelope), filepath.Join(at, extension.Envelope)); err != nil {
			return fmt.Errorf("push: %w", err)
		}
		return errors.Join(syncDir(at), os.RemoveAll(into))
	}
	if err := k.setAside(dirName(m)); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	if err := errors.Join(os.Rename(into, at), syncDir(k.cfg.Dir)); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	k.clear()
	return nil
}

// synced is a file that is on the disk when it is closed.
type synced struct{ *os.File }

func createSynced(path string) (synced, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	return synced{f}, err
}

// Close implements io.Closer.
func (s synced) Close() error { return errors.Join(s.Sync(), s.File.Close()) }

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
