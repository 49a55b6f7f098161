// Package watchdog feeds the machine's hardware watchdog, so that a machine
// whose init hangs starts again. It is never stopped: a reboot that hangs is
// to be ended by it too.
//
// Stage 1 starts it as soon as its driver is there, and hands it on to init as an
// open file over execve(2). To close and open it again would not do: a driver
// without the magic close stops it (Documentation/watchdog/watchdog-api.rst), and
// a hang in between would go unnoticed.
package watchdog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Device is the machine's first watchdog.
const Device = "/dev/watchdog0"

// ControllerDevice is that of a management controller. Its driver is not of the
// kernel's watchdog core, and has the old name only, which it gets if no other has it
// (drivers/char/ipmi/ipmi_watchdog.c). It begins to count with the first Ping.
const ControllerDevice = "/dev/watchdog"

const (
	// Timeout is what is asked of the hardware while init's loop feeds it.
	Timeout = 60 * time.Second
	// BootTimeout is for the way there, on which nothing feeds it regularly: the
	// steps of init, which loads drivers and OpenZFS.
	BootTimeout = 3 * time.Minute
)

// variable has the number of the open file for the next program.
const variable = "CYVIVE_WATCHDOG"

// Dog is an open watchdog. A nil Dog does nothing: the machine has none.
type Dog struct{ file *os.File }

// Open starts the watchdog. From then on Ping must be called well within the
// timeout, by the loop whose life it proves. It is nil where there is no device.
func Open(device string, timeout time.Duration) (*Dog, error) {
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open watchdog: %w", err)
	}
	d := &Dog{file: f}
	d.SetTimeout(timeout)
	return d, nil
}

// SetTimeout asks for another timeout. A driver that cannot do it keeps its own,
// of half a minute or more.
func (d *Dog) SetTimeout(timeout time.Duration) {
	if d != nil {
		_ = unix.IoctlSetPointerInt(int(d.file.Fd()), unix.WDIOC_SETTIMEOUT, int(timeout/time.Second))
	}
}

// Ping proves that the caller is alive.
func (d *Dog) Ping() error {
	if d == nil {
		return nil
	}
	if _, err := d.file.Write([]byte{0}); err != nil {
		return fmt.Errorf("ping watchdog: %w", err)
	}
	return nil
}

// HandOn leaves the watchdog open for the program that takes this one's place. It
// returns what that needs in its environment.
func (d *Dog) HandOn() ([]string, error) {
	if d == nil {
		return nil, nil
	}
	if _, err := unix.FcntlInt(d.file.Fd(), unix.F_SETFD, 0); err != nil {
		return nil, fmt.Errorf("hand on watchdog: %w", err)
	}
	return []string{fmt.Sprintf("%s=%d", variable, d.file.Fd())}, nil
}

// Take returns the watchdog that the program before has handed on; it is nil if
// that did not. A second call finds none.
func Take() (*Dog, error) {
	text, ok := os.LookupEnv(variable)
	if !ok {
		return nil, nil
	}
	os.Unsetenv(variable)
	fd, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("take watchdog: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("take watchdog: file %d: %w", fd, err)
	}
	return &Dog{file: os.NewFile(uintptr(fd), Device)}, nil
}
