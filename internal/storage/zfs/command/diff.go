package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Bounds of what one call of Diff returns.
const (
	maxChanges     = 10_000
	maxChangeBytes = 2 << 20
)

// Diff returns which files differ between two snapshots of one file system, of which from is the earlier. The file system has to be mounted where this process sees it
// (get_mountpoint in lib/libzfs/libzfs_diff.c, 2.3.9). With more there are others, for which the call has no room. Which a file system has now is not compared:
// zfs makes a snapshot for that, which whoever looks at snapshots meanwhile takes for one.
func (s *System) Diff(ctx context.Context, from, to string) (changes []zfs.Change, more bool, err error) {
	for _, name := range []string{from, to} {
		if _, err := zfs.ParseSnapshot(name); err != nil {
			return nil, false, fmt.Errorf("compare snapshots: %w", err)
		}
	}
	if datasetOf(from) != datasetOf(to) {
		return nil, false, fmt.Errorf("compare %s with %s: %w: they are of two file systems", from, to, zfs.ErrInvalid)
	}
	out, err := s.run.output(ctx, []string{"diff", "-H", "--", from, to})
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	lines, bytes := bufio.NewScanner(out), 0
	for lines.Scan() {
		if bytes += len(lines.Bytes()); len(changes) == maxChanges || bytes > maxChangeBytes {
			return changes, true, nil
		}
		c, err := parseChange(lines.Text())
		if err != nil {
			return nil, false, fmt.Errorf("read output of zfs diff: %w", err)
		}
		changes = append(changes, c)
	}
	if err := lines.Err(); err != nil {
		return nil, false, fmt.Errorf("compare %s with %s: %w", from, to, err)
	}
	return changes, false, nil
}

// parseChange reads a line of zfs diff -H: the kind, the path and, of a renamed file, the new one, or of one whose links are more or fewer, by how many.
func parseChange(line string) (zfs.Change, error) {
	fields := strings.Split(line, "\t")
	c := zfs.Change{}
	if len(fields) >= 2 && len(fields[0]) == 1 {
		c.Kind = zfs.ChangeKind(fields[0][0])
	}
	rest := 0
	switch c.Kind {
	case zfs.Added, zfs.Removed:
	case zfs.Modified:
		if len(fields) == 3 && strings.HasPrefix(fields[2], "(") {
			rest = 1
		}
	case zfs.Renamed:
		rest = 1
	default:
		return zfs.Change{}, fmt.Errorf("expected a line of +, -, M or R and paths, got %.300q", line)
	}
	if len(fields) != 2+rest {
		return zfs.Change{}, fmt.Errorf("expected %d fields, got %.300q", 2+rest, line)
	}
	var err error
	if c.Path, err = plainPath(fields[1]); err != nil {
		return zfs.Change{}, err
	}
	if c.Kind == zfs.Renamed {
		if c.NewPath, err = plainPath(fields[2]); err != nil {
			return zfs.Change{}, err
		}
	}
	return c, nil
}

// plainPath undoes stream_bytes of libzfs_diff.c: what is not printable is a backslash and four octal digits, and so is a backslash.
func plainPath(shown string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(shown); i++ {
		if shown[i] != '\\' {
			out.WriteByte(shown[i])
			continue
		}
		end := min(i+5, len(shown))
		n, err := strconv.ParseUint(shown[i+1:end], 8, 8)
		if err != nil || end != i+5 {
			return "", fmt.Errorf("expected four octal digits behind the backslash at byte %d of %.300q", i, shown)
		}
		out.WriteByte(byte(n))
		i += 4
	}
	return out.String(), nil
}
