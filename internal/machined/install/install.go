package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"
	"time"
)

// Source is where a release is taken from.
type Source interface {
	// Release says what it is. RootBytes and VerityBytes need not be filled in.
	Release(ctx context.Context) (Release, error)
	// Root reads the root, which may be longer than what the hash tree is of, and Verity the tree with its superblock.
	Root(ctx context.Context) (io.ReadCloser, error)
	Verity(ctx context.Context) (io.ReadCloser, error)
	// Boot hands out what lies on the boot partition while use runs.
	Boot(ctx context.Context, use func(Boot) error) error
}

// Boot is what a boot partition is made of.
type Boot struct {
	// Files are those of the boot partition of the running system.
	Files fs.FS
	// Kernel is the kernel image of the release.
	Kernel io.Reader
}

// Sealer encrypts the state volume. volumes.Sealing implements it.
type Sealer interface {
	// WouldOpen says whether a kernel image, once this machine is started with it, would open what Enclose makes now.
	WouldOpen(image io.ReaderAt) error
	// Enclose makes a file, which has its size, into an encrypted volume with a content, which has the size less Config.HeaderBytes.
	Enclose(ctx context.Context, path string, content io.Reader) error
}

// Config is what an Installer is made of. All fields are needed but Sealer.
type Config struct {
	Log *slog.Logger
	Now func() time.Time
	// Disks lists the machine's disks, with what Look finds on those that can be opened.
	Disks func(ctx context.Context) ([]Disk, error)
	// Open opens a disk for writing. It fails if somebody uses it.
	Open  func(d Disk) (Device, error)
	Sizes Sizes
	// Work is a folder in memory that the Installer makes and removes.
	Work string
	// MakeFileSystem makes an ext4 file system with a label in a file that has its size, with all that lies in a folder.
	MakeFileSystem func(ctx context.Context, image, label, from string) error
	// Sealer is for requests without one. With neither, nothing is encrypted. HeaderBytes is by how much an encrypted volume is smaller than its partition.
	Sealer      Sealer
	HeaderBytes int64
}

// Installer installs the node on other disks. Its methods may be called concurrently.
type Installer struct {
	cfg  Config
	work sync.Mutex
}

// New returns an Installer.
func New(cfg Config) *Installer { return &Installer{cfg: cfg} }

// ErrBusy is a second installation beside another.
var ErrBusy = errors.New("an installation is under way")

// Progress is how far an installation is.
type Progress struct {
	// Step is the one that is being done.
	Step Step
	// Bytes of TotalBytes are written.
	Bytes, TotalBytes int64
}

// Plan says what Install would do, and changes nothing.
func (i *Installer) Plan(ctx context.Context, req Request, s Source) (Plan, error) {
	p, _, err := i.plan(ctx, req, s)
	return p, err
}

func (i *Installer) plan(ctx context.Context, req Request, s Source) (Plan, tree, error) {
	disks, err := i.cfg.Disks(ctx)
	if err != nil {
		return Plan{}, tree{}, fmt.Errorf("plan installation: %w", err)
	}
	if _, err := Choose(disks, req.Disk); err != nil {
		return Plan{}, tree{}, fmt.Errorf("plan installation: %w", err)
	}
	r, t, err := i.release(ctx, s)
	if err != nil {
		return Plan{}, tree{}, fmt.Errorf("plan installation: %w", err)
	}
	p, err := Build(req, disks, r, i.cfg.Sizes)
	if err == nil && req.Encrypted && p.does(State) {
		err = i.sealable(ctx, r, s, i.sealer(req))
	}
	if err != nil {
		return Plan{}, tree{}, fmt.Errorf("plan installation: %w", err)
	}
	return p, t, nil
}

// sealer is what encrypts the state volume of a request.
func (i *Installer) sealer(req Request) Sealer {
	if req.Sealer != nil {
		return req.Sealer
	}
	return i.cfg.Sealer
}

// sealable says whether the installed node would open its disk.
func (i *Installer) sealable(ctx context.Context, r Release, s Source, sealer Sealer) error {
	if sealer == nil {
		return fmt.Errorf("%w: this machine has no TPM 2.0: turn it on in the firmware's setup, or install with a configuration without it", ErrEncryption)
	}
	err := s.Boot(ctx, func(b Boot) error {
		image, err := kernelAt(b.Kernel, r.KernelBytes)
		if err != nil {
			return err
		}
		return sealer.WouldOpen(image)
	})
	if err != nil {
		return fmt.Errorf("%w: version %s would not open it: %w", ErrEncryption, r.Version, err)
	}
	return nil
}

// kernelAt is a kernel image that can be read at offsets. One that comes as a stream is taken into memory, to its end, by which its source knows that it is
// whole.
func kernelAt(in io.Reader, size int64) (io.ReaderAt, error) {
	if at, ok := in.(io.ReaderAt); ok {
		return at, nil
	}
	data, err := io.ReadAll(io.LimitReader(in, size+1))
	if err != nil {
		return nil, fmt.Errorf("read kernel image: %w", err)
	}
	return bytes.NewReader(data), nil
}

// release reads what is to be installed, and checks its hash tree.
func (i *Installer) release(ctx context.Context, s Source) (Release, tree, error) {
	r, err := s.Release(ctx)
	if err != nil {
		return r, tree{}, err
	}
	in, err := s.Verity(ctx)
	if err != nil {
		return r, tree{}, err
	}
	t, err := readTree(in, r.RootHash, i.cfg.Sizes.Verity)
	if err := errors.Join(err, in.Close()); err != nil {
		return r, tree{}, err
	}
	r.RootBytes, r.VerityBytes = t.blocks*blockBytes, int64(len(t.all))
	return r, t, nil
}

// Install does what Plan says, or goes on with it. It gives up with progress' error or the context's end; what is not done then is gone on with when the same
// is asked for again.
func (i *Installer) Install(ctx context.Context, req Request, s Source, planned func(Plan) error, progress func(Progress) error) (Plan, error) {
	if !i.work.TryLock() {
		return Plan{}, fmt.Errorf("install: %w", ErrBusy)
	}
	defer i.work.Unlock()
	p, t, err := i.plan(ctx, req, s)
	if err != nil {
		return p, err
	}
	dev, err := i.cfg.Open(p.Disk)
	if err != nil {
		return p, fmt.Errorf("install: %w: open %s: %w", ErrDisk, p.Disk, err)
	}
	defer dev.Close()
	// Now nobody else can write to it: what it holds is looked at again.
	if err := Look(dev, &p.Disk); err != nil {
		return p, fmt.Errorf("install: look at %s: %w", p.Disk, err)
	}
	if p, err = Build(req, []Disk{p.Disk}, p.Release, i.cfg.Sizes); err != nil {
		return p, fmt.Errorf("install: %w", err)
	}
	if err := planned(p); err != nil || len(p.Tasks) == 0 {
		return p, err
	}
	r := &run{Installer: i, ctx: ctx, dev: dev, req: req, source: s, tree: t, plan: p, progress: progress}
	if err := r.all(); err != nil {
		return p, fmt.Errorf("install on %s: %w; nothing but this disk was changed, and the same request goes on behind the last step that was done: %s",
			p.Disk, err, orNone([]string{string(req.behind(r.note.Step))}))
	}
	if err := dev.Renew(); err != nil {
		i.cfg.Log.Warn("the kernel does not know the partitions of the installed disk before the next boot", "disk", p.Disk.Name, "error", err)
	}
	return p, nil
}
