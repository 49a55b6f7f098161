package command

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// The pools of a test machine, on files in memory: most is done in the first; the second is for what crosses pools.
const (
	firstPool  = "tank"
	secondPool = "other"
	poolsDir   = "/vmpools"
)

// lab is a file system of a test's own on real OpenZFS, in a virtual machine.
type lab struct {
	*System
	t   *testing.T
	ctx context.Context
	// base is the name of the file system.
	base string
}

var (
	setUpOnce sync.Once
	setUpErr  error
	labs      int
)

// long says whether the long forms of tests are asked for, with LONG=1: each program takes a quarter of a second in a machine without hardware support.
func long() bool { return os.Getenv("LONG") == "1" }

// longOnly skips a test in a machine of the test runner unless the long forms are asked for.
func longOnly(t *testing.T) {
	t.Helper()
	if os.Getenv("CYVIVE_VM") == "1" && !long() {
		t.Skipf("takes long: make soak runs it, and so does LONG=1 make vm-test RUN='^%s$'", t.Name())
	}
}

// newLab makes a lab.
func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Getenv("CYVIVE_VM") != "1" {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatal("REQUIRE_VM=1, but this is no virtual machine of the test runner")
		}
		t.Skip("needs the VM test runner: it loads OpenZFS and makes pools")
	}
	s := NewSystem(Runner{ZFSPath: "/usr/bin/zfs", ZpoolPath: "/usr/bin/zpool"})
	setUpOnce.Do(func() { setUpErr = setUp(context.Background(), s.run) })
	if setUpErr != nil {
		t.Fatal(setUpErr)
	}
	labs++
	l := &lab{System: s, t: t, ctx: t.Context(), base: fmt.Sprintf("%s/lab%d", firstPool, labs)}
	l.must("create", "-u", "$")
	t.Cleanup(func() {
		// Memory is short: what a lab leaves makes room for the next.
		_, _ = s.run.Zfs(context.Background(), "release", "-r", "tag", l.base+"@1")
		_, _ = s.run.Zfs(context.Background(), "destroy", "-R", l.base)
	})
	return l
}

// setUp loads the module and makes the pools.
func setUp(ctx context.Context, r Runner) error {
	mods, err := kmod.Open("/usr/lib/modules")
	if err != nil {
		return err
	}
	if err := mods.Load("zfs"); err != nil {
		return err
	}
	// The pools are in memory already: what they hold need not be there twice.
	if err := os.WriteFile("/sys/module/zfs/parameters/zfs_arc_max", []byte("134217728"), 0); err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat("/dev/zfs"); err == nil {
			break
		} else if time.Now().After(deadline) {
			return err
		}
	}
	if err := os.MkdirAll(poolsDir, 0o700); err != nil {
		return err
	}
	for pool, bytes := range map[string]int64{firstPool: 256 << 20, secondPool: 128 << 20} {
		if err := makePool(ctx, r, pool, filepath.Join(poolsDir, pool), bytes); err != nil {
			return err
		}
	}
	return nil
}

// makePool makes a pool on a file that is sparse.
func makePool(ctx context.Context, r Runner, pool, file string, bytes int64) error {
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(file, bytes); err != nil {
		return err
	}
	_, err := r.Zpool(ctx, "create", "-o", "ashift=12", "-o", "cachefile=none", "-O", "mountpoint=none", "-O", "compression=off", "--", pool, file)
	return err
}

// args puts the lab's file system in the place of each '$'.
func (l *lab) args(args []string) []string {
	all := make([]string, len(args))
	for i, arg := range args {
		all[i] = strings.ReplaceAll(arg, "$", l.base)
	}
	return all
}

// zfs runs zfs as it is, without the checks of a method.
func (l *lab) zfs(args ...string) error {
	_, err := l.run.Zfs(l.ctx, l.args(args)...)
	return err
}

func (l *lab) must(args ...string) {
	l.t.Helper()
	if err := l.zfs(args...); err != nil {
		l.t.Fatal(err)
	}
}

// all runs several commands, each one text with spaces between.
func (l *lab) all(commands ...string) {
	l.t.Helper()
	for _, c := range commands {
		l.must(strings.Fields(c)...)
	}
}

// stream is what zfs send writes.
func (l *lab) stream(args ...string) []byte {
	l.t.Helper()
	out, err := l.run.Zfs(l.ctx, append([]string{"send"}, l.args(args)...)...)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

// receive has zfs receive read a stream.
func (l *lab) receive(data []byte, args ...string) error {
	_, err := l.run.input(l.ctx, append([]string{"receive", "-u"}, l.args(args)...), bytes.NewReader(data))
	return err
}

func (l *lab) mustReceive(data []byte, args ...string) {
	l.t.Helper()
	if err := l.receive(data, args...); err != nil {
		l.t.Fatal(err)
	}
}

// token is the resume token of a partial receive.
func (l *lab) token(name string) string {
	l.t.Helper()
	const property = "receive_resume_token"
	all, err := l.List(l.ctx, zfs.Query{Roots: l.args([]string{name}), Kinds: []zfs.Kind{zfs.Filesystem}, Properties: []string{property}})
	if err != nil {
		l.t.Fatal(err)
	}
	if all[0].Properties[property].Value == "" {
		l.t.Fatalf("%s has no resume token", name)
	}
	return all[0].Properties[property].Value
}

// write writes a file of random bytes.
func (l *lab) write(name, file string, bytes int) {
	l.t.Helper()
	data := make([]byte, bytes)
	random := rand.New(rand.NewPCG(uint64(bytes), uint64(len(file))))
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	if err := (mounts{}).Write(l.ctx, l.args([]string{name})[0], file, data); err != nil {
		l.t.Fatal(err)
	}
}

// mounts reads and writes what is in datasets, by mounting them for it. It has the methods of package zfstest's Contents.
type mounts struct{}

// Write writes a file and waits until it is on the disk. A file system that is read-only is zfs.ErrReadOnly.
func (mounts) Write(_ context.Context, dataset, file string, data []byte) error {
	return mounted(dataset, 0, func(dir string) error {
		f, err := os.Create(filepath.Join(dir, file))
		if err == nil {
			_, err = f.Write(data)
			if err == nil {
				err = f.Sync()
			}
			if closeErr := f.Close(); err == nil {
				err = closeErr
			}
		}
		if err != nil && strings.Contains(err.Error(), unix.EROFS.Error()) {
			return fmt.Errorf("%w: %w", zfs.ErrReadOnly, err)
		}
		return err
	})
}

// Sum is a checksum of the names and contents of all files.
func (mounts) Sum(_ context.Context, name string) (sum string, err error) {
	err = mounted(name, unix.MS_RDONLY, func(dir string) error {
		h := sha256.New()
		err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(filepath.Join(dir, path))
			fmt.Fprintf(h, "%q %d\n", path, len(data))
			h.Write(data)
			return err
		})
		sum = fmt.Sprintf("%x", h.Sum(nil))
		return err
	})
	return sum, err
}

// mounted mounts a dataset while do runs.
func mounted(name string, flags uintptr, do func(dir string) error) error {
	dir, err := os.MkdirTemp("", "dataset")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := unix.Mount(name, dir, "zfs", flags, ""); err != nil {
		return fmt.Errorf("mount %s: %w", name, err)
	}
	err = do(dir)
	if unmountErr := unix.Unmount(dir, 0); err == nil {
		err = unmountErr
	}
	return err
}
