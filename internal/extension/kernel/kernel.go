package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/extension/keeper"
	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/machined/boot/verity"
)

// Config is what a Kernel is made of.
type Config struct {
	// Dir is where extensions are mounted: a directory that no pod sees.
	Dir string
	// Modules is where the image has the kernel's modules: /usr/lib/modules.
	Modules string
	// Admit is lsm.Admit with the node's pins.
	Admit func(devices []uint32) ([]uint32, error)
}

// Kernel is the running kernel. Its methods are for one goroutine at a time.
type Kernel struct{ cfg Config }

var _ keeper.Kernel = (*Kernel)(nil)

// New returns the running kernel.
func New(cfg Config) *Kernel { return &Kernel{cfg} }

// deviceName is the name of an extension's device for the device-mapper.
func deviceName(extension string) string { return "extension-" + extension }

// Mount implements keeper.Kernel.
func (k *Kernel) Mount(name string, i keeper.Image) (keeper.Mounted, error) {
	if err := k.prepare(); err != nil {
		return keeper.Mounted{}, err
	}
	device, found, err := verity.Existing(deviceName(name), i.RootHash)
	if errors.Is(err, verity.ErrOther) {
		return keeper.Mounted{}, fmt.Errorf("another build of it is in use until the next boot: %w", err)
	}
	if err == nil && !found {
		device, err = open(name, i)
	}
	if err != nil {
		return keeper.Mounted{}, err
	}
	dir := filepath.Join(k.cfg.Dir, name)
	var s unix.Stat_t
	if err := unix.Stat(device.Path, &s); err != nil {
		return keeper.Mounted{}, fmt.Errorf("find device %s: %w", device.Path, err)
	}
	number := s.Rdev
	if err := mount(device.Path, dir, number); err != nil {
		if !found {
			err = errors.Join(err, verity.Close(deviceName(name)))
		}
		return keeper.Mounted{}, err
	}
	return keeper.Mounted{Dir: dir, Device: unix.Major(number)<<20 | unix.Minor(number)}, nil
}

// prepare loads what images are read with: the device mapper has to be there before it can be asked what is open.
func (k *Kernel) prepare() error {
	base, err := kmod.Open(k.cfg.Modules)
	if err != nil {
		return err
	}
	for _, m := range []string{"loop", "dm-mod", "dm-verity", "erofs"} {
		if err := base.Load(m); err != nil {
			return err
		}
	}
	return nil
}

// open makes the verified device. The loop devices below it go when it does.
func open(name string, i keeper.Image) (verity.Device, error) {
	data, err := attach(i.Data)
	if err != nil {
		return verity.Device{}, err
	}
	defer data.Close()
	tree, err := attach(i.Tree)
	if err != nil {
		return verity.Device{}, err
	}
	defer tree.Close()
	return verity.OpenData(deviceName(name), data.Name(), tree.Name(), i.RootHash)
}

// mount mounts a device on a directory, unless that is done. What else is mounted there is an error.
func mount(device, dir string, number uint64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make directory of extension: %w", err)
	}
	var at, above unix.Stat_t
	if err := errors.Join(unix.Stat(dir, &at), unix.Stat(filepath.Dir(dir), &above)); err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	switch {
	case at.Dev == number:
		return nil
	case at.Dev != above.Dev:
		return fmt.Errorf("mount %s on %s: something else is mounted there", device, dir)
	}
	if err := unix.Mount(device, dir, "erofs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", device, dir, err)
	}
	return nil
}

// Admit implements keeper.Kernel.
func (k *Kernel) Admit(devices []uint32) ([]uint32, error) { return k.cfg.Admit(devices) }

// Load implements keeper.Kernel.
func (k *Kernel) Load(dir, module string) error {
	l, err := kmod.OpenDir(dir)
	if err != nil {
		return err
	}
	err = l.Load(module)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EKEYREJECTED), errors.Is(err, unix.ENOKEY):
		return fmt.Errorf("%w: the kernel takes only modules with a signature that it knows (docs/extensions.md)", err)
	case errors.Is(err, unix.ENOEXEC):
		return fmt.Errorf("%w: it is for another kernel", err)
	case errors.Is(err, unix.EIO):
		return fmt.Errorf("%w: a block of the extension's image is not what was signed", err)
	}
	return err
}
