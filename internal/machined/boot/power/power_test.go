package power

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func event(kind, code uint16, value uint32) []byte {
	e := make([]byte, eventBytes)
	binary.LittleEndian.PutUint16(e[16:], kind)
	binary.LittleEndian.PutUint16(e[18:], code)
	binary.LittleEndian.PutUint32(e[20:], value)
	return e
}

func TestRead(t *testing.T) {
	var in bytes.Buffer
	for _, e := range [][]byte{
		event(evKey, keyPower, 1), // press
		event(0, 0, 0),
		event(evKey, keyPower, 2), // repeat
		event(evKey, keyPower, 0), // release
		event(evKey, 30, 1),       // another key
		event(4, keyPower, 1),     // EV_MSC
		event(evKey, keyPower, 1),
		{1, 2, 3},
	} {
		in.Write(e)
	}
	presses := 0
	read(&in, func() { presses++ })
	if presses != 2 {
		t.Errorf("%d presses, want 2", presses)
	}
}

func TestHasKey(t *testing.T) {
	tests := map[string]bool{
		"10000000000000 0\n": true, // an ACPI power button
		"0":                  false,
		"":                   false,
		"402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe": true, // a keyboard
		"402000000 3803078f800d001 feefffdfffefffff fffffffffffffffe": false,
		"ffffffffffffffff ffffffffffffffff":                           true,
		"xyz 0":                                                       false,
	}
	for bitmap, want := range tests {
		if got := hasKey(bitmap, keyPower); got != want {
			t.Errorf("hasKey(%q) = %v, want %v", bitmap, got, want)
		}
	}
}

// TestScan watches a FIFO in place of a device, and the same one only once.
func TestScan(t *testing.T) {
	dir := t.TempDir()
	caps := filepath.Join(dir, "sys/event0/device/capabilities")
	for _, d := range []string{caps, filepath.Join(dir, "sys/event1/device/capabilities"), filepath.Join(dir, "dev")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	os.WriteFile(filepath.Join(caps, "key"), []byte("10000000000000 0\n"), 0o644)
	os.WriteFile(filepath.Join(dir, "sys/event1/device/capabilities/key"), []byte("0\n"), 0o644)
	device := filepath.Join(dir, "dev/event0")
	if err := unix.Mkfifo(device, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	pressed := make(chan string, 4)
	w := New(func(name string) { pressed <- name })
	w.sys, w.dev = filepath.Join(dir, "sys"), filepath.Join(dir, "dev")
	for range 2 {
		if err := w.Scan(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	out.Write(event(evKey, keyPower, 1))
	select {
	case name := <-pressed:
		if name != "event0" {
			t.Errorf("pressed on %s", name)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the press did not arrive")
	}
	if len(pressed) != 0 {
		t.Error("the device is watched twice")
	}
}

func FuzzHasKey(f *testing.F) {
	f.Add("10000000000000 0", 116)
	f.Fuzz(func(t *testing.T, bitmap string, key int) {
		if key < 0 || key >= 1<<16 {
			return
		}
		// Words in front hold higher keys.
		if got := hasKey(bitmap, key); got && !hasKey("ffffffffffffffff "+bitmap, key) || !hasKey(bitmap+" 1", 0) {
			t.Errorf("%q, key %d: %t, and another with a word in front", bitmap, key, got)
		}
	})
}
