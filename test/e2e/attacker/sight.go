package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// host is where the pod has the host's root. It is set once, before any attempt.
var host = "/host"

// systemPrograms are the programs of the system plane, and what tells its
// containerd from the one of the workload plane.
var systemPrograms = []string{"machined", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

const systemArgument = "system.toml"

func sight() []attempt {
	return []attempt{
		{name: "see a process of the system plane", do: seeProcess},
		{name: "signal a process that is not in sight", do: signalUnseen},
		{name: "trace a process that is not in sight", do: traceUnseen},
		{name: "open the parent of the PID namespace", do: parentNamespace(unix.CLONE_NEWPID)},
		{name: "open the parent of the user namespace", do: parentNamespace(unix.CLONE_NEWUSER)},
		{name: "open the root of a process of the system plane", do: openRoots},
		{name: "step to another mount namespace", do: nextNamespace},
		{name: "find another root below the host's mounts", do: beneath},
		{name: "leave the root by chroot", do: leaveChroot},
		{name: "find memory shared with the system plane", do: sharedMemory},
		{name: "read the node's boot ledger or keys by name", do: findNames},
	}
}

// pids lists the processes in sight.
func pids() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var list []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			list = append(list, pid)
		}
	}
	if len(list) < 3 {
		return nil, fmt.Errorf("only %d processes are in sight: this is not the host's PID namespace", len(list))
	}
	return list, nil
}

// nextNamespace asks a mount namespace for its neighbours, of which setns(2) could enter
// any (NS_MNT_GET_NEXT and NS_MNT_GET_PREV of linux/nsfs.h, Linux 6.12). Newer kernels, the image's
// among them, refuse it outside of the machine's own PID namespace.
func nextNamespace() (string, error) {
	f, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		return "", err
	}
	defer f.Close()
	last := errNothing
	for _, request := range []uintptr{0x8010b70b, 0x8010b70c} {
		fd, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, 0)
		if errno == 0 {
			return "a descriptor of one", unix.Close(int(fd))
		}
		last = errno
	}
	return "", last
}

func seeProcess() (string, error) {
	list, err := pids()
	if err != nil {
		return "the attempt is broken: " + err.Error(), nil
	}
	for _, pid := range list {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			continue
		}
		args := strings.Split(string(raw), "\x00")
		if slices.Contains(systemPrograms, filepath.Base(args[0])) || bytes.Contains(raw, []byte(systemArgument)) {
			return strings.Join(args, " "), nil
		}
	}
	return "", errNothing
}

// unseen calls try with the numbers of processes that are not in sight.
func unseen(try func(pid int) error) (string, error) {
	list, err := pids()
	if err != nil {
		return "the attempt is broken: " + err.Error(), nil
	}
	var last error
	for pid := 1; pid < 1<<16; pid++ {
		if slices.Contains(list, pid) {
			continue
		}
		if last = try(pid); last != nil && errors.Is(last, unix.ESRCH) {
			continue
		}
		// A thread, or a process that has started meanwhile, is in sight.
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			continue
		}
		return fmt.Sprintf("number %d: %v", pid, last), nil
	}
	return "", last
}

func signalUnseen() (string, error) {
	return unseen(func(pid int) error { return unix.Kill(pid, 0) })
}

func traceUnseen() (string, error) {
	return unseen(func(pid int) error {
		err := unix.PtraceSeize(pid)
		if err == nil {
			return unix.PtraceDetach(pid)
		}
		return err
	})
}

// parentNamespace asks for the namespace above this process's (ioctl_nsfs(2)).
func parentNamespace(kind int) func() (string, error) {
	file := map[int]string{unix.CLONE_NEWPID: "pid", unix.CLONE_NEWUSER: "user"}[kind]
	return func() (string, error) {
		f, err := os.Open("/proc/1/ns/" + file)
		if err != nil {
			return "", err
		}
		defer f.Close()
		fd, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_PARENT)
		if err != nil {
			return "", err
		}
		if err := unix.Setns(fd, kind); err != nil {
			return "", err
		}
		return "entered it", nil
	}
}

// evidence is what only the node's own root, or one of its volumes, has.
var evidence = []string{"state/audit", "state/machine.yaml", "var/lib/etcd/member", "etc/containerd/system.toml", "run/cyvive", "system/etcd"}

func find(root string) (string, error) {
	for _, name := range evidence {
		path := filepath.Join(root, name)
		if _, err := os.Lstat(path); err == nil {
			return path, nil
		}
	}
	return "", errNothing
}

func openRoots() (string, error) {
	list, err := pids()
	if err != nil {
		return "the attempt is broken: " + err.Error(), nil
	}
	for _, pid := range list {
		for _, way := range []string{"root", "cwd"} {
			if found, err := find(fmt.Sprintf("/proc/%d/%s", pid, way)); err == nil {
				return found, nil
			}
		}
	}
	return "", errNothing
}

// beneath takes one mount after the other off a copy of the plane's mount
// namespace: in a pod, PID 1 is the plane's.
func beneath() (string, error) {
	if err := enterNode(); err != nil {
		return "", err
	}
	for _, dir := range []string{"/", "/run", "/var", "/etc", "/sys/fs/cgroup", "/sys", "/dev"} {
		for unix.Unmount(dir, unix.MNT_DETACH) == nil {
			if found, err := find("/"); err == nil {
				return found + " beneath " + dir, nil
			}
		}
	}
	return "", errNothing
}

// leaveChroot climbs out of a root that is a folder, which needs a descriptor
// outside of the new root.
func leaveChroot() (string, error) {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return "", err
	}
	top, err := unix.Open(host, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(top)
	if err := unix.Chroot("/tmp"); err != nil {
		if err := unix.Chroot(host + "/tmp"); err != nil {
			return "", err
		}
	}
	if err := unix.Fchdir(top); err != nil {
		return "", err
	}
	for range 64 {
		if err := unix.Chdir(".."); err != nil {
			return "", err
		}
	}
	return find(".")
}

// sharedMemory looks for System V memory of users of the system plane (900 and
// up; sysvipc(7)).
func sharedMemory() (string, error) {
	for _, name := range []string{"shm", "sem", "msg"} {
		raw, err := os.ReadFile("/proc/sysvipc/" + name)
		if err != nil {
			return "", err
		}
		for _, line := range strings.Split(string(raw), "\n")[1:] {
			fields := strings.Fields(line)
			if slices.ContainsFunc(fields, func(f string) bool { return len(f) == 3 && f >= "900" && f <= "920" }) {
				return line, nil
			}
		}
	}
	return "", errNothing
}

// findNames walks all of the host's root.
func findNames() (string, error) {
	wanted := []string{"machine.yaml", "boots.json", "ca.key", "etcd", "sa.key", "system.toml"}
	var found string
	err := filepath.WalkDir(host, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case strings.HasPrefix(path, host+"/proc/"), strings.HasPrefix(path, host+"/sys/"):
			return fs.SkipDir
		case err != nil:
			return nil
		case slices.Contains(wanted, entry.Name()) && !strings.Contains(path, "/snapshots/"):
			found = path
			return fs.SkipAll
		}
		return nil
	})
	if err == nil && found == "" {
		err = errNothing
	}
	return found, err
}
