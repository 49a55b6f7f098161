package zfstest

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

func testNames(t *testing.T, b bench) {
	for _, name := range []string{"a%b", "a//b", "", "ä", "a/.", strings.Repeat("x", 256)} {
		b.is("create "+name, b.Create(b.ctx, b.Name("%s", name), zfs.CreateOptions{}), zfs.ErrInvalid)
	}
	b.create("a.b-c_d:e")
	b.is("create again", b.Create(b.ctx, b.Name("a.b-c_d:e"), zfs.CreateOptions{}), zfs.ErrExist)
	b.is("create without parent", b.Create(b.ctx, b.Name("no/x"), zfs.CreateOptions{}), zfs.ErrNotExist)
	b.is("snapshot of none", b.Snapshot(b.ctx, []string{b.Name("no@s")}, nil), zfs.ErrNotExist)
	b.is("snapshot of a bad name", b.Snapshot(b.ctx, []string{b.Name("a.b-c_d:e@s/t")}, nil), zfs.ErrInvalid)
}

func testList(t *testing.T, b bench) {
	b.create("p", "p/z", "p/a")
	b.snapshot("p@2", "p/a@2")
	b.snapshot("p@1")
	b.must(b.Bookmark(b.ctx, b.Name("p@2"), b.Name("p#m")))
	got := b.names("p", -1)
	for _, want := range [][]string{{"p", "p/a", "p/z"}, {"p@2", "p@1"}, {"p/a@2"}, {"p#m"}} {
		kept := slices.DeleteFunc(slices.Clone(got), func(name string) bool { return !slices.Contains(want, name) })
		if diff := cmp.Diff(want, kept); diff != "" {
			t.Errorf("in %v (-want +got):\n%s", got, diff)
		}
	}
	top := b.names("p", 0)
	slices.Sort(top)
	if diff := cmp.Diff([]string{"p", "p#m", "p@1", "p@2"}, top); diff != "" {
		t.Errorf("depth 0 (-want +got):\n%s", diff)
	}
	_, err := b.List(b.ctx, zfs.Query{Roots: []string{b.Name("no")}, Kinds: []zfs.Kind{zfs.Filesystem}, Depth: 0})
	b.is("list none", err, zfs.ErrNotExist)
	alone := func(names ...string) ([]string, error) {
		var roots, got []string
		for _, name := range names {
			roots = append(roots, b.Name("%s", name))
		}
		found, err := b.List(b.ctx, zfs.Query{Roots: roots, Alone: true})
		for _, d := range found {
			got = append(got, strings.TrimPrefix(d.Name, b.Root+"/"))
		}
		slices.Sort(got)
		return got, err
	}
	got, err = alone("p/z", "p", "p#m", "p@1", "p")
	b.must(err)
	if diff := cmp.Diff([]string{"p", "p#m", "p/z", "p@1"}, got); diff != "" {
		t.Errorf("alone (-want +got):\n%s", diff)
	}
	for _, name := range []string{"no", "p@no", "p#no", "no@1"} {
		_, err := alone("p", name)
		b.is("alone, and one of them none: "+name, err, zfs.ErrNotExist)
	}
	if s, m := b.get("p@2"), b.get("p#m"); s.GUID != m.GUID || s.GUID == 0 || s.CreateTXG != m.CreateTXG || s.Kind != zfs.Snapshot || m.Kind != zfs.Bookmark {
		t.Errorf("snapshot %+v and bookmark %+v", s, m)
	}
	if one, two := b.get("p@2"), b.get("p/a@2"); one.CreateTXG != two.CreateTXG || one.GUID == two.GUID {
		t.Errorf("of one transaction: %+v and %+v", one, two)
	}
	if one, two := b.get("p@2"), b.get("p@1"); one.CreateTXG >= two.CreateTXG {
		t.Errorf("one after the other: %+v and %+v", one, two)
	}
}

func testProperties(t *testing.T, b bench) {
	b.must(b.Create(b.ctx, b.Name("p"), zfs.CreateOptions{Properties: map[string]string{"readonly": "on", "canmount": "noauto"}}))
	b.create("p/c")
	want := map[string]zfs.Property{
		"readonly": {Value: "on", Source: zfs.SourceInherited, From: b.Name("p")},
		"canmount": {Value: "on", Source: zfs.SourceDefault},
	}
	if diff := cmp.Diff(want, b.get("p/c", "readonly", "canmount").Properties); diff != "" {
		t.Errorf("child (-want +got):\n%s", diff)
	}
	b.must(b.Set(b.ctx, b.Name("p/c"), map[string]string{"readonly": "off", "canmount": "off"}))
	if got := b.get("p/c", "readonly").Properties["readonly"]; got.Value != "off" || got.Source != zfs.SourceLocal {
		t.Errorf("after set: %+v", got)
	}
	b.must(b.Inherit(b.ctx, b.Name("p/c"), "readonly"))
	if got := b.get("p/c", "readonly").Properties["readonly"]; got != want["readonly"] {
		t.Errorf("after inherit: %+v", got)
	}
	for _, name := range []string{"canmount", "quota", "refreservation"} {
		b.is("inherit "+name, b.Inherit(b.ctx, b.Name("p/c"), name), zfs.ErrInvalid)
	}
	if got := b.get("p/c", "canmount").Properties["canmount"]; got.Value != "off" || got.Source != zfs.SourceLocal {
		t.Errorf("canmount, which cannot be inherited: %+v", got)
	}
	b.is("set none", b.Set(b.ctx, b.Name("p"), map[string]string{"nosuchproperty": "1"}), zfs.ErrInvalid)
	b.is("set a computed one", b.Set(b.ctx, b.Name("p"), map[string]string{"guid": "1"}), zfs.ErrReadOnly, zfs.ErrInvalid)
	b.is("set on none", b.Set(b.ctx, b.Name("no"), map[string]string{"readonly": "on"}), zfs.ErrNotExist)
	b.is("write", b.Write(b.ctx, b.Name("p/c"), "f", []byte("x")), zfs.ErrReadOnly)
}

func testUserProperties(t *testing.T, b bench) {
	const property = "dev.cyvive:test"
	b.create("p", "p/c")
	if got, there := b.get("p", property).Properties[property]; there && got.Source == zfs.SourceLocal {
		t.Errorf("never set: %+v", got)
	}
	b.must(b.Set(b.ctx, b.Name("p"), map[string]string{property: "one"}))
	b.must(b.Snapshot(b.ctx, []string{b.Name("p@s")}, map[string]string{"dev.cyvive:own": "two"}))
	if got := b.get("p/c", property).Properties[property]; got.Value != "one" || got.Source != zfs.SourceInherited || got.From != b.Name("p") {
		t.Errorf("child: %+v", got)
	}
	whole, err := b.Get(b.ctx, b.Name("p/c"))
	b.must(err)
	if got := whole.Properties[property]; got.Value != "one" || got.Source != zfs.SourceInherited || got.From != b.Name("p") {
		t.Errorf("among all of the child: %+v", got)
	}
	if got := whole.Properties["canmount"]; got.Value != "on" || got.Source != zfs.SourceDefault || whole.GUID != b.get("p/c").GUID || whole.Kind != zfs.Filesystem {
		t.Errorf("all of the child: %+v", whole)
	}
	if got, there := whole.Properties["volsize"]; there {
		t.Errorf("a file system has a size: %+v", got)
	}
	_, err = b.Get(b.ctx, b.Name("no"))
	b.is("get none", err, zfs.ErrNotExist)
	if got := b.get("p@s", "dev.cyvive:own").Properties["dev.cyvive:own"]; got.Value != "two" || got.Source != zfs.SourceLocal {
		t.Errorf("snapshot: %+v", got)
	}
	b.must(b.Inherit(b.ctx, b.Name("p"), property))
	if got, there := b.get("p", property).Properties[property]; there && got.Source == zfs.SourceLocal {
		t.Errorf("after inherit: %+v", got)
	}
}

func testDestroy(t *testing.T, b bench) {
	b.create("p", "p/c")
	b.snapshot("p/c@1")
	b.snapshot("p/c@2")
	b.is("with a child", b.Destroy(b.ctx, b.Name("p")), zfs.ErrHasDependents)
	b.is("with snapshots", b.Destroy(b.ctx, b.Name("p/c")), zfs.ErrHasDependents)
	b.must(b.Hold(b.ctx, "tag", b.Name("p/c@2")))
	b.is("with a hold", b.Destroy(b.ctx, b.Name("p/c@2")), zfs.ErrHeld)
	b.is("both", b.DestroySnapshots(b.ctx, []string{b.Name("p/c@1"), b.Name("p/c@2")}), zfs.ErrHeld)
	b.get("p/c@1") // none is gone
	b.must(b.Release(b.ctx, "tag", b.Name("p/c@2")))
	b.must(b.DestroySnapshots(b.ctx, []string{b.Name("p/c@1"), b.Name("p/c@gone"), b.Name("p/c@2")}))
	b.must(b.Destroy(b.ctx, b.Name("p/c")))
	b.is("again", b.Destroy(b.ctx, b.Name("p/c")), zfs.ErrNotExist)
	b.must(b.Destroy(b.ctx, b.Name("p")))
}

func testRename(t *testing.T, b bench) {
	b.create("p", "p/c", "q")
	b.snapshot("p/c@s")
	b.must(b.Hold(b.ctx, "tag", b.Name("p/c@s")))
	before := b.get("p/c@s")
	b.must(b.Rename(b.ctx, b.Name("p"), b.Name("q/r")))
	b.must(b.Rename(b.ctx, b.Name("q/r/c@s"), b.Name("q/r/c@t")))
	if after := b.get("q/r/c@t"); after.GUID != before.GUID || after.CreateTXG != before.CreateTXG {
		t.Errorf("renamed: %+v, before: %+v", after, before)
	}
	b.is("destroy", b.Destroy(b.ctx, b.Name("q/r/c@t")), zfs.ErrHeld)
	b.is("to one that is there", b.Rename(b.ctx, b.Name("q/r/c"), b.Name("q")), zfs.ErrExist)
	b.is("of none", b.Rename(b.ctx, b.Name("p"), b.Name("s")), zfs.ErrNotExist)
	b.is("without parent", b.Rename(b.ctx, b.Name("q/r"), b.Name("no/r")), zfs.ErrNotExist)
}

func testClones(t *testing.T, b bench) {
	b.create("p")
	b.write("p", "f", 1000)
	b.snapshot("p@1")
	b.must(b.Clone(b.ctx, b.Name("p@1"), b.Name("c"), map[string]string{"mountpoint": "none"}))
	b.equal("p@1", "c")
	b.is("destroy the origin", b.Destroy(b.ctx, b.Name("p@1")), zfs.ErrHasDependents)
	if got := b.get("c", "origin").Properties["origin"]; got.Value != b.Name("p@1") {
		t.Errorf("origin: %+v", got)
	}
	b.is("promote what is no clone", b.Promote(b.ctx, b.Name("p")), zfs.ErrInvalid)
	b.must(b.Promote(b.ctx, b.Name("c")))
	b.get("c@1")
	if got := b.get("p", "origin").Properties["origin"]; got.Value != b.Name("c@1") {
		t.Errorf("origin after promote: %+v", got)
	}
}

func testVolumes(t *testing.T, b bench) {
	b.must(b.Create(b.ctx, b.Name("v"), zfs.CreateOptions{SizeBytes: 16 << 20, Sparse: true}))
	if got := b.get("v", "volsize"); got.Kind != zfs.Volume || got.Properties["volsize"].Value != "16777216" {
		t.Errorf("volume: %+v", got)
	}
	b.snapshot("v@1")
	b.must(b.receive("w", b.of("v@1", "")))
	if got := b.get("w", "volsize"); got.Kind != zfs.Volume || got.Properties["volsize"].Value != "16777216" {
		t.Errorf("received: %+v", got)
	}
	b.is("a child", b.Create(b.ctx, b.Name("v/c"), zfs.CreateOptions{}), zfs.ErrInvalid)
}

// testResize: a volume's size is set, a snapshot keeps that which it was made with, and so do a clone and what is rolled back.
func testResize(t *testing.T, b bench) {
	const mib = 1 << 20
	size := func(name string) string { return b.get(name, "volsize").Properties["volsize"].Value }
	b.must(b.Create(b.ctx, b.Name("v"), zfs.CreateOptions{SizeBytes: 8 * mib, Sparse: true, Properties: map[string]string{"volblocksize": "16384"}}))
	b.snapshot("v@s")
	b.must(b.Set(b.ctx, b.Name("v"), map[string]string{"volsize": "16777216"}))
	b.must(b.Clone(b.ctx, b.Name("v@s"), b.Name("c"), nil))
	for name, want := range map[string]string{"v": "16777216", "v@s": "8388608", "c": "8388608"} {
		if got := size(name); got != want {
			t.Errorf("volsize of %s: got %s, want %s", name, got, want)
		}
	}
	b.must(b.Rollback(b.ctx, b.Name("v@s")))
	if got := size("v"); got != "8388608" {
		t.Errorf("volsize of v after a rollback: got %s", got)
	}
	b.is("size that is no multiple", b.Set(b.ctx, b.Name("v"), map[string]string{"volsize": "8388609"}), zfs.ErrInvalid)
	b.is("block size later", b.Set(b.ctx, b.Name("v"), map[string]string{"volblocksize": "8192"}), zfs.ErrReadOnly, zfs.ErrInvalid)
	b.create("fs")
	b.is("size of a file system", b.Set(b.ctx, b.Name("fs"), map[string]string{"volsize": "8388608"}), zfs.ErrInvalid)
}
