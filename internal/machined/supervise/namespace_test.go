package supervise

import (
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// asPID1 runs the calling test again as PID 1 of a PID and mount namespace of
// its own, and reports whether this is that run. It needs root.
func asPID1(t *testing.T) bool {
	t.Helper()
	if os.Getpid() == 1 && os.Getenv("CYVIVE_TEST_PID1") == t.Name() {
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			t.Fatalf("mount proc: %v", err)
		}
		return true
	}
	if os.Getuid() != 0 {
		if os.Getenv("REQUIRE_ROOT") == "1" {
			t.Fatal("REQUIRE_ROOT=1, but the test does not run as root")
		}
		t.Skip("needs root to make a PID namespace")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "CYVIVE_TEST_PID1="+t.Name())
	// With Unshareflags the runtime makes the mounts private first.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in its namespace: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("did not run in its namespace:\n%s", out)
	}
	return false
}

// TestMain also is the programs that the tests start: "exit N" exits with N,
// "orphans N" leaves N children behind and exits with 7, "stubborn" ignores
// SIGTERM, "obedient" sleeps until a signal.
func TestMain(m *testing.M) {
	switch os.Getenv("CYVIVE_TEST_PROGRAM") {
	case "exit":
		os.Exit(number())
	case "orphans":
		for range number() {
			if err := leaveChild(); err != nil {
				os.Exit(8)
			}
		}
		os.Exit(7)
	case "print":
		for i := range number() {
			os.Stdout.WriteString("line " + strconv.Itoa(i) + "\n")
		}
		os.Exit(0)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		os.Stdout.WriteString("ready\n")
		select {}
	case "obedient":
		os.Stdout.WriteString("ready\n")
		syscall.Pause()
	}
	os.Exit(m.Run())
}

// leaveChild makes a child that ends at once, and does not wait for it. The child is a copy of this process that makes one system call: to start a program takes
// some milliseconds, for which ten thousand are too many. Nothing between both calls may look at the stack's limit, as the runtime's other threads are not there
// in the child; both are made without such a look.
//
//go:norace
func leaveChild() error {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	for pid == 0 {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
	return nil
}

func number() int {
	n, _ := strconv.Atoi(os.Getenv("CYVIVE_TEST_NUMBER"))
	return n
}

func testEnv(program string, n int) []string {
	return []string{"CYVIVE_TEST_PROGRAM=" + program, "CYVIVE_TEST_NUMBER=" + strconv.Itoa(n)}
}

func testCommand(program string, n int) Command {
	return Command{Path: os.Args[0], Args: []string{program}, Env: testEnv(program, n)}
}
