package boot

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// lockdownFile lists the levels, the one in force in brackets
// (security/lockdown/lockdown.c).
const lockdownFile = "/sys/kernel/security/lockdown"

// loadStorage loads OpenZFS. Its modules have no signature that the kernel knows,
// so this must come before lockDown; it also shows at each boot that they load.
func (m *machine) loadStorage() error {
	if m.mods == nil {
		return errors.New("load zfs: there is no module index")
	}
	return m.mods.Load("zfs")
}

// lockDown shuts the ways by which root could change the running kernel: modules
// without the distribution's signature, kexec of unsigned images, raw memory and
// ports, writes from eBPF into programs (kernel_lockdown(7), level integrity). The
// level can be raised, never lowered.
func lockDown(file string) error {
	const level = "[integrity]" // as the kernel writes the one in force
	raw, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read lockdown: %w", err)
	}
	if strings.Contains(string(raw), level) {
		return nil // the kernel refuses to raise it to where it is
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("raise lockdown: %w", err)
	}
	_, err = f.WriteString(strings.Trim(level, "[]"))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("raise lockdown: %w", err)
	}
	if raw, err = os.ReadFile(file); err != nil {
		return fmt.Errorf("read lockdown back: %w", err)
	}
	if !strings.Contains(string(raw), level) {
		return fmt.Errorf("raise lockdown: the kernel answers %q, want %s", strings.TrimSpace(string(raw)), level)
	}
	return nil
}
