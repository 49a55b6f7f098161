// Command guest is what the kernel starts first in a machine with a probe. It starts the probe as a
// process of its own and becomes stage 1 of the image; see package probe.
//
// It loads modules and makes mounts. So it does nothing unless it is PID 1, no
// /proc is mounted yet, and the program lies where the test put it.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/hack/qemu/probe"
)

// probeArg is the argument of the child, and readyFD the descriptor that it
// closes when it needs nothing of the initramfs any more.
const (
	probeArg = "probe"
	readyFD  = 3
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == probeArg {
		exit("probe", serve())
	}
	if err := refuse(os.Getpid()); err != nil {
		exit("probe", err)
	}
	if err := start(); err != nil {
		exit("start probe", err)
	}
	exit("execute stage 1", unix.Exec(probe.StagePath, []string{probe.StagePath}, os.Environ()))
}

func exit(what string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
	os.Exit(1)
}

// refuse tells why this is no machine of a test.
func refuse(pid int) error {
	if pid != 1 {
		return fmt.Errorf("refuse to run as process %d: this program is PID 1 of a test machine", pid)
	}
	if _, err := os.Stat("/proc/self"); err == nil {
		return errors.New("refuse to run: /proc is mounted, so this is no fresh machine")
	}
	if _, err := os.Stat(probe.GuestPath); err != nil {
		return fmt.Errorf("refuse to run: %w", err)
	}
	return nil
}

// start starts the probe and waits until it is ready.
func start() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	cmd := exec.Command(probe.GuestPath, probeArg)
	// All three are the console. Without a standard input, exec would open
	// /dev/null, and there is no /dev yet.
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = write.Close()
	if _, err := read.Read(make([]byte, 1)); err != nil { // one byte, or the child's end
		return fmt.Errorf("it ended before it was ready: %w", err)
	}
	return nil
}
