// Command extprobe is the service of an extension in the tests: it says what it is and what it can do, a line each, and then runs until it is told to
// end. A line is NAME: RESULT, where the result of what was refused is the error.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	for _, look := range []struct {
		name string
		do   func() (string, error)
	}{
		{"user", func() (string, error) { return strconv.Itoa(os.Getuid()), nil }},
		{"processes", processes},
		{"raw socket", socket},
		{"data", data},
		{"machine ID", func() (string, error) { return fileText("/etc/machine-id") }},
		{"state volume", func() (string, error) { return fileText("/state/config/record.json") }},
		{"root written", func() (string, error) { return "done", os.WriteFile("/file", nil, 0o600) }},
		{"sysfs written", func() (string, error) { return written("/sys/power/pm_async") }},
		{"setting written", func() (string, error) { return written("/proc/sys/kernel/core_pattern") }},
		{"disk made", func() (string, error) {
			return "done", unix.Mknod("/tmp/disk", unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0)))
		}},
		{"module loaded", func() (string, error) { return "done", unix.FinitModule(0, "", 0) }},
		{"containerd", func() (string, error) { return fileText("/run/cyvive/containerd/containerd.sock") }},
	} {
		result, err := look.do()
		if err != nil {
			result = err.Error()
			var number syscall.Errno
			if errors.As(err, &number) {
				result = number.Error()
			}
		}
		fmt.Printf("%s: %s\n", look.name, strings.TrimSpace(result))
	}
	fmt.Println("looked: done")
	<-end
}

// processes counts those that can be seen.
func processes() (string, error) {
	entries, err := os.ReadDir("/proc")
	n := 0
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			n++
		}
	}
	return strconv.Itoa(n), err
}

// socket needs CAP_NET_RAW.
func socket() (string, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	return "done", unix.Close(fd)
}

// data counts how often it was here.
func data() (string, error) {
	text, err := os.ReadFile("/data/count")
	if err != nil && !os.IsNotExist(err) {
		return "", err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	text = fmt.Appendf(nil, "%d\n", n+1)
	return string(text), os.WriteFile("/data/count", text, 0o600)
}

func fileText(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		return fmt.Sprintf("%d bytes", len(text)), nil
	}
	return "", err
}

func written(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return "", err
	}
	return "opened", f.Close()
}
