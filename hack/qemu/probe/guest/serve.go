package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/hack/qemu/probe"
)

// root is what the probe sees: a tmpfs with the pseudo file systems. Stage 1
// removes the folder under it, in its own mount namespace; a process whose root
// is the mount keeps it.
const root = "/probe/root"

// serve is the probe. It returns only an error.
func serve() error {
	if os.Getppid() != 1 {
		return errors.New("refuse to run: the parent is not PID 1 of a test machine")
	}
	if err := loadModules(); err != nil {
		return err
	}
	if err := enterRoot(); err != nil {
		return err
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	ready := os.NewFile(readyFD, "ready")
	if _, err := ready.Write([]byte{1}); err != nil {
		return fmt.Errorf("tell that the probe is ready: %w", err)
	}
	_ = ready.Close()
	return answer(port)
}

func loadModules() error {
	files, err := filepath.Glob(filepath.Join(probe.ModuleDir, "*"))
	if err != nil {
		return err
	}
	for _, path := range files {
		file, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("load kernel module: %w", err)
		}
		err = unix.FinitModule(int(file.Fd()), "", 0)
		_ = file.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load kernel module %s: %w", path, err)
		}
	}
	return nil
}

func enterRoot() error {
	for _, m := range []struct {
		kind, dir string
		flags     uintptr
	}{
		{"tmpfs", "", 0}, // the programs that were brought along are run
		{"devtmpfs", "dev", unix.MS_NOEXEC}, {"proc", "proc", unix.MS_NOEXEC}, {"sysfs", "sys", unix.MS_NOEXEC},
		{"cgroup2", "sys/fs/cgroup", unix.MS_NOEXEC},
	} {
		dir := filepath.Join(root, m.dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("mount %s: %w", m.kind, err)
		}
		if err := unix.Mount(m.kind, dir, m.kind, unix.MS_NOSUID|m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.kind, err)
		}
	}
	if err := takeFiles(); err != nil {
		return err
	}
	if err := unix.Chroot(root); err != nil {
		return fmt.Errorf("enter %s: %w", root, err)
	}
	return os.Chdir("/")
}

// takeFiles moves what was brought along into the root: stage 1 removes it where it
// lies.
func takeFiles() error {
	if err := os.CopyFS(root, os.DirFS(probe.FilesDir)); err != nil {
		return fmt.Errorf("take files of the initramfs: %w", err)
	}
	return os.RemoveAll(probe.FilesDir) // its memory is needed
}

// openPort waits for the probe's port to come up behind its driver.
func openPort() (*os.File, error) {
	const timeout, pause = 30 * time.Second, 20 * time.Millisecond
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); time.Sleep(pause) {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err == nil && strings.TrimSpace(string(text)) == probe.PortName {
				return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(name)), os.O_RDWR, 0)
			}
		}
	}
	return nil, fmt.Errorf("find port %s: it did not come up within %s", probe.PortName, timeout)
}

// reopenPause is how long the probe waits for the next host after one has left:
// reading a port without a host returns nothing at once.
const reopenPause = 100 * time.Millisecond

func answer(port *os.File) error {
	lines := bufio.NewReader(port)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			time.Sleep(reopenPause)
			continue
		}
		out, err := json.Marshal(handle(line))
		if err != nil {
			return fmt.Errorf("encode answer: %w", err)
		}
		// A host that has left does not hear it.
		_, _ = port.Write(append(out, '\n'))
	}
}

func handle(line []byte) (r probe.Response) {
	var q probe.Request
	err := json.Unmarshal(line, &q)
	if err == nil {
		switch q.Op {
		case probe.OpProcesses:
			r.Processes, err = processes()
		case probe.OpRead:
			r.Data, err = os.ReadFile(q.Path)
		case probe.OpWalk:
			r.Names, err = walk(q.Path)
		case probe.OpKill:
			err = syscall.Kill(q.PID, syscall.Signal(q.Signal))
		case probe.OpWrite:
			err = os.WriteFile(q.Path, q.Data, 0o755)
		case probe.OpRun:
			r.Data, r.PeakBytes, err = run(q.Path, q.Args)
		case probe.OpBeneath:
			r.Names, err = beneath(q.Path)
		default:
			err = fmt.Errorf("operation %q is not known", q.Op)
		}
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func run(path string, args []string) (out []byte, peakBytes int64, err error) {
	cmd := exec.Command(path, args...)
	out, err = cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("%w: %s", err, failed.Stderr)
	}
	if cmd.ProcessState != nil {
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			peakBytes = usage.Maxrss << 10 // getrusage(2): in kilobytes
		}
	}
	return out, peakBytes, err
}

// processes lists what runs; one that ends meanwhile is left out.
func processes() ([]probe.Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var list []probe.Process
	for _, entry := range entries {
		if _, err := strconv.Atoi(entry.Name()); err != nil {
			continue
		}
		dir := filepath.Join("/proc", entry.Name())
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue
		}
		var p probe.Process
		if err := p.ParseStat(string(stat), uint64(os.Getpagesize())); err != nil {
			return nil, err
		}
		if args, err := os.ReadFile(filepath.Join(dir, "cmdline")); err == nil && len(args) > 0 {
			p.Args = strings.Split(strings.TrimRight(string(args), "\x00"), "\x00")
		}
		if group, err := os.ReadFile(filepath.Join(dir, "cgroup")); err == nil {
			p.Cgroup = strings.TrimPrefix(strings.TrimSpace(string(group)), "0::")
		}
		list = append(list, p)
	}
	return list, nil
}

// walk lists folders; one that goes meanwhile is left out.
func walk(path string) ([]string, error) {
	var dirs []string
	err := filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err == nil && entry.IsDir():
			dirs = append(dirs, path)
		}
		return err
	})
	return dirs, err
}

// beneath lists what is in a mount; what goes meanwhile is left out.
func beneath(dir string) (names []string, err error) {
	type tree struct {
		fd  int
		err error
	}
	cloned := make(chan tree)
	go func() {
		runtime.LockOSThread() // for good: the thread, with its own view, ends with the goroutine
		fd, err := cloneMount(dir)
		cloned <- tree{fd, err}
	}()
	t := <-cloned
	if t.err != nil {
		return nil, fmt.Errorf("clone the mount on %s: %w", dir, t.err)
	}
	defer unix.Close(t.fd)
	err = fs.WalkDir(os.DirFS(fmt.Sprintf("/proc/self/fd/%d/", t.fd)), ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err == nil && !entry.IsDir():
			names = append(names, path)
		}
		return err
	})
	return names, err
}

// cloneMount returns a mount of PID 1 without those in it (open_tree(2)), which goes with the
// descriptor. It moves the thread into the mount namespace of PID 1.
func cloneMount(dir string) (fd int, err error) {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return 0, err
	}
	ns, err := unix.Open("/proc/1/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(ns)
	if err := unix.Setns(ns, unix.CLONE_NEWNS); err != nil {
		return 0, err
	}
	return unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
}
