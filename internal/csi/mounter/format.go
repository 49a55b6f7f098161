package mounter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage/signature"
)

// Holds implements csi.Mounts. Where a file system is, it is the answer, whatever else may be found: files near the end of a device can look like
// anything.
func (m *Mounter) Holds(ctx context.Context, volume string) (string, error) {
	f, err := m.keep(ctx, volume)
	if err != nil {
		return "", err
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		return "", fmt.Errorf("read size of %s: %w", f.Name(), err)
	}
	found, err := signature.Find(f, size)
	if err != nil {
		return "", fmt.Errorf("look at %s: %w", f.Name(), err)
	}
	return holds(found), nil
}

// superblocks are where the magic numbers of the two file systems are.
var superblocks = []struct {
	name   string
	offset int64
	is     string
}{{"XFS", 0, "xfs"}, {"ext2, ext3 or ext4", 1024 + 0x38, "ext4"}}

func holds(found []signature.Found) string {
	for _, s := range superblocks {
		if slices.ContainsFunc(found, func(f signature.Found) bool { return f.Name == s.name && f.Offset == s.offset }) {
			return s.is
		}
	}
	return signature.Names(found)
}

// Format implements csi.Mounts.
func (m *Mounter) Format(ctx context.Context, volume, fileSystem string) error {
	f, err := m.keep(ctx, volume)
	if err != nil {
		return err
	}
	defer f.Close()
	switch {
	case fileSystem == "ext4" && m.tools.Mke2fs != "":
		// No blocks for root alone; the device is new, and no discard has to tell it what it knows; and without a lazy journal a power cut later
		// finds no stale one (mke2fs(8)).
		return run(ctx, f, nil, m.tools.Mke2fs, "-q", "-F", "-t", "ext4", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=0", f.Name())
	case fileSystem == "xfs" && m.tools.MkfsXFS != "":
		return run(ctx, f, nil, m.tools.MkfsXFS, "-q", "-f", "-K", f.Name())
	}
	return fmt.Errorf("make file system %s on %s: the image has no program for it", fileSystem, volume)
}

// Repair implements csi.Mounts. XFS replays its log when it is mounted, and is mended by nothing that does not lose something.
func (m *Mounter) Repair(ctx context.Context, volume, fileSystem string) error {
	if fileSystem != "ext4" {
		return nil
	}
	f, err := m.keep(ctx, volume)
	if err != nil {
		return err
	}
	defer f.Close()
	// Its exit code is a set of bits: 1 and 2 say that errors were corrected (e2fsck(8)). What it does not dare to mend by itself is for a person.
	if err := run(ctx, f, []int{1, 2, 3}, m.tools.E2fsck, "-p", f.Name()); err != nil {
		return fmt.Errorf("check file system of volume %s: %w", volume, err)
	}
	return nil
}

// Grow implements csi.Mounts.
func (m *Mounter) Grow(_ context.Context, fileSystem, target string) error {
	on, err := m.open(target)
	if err != nil {
		return err
	}
	defer on.Close()
	// What is open by its path alone takes no ioctl. Anything but a directory, such as a pipe that somebody in the plane has put there, is not opened: that could wait
	// without an end.
	dir, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", on.Fd()), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", target, err)
	}
	defer dir.Close()
	var s unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &s); err != nil {
		return fmt.Errorf("read device of %s: %w", target, err)
	}
	size, err := sectors(fmt.Sprintf("/sys/dev/block/%d:%d/size", unix.Major(uint64(s.Dev)), unix.Minor(uint64(s.Dev))))
	if err != nil {
		return err
	}
	grow := growExt4
	if fileSystem == "xfs" {
		grow = growXFS
	}
	if err := grow(dir, size); err != nil {
		return fmt.Errorf("grow file system on %s to %d bytes: %w", target, size, classed(err))
	}
	return nil
}

// killAfter is how long a program has to end once it was told to.
const killAfter = 10 * time.Second

// run runs a program with nothing of the environment. Codes other than 0 may be fine. It has a device open, so that what it opens by its path is that device also
// where the agent is killed meanwhile.
func run(ctx context.Context, device *os.File, fine []int, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin"}
	cmd.ExtraFiles = []*os.File{device}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = killAfter
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && slices.Contains(fine, exit.ExitCode()) && ctx.Err() == nil {
		return nil
	}
	if err != nil {
		words := strings.Join(strings.Fields(said.String()), " ")
		return fmt.Errorf("run %s %s: %w: %.500s", program, strings.Join(args, " "), errors.Join(context.Cause(ctx), err), words)
	}
	return nil
}
