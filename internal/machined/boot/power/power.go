// Package power watches input devices for the power key: that of ACPI
// ("button" driver), of a virtual machine monitor, or of a keyboard.
package power

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Values of input-event-codes.h.
const (
	evKey    = 0x01
	keyPower = 116
)

// eventBytes is sizeof(struct input_event) on 64-bit Linux: two longs of
// time, type, code, value (linux/input.h).
const eventBytes = 24

// Watcher calls a function for each press of a power key. Its methods may be
// called at once.
type Watcher struct {
	sys, dev string
	pressed  func(device string)

	mu   sync.Mutex
	open map[string]bool
}

// New returns a Watcher on /sys/class/input and /dev/input.
func New(pressed func(device string)) *Watcher {
	return &Watcher{sys: "/sys/class/input", dev: "/dev/input", pressed: pressed, open: map[string]bool{}}
}

// Scan begins to watch each device that has a power key and is not watched
// yet; call it again when an input device appeared. It ends with ctx.
func (w *Watcher) Scan(ctx context.Context) error {
	dirs, err := filepath.Glob(filepath.Join(w.sys, "event*"))
	if err != nil {
		return fmt.Errorf("list input devices: %w", err)
	}
	for _, dir := range dirs {
		keys, err := os.ReadFile(filepath.Join(dir, "device/capabilities/key"))
		if err != nil || !hasKey(string(keys), keyPower) {
			continue
		}
		if err := w.add(ctx, filepath.Base(dir)); err != nil {
			return err
		}
	}
	return nil
}

func (w *Watcher) add(ctx context.Context, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open[name] {
		return nil
	}
	f, err := os.Open(filepath.Join(w.dev, name))
	if err != nil {
		return fmt.Errorf("watch power key: %w", err)
	}
	w.open[name] = true
	go func() {
		stop := context.AfterFunc(ctx, func() { f.Close() })
		defer stop()
		defer f.Close()
		read(f, func() { w.pressed(name) })
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.open, name)
	}()
	return nil
}

// read calls pressed for each press until r ends.
func read(r io.Reader, pressed func()) {
	var e [eventBytes]byte
	for {
		if _, err := io.ReadFull(r, e[:]); err != nil {
			return
		}
		le := binary.LittleEndian
		if le.Uint16(e[16:]) == evKey && le.Uint16(e[18:]) == keyPower && le.Uint32(e[20:]) == 1 {
			pressed()
		}
	}
}

// hasKey looks a key up in a capability bitmap of sysfs: words of 64 bits in
// hexadecimal, the highest first, without leading zeros.
func hasKey(bitmap string, key int) bool {
	words := strings.Fields(bitmap)
	at := len(words) - 1 - key/64
	if at < 0 {
		return false
	}
	word, err := strconv.ParseUint(words[at], 16, 64)
	return err == nil && word>>(key%64)&1 == 1
}
