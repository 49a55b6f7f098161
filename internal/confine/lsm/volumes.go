package lsm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	// volumesPin is the pin of the list of volumes, beside those of the programs.
	volumesPin = "volumes"
	// maxVolumes bounds the volumes that pods have as devices at one time.
	maxVolumes = 4096
)

// volumesSpec is what the list of volumes is made by. Programs only read it
// (BPF_F_RDONLY_PROG, Linux 5.2).
func volumesSpec() *ebpf.MapSpec {
	return &ebpf.MapSpec{
		Name: volumesPin, Type: ebpf.Hash, KeySize: 4, ValueSize: 1, MaxEntries: maxVolumes, Flags: unix.BPF_F_RDONLY_PROG,
	}
}

// Volumes is the list of the block devices that processes outside of the node's own
// cgroups may open, by their numbers as the kernel writes them (major<<20 | minor). It is
// the kernel's, empty when a boot begins, and the same for the next agent. Its
// methods may be called concurrently, and are errors with [ErrNotEnforced] as long as
// [Enforce] has not made it.
//
// Who puts a device on it answers for its number not to become another's until it is
// taken off: the programs know devices by nothing else.
type Volumes struct{ pins string }

// VolumesOf returns the list beside the pins of the programs.
func VolumesOf(p Paths) Volumes { return Volumes{p.Pins} }

// Admit puts a device on the list. One that is on it already is no error.
func (v Volumes) Admit(device uint32) error {
	m, err := v.open()
	if err == nil {
		defer m.Close()
		err = m.Put(device, uint8(1))
	}
	if err != nil {
		return fmt.Errorf("let pods open device %s: %w", numbers(device), err)
	}
	return nil
}

// Refuse takes a device off the list. One that is not on it is no error. What has the
// device open keeps it.
func (v Volumes) Refuse(device uint32) error {
	m, err := v.open()
	if err == nil {
		defer m.Close()
		err = m.Delete(device)
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("let pods open device %s no more: %w", numbers(device), err)
	}
	return nil
}

// Admitted returns the devices on the list, in order.
func (v Volumes) Admitted() ([]uint32, error) {
	m, err := v.open()
	if err != nil {
		return nil, fmt.Errorf("read the devices that pods may open: %w", err)
	}
	defer m.Close()
	out, err := keys(m)
	if err != nil {
		return nil, fmt.Errorf("read the devices that pods may open: %w", err)
	}
	return out, nil
}

func (v Volumes) open() (*ebpf.Map, error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(v.pins, volumesPin), nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotEnforced
	}
	return m, err
}
