package vm

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestStartTPM starts a machine's TPM and is the machine: it goes when the connection does, and remembers what it is.
func TestStartTPM(t *testing.T) {
	if _, err := exec.LookPath("swtpm"); err != nil {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatalf("REQUIRE_VM=1 promised swtpm: %v", err)
		}
		t.Skipf("needs a software TPM (make setup): %v", err)
	}
	// Not t.TempDir: the path of a socket has 107 bytes at most.
	dir, err := os.MkdirTemp("", "vm")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for range 2 {
		stop, err := startTPM(t.Context(), Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		c, err := net.Dial("unix", filepath.Join(dir, tpmSocket))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			again, err := net.Dial("unix", filepath.Join(dir, tpmSocket))
			if err != nil {
				break
			}
			again.Close()
			if time.Now().After(deadline) {
				t.Fatal("it runs on, though the machine is gone")
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, tpmDir)); err != nil {
		t.Error(err)
	}
}
