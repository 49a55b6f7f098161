package vm

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connect does what QEMU does first: it hands a socket for commands to the TPM over the one for its control. What is returned is QEMU's end.
func connect(t *testing.T, socket string) (end func()) {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	const setDataFD = 0x10 // CMD_SET_DATAFD (swtpm_ioctls(3))
	_, _, err = c.(*net.UnixConn).WriteMsgUnix(binary.BigEndian.AppendUint32(nil, setDataFD), unix.UnixRights(pair[0]), nil)
	if err := errors.Join(err, unix.Close(pair[0])); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4)
	if _, err := io.ReadFull(c, answer); err != nil || binary.BigEndian.Uint32(answer) != 0 {
		t.Fatalf("the TPM answers %x, %v", answer, err)
	}
	return func() {
		if err := errors.Join(unix.Close(pair[1]), c.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestStartTPM starts a machine's TPM and is the machine: it goes when the machine does, and remembers what it is.
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
		connect(t, filepath.Join(dir, tpmSocket))()
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
