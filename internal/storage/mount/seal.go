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
// looked at: nobody writes in between. In a file system that is mounted read-only, such as one of a pool that is only read, nobody writes as it is, and no flag can be set
// (ioctl_setflags in fs/ioctl.c, Linux 6.12).
func sealEmpty(d *os.File, f attributes) error {
	before, err := f.get()
	if err != nil || before&immutable != 0 {
		return err
	}
	err = f.set(before | immutable)
	frozen := errors.Is(err, unix.EROFS)
	if err != nil && !frozen {
		return err
	}
	switch _, err = d.Readdirnames(1); {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		err = errHolds
	}
	if frozen {
		return err
	}
	return errors.Join(err, f.set(before))
}
