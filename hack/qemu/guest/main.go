// Command guest is /init of the machines that run VM tests: it sets the machine
// up, runs the test binary, sends back what that writes and how it ends, and
// powers off.
//
// It changes the machine it runs on and turns it off. So it does nothing unless
// it is PID 1, no /proc is mounted yet, and the plan lies where the runner puts
// it.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/hack/qemu/vmtest/wire"
)

func main() {
	if err := refuse(os.Getpid()); err != nil {
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
		os.Exit(1)
	}
	if err := serve(); err != nil {
		fmt.Printf("guest: %v\n", err) // the console
	}
	unix.Sync()
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Printf("guest: power off: %v\n", err)
	select {}
}

// refuse tells why this is no machine of the runner.
func refuse(pid int) error {
	if pid != 1 {
		return fmt.Errorf("refuse to run as process %d: this program is PID 1 of a test machine, and turns it off", pid)
	}
	if _, err := os.Stat("/proc/self"); err == nil {
		return errors.New("refuse to run: /proc is mounted, so this is no fresh machine")
	}
	if _, err := os.Stat(wire.PlanPath); err != nil {
		return fmt.Errorf("refuse to run: %w", err)
	}
	return nil
}

// serve does all but the power-off. An error is one that could not be sent.
func serve() error {
	data, err := os.ReadFile(wire.PlanPath)
	if err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	var plan wire.Plan
	if err := json.Unmarshal(data, &plan); err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	if err := mountEarly(); err != nil {
		return err
	}
	if err := loadModules(plan.Modules); err != nil {
		return err
	}
	port, err := openPort(wire.PortName)
	if err != nil {
		return err
	}
	defer port.Close()
	out := &sender{w: port}
	return out.sendResult(run(plan, out))
}

// run sets up the rest and runs the test.
func run(plan wire.Plan, out *sender) wire.Result {
	disks, err := setUp(plan)
	if err != nil {
		return wire.Result{Code: -1, Reason: err.Error()}
	}
	cmd := exec.Command(wire.TestPath, plan.Args...)
	cmd.Dir = plan.Dir
	cmd.Env = append([]string{
		"PATH=/usr/bin:/usr/sbin:/bin:/sbin", "HOME=/root", "TMPDIR=/tmp", "CYVIVE_VM=1",
		"CYVIVE_VM_DISKS=" + disks,
	}, plan.Env...)
	cmd.Stdout, cmd.Stderr = out.stream(wire.Stdout), out.stream(wire.Stderr)
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return wire.Result{}
	case !errors.As(err, &exit):
		return wire.Result{Code: -1, Reason: err.Error()}
	case exit.Exited():
		return wire.Result{Code: exit.ExitCode()}
	}
	signal := exit.Sys().(syscall.WaitStatus).Signal()
	return wire.Result{Code: -1, Reason: "the test was ended by " + signal.String()}
}
