package vm

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/hack/qemu/network"
)

// TestSlotsAndCable has QEMU take disks with slots, and a cable that is cut. Nothing lets go of a disk here: there is no system in the machine.
func TestSlotsAndCable(t *testing.T) {
	config := requireQEMU(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, serial := range []string{"one", "two"} {
		path := filepath.Join(config.Dir, serial)
		if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		config.Disks = append(config.Disks, Disk{Path: path, Format: "raw", Serial: serial, Slot: true})
	}
	config.Network = network.Cable{Here: network.CableSocket, There: "nobody.sock"}.Arguments(0)
	machine := start(t, ctx, config)
	for id, want := range map[string]bool{deviceOf("one"): true, deviceOf("two"): true, slotOf("one"): true, deviceOf("three"): false} {
		if got, err := machine.hasDevice(ctx, id); got != want || err != nil {
			t.Errorf("device %s: %t, %v, want %t", id, got, err, want)
		}
	}
	if err := machine.PullDisk(ctx, "three"); err == nil || !strings.Contains(err.Error(), "three") {
		t.Errorf("a disk that is not there was pulled: %v", err)
	}
	for _, whole := range []bool{false, true} {
		if err := machine.Connect(ctx, network.CableNetdev, whole); err != nil {
			t.Errorf("cable whole: %t: %v", whole, err)
		}
	}
	if err := machine.Connect(ctx, "nothing", false); err == nil {
		t.Error("a network that is not there was cut")
	}
}
