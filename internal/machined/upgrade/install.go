package upgrade

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
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

// ExtensionsGate is the gate of extensions.
const ExtensionsGate = "extensions"

// withoutExtensions has the gates say that extensions are not in order, so that a trial is not asked for them.
func withoutExtensions(gates []Gate) []Gate {
	out := slices.DeleteFunc(slices.Clone(gates), func(g Gate) bool { return g.Name == ExtensionsGate })
	return append(out, Gate{Name: ExtensionsGate, Reason: "they are not there for the other release"})
}

// Pushed hands out the release that was pushed: its manifest, and its parts as they were signed, of which reading the end is an error otherwise. Meanwhile
// nothing else is pushed or installed.
func (k *Keeper) Pushed(use func(m release.Manifest, open func(name string) (io.ReadCloser, error)) error) error {
	if !k.pushing.TryLock() {
		return fmt.Errorf("read the release that was pushed: %w: a push or an installation is at work", ErrBusy)
	}
	defer k.pushing.Unlock()
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

// Install writes what was pushed into the other slot and arms it. The gates are how they are now; what does not hold is looked at again when all is written. What was pushed is gone afterwards.
func (k *Keeper) Install(ctx context.Context, gates []Gate) (System, error) {
	if !k.pushing.TryLock() {
		return System{}, fmt.Errorf("install: %w: another push or installation is at work", ErrBusy)
	}
	defer k.pushing.Unlock()
	if !k.work.TryLock() {
		return System{}, fmt.Errorf("install: %w: a way back is at work", ErrBusy)
	}
	defer k.work.Unlock()
	if err := k.giveUpLeft(ctx); err != nil {
		return System{}, fmt.Errorf("install: %w", err)
	}
	m, err := k.pushed()
	if err != nil {
		return System{}, fmt.Errorf("install: %w", err)
	}
	target := k.target(m)
	if err := k.stillWanted(ctx, m); err != nil {
		return target, fmt.Errorf("install: %w", err)
	}
	if err := k.suits(m); err != nil {
		// They may have gone, or become wanted, since it was pushed: nobody has said then that it may do without.
		if !k.marked(withoutFile) {
			return target, fmt.Errorf("install: %w: %w; push them first, or push it again and take it without them", release.ErrUnwanted, err)
		}
		k.cfg.Log.Warn("the release starts without extensions", "error", err)
		gates = withoutExtensions(gates)
	}
	s, _ := k.Status()
	next, actions, err := s.Record.Begin(target, k.cfg.Running)
	if err != nil {
		return target, fmt.Errorf("install: %w", err)
	}
	if err := k.arm(ctx, next, actions, gates, func() error { return k.write(ctx, target, m) }); err != nil {
		return target, fmt.Errorf("install: %w", err)
	}
	if err := k.dropPushed(); err != nil {
		k.cfg.Log.Warn("remove the release that was installed", "error", err)
	}
	return target, nil
}

// stillWanted asks again what was asked when a release was pushed: the node may run another one since then, this one itself even, and its firmware and its
// disk may have been given other keys.
func (k *Keeper) stillWanted(ctx context.Context, m release.Manifest) error {
	node, err := k.node(ctx)
	if err != nil {
		return err
	}
	if err := m.Check(node, k.marked(downgradeFile)); err != nil {
		return err
	}
	return k.runs()
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
