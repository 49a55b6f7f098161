package zfstest

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// ErrCrashed is what every call returns between a crash and [Faulty.Restart].
var ErrCrashed = errors.New("machine has crashed")

// ErrCut is the error of a stream that was cut.
var ErrCut = errors.New("stream was cut")

// Fault is what happens to one call.
type Fault struct {
	// Method is the name of the method, or empty for any that changes something, or sends.
	Method string
	// Skip is how many such calls are let through before.
	Skip int
	// After lets the call have its effect first. What it returns is lost either way.
	After bool
	// Bare is After, and has a Create or Clone leave its dataset without what it was to be set to: OpenZFS makes it in one transaction, and sets that in later ones
	// (zfs_ioc_create and zfs_ioc_clone in module/zfs/zfs_ioctl.c of 2.3.9).
	Bare bool
	// Err is what the call returns. A Crash has it return ErrCrashed, and all after it.
	Err   error
	Crash bool
	// CutAt lets this many bytes of a stream through and then cuts it; only for Send and Receive, where it takes the place of After.
	CutAt int64
	// Do is called before the call has its effect, so that something can change meanwhile; with neither Err, Crash nor CutAt that is all.
	Do func()
}

// Faulty is a zfs.System with faults to order. It may be used concurrently.
type Faulty struct {
	System zfs.System

	mu      sync.Mutex
	faults  []Fault
	crashed bool
	calls   []string
	all     []string
}

// Order adds a fault. Faults are independent; each happens once.
func (f *Faulty) Order(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, fault)
}

// Crash has every call fail from now on.
func (f *Faulty) Crash() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashed = true
}

// Restart ends a crash, and forgets the faults that did not happen.
func (f *Faulty) Restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashed, f.faults, f.calls, f.all = false, nil, nil, nil
}

// Calls returns the names of the methods that were called since the last restart and change something, or send.
func (f *Faulty) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

// All returns the names of all methods that were called since the last restart. On a real system each call is a program, or more.
func (f *Faulty) All() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.all...)
}

// take decides what happens to a call.
func (f *Faulty) take(method string, counts bool) (Fault, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.crashed {
		return Fault{}, ErrCrashed
	}
	f.all = append(f.all, method)
	if counts {
		f.calls = append(f.calls, method)
	}
	for i := range f.faults {
		fault := &f.faults[i]
		if fault.Method != method && (fault.Method != "" || !counts) {
			continue
		}
		if fault.Skip > 0 {
			fault.Skip--
			continue
		}
		taken := *fault
		f.faults = append(f.faults[:i], f.faults[i+1:]...)
		return taken, nil
	}
	return Fault{}, nil
}

// err is what a call returns that meets the fault, nil where it meets none.
func (f *Faulty) err(fault Fault) error {
	if fault.Crash {
		f.Crash()
		return ErrCrashed
	}
	return fault.Err
}

// do makes a call.
func (f *Faulty) do(method string, call func() error) error {
	return f.with(method, func(Fault) error { return call() })
}

// with makes a call that is told which fault it meets.
func (f *Faulty) with(method string, call func(Fault) error) error {
	fault, err := f.take(method, true)
	if err != nil {
		return err
	}
	if fault.Do != nil {
		fault.Do()
	}
	after := fault.After || fault.Bare
	if !after {
		if err := f.err(fault); err != nil {
			return err
		}
	}
	err = call(fault)
	if after {
		return errors.Join(f.err(fault), err)
	}
	return err
}

// cutter lets a number of bytes through.
type cutter struct {
	r    io.ReadCloser
	left int64
	err  func() error
}

// Read implements io.Reader.
func (c *cutter) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, c.err()
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// Close implements io.Closer.
func (c *cutter) Close() error { return c.r.Close() }

func (f *Faulty) cutter(r io.ReadCloser, fault Fault) *cutter {
	return &cutter{r: r, left: fault.CutAt, err: func() error { return errors.Join(ErrCut, f.err(fault)) }}
}

// Send implements zfs.System. A stream that is cut returns an error that is ErrCut.
func (f *Faulty) Send(ctx context.Context, s zfs.SendSpec) (io.ReadCloser, error) {
	fault, err := f.take("Send", true)
	if err != nil {
		return nil, err
	}
	if fault.Do != nil {
		fault.Do()
	}
	if fault.CutAt == 0 {
		if err := f.err(fault); err != nil {
			return nil, err
		}
	}
	stream, err := f.System.Send(ctx, s)
	if err != nil || fault.CutAt == 0 {
		return stream, err
	}
	return f.cutter(stream, fault), nil
}

// Receive implements zfs.System.
func (f *Faulty) Receive(ctx context.Context, o zfs.ReceiveSpec, stream io.Reader) error {
	fault, err := f.take("Receive", true)
	if err != nil {
		return err
	}
	if fault.Do != nil {
		fault.Do()
	}
	if fault.CutAt > 0 {
		return f.System.Receive(ctx, o, f.cutter(io.NopCloser(stream), fault))
	}
	if !fault.After {
		if err := f.err(fault); err != nil {
			return err
		}
	}
	err = f.System.Receive(ctx, o, stream)
	if fault.After {
		return errors.Join(f.err(fault), err)
	}
	return err
}
