package mount

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// attributes are the flags of a directory (FS_IOC_GETFLAGS and FS_IOC_SETFLAGS, ioctl_iflags(2)).
type attributes interface {
	get() (int, error)
	set(flags int) error
}

// inodeFlags are those that the kernel keeps.
type inodeFlags struct{ *os.File }

func (d inodeFlags) get() (int, error) {
	set, err := unix.IoctlGetInt(int(d.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return 0, fmt.Errorf("read flags: %w", err)
	}
	return set, nil
}

func (d inodeFlags) set(flags int) error {
	return unix.IoctlSetPointerInt(int(d.Fd()), unix.FS_IOC_SETFLAGS, flags)
}

// errHolds is of a directory that others have written in.
var errHolds = errors.New("it holds files of others, which could not be seen any more: move them elsewhere, or declare another mountpoint")

// sealEmpty makes an open directory immutable that holds nothing, else it is errHolds and left as it is. One that is immutable stays so. It is sealed before it is
// looked at: nobody writes in between.
func sealEmpty(d *os.File, f attributes) error {
	before, err := f.get()
	if err != nil || before&immutable != 0 {
		return err
	}
	if err := f.set(before | immutable); err != nil {
		return err
	}
	switch _, err = d.Readdirnames(1); {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		err = errHolds
	}
	return errors.Join(err, f.set(before))
}
