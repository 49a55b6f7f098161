package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// groupRoot is the cgroup file system of the host.
func groupRoot() string { return host + "/sys/fs/cgroup" }

func groups() []attempt {
	return []attempt{
		dangerous(call("lift the plane's memory limit", writeTop("memory.max", "max"))),
		dangerous(call("give the plane more weight", writeTop("cpu.weight", "10000"))),
		dangerous(call("protect the plane's memory from the system's", writeTop("memory.min", "max"))),
		dangerous(call("lift the plane's limit of processes", writeTop("pids.max", "max"))),
		dangerous(call("freeze the plane's own group", writeTop("cgroup.freeze", "0"))),
		{name: "see the groups of the system plane", do: func() (string, error) { return seeGroups(groupRoot())() }},
		{name: "see them in a cgroup file system mounted anew", do: mountGroups},
		{name: "move into a group above the plane", do: moveUp, danger: true},
	}
}

// writeTop writes a setting of the group that is the plane's root. Its owner is
// the node ("Delegation" in the kernel's cgroup-v2.rst; nsdelegate).
func writeTop(file, value string) func() error {
	return func() error {
		f, err := os.OpenFile(filepath.Join(groupRoot(), file), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteString(value)
		return err
	}
}

// seeGroups looks for what is on the first level of the machine's tree and not on
// the plane's.
func seeGroups(root string) func() (string, error) {
	return func() (string, error) {
		for _, name := range []string{"system", "workload", "../system", "../workload"} {
			path := filepath.Join(root, name)
			if strings.HasPrefix(name, "..") { // Join would clean it away
				path = root + "/" + name
			}
			if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
				return "the attempt is broken: " + err.Error(), nil
			}
			if _, err := os.Stat(path + "/cgroup.procs"); err == nil {
				return path, nil
			}
		}
		return "", errNothing
	}
}

func mountGroups() (string, error) {
	dir, err := os.MkdirTemp("/dev", "attack")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := unix.Mount("cgroup2", dir, "cgroup2", 0, ""); err != nil {
		return "", err
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	return seeGroups(dir)()
}

// moveUp takes the cgroup namespace of the plane's first process, so that its
// root is the highest that can be named, and moves there and beyond.
func moveUp() (string, error) {
	f, err := os.Open("/proc/1/ns/cgroup")
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWCGROUP); err != nil {
		return "", err
	}
	for _, up := range []string{"/..", "/../system", "/../init"} {
		err = os.WriteFile(groupRoot()+up+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0)
		if err != nil {
			continue
		}
		raw, err := os.ReadFile("/proc/self/cgroup")
		if err == nil && strings.Contains(string(raw), "..") {
			return strings.TrimSpace(string(raw)), nil
		}
	}
	if err == nil {
		err = errNothing
	}
	return "", err
}
