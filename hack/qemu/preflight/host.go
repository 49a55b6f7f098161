package preflight

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cyvive/cyvive/hack/qemu/network"
	"github.com/cyvive/cyvive/hack/qemu/vm"
)

// ThisHost asks the machine that the program runs on.
func ThisHost() Host {
	return Host{
		FindTool:        findTool,
		Release:         release,
		FindFirmware:    func(arch string) error { _, err := vm.FindFirmware(arch); return err },
		AvailableMemory: availableMemory,
		FreeSpace:       freeSpace,
		CheckPort:       network.CheckPort,
	}
}

// findTool looks for a file by its whole path, or for a program in PATH and where
// Debian keeps those of administrators.
func findTool(name string) error {
	if filepath.IsAbs(name) {
		_, err := os.Stat(name)
		return err
	}
	if _, err := exec.LookPath(name); err == nil {
		return nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("find program %s: %w", name, exec.ErrNotFound)
}

func release() string {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	return codename(string(text))
}

// codename reads os-release(5), whose values may stand in quotation marks.
func codename(osRelease string) string {
	for line := range strings.Lines(osRelease) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return strings.Trim(value, `"'`)
		}
	}
	return ""
}

func availableMemory() (int64, error) {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read available memory: %w", err)
	}
	defer file.Close()
	return parseMemAvailable(file)
}

// parseMemAvailable reads /proc/meminfo's MemAvailable, which is in KiB though
// it says kB (proc_meminfo(5), since Linux 3.14).
func parseMemAvailable(meminfo io.Reader) (int64, error) {
	lines := bufio.NewScanner(meminfo)
	for lines.Scan() {
		value, ok := strings.CutPrefix(lines.Text(), "MemAvailable:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 53)
		if err != nil || kib < 0 {
			return 0, fmt.Errorf("read available memory: /proc/meminfo says %q", value)
		}
		return kib << 10, nil
	}
	return 0, errors.New("read available memory: /proc/meminfo has no MemAvailable")
}

// freeSpace asks the file system of the nearest folder that exists.
func freeSpace(dir string) (int64, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return 0, fmt.Errorf("read free space: %w", err)
	}
	for {
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("read free space of %s: %w", dir, err)
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}
