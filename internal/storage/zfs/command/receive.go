package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Receive implements [zfs.System]. A snapshot that the destination has already is read to its end, and is no error. When zfs ends before the stream
// does, Receive waits for the Read that is under way; the stream has to end, or ctx.
//
// zfs receive -F would destroy snapshots that are later than the stream's base (dmu_recv_end_check in module/zfs/dmu_recv.c). So with o.Force a
// destination that has snapshots is rolled back to its latest first, and -F is for one that has none: a full stream takes the place of what is in it.
// With a package of streams -F does more (recv_incremental_replication in lib/libzfs/libzfs_sendrecv.c), which is what o.Want is for.
func (s *System) Receive(ctx context.Context, o zfs.ReceiveSpec, stream io.Reader) error {
	args, err := receiveArgs(o)
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if o.Want != nil {
		if stream, err = checkedStream(ctx, *o.Want, stream); err != nil {
			return fmt.Errorf("receive into %s: %w", o.Name, err)
		}
	}
	if o.Force {
		overwrite, err := s.rollBackToLatest(ctx, o.Name)
		if err != nil {
			return fmt.Errorf("receive into %s: %w", o.Name, err)
		}
		if overwrite {
			args = append(args, "-F")
		}
	}
	said, err := s.run.input(ctx, append(args, "--", o.Name), stream)
	if errors.Is(err, zfs.ErrExist) && s.isPartial(ctx, o.Name) {
		return fmt.Errorf("%w: %w", zfs.ErrPartial, err)
	}
	if err != nil {
		return err
	}
	return notOverridden(said, o)
}

// receiveArgs are the options of zfs receive, without -F.
func receiveArgs(o zfs.ReceiveSpec) ([]string, error) {
	if _, err := zfs.ParseDataset(o.Name); err != nil {
		return nil, err
	}
	args := []string{"receive", "-u"}
	if o.Resumable {
		args = append(args, "-s")
	}
	options, err := propertyOptions("-o", o.Override)
	if err != nil {
		return nil, err
	}
	args = append(args, options...)
	for _, name := range slices.Sorted(slices.Values(o.Exclude)) {
		if err := checkPropertyName(name); err != nil {
			return nil, err
		}
		args = append(args, "-x", name)
	}
	return args, nil
}

// rollBackToLatest takes a dataset back to its latest snapshot. It returns true for one that exists and has none.
func (s *System) rollBackToLatest(ctx context.Context, name string) (overwrite bool, err error) {
	all, err := s.List(ctx, zfs.Query{Roots: []string{name}, Kinds: []zfs.Kind{zfs.Snapshot}})
	if errors.Is(err, zfs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if len(all) == 0 {
		return true, nil
	}
	return false, s.Rollback(ctx, all[len(all)-1].Name)
}

// isPartial tells whether a partial receive is there, for which zfs says that the destination exists.
func (s *System) isPartial(ctx context.Context, name string) bool {
	const token = "receive_resume_token"
	all, err := s.List(ctx, zfs.Query{Roots: []string{name}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Properties: []string{token}})
	return err == nil && len(all) == 1 && all[0].Properties[token].Value != ""
}

// notOverridden returns an error for a property of o.Override that could not be set, of which zfs receive says so and ends well all the same
// (zfs_receive_one in lib/libzfs/libzfs_sendrecv.c). Those that only the stream has are not looked at.
func notOverridden(said string, o zfs.ReceiveSpec) error {
	for line := range strings.Lines(said) {
		rest, ok := strings.CutPrefix(line, "cannot receive ")
		name, _, found := strings.Cut(rest, " property on ")
		if _, asked := o.Override[name]; ok && found && asked {
			return fmt.Errorf("received %s, but %s", o.Name, strings.TrimSpace(line))
		}
	}
	return nil
}

// AbortReceive implements [zfs.System].
func (s *System) AbortReceive(ctx context.Context, name string) error {
	if _, err := zfs.ParseDataset(name); err != nil {
		return fmt.Errorf("abort receive: %w", err)
	}
	return s.do(ctx, "receive", "-A", "--", name)
}
