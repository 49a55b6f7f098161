// Package watchdog feeds the machine's hardware watchdog, so that a machine
// whose init hangs starts again. It is never stopped: a reboot that hangs is
// to be ended by it too.
package watchdog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Timeout is what is asked of the hardware.
const Timeout = 60 * time.Second

// Dog is an open watchdog. A nil Dog does nothing: the machine has none.
type Dog struct{ file *os.File }

// Open starts the watchdog. From then on Ping must be called every Timeout/3
// or so, by the loop whose life it proves. It is nil where there is no device.
func Open(device string) (*Dog, error) {
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open watchdog: %w", err)
	}
	// A fixed timeout is fine: the ping comes much more often.
	unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, int(Timeout/time.Second))
	return &Dog{file: f}, nil
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
