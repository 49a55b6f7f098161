package stage1

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/siderolabs/go-blockdevice/v2/partitioning/gpt"
)

// partition is one entry of a GPT, with the kernel's name for it.
type partition struct {
	Disk, Device string // vda, vda2
	Label        string
	UUID         uuid.UUID
}

// pair are the two partitions of a slot.
type pair struct{ Root, Verity partition }

// slot is "a" or "b" by the partition's name, empty when that tells neither.
func (p pair) slot() string {
	switch p.Root.Label {
	case "root-a":
		return "a"
	case "root-b":
		return "b"
	}
	return ""
}

// halves are the partition UUIDs that belong to a root hash.
func halves(hash [32]byte) (root, verity uuid.UUID) {
	return uuid.UUID(hash[:16]), uuid.UUID(hash[16:])
}

// findPair picks the slot of hash; both partitions must be on one disk. A node that
// was installed from another disk has the same pair there: of several, it is the one
// beside the boot partition that the boot loader was started from. Sure says that no
// other disk can be meant, which without a boot partition is so for the first one.
func findPair(list []partition, hash [32]byte, esp uuid.UUID) (found pair, sure, ok bool) {
	rootID, verityID := halves(hash)
	for _, r := range list {
		if r.UUID != rootID {
			continue
		}
		for _, v := range list {
			if v.UUID != verityID || v.Disk != r.Disk {
				continue
			}
			p := pair{Root: r, Verity: v}
			if esp == uuid.Nil || onDisk(list, r.Disk, esp) {
				return p, true, true
			}
			if !ok {
				found, ok = p, true
			}
		}
	}
	return found, false, ok
}

// ofDisk leaves those of one disk; all of them, where none is named.
func ofDisk(list []partition, disk string) []partition {
	if disk == "" {
		return list
	}
	return slices.DeleteFunc(list, func(p partition) bool { return p.Disk != disk })
}

// onDisk reports whether a partition is on a disk.
func onDisk(list []partition, disk string, id uuid.UUID) bool {
	return slices.ContainsFunc(list, func(p partition) bool { return p.Disk == disk && p.UUID == id })
}

// describe says what there is, for the console.
func describe(list []partition) string {
	if len(list) == 0 {
		return "no partition at all"
	}
	var words []string
	for _, p := range list {
		words = append(words, fmt.Sprintf("%s (%s, %s)", p.Device, p.Label, p.UUID))
	}
	return strings.Join(words, "; ")
}

// scan lists the GPT partitions of all disks that sys (/sys/block) shows, and
// that have a node in dev (/dev). Disks without GPT are passed over.
func scan(sys, dev string) ([]partition, error) {
	disks, err := os.ReadDir(sys)
	if err != nil {
		return nil, fmt.Errorf("list disks: %w", err)
	}
	var all []partition
	var errs []error
	for _, d := range disks {
		dir := filepath.Join(sys, d.Name())
		names := partitionNames(dir)
		if len(names) == 0 {
			continue
		}
		table, err := readTable(dir, filepath.Join(dev, d.Name()))
		if err != nil {
			errs = append(errs, fmt.Errorf("read partitions of %s: %w", d.Name(), err))
			continue
		}
		for i, p := range table.Partitions() {
			if name := names[i+1]; p != nil && name != "" {
				all = append(all, partition{Disk: d.Name(), Device: name, Label: p.Name, UUID: p.PartGUID})
			}
		}
	}
	slices.SortFunc(all, func(a, b partition) int { return strings.Compare(a.Device, b.Device) })
	return all, errors.Join(errs...)
}

// partitionNames maps partition numbers to the kernel's names, from the
// directories below a disk's that have a file "partition".
func partitionNames(dir string) map[int]string {
	names := map[int]string{}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		n, err := readNumber(filepath.Join(dir, e.Name(), "partition"))
		if err == nil {
			names[int(n)] = e.Name()
		}
	}
	return names
}

func readTable(sysDir, device string) (*gpt.Table, error) {
	sectors, err := readNumber(filepath.Join(sysDir, "size"))
	if err != nil {
		return nil, err
	}
	sectorBytes, err := readNumber(filepath.Join(sysDir, "queue/logical_block_size"))
	if err != nil {
		return nil, err
	}
	f, err := os.Open(device)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return gpt.Read(&disk{File: f, sizeBytes: sectors * 512, sectorBytes: uint(sectorBytes)})
}

func readNumber(path string) (uint64, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
}

// disk is a gpt.Device that can only be read.
type disk struct {
	*os.File
	sizeBytes   uint64
	sectorBytes uint
}

func (d *disk) GetSectorSize() uint      { return d.sectorBytes }
func (d *disk) GetSize() uint64          { return d.sizeBytes }
func (d *disk) GetIOSize() (uint, error) { return d.sectorBytes, nil }

func (d *disk) GetKernelLastPartitionNum() (int, error)         { return 0, fs.ErrPermission }
func (d *disk) KernelPartitionAdd(int, uint64, uint64) error    { return fs.ErrPermission }
func (d *disk) KernelPartitionResize(int, uint64, uint64) error { return fs.ErrPermission }
func (d *disk) KernelPartitionDelete(int) error                 { return fs.ErrPermission }
