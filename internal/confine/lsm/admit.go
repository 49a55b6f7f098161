package lsm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// admittedPin is the pin of the map of devices, beside those of the programs.
const admittedPin = "admitted"

// maxAdmitted bounds the devices from which modules may come beside the root.
const maxAdmitted = 64

// ErrNotEnforced says that the programs are not in force, so that nothing can be
// admitted past them.
var ErrNotEnforced = errors.New("the programs that go by the list are not in force")

// pinnedMap returns a map, made and pinned under its name by the first call in a
// boot.
func pinnedMap(pins string, spec *ebpf.MapSpec) (*ebpf.Map, error) {
	pin := filepath.Join(pins, spec.Name)
	m, err := ebpf.LoadPinnedMap(pin, nil)
	if !errors.Is(err, os.ErrNotExist) {
		return m, err
	}
	if m, err = ebpf.NewMap(spec); err != nil {
		return nil, err
	}
	if err := m.Pin(pin); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// admittedSpec is what the map is made by. That it is frozen keeps system calls from
// changing it, and not programs, for which it is read-only from the beginning
// (BPF_F_RDONLY_PROG, Linux 5.2).
func admittedSpec() *ebpf.MapSpec {
	return &ebpf.MapSpec{
		Name: admittedPin, Type: ebpf.Hash, KeySize: 4, ValueSize: 1, MaxEntries: maxAdmitted, Flags: unix.BPF_F_RDONLY_PROG,
	}
}

// Admit lets modules, and nothing else that the kernel reads for itself, come from
// further devices than that of the verified root, by their numbers as the kernel
// writes them (major<<20 | minor). It does so once in a boot: then the map is frozen
// (bpf(2), BPF_MAP_FREEZE, Linux 5.2), and neither this process nor any other can
// add a device. It returns the devices that are admitted, those of the first call.
//
// Who calls it answers for what the devices hold, until the next boot: that they
// are verified, and that their numbers do not become those of others.
func Admit(p Paths, devices []uint32) ([]uint32, error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(p.Pins, admittedPin), nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("admit modules: %w", ErrNotEnforced)
	}
	if err != nil {
		return nil, fmt.Errorf("admit modules: %w", err)
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		return nil, fmt.Errorf("admit modules: %w", err)
	}
	if !info.Frozen() {
		if len(devices) > maxAdmitted {
			return nil, fmt.Errorf("admit modules: %d devices, more than %d", len(devices), maxAdmitted)
		}
		for _, d := range devices {
			if err := m.Put(d, uint8(1)); err != nil {
				return nil, fmt.Errorf("admit modules: device %s: %w", numbers(d), err)
			}
		}
		if err := m.Freeze(); err != nil {
			return nil, fmt.Errorf("admit modules: close the list: %w", err)
		}
	}
	out, err := keys(m)
	if err != nil {
		return nil, fmt.Errorf("admit modules: read the list: %w", err)
	}
	return out, nil
}

// keys are the devices in a map, in order.
func keys(m *ebpf.Map) ([]uint32, error) {
	var out []uint32
	var device uint32
	var one uint8
	all := m.Iterate()
	for all.Next(&device, &one) {
		out = append(out, device)
	}
	slices.Sort(out)
	return out, all.Err()
}

// numbers writes a device as MAJOR:MINOR.
func numbers(device uint32) string { return fmt.Sprintf("%d:%d", device>>20, device&(1<<20-1)) }
