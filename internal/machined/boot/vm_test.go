package boot

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/machined/boot/uevent"
	"github.com/cyvive/cyvive/internal/machined/supervise"
)

// needVM keeps what changes the kernel's state inside a virtual machine.
func needVM(t *testing.T) {
	t.Helper()
	if os.Getenv("CYVIVE_VM") == "1" {
		return
	}
	if os.Getenv("REQUIRE_VM") == "1" {
		t.Fatal("REQUIRE_VM=1, but the test does not run in a virtual machine")
	}
	t.Skip("needs a virtual machine of its own (make vm-test)")
}

func TestVMMounts(t *testing.T) {
	needVM(t)
	if err := mountKernel(kernelMounts); err != nil {
		t.Fatal(err)
	}
	if err := shareMounts(); err != nil {
		t.Error(err)
	}
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range kernelMounts {
		if m.optional && m.fstype == "efivarfs" {
			continue // the guest boots without firmware
		}
		if !strings.Contains(string(raw), " "+m.dir+" ") {
			t.Errorf("%s is not mounted on %s", m.fstype, m.dir)
		}
	}
	if err := devLinks(); err != nil {
		t.Error(err)
	}
	if err := devLinks(); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

// TestVMSettings: the kernel has every setting of the table, and keeps it. One
// that our kernel lacks would be a typing error, so those known are listed.
func TestVMSettings(t *testing.T) {
	needVM(t)
	absent := map[string]bool{}
	list := settings()
	if err := applySysctls("/proc/sys", list); err != nil {
		t.Error(err)
	}
	for _, s := range list {
		raw, err := os.ReadFile(filepath.Join("/proc/sys", strings.ReplaceAll(s.key, ".", "/")))
		if os.IsNotExist(err) && !absent[s.key] {
			t.Errorf("the kernel has no %s", s.key)
			continue
		}
		if got := strings.TrimSpace(string(raw)); err == nil && got != s.value {
			t.Errorf("%s = %q, want %q", s.key, got, s.value)
		}
	}
}

func TestVMLoopback(t *testing.T) {
	needVM(t)
	if err := loopbackUp(); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"127.0.0.1:0", "127.9.9.9:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Errorf("listen on %s: %v", address, err)
			continue
		}
		c, err := net.DialTimeout("tcp", l.Addr().String(), 5*time.Second)
		if err != nil {
			t.Errorf("dial %s: %v", l.Addr(), err)
		} else {
			c.Close()
		}
		l.Close()
	}
}

// TestVMCgroups: the tree as on a node, and a child born in it.
func TestVMCgroups(t *testing.T) {
	needVM(t)
	if err := mountKernel(kernelMounts[4:5]); err != nil {
		t.Fatal(err)
	}
	if err := growCgroups(cgroupRoot, os.Getpid(), 1<<30, 8000); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		return strings.TrimSpace(string(raw))
	}
	if got := read("/proc/self/cgroup"); got != "0::/init" {
		t.Errorf("own cgroup = %q, want 0::/init", got)
	}
	for file, want := range map[string]string{
		"system/memory.min": "268435456", "workload/memory.max": "771751936", "workload/pids.max": "7000",
	} {
		if got := read(cgroupRoot + "/" + file); got != want {
			t.Errorf("%s = %s, want %s", file, got, want)
		}
	}
	for _, controller := range []string{"cpu", "memory", "io", "pids"} {
		if got := read(cgroupRoot + "/system/cgroup.subtree_control"); !strings.Contains(got, controller) {
			t.Errorf("system hands on %q, without %s", got, controller)
		}
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r := supervise.NewReaper()
	go r.Run(t.Context())
	p, err := r.Start(supervise.Command{
		Path: "/proc/self/exe", Args: []string{"child", "-test.run=^TestChildCgroup$"}, Env: []string{"CYVIVE_TEST_CHILD=1"},
		Cgroup: cgroupRoot + "/system/child", OOMScoreAdj: -500, Output: out,
	})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if got := read(out.Name()); !strings.Contains(got, "0::/system/child") {
		t.Errorf("child: %v, printed %q; want it in /system/child", p.Exit(), got)
	}
}

// TestChildCgroup is the child of TestVMCgroups.
func TestChildCgroup(*testing.T) {
	if os.Getenv("CYVIVE_TEST_CHILD") == "1" {
		raw, _ := os.ReadFile("/proc/self/cgroup")
		os.Stdout.Write(raw)
	}
}

func TestVMDeviceEvents(t *testing.T) {
	needVM(t)
	l, err := uevent.Listen()
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan uevent.Event, 16)
	go l.Run(t.Context(), func(e uevent.Event) { got <- e })
	if err := os.WriteFile("/sys/class/net/lo/uevent", []byte("add"), 0); err != nil {
		t.Fatal(err)
	}
	for {
		select {
		case e := <-got:
			if e.Subsystem == "net" && e.Action == "add" && strings.HasSuffix(e.DevPath, "/lo") {
				return
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the event did not arrive")
		}
	}
}

// TestVMModules loads a module that needs others, twice, and one by an alias.
func TestVMModules(t *testing.T) {
	needVM(t)
	l, err := kmod.Open(modulesDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"wireguard", "wireguard", "rtnl-link-vxlan"} {
		if err := l.Load(m); err != nil {
			t.Error(err)
		}
	}
	for _, m := range []string{"wireguard", "udp_tunnel", "vxlan"} {
		if _, err := os.Stat("/sys/module/" + m); err != nil {
			t.Error(err)
		}
	}
	// A new Loader meets modules that are there already.
	again, err := kmod.Open(modulesDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Load("wireguard"); err != nil {
		t.Errorf("loaded already: %v", err)
	}
}

// TestVMLockdown: OpenZFS loads before it; after it, modules with the
// distribution's signature do, and others do not.
func TestVMLockdown(t *testing.T) {
	needVM(t)
	if err := mountKernel(kernelMounts); err != nil {
		t.Fatal(err)
	}
	m := &machine{}
	var err error
	if m.mods, err = kmod.Open(modulesDir); err != nil {
		t.Fatal(err)
	}
	if err := m.loadStorage(); err != nil {
		t.Fatal(err)
	}
	if err := lockDown(lockdownFile); err != nil {
		t.Fatal(err)
	}
	if err := lockDown(lockdownFile); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if err := m.mods.Load("wireguard"); err != nil {
		t.Errorf("module with a signature: %v", err)
	}
	if err := unix.InitModule(make([]byte, 4096), ""); !errors.Is(err, unix.EPERM) {
		t.Errorf("module without a signature: %v, want EPERM", err)
	}
	if f, err := os.Open("/dev/mem"); err == nil {
		f.Close()
		t.Error("/dev/mem can be opened")
	}
}

func TestVMEntropyAndClock(t *testing.T) {
	needVM(t)
	if err := seedEntropy("/dev/hwrng"); err != nil {
		t.Error(err)
	}
	random, err := os.OpenFile("/dev/random", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer random.Close()
	if err := credit(random.Fd(), []byte("sixteen bytes of")); err != nil {
		t.Errorf("credit entropy: %v", err)
	}
	rtc, err := readRTC("/dev/rtc0")
	if err != nil || time.Since(rtc).Abs() > 10*time.Second {
		t.Errorf("hardware clock = %v, %v; the system's is %v", rtc, err, time.Now().UTC())
	}
}

// TestVMUnmount: newest first, and a busy file system ends read-only.
func TestVMUnmount(t *testing.T) {
	needVM(t)
	base := t.TempDir()
	upper, busy := filepath.Join(base, "upper"), filepath.Join(base, "busy")
	inner := filepath.Join(upper, "inner")
	for _, dir := range []string{upper, inner, busy} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(busy, "file"))
	if err != nil {
		t.Fatal(err)
	}
	hold, err := os.Open(busy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		hold.Close()
		unix.Unmount(busy, 0)
	})
	f.Close()
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, m := range unmountOrder(string(raw)) {
		if strings.HasPrefix(m.dir, base) {
			order = append(order, strings.TrimPrefix(m.dir, base))
			if err := unmount(m.dir); err != nil {
				t.Error(err)
			}
		}
	}
	if got := strings.Join(order, " "); got != "/busy /upper/inner /upper" {
		t.Errorf("order = %s", got)
	}
	if err := os.WriteFile(filepath.Join(busy, "late"), nil, 0o600); err == nil {
		t.Error("a busy file system can be written after it was unmounted")
	}
}
