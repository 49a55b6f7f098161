package release

import (
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// kernelRelease is what uname(2) may give out; the kernel keeps 64 bytes for it (include/uapi/linux/utsname.h).
var kernelRelease = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+~_-]{0,63}$`)

// IsKernelRelease says whether a text can be the release of a kernel, as uname -r prints it.
func IsKernelRelease(s string) bool { return kernelRelease.MatchString(s) }

// KernelRelease returns the release of the kernel in a unified kernel image, from its section .uname (UAPI Unified Kernel Image specification).
func KernelRelease(image io.ReaderAt) (string, error) {
	f, err := pe.NewFile(image)
	if err != nil {
		return "", fmt.Errorf("read kernel's release: %w", err)
	}
	s := f.Section(".uname")
	if s == nil || s.VirtualSize > 4096 {
		return "", errors.New("read kernel's release: the kernel image has no section .uname")
	}
	text := make([]byte, s.VirtualSize)
	if _, err := s.ReadAt(text, 0); err != nil {
		return "", fmt.Errorf("read kernel's release: %w", err)
	}
	out := strings.TrimRight(string(text), "\x00\n")
	if !IsKernelRelease(out) {
		return "", fmt.Errorf("read kernel's release: section .uname says %.80q", out)
	}
	return out, nil
}
