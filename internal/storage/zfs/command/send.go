package command

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Send implements [zfs.System]. It returns once the first bytes have come, so that what zfs refuses is an error of Send's.
func (s *System) Send(ctx context.Context, spec zfs.SendSpec) (io.ReadCloser, error) {
	args, err := sendArgs(spec)
	if err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	if spec.Properties {
		args = append(args, "-p")
	}
	return s.run.output(ctx, append([]string{"send"}, closeArgs(args, spec)...))
}

// Estimate implements [zfs.System]. Properties are left out of it.
func (s *System) Estimate(ctx context.Context, spec zfs.SendSpec) (uint64, error) {
	args, err := sendArgs(spec)
	if err != nil {
		return 0, fmt.Errorf("estimate: %w", err)
	}
	out, err := s.run.Zfs(ctx, append([]string{"send", "-n", "-P"}, closeArgs(args, spec)...)...)
	if err != nil {
		return 0, err
	}
	return parseEstimate(string(out))
}

// sendArgs are the options of zfs send that an estimate takes too.
func sendArgs(spec zfs.SendSpec) ([]string, error) {
	var args []string
	if spec.Large {
		args = append(args, "-L", "-e", "-c")
	}
	if spec.Raw {
		args = append(args, "-w")
	}
	if spec.ResumeToken != "" {
		if spec.Snapshot != "" || spec.From != "" || spec.Properties {
			return nil, fmt.Errorf("resume token: %w: it says which stream goes on, expected neither snapshots nor properties beside it", zfs.ErrInvalid)
		}
		return args, checkToken(spec.ResumeToken)
	}
	if _, err := zfs.ParseSnapshot(spec.Snapshot); err != nil {
		return nil, err
	}
	if spec.From != "" {
		from, err := zfs.ParseNew(spec.From)
		if err == nil && from.Snapshot == "" && from.Bookmark == "" {
			err = fmt.Errorf("name %q %w: expected a snapshot or a bookmark", spec.From, zfs.ErrInvalid)
		}
		if err != nil {
			return nil, fmt.Errorf("incremental source: %w", err)
		}
		args = append(args, "-i", spec.From)
	}
	return args, nil
}

// closeArgs adds what is sent, which comes last.
func closeArgs(args []string, spec zfs.SendSpec) []string {
	if spec.ResumeToken != "" {
		return append(args, "-t", spec.ResumeToken)
	}
	return append(args, "--", spec.Snapshot)
}

// parseEstimate reads the size that zfs send -n -P ends with (estimate_size in lib/libzfs/libzfs_sendrecv.c).
func parseEstimate(text string) (uint64, error) {
	size := ""
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "size\t"); ok {
			size = n
		}
	}
	n, err := strconv.ParseUint(size, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read output of zfs send -n -P: expected a line with size and a number, got %.300q", text)
	}
	return n, nil
}
