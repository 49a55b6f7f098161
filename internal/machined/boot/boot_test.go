package boot

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/boot/kmsg"
)

func TestWalk(t *testing.T) {
	bad := errors.New("bad")
	var ran []string
	step := func(name string, needed bool, err error) Step {
		return Step{Name: name, Needed: needed, Run: func() error {
			ran = append(ran, name)
			if name == "panics" {
				panic("oops")
			}
			return err
		}}
	}
	var out bytes.Buffer
	log := kmsg.New(&out).Logger("init")
	err := Walk(log, []Step{
		step("one", true, nil), step("two", false, bad), step("panics", false, nil),
		step("three", true, bad), step("never", true, nil),
	})
	if !errors.Is(err, bad) || err.Error() != "boot step three: bad" {
		t.Errorf("Walk = %v", err)
	}
	if d := cmp.Diff([]string{"one", "two", "panics", "three"}, ran); d != "" {
		t.Error(d)
	}
	for _, want := range []string{
		"<30>init: boot step one step=1/5", "<28>init: boot step two is incomplete step=2/5", `err="panic: oops"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("log has no %q:\n%s", want, out.String())
		}
	}
}

func TestBackgroundRecovers(t *testing.T) {
	lines := make(chan string, 1)
	background(kmsg.New(writer(lines)).Logger("init"), "work", func() error { panic("oops") })
	if got := <-lines; !strings.Contains(got, `work stopped err="panic: oops"`) {
		t.Errorf("log = %q", got)
	}
}

type writer chan string

func (w writer) Write(p []byte) (int, error) { w <- string(p); return len(p), nil }

// TestGrowCgroups uses plain files: only names and values are checked here.
func TestGrowCgroups(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"", "system", "workload", "extensions"} {
		os.MkdirAll(filepath.Join(root, dir), 0o755)
		os.WriteFile(filepath.Join(root, dir, "cgroup.controllers"), []byte("cpu memory\n"), 0o644)
	}
	if err := growCgroups(root, 1, 2<<30, 16000); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"init/cgroup.procs":               "1",
		"init/memory.min":                 "33554432",
		"system/memory.min":               "536870912",
		"workload/memory.min":             "134217728",
		"workload/memory.max":             "1577058304",
		"workload/pids.max":               "14000",
		"cgroup.subtree_control":          "+memory", // the last one written
		"system/cgroup.subtree_control":   "+memory",
		"workload/cgroup.subtree_control": "+memory",
		"extensions/memory.max":           "536870912",
		"extensions/pids.max":             "1000",
	} {
		if got, err := os.ReadFile(filepath.Join(root, file)); string(got) != want {
			t.Errorf("%s = %q, %v; want %q", file, got, err, want)
		}
	}
	if err := EnableControllers(filepath.Join(root, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no cgroup: %v, want %v", err, fs.ErrNotExist)
	}
}

// TestPlaneHasARunOfItsOwn: the plane's /run is not the node's file system, and bounded.
func TestPlaneHasARunOfItsOwn(t *testing.T) {
	for _, m := range kernelMounts {
		if m.dir == "/run/cyvive/plane" && m.fstype == "tmpfs" && strings.Contains(m.data, "size=") && !m.optional {
			return
		}
	}
	t.Errorf("kernel file systems: none on /run/cyvive/plane in %v", kernelMounts)
}

func TestTotalMemory(t *testing.T) {
	for text, want := range map[string]uint64{
		"MemTotal:        2020540 kB\nMemFree: 1 kB\n": 2020540 << 10,
		"MemFree: 1 kB\n": 0, "MemTotal: x kB\n": 0, "": 0,
	} {
		if got := totalMemory(text); got != want {
			t.Errorf("totalMemory(%q) = %d, want %d", text, got, want)
		}
	}
}

func FuzzTotalMemory(f *testing.F) {
	f.Add("MemTotal: 7 kB\n")
	f.Fuzz(func(t *testing.T, s string) {
		n := totalMemory(s)
		if n == 0 {
			return
		}
		if again := totalMemory(fmt.Sprintf("MemTotal:       %8d kB\n", n>>10)); again != n {
			t.Errorf("%q: %d bytes, which reads back as %d", s, n, again)
		}
	})
}

func TestSysctls(t *testing.T) {
	root := t.TempDir()
	os.MkdirAll(filepath.Join(root, "kernel"), 0o755)
	os.WriteFile(filepath.Join(root, "kernel/sysrq"), []byte("x"), 0o644)
	os.Mkdir(filepath.Join(root, "kernel/directory"), 0o755)
	err := applySysctls(root, []sysctl{{"kernel.sysrq", "0"}, {"kernel.absent", "1"}, {"kernel.directory", "1"}})
	if err == nil || !strings.Contains(err.Error(), "set kernel.directory to 1") || strings.Contains(err.Error(), "absent") {
		t.Errorf("applySysctls = %v, want only kernel.directory to fail", err)
	}
	if got, _ := os.ReadFile(filepath.Join(root, "kernel/sysrq")); string(got) != "0" {
		t.Errorf("kernel.sysrq = %q", got)
	}
}

// TestSettings: no key twice, accept_ra after the forwarding that it follows, and no way to another kernel but the firmware's.
func TestSettings(t *testing.T) {
	at := map[string]int{}
	for i, s := range settings() {
		if _, twice := at[s.key]; twice {
			t.Errorf("%s is set twice", s.key)
		}
		at[s.key] = i
	}
	if at["net.ipv6.conf.all.accept_ra"] < at["net.ipv6.conf.all.forwarding"] {
		t.Error("accept_ra comes before forwarding")
	}
	if !slices.Contains(settings(), sysctl{"kernel.kexec_load_disabled", "1"}) {
		t.Error("kexec is not shut")
	}
}

func TestChooseTime(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }
	tests := map[string]struct{ now, rtc, floor, want time.Time }{
		"all is well":              {day(20), day(20), day(10), time.Time{}},
		"no hardware clock":        {day(20), time.Time{}, day(10), time.Time{}},
		"epoch, no hardware clock": {time.Unix(0, 0), time.Time{}, day(10), day(10)},
		"hardware clock ahead":     {day(1), day(20), day(10), day(20)},
		"hardware clock is dead":   {day(1), time.Unix(0, 0), day(10), day(10)},
		"never back":               {day(20), day(15), day(10), time.Time{}},
		"a second is nothing":      {day(20), day(20).Add(time.Second), day(10), time.Time{}},
	}
	for name, test := range tests {
		if got := chooseTime(test.now, test.rtc, test.floor); !got.Equal(test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestClockFloor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "os-release")
	os.WriteFile(file, nil, 0o644)
	when := time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)
	os.Chtimes(file, when, when)
	if got := clockFloor(file, "/nowhere"); !got.Equal(when) {
		t.Errorf("floor = %v, want the file's %v", got, when)
	}
}

func TestUnmountOrder(t *testing.T) {
	mountinfo := `21 1 253:0 / / ro,relatime shared:1 - erofs /dev/dm-0 ro
22 21 0:5 / /dev rw shared:2 - devtmpfs devtmpfs rw
23 21 0:6 / /proc rw shared:3 - proc proc rw
24 21 0:7 / /sys rw shared:4 - sysfs sysfs rw
25 24 0:8 / /sys/fs/cgroup rw shared:5 - cgroup2 cgroup2 rw
26 21 0:9 / /run rw shared:6 - tmpfs tmpfs rw
27 21 254:7 / /var rw shared:7 - ext4 /dev/vda7 rw
28 27 0:40 / /var/a\040b rw shared:8 - overlay overlay rw
29 26 0:41 / /run/cyvive/x rw shared:9 - tmpfs tmpfs rw
30 27 0:42 / /var/mnt/a rw,noatime - zfs my\040tank/data rw,xattr
31 27 0:43 / /var/mnt/b ro shared:10 master:3 - zfs pond@monday ro
32 27 0:44 / /var/mnt/c rw
broken line
`
	want := []mounted{
		{"/var/mnt/c", ""}, {"/var/mnt/b", "pond"}, {"/var/mnt/a", "my tank"},
		{"/run/cyvive/x", "/tmpfs"}, {"/var/a b", "/overlay"}, {"/var", "//dev/vda7"}, {"/sys/fs/cgroup", "/cgroup2"},
	}
	if d := cmp.Diff(want, unmountOrder(mountinfo), cmp.AllowUnexported(mounted{})); d != "" {
		t.Error(d)
	}
}

func FuzzUnmountOrder(f *testing.F) {
	f.Add("28 27 0:40 / /var/a\\040b rw - x y z\n")
	f.Add(`1 2 3 4 \0 \777 \`)
	f.Fuzz(func(t *testing.T, s string) {
		for _, m := range unmountOrder(s) {
			if kept[m.dir] {
				t.Errorf("%s is to be unmounted", m.dir)
			}
		}
	})
}

// TestShutdownPhases: every phase has a deadline, and all of them together
// stay below two minutes.
func TestShutdownPhases(t *testing.T) {
	var names []string
	var total time.Duration
	for _, p := range shutdownPhases {
		if p.Deadline <= 0 {
			t.Errorf("phase %s has no deadline", p.Name)
		}
		names = append(names, p.Name)
		total += p.Deadline
	}
	if d := cmp.Diff([]string{"machined", "containerd", "terminate", "kill", "unmount", "export", "sync"}, names); d != "" {
		t.Error(d)
	}
	if total > 2*time.Minute {
		t.Errorf("all phases take up to %v", total)
	}
}

// TestConsoleBearsAFlood: a service that prints without end does not fill the
// kernel's log, and what is left out is said.
func TestConsoleBearsAFlood(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	c := newConsole(kmsg.New(&out), "machined", func() time.Time { return now })
	for range 1000 {
		c.line([]byte("x"))
	}
	if got := strings.Count(out.String(), "\n"); got != consoleBurst {
		t.Errorf("%d lines at once, want %d", got, consoleBurst)
	}
	out.Reset()
	now = now.Add(time.Second)
	for range 1000 {
		c.line([]byte("x"))
	}
	if got := strings.Count(out.String(), "\n"); got != consoleLinesPerSecond+1 {
		t.Errorf("%d lines in a second, want %d and the remark", got, consoleLinesPerSecond)
	}
	if want := "<28>machined: 800 lines are in its log only\n"; !strings.HasPrefix(out.String(), want) {
		t.Errorf("remark = %q, want %q", out.String(), want)
	}
}

// TestServices: machined and containerd, born in groups of the system plane.
func TestServices(t *testing.T) {
	for i, s := range services(kmsg.New(&bytes.Buffer{})) {
		if want := []string{"machined", "containerd"}[i]; s.Name != want {
			t.Errorf("service %d is %s, want %s", i, s.Name, want)
		}
		if want := cgroupRoot + "/system/" + s.Name; s.Command.Cgroup != want {
			t.Errorf("%s: cgroup %s, want %s", s.Name, s.Command.Cgroup, want)
		}
		if s.Command.OOMScoreAdj > -900 {
			t.Errorf("%s: OOM score %d", s.Name, s.Command.OOMScoreAdj)
		}
	}
}

func TestStepsHaveNames(t *testing.T) {
	m := &machine{log: slog.New(slog.DiscardHandler)}
	seen := map[string]bool{}
	for _, s := range m.steps(t.Context()) {
		if s.Name == "" || s.Run == nil || seen[s.Name] {
			t.Errorf("step %+v has no name, no work, or is there twice", s.Name)
		}
		seen[s.Name] = true
	}
}

// TestLockDownReadsBack: a kernel that takes the word and does nothing is found out.
func TestLockDownReadsBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lockdown")
	if err := lockDown(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such file: %v", err)
	}
	os.WriteFile(file, []byte("[none] integrity confidentiality\n"), 0o600)
	if err := lockDown(file); err == nil || !strings.Contains(err.Error(), "want [integrity]") {
		t.Errorf("got %v", err)
	}
}

// TestHasController: the watchdog of a management controller is asked for only where
// there is one.
func TestHasController(t *testing.T) {
	modules := t.TempDir()
	if hasController(modules) {
		t.Error("a machine without drivers of IPMI has a controller")
	}
	if err := os.Mkdir(filepath.Join(modules, "ipmi_msghandler"), 0o755); err != nil {
		t.Fatal(err)
	}
	if hasController(modules) {
		t.Error("a driver that no device asks for counts")
	}
	if err := os.Mkdir(filepath.Join(modules, "ipmi_ssif"), 0o755); err != nil {
		t.Fatal(err)
	}
	if !hasController(modules) {
		t.Error("the driver of a controller does not count")
	}
}
