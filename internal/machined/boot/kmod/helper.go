package kmod

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// ErrNotHelper is why Helper refused.
var ErrNotHelper = errors.New("refused to load a module")

// Helper loads a module by name or alias for the kernel, which calls program
// for it (kernel.modprobe). It refuses unless the kernel names this very
// program as its helper. That there is no such module is no error: the kernel
// asks for many that do not exist.
func Helper(program, name string) error {
	raw, err := os.ReadFile("/proc/sys/kernel/modprobe")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotHelper, err)
	}
	if helper := strings.TrimSpace(string(raw)); helper != program {
		return fmt.Errorf("%w: the kernel's module helper is %q, this is %q", ErrNotHelper, helper, program)
	}
	l, err := Open("/usr/lib/modules")
	if err != nil {
		return err
	}
	if err := l.Load(name); err != nil && !errors.Is(err, ErrNoModule) {
		return err
	}
	return nil
}
