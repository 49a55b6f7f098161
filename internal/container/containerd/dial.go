package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// socketPoll is how often a socket is looked for that is not there yet: in a boot for some
// tens of seconds, when others want the processor.
const socketPoll = 100 * time.Millisecond

// dialWithin returns a dialer of a socket below a folder in which others than the node
// write: a link in there could lead to a socket of the node's own. Until its context ends
// it waits for a socket that is not there yet, as the dialer of containerd's client does.
func dialWithin(folder, socket string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, _ string) (net.Conn, error) {
		for {
			conn, err := dialOnce(ctx, folder, socket)
			if !errors.Is(err, fs.ErrNotExist) {
				return conn, err
			}
			select {
			case <-ctx.Done():
				return nil, err
			case <-time.After(socketPoll):
			}
		}
	}
}

func dialOnce(ctx context.Context, folder, socket string) (net.Conn, error) {
	name, err := filepath.Rel(folder, socket)
	if err != nil {
		return nil, err
	}
	dir, err := unix.Open(folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", folder, err)
	}
	defer unix.Close(dir)
	// Linux 5.6.
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", socket, err)
	}
	defer unix.Close(fd)
	// The socket itself, whatever has its name by now (proc_pid_fd(5)).
	return (&net.Dialer{}).DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(fd))
}
