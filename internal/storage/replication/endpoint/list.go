package endpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// listed are the properties that a listing is made of.
var listed = append([]string{
	"readonly", "encryption", "encryptionroot", "written", "referenced", "receive_resume_token", "userrefs",
}, replication.OwnProperties()...)

// listPatience is how long a pool may take to tell of its trees where there are others: the largest take some minutes.
const listPatience = 30 * time.Minute

// List implements replication.Endpoint. What a root says of itself is read with its tree. What cannot be read keeps the others from nothing.
func (l *Local) List(ctx context.Context, r replication.ListRequest) (replication.Listing, error) {
	l.memory.forget(r.Job, r.Roots)
	looking, cancel := others(ctx, r.Roots)
	defer cancel()
	states, trees, errs := make([]replication.RootState, len(r.Roots)), make([][]replication.FileSystem, len(r.Roots)), make([]error, len(r.Roots))
	eachPool(r.Roots, func(i int) {
		states[i], trees[i], errs[i] = l.tree(looking, r.Job, r.Roots[i], -1)
		if errs[i] != nil && looking.Err() != nil && ctx.Err() == nil {
			errs[i] = fmt.Errorf("list %s: %w", r.Roots[i], context.Cause(looking))
		}
	})
	var out replication.Listing
	for i, found := range trees {
		if errs[i] != nil {
			continue
		}
		for k := range found {
			l.memory.keep(&found[k], since(&found[k], r.Job))
		}
		out.Roots = append(out.Roots, states[i])
		out.FileSystems = append(out.FileSystems, found...)
	}
	slices.SortFunc(out.FileSystems, func(a, b replication.FileSystem) int { return strings.Compare(a.Name, b.Name) })
	return out, errors.Join(errs...)
}

// others is the context of a look at roots. Where they are in several pools it ends in time for the caller to hear of those that answer.
func others(ctx context.Context, roots []string) (context.Context, context.CancelFunc) {
	if !slices.ContainsFunc(roots, func(root string) bool { return poolOf(root) != poolOf(roots[0]) }) {
		return context.WithCancel(ctx)
	}
	patience := listPatience
	if end, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(end)*4/5)
	}
	return context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %s: its pool may be suspended, or busy; see nodectl pool status: %w",
		patience.Round(time.Second), zfs.ErrSuspended))
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
