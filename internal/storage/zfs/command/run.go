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

// endedGrace is how long the pipes of a program that has ended may be held open by another, before they are closed.
const endedGrace = 5 * time.Second

// Runner runs the programs. It holds no state, and its methods may be called concurrently.
type Runner struct {
	// ZFSPath and ZpoolPath are the programs' absolute paths.
	ZFSPath, ZpoolPath string
}

// Zfs runs zfs and returns its standard output. What it says on failure is in an [Error], and a class of package zfs where the table has it.
// Arguments must have been checked: nothing here tells a name from an option. Ending ctx ends the program, and the error is then the cause of that,
// too.
func (r Runner) Zfs(ctx context.Context, args ...string) ([]byte, error) {
	return r.collect(ctx, r.ZFSPath, nil, args)
}

// Zpool is as [Runner.Zfs], for zpool.
func (r Runner) Zpool(ctx context.Context, args ...string) ([]byte, error) {
	return r.collect(ctx, r.ZpoolPath, nil, args)
}

// collect runs a program to its end, with a text as its standard input, and returns what it wrote. Its errors are of type *Error.
func (r Runner) collect(ctx context.Context, program string, input []byte, args []string) ([]byte, error) {
	p, err := newProcess(ctx, program, args)
	if err != nil {
		return nil, err
	}
	out := bounded{limit: maxOutputBytes, strict: true}
	p.cmd.Stdout = &out
	p.cmd.Stdin = bytes.NewReader(input)
	err = p.cmd.Start()
	if err == nil {
		err = p.cmd.Wait()
	}
	if out.cut {
		err = fmt.Errorf("it wrote more than %d MiB: %w", maxOutputBytes>>20, errors.Join(err, io.ErrShortBuffer))
	}
	return out.kept.Bytes(), p.failure(ctx, err)
}

// process is one run of a program.
type process struct {
	cmd     *exec.Cmd
	program string
	args    []string
	errors  bounded
}

// newProcess prepares a run.
func newProcess(ctx context.Context, program string, args []string) (*process, error) {
	p := &process{program: filepath.Base(program), args: args, errors: bounded{limit: maxErrorBytes}}
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
	e := &Error{Program: p.program, Args: p.args, Said: p.errors.kept.String(), cut: p.errors.cut, Cause: err}
	e.Class = e.classify()
	if ctx.Err() != nil {
		e.Cause = context.Cause(ctx)
	}
	return e
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
