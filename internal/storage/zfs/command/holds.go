package command

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// undoTime is how long what is taken away again may take, though nobody waits for the rest any more: the pool may not answer.
const undoTime = time.Minute

// heldAlready ends what zfs hold says of a snapshot that has the hold.
const heldAlready = ": tag already exists on this dataset"

// Hold implements [zfs.System]. zfs hold takes a transaction for each snapshot (zfs_do_hold_rele_impl in cmd/zfs/zfs_main.c), and names each that it
// could not hold: so those that were made are taken away again where another failed, and what was held before is not. What a program made that was
// ended, or that did not say which have failed, stays: who held it before is not known.
func (s *System) Hold(ctx context.Context, tag string, snapshots ...string) error {
	if err := checkHolds(tag, snapshots); err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	wanted := slices.Clone(snapshots)
	slices.Sort(wanted)
	wanted = slices.Compact(wanted)
	if len(wanted) == 0 {
		return nil
	}
	err := s.do(ctx, append([]string{"hold", "--", tag}, wanted...)...)
	if err == nil {
		return nil
	}
	made, err := afterHold(err, wanted)
	if err == nil || len(made) == 0 {
		return err
	}
	undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	return errors.Join(err, s.Release(undoing, tag, made...))
}

// afterHold tells what a zfs hold that failed has made all the same, as far as it has said that, and its error without what was held before, which is nil
// where that is all.
func afterHold(err error, wanted []string) (made []string, left error) {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.cut {
		return nil, err
	}
	if exit, ok := errors.AsType[*exec.ExitError](e.Cause); !ok || !exit.Exited() {
		return nil, err
	}
	lines, failed, understood := e.lines(), map[string]bool{}, true
	var others []string
	for _, line := range lines {
		named := slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return !holdFailed(line, name) })
		understood = understood && len(named) > 0
		for _, name := range named {
			failed[name] = true
		}
		if !strings.HasSuffix(line, heldAlready) {
			others = append(others, line)
		}
	}
	if len(lines) > 0 && len(others) == 0 {
		return nil, nil
	}
	rest := *e
	rest.Said = strings.Join(others, "\n")
	rest.Class = rest.classify()
	if len(lines) == 0 || !understood {
		return nil, &rest
	}
	return slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return failed[name] }), &rest
}

// holdFailed tells whether a line of zfs hold says that a snapshot could not be held: itself (zfs_hold and zfs_hold_nvl in
// lib/libzfs/libzfs_dataset.c), or with all others of its file system, which is not there.
func holdFailed(line, snapshot string) bool {
	of, _, _ := strings.Cut(snapshot, "@")
	return strings.HasPrefix(line, "cannot hold snapshot '"+snapshot+"': ") || strings.HasPrefix(line, "cannot open '"+of+"': ")
}

// Release implements [zfs.System]. A snapshot that is gone has no hold, which does not count either.
func (s *System) Release(ctx context.Context, tag string, snapshots ...string) error {
	if err := checkHolds(tag, snapshots); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	if len(snapshots) == 0 {
		return nil
	}
	err := s.do(ctx, append([]string{"release", "--", tag}, snapshots...)...)
	if onlySaid(err, ": no such tag on this dataset", ": dataset does not exist") {
		return nil
	}
	return err
}

// onlySaid tells whether the program failed, and each line of what it said ends with one of the texts.
func onlySaid(err error, texts ...string) bool {
	var e *Error
	if !errors.As(err, &e) || e.cut || e.Class == nil {
		return false
	}
	for _, line := range e.lines() {
		if !slices.ContainsFunc(texts, func(t string) bool { return strings.HasSuffix(line, t) }) {
			return false
		}
	}
	return true
}

// Holds implements [zfs.System]. A snapshot without holds has an entry that is empty.
func (s *System) Holds(ctx context.Context, snapshots ...string) (map[string][]zfs.Hold, error) {
	for _, name := range snapshots {
		if _, err := zfs.ParseSnapshot(name); err != nil {
			return nil, fmt.Errorf("list holds: %w", err)
		}
	}
	if len(snapshots) == 0 {
		return map[string][]zfs.Hold{}, nil
	}
	out, err := s.run.read(ctx, append([]string{"holds", "-H", "-p", "--"}, snapshots...)...)
	if err != nil {
		return nil, err
	}
	return parseHolds(string(out), snapshots)
}

func checkHolds(tag string, snapshots []string) error {
	if err := zfs.CheckTag(tag); err != nil {
		return err
	}
	for _, name := range snapshots {
		if _, err := zfs.ParseSnapshot(name); err != nil {
			return err
		}
	}
	return nil
}

// parseHolds reads NAME, TAG and TIMESTAMP of zfs holds -H -p, with tabs between (print_holds in cmd/zfs/zfs_main.c). Others may have put tabs and
// ends of lines into a tag: what does not end with a time goes on in the next line.
func parseHolds(text string, snapshots []string) (map[string][]zfs.Hold, error) {
	holds := map[string][]zfs.Hold{}
	for _, name := range snapshots {
		holds[name] = nil
	}
	pending := ""
	for line := range strings.Lines(text) {
		pending += line
		name, rest, _ := strings.Cut(strings.TrimSuffix(pending, "\n"), "\t")
		at := strings.LastIndexByte(rest, '\t')
		if at < 0 {
			continue
		}
		since, err := strconv.ParseInt(rest[at+1:], 10, 64)
		if err != nil {
			continue
		}
		if _, ok := holds[name]; !ok {
			return nil, fmt.Errorf("read output of zfs holds: %.300q has a hold, and was not asked for", name)
		}
		holds[name] = append(holds[name], zfs.Hold{Tag: rest[:at], Since: since})
		pending = ""
	}
	if pending != "" {
		return nil, fmt.Errorf("read output of zfs holds: expected a name, a tag and a time, got %.300q", pending)
	}
	for _, all := range holds {
		slices.SortFunc(all, func(a, b zfs.Hold) int { return strings.Compare(a.Tag, b.Tag) })
	}
	return holds, nil
}
