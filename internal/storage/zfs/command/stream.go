package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pipeBytes is the size of the pipes to and from streams. zfs leaves that of a pipe as it is (max_pipe_buffer in lib/libzfs_core/libzfs_core.c),
	// since the kernel may forget to wake a writer when it grows with data in it; here it is empty.
	pipeBytes = 1 << 20
	// copyBytes is what is taken from a stream at once.
	copyBytes = 256 << 10
)

// output starts zfs and returns its standard output, once the first bytes are there. It ends with io.EOF only if the program ended well.
func (r Runner) output(ctx context.Context, args []string) (io.ReadCloser, error) {
	o, err := r.start(ctx, r.ZFSPath, args, 0)
	if err != nil {
		return nil, err
	}
	o.first = make([]byte, 4096)
	n, err := o.read(o.first)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, o.Close())
	}
	o.first = o.first[:n]
	return o, nil
}

// Events starts zpool events -Hvf and returns what it writes, which comes event by event (fflush in zpool_do_events_next of cmd/zpool/zpool_main.c, 2.3.9). It goes on
// until it is closed, or ctx ends; it ends by itself, with an error, where the module is not loaded. It does not outlive this process, however that ends: it waits for
// events that may never come, and would be there for good.
func (r Runner) Events(ctx context.Context) (io.ReadCloser, error) {
	o, err := r.start(ctx, r.ZpoolPath, []string{"events", "-Hvf"}, syscall.SIGKILL)
	if err != nil {
		return nil, err
	}
	return o, nil
}

// start starts a program whose standard output is read while it runs. OnDeath, if not 0, is sent to it when this process dies, or the thread that started it, which Go
// ends rarely (prctl(2), PR_SET_PDEATHSIG): whoever reads has to be ready for that.
func (r Runner) start(ctx context.Context, program string, args []string, onDeath syscall.Signal) (*outputStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	p, err := newProcess(ctx, program, args)
	if err == nil {
		err = p.refused(r.Held)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		cancel()
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	grow(in)
	p.cmd.Stdout = in
	p.cmd.SysProcAttr.Pdeathsig = onDeath
	if err := errors.Join(p.cmd.Start(), in.Close()); err != nil {
		cancel()
		_ = out.Close()
		return nil, p.failure(ctx, err)
	}
	// One that cannot be ended keeps its end of the pipe open: whoever reads is not to wait for it.
	context.AfterFunc(ctx, func() { _ = out.SetReadDeadline(time.Now().Add(p.grace)) })
	return &outputStream{process: p, held: r.Held, out: out, ctx: ctx, cancel: cancel}, nil
}

// grow makes a pipe larger. What the kernel does not give is a loss of speed only.
func grow(pipe *os.File) {
	if c, err := pipe.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeBytes) })
	}
}

// outputStream is the standard output of a program that runs.
type outputStream struct {
	process *process
	held    *Held
	out     *os.File
	ctx     context.Context
	cancel  context.CancelFunc
	first   []byte
	once    sync.Once
	ended   error
}

// Read implements io.Reader.
func (o *outputStream) Read(p []byte) (int, error) {
	if len(o.first) > 0 {
		n := copy(p, o.first)
		o.first = o.first[n:]
		return n, nil
	}
	return o.read(p)
}

func (o *outputStream) read(p []byte) (int, error) {
	n, err := o.out.Read(p)
	if err == nil {
		return n, nil
	}
	ended := errors.Is(err, io.EOF)
	if !ended && !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, fmt.Errorf("read stream: %w", err)
	}
	if failed := o.wait(); failed != nil {
		return n, failed
	}
	if !ended {
		return n, fmt.Errorf("read stream: %w", err)
	}
	return n, io.EOF
}

// wait waits for the program's end.
func (o *outputStream) wait() error {
	o.once.Do(func() { o.ended = o.process.await(o.ctx, o.held, o.process.cmd.Wait) })
	return o.ended
}

// Close implements io.Closer. It ends the program if it runs, and returns when it has ended, and holds no snapshot any more. Of one that cannot be ended it is ErrHeld.
func (o *outputStream) Close() error {
	o.cancel()
	err := o.wait()
	if !errors.Is(err, ErrHeld) {
		err = nil // that it was ended is no error here
	}
	if closed := o.out.Close(); closed != nil && !errors.Is(closed, os.ErrClosed) {
		err = errors.Join(err, fmt.Errorf("close stream: %w", closed))
	}
	return err
}

// input runs zfs with a stream as its standard input, and returns what it said when it ended well. It returns when the program has ended, and the
// last Read of the stream has; or with ctx, though a Read may then still be under way, and the program be held.
func (r Runner) input(ctx context.Context, args []string, stream io.Reader) (said string, err error) {
	p, err := newProcess(ctx, r.ZFSPath, args)
	if err == nil {
		err = p.refused(r.Held)
	}
	if err != nil {
		return "", err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("make pipe: %w", err)
	}
	grow(in)
	p.cmd.Stdin = out
	if err := errors.Join(p.cmd.Start(), out.Close()); err != nil {
		_ = in.Close()
		return "", p.failure(ctx, err)
	}
	copied := make(chan error, 1)
	go func() {
		err := feed(in, stream)
		_ = in.Close() // the end of the stream, for the program
		copied <- err
	}()
	err = p.await(ctx, r.Held, p.cmd.Wait)
	var readErr error
	select {
	case readErr = <-copied:
	case <-ctx.Done():
	}
	if err != nil {
		return "", errors.Join(err, readErr)
	}
	return p.errors.kept.String(), nil
}

// feed copies a stream into a pipe. An error is the stream's: that the program reads no more is for it to say.
func feed(pipe io.Writer, stream io.Reader) error {
	buffer := make([]byte, copyBytes)
	for {
		n, err := stream.Read(buffer)
		if n > 0 {
			if _, err := pipe.Write(buffer[:n]); err != nil {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read stream: %w", err)
		}
	}
}
