package sandbox

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Tree is an unpacked tree.
type Tree struct{ Dir string }

// Bind makes a directory of the build machine visible in the tree.
type Bind struct {
	// Source is the directory on the build machine.
	Source string
	// Target is the place in the tree; it is made when it is not there.
	Target string
}

// enterScript runs in the new namespaces as their root: $1 is the tree, $2
// the number of binds, each two arguments, the rest the command.
const enterScript = `set -e
tree=$1; n=$2; shift 2
mount --rbind /dev "$tree/dev"
mount -t proc proc "$tree/proc"
while [ "$n" -gt 0 ]; do
  mount --rbind "$1" "$tree$2"
  shift 2; n=$((n - 1))
done
exec chroot "$tree" "$@"`

// Command returns the command that runs args in the tree, with only the
// environment given. The first argument is looked up in the tree.
func (t Tree) Command(ctx context.Context, env []string, binds []Bind, args ...string) (*exec.Cmd, error) {
	line := []string{"-rmpf", "--mount-proc", "--kill-child", "sh", "-c", enterScript, "enter", t.Dir, fmt.Sprint(len(binds))}
	for _, b := range binds {
		if err := os.MkdirAll(filepath.Join(t.Dir, b.Target), 0o755); err != nil {
			return nil, fmt.Errorf("enter tree: %w", err)
		}
		line = append(line, b.Source, b.Target)
	}
	line = append(line, "/usr/bin/env", "-i", "PATH=/usr/bin:/usr/sbin", "HOME=/root", "LC_ALL=C", "TMPDIR=/tmp")
	line = append(line, env...)
	cmd := exec.CommandContext(ctx, "unshare", append(line, args...)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "LD_") })
	return cmd, nil
}
