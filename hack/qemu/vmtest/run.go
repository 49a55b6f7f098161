package vmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cyvive/cyvive/hack/qemu/vm"
	"github.com/cyvive/cyvive/hack/qemu/vmtest/wire"
)

// Options describe one run.
type Options struct {
	// Arch of the test binary and of the machine.
	Arch string
	// ImageDir holds vmlinuz and modules, and root.erofs where it was built.
	ImageDir string
	// Guest is the guest program, Test the test binary.
	Guest, Test string
	// Args are the test binary's arguments.
	Args []string
	// Env holds name=value pairs beside those that every guest gets.
	Env []string
	// Dir is the package's folder, absolute: the test runs in one of the same
	// name, with its testdata.
	Dir string
	// Files are further files for the guest: path there → path here.
	Files map[string]string
	// Modules are kernel modules to load before the test.
	Modules []string
	// Scratch empty disks of ScratchBytes each are attached.
	Scratch      int
	ScratchBytes int64
	CPUs         int
	MemoryBytes  int64
	// Timeout bounds the whole run, the boot included.
	Timeout        time.Duration
	Stdout, Stderr io.Writer
}

// ExitError is the exit status of a test binary that failed.
type ExitError struct{ Code int }

func (e ExitError) Error() string { return fmt.Sprintf("the test ended with status %d", e.Code) }

const (
	framesFile = "frames"
	// shownBytes of the console's end are printed when a guest dies.
	shownBytes = 4096
)

// Run boots a machine, runs the test in it and copies its output. It returns nil
// when the test's exit status is 0, an ExitError when it is another, and any
// other error when the machine did not get so far; the error then holds the end
// of the kernel's console.
func Run(ctx context.Context, o Options) error {
	dir, err := os.MkdirTemp("", "vmtest")
	if err != nil {
		return fmt.Errorf("run test in a VM: %w", err)
	}
	defer os.RemoveAll(dir)
	config, err := prepare(o, dir)
	if err != nil {
		return fmt.Errorf("run test in a VM: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("no result within %s", o.Timeout))
	defer cancel()
	machine, err := vm.Start(ctx, config)
	if err != nil {
		return fmt.Errorf("run test in a VM: %w", err)
	}
	defer func() { _ = machine.PowerCut(context.WithoutCancel(ctx)) }()
	result, err := receive(ctx, machine, filepath.Join(dir, framesFile), o)
	switch {
	case err != nil:
		return fmt.Errorf("run test in a VM: %w; the console ends:\n%s", err, consoleEnd(dir))
	case result.Code < 0:
		return fmt.Errorf("run test in a VM: %s; the console ends:\n%s", result.Reason, consoleEnd(dir))
	case result.Code > 0:
		return ExitError{Code: result.Code}
	}
	return nil
}

// prepare writes the initramfs and the scratch disks.
func prepare(o Options, dir string) (vm.Config, error) {
	plan := wire.Plan{Scratch: o.Scratch, Args: o.Args, Env: o.Env, Dir: o.Dir}
	config := vm.Config{
		Name: "vmtest-" + filepath.Base(dir), Dir: dir, Arch: o.Arch, Accel: vm.DetectAccel(),
		CPUs: o.CPUs, MemoryBytes: o.MemoryBytes,
		Kernel: filepath.Join(o.ImageDir, "vmlinuz"), Initrd: filepath.Join(dir, "initramfs"),
		// A panic ends the machine at once, by way of -no-reboot.
		Append: "console=" + serialConsole(o.Arch) + " panic=-1 printk.devkmsg=on gpt",
		Ports:  []vm.Port{{Name: wire.PortName, Path: filepath.Join(dir, framesFile)}},
		// No card at all: a test cannot reach anything.
		Network:  []string{"-nic", "none"},
		NoReboot: true,
	}
	image := filepath.Join(o.ImageDir, "root.erofs")
	if _, err := os.Stat(image); err == nil {
		plan.Image = true
		config.Disks = append(config.Disks, vm.Disk{
			Path: image, Format: "raw", ReadOnly: true, Serial: wire.ImageSerial})
	}
	for i := range o.Scratch {
		disk := vm.Disk{
			Path:   filepath.Join(dir, fmt.Sprintf("scratch%d", i)),
			Format: "raw", Serial: fmt.Sprintf("%s%d", wire.ScratchSerial, i),
		}
		if err := writeSparse(disk.Path, o.ScratchBytes); err != nil {
			return vm.Config{}, err
		}
		config.Disks = append(config.Disks, disk)
	}
	return config, writeInitramfs(config.Initrd, o, plan)
}

func serialConsole(arch string) string {
	if arch == "arm64" {
		return "ttyAMA0"
	}
	return "ttyS0"
}

func writeSparse(path string, sizeBytes int64) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Truncate(sizeBytes), file.Close())
}

// receive copies output until the result comes.
func receive(ctx context.Context, machine *vm.VM, path string, o Options) (wire.Result, error) {
	file, err := os.Open(path)
	if err != nil {
		return wire.Result{}, err
	}
	defer file.Close()
	frames := &follower{ctx: ctx, file: file, alive: machine.Running}
	for {
		kind, payload, err := wire.Read(frames)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return wire.Result{}, errors.New("the machine ended without a result")
		case err != nil:
			return wire.Result{}, err
		}
		switch kind {
		case wire.Stdout:
			_, err = o.Stdout.Write(payload)
		case wire.Stderr:
			_, err = o.Stderr.Write(payload)
		case wire.Exit:
			return wire.ParseResult(payload)
		}
		if err != nil {
			return wire.Result{}, err
		}
	}
}

// follower reads a file that another process appends to, until that has ended.
type follower struct {
	ctx   context.Context
	file  io.Reader
	alive func() bool
}

// followInterval is how often a file without news is looked at.
const followInterval = 20 * time.Millisecond

// Read implements io.Reader.
func (f *follower) Read(p []byte) (int, error) {
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		alive := f.alive() // asked first: what was written before the end is read
		n, err := f.file.Read(p)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		if !alive {
			return 0, io.EOF
		}
		select {
		case <-f.ctx.Done():
			return 0, context.Cause(f.ctx)
		case <-tick.C:
		}
	}
}

// consoleEnd returns the last bytes of the kernel's console.
func consoleEnd(dir string) string {
	data, err := os.ReadFile(filepath.Join(dir, vm.ConsoleFile))
	if err != nil {
		return err.Error()
	}
	return string(bytes.ToValidUTF8(data[max(0, len(data)-shownBytes):], nil))
}
