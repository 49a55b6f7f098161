package command

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// List implements [zfs.System].
func (s *System) List(ctx context.Context, q zfs.Query) ([]zfs.Dataset, error) {
	args, err := listArgs(q)
	if err != nil {
		return nil, fmt.Errorf("list datasets: %w", err)
	}
	p, err := newProcess(ctx, s.run.ZFSPath, args)
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("list datasets: %w", err)
	}
	var all []zfs.Dataset
	var parseErr error
	err = p.finish(ctx, s.run.Held, func() error {
		if err := p.cmd.Start(); err != nil {
			return err
		}
		all, parseErr = parseList(out, q.Properties)
		_, _ = io.Copy(io.Discard, out) // what could not be read must not keep the program waiting
		return p.cmd.Wait()
	})
	if err != nil {
		return nil, err
	}
	if parseErr != nil {
		return nil, fmt.Errorf("list datasets: %w", errors.Join(parseErr, p.complaint("")))
	}
	harmless := ""
	if len(all) == 0 {
		harmless = noDatasets
	}
	if err := p.complaint(harmless); err != nil {
		return nil, fmt.Errorf("list datasets: %w", err)
	}
	all = slices.DeleteFunc(all, func(d zfs.Dataset) bool { return !wanted(q, d) })
	slices.SortFunc(all, compare)
	return all, nil
}

// Get implements [zfs.System]. zfs list takes no "all" for its columns.
func (s *System) Get(ctx context.Context, name string) (zfs.Dataset, error) {
	if _, err := zfs.ParseDataset(name); err != nil {
		return zfs.Dataset{}, fmt.Errorf("get properties: %w", err)
	}
	out, err := s.run.read(ctx, "get", "-j", "-p", "--", "all", name)
	if err != nil {
		return zfs.Dataset{}, err
	}
	all, err := parseGet(bytes.NewReader(out))
	if err != nil {
		return zfs.Dataset{}, fmt.Errorf("get properties of %s: %w", name, err)
	}
	if len(all) != 1 || all[0].Name != name {
		return zfs.Dataset{}, fmt.Errorf("get properties of %s: zfs get has told of %d datasets, expected that one alone", name, len(all))
	}
	return all[0], nil
}

// noDatasets is what zfs list says beside a list that is empty (zfs_do_list in cmd/zfs/zfs_main.c).
const noDatasets = "no datasets available"

// listArgs are the arguments for a query.
func listArgs(q zfs.Query) ([]string, error) {
	if q.Alone && len(q.Roots) == 0 {
		return nil, fmt.Errorf("no root to list alone: %w", zfs.ErrInvalid)
	}
	kinds := slices.Clone(q.Kinds)
	if len(kinds) == 0 || q.Alone {
		kinds = []zfs.Kind{zfs.Filesystem, zfs.Volume, zfs.Snapshot, zfs.Bookmark}
	}
	if slices.Contains(kinds, zfs.Filesystem) || slices.Contains(kinds, zfs.Volume) {
		// A root of the one kind is an error where only the other is asked for.
		kinds = append(kinds, zfs.Filesystem, zfs.Volume)
	}
	for _, root := range q.Roots {
		n, err := zfs.ParseName(root)
		switch {
		case err != nil:
			return nil, err
		case n.Snapshot != "":
			kinds = append(kinds, zfs.Snapshot)
		case n.Bookmark != "":
			kinds = append(kinds, zfs.Bookmark)
		}
	}
	columns, err := columns(q.Properties)
	if err != nil {
		return nil, err
	}
	args := []string{"list", "-j", "-p", "-o", columns, "-t", joinKinds(kinds)}
	switch {
	case q.Alone:
		// Without -r and -d it is what is named, as long as not only snapshots or only bookmarks are asked for (zfs_do_list in cmd/zfs/zfs_main.c).
	case q.Depth < 0:
		args = append(args, "-r")
	case slices.Contains(kinds, zfs.Snapshot) || slices.Contains(kinds, zfs.Bookmark):
		// To zfs a snapshot is one level below its file system, and so is a child: what is too deep is left out later.
		args = append(args, "-d", strconv.Itoa(q.Depth+1))
	default:
		args = append(args, "-d", strconv.Itoa(q.Depth))
	}
	return append(append(args, "--"), q.Roots...), nil
}

func joinKinds(kinds []zfs.Kind) string {
	var all []string
	for _, k := range kinds {
		if !slices.Contains(all, string(k)) {
			all = append(all, string(k))
		}
	}
	return strings.Join(all, ",")
}

// columns is the list of properties for -o. Each follows the GUID, since zfs gives one that a dataset does not have the source of the column before
// (collect_dataset in cmd/zfs/zfs_main.c of 2.3.9 keeps it in a variable): the GUID's is NONE, and a "-" of that source is no value.
func columns(properties []string) (string, error) {
	all := []string{"guid", "creation"}
	for _, p := range properties {
		if err := checkPropertyName(p); err != nil {
			return "", err
		}
		if p != "name" {
			all = append(all, "guid", p)
		}
	}
	return strings.Join(all, ","), nil
}

// wanted tells whether an answer is part of what was asked for.
func wanted(q zfs.Query, d zfs.Dataset) bool {
	if len(q.Kinds) > 0 && !slices.Contains(q.Kinds, d.Kind) {
		return false
	}
	if q.Depth < 0 || q.Alone {
		return true
	}
	dataset := datasetOf(d.Name)
	if len(q.Roots) == 0 {
		return strings.Count(dataset, "/") <= q.Depth
	}
	return slices.ContainsFunc(q.Roots, func(root string) bool {
		below, ok := strings.CutPrefix(dataset, datasetOf(root))
		return ok && (below == "" || below[0] == '/') && strings.Count(below, "/") <= q.Depth
	})
}

// datasetOf is the file system or volume of a name.
func datasetOf(name string) string {
	if i := strings.IndexAny(name, "@#"); i >= 0 {
		return name[:i]
	}
	return name
}

// compare orders by name, and what one file system has by transaction group, in which a bookmark follows the snapshot that it was made of.
func compare(a, b zfs.Dataset) int {
	return cmp.Or(
		strings.Compare(datasetOf(a.Name), datasetOf(b.Name)),
		cmp.Compare(rank(a.Kind), rank(b.Kind)),
		cmp.Compare(a.CreateTXG, b.CreateTXG),
		strings.Compare(string(b.Kind), string(a.Kind)),
		strings.Compare(a.Name, b.Name),
	)
}

// rank puts a dataset before what it has.
func rank(k zfs.Kind) int {
	if k == zfs.Snapshot || k == zfs.Bookmark {
		return 1
	}
	return 0
}
