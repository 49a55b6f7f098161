package probe

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Closure returns the path of a program of this machine, and those of the loader
// and the libraries that it is run with here, as ldd(1) lists them. At the same
// paths of another root it runs as it does here.
func Closure(ctx context.Context, program string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "ldd", program).Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			err = fmt.Errorf("%w: %s", err, failed.Stderr)
		}
		return nil, fmt.Errorf("find what %s needs: %w", program, err)
	}
	files, err := parseLoaded(string(out))
	if err != nil {
		return nil, fmt.Errorf("find what %s needs: %w", program, err)
	}
	return append([]string{program}, files...), nil
}

// parseLoaded reads the paths in what ldd prints: "name => path (address)" for a
// library, "path (address)" for the loader, and no path for what the kernel
// brings.
func parseLoaded(list string) ([]string, error) {
	var files []string
	for line := range strings.Lines(list) {
		if strings.Contains(line, "not found") {
			return nil, fmt.Errorf("a library is not there: %s", strings.TrimSpace(line))
		}
		fields := strings.Fields(line)
		if i := slices.IndexFunc(fields, filepath.IsAbs); i >= 0 {
			files = append(files, fields[i])
		}
	}
	return files, nil
}
