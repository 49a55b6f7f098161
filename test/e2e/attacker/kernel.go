package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func kernel() []attempt {
	return []attempt{
		call("load a module from memory", func() error { return unix.InitModule(make([]byte, 4096), "") }),
		call("load a module from a file", loadFile),
		inUserNamespace("load a module"),
		dangerous(call("unload a module", func() error { return unix.DeleteModule("erofs", unix.O_NONBLOCK) })),
		dangerous(call("load another kernel", raw(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0))),
		call("load another kernel from a file", raw(unix.SYS_KEXEC_FILE_LOAD, 0, 0, 0, 0)),
		dangerous(call("set the clock", func() error {
			now := time.Now()
			return unix.ClockSettime(unix.CLOCK_REALTIME, &unix.Timespec{Sec: now.Unix(), Nsec: int64(now.Nanosecond())})
		})),
		call("slew the clock", func() error {
			_, err := unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_OFFSET})
			return err
		}),
		dangerous(call("clear the kernel's messages", func() error {
			_, err := unix.Klogctl(5, nil)
			return err
		})),
		dangerous(call("silence the kernel's console", func() error {
			_, err := unix.Klogctl(6, nil)
			return err
		})),
		dangerous(call("account for all processes", raw(unix.SYS_ACCT, 0))),
		call("count a processor's events", perf(unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_CPU_CLOCK)),
		{name: "probe the node's program", do: uprobe},
		call("handle page faults of the kernel", raw(unix.SYS_USERFAULTFD, 0)),
		call("add a key to the user's keyring", func() error {
			_, err := unix.AddKey("user", "attack", []byte("x"), unix.KEY_SPEC_USER_KEYRING)
			return err
		}),
		call("make a session keyring of the user's", func() error {
			_, err := unix.KeyctlJoinSessionKeyring("attack")
			return err
		}),
		call("read the user's keyring", func() error {
			_, err := unix.KeyctlBuffer(unix.KEYCTL_READ, unix.KEY_SPEC_USER_KEYRING, make([]byte, 64), 0)
			return err
		}),
		dangerous(call("switch the kernel's audit off", auditOff)),
		inUserNamespace("make a device"),
	}
}

// last are attempts after which, had they got through, nothing more would run.
func last() []attempt {
	return []attempt{
		dangerous(call("disable the power key", raw(unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, unix.LINUX_REBOOT_CMD_CAD_OFF, 0))),
		dangerous(call("restart the machine", raw(unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2, unix.LINUX_REBOOT_CMD_RESTART, 0))),
	}
}

func raw(number uintptr, arguments ...uintptr) func() error {
	return func() error {
		var a [6]uintptr
		copy(a[:], arguments)
		if _, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
			return errno
		}
		return nil
	}
}

// asRoot are attempts of a child that is root of a user namespace of its own.
var asRoot = map[string]func() error{
	"load a module": func() error { return unix.InitModule(make([]byte, 4096), "") },
	"make a device": func() error {
		return unix.Mknod("/dev/attack.node", unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0)))
	},
}

// inUserNamespace starts this program again as the child: a process with threads
// cannot enter a new user namespace (unshare(2)).
func inUserNamespace(name string) attempt {
	return call(name+" in a user namespace", func() error {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
		cmd := exec.Command("/proc/self/exe", "--child="+name)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
		}
		return nil
	})
}

// child is the program as root of a user namespace.
func child(name string) error {
	do := asRoot[name]
	if do == nil {
		return fmt.Errorf("attempt %q is not known", name)
	}
	return do()
}

// loadFile takes a module of the node itself, if it finds one: the file is as
// good as any, and only the caller is wrong.
func loadFile() error {
	files, err := filepath.Glob(host + "/usr/lib/modules/*/kernel/drivers/net/dummy.ko*")
	if err != nil {
		return err
	}
	if len(files) == 0 {
		files = []string{host + "/usr/bin/init"}
	}
	f, err := os.Open(files[0])
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}
