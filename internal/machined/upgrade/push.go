package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/internal/release"
)

// envelopeFile keeps the signed manifest beside the parts. It is written last: without it, nothing was pushed.
const envelopeFile = "release.dsse.json"

// withoutFile is beside it where the release was taken without extensions, downgradeFile where it may be an older one.
const (
	withoutFile   = "without-extensions"
	downgradeFile = "downgrade"
)

// Allow is what a release may be beside a newer one that fits all.
type Allow struct {
	// Downgrade: it is older, down to the floor.
	Downgrade bool
	// WithoutExtensions: extensions that the next boot is to have are not there for it.
	WithoutExtensions bool
}

// Push takes a release from r, which is a bundle, and keeps it. It reads no further than it must to refuse it.
func (k *Keeper) Push(ctx context.Context, allow Allow, r io.Reader) (System, error) {
	if !k.pushing.TryLock() {
		return System{}, fmt.Errorf("push: %w: another push or installation is at work", ErrBusy)
	}
	defer k.pushing.Unlock()
	node, err := k.vacant(ctx)
	if err != nil {
		return System{}, fmt.Errorf("push: %w", err)
	}
	stream := &bounded{r: r, left: headBytes}
	b, err := release.Open(stream, k.cfg.Keys)
	if err != nil {
		return System{}, err
	}
	stream.left += b.Manifest.PartsBytes() + slackBytes
	if err := b.Manifest.Check(node, allow.Downgrade); err != nil {
		return System{}, err
	}
	if err := k.receive(b, allow); err != nil {
		return System{}, errors.Join(err, k.dropPushed())
	}
	return k.target(b.Manifest), nil
}

// vacant returns what a release is held against, while no upgrade is under way.
func (k *Keeper) vacant(ctx context.Context) (release.Node, error) {
	if !k.work.TryLock() {
		return release.Node{}, fmt.Errorf("%w: a way back or its end is at work", ErrBusy)
	}
	defer k.work.Unlock()
	if err := k.giveUpLeft(ctx); err != nil {
		return release.Node{}, err
	}
	s, _ := k.Status()
	if err := s.Record.Busy(); err != nil {
		return release.Node{}, err
	}
	return k.node(ctx)
}

func (k *Keeper) target(m release.Manifest) System {
	return System{Version: m.Version, RootHash: m.RootHash, Slot: other(k.cfg.Running.Slot)}
}

const (
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
		return 0, fmt.Errorf("%w: more comes than belongs to it", release.ErrMalformed)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// room says whether the data volume has space for a release.
func (k *Keeper) room(m release.Manifest) error {
	if k.cfg.FreeBytes == nil {
		return nil
	}
	free, err := k.cfg.FreeBytes(filepath.Dir(k.cfg.Pushed))
	if err != nil {
		return err
	}
	if free < m.PartsBytes()+keptFreeBytes {
		return fmt.Errorf("%w: it has %d bytes, and of the %d that the data volume has left, %d stay free", ErrNoRoom, m.PartsBytes(), free, keptFreeBytes)
	}
	return nil
}

// receive writes the parts of a bundle, and when they are all right, the envelope.
func (k *Keeper) receive(b *release.Bundle, allow Allow) error {
	if _, err := os.Stat(filepath.Dir(k.cfg.Pushed)); err != nil {
		return fmt.Errorf("push: %w: the data volume is not there: %w", ErrNoRoom, err)
	}
	if err := k.dropPushed(); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	if err := k.room(b.Manifest); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	if err := os.Mkdir(k.cfg.Pushed, 0o700); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	if err := b.Extract(func(f release.File) (io.WriteCloser, error) { return createSynced(filepath.Join(k.cfg.Pushed, f.Name)) }); err != nil {
		return err
	}
	if err := k.runs(); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	missing := k.suits(b.Manifest)
	if missing != nil && !allow.WithoutExtensions {
		return fmt.Errorf("%w: %w; push them before it, or take it without them", release.ErrUnwanted, missing)
	}
	for name, allowed := range map[string]bool{withoutFile: missing != nil, downgradeFile: allow.Downgrade} {
		if allowed {
			if err := k.mark(name); err != nil {
				return fmt.Errorf("push: %w", err)
			}
		}
	}
	f, err := createSynced(filepath.Join(k.cfg.Pushed, envelopeFile))
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	_, err = f.Write(b.Envelope)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	return nil
}

// mark leaves an empty file beside what was pushed; marked tells whether it is there.
func (k *Keeper) mark(name string) error {
	f, err := createSynced(filepath.Join(k.cfg.Pushed, name))
	if err != nil {
		return err
	}
	return f.Close()
}

func (k *Keeper) marked(name string) bool {
	_, err := os.Stat(filepath.Join(k.cfg.Pushed, name))
	return err == nil
}

// dropPushed removes what was pushed. The envelope goes first, for good, and takes all with it whenever the power fails.
func (k *Keeper) dropPushed() error {
	err := os.Remove(filepath.Join(k.cfg.Pushed, envelopeFile))
	if err == nil {
		err = syncDir(k.cfg.Pushed)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(k.cfg.Pushed)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// runs is bootable of what was pushed.
func (k *Keeper) runs() error {
	f, err := os.Open(filepath.Join(k.cfg.Pushed, release.Kernel))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return k.bootable(io.NewSectionReader(f, 0, info.Size()))
}

// bootable refuses a release that the firmware would not start, or under which the node could not open its disk. Its trial would end the same: the second
// only after its deadline, and the first in the firmware, where a machine may wait for somebody to come.
func (k *Keeper) bootable(kernel *io.SectionReader) error {
	if k.cfg.Starts != nil {
		if err := k.cfg.Starts(kernel); err != nil {
			return fmt.Errorf("%w: its kernel image: %w", release.ErrUnwanted, err)
		}
	}
	if k.cfg.Opens != nil {
		if err := k.cfg.Opens(kernel); err != nil {
			return fmt.Errorf("%w: it would not open the node's encrypted disk: %w", release.ErrUnwanted, err)
		}
	}
	return nil
}

// suits says whether the extensions of the next boot are there for what was pushed.
func (k *Keeper) suits(m release.Manifest) error {
	if k.cfg.Suits == nil {
		return nil
	}
	f, err := os.Open(filepath.Join(k.cfg.Pushed, release.Kernel))
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	defer f.Close()
	return k.cfg.Suits(f, m.Version)
}

// synced is a file that is on the disk when it is closed.
type synced struct{ *os.File }

func createSynced(path string) (synced, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	return synced{f}, err
}

func (s synced) Close() error { return errors.Join(s.Sync(), s.File.Close()) }

// pushed returns the manifest of what was pushed. It is verified again.
func (k *Keeper) pushed() (release.Manifest, error) {
	data, err := os.ReadFile(filepath.Join(k.cfg.Pushed, envelopeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return release.Manifest{}, ErrNothingPushed
	}
	if err != nil {
		return release.Manifest{}, err
	}
	return release.Verify(data, k.cfg.Keys)
}
