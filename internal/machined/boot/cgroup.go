package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const cgroupRoot = "/sys/fs/cgroup"

// Memory that reclaim leaves to the groups (memory.min): init needs little;
// the system plane gets a quarter of the machine's, at most this much; of the
// workload group's, the plane below it can have as much as that has.
const (
	initMinBytes      = 32 << 20
	systemMinMaxBytes = 768 << 20
	workloadMinBytes  = 128 << 20
)

// What services of extensions can have, all together, is this part of the memory, and of the threads.
const (
	extensionsMemoryPart = 4
	extensionsThreadPart = 16
)

// growCgroups makes the tree below root (/sys/fs/cgroup):
//
//	/init       PID 1, alone
//	/system     machined, containerd, and each container of the system plane
//	/workload   the group of the workload plane's container, which comes and goes.
//	            What is attached to this one stays.
//	/extensions services of extensions, which are confined as pods are: the walls
//	            leave out /init and /system only
//
// What the workload group cannot have is all: of memory and threads, the most that
// the kernel makes (threads-max in proc_sys_kernel(5)), a part is out of every pod's
// reach. A thread count of zero, which is unknown, sets no limit.
//
// PID 1 moves into its leaf first: a group with processes cannot hand
// controllers to its children (cgroup-v2, "No Internal Process Constraint").
func growCgroups(root string, pid int, memoryBytes, threads uint64) error {
	for _, name := range []string{"init", "system", "workload", "extensions"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			return fmt.Errorf("make cgroup: %w", err)
		}
	}
	if err := writeCgroup(root, "init/cgroup.procs", strconv.Itoa(pid)); err != nil {
		return err
	}
	if err := EnableControllers(root); err != nil {
		return err
	}
	systemMin := min(memoryBytes/4, systemMinMaxBytes)
	var limits []error
	if memoryBytes > 0 {
		limits = append(limits, writeCgroup(root, "workload/memory.max", strconv.FormatUint(memoryBytes-systemMin-initMinBytes, 10)),
			writeCgroup(root, "extensions/memory.max", strconv.FormatUint(memoryBytes/extensionsMemoryPart, 10)))
	}
	if threads > 0 {
		limits = append(limits, writeCgroup(root, "workload/pids.max", strconv.FormatUint(threads-threads/8, 10)),
			writeCgroup(root, "extensions/pids.max", strconv.FormatUint(threads/extensionsThreadPart, 10)))
	}
	return errors.Join(
		errors.Join(limits...),
		EnableControllers(filepath.Join(root, "system")),
		EnableControllers(filepath.Join(root, "workload")),
		EnableControllers(filepath.Join(root, "extensions")),
		writeCgroup(root, "init/memory.min", strconv.Itoa(initMinBytes)),
		writeCgroup(root, "system/memory.min", strconv.FormatUint(systemMin, 10)),
		writeCgroup(root, "workload/memory.min", strconv.Itoa(workloadMinBytes)),
		// When processors are scarce, the control plane goes first.
		writeCgroup(root, "init/cpu.weight", "1000"),
		writeCgroup(root, "system/cpu.weight", "500"),
	)
}

// EnableControllers hands all controllers that group has to its children. It
// tries each on its own, so that one that refuses does not keep the others.
func EnableControllers(group string) error {
	raw, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read cgroup controllers: %w", err)
	}
	var errs []error
	for _, c := range strings.Fields(string(raw)) {
		errs = append(errs, writeCgroup(group, "cgroup.subtree_control", "+"+c))
	}
	return errors.Join(errs...)
}

func writeCgroup(root, file, value string) error {
	if err := os.WriteFile(filepath.Join(root, file), []byte(value), 0o644); err != nil {
		return fmt.Errorf("set %s to %s: %w", file, value, err)
	}
	return nil
}

// totalMemory is MemTotal of a /proc/meminfo, in bytes; 0 when it has none.
func totalMemory(meminfo string) uint64 {
	for line := range strings.Lines(meminfo) {
		rest, ok := strings.CutPrefix(line, "MemTotal:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 53)
		if err != nil {
			return 0
		}
		return kib << 10
	}
	return 0
}
