package blockdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/storage"
)

// sectorBytes is the unit of sizes in sysfs, whatever the device's own sector is (Documentation/ABI/stable/sysfs-block).
const sysfsSectorBytes = 512

// partitions reads the partitions of a disk, by number, from the tree under sysfs.
func partitions(sysfs, disk string) ([]storage.Partition, error) {
	dir := filepath.Join(sysfs, "class/block", filepath.Base(disk))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", err)
	}
	var out []storage.Partition
	for _, e := range entries {
		p, err := partition(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p.Device = "/dev/" + e.Name()
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b storage.Partition) int { return a.Number - b.Number })
	return out, nil
}

// partition reads one directory; fs.ErrNotExist or fs.ErrInvalid means that it is none of a partition.
func partition(dir string) (storage.Partition, error) {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return storage.Partition{}, fs.ErrInvalid
	}
	number, err := readNumber(filepath.Join(dir, "partition"))
	if err != nil {
		return storage.Partition{}, err
	}
	sectors, err := readNumber(filepath.Join(dir, "size"))
	if err != nil {
		return storage.Partition{}, err
	}
	numbers, err := os.ReadFile(filepath.Join(dir, "dev"))
	if err != nil {
		return storage.Partition{}, err
	}
	uevent, err := os.ReadFile(filepath.Join(dir, "uevent"))
	if err != nil {
		return storage.Partition{}, err
	}
	return storage.Partition{
		Number: int(number), Name: variable(string(uevent), "PARTNAME"), Numbers: strings.TrimSpace(string(numbers)),
		SizeBytes: sectors * sysfsSectorBytes,
	}, nil
}

func readNumber(path string) (uint64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 63-9)
	if err != nil {
		return 0, fmt.Errorf("parse %s: %w", path, err)
	}
	return n, nil
}

// variable returns the value of a NAME=value line.
func variable(text, name string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.TrimSuffix(value, "\n")
		}
	}
	return ""
}

// Devices returns the paths of all block devices that hold something, disks before their partitions, without RAM disks, loops and volumes of ZFS (ZVOL_DEV_NAME in
// include/sys/fs/zfs.h of OpenZFS). Nobody has put those beside the machine: what is on one may have come from another node, by replication, and one in a pool that
// is suspended does not answer.
func Devices(sysfs string) ([]string, error) {
	dir := filepath.Join(sysfs, "class/block")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list block devices: %w", err)
	}
	var out []string
	for _, e := range entries {
		size, err := readNumber(filepath.Join(dir, e.Name(), "size"))
		made := strings.HasPrefix(e.Name(), "ram") || strings.HasPrefix(e.Name(), "loop") || strings.HasPrefix(e.Name(), "zd")
		if err != nil || size == 0 || made {
			continue
		}
		out = append(out, "/dev/"+e.Name())
	}
	return out, nil
}
