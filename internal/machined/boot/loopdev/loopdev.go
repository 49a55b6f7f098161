package loopdev

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	sysBlock = "/sys/block"
	// tries bounds how often a loop device is asked for: somebody else may take a free one first.
	tries = 16
	// maxPath leaves room in the page that the kernel writes a path to (loop_attr_backing_file_show in drivers/block/loop.c). One that did not fit would keep
	// all from being listed.
	maxPath = 4000
)

// Held is a block device that is held.
type Held struct {
	// Name is the loop device's, such as loop3.
	Name string
	// Device is the number of the block device as the kernel writes it: major<<20 | minor.
	Device uint32
	// As is the path under which it is held.
	As string
}

// Kernel is the running kernel, with devices in /dev. Methods may be called concurrently, but for what [Kernel.Hold] says.
type Kernel struct{}

// Open opens a block device, by its number as stat(2) has it, for reading, under an absolute path that is the file's alone. The caller closes it. It waits as
// long as the device does.
func (Kernel) Open(number uint64, as string) (*os.File, error) {
	f, err := open(number, as)
	if err != nil {
		return nil, fmt.Errorf("open device %d:%d as %s: %w", unix.Major(number), unix.Minor(number), as, err)
	}
	return f, nil
}

func open(number uint64, as string) (*os.File, error) {
	if !path.IsAbs(as) || path.Clean(as) != as || as == "/" || len(as) > maxPath {
		return nil, fmt.Errorf("%w: expected a clean absolute path of %d bytes at most", os.ErrInvalid, maxPath)
	}
	config, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC) // Linux 5.2
	if err != nil {
		return nil, fmt.Errorf("make file system: %w", err)
	}
	defer unix.Close(config)
	if err := unix.FsconfigCreate(config); err != nil {
		return nil, fmt.Errorf("make file system: %w", err)
	}
	// It is gone when the last file of it is closed.
	root, err := unix.Fsmount(config, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("mount file system: %w", err)
	}
	defer unix.Close(root)
	name := strings.TrimPrefix(as, "/")
	for i := range len(name) {
		if name[i] == '/' {
			if err := unix.Mkdirat(root, name[:i], 0o700); err != nil {
				return nil, fmt.Errorf("make directory %s: %w", name[:i], err)
			}
		}
	}
	if err := unix.Mknodat(root, name, unix.S_IFBLK|0o600, int(number)); err != nil {
		return nil, fmt.Errorf("make device node: %w", err)
	}
	fd, err := unix.Openat(root, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), as), nil
}

// Hold has the kernel hold a device that [Kernel.Open] has opened. It does not look whether it is held already. The driver of loop devices is loaded.
func (Kernel) Hold(f *os.File) error {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("hold %s: %w", f.Name(), err)
	}
	defer control.Close()
	for range tries {
		var n int
		if n, err = unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE); err != nil {
			return fmt.Errorf("hold %s: find a free loop device: %w", f.Name(), err)
		}
		if err = configure(fmt.Sprintf("/dev/loop%d", n), f); !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("hold %s: %w", f.Name(), err)
	}
	return nil
}

// configure sets a loop device up. It stays when it is closed, and is read-only, as it is open so itself (LOOP_CONFIGURE, Linux 5.8).
func configure(loop string, f *os.File) error {
	device, err := os.OpenFile(loop, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer device.Close()
	c := unix.LoopConfig{Fd: uint32(f.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_READ_ONLY}}
	if err := unix.IoctlLoopConfigure(int(device.Fd()), &c); err != nil {
		return fmt.Errorf("set up %s: %w", loop, err)
	}
	return nil
}

// List returns what is held under paths that begin so. What is being let go is not there any more.
func (Kernel) List(prefix string) ([]Held, error) {
	names, err := named(sysBlock, prefix)
	if err != nil {
		return nil, err
	}
	var all []Held
	for _, h := range names {
		going, err := h.look()
		if err != nil {
			return nil, fmt.Errorf("list what loop devices hold: %w", err)
		}
		if !going {
			all = append(all, h)
		}
	}
	return all, nil
}

// named are the loop devices by their paths (Documentation/ABI/testing/sysfs-block-loop), without the numbers.
func named(block, prefix string) ([]Held, error) {
	files, err := filepath.Glob(filepath.Join(block, "loop*", "loop", "backing_file"))
	if err != nil {
		return nil, fmt.Errorf("list what loop devices hold: %w", err)
	}
	var all []Held
	for _, file := range files {
		text, err := os.ReadFile(file)
		switch {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
			continue // it went meanwhile
		case err != nil:
			return nil, fmt.Errorf("list what loop devices hold: %w", err)
		}
		if as := strings.TrimSuffix(string(text), "\n"); strings.HasPrefix(as, prefix) {
			all = append(all, Held{Name: filepath.Base(filepath.Dir(filepath.Dir(file))), As: as})
		}
	}
	return all, nil
}

// look reads the number of the device. One whose loop device was told to go, or has gone, is going.
func (h *Held) look() (going bool, err error) {
	device, err := os.OpenFile("/dev/"+h.Name, os.O_RDONLY, 0)
	if errors.Is(err, unix.ENXIO) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer device.Close()
	status, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
	if errors.Is(err, unix.ENXIO) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask %s: %w", h.Name, err)
	}
	h.Device = unix.Major(status.Rdevice)<<20 | unix.Minor(status.Rdevice)
	return status.Flags&unix.LO_FLAGS_AUTOCLEAR != 0, nil
}

// LetGo tells a loop device to go, which it does when what is returned is closed. That writes what is still to be written to the device, and waits as long as
// the device does.
func (Kernel) LetGo(name string) (io.Closer, error) {
	device, err := os.OpenFile("/dev/"+name, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("let go of what %s holds: %w", name, err)
	}
	if err := unix.IoctlSetInt(int(device.Fd()), unix.LOOP_CLR_FD, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("let go of what %s holds: %w", name, err), device.Close())
	}
	return device, nil
}
