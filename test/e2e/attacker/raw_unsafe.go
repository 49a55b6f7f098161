package main

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

func ioctl(request uint) func() error {
	return func() error {
		f, err := os.Open(host + "/var")
		if err != nil {
			return err
		}
		defer f.Close()
		argument := make([]byte, 256) // as long as a label
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(unsafe.Pointer(&argument[0])))
		if errno != 0 {
			return errno
		}
		if request == freeze {
			_ = unix.IoctlSetInt(int(f.Fd()), thaw, 0)
		}
		return nil
	}
}

func swapFile() error {
	file := host + "/var/attack.swap"
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		return err
	}
	defer os.Remove(file)
	name, err := unix.BytePtrFromString(file)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(name)), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func perf(kind uint32, config uint64) func() error {
	return func() error {
		fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: kind, Config: config, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{}))}, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	}
}

// uprobe sets a probe on the file of init, which machined runs as well.
func uprobe() (string, error) {
	raw, err := os.ReadFile("/sys/bus/event_source/devices/uprobe/type")
	if err != nil {
		return "", err
	}
	var kind uint32
	for _, c := range raw {
		if c >= '0' && c <= '9' {
			kind = kind*10 + uint32(c-'0')
		}
	}
	name, err := unix.BytePtrFromString(host + "/usr/bin/init")
	if err != nil {
		return "", err
	}
	attr := unix.PerfEventAttr{Type: kind, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Ext1: uint64(uintptr(unsafe.Pointer(name))), Ext2: 0x1000}
	fd, err := unix.PerfEventOpen(&attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return "", err
	}
	return "a probe on init", unix.Close(fd)
}

// auditOff sends AUDIT_SET with the mask AUDIT_STATUS_ENABLED and the value 0
// (linux/audit.h), and reads the kernel's answer.
func auditOff() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_AUDIT)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const auditSet, statusBytes = 1001, 44
	message := make([]byte, unix.NLMSG_HDRLEN+statusBytes)
	header := (*unix.NlMsghdr)(unsafe.Pointer(&message[0]))
	header.Len, header.Type, header.Flags = uint32(len(message)), auditSet, unix.NLM_F_REQUEST|unix.NLM_F_ACK
	message[unix.NLMSG_HDRLEN] = 1
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 256)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.NLMSG_HDRLEN+4 {
		return unix.EBADMSG
	}
	if code := *(*int32)(unsafe.Pointer(&answer[unix.NLMSG_HDRLEN])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
