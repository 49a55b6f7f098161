package mounter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// zvols are devices that answer as they are told.
type zvols struct {
	t   *testing.T
	dir string

	mu      sync.Mutex
	volumes map[string]string
	asked   map[string]int
	// stuck are those that answer only once the channel is closed.
	stuck map[string]chan struct{}
}

func newZvols(t *testing.T) (*zvols, *Mounter) {
	t.Helper()
	z := &zvols{t: t, dir: t.TempDir(), volumes: map[string]string{}, asked: map[string]int{}, stuck: map[string]chan struct{}{}}
	m := New(t.TempDir(), Tools{}, Devices{})
	m.block, m.name = z.dir, z.name
	return z, m
}

// put makes a device the disk with a number.
func (z *zvols) put(device string, disk int, volume string) {
	z.t.Helper()
	dir := filepath.Join(z.dir, path.Base(device))
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "diskseq"), fmt.Appendf(nil, "%d\n", disk), 0o600)); err != nil {
		z.t.Fatal(err)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.volumes[device] = volume
}

// stick has a device answer no more, until what it returns is called.
func (z *zvols) stick(device string) (goOn func()) {
	z.mu.Lock()
	defer z.mu.Unlock()
	stuck := make(chan struct{})
	z.stuck[device] = stuck
	return func() {
		z.mu.Lock()
		defer z.mu.Unlock()
		delete(z.stuck, device)
		close(stuck)
	}
}

func (z *zvols) name(device string) (string, error) {
	z.mu.Lock()
	z.asked[device]++
	stuck := z.stuck[device]
	z.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if volume := z.volumes[device]; volume != "" {
		return volume, nil
	}
	return "", unix.ENXIO
}

func (z *zvols) times(device string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[device]
}

// TestSilentDevice: a device that never answers, as one of a pool that is suspended, keeps nobody from finding others, and is asked once.
func TestSilentDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z, m := newZvols(t)
		z.put("/dev/zd0", 9, "bad/x") // the newest, so that it is asked first
		z.put("/dev/zd16", 2, "good/a")
		z.put("/dev/zd32", 3, "good/b")
		z.put("/dev/sda", 1, "good/a")
		goOn := z.stick("/dev/zd0")
		began := time.Now()
		var calls sync.WaitGroup
		for i := range 8 {
			volume, want := "good/a", "/dev/zd16"
			if i%2 == 1 {
				volume, want = "good/b", "/dev/zd32"
			}
			calls.Go(func() {
				if got, err := m.device(t.Context(), volume); err != nil || got != want {
					t.Errorf("device of %s: %q, %v; want %s", volume, got, err, want)
				}
			})
		}
		calls.Wait()
		if took := time.Since(began); took > 2*lookPatience {
			t.Errorf("the others were found after %v", took)
		}
		// Many times, as the end may come while devices are looked at, or between two looks.
		for range 20 {
			short, stop := context.WithTimeout(t.Context(), 5*time.Second)
			_, err := m.device(short, "bad/x")
			stop()
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "an answer from /dev/zd0") {
				t.Errorf("of the silent one: %v", err)
			}
		}
		if n := z.times("/dev/zd0"); n != 1 {
			t.Errorf("the silent one was asked %d times", n)
		}
		goOn()
		if got, err := m.device(t.Context(), "bad/x"); err != nil || got != "/dev/zd0" {
			t.Errorf("once it answers: %q, %v", got, err)
		}
	})
}

// TestDeviceOfOtherPool: what is known to be of another pool is not opened, as long as it is the same disk.
func TestDeviceOfOtherPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z, m := newZvols(t)
		z.put("/dev/zd0", 1, "bad/x")
		z.put("/dev/zd16", 2, "good/a")
		for _, volume := range []string{"bad/x", "good/a"} {
			if _, err := m.device(t.Context(), volume); err != nil {
				t.Fatal(err)
			}
		}
		goOn, before := z.stick("/dev/zd0"), z.times("/dev/zd0")
		short, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if _, err := m.device(short, "good/new"); !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "zd0") {
			t.Errorf("a volume that has no device: %v", err)
		}
		if n := z.times("/dev/zd0"); n != before {
			t.Errorf("the device of another pool was asked %d times", n-before)
		}
		goOn()
		z.put("/dev/zd0", 3, "good/new")
		if got, err := m.device(t.Context(), "good/new"); err != nil || got != "/dev/zd0" {
			t.Errorf("the name's next disk: %q, %v", got, err)
		}
	})
}

// TestDeviceRenamed: a volume that has got the name of another has its own device.
func TestDeviceRenamed(t *testing.T) {
	z, m := newZvols(t)
	z.put("/dev/zd0", 1, "good/a")
	if got, err := m.device(t.Context(), "good/a"); err != nil || got != "/dev/zd0" {
		t.Fatalf("%q, %v", got, err)
	}
	z.put("/dev/zd0", 1, "good/_deleted/a.1")
	z.put("/dev/zd16", 2, "good/a")
	for volume, want := range map[string]string{"good/a": "/dev/zd16", "good/_deleted/a.1": "/dev/zd0"} {
		if got, err := m.device(t.Context(), volume); err != nil || got != want {
			t.Errorf("device of %s: %q, %v; want %s", volume, got, err, want)
		}
	}
}

// TestMountedSilent: a mount of a silent device is its volume's still, and none of no volume.
func TestMountedSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z, m := newZvols(t)
		z.put("/dev/zd0", 1, "bad/x")
		z.put("/dev/zd16", 2, "bad/y")
		z.put("/dev/zd32", 3, "")
		for device, want := range map[string]string{"/dev/zd16": "bad/y", "/dev/zd32": ""} {
			if got, err := m.mounted(t.Context(), device); err != nil || got != want {
				t.Errorf("%s: %q, %v; want %q", device, got, err, want)
			}
		}
		defer z.stick("/dev/zd0")()
		defer z.stick("/dev/zd16")()
		if got, err := m.mounted(t.Context(), "/dev/zd0"); !errors.Is(err, errSilent) {
			t.Errorf("one that never answered: %q, %v", got, err)
		}
		if got, err := m.mounted(t.Context(), "/dev/zd16"); err != nil || got != "bad/y" {
			t.Errorf("one that answered before: %q, %v", got, err)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if got, err := m.mounted(ctx, "/dev/zd0"); err == nil {
			t.Errorf("after the context's end: %q", got)
		}
	})
}
