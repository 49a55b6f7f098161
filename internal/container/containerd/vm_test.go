package containerd

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/containertest"
)

// TestMain makes the test binary the program of its own test containers.
func TestMain(m *testing.M) {
	if b := os.Getenv("TEST_BEHAVIOUR"); b != "" {
		os.Exit(behave(containertest.Behaviour(b)))
	}
	os.Exit(m.Run())
}

func behave(b containertest.Behaviour) int {
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	os.Stdout.WriteString("hello from " + string(b) + "\n")
	switch b {
	case containertest.Exits:
		return containertest.ExitCode
	case containertest.Runs:
		<-terminate
		return 0
	case "probe":
		return probe()
	}
	select {}
}

// fifos is the log of every container: a FIFO that a goroutine reads.
type fifos struct {
	dir  string
	seen chan string
}

func (f fifos) OpenLog(_ context.Context, name string) (string, error) {
	path := filepath.Join(f.dir, name+".fifo")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return "", err
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := file.Read(buffer)
			if err != nil {
				return
			}
			select {
			case f.seen <- name + ": " + string(buffer[:n]):
			default:
			}
		}
	}()
	return path, nil
}

// startDaemon runs the system containerd of the node's image, with its
// configuration.
func startDaemon(t *testing.T) {
	t.Helper()
	if os.Getenv("CYVIVE_VM") != "1" {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatal("REQUIRE_VM=1, but this is no virtual machine of the test runner")
		}
		t.Skip("needs the VM test runner: containerd, runc and cgroup2 of its own")
	}
	if err := os.MkdirAll("/run/cyvive/containerd", 0o700); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command("/usr/bin/containerd", "--config", "/image/etc/containerd/system.toml")
	daemon.Stdout, daemon.Stderr = os.Stderr, os.Stderr
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		_ = daemon.Wait()
	})
}

// testRoot makes a root directory with this program in it.
func testRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, d := range []string{"dev", "proc", "sys", "tmp", "run", "var", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	program, err := os.OpenFile(filepath.Join(root, "usr/bin/program"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(program, self); err != nil {
		t.Fatal(err)
	}
	if err := program.Close(); err != nil {
		t.Fatal(err)
	}
	// The system plane's users must be able to walk to it.
	for p := root; p != "/"; p = filepath.Dir(p) {
		_ = os.Chmod(p, 0o755|os.ModeSticky)
	}
	return root
}

func testRuntime(t *testing.T, seen chan string) *Runtime {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	r, err := New(Config{
		Socket: "/run/cyvive/containerd/containerd.sock", Namespace: "system",
		Logs: fifos{dir: t.TempDir(), seen: seen}, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	deadline := time.Now().Add(60 * time.Second)
	for {
		_, err := r.List(t.Context())
		if err == nil {
			return r
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestContainerdKeepsTheContract(t *testing.T) {
	startDaemon(t)
	root := testRoot(t)
	containertest.TestRuntime(t, containertest.Harness{
		Runtime: testRuntime(t, make(chan string)),
		Spec: func(name string, b containertest.Behaviour) container.Spec {
			return container.Spec{
				Name: name, Rootfs: root, Args: []string{"/usr/bin/program"},
				Env: []string{"TEST_BEHAVIOUR=" + string(b)}, Cgroup: "/system/" + name,
				MemoryMinBytes: 8 << 20, CPUWeight: 200, UID: 900, GID: 900,
			}
		},
		WaitUntil: func(at time.Time) { time.Sleep(time.Until(at) + 10*time.Millisecond) },
	})
}

// TestIsolation runs a program in a system container and in the workload plane
// that writes what it finds about itself; see probe.
func TestIsolation(t *testing.T) {
	startDaemon(t)
	root := testRoot(t)
	seen := make(chan string, 16)
	r := testRuntime(t, seen)
	for _, plane := range []bool{false, true} {
		name := map[bool]string{false: "system", true: "plane"}[plane]
		t.Run(name, func(t *testing.T) {
			spec := container.Spec{
				Name: name, Rootfs: root, Args: []string{"/usr/bin/program"},
				Env: []string{"TEST_BEHAVIOUR=probe"}, Cgroup: "/isolation/" + name, Plane: plane, Hostname: "plane",
				Mounts: []container.Mount{{Source: "tmpfs", Destination: "/tmp", Type: "tmpfs"}},
			}
			if plane {
				spec.Capabilities = []string{"CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_DAC_OVERRIDE"}
			}
			if err := r.Ensure(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = r.Stop(context.Background(), name, time.Second) }()
			var output strings.Builder
			timeout := time.After(60 * time.Second)
			for !strings.Contains(output.String(), "done") {
				select {
				case line := <-seen:
					output.WriteString(line)
				case <-timeout:
					t.Fatalf("no answer; got %q", output.String())
				}
			}
			for _, want := range []string{"pid 1\n", "write /: read-only file system\n", "disk: operation not permitted\n"} {
				if !strings.Contains(output.String(), want) {
					t.Errorf("got %q, want it to contain %q", output.String(), want)
				}
			}
		})
	}
}

// probe reports what a container must not be able to do.
func probe() int {
	report := func(what string, err error) {
		text := "allowed"
		if err != nil {
			text = err.Error()
			if i := strings.LastIndex(text, ": "); i >= 0 {
				text = text[i+2:]
			}
		}
		os.Stdout.WriteString(what + ": " + text + "\n")
	}
	if os.Getpid() == 1 {
		os.Stdout.WriteString("pid 1\n")
	}
	report("write /", os.WriteFile("/file", nil, 0o600))
	// 254:0 is the first virtio disk; making its node is one step, opening it the
	// other.
	err := unix.Mknod("/tmp/disk", unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0)))
	if err == nil {
		_, err = os.Open("/tmp/disk")
	}
	report("disk", err)
	os.Stdout.WriteString("done\n")
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	<-terminate
	return 0
}
