package boot

import (
	"errors"
	"os"
	"path/filepath"

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
// machine's, that of its management controller or, where it has none of them, the
// kernel's own (softdog), which at least ends an init that hangs.
func (m *machine) openWatchdog() error {
	var err error
	if m.dog, err = watchdog.Take(); m.dog != nil {
		m.dog.SetTimeout(watchdog.Timeout)
		return m.dog.Ping()
	}
	if err = errors.Join(err, m.openDog(watchdog.Device)); err != nil || m.dog != nil || m.mods == nil {
		return err
	}
	if hasController("/sys/module") {
		err = m.loadDog("ipmi_watchdog", watchdog.ControllerDevice)
	}
	if m.dog == nil {
		err = errors.Join(err, m.loadDog("softdog", watchdog.Device))
	}
	return err
}

// hasController reports whether a driver of a management controller (IPMI) was loaded,
// which only a device brings about. modules is /sys/module.
func hasController(modules string) bool {
	for _, driver := range []string{"ipmi_si", "ipmi_ssif"} {
		if _, err := os.Stat(filepath.Join(modules, driver)); err == nil {
			return true
		}
	}
	return false
}

// loadDog loads a driver that no device asks for, and starts its watchdog, if there is
// one.
func (m *machine) loadDog(module, device string) error {
	if err := m.mods.Load(module); errors.Is(err, kmod.ErrNoModule) || errors.Is(err, unix.ENODEV) {
		return nil
	} else if err != nil {
		return err
	}
	return m.openDog(device)
}

func (m *machine) openDog(device string) (err error) {
	m.dog, err = watchdog.Open(device, watchdog.Timeout)
	return err
}

func (m *machine) feed() {
	if err := m.dog.Ping(); err != nil {
		m.log.Warn("watchdog", "err", err)
	}
}
