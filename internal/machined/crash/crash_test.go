package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cyvive/cyvive/internal/machined/boot/trial"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func source(t *testing.T) Source {
	dir := t.TempDir()
	return Source{Pstore: dir + "/pstore", Watchdog: dir + "/watchdog", Kept: dir + "/kept", Boot: "boot-2"}
}

func take(t *testing.T, s Source, want string) {
	t.Helper()
	if got, err := s.Take(); got != want || err != nil {
		t.Errorf("Take = %q, %v; want %q", got, err, want)
	}
}

func TestTake(t *testing.T) {
	s := source(t)
	take(t, s, "") // neither is there
	write(t, s.Watchdog+"/bootstatus", "0\n")
	take(t, s, "")
	write(t, s.Watchdog+"/bootstatus", "32\n")
	take(t, s, "the watchdog started the machine again: it hung")
	write(t, s.Pstore+"/dmesg-efi_pstore-1", "Panic#2 Part2\n<6>[    1.2] something before\n")
	write(t, s.Pstore+"/dmesg-efi_pstore-2",
		"Panic#2 Part1\n<0>[    9.5] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\n<4>[    9.5] CPU: 0\n")
	take(t, s, "kernel panic: Attempted to kill init! exitcode=0x00000100")
	// They are kept, and not found again.
	for _, name := range []string{"dmesg-efi_pstore-1", "dmesg-efi_pstore-2"} {
		if _, err := os.Stat(filepath.Join(s.Kept, s.Boot, name)); err != nil {
			t.Error(err)
		}
	}
	take(t, s, "the watchdog started the machine again: it hung")
	// An ordered restart leaves its end too, where init has asked for it.
	write(t, s.Pstore+"/dmesg-efi_pstore-3", "Shutdown#1 Part1\n<6>[  300.1] init: down action=reboot\n<3>[  300.2] "+trial.Mark+
		"its agent has given no sign of life for 3m0s\n<0>[  300.3] reboot: Restarting system\n")
	take(t, s, "init ended the trial: its agent has given no sign of life for 3m0s")
}

func TestKeptIsBounded(t *testing.T) {
	s := source(t)
	for i := range maxKept + 5 {
		write(t, fmt.Sprintf("%s/dmesg-%d", s.Pstore, i), "BUG: unable to handle page fault\n")
	}
	take(t, s, "kernel: BUG: unable to handle page fault")
	if kept, err := os.ReadDir(filepath.Join(s.Kept, s.Boot)); len(kept) != maxKept || err != nil {
		t.Errorf("%d records are kept, %v; want %d", len(kept), err, maxKept)
	}
}

func TestCannotBeRead(t *testing.T) {
	s := source(t)
	write(t, s.Pstore+"/dir/file", "")
	write(t, s.Pstore+"/z", "Kernel panic - not syncing: x\n")
	if got, err := s.Take(); got != "kernel panic: x" || err == nil || !strings.Contains(err.Error(), "dir") {
		t.Errorf("Take = %q, %v; want the panic, and an error that names dir", got, err)
	}
}

// TestNothingMounted: a record stays where it is as long as the volume for it is not there.
func TestNothingMounted(t *testing.T) {
	s := source(t)
	volume := filepath.Join(filepath.Dir(s.Kept), "state")
	s.Kept = filepath.Join(volume, "crash")
	write(t, s.Pstore+"/dmesg-1", "Kernel panic - not syncing: x\n")
	if got, err := s.Take(); got != "kernel panic: x" || err == nil {
		t.Errorf("Take = %q, %v; want the panic, and an error", got, err)
	}
	if _, err := os.Stat(volume); err == nil {
		t.Error("a folder was made where the volume is mounted")
	}
	if err := os.Mkdir(volume, 0o700); err != nil {
		t.Fatal(err)
	}
	take(t, s, "kernel panic: x")
}

func FuzzParse(f *testing.F) {
	f.Add("Panic#1 Part1\n<0>[ 1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\n")
	f.Add("Oops: \xff")
	f.Add("<3>[ 1.0] " + trial.Mark + "silent\n")
	f.Fuzz(func(t *testing.T, record string) {
		got := parse(record)
		if strings.Contains(got, "\n") || !utf8.ValidString(got) {
			t.Errorf("%q", got)
		}
	})
}
