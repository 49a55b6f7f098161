package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

// The tests here are of what is this package's: that output is read as it is, and that the real programs are called as they have to be. What a
// zfs.System promises is package zfstest's to test.

// TestVMConformance: real OpenZFS does what its model does, in all parts with LONG=1.
func TestVMConformance(t *testing.T) {
	l := newLab(t)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("0123456789abcdef0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	var parts []string
	if !long() {
		parts = []string{"destroy", "sendFromBookmark", "resumeIncremental"}
	}
	zfstest.Conformance(t, zfstest.Target{System: l, Contents: mounts{}, Root: l.base, Key: "file://" + key}, parts...)
}

// TestVMList compares what is read of the JSON with what zfs get says.
func TestVMList(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	l.all("create -u -o compression=lz4 -o x:y=1 $/a", "create -u $/a/b", "create -s -V 8M $/v")
	for i := range 8 { // of eight GUIDs, one is above 2^63 (by chance, but for 1 in 256)
		l.all("snapshot -o x:own=- $/a@"+string(rune('a'+i)), "bookmark $/a@"+string(rune('a'+i))+" $/a#"+string(rune('a'+i)))
	}
	l.all("clone $/a@c $/c", "set x:y=2 $/a/b", "destroy $/a@b")
	properties := []string{"compression", "x:y", "x:own", "volsize", "origin", "createtxg", "written", "mountpoint", "receive_resume_token"}
	all, err := l.List(l.ctx, zfs.Query{Roots: []string{l.base}, Depth: -1, Properties: properties})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(all, compare) || len(all) != 5+7+8 {
		t.Errorf("%d datasets, in this order: %v", len(all), all)
	}
	for _, d := range all {
		out, err := l.run.Zfs(l.ctx, "get", "-H", "-p", "-o", "property,value,source", "type,guid,createtxg,creation,"+strings.Join(properties, ","), d.Name)
		if err != nil {
			t.Fatal(err)
		}
		checkListed(t, d, string(out))
	}
	for depth, want := range map[int]int{0: 1, 1: 1 + 3 + 7 + 8, 2: len(all)} {
		found, err := l.List(l.ctx, zfs.Query{Roots: []string{l.base}, Depth: depth})
		if err != nil || len(found) != want {
			t.Errorf("depth %d: %d datasets, %v, want %d", depth, len(found), err, want)
		}
	}
	for _, root := range []string{"/v", "/a@c", "/a#b", "/a/b"} {
		found, err := l.List(l.ctx, zfs.Query{Roots: []string{l.base + root}})
		if err != nil || len(found) != 1 || found[0].Name != l.base+root {
			t.Errorf("%s alone: %v, %v", root, found, err)
		}
	}
	if found, err := l.List(l.ctx, zfs.Query{Roots: []string{l.base + "/v"}, Kinds: []zfs.Kind{zfs.Filesystem}}); err != nil || len(found) != 0 {
		t.Errorf("file systems of a volume: %v, %v", found, err)
	}
}

// TestVMGet: all properties are read as zfs get says, those that a dataset has not are left out, and what there is is not only what was set.
func TestVMGet(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	l.all("create -u -o compression=lz4 -o x:y=1 $/a", "create -u -o x:z=-- $/a/b", "create -s -V 8M $/v")
	for _, name := range []string{"/a/b", "/v", ""} {
		d, err := l.Get(l.ctx, l.base+name)
		if err != nil {
			t.Fatal(err)
		}
		out, err := l.run.Zfs(l.ctx, "get", "-H", "-p", "-o", "property,value,source", "all", d.Name)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(string(out), "\n")
		if len(d.Properties) < 30 || len(d.Properties) > len(lines) {
			t.Errorf("%s: %d properties of %d lines", d.Name, len(d.Properties), len(lines))
		}
		// What the pool itself writes meanwhile is in these.
		lines = slices.DeleteFunc(lines, func(line string) bool {
			name, _, _ := strings.Cut(line, "\t")
			return name == "available" || name == "written" || name == "referenced" || strings.Contains(name, "used")
		})
		checkListed(t, d, strings.Join(lines, ""))
	}
	if _, err := l.Get(l.ctx, l.base+"/no"); !errors.Is(err, zfs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
}

// checkListed compares a dataset with lines of zfs get.
func checkListed(t *testing.T, d zfs.Dataset, lines string) {
	t.Helper()
	own := map[string]string{
		"type": string(d.Kind), "guid": d.GUID.String(), "createtxg": zfs.GUID(d.CreateTXG).String(), "creation": zfs.GUID(uint64(d.Created.Unix())).String(),
	}
	for line := range strings.Lines(lines) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		name, value, source := fields[0], fields[1], fields[2]
		if want, ok := own[name]; ok && value != want {
			t.Errorf("%s: %s is %s, and was read as %s", d.Name, name, value, want)
		}
		p, there := d.Properties[name]
		if _, ok := own[name]; ok && !there {
			continue
		}
		absent := value == "-" && source == "-"
		if there == absent || there && p.Value != value {
			t.Errorf("%s: %s is %q of %q, and was read as %+v", d.Name, name, value, source, p)
		}
		kind, from := zfs.Source(strings.ToUpper(source)), ""
		if source == "-" {
			kind = zfs.SourceNone
		}
		if rest, ok := strings.CutPrefix(source, "inherited from "); ok {
			kind, from = zfs.SourceInherited, rest
		}
		if there && (p.Source != kind || p.From != from) {
			t.Errorf("%s: the source of %s is %q, and was read as %+v", d.Name, name, source, p)
		}
	}
}

// TestVMDestroySnapshots: all or none, in two file systems at once.
func TestVMDestroySnapshots(t *testing.T) {
	l := newLab(t)
	l.all("create -u $/a", "snapshot $@1 $/a@1", "snapshot $@2 $/a@2", "snapshot $@3 $/a@3", "hold tag $@1", "clone $/a@2 $/c")
	names := []string{"$@1", "$/a@1", "$/a@2", "$/a@3", "$/a@none", "$/none@1"}
	err := l.DestroySnapshots(l.ctx, l.args(names))
	if !errors.Is(err, zfs.ErrHeld) || !errors.Is(err, zfs.ErrHasDependents) {
		t.Errorf("got %v", err)
	}
	left := func() int {
		all, err := l.List(l.ctx, zfs.Query{Roots: []string{l.base}, Kinds: []zfs.Kind{zfs.Snapshot}, Depth: -1})
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if n := left(); n != 6 {
		t.Errorf("%d are left of 6", n)
	}
	if err := l.DestroySnapshots(l.ctx, l.args([]string{"$@2", "$/a@1", "$/a@none", "$/a@3"})); err != nil {
		t.Error(err)
	}
	if n := left(); n != 3 {
		t.Errorf("%d are left of 6, and 3 were destroyed", n)
	}
	if err := l.DestroySnapshots(l.ctx, []string{"nopool@1"}); !errors.Is(err, zfs.ErrNotExist) {
		t.Errorf("of no pool: %v", err)
	}
}

// TestVMProgram: arguments are texts to a channel program, whatever is in them.
func TestVMProgram(t *testing.T) {
	l := newLab(t)
	odd := []string{`"]] error("x")`, "-n", "--", "a b", ""}
	answer, err := l.run.program(l.ctx, firstPool, `args = ... return args["argv"]`, odd...)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"\"]] error(\"x\")"`, `"-n"`, `"--"`, `"a b"`, `""`} {
		if !strings.Contains(string(answer), want) {
			t.Errorf("got %s, want %s in it", answer, want)
		}
	}
	if _, err := l.run.program(l.ctx, firstPool, `error("on purpose")`); err == nil || !strings.Contains(err.Error(), "on purpose") {
		t.Errorf("got %v", err)
	}
}

// TestVMNotMounted: what is made is not mounted, whatever its mountpoint.
func TestVMNotMounted(t *testing.T) {
	l := newLab(t)
	at := map[string]string{"mountpoint": t.TempDir()}
	if err := l.Create(l.ctx, l.base+"/a", zfs.CreateOptions{Properties: at}); err != nil {
		t.Fatal(err)
	}
	l.all("snapshot $/a@1")
	at = map[string]string{"mountpoint": t.TempDir(), "canmount": "on"}
	if err := errors.Join(l.Clone(l.ctx, l.base+"/a@1", l.base+"/b", at), l.Clone(l.ctx, l.base+"/a@1", l.base+"/a/c", nil)); err != nil {
		t.Fatal(err)
	}
	if err := l.Set(l.ctx, l.base+"/a", map[string]string{"mountpoint": t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if err := l.Receive(l.ctx, zfs.ReceiveSpec{Name: l.base + "/r", Override: at}, bytes.NewReader(l.stream("$/a@1"))); err != nil {
		t.Fatal(err)
	}
	all, err := l.List(l.ctx, zfs.Query{Roots: []string{l.base}, Kinds: []zfs.Kind{zfs.Filesystem}, Depth: -1, Properties: []string{"mounted", "canmount"}})
	if err != nil || len(all) != 5 {
		t.Fatalf("%d file systems, %v", len(all), err)
	}
	for _, d := range all {
		if d.Properties["mounted"].Value != "no" {
			t.Errorf("%s is mounted", d.Name)
		}
	}
	if got := l.shown(l.base+"/b", at); got["canmount"] != "on" {
		t.Errorf("the clone has %v", got)
	}
}

// TestVMForce: a later snapshot of the destination is not destroyed, and what was written to it since is.
func TestVMForce(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	pair(l)
	l.write("$/r", "own", 1<<20)
	step := l.stream("-i", "$/s@1", "$/s@2")
	force := zfs.ReceiveSpec{Name: l.base + "/r", Force: true}
	l.all("snapshot $/r@own")
	if err := l.Receive(l.ctx, force, bytes.NewReader(step)); !errors.Is(err, zfs.ErrModified) && !errors.Is(err, zfs.ErrNoBase) {
		t.Errorf("with a later snapshot: %v", err)
	}
	l.all("destroy $/r@own")
	if err := l.Receive(l.ctx, force, bytes.NewReader(step)); err != nil {
		t.Errorf("written to: %v", err)
	}
	sums := map[string]string{}
	for _, name := range []string{"/s@2", "/r@2", "/r"} {
		sum, err := (mounts{}).Sum(l.ctx, l.base+name)
		if err != nil {
			t.Fatal(err)
		}
		sums[name] = sum
	}
	if sums["/s@2"] != sums["/r@2"] || sums["/r"] != sums["/r@2"] {
		t.Errorf("sums %v", sums)
	}
}

// TestVMKilled: a receive that ends with its context keeps what came, and what it takes to go on.
func TestVMKilled(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	l.all("create -u $/s")
	l.write("$/s", "one", 8<<20)
	l.all("snapshot $/s@1")
	spec := zfs.SendSpec{Snapshot: l.base + "/s@1", Large: true}
	data := l.stream("-L", "-e", "-c", "$/s@1")
	estimate, err := l.Estimate(l.ctx, spec)
	if err != nil || estimate < 8<<20 || estimate > 2*uint64(len(data)) {
		t.Errorf("an estimate of %d bytes for %d, %v", estimate, len(data), err)
	}
	ctx, cancel := context.WithCancel(l.ctx)
	silent, feed := io.Pipe()
	go func() {
		_, _ = feed.Write(data[:len(data)*3/4])
		time.AfterFunc(2*time.Second, cancel) // it has taken them from the pipe by then
	}()
	target := zfs.ReceiveSpec{Name: l.base + "/r", Resumable: true}
	if err := l.Receive(ctx, target, silent); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	feed.Close()
	token := l.token("$/r")
	got, err := l.Token(l.ctx, token)
	if err != nil || got.ToName != l.base+"/s@1" || got.BytesReceived < 1<<20 || !got.Large || got.From != 0 {
		t.Errorf("token: %+v, %v", got, err)
	}
	rest, err := l.Send(l.ctx, zfs.SendSpec{ResumeToken: token, Large: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Receive(l.ctx, target, rest), rest.Close()); err != nil {
		t.Error(err)
	}
	all, err := l.List(l.ctx, zfs.Query{Roots: []string{l.base + "/s@1", l.base + "/r@1"}})
	if err != nil || len(all) != 2 || all[0].GUID != all[1].GUID {
		t.Errorf("snapshots %v, %v", all, err)
	}
}

// TestVMHolds: many at once, or none.
func TestVMHolds(t *testing.T) {
	longOnly(t)
	l := newLab(t)
	l.all("create -u $/a", "snapshot $@1 $/a@1", "snapshot $@2", "hold tag $/a@1")
	names := l.args([]string{"$@1", "$/a@1", "$@2"})
	if err := l.Hold(l.ctx, "tag", append(slices.Clone(names), l.base+"@none")...); !errors.Is(err, zfs.ErrNotExist) {
		t.Errorf("with one that is not there: %v", err)
	}
	tags := func() map[string][]string {
		holds, err := l.Holds(l.ctx, names...)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string][]string{}
		for name, all := range holds {
			for _, h := range all {
				got[strings.TrimPrefix(name, l.base)] = append(got[strings.TrimPrefix(name, l.base)], h.Tag)
				if age := time.Since(time.Unix(h.Since, 0)); age < -time.Minute || age > time.Hour {
					t.Errorf("%s is held since %s", name, age)
				}
			}
		}
		return got
	}
	if diff := cmp.Diff(map[string][]string{"/a@1": {"tag"}}, tags()); diff != "" {
		t.Errorf("after an error (-want +got):\n%s", diff)
	}
	odd := "a tag: with @ and / and ~"
	if err := errors.Join(l.Hold(l.ctx, "tag", names...), l.Hold(l.ctx, "tag", names...), l.Hold(l.ctx, odd, names[0])); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(map[string][]string{"@1": {odd, "tag"}, "/a@1": {"tag"}, "@2": {"tag"}}, tags()); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
	all := append(slices.Clone(names), l.base+"@none", l.base+"/none@1")
	if err := errors.Join(l.Release(l.ctx, "tag", all...), l.Release(l.ctx, "tag", all...), l.Release(l.ctx, odd, names...)); err != nil {
		t.Error(err)
	}
	if got := tags(); len(got) != 0 {
		t.Errorf("after the release: %v", got)
	}
}

// TestVMVersion: the texts of the table are those of one series; another has to be tried before it is shipped.
func TestVMVersion(t *testing.T) {
	newLab(t)
	out, err := exec.Command("/usr/bin/zfs", "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "zfs-2.3.") {
		t.Errorf("got %q, %v: look at the functions that patterns.go names, and at this test, for another series", out, err)
	}
}
