package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Bounds of what is kept of a program's output. A snapshot takes 700 bytes of zfs list's JSON, which is not kept as a whole and has no bound.
const (
	maxOutputBytes = 64 << 20
	maxErrorBytes  = 256 << 10
	// maxArgsBytes is below what execve(2) takes: a quarter of the stack's limit, 2 MiB, for arguments, environment and the pointers to them.
	maxArgsBytes = 1 << 20
)

const (
	// endedGrace is how long the pipes of a program that has ended may be held open by another, before they are closed.
	endedGrace = 5 * time.Second
	// killedGrace is how long a program that was killed may take to be gone. It is longer than endedGrace, which is a part of it.
	killedGrace = 10 * time.Second
)

// Runner runs the programs. Its methods may be called concurrently.
type Runner struct {
	// ZFSPath and ZpoolPath are the programs' absolute paths.
	ZFSPath, ZpoolPath string
	// Held has the programs that could not be ended, of all runners that share it; nil keeps none, and has them begun again and again.
	Held *Held
}

// Zfs runs zfs and returns its standard output. What it says on failure is in an [Error], and a class of package zfs where the table has it.
// Arguments must have been checked: nothing here tells a name from an option. Ending ctx ends the program, and the error is then the cause of that,
// too. One that cannot be ended is left behind, see [Held].
func (r Runner) Zfs(ctx context.Context, args ...string) ([]byte, error) {
	return r.collect(ctx, r.ZFSPath, nil, args)
}

// Zpool is as [Runner.Zfs], for zpool.
func (r Runner) Zpool(ctx context.Context, args ...string) ([]byte, error) {
	return r.collect(ctx, r.ZpoolPath, nil, args)
}

// read is as [Runner.Zfs], for a list: one that ends well and complains nevertheless is an error.
func (r Runner) read(ctx context.Context, args ...string) ([]byte, error) {
	p, out, err := r.run(ctx, r.ZFSPath, nil, args)
	if err == nil {
		err = p.complaint("")
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// collect runs a program to its end, with a text as its standard input, and returns what it wrote. Its errors are of type *Error.
func (r Runner) collect(ctx context.Context, program string, input []byte, args []string) ([]byte, error) {
	_, out, err := r.run(ctx, program, input, args)
	return out, err
}

func (r Runner) run(ctx context.Context, program string, input []byte, args []string) (*process, []byte, error) {
	p, err := newProcess(ctx, program, args)
	if err != nil {
		return nil, nil, err
	}
	out := &bounded{limit: maxOutputBytes, strict: true}
	p.cmd.Stdout = out
	p.cmd.Stdin = bytes.NewReader(input)
	err = p.finish(ctx, r.Held, func() error {
		err := p.cmd.Start()
		if err == nil {
			err = p.cmd.Wait()
		}
		if out.cut {
			err = fmt.Errorf("it wrote more than %d MiB: %w", maxOutputBytes>>20, errors.Join(err, io.ErrShortBuffer))
		}
		return err
	})
	if errors.Is(err, ErrHeld) {
		return p, nil, err // it may be writing still
	}
	return p, out.kept.Bytes(), err
}

// process is one run of a program.
type process struct {
	cmd     *exec.Cmd
	program string
	args    []string
	errors  bounded
	// grace is how long it may take to be gone once it was killed.
	grace time.Duration
}

// newProcess prepares a run.
func newProcess(ctx context.Context, program string, args []string) (*process, error) {
	p := &process{program: filepath.Base(program), args: args, errors: bounded{limit: maxErrorBytes}, grace: killedGrace}
	if !filepath.IsAbs(program) {
		return nil, &Error{Program: p.program, Args: args, Cause: fmt.Errorf("its path %q is not absolute", program)}
	}
	total := 0
	for _, arg := range args {
		total += len(arg) + 1
	}
	if total > maxArgsBytes {
		return nil, &Error{Program: p.program, Args: args, Cause: fmt.Errorf("arguments of %d bytes, expected %d at most: do it in parts", total, maxArgsBytes)}
	}
	p.cmd = exec.CommandContext(ctx, program, args...)
	// Without a locale, texts are those of the source; the image has none. Times that zpool prints are UTC. The path is for what the programs run
	// themselves, which is nothing on a node. Nor is there a udev there, for which they would wait three seconds for each device whose names it could
	// tell (encode_device_strings in lib/libzutil/os/linux/zutil_import_os.c): devices are known by their labels.
	p.cmd.Env = []string{"LC_ALL=C", "TZ=UTC", "PATH=/usr/sbin:/usr/bin", "ZFS_VDEV_DEVID_OPT_OUT=YES"}
	p.cmd.Dir = "/"
	p.cmd.Stderr = &p.errors
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = func() error {
		err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	p.cmd.WaitDelay = endedGrace
	return p, nil
}

// failure is the error of a run that ended with err, or nil.
func (p *process) failure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	e := p.failed(err)
	if ctx.Err() != nil {
		e.Cause = context.Cause(ctx)
	}
	return e
}

// failed is the error of a run with a cause, and with what the program said.
func (p *process) failed(cause error) *Error {
	e := &Error{Program: p.program, Args: p.args, Said: p.errors.kept.String(), cut: p.errors.cut, Cause: cause}
	e.Class = e.classify()
	return e
}

// errPartial is of a list that is not whole. zfs looks for what is below a dataset, and takes no notice of what comes of that: it says what it could not read, leaves
// it out and exits with 0 (zfs_callback in cmd/zfs/zfs_iter.c, 2.3.9). What is left out would count as destroyed.
var errPartial = errors.New("it ended well and complained: its list may lack what it could not read")

// complaint is the error of a list that has ended well, if anything was said beside it. Harmless is a line that may be said; empty is none.
func (p *process) complaint(harmless string) error {
	said := strings.TrimSpace(p.errors.kept.String())
	if said == "" || said == harmless {
		return nil
	}
	return p.failed(errPartial)
}

// bounded keeps the first bytes that are written to it. A strict one refuses more, which ends a program that writes on; else they are dropped. It is no
// bytes.Buffer, as io.Copy would read into that without a bound.
type bounded struct {
	kept   bytes.Buffer
	limit  int
	strict bool
	cut    bool
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	room := min(len(p), b.limit-b.kept.Len())
	b.kept.Write(p[:room])
	if room == len(p) {
		return room, nil
	}
	b.cut = true
	if b.strict {
		return room, io.ErrShortWrite
	}
	return len(p), nil
}
