package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage/mount"
	"github.com/cyvive/cyvive/internal/storage/replication/endpoint"
)

// snapshotSums reads the contents of snapshots of file systems by mounting them, each for itself and read-only, below a folder in memory. A snapshot is
// mounted for this alone, and when a person asks for it: what was received is not mounted otherwise. It replays intent logs, too.
type snapshotSums struct{ dir string }

// sumsIn returns what does so below a folder, which is its own. What an agent that was killed has left mounted there is unmounted: such a snapshot could not be destroyed.
func sumsIn(dir string) snapshotSums {
	left, _ := os.ReadDir(dir) // there is none before the first
	for _, one := range left {
		path := filepath.Join(dir, one.Name())
		_ = unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) // it may be none
		_ = os.Remove(path)
	}
	return snapshotSums{dir}
}

// Sum implements endpoint.Summer. It ends with its context.
func (s snapshotSums) Sum(ctx context.Context, snapshot string) (sum []byte, err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("read contents of %s: %w", snapshot, err)
	}
	dir, err := os.MkdirTemp(s.dir, "snapshot")
	if err != nil {
		return nil, fmt.Errorf("read contents of %s: %w", snapshot, err)
	}
	defer os.Remove(dir)
	if err := unix.Mount(snapshot, dir, "zfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return nil, fmt.Errorf("read contents of %s: mount it: %w", snapshot, err)
	}
	defer func() {
		if unmounted := unix.Unmount(dir, unix.MNT_DETACH); unmounted != nil {
			err = errors.Join(err, fmt.Errorf("unmount %s: %w", snapshot, unmounted))
		}
	}()
	if sum, err = sumTree(ctx, dir); err != nil {
		return nil, fmt.Errorf("read contents of %s: %w", snapshot, err)
	}
	return sum, nil
}

var _ endpoint.Replayer = snapshotSums{}

// Replay implements endpoint.Replayer. No context ends a mount: with a pool that does not answer it goes on by itself.
func (snapshotSums) Replay(ctx context.Context, fileSystem string) error {
	done := make(chan error, 1)
	go func() { done <- mount.Replay(fileSystem) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("replay intent log of %s: no answer: %w", fileSystem, context.Cause(ctx))
	}
}

// sumTree is a SHA-256 over the files of a tree, in the order of their names: each with its mode, owner and contents, a link with where it points. Times
// are left out, as are extended attributes.
func sumTree(ctx context.Context, dir string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	h := sha256.New()
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		info, err := root.Lstat(path)
		if err != nil {
			return err
		}
		var owner, group uint32
		var device uint64
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			owner, group = s.Uid, s.Gid
			if info.Mode()&fs.ModeDevice != 0 {
				device = s.Rdev
			}
		}
		fmt.Fprintf(h, "%q %s %d %d %d\n", path, info.Mode(), owner, group, device)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := root.Readlink(path)
			fmt.Fprintf(h, "%q\n", to)
			return err
		case info.Mode().IsRegular():
			return sumFile(ctx, h, root, path, info.Size())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

func sumFile(ctx context.Context, h io.Writer, root *os.Root, path string, size int64) error {
	f, err := root.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Fprintf(h, "%d\n", size)
	n, err := io.Copy(h, contextReader{ctx, f})
	if err == nil && n != size {
		err = fmt.Errorf("%s: %d bytes, and it says that it has %d", path, n, size)
	}
	return err
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
