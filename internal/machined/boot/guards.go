package boot

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/machined/boot/watchdog"
)

// openCrashRecords has the kernel keep its last words in the firmware's memory, and
// shows those of the boot before below /sys/fs/pstore. Where the firmware has no room
// for them the module does nothing.
func (m *machine) openCrashRecords() error {
	if m.mods == nil {
		return errors.New("load efi_pstore: there is no module index")
	}
	if err := m.mods.Load("efi_pstore"); err != nil && !errors.Is(err, kmod.ErrNoModule) && !errors.Is(err, unix.ENODEV) {
		return err
	}
	return nil
}

// openWatchdog takes over the watchdog that stage 1 has started, or starts one: the
// machine's or, where it has none, the kernel's own (softdog), which at least ends
// an init that hangs.
func (m *machine) openWatchdog() error {
	var err error
	if m.dog, err = watchdog.Take(); m.dog != nil {
		m.dog.SetTimeout(watchdog.Timeout)
		return m.dog.Ping()
	}
	open := func() (err error) {
		m.dog, err = watchdog.Open(watchdog.Device, watchdog.Timeout)
		return err
	}
	if err = errors.Join(err, open()); err != nil || m.dog != nil || m.mods == nil {
		return err
	}
	if err := m.mods.Load("softdog"); errors.Is(err, kmod.ErrNoModule) {
		return nil
	} else if err != nil {
		return err
	}
	return open()
}

func (m *machine) feed() {
	if err := m.dog.Ping(); err != nil {
		m.log.Warn("watchdog", "err", err)
	}
}
