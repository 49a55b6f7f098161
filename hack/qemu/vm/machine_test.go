package vm

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// requireQEMU returns a machine without disks, which stays in its firmware.
func requireQEMU(t *testing.T) Config {
	t.Helper()
	firmware, err := FindFirmware("amd64")
	if err == nil {
		_, err = exec.LookPath("qemu-system-x86_64")
	}
	if err != nil {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatalf("REQUIRE_VM=1 promised QEMU: %v", err)
		}
		t.Skipf("needs QEMU and firmware: %v; make setup installs them", err)
	}
	return Config{
		Name: "test-" + strconv.Itoa(os.Getpid()), Dir: t.TempDir(), Arch: "amd64", Accel: DetectAccel(),
		CPUs: 1, MemoryBytes: 256 << 20,
		FirmwareCode: firmware.Code, FirmwareVars: firmware.Vars,
		Network: []string{"-nic", "none"},
	}
}

func start(t *testing.T, ctx context.Context, c Config) *VM {
	t.Helper()
	machine, err := Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := machine.PowerCut(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	return machine
}

// TestMachine takes a machine through its life: start, found again, reset, power
// cut, gone.
func TestMachine(t *testing.T) {
	config := requireQEMU(t)
	// A long folder's name is what breaks unix sockets.
	config.Dir = filepath.Join(config.Dir, strings.Repeat("long-", 20))
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	machine := start(t, ctx, config)
	firmware := regexp.MustCompile(`BdsDxe`)
	if _, err := machine.Console().WaitLine(ctx, firmware); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(ctx, config); err == nil {
		t.Error("a second start of the same machine: want an error")
	}
	if _, err := Attach("another", config.Dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("attach under another name: got %v, want %v", err, ErrNotRunning)
	}
	again, err := Attach(config.Name, config.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Console().WaitLine(ctx, firmware); err != nil {
		t.Fatal(err)
	}
	if err := again.PowerCut(ctx); err != nil {
		t.Fatal(err)
	}
	if machine.Running() {
		t.Error("the machine runs after a power cut")
	}
	if _, err := Attach(config.Name, config.Dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("attach after a power cut: got %v, want %v", err, ErrNotRunning)
	}
}

// TestStartFails wants QEMU's own words in the error.
func TestStartFails(t *testing.T) {
	config := requireQEMU(t)
	config.Disks = []Disk{{Path: filepath.Join(config.Dir, "missing"), Format: "raw"}}
	_, err := Start(t.Context(), config)
	if err == nil || !strings.Contains(err.Error(), "missing") || !strings.Contains(err.Error(), "No such file") {
		t.Errorf("got %v, want QEMU's complaint about the missing disk", err)
	}
}

func TestAttachStalePidfile(t *testing.T) {
	for name, content := range map[string]string{
		"another program": strconv.Itoa(os.Getpid()),
		"no number":       "qemu",
		"PID 1":           "1",
		"negative":        "-1",
		"empty":           "",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, pidFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Attach("a", dir); !errors.Is(err, ErrNotRunning) {
			t.Errorf("%s: got %v, want %v", name, err, ErrNotRunning)
		}
	}
}
