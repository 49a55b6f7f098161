package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotRunning says that no QEMU process belongs to the machine's folder.
var ErrNotRunning = errors.New("machine is not running")

// pollInterval is how often files and processes that give no event are looked
// at. A poll costs a few microseconds.
const pollInterval = 50 * time.Millisecond

// VM is one running QEMU process. Its methods may be called from several
// goroutines at once.
type VM struct {
	dir     string
	name    string
	process *os.Process
	console *Console
}

// Start starts QEMU and waits until its monitor answers. Leftovers of an
// earlier process of the same folder are taken over: the console is appended to,
// the UEFI variables are kept. It fails when the machine already runs.
func Start(ctx context.Context, c Config) (_ *VM, err error) {
	if vm, err := Attach(c.Name, c.Dir); err == nil {
		return nil, fmt.Errorf("start machine %s: it already runs as process %d", c.Name, vm.PID())
	}
	if err := prepare(c); err != nil {
		return nil, fmt.Errorf("start machine %s: %w", c.Name, err)
	}
	args, err := c.Arguments()
	if err != nil {
		return nil, fmt.Errorf("start machine %s: %w", c.Name, err)
	}
	if c.TPM {
		stop, tpmErr := startTPM(ctx, c)
		if tpmErr != nil {
			return nil, fmt.Errorf("start machine %s: %w", c.Name, tpmErr)
		}
		defer func() {
			if err != nil {
				stop()
			}
		}()
	}
	output, err := os.OpenFile(filepath.Join(c.Dir, outputFile), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start machine %s: %w", c.Name, err)
	}
	defer output.Close()

	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = c.Dir
	cmd.Stdout, cmd.Stderr = output, output
	// A process group of its own keeps the terminal's interrupt from QEMU, which
	// would power the machine off under the reader's eyes.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if c.Detached {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	} else {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	// The offset is taken before the start, so that nothing of this boot is missed.
	console := OpenConsole(filepath.Join(c.Dir, ConsoleFile))
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start machine %s: %w", c.Name, err)
	}
	vm := &VM{dir: c.Dir, name: c.processName(), process: cmd.Process, console: console}
	go func() { _ = cmd.Wait() }() // reaps; our Wait asks the process's handle
	if err := vm.awaitMonitor(ctx); err != nil {
		_ = vm.PowerCut(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("start machine %s: %w", c.Name, err)
	}
	return vm, nil
}

// prepare removes what a dead process left and copies the UEFI variables once.
func prepare(c Config) error {
	stale := []string{pidFile, qmpSocket}
	for _, port := range c.Ports {
		if port.Path == "" {
			stale = append(stale, port.socket())
		}
	}
	for _, name := range stale {
		if err := os.Remove(filepath.Join(c.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if c.Kernel != "" {
		return nil
	}
	vars := filepath.Join(c.Dir, varsFile)
	if _, err := os.Stat(vars); err == nil {
		return nil
	}
	data, err := os.ReadFile(c.FirmwareVars)
	if err != nil {
		return fmt.Errorf("copy UEFI variables: %w", err)
	}
	return os.WriteFile(vars, data, 0o644)
}

// Attach finds the process that belongs to a machine's folder. The error is
// ErrNotRunning where there is none, or where its pid has gone to another
// program.
func Attach(name, dir string) (*VM, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find machine %s: %w", name, err)
	}
	data, err := os.ReadFile(filepath.Join(dir, pidFile))
	if err != nil {
		return nil, fmt.Errorf("find machine %s: %w", name, ErrNotRunning)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 1 {
		return nil, fmt.Errorf("find machine %s: pidfile holds %q: %w", name, data, ErrNotRunning)
	}
	// The handle comes before the look at what it holds, so that the pid cannot
	// pass to another program in between.
	process, err := os.FindProcess(pid)
	if err != nil {
		return nil, fmt.Errorf("find machine %s: %w", name, err)
	}
	vm := &VM{
		dir: dir, name: Config{Name: name}.processName(), process: process,
		console: OpenConsole(filepath.Join(dir, ConsoleFile)),
	}
	if !vm.own() {
		return nil, fmt.Errorf("find machine %s: %w", name, ErrNotRunning)
	}
	return vm, nil
}

// Console returns the console from the point where the machine was started or
// attached to.
func (v *VM) Console() *Console { return v.console }

// PID is the process that was started or attached to.
func (v *VM) PID() int { return v.process.Pid }

// Running tells whether the process has not ended. It has when all its threads
// have, so that what it held (the locks on its disks, its sockets) is free: a
// process whose first thread is already a zombie may still hold them. It needs
// Linux 5.4 or later, and takes every process for running before.
func (v *VM) Running() bool {
	var ended bool
	err := v.process.WithHandle(func(handle uintptr) {
		// "Readable when the process terminates" (pidfd_open(2)), of a thread group
		// when its last thread does (kernel/exit.c, exit_notify, Linux 6.12).
		poll := []unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		ended = err == nil && n == 1
	})
	return !errors.Is(err, os.ErrProcessDone) && !ended
}

// own tells whether the process is the QEMU of this machine: its command line
// carries the machine's name, its working directory is the machine's folder.
func (v *VM) own() bool {
	proc := filepath.Join("/proc", strconv.Itoa(v.PID()))
	cmdline, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	if err != nil || !ownCommandLine(cmdline, v.name) {
		return false // a zombie's command line is empty
	}
	cwd, err := os.Readlink(filepath.Join(proc, "cwd"))
	if err != nil {
		return false
	}
	dir, err := filepath.EvalSymlinks(v.dir)
	return err == nil && cwd == dir && v.Running()
}

// ownCommandLine reads /proc/<pid>/cmdline (proc_pid_cmdline(5)): arguments,
// each ended by a zero byte.
func ownCommandLine(cmdline []byte, name string) bool {
	args := strings.Split(string(bytes.TrimRight(cmdline, "\x00")), "\x00")
	if !strings.HasPrefix(filepath.Base(args[0]), "qemu-system-") {
		return false
	}
	i := slices.Index(args, "-name")
	return i >= 0 && i+1 < len(args) && args[i+1] == name
}

// Wait waits until the process has ended.
func (v *VM) Wait(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for v.Running() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for machine %s to end: %w", v.name, context.Cause(ctx))
		case <-tick.C:
		}
	}
	return nil
}

// PowerCut ends the process at once, as if the plug were pulled: what the guest
// had written reached the image, what it had not is gone. A disk that loses what
// was not flushed, as real ones do, is one of package powercut.
func (v *VM) PowerCut(ctx context.Context) error {
	if err := v.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("cut power of machine %s: %w", v.name, err)
	}
	return v.Wait(ctx)
}

// awaitMonitor waits for the monitor, and reports QEMU's own words when it ends
// before.
func (v *VM) awaitMonitor(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		qmp, err := v.Monitor(ctx)
		if err == nil {
			return qmp.Close()
		}
		if !v.Running() {
			output, _ := os.ReadFile(filepath.Join(v.dir, outputFile))
			return fmt.Errorf("QEMU ended: %s", bytes.TrimSpace(output))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for QEMU's monitor: %w", err)
		case <-tick.C:
		}
	}
}
