package upgrade

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/cyvive/cyvive/internal/release"
)

// Errors of releases that were or were not pushed.
var (
	ErrNothingPushed = errors.New("no release was pushed")
	ErrNoRoom        = errors.New("no room for a release")
	ErrNoOther       = errors.New("the other slot holds nothing that can be started")
)

// Written is how far a release is that is being written into its slot.
type Written struct{ Bytes, TotalBytes int64 }

// envelopeFile keeps the signed manifest beside the parts. It is written last: without it, nothing was pushed.
const envelopeFile = "release.dsse.json"

// withoutFile is beside it where the release was taken without extensions.
const withoutFile = "without-extensions"

// Allow is what a release may be beside a newer one that fits all.
type Allow struct {
	// Downgrade: it is older, down to the floor.
	Downgrade bool
	// WithoutExtensions: extensions that the next boot is to have are not there for it.
	WithoutExtensions bool
}

// Push takes a release from r, which is a bundle, and keeps it. It reads no further than it must to refuse it.
func (k *Keeper) Push(ctx context.Context, allow Allow, r io.Reader) (System, error) {
	if !k.work.TryLock() {
		return System{}, fmt.Errorf("push: %w: another push or installation is at work", ErrBusy)
	}
	defer k.work.Unlock()
	s, _ := k.Status()
	if err := s.Record.Busy(); err != nil {
		return System{}, fmt.Errorf("push: %w", err)
	}
	stream := &bounded{r: r, left: headBytes}
	b, err := release.Open(stream, k.cfg.Keys)
	if err != nil {
		return System{}, err
	}
	stream.left += b.Manifest.PartsBytes() + slackBytes
	node, err := k.node(ctx)
	if err != nil {
		return System{}, err
	}
	if err := b.Manifest.Check(node, allow.Downgrade); err != nil {
		return System{}, err
	}
	if err := k.receive(b, allow); err != nil {
		return System{}, errors.Join(err, os.RemoveAll(k.cfg.Pushed))
	}
	return k.target(b.Manifest), nil
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
	if err := os.RemoveAll(k.cfg.Pushed); err != nil {
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
		return err
	}
	switch err := k.suits(b.Manifest); {
	case err != nil && !allow.WithoutExtensions:
		return fmt.Errorf("%w: %w; push them before it, or take it without them", release.ErrUnwanted, err)
	case err != nil:
		f, err := createSynced(filepath.Join(k.cfg.Pushed, withoutFile))
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return fmt.Errorf("push: %w", err)
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

// runs refuses a release that the firmware would not start, or under which the node could not open its disk. Its trial would end the same: the second
// only after its deadline, and the first in the firmware, where a machine may wait for somebody to come.
func (k *Keeper) runs() error {
	f, err := os.Open(filepath.Join(k.cfg.Pushed, release.Kernel))
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	if k.cfg.Starts != nil {
		if err := k.cfg.Starts(io.NewSectionReader(f, 0, info.Size())); err != nil {
			return fmt.Errorf("%w: its kernel image: %w", release.ErrUnwanted, err)
		}
	}
	if k.cfg.Opens != nil {
		if err := k.cfg.Opens(f); err != nil {
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

// ExtensionsGate is the gate of extensions.
const ExtensionsGate = "extensions"

// withoutExtensions has the gates say that extensions are not in order, so that a trial is not asked for them.
func withoutExtensions(gates []Gate) []Gate {
	out := slices.DeleteFunc(slices.Clone(gates), func(g Gate) bool { return g.Name == ExtensionsGate })
	return append(out, Gate{Name: ExtensionsGate, Reason: "they are not there for the other release"})
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

// Pushed hands out the release that was pushed: its manifest, and its parts as they were signed, of which reading the end is an error otherwise. Meanwhile
// nothing else is pushed or installed.
func (k *Keeper) Pushed(use func(m release.Manifest, open func(name string) (io.ReadCloser, error)) error) error {
	if !k.work.TryLock() {
		return fmt.Errorf("read the release that was pushed: %w: a push or an installation is at work", ErrBusy)
	}
	defer k.work.Unlock()
	m, err := k.pushed()
	if err != nil {
		return fmt.Errorf("read the release that was pushed: %w", err)
	}
	return use(m, func(name string) (io.ReadCloser, error) {
		p, err := k.open(m.File(name))
		if err != nil || name != release.Root {
			return p, err
		}
		plain, err := decompress(p)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		return plainRoot{plain, p}, nil
	})
}

// plainRoot is the root of a release while it is decompressed.
type plainRoot struct {
	*zstd.Decoder
	from *part
}

// Close implements io.Closer.
func (r plainRoot) Close() error {
	r.Decoder.Close()
	return r.from.Close()
}

func decompress(r io.Reader) (*zstd.Decoder, error) {
	plain, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("decompress root: %w", err)
	}
	return plain, nil
}

// Install writes what was pushed into the other slot and arms it. The gates are how they are now. What was pushed is gone afterwards.
func (k *Keeper) Install(ctx context.Context, gates []Gate) (System, error) {
	if !k.work.TryLock() {
		return System{}, fmt.Errorf("install: %w: another push or installation is at work", ErrBusy)
	}
	defer k.work.Unlock()
	m, err := k.pushed()
	if err != nil {
		return System{}, fmt.Errorf("install: %w", err)
	}
	target := k.target(m)
	if err := k.suits(m); err != nil {
		// They may have gone, or become wanted, since it was pushed: nobody has said then that it may do without.
		if _, asked := os.Stat(filepath.Join(k.cfg.Pushed, withoutFile)); asked != nil {
			return target, fmt.Errorf("install: %w: %w; push them first, or push it again and take it without them", release.ErrUnwanted, err)
		}
		k.cfg.Log.Warn("the release starts without extensions", "error", err)
		gates = withoutExtensions(gates)
	}
	if err := k.arm(ctx, target, gates, func() error { return k.write(ctx, target, m) }); err != nil {
		return target, fmt.Errorf("install: %w", err)
	}
	if err := os.RemoveAll(k.cfg.Pushed); err != nil {
		k.cfg.Log.Warn("remove the release that was installed", "error", err)
	}
	return target, nil
}

// Rollback arms what is in the other slot. Extensions may not be there for it, and it is not asked for them.
func (k *Keeper) Rollback(ctx context.Context, gates []Gate) (System, error) {
	if !k.work.TryLock() {
		return System{}, fmt.Errorf("roll back: %w: a push or an installation is at work", ErrBusy)
	}
	defer k.work.Unlock()
	s, _ := k.Status()
	if s.Other == (System{}) {
		return System{}, fmt.Errorf("roll back: %w", ErrNoOther)
	}
	if err := k.otherStarts(s.Other.Slot); err != nil {
		return System{}, fmt.Errorf("roll back: %w", err)
	}
	if k.cfg.Suits != nil {
		gates = withoutExtensions(gates)
	}
	err := k.arm(ctx, s.Other, gates, func() error { return k.cfg.Entries.Put(s.Other.Slot, s.Other.Version, Tries, nil) })
	if err != nil {
		return s.Other, fmt.Errorf("roll back: %w", err)
	}
	return s.Other, nil
}

// otherStarts refuses a slot whose kernel image the firmware would not start: Secure Boot may have been turned on since it ran.
func (k *Keeper) otherStarts(slot string) error {
	if k.cfg.Starts == nil {
		return nil
	}
	return k.cfg.Entries.Kernel(slot, func(kernel *io.SectionReader) error {
		if err := k.cfg.Starts(kernel); err != nil {
			return fmt.Errorf("%w: the kernel image of slot %s: %w", release.ErrUnwanted, slot, err)
		}
		return nil
	})
}

// arm leads the record through the writing of a slot and its entry.
func (k *Keeper) arm(ctx context.Context, target System, gates []Gate, write func() error) error {
	s, _ := k.Status()
	next, actions, err := s.Record.Begin(target, k.cfg.Running)
	if err != nil {
		return err
	}
	if err := k.become(ctx, next, actions); err != nil {
		return err
	}
	if err := write(); err != nil {
		next, actions := next.Abandon(err.Error(), k.cfg.Now())
		return errors.Join(err, k.become(ctx, next, actions), k.lookAtOther(ctx))
	}
	return errors.Join(k.store(next.Written(k.cfg.Boot, gates)), k.lookAtOther(ctx))
}

// write fills the slot, and then makes its entry.
func (k *Keeper) write(ctx context.Context, target System, m release.Manifest) error {
	root, err := k.open(m.File(release.Root))
	if err != nil {
		return err
	}
	defer root.Close()
	tree, err := k.open(m.File(release.Verity))
	if err != nil {
		return err
	}
	defer tree.Close()
	plain, err := decompress(root)
	if err != nil {
		return err
	}
	defer plain.Close()
	k.progress(Written{TotalBytes: m.RootBytes})
	defer k.progress(Written{})
	counted := &counter{from: plain, total: m.RootBytes, tell: k.progress}
	if err := k.cfg.Slots.Write(ctx, target.Slot, target.RootHash, counted, tree); err != nil {
		return err
	}
	if counted.n != m.RootBytes {
		return fmt.Errorf("decompress root: %d bytes, %d were signed", counted.n, m.RootBytes)
	}
	kernel, err := k.open(m.File(release.Kernel))
	if err != nil {
		return err
	}
	defer kernel.Close()
	return k.cfg.Entries.Put(target.Slot, target.Version, Tries, kernel)
}

// maxWindow bounds the memory of decompression; releases are made with 64 MiB.
const maxWindow = 64 << 20

// progress publishes how far the slot is.
func (k *Keeper) progress(w Written) { k.change(func() { k.written = w }) }

// counter tells how much was read, now and then.
type counter struct {
	from     io.Reader
	n, total int64
	tell     func(Written)
	told     int64
}

const tellEvery = 8 << 20

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	if c.n-c.told >= tellEvery || err != nil {
		c.told = c.n
		c.tell(Written{c.n, c.total})
	}
	return n, err
}

// part is a file of what was pushed. Its end is an error unless all of it was what was signed: a disk may give back something else than was written.
type part struct {
	in   *os.File
	file release.File
	sum  hash.Hash
}

func (k *Keeper) open(f release.File) (*part, error) {
	in, err := os.Open(filepath.Join(k.cfg.Pushed, f.Name))
	if err != nil {
		return nil, err
	}
	return &part{in: in, file: f, sum: sha256.New()}, nil
}

// Read implements io.Reader.
func (p *part) Read(b []byte) (int, error) {
	n, err := p.in.Read(b)
	p.sum.Write(b[:n])
	if errors.Is(err, io.EOF) {
		if got := hex.EncodeToString(p.sum.Sum(nil)); got != p.file.SHA256 {
			return n, fmt.Errorf("%s: %w, on the node's own disk: its SHA-256 is %s, %s was signed", p.file.Name, release.ErrAltered, got, p.file.SHA256)
		}
	}
	return n, err
}

// Close implements io.Closer.
func (p *part) Close() error { return p.in.Close() }
