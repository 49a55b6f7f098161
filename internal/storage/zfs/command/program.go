package command

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"syscall"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// program runs a channel program (zfs-program(8)) on a pool, and returns what it returned, as JSON. All that it changes is one transaction, and
// nothing else comes between what it looks at and what it does. Its source is text of this project's; what comes from outside are arguments, which it
// has as a list of texts in its argument "argv" and which no Lua is made of.
//
// A program that fails midway, as one that calls error, leaves what it has changed: it has to look first.
func (r Runner) program(ctx context.Context, pool, source string, arguments ...string) (json.RawMessage, error) {
	if err := zfs.CheckPool(pool); err != nil {
		return nil, fmt.Errorf("run channel program: %w", err)
	}
	out, err := r.collect(ctx, r.ZFSPath, []byte(source), append([]string{"program", "-j", "--", pool, "-"}, arguments...))
	if err != nil {
		return nil, err
	}
	return parseProgram(out)
}

// parseProgram reads the answer of zfs program -j: an object with "return", or without it where the program has returned nothing.
func parseProgram(out []byte) (json.RawMessage, error) {
	var answer struct {
		Return json.RawMessage `json:"return"`
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, fmt.Errorf("read output of zfs program: %w", err)
	}
	return answer.Return, nil
}

//go:embed destroy.lua
var destroySource string

// DestroySnapshots implements [zfs.System], with a channel program that looks at each before it destroys any. One that is mounted in .zfs/snapshot is
// [zfs.ErrBusy], until the kernel unmounts it by itself (zfs_expire_snapshot of zfs(4): 300 s without use).
func (s *System) DestroySnapshots(ctx context.Context, names []string) error {
	if err := onePool(names); err != nil {
		return fmt.Errorf("destroy snapshots: %w", err)
	}
	if len(names) == 0 {
		return nil
	}
	unique := slices.Clone(names)
	slices.Sort(unique)
	unique = slices.Compact(unique)
	n, err := zfs.ParseName(unique[0])
	if err != nil {
		return err
	}
	answer, err := s.run.program(ctx, n.Pool, destroySource, unique...)
	if err != nil {
		return err
	}
	return parseDestroyed(answer)
}

// shownRefusals is how many snapshots an error names.
const shownRefusals = 5

// parseDestroyed reads the answer of destroy.lua: a table of the snapshots that cannot be destroyed, which is empty if all were.
func parseDestroyed(answer json.RawMessage) error {
	var refused map[string]string
	if err := json.Unmarshal(answer, &refused); err != nil {
		return fmt.Errorf("read answer of channel program: %w", err)
	}
	if refused == nil {
		return fmt.Errorf("read answer of channel program: expected a table, got %.40q", answer)
	}
	if len(refused) == 0 {
		return nil
	}
	var all []error
	for i, name := range slices.Sorted(maps.Keys(refused)) {
		if i == shownRefusals {
			all = append(all, fmt.Errorf("and %d more", len(refused)-i))
			break
		}
		all = append(all, fmt.Errorf("%s %w", name, refusal(refused[name])))
	}
	return fmt.Errorf("destroy snapshots, of which none is destroyed: %w", errors.Join(all...))
}

// refusal is the class of a reason that destroy.lua gives: a word, or a number of errno(3).
func refusal(reason string) error {
	switch reason {
	case "held":
		return zfs.ErrHeld
	case "busy":
		return zfs.ErrBusy
	case "cloned":
		return zfs.ErrHasDependents
	}
	if n, err := strconv.Atoi(reason); err == nil {
		return fmt.Errorf("cannot be destroyed: %w", syscall.Errno(n))
	}
	return fmt.Errorf("cannot be destroyed: %.40q", reason)
}
