package lsm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Paths are where the node has what Enforce works with.
type Paths struct {
	// Root is a directory of the verified root.
	Root string
	// Dev is where the node has devtmpfs, Run where it has what lasts as long as it runs.
	Dev, Run string
	// Pins is a directory on a BPF file system, which is made.
	Pins string
	// Trusted are the directories of the node's own cgroups.
	Trusted []string
}

// Node returns the paths of a node.
func Node() Paths {
	return Paths{
		Root: "/", Dev: "/dev", Run: "/run", Pins: "/sys/fs/bpf/confine",
		Trusted: []string{"/sys/fs/cgroup/init", "/sys/fs/cgroup/system"},
	}
}

// active lists the security modules that the kernel runs.
const active = "/sys/kernel/security/lsm"

// Enforce loads, attaches and pins all programs, those of the strict profile only
// if strict is set; else it takes them off, which comes into force a little later. What is pinned already is left as it
// is. After an error some may be in force; calling again goes on with the rest.
func Enforce(p Paths, strict bool) error {
	if err := checkActive(active); err != nil {
		return err
	}
	t, err := target(p)
	if err != nil {
		return err
	}
	types, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("read the kernel's types: %w", err)
	}
	if err := os.MkdirAll(p.Pins, 0o700); err != nil {
		return fmt.Errorf("make directory of pins: %w", err)
	}
	admitted, err := pinnedMap(p.Pins, admittedSpec())
	if err != nil {
		return fmt.Errorf("make map of devices: %w", err)
	}
	defer admitted.Close() // its pin, and the program, keep it
	volumes, err := pinnedMap(p.Pins, volumesSpec())
	if err != nil {
		return fmt.Errorf("make map of volumes: %w", err)
	}
	defer volumes.Close() // likewise
	t.Admitted, t.Volumes = admitted.FD(), volumes.FD()
	l := &layout{spec: types}
	list := programs(t, l)
	if l.err != nil {
		return l.err
	}
	for _, program := range list {
		pin := filepath.Join(p.Pins, program.pin())
		if program.strict && !strict {
			// The pin is all that keeps it.
			if err := os.Remove(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("take program off hook %s: %w", program.hook, err)
			}
			continue
		}
		if err := program.attach(pin); err != nil {
			return fmt.Errorf("attach to hook %s: %w", program.hook, err)
		}
	}
	return nil
}

// checkActive is needed because the kernel attaches programs without a word to
// hooks that it never calls.
func checkActive(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read active security modules: %w", err)
	}
	if list := strings.TrimSpace(string(raw)); !slices.Contains(strings.Split(list, ","), "bpf") {
		return fmt.Errorf("check security modules: bpf is not among %q; the kernel's command line needs lsm= with bpf", list)
	}
	return nil
}

// target reads device and cgroup numbers.
func target(p Paths) (Target, error) {
	var s unix.Stat_t
	var t Target
	for dir, device := range map[string]*uint32{p.Root: &t.RootDevice, p.Dev: &t.DevDevice, p.Run: &t.RunDevice} {
		if err := unix.Stat(dir, &s); err != nil {
			return Target{}, fmt.Errorf("find device of %s: %w", dir, err)
		}
		*device = unix.Major(s.Dev)<<20 | unix.Minor(s.Dev)
	}
	for _, dir := range p.Trusted {
		// The ID of a cgroup is the inode number of its directory (kernfs_id).
		if err := unix.Stat(dir, &s); err != nil {
			return Target{}, fmt.Errorf("find ID of cgroup %s: %w", dir, err)
		}
		t.Trusted = append(t.Trusted, s.Ino)
	}
	return t, nil
}

// attach puts the program in force until its pin is removed.
func (p program) attach(pin string) error {
	switch old, err := link.LoadPinnedLink(pin, nil); {
	case err == nil:
		return old.Close()
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	prog, err := ebpf.NewProgram(p.spec())
	if err != nil {
		return err
	}
	defer prog.Close()
	l, err := link.AttachLSM(link.LSMOptions{Program: prog})
	if err != nil {
		return err
	}
	defer l.Close()
	return l.Pin(pin)
}
