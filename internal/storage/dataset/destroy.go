package dataset

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// ErrConfirmation is of a dataset that was not named again by who wants it destroyed.
var ErrConfirmation = errors.New("is not confirmed")

// ErrDeclared is of a dataset that a document declares: it would be made again.
var ErrDeclared = errors.New("is declared")

// DestroyRequest is what somebody wants destroyed.
type DestroyRequest struct {
	Name string
	// Confirm has to be the name, typed once more.
	Confirm string
	// All destroys what is below, and snapshots, too.
	All bool
}

// PlanDestroy returns the operations that destroy a dataset. Found is all that is there below its pool, of all kinds, with the properties userrefs, clones
// and origin. It refuses as a whole, naming what is in the way: a hold, or a clone outside of what is destroyed.
func PlanDestroy(spec Spec, found []zfs.Dataset, q DestroyRequest) ([]Op, error) {
	switch {
	case q.Confirm != q.Name:
		return nil, fmt.Errorf("destroy %s: it %w: its name has to be given once more, and was given as %q", q.Name, ErrConfirmation, q.Confirm)
	case !strings.Contains(q.Name, "/"):
		return nil, fmt.Errorf("destroy %s: %w: it is a pool, which is destroyed as a pool", q.Name, zfs.ErrInvalid)
	case strings.ContainsAny(q.Name, "@#"):
		return nil, fmt.Errorf("destroy %s: %w: it is neither a file system nor a volume", q.Name, zfs.ErrInvalid)
	}
	for _, d := range spec.Datasets {
		if d.Name == q.Name || isBelow(d.Name, q.Name) {
			return nil, fmt.Errorf("destroy %s: %s %w: remove its document first", q.Name, d.Name, ErrDeclared)
		}
	}
	t := doomedBelow(found, q.Name)
	if !slices.Contains(t.datasets, q.Name) {
		return nil, fmt.Errorf("destroy %s: it %w", q.Name, zfs.ErrNotExist)
	}
	if !q.All && (len(t.datasets) > 1 || len(t.snapshots) > 0) {
		return nil, fmt.Errorf("destroy %s: it %w: %d datasets below it and %d snapshots; all of them have to be meant",
			q.Name, zfs.ErrHasDependents, len(t.datasets)-1, t.count())
	}
	if err := t.check(q.Name); err != nil {
		return nil, err
	}
	return t.ops(q.Name)
}

// Destroyed are the whole names of what operations destroy, in order.
func Destroyed(ops []Op) []string {
	var out []string
	for _, o := range ops {
		if o.Verb == DestroySnapshots {
			out = append(out, o.Snapshots...)
			continue
		}
		out = append(out, o.Dataset)
	}
	return out
}

// Fingerprint stands for what operations destroy that were planned of what was found: a dataset or snapshot more, or another of the same name, is another one.
func Fingerprint(found []zfs.Dataset, ops []Op) []byte {
	guids := map[string]zfs.GUID{}
	for _, d := range found {
		guids[d.Name] = d.GUID
	}
	sum := sha256.New()
	for _, name := range slices.Sorted(slices.Values(Destroyed(ops))) {
		fmt.Fprintf(sum, "%s %s\n", guids[name], name) // no name has a line's end
	}
	return sum.Sum(nil)
}

// doomed is what would be destroyed.
type doomed struct {
	datasets []string
	// snapshots are those of each dataset; clones the datasets that were made of one of them.
	snapshots map[string][]zfs.Dataset
	clones    map[string][]string
}

func doomedBelow(found []zfs.Dataset, root string) doomed {
	t := doomed{snapshots: map[string][]zfs.Dataset{}, clones: map[string][]string{}}
	for _, d := range found {
		dataset, _, isSnapshot := strings.Cut(d.Name, "@")
		if dataset != root && !isBelow(dataset, root) || d.Kind == zfs.Bookmark {
			continue // bookmarks go with their file system
		}
		if !isSnapshot {
			t.datasets = append(t.datasets, dataset)
			continue
		}
		t.snapshots[dataset] = append(t.snapshots[dataset], d)
		if clones := d.Properties["clones"].Value; clones != "" && clones != "-" {
			t.clones[dataset] = append(t.clones[dataset], strings.Split(clones, ",")...)
		}
	}
	return t
}

func (t doomed) count() (n int) {
	for _, list := range t.snapshots {
		n += len(list)
	}
	return n
}

// check names what is held, and the clones that would be left without an origin.
func (t doomed) check(root string) error {
	var held, clones []string
	for _, dataset := range sorted(t.snapshots) {
		for _, s := range t.snapshots[dataset] {
			if n, _ := strconv.Atoi(s.Properties["userrefs"].Value); n > 0 {
				held = append(held, s.Name)
			}
		}
		for _, clone := range t.clones[dataset] {
			if !slices.Contains(t.datasets, clone) {
				clones = append(clones, clone)
			}
		}
	}
	if len(held) > 0 {
		return fmt.Errorf("destroy %s: %s: %w; release what holds it first", root, strings.Join(held, ", "), zfs.ErrHeld)
	}
	if len(clones) > 0 {
		return fmt.Errorf("destroy %s: it %w: the clones %s; destroy them first, or promote one (nodectl dataset promote)", root, zfs.ErrHasDependents, strings.Join(clones, ", "))
	}
	return nil
}

// maxSnapshots is how many snapshots one operation destroys, as a whole or not at all. A program takes so many names, and not tens of thousands (command.Runner).
const maxSnapshots = 1000

// ops orders all so that nothing is destroyed before its children and clones.
func (t doomed) ops(root string) ([]Op, error) {
	var out []Op
	left := map[string]bool{}
	for _, name := range t.datasets {
		left[name] = true
	}
	free := func(name string) bool {
		for other := range left {
			if isBelow(other, name) || slices.Contains(t.clones[name], other) {
				return false
			}
		}
		return true
	}
	for len(left) > 0 {
		next := ""
		for _, name := range sorted(left) {
			if free(name) {
				next = name // the last by name: below the others
			}
		}
		if next == "" {
			return nil, fmt.Errorf("destroy %s: it %w: among %s each is a child or a clone of another; promote one of the clones first (nodectl dataset promote)",
				root, zfs.ErrHasDependents, strings.Join(sorted(left), ", "))
		}
		delete(left, next)
		for list := range slices.Chunk(t.snapshots[next], maxSnapshots) {
			op := Op{Verb: DestroySnapshots, Dataset: next}
			for _, s := range list {
				op.Snapshots = append(op.Snapshots, s.Name)
			}
			out = append(out, op)
		}
		out = append(out, Op{Verb: Destroy, Dataset: next})
	}
	return out, nil
}
