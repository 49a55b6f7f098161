package marker

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNotHere is why stage 1 or init refused to start.
var ErrNotHere = errors.New("refused to start")

// initialPIDNamespace is the inode number that the kernel gives its first PID
// namespace, on every machine (include/linux/proc_ns.h, PROC_PID_INIT_INO).
const initialPIDNamespace = "pid:[4026531836]"

// Process is what the checks look at.
type Process struct {
	PID          int
	ProcMounted  bool   // /proc is a procfs
	RootIsMemory bool   // / is a ramfs or tmpfs, as an initramfs is
	PIDNamespace string // target of /proc/self/ns/pid; empty when unreadable
}

// Look inspects the calling process. It changes nothing.
func Look() Process {
	p := Process{PID: os.Getpid(), ProcMounted: isType("/proc", unix.PROC_SUPER_MAGIC)}
	p.RootIsMemory = isType("/", unix.RAMFS_MAGIC) || isType("/", unix.TMPFS_MAGIC)
	if p.ProcMounted {
		p.PIDNamespace, _ = os.Readlink("/proc/self/ns/pid")
	}
	return p
}

// CheckStage1 says why p must not act as stage 1; nil when it may.
func CheckStage1(p Process) error {
	switch {
	case p.PID != 1:
		return fmt.Errorf("%w: stage 1 runs as PID 1 of a machine only, this is PID %d", ErrNotHere, p.PID)
	case p.ProcMounted:
		return fmt.Errorf("%w: stage 1 is the first program of a machine, but /proc is mounted already", ErrNotHere)
	case !p.RootIsMemory:
		return fmt.Errorf("%w: stage 1 runs from an initramfs only, and / is none", ErrNotHere)
	}
	return nil
}

// CheckInit says why p must not act as init; nil when it may. markerErr is
// the result of Read.
func CheckInit(p Process, markerErr error) error {
	switch {
	case p.PID != 1:
		return fmt.Errorf("%w: init runs as PID 1 of a machine only, this is PID %d", ErrNotHere, p.PID)
	case !p.ProcMounted:
		return fmt.Errorf("%w: stage 1 leaves /proc mounted, and it is not", ErrNotHere)
	case p.PIDNamespace != initialPIDNamespace:
		return fmt.Errorf("%w: init runs as PID 1 of a machine only, this is PID 1 of a container (%s)", ErrNotHere, p.PIDNamespace)
	case markerErr != nil:
		return fmt.Errorf("%w: no marker of stage 1: %w", ErrNotHere, markerErr)
	}
	return nil
}

func isType(path string, magic int64) bool {
	var s unix.Statfs_t
	return unix.Statfs(path, &s) == nil && int64(s.Type) == magic
}
