package mounter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// How long a device may take to answer before it counts as silent, where others can be asked, and where it is the only one. A first open that finds the lock of
// all pools taken tries for a second (zvol_open_timeout_ms in module/os/linux/zfs/zvol_os.c of OpenZFS 2.3.9).
const (
	lookPatience  = 250 * time.Millisecond
	mountPatience = 2 * time.Second
)

// errSilent is that a device does not answer.
var errSilent = errors.New("does not answer")

// question is a device that is being asked. What it has answered is there once done is closed.
type question struct {
	began  time.Time
	done   chan struct{}
	volume string
	err    error
}

// answer is what a device has said.
type answer struct {
	// disk is the number of the disk that had the device's name then. The next that has it has a greater one (diskseq in
	// Documentation/ABI/stable/sysfs-block of Linux 6.12; since 5.15).
	disk   uint64
	volume string
}

// ask asks a device for its volume. It does not wait longer than is given from when the device began to be asked, and not longer than the context:
// the first open of a zvol reads what of it is not in memory, and of a pool that is suspended this waits in the kernel until the pool goes on
// (dmu_objset_own, called by zvol_first_open in module/zfs/zvol.c, and zio_done in module/zfs/zio.c of OpenZFS 2.3.9), where no signal reaches it. So no
// lock is held meanwhile, and no device is asked a second time while it owes an answer.
func (m *Mounter) ask(ctx context.Context, device string, patience time.Duration) (string, error) {
	for {
		q, mine := m.put(device)
		select {
		case <-q.done:
			if mine {
				return q.volume, q.err
			}
			// The answer to another's question may be older than what is asked here.
		case <-time.After(time.Until(q.began.Add(patience))):
			return "", fmt.Errorf("device %s %w when asked for its volume: its pool may be suspended", device, errSilent)
		case <-ctx.Done():
			return "", fmt.Errorf("ask %s for its volume: %w", device, context.Cause(ctx))
		}
	}
}

// put has a device asked, unless it is being asked already; mine says that it was not.
func (m *Mounter) put(device string) (_ *question, mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if q := m.questions[device]; q != nil {
		return q, false
	}
	q := &question{began: time.Now(), done: make(chan struct{})}
	m.questions[device] = q
	go func() {
		// Read first: if the device becomes another's meanwhile, the answer is of a disk that is there no more.
		disk := m.disk(device)
		q.volume, q.err = m.name(device)
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.questions, device)
		if q.err == nil && disk != 0 {
			m.answers[device] = answer{disk, q.volume}
		}
		close(q.done)
	}()
	return q, true
}

// last is what a device said when it was last asked, if it is the same disk still, or else no volume. That may have been renamed since, and is in the
// same pool.
func (m *Mounter) last(device string) answer {
	disk := m.disk(device)
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.answers[device]; a.disk == disk {
		return a
	}
	return answer{disk: disk}
}

// disk is the number of the disk that has a device's name, or 0.
func (m *Mounter) disk(device string) uint64 {
	text, err := os.ReadFile(path.Join(m.block, path.Base(device), "diskseq"))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return n
}

// mounted asks a device on which is a mount. One that says no name is none of ZFS. One that is silent, which is so only where it is bound and not open,
// is what it was last.
func (m *Mounter) mounted(ctx context.Context, device string) (string, error) {
	volume, err := m.ask(ctx, device, mountPatience)
	switch {
	case err == nil:
		return volume, nil
	case errors.Is(err, errSilent):
		if volume = m.last(device).volume; volume == "" {
			return "", err
		}
		return volume, nil
	case ctx.Err() != nil:
		return "", err
	}
	return "", nil
}

// nameOf asks a device for its volume.
func nameOf(device string) (string, error) {
	f, err := os.OpenFile(device, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	name, err := zvolName(f)
	if err != nil {
		return "", fmt.Errorf("ask %s for its volume: %w", device, err)
	}
	return name, nil
}
