package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cyvive/cyvive/internal/storage"
)

// sectorBytes is the unit of sizes in sysfs, whatever the device's own sector is (Documentation/ABI/stable/sysfs-block).
const sectorBytes = 512

// mapped looks for the open volume of a name; the zero Partition says that there is none. It must lie on the given device: another one of that name
// would be somebody else's.
func (v *Volumes) mapped(name, device string) (storage.Partition, error) {
	dir, err := v.findMapped(name)
	if dir == "" || err != nil {
		return storage.Partition{}, err
	}
	if _, err := os.Lstat(filepath.Join(dir, "slaves", device)); err != nil {
		return storage.Partition{}, fmt.Errorf("find open volume %s: there is one, and not on %s: %w", name, device, err)
	}
	numbers, err := readLine(filepath.Join(dir, "dev"))
	if err != nil {
		return storage.Partition{}, err
	}
	text, err := readLine(filepath.Join(dir, "size"))
	if err != nil {
		return storage.Partition{}, err
	}
	sectors, err := strconv.ParseUint(text, 10, 63-9)
	if err != nil {
		return storage.Partition{}, fmt.Errorf("read size of open volume %s: %w", name, err)
	}
	return storage.Partition{Name: name, Device: filepath.Join(v.cfg.Mapper, name), Numbers: numbers, SizeBytes: sectors * sectorBytes}, nil
}

// findMapped returns the folder in sysfs of the open volume of a name; empty says that there is none.
func (v *Volumes) findMapped(name string) (string, error) {
	dirs, err := filepath.Glob(filepath.Join(v.cfg.Sysfs, "class/block/dm-*"))
	if err != nil {
		return "", err
	}
	for _, dir := range dirs {
		got, err := readLine(filepath.Join(dir, "dm/name")) // since Linux 2.6.29
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.EINVAL):
			// It is being closed: kernfs answers so, and dm_attr_show of drivers/md/dm-sysfs.c. Others open and close volumes meanwhile.
		case err != nil:
			return "", err
		case got == name:
			return dir, nil
		}
	}
	return "", nil
}

func readLine(path string) (string, error) {
	data, err := os.ReadFile(path)
	return strings.TrimSpace(string(data)), err
}
