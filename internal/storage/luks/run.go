package luks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

var (
	// ErrWrongKey says that none of the volume's keys is the one that was given.
	ErrWrongKey = errors.New("no key of the volume is the one given")
	// ErrBusy says that the volume is open, or its name taken.
	ErrBusy = errors.New("the volume is in use")
)

// Exit codes of cryptsetup(8), "RETURN CODES".
const (
	exitNoPermission = 2
	exitBusy         = 5
)

// Cryptsetup is the program. Its methods may be called concurrently, but not two that change the same volume.
type Cryptsetup struct {
	// Program is its absolute path.
	Program string
}

// open runs the program to open a volume, or to try that, by a copy of its header that was checked.
func (c Cryptsetup) open(ctx context.Context, device string, s Secret, args ...string) (string, error) {
	header, err := checkedCopy(device)
	if err != nil {
		return "", err
	}
	defer header.Close()
	args = slices.Concat([]string{"open", "--type=luks2", "--key-file=-", "--header=" + inherited}, args)
	return c.start(ctx, bytes.NewReader(s.bytes), header, args...)
}

// run runs the program with the first secret as its standard input and the second in a pipe that it has as inherited.
func (c Cryptsetup) run(ctx context.Context, secrets []Secret, input []byte, args ...string) (string, error) {
	if len(secrets) > 0 {
		input = secrets[0].bytes
	}
	if len(secrets) < 2 {
		return c.start(ctx, bytes.NewReader(input), nil, args...)
	}
	pipe, err := filled(secrets[1].bytes)
	if err != nil {
		return "", err
	}
	defer pipe.Close()
	return c.start(ctx, bytes.NewReader(input), pipe, args...)
}

// start is the one place that runs the program: without questions, in a fixed environment, with a file that it has as inherited, or nil. It ends with ctx.
// There is no udev on a node to make the files in /dev/mapper, so libdevmapper does.
func (c Cryptsetup) start(ctx context.Context, input io.Reader, file *os.File, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.Program, append([]string{"--batch-mode"}, args...)...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin", "DM_DISABLE_UDEV=1"}
	cmd.Stdin = input
	if file != nil {
		cmd.ExtraFiles = []*os.File{file}
	}
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		said := strings.ReplaceAll(strings.TrimSpace(words.String()), "\n", " | ")
		switch exit.ExitCode() {
		case exitNoPermission:
			return "", fmt.Errorf("%w (%s)", ErrWrongKey, said)
		case exitBusy:
			return "", fmt.Errorf("%w (%s)", ErrBusy, said)
		}
		return "", fmt.Errorf("run cryptsetup %s: %w: %s", strings.Join(args, " "), err, said)
	}
	if err != nil {
		return "", fmt.Errorf("run cryptsetup: %w", err)
	}
	return out.String(), nil
}

// inherited is the place of the one file that the program inherits. Not /dev/fd: that is a link which udev makes.
const inherited = "/proc/self/fd/3"

// filled returns the reading end of a pipe that holds data and nothing more to come. A pipe takes 64 KiB (pipe(7)).
func filled(data []byte) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe for a key: %w", err)
	}
	_, err = w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		r.Close()
		return nil, fmt.Errorf("fill pipe with a key: %w", err)
	}
	return r, nil
}
