package replication_test

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// same checks that each replica has the latest snapshot of its dataset, and that all that both have is the same.
func (p *pair) same() {
	p.t.Helper()
	p.sameIn(p.listing(p.a, p.src), p.listing(p.b, p.dst))
}

func (p *pair) sameIn(sources, replicas replication.Listing) {
	p.t.Helper()
	compared := 0
	for _, f := range sources.FileSystems {
		snapshots := f.Snapshots()
		r := replicas.Find(p.job.Target(f.Name))
		if len(snapshots) == 0 || f.Placeholder || !p.takes(f.Name) || f.Kind == zfs.Volume {
			continue
		}
		latest := snapshots[len(snapshots)-1]
		if r == nil || r.Snapshot(latest.GUID) == nil {
			p.t.Errorf("%s has not %s\n%s", p.job.Target(f.Name), f.Whole(latest), p.states())
			continue
		}
		for _, v := range snapshots {
			replica := r.Snapshot(v.GUID)
			if replica == nil {
				continue // retention here and there is not the same
			}
			mine, err := p.a.Sum(p.ctx(), f.Whole(v))
			p.must(err)
			theirs, err := p.b.Sum(p.ctx(), r.Whole(*replica))
			p.must(err)
			if mine != theirs {
				p.t.Errorf("%s holds %s, its replica %s", f.Whole(v), mine, theirs)
			}
			compared++
		}
	}
	if compared == 0 {
		p.t.Error("nothing was compared")
	}
}

// takes says whether the job takes a dataset, by rules of the tests: a filter takes out all below a path.
func (p *pair) takes(name string) bool {
	for _, rule := range p.job.Filter {
		if name == rule.Path || strings.HasPrefix(name, rule.Path+"/") {
			return rule.Include
		}
	}
	return true
}

// noneLeft checks what the job keeps on both sides: no step hold, one cursor, one hold on what was received last.
func (p *pair) noneLeft() {
	p.t.Helper()
	p.noneLeftIn(p.listing(p.a, p.src), p.listing(p.b, p.dst))
}

func (p *pair) noneLeftIn(sources, replicas replication.Listing) {
	p.t.Helper()
	keeps := 1
	if p.job.Guarantee == replication.Nothing {
		keeps = 0
	}
	var shut []string
	for _, f := range sources.FileSystems {
		r := replicas.Find(p.job.Target(f.Name))
		cursors := 0
		for _, v := range f.Versions {
			if v.Step {
				p.t.Errorf("%s has a step hold that is left over", f.Whole(v))
			}
			if job, _, ok := replication.ParseCursor(v.Name); ok && v.Bookmark && job == p.job.ID {
				cursors++
			}
		}
		if r == nil || r.Replica != p.job.ID || !p.takes(f.Name) {
			continue
		}
		last := 0
		for _, v := range r.Versions {
			if v.Last {
				last++
			}
		}
		if cursors != keeps || last != keeps || r.Token != "" {
			p.t.Errorf("%s has %d cursors, its replica %d holds and the token %q\n%s", f.Name, cursors, last, r.Token, p.states())
		}
		if r.Kind == zfs.Filesystem {
			shut = append(shut, r.Name)
		}
	}
	p.shut(shut)
}

// shut checks that replicas are read-only and never mounted.
func (p *pair) shut(names []string) {
	p.t.Helper()
	if len(names) == 0 {
		return
	}
	found, err := p.b.List(p.ctx(), zfs.Query{Roots: []string{p.dst}, Kinds: []zfs.Kind{zfs.Filesystem}, Depth: -1, Properties: []string{"canmount", "readonly"}})
	p.must(err)
	seen := 0
	for _, d := range found {
		if !slices.Contains(names, d.Name) {
			continue
		}
		seen++
		if got := d.Properties; got["canmount"].Value != "off" || got["readonly"].Value != "on" {
			p.t.Errorf("replica %s: %+v", d.Name, got)
		}
	}
	if seen != len(names) {
		p.t.Errorf("%d of the replicas %q are listed", seen, names)
	}
}

// wipe takes all away that the pair has made, since pools of virtual machines are small.
func (p *pair) wipe() {
	p.t.Helper()
	for _, s := range []side{p.a, p.b} {
		if err := wipe(s.Target); err != nil {
			p.t.Errorf("wipe: %v\n%s", err, p.states())
		}
	}
}

// wipe destroys all below a root: holds, partial receives, clones, snapshots, bookmarks and file systems. It does at once what can be done so: on a real
// system each call is a program.
func wipe(s zfstest.Target) error {
	ctx := context.Background()
	for range 5 { // clones are in the way of what they are of
		found, err := s.List(ctx, zfs.Query{Roots: []string{s.Root}, Depth: -1, Properties: []string{"receive_resume_token", "userrefs"}})
		if err != nil {
			return err
		}
		if len(found) <= 1 {
			return nil
		}
		if err := letGo(ctx, s, found); err != nil {
			return err
		}
		var snapshots []string
		slices.SortFunc(found, func(a, b zfs.Dataset) int { return strings.Compare(b.Name, a.Name) })
		for _, d := range found {
			if d.Kind == zfs.Snapshot {
				snapshots = append(snapshots, d.Name)
			}
			if len(d.Properties["receive_resume_token"].Value) > 1 {
				_ = s.AbortReceive(ctx, d.Name)
			}
		}
		if len(snapshots) > 0 && s.DestroySnapshots(ctx, snapshots) != nil {
			for _, name := range snapshots {
				_ = s.Destroy(ctx, name)
			}
		}
		for _, d := range found {
			if d.Name != s.Root && (d.Kind == zfs.Filesystem || d.Kind == zfs.Volume) {
				_ = s.Destroy(ctx, d.Name) // with its bookmarks
			}
		}
	}
	return fmt.Errorf("%s: something stays", s.Root)
}

// letGo takes all holds off snapshots.
func letGo(ctx context.Context, s zfstest.Target, found []zfs.Dataset) error {
	var held []string
	for _, d := range found {
		if refs := d.Properties["userrefs"].Value; d.Kind == zfs.Snapshot && refs != "" && refs != "0" && refs != "-" {
			held = append(held, d.Name)
		}
	}
	if len(held) == 0 {
		return nil
	}
	all, err := s.Holds(ctx, held...)
	if err != nil {
		return err
	}
	byTag := map[string][]string{}
	for name, holds := range all {
		for _, h := range holds {
			byTag[h.Tag] = append(byTag[h.Tag], name)
		}
	}
	for tag, names := range byTag {
		if err := s.Release(ctx, tag, names...); err != nil {
			return err
		}
	}
	return nil
}
