package lsm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// attempt is one thing that a process tries; confined is what it gets outside of
// the node's own cgroups, free what it gets in one: the control, without which
// a broken attempt would count as a defence.
type attempt struct {
	name           string
	do             func() error
	confined, free error
}

func attempts() []attempt {
	return []attempt{
		{"debugfs", mountNew("debugfs"), unix.EPERM, nil},
		{"tracefs", mountNew("tracefs"), unix.EPERM, nil},
		{"securityfs", mountNew("securityfs"), unix.EPERM, nil},
		{"pstore", mountNew("pstore"), unix.EPERM, nil},
		{"devtmpfs", mountNew("devtmpfs"), unix.EPERM, nil},
		{"tmpfs", mountNew("tmpfs"), nil, nil},
		{"disk that is mounted already", mountAgain, unix.EPERM, nil},
		{"debugfs by fsopen", fsopen("debugfs"), unix.EPERM, nil},
		// Where it is refused only when it is mounted, the kernel has read it by then.
		{"name of a device for a file system", sourceOf("erofs"), unix.EPERM, nil},
		{"name of a device for none", sourceOf("tmpfs"), nil, nil},
		{"read-only root for everybody", func() error { return unix.Mount("", "/usr", "", unix.MS_REMOUNT|unix.MS_RDONLY, "") }, unix.EPERM, nil},
		{"control groups for everybody", remount("/sys/fs/cgroup"), unix.EPERM, nil},
		{"/sys for everybody", remount("/sys"), unix.EPERM, nil},
		{"the node's /run for everybody", remount(runDir), unix.EPERM, nil},
		{"the node's /dev for everybody", remount("/dev"), unix.EPERM, nil},
		{"a file system of one's own", remountOwn, nil, nil},
		{"its options", sizedTmpfs, nil, nil},
		{"block device", open("/dev/vda", unix.O_RDONLY), unix.EPERM, nil},
		{"sysrq", open("/proc/sysrq-trigger", unix.O_WRONLY), unix.EPERM, nil},
		{"interrupts", open("/proc/irq/default_smp_affinity", unix.O_WRONLY), unix.EPERM, nil},
		{"core pattern", open("/proc/sys/kernel/core_pattern", unix.O_WRONLY), unix.EPERM, nil},
		{"module helper", open("/proc/sys/kernel/modprobe", unix.O_WRONLY), unix.EPERM, nil},
		{"user namespaces", open("/proc/sys/user/max_user_namespaces", unix.O_WRONLY), unix.EPERM, nil},
		{"memory settings", open("/proc/sys/vm/drop_caches", unix.O_WRONLY), unix.EPERM, nil},
		{"compiler of eBPF", open("/proc/sys/net/core/bpf_jit_enable", unix.O_WRONLY), unix.EPERM, nil},
		{"power", open("/sys/power/pm_async", unix.O_WRONLY), unix.EPERM, nil},
		{"settings read", open("/proc/sys/kernel/core_pattern", unix.O_RDONLY), nil, nil},
		{"network of the namespace", open("/proc/sys/net/ipv4/ip_forward", unix.O_WRONLY), nil, nil},
		{"shared memory of the namespace", open("/proc/sys/kernel/shmmax", unix.O_WRONLY), nil, nil},
		{"messages of the namespace", open("/proc/sys/kernel/msgmax", unix.O_WRONLY), nil, nil},
		{"semaphores of the namespace", open("/proc/sys/kernel/sem", unix.O_WRONLY), nil, nil},
		{"host name of the namespace", open("/proc/sys/kernel/hostname", unix.O_WRONLY), nil, nil},
		{"queues of the namespace", open("/proc/sys/fs/mqueue/msg_max", unix.O_WRONLY), nil, nil},
		{"own OOM score", open("/proc/self/oom_score_adj", unix.O_WRONLY), nil, nil},
		{"own thread's name", open(fmt.Sprintf("/proc/self/task/%d/comm", os.Getpid()), unix.O_WRONLY), nil, nil},
		{"kprobe program", loadProgram(ebpf.Kprobe), unix.EPERM, nil},
		{"tracepoint program", loadProgram(ebpf.TracePoint), unix.EPERM, nil},
		{"raw tracepoint program", loadProgram(ebpf.RawTracepoint), unix.EPERM, nil},
		{"perf event program", loadProgram(ebpf.PerfEvent), unix.EPERM, nil},
		{"traffic program", loadProgram(ebpf.SchedCLS), nil, nil},
		{"cgroup program", loadProgram(ebpf.CGroupDevice), nil, nil},
		// There is no such helper for them, says the kernel.
		{"traffic program that sees the kernel", sees(ebpf.SchedCLS), unix.EINVAL, nil},
		{"device program that sees the kernel", sees(ebpf.CGroupDevice), unix.EINVAL, nil},
		{"program by number", byNumber, unix.EPERM, nil},
		{"user namespace", userNamespace, nil, nil},
		{"open file of a process of the node", takeFile, unix.EPERM, nil},
	}
}

func open(name string, flags int) func() error {
	return func() error {
		fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	}
}

func mountNew(kind string) func() error {
	return func() error {
		dir, err := os.MkdirTemp("", "")
		if err != nil {
			return err
		}
		defer os.Remove(dir)
		if err := unix.Mount(kind, dir, kind, 0, ""); err != nil {
			return err
		}
		return unix.Unmount(dir, 0)
	}
}

// mountAgain mounts the test machine's disk, which is mounted on /usr, a second
// time, by way of a device node of its own.
func mountAgain() error {
	dir, err := os.MkdirTemp("/dev", "again")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var s unix.Stat_t
	if err := unix.Stat("/usr", &s); err != nil {
		return err
	}
	node, target := filepath.Join(dir, "node"), filepath.Join(dir, "target")
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(s.Dev)); err != nil {
		return err
	}
	if err := os.Mkdir(target, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(node, target, "erofs", unix.MS_RDONLY, ""); err != nil {
		return err
	}
	return unix.Unmount(target, 0)
}

// runDir stands for the node's /run.
var runDir = filepath.Join(os.TempDir(), "lsm-run")

// remount sets the file system's options again, and leaves them as they are.
func remount(dir string) func() error {
	return func() error { return unix.Mount("", dir, "", unix.MS_REMOUNT, "") }
}

func remountOwn() error {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		return err
	}
	return errors.Join(remount(dir)(), unix.Unmount(dir, 0))
}

// sizedTmpfs is an error, too, where the file system was not told of its option.
func sizedTmpfs() error {
	const bytes = 64 << 10
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		return err
	}
	var s unix.Statfs_t
	if err = unix.Statfs(dir, &s); err == nil && int64(s.Blocks)*int64(s.Bsize) != bytes {
		err = fmt.Errorf("the file system has %d blocks of %d bytes, want %d bytes", s.Blocks, s.Bsize, bytes)
	}
	return errors.Join(err, unix.Unmount(dir, 0))
}

func fsopen(kind string) func() error {
	return func() error {
		fd, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.FsconfigCreate(fd)
	}
}

// sourceOf begins a file system, and names what it is to be mounted from.
func sourceOf(kind string) func() error {
	return func() error {
		fd, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.FsconfigSetString(fd, "source", "/dev/vda")
	}
}

func loadProgram(kind ebpf.ProgramType) func() error {
	return func() error {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: kind, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if err != nil {
			return err
		}
		return p.Close()
	}
}

// sees loads a program that reads the kernel's memory.
func sees(kind ebpf.ProgramType) func() error {
	return func() error {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: kind, License: "GPL",
			Instructions: asm.Instructions{
				asm.FnGetCurrentTask.Call(),
				asm.Mov.Reg(asm.R3, asm.R0),
				asm.Mov.Reg(asm.R1, asm.RFP), asm.Add.Imm(asm.R1, -8), asm.Mov.Imm(asm.R2, 8),
				asm.FnProbeReadKernel.Call(),
				asm.Mov.Imm(asm.R0, 0), asm.Return(),
			},
		})
		if err != nil {
			return err
		}
		return p.Close()
	}
}

// userNamespace starts this program in one, without any test to run.
func userNamespace() error {
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	return cmd.Run()
}

// takeFile takes the standard input of this program's parent, which is in the machine's
// own PID namespace.
func takeFile() error {
	pidfd, err := unix.PidfdOpen(os.Getppid(), 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, 0, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// byNumber opens the first program that there is: one of the guards.
func byNumber() error {
	id, err := ebpf.ProgramGetNextID(0)
	if err != nil {
		return err
	}
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return err
	}
	return p.Close()
}

// finit inserts the first module file below dir whose name begins with name.
func finit(dir, name string) error {
	file := ""
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(path), name) {
			file = path
		}
		return err
	})
	if err != nil {
		return err
	}
	return insert(file)
}

func insert(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(file, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	err = unix.FinitModule(int(f.Fd()), "", flags)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

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

// prepare mounts what a node has, and makes its cgroups.
func prepare(t *testing.T) Paths {
	t.Helper()
	for _, m := range []struct{ kind, dir string }{
		{"cgroup2", "/sys/fs/cgroup"}, {"bpf", "/sys/fs/bpf"}, {"securityfs", "/sys/kernel/security"},
	} {
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			t.Fatalf("mount %s: %v", m.kind, err)
		}
	}
	p := Node()
	p.Root, p.Run = "/usr", runDir // in the test's machine, only /usr is of the node's image
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", runDir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	for _, dir := range append(p.Trusted, "/sys/fs/cgroup/workload", "/sys/fs/cgroup/workload/pod", "/sys/fs/cgroup/extensions/one") {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestVMEnforce(t *testing.T) {
	needVM(t)
	p := prepare(t)
	for range 2 { // the second time adopts what is pinned
		if err := Enforce(p, false); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "/sys/fs/cgroup/system", "free")
	run(t, "/sys/fs/cgroup/workload/pod", "confined")
	run(t, "/sys/fs/cgroup/workload", "confined")
	run(t, "/sys/fs/cgroup/extensions/one", "confined")
	listed(t, p)
	code(t)
	admission(t, p)
	strict(t, p)
}

// strict goes over to the strict profile and back.
func strict(t *testing.T, p Paths) {
	if err := Enforce(p, true); err != nil {
		t.Fatal(err)
	}
	run(t, "/sys/fs/cgroup/system", "free, strict")
	run(t, "/sys/fs/cgroup/workload/pod", "confined, strict")
	if err := Enforce(p, false); err != nil {
		t.Fatal(err)
	}
	// The kernel frees a link some time after its last pin has gone.
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if _, err := play(t, "/sys/fs/cgroup/workload/pod", "confined"); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	run(t, "/sys/fs/cgroup/workload/pod", "confined")
}

// listed: a pod opens a block device as long as it is on the list, and that alone; it is mounted no more than any other.
func listed(t *testing.T, p Paths) {
	t.Helper()
	const pod = "/sys/fs/cgroup/workload/pod"
	list := VolumesOf(p)
	var s unix.Stat_t
	if err := unix.Stat("/dev/vda", &s); err != nil {
		t.Fatal(err)
	}
	disk := unix.Major(s.Rdev)<<20 | unix.Minor(s.Rdev)
	other := disk + 1
	if err := list.Admit(other); err != nil {
		t.Fatal(err)
	}
	run(t, pod, "confined")
	for range 2 {
		if err := list.Admit(disk); err != nil {
			t.Fatal(err)
		}
	}
	if err := Enforce(p, false); err != nil { // as the next agent does
		t.Fatal(err)
	}
	if got, err := VolumesOf(p).Admitted(); err != nil || !slices.Equal(got, []uint32{disk, other}) {
		t.Errorf("listed are %v, %v, want %v", got, err, []uint32{disk, other})
	}
	run(t, pod, "confined, listed")
	for range 2 {
		if err := errors.Join(list.Refuse(disk), list.Refuse(other)); err != nil {
			t.Fatal(err)
		}
	}
	run(t, pod, "confined")
	m, err := ebpf.LoadPinnedMap(filepath.Join(p.Pins, volumesPin), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := adder(m); !errors.Is(err, unix.EACCES) {
		t.Errorf("a program that adds to the list: %v, want EACCES", err)
	}
}

// listedAttempts are those that have another result where the disk is listed, for a process that is confined.
var listedAttempts = map[string]error{"block device": nil}

// strictAttempts are those that have another result in the strict profile, for a
// process that is confined.
var strictAttempts = map[string]error{
	"traffic program": unix.EPERM, "traffic program that sees the kernel": unix.EPERM, "user namespace": unix.EPERM,
}

// code holds for the node itself: what comes into the kernel is of the root.
func code(t *testing.T) {
	if err := finit("/usr/lib/modules", "veth.ko"); err != nil {
		t.Errorf("module of the root: %v", err)
	}
	copied := filepath.Join(t.TempDir(), "copy.ko.xz")
	matches, err := filepath.Glob("/usr/lib/modules/*/kernel/drivers/net/dummy.ko*")
	if err != nil || len(matches) != 1 {
		t.Fatalf("the root has no module dummy: %v, %v", matches, err)
	}
	raw, err := os.ReadFile(matches[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := insert(copied); !errors.Is(err, unix.EPERM) {
		t.Errorf("the same module from elsewhere: %v, want EPERM", err)
	}
	if err := unix.InitModule(make([]byte, 4096), ""); !errors.Is(err, unix.EPERM) {
		t.Errorf("module from memory: %v, want EPERM", err)
	}
	if err := insert(matches[0]); err != nil {
		t.Errorf("and from the root: %v", err)
	}
}

// admission: a device's modules come into the kernel once it was admitted, what else lies on it does not, and then nothing is admitted any more.
func admission(t *testing.T, p Paths) {
	t.Helper()
	admitted, late := tmpfs(t), tmpfs(t)
	matches, err := filepath.Glob("/usr/lib/modules/*/kernel/drivers/net/ifb.ko*")
	if err != nil || len(matches) != 1 {
		t.Fatalf("the root has no module ifb: %v, %v", matches, err)
	}
	raw, err := os.ReadFile(matches[0])
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, dir := range []string{admitted, late} {
		files = append(files, filepath.Join(dir, filepath.Base(matches[0])))
		if err := os.WriteFile(files[len(files)-1], raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := insert(files[0]); !errors.Is(err, unix.EPERM) {
		t.Errorf("before it was admitted: %v, want EPERM", err)
	}
	if got, err := Admit(p, []uint32{device(t, admitted)}); err != nil || len(got) != 1 || got[0] != device(t, admitted) {
		t.Errorf("admitted %v, %v", got, err)
	}
	if got, err := Admit(p, []uint32{device(t, late)}); err != nil || len(got) != 1 || got[0] != device(t, admitted) {
		t.Errorf("after the list was closed, admitted are %v, %v", got, err)
	}
	if err := insert(files[1]); !errors.Is(err, unix.EPERM) {
		t.Errorf("from a device that came late: %v, want EPERM", err)
	}
	if err := insert(files[0]); err != nil {
		t.Errorf("from the one that was admitted: %v", err)
	}
	if err := Enforce(p, false); err != nil {
		t.Errorf("with a list that is closed: %v", err)
	}
	list, err := ebpf.LoadPinnedMap(filepath.Join(p.Pins, admittedPin), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	if err := list.Put(device(t, late), uint8(1)); !errors.Is(err, unix.EPERM) {
		t.Errorf("a system call that adds to the list: %v, want EPERM", err)
	}
	if err := adder(list); !errors.Is(err, unix.EACCES) {
		t.Errorf("a program that adds to the list: %v, want EACCES", err)
	}
	spec := admittedSpec()
	spec.Flags = 0
	other, err := ebpf.NewMap(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := adder(other); err != nil {
		t.Errorf("the same program for another list: %v", err)
	}
}

// adder loads a program that adds a device to a list.
func adder(list *ebpf.Map) error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 1, asm.Word), asm.StoreImm(asm.RFP, -8, 1, asm.Word),
		asm.LoadMapPtr(asm.R1, list.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4), asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, -8), asm.Mov.Imm(asm.R4, 0),
		asm.FnMapUpdateElem.Call(), asm.Mov.Imm(asm.R0, 0), asm.Return(),
	}})
	if err != nil {
		return err
	}
	return p.Close()
}

func tmpfs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func device(t *testing.T, dir string) uint32 {
	t.Helper()
	var s unix.Stat_t
	if err := unix.Stat(dir, &s); err != nil {
		t.Fatal(err)
	}
	return unix.Major(s.Dev)<<20 | unix.Minor(s.Dev)
}

// run plays the attempts in a cgroup, and wants each to end as it should.
func run(t *testing.T, cgroup, as string) {
	t.Helper()
	if out, err := play(t, cgroup, as); err != nil {
		t.Errorf("%s, in %s: %v\n%s", as, cgroup, err, out)
	}
}

// play plays the attempts in a child that is born in the cgroup.
func play(t *testing.T, cgroup, as string) ([]byte, error) {
	t.Helper()
	fd, err := unix.Open(cgroup, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestChildAttempts$", "-test.v")
	cmd.Env = append(os.Environ(), "CYVIVE_TEST_CHILD="+as)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	return cmd.CombinedOutput()
}

// TestChildAttempts is the child of TestVMEnforce.
func TestChildAttempts(t *testing.T) {
	as := os.Getenv("CYVIVE_TEST_CHILD")
	if as == "" {
		return
	}
	kind, strict := strings.CutSuffix(as, ", strict")
	kind, listed := strings.CutSuffix(kind, ", listed")
	for _, a := range attempts() {
		want := a.free
		if kind == "confined" {
			want = a.confined
			if other, ok := strictAttempts[a.name]; ok && strict {
				want = other
			}
			if other, ok := listedAttempts[a.name]; ok && listed {
				want = other
			}
		}
		if err := a.do(); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", a.name, err, want)
		}
	}
}
