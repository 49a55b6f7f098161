package boot

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Limits that children inherit. The soft one for open files stays low, as
// programs that loop over all descriptors expect; those that need more raise
// it themselves, Go programs always.
const (
	openFilesSoft = 1024
	openFilesHard = 1 << 20
)

func setLimits() error {
	unix.Umask(0o022)
	return errors.Join(
		setLimit("open files", unix.RLIMIT_NOFILE, unix.Rlimit{Cur: openFilesSoft, Max: openFilesHard}),
		setLimit("core size", unix.RLIMIT_CORE, unix.Rlimit{Cur: 0, Max: unix.RLIM_INFINITY}),
	)
}

func setLimit(what string, resource int, l unix.Rlimit) error {
	if err := unix.Setrlimit(resource, &l); err != nil {
		return fmt.Errorf("set limit of %s: %w", what, err)
	}
	return nil
}

// nameHost gives the machine a name until its configuration says another.
func nameHost(name string) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("read hostname: %w", err)
	}
	if now := unix.ByteSliceToString(u.Nodename[:]); now != "" && now != "(none)" && now != "localhost" {
		return nil
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("set hostname: %w", err)
	}
	return nil
}
