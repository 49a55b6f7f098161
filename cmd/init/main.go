// Command init is the small program of the node: PID 1 in the initramfs
// (stage 1), PID 1 in the root (init), PID 1 of the workload plane (plane),
// the kernel's module helper, and the CNI plugin. Which of them it is follows
// from how it was called. Called in any other way, or where it does not
// belong, it says so and changes nothing.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/cyvive/cyvive/internal/cni"
	"github.com/cyvive/cyvive/internal/machined/boot"
	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/machined/boot/kmsg"
	"github.com/cyvive/cyvive/internal/machined/boot/marker"
	"github.com/cyvive/cyvive/internal/machined/boot/plane"
	"github.com/cyvive/cyvive/internal/machined/boot/stage1"
)

// Memory of PID 1: it must stay small for as long as the machine runs.
const (
	memoryLimitBytes = 48 << 20
	processors       = 2
)

func main() {
	// Nobody reads a memory profile of this program.
	runtime.MemProfileRate = 0
	debug.SetMemoryLimit(memoryLimitBytes)
	debug.SetGCPercent(50)
	runtime.GOMAXPROCS(min(processors, runtime.NumCPU()))
	role := pick(os.Args, os.Getenv("CNI_COMMAND"))
	err := run(role)
	if err == nil {
		return
	}
	report(role, err)
	os.Exit(1)
}

// role is what the program acts as.
type role string

const (
	roleStage1 role = "stage1"
	roleInit   role = "init"
	rolePlane  role = "plane"
	roleModule role = "modprobe"
	roleCNI    role = "cni"
)

// pick chooses by the name the program was called by, and its arguments. The
// kernel runs /init in an initramfs, and its module helper with "-q -- NAME".
func pick(args []string, cniCommand string) role {
	switch {
	case len(args) == 4 && args[1] == "-q" && args[2] == "--":
		return roleModule
	case cniCommand != "", filepath.Base(args[0]) == "cyvive":
		return roleCNI
	case args[0] == "/init":
		return roleStage1
	case len(args) == 2 && args[1] == "plane":
		return rolePlane
	}
	return roleInit
}

func run(r role) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	switch r {
	case roleStage1:
		return stage1.Run()
	case rolePlane:
		return plane.Run()
	case roleModule:
		return kmod.Helper(os.Args[0], os.Args[3])
	case roleCNI:
		return cni.Main()
	}
	return boot.Run()
}

// report says why PID 1 of a machine gives up, where a person sees it. A
// refusal goes to standard error only: this may not be a machine of ours.
func report(r role, err error) {
	machine := r == roleStage1 || r == roleInit
	if machine && os.Getpid() == 1 && !errors.Is(err, marker.ErrNotHere) {
		kmsg.Open().Emit(kmsg.Emergency, fmt.Sprintf("%s: THE BOOT STOPS HERE: %v", r, err))
		return
	}
	if r == roleModule && !errors.Is(err, kmod.ErrNotHelper) {
		// The kernel runs its helper without a standard error.
		kmsg.Open().Emit(kmsg.Warning, fmt.Sprintf("%s: %v", r, err))
		return
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", r, err)
}
