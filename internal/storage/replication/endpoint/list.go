package endpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// listed are the properties that a listing is made of.
var listed = append([]string{
	"readonly", "encryption", "encryptionroot", "written", "referenced", "receive_resume_token", "userrefs",
}, replication.OwnProperties()...)

// List implements replication.Endpoint. What a root says of itself is read with its tree.
func (l *Local) List(ctx context.Context, r replication.ListRequest) (replication.Listing, error) {
	var out replication.Listing
	l.memory.forget(r.Job, r.Roots)
	for _, root := range r.Roots {
		state, found, err := l.tree(ctx, r.Job, root, -1)
		if err != nil {
			return out, err
		}
		for i := range found {
			l.memory.keep(&found[i], since(&found[i], r.Job))
		}
		out.Roots = append(out.Roots, state)
		out.FileSystems = append(out.FileSystems, found...)
	}
	slices.SortFunc(out.FileSystems, func(a, b replication.FileSystem) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// list reads a tree that has to be there; see tree.
func (l *Local) list(ctx context.Context, job, root string, depth int) ([]replication.FileSystem, error) {
	state, found, err := l.tree(ctx, job, root, depth)
	if err == nil && !state.Exists {
		err = fmt.Errorf("list %s: it is gone: %w", root, zfs.ErrNotExist)
	}
	return found, err
}

// tree reads a tree, and what its root says of itself: that it does not exist, if so. Without a job it does not look for holds, which takes a program of its
// own.
func (l *Local) tree(ctx context.Context, job, root string, depth int) (state replication.RootState, out []replication.FileSystem, err error) {
	state.Name = root
	found, err := l.system.List(ctx, zfs.Query{Roots: []string{root}, Kinds: everyKind, Depth: depth, Properties: listed})
	if errors.Is(err, zfs.ErrNotExist) {
		return state, nil, nil
	}
	if err != nil {
		return state, nil, fmt.Errorf("list %s: %w", root, err)
	}
	var holds map[string][]string
	if job != "" {
		if holds, err = l.holds(ctx, found); err != nil {
			return state, nil, err
		}
	}
	byName := map[string]*replication.FileSystem{}
	var order []string
	for _, d := range found {
		if d.Kind != zfs.Filesystem && d.Kind != zfs.Volume {
			continue
		}
		f, err := l.fileSystem(ctx, d)
		if err != nil {
			return state, nil, err
		}
		if d.Name == root {
			state = rootState(d)
		}
		byName[d.Name] = f
		order = append(order, d.Name)
	}
	for _, d := range found {
		i := strings.IndexAny(d.Name, "@#")
		if i < 0 || byName[d.Name[:i]] == nil {
			continue
		}
		f, v := byName[d.Name[:i]], versionOf(d)
		v.Step, v.Last = slices.Contains(holds[d.Name], replication.StepTag(job)), slices.Contains(holds[d.Name], replication.LastTag(job))
		f.Versions = append(f.Versions, v)
	}
	for _, name := range order {
		f := byName[name]
		slices.SortStableFunc(f.Versions, older)
		f.Placeholder = f.Marked && len(f.Snapshots()) == 0
		out = append(out, *f)
	}
	return state, out, nil
}

// versionOf is a snapshot or bookmark, of whose holds nothing is known.
func versionOf(d zfs.Dataset) replication.Version {
	return replication.Version{
		Name: d.Name[strings.IndexAny(d.Name, "@#")+1:], Bookmark: d.Kind == zfs.Bookmark, GUID: d.GUID, CreateTXG: d.CreateTXG, Created: d.Created,
	}
}

func older(a, b replication.Version) int {
	if a.CreateTXG == b.CreateTXG && a.Bookmark != b.Bookmark {
		if b.Bookmark {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.CreateTXG, b.CreateTXG)
}

func (l *Local) fileSystem(ctx context.Context, d zfs.Dataset) (*replication.FileSystem, error) {
	f := fileSystemOf(d)
	if f.Token == "" {
		return f, nil
	}
	t, err := l.system.Token(ctx, f.Token)
	if err != nil && !errors.Is(err, zfs.ErrBadToken) {
		return nil, fmt.Errorf("list %s: %w", d.Name, err)
	}
	f.Partial = t
	return f, nil
}

// fileSystemOf is one without its versions, of which it depends whether it is a placeholder, and without what its token stands for.
func fileSystemOf(d zfs.Dataset) *replication.FileSystem {
	value := func(name string) string { return d.Properties[name].Value }
	return &replication.FileSystem{
		Name: d.Name, Kind: d.Kind, GUID: d.GUID, ReadOnly: value("readonly") == "on",
		Marked: localOf(d, replication.PropertyPlaceholder) == "on", Replica: localOf(d, replication.PropertyReplica),
		Stream: localOf(d, replication.PropertyStream), Source: zfs.GUID(number(localOf(d, replication.PropertySource))),
		Encryption: value("encryption"), EncryptionRoot: dash(value("encryptionroot")),
		WrittenBytes: number(value("written")), ReferencedBytes: number(value("referenced")),
		Token: dash(value("receive_resume_token")),
	}
}

// dash takes the sign for "none" away that the programs print.
func dash(value string) string { return strings.TrimPrefix(value, "-") }

// holds reads the tags of the snapshots that have any.
func (l *Local) holds(ctx context.Context, found []zfs.Dataset) (map[string][]string, error) {
	var held []string
	for _, d := range found {
		if d.Kind == zfs.Snapshot && number(d.Properties["userrefs"].Value) > 0 {
			held = append(held, d.Name)
		}
	}
	if len(held) == 0 {
		return nil, nil
	}
	all, err := l.system.Holds(ctx, held...)
	if err != nil {
		return nil, fmt.Errorf("list holds: %w", err)
	}
	tags := map[string][]string{}
	for name, holds := range all {
		for _, h := range holds {
			tags[name] = append(tags[name], h.Tag)
		}
	}
	return tags, nil
}
