package command

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// TestList reads what zfs list is made to print by its source; TestVMList reads what it prints.
func TestList(t *testing.T) {
	recorded, err := os.ReadFile("testdata/list.json")
	if err != nil {
		t.Fatal(err)
	}
	s, calls := fake(t, reply{Stdout: string(recorded)})
	got, err := s.List(t.Context(), zfs.Query{
		Roots: []string{"tank/a"}, Depth: 1, Properties: []string{"name", "compression", "origin", "dev.cyvive:x", "mountpoint", "written"},
	})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1764160000, 0).UTC()
	name := func(s string) zfs.Property { return zfs.Property{Value: s, Source: zfs.SourceNone} }
	want := []zfs.Dataset{
		{Name: "tank/a", Kind: zfs.Filesystem, GUID: 18446744073709551615, CreateTXG: 12, Created: at, Properties: map[string]zfs.Property{
			"name": name("tank/a"), "compression": {Value: "lz4", Source: zfs.SourceInherited, From: "tank"},
			"dev.cyvive:x": {Value: "", Source: zfs.SourceLocal}, "mountpoint": {Value: "/srv/a", Source: zfs.SourceReceived}, "written": name("0"),
		}},
		{Name: "tank/a@2", Kind: zfs.Snapshot, GUID: 7, CreateTXG: 20, Created: at, Properties: map[string]zfs.Property{
			"name": name("tank/a@2"), "dev.cyvive:x": {Value: "-", Source: zfs.SourceLocal}, "written": name("512"),
		}},
		{Name: "tank/a#2", Kind: zfs.Bookmark, GUID: 7, CreateTXG: 20, Created: at, Properties: map[string]zfs.Property{"name": name("tank/a#2")}},
		{Name: "tank/a@1", Kind: zfs.Snapshot, GUID: 8, CreateTXG: 30, Created: at, Properties: map[string]zfs.Property{
			"name": name("tank/a@1"), "dev.cyvive:x": {Value: "007", Source: zfs.SourceInherited, From: "tank/a"}, "written": name("0"),
		}},
		{Name: "tank/a/v", Kind: zfs.Volume, GUID: 9, CreateTXG: 14, Created: at, Properties: map[string]zfs.Property{
			"name": name("tank/a/v"), "compression": {Value: "lz4", Source: zfs.SourceDefault}, "origin": name("tank/a@1"), "written": name("1"),
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("datasets (-want +got):\n%s", diff)
	}
	args := "list -j -p -o guid,creation,guid,compression,guid,origin,guid,dev.cyvive:x,guid,mountpoint,guid,written " +
		"-t filesystem,volume,snapshot,bookmark -d 2 -- tank/a"
	if diff := cmp.Diff([]string{args}, commandLines(calls())); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// TestGet reads what zfs get all is made to print by its source; TestVMGet reads what it prints.
func TestGet(t *testing.T) {
	const answer = `{"output_version":{"command":"zfs get","vers_major":0,"vers_minor":1},"datasets":{"tank/a":{"name":"tank/a","type":"FILESYSTEM","pool":"tank",` +
		`"createtxg":"12","properties":{"type":{"value":"filesystem","source":{"type":"NONE","data":"-"}},"creation":{"value":"1764160000","source":{"type":"NONE","data":"-"}},` +
		`"recordsize":{"value":"131072","source":{"type":"DEFAULT","data":"-"}},"sync":{"value":"disabled","source":{"type":"INHERITED","data":"tank"}},` +
		`"guid":{"value":"7","source":{"type":"NONE","data":"-"}},"org.example:owner":{"value":"a\tb","source":{"type":"LOCAL","data":"-"}},` +
		`"atime":{"value":"off","source":{"type":"RECEIVED","data":"-"}},"receive_resume_token":{"value":"-","source":{"type":"NONE","data":"-"}}}}}}`
	s, calls := fake(t, reply{Stdout: answer})
	got, err := s.Get(t.Context(), "tank/a")
	if err != nil {
		t.Fatal(err)
	}
	want := zfs.Dataset{Name: "tank/a", Kind: zfs.Filesystem, GUID: 7, CreateTXG: 12, Created: time.Unix(1764160000, 0).UTC(), Properties: map[string]zfs.Property{
		"type": {Value: "filesystem", Source: zfs.SourceNone}, "creation": {Value: "1764160000", Source: zfs.SourceNone}, "guid": {Value: "7", Source: zfs.SourceNone},
		"recordsize": {Value: "131072", Source: zfs.SourceDefault}, "sync": {Value: "disabled", Source: zfs.SourceInherited, From: "tank"},
		"org.example:owner": {Value: "a\tb", Source: zfs.SourceLocal}, "atime": {Value: "off", Source: zfs.SourceReceived},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dataset (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"get -j -p -- all tank/a"}, commandLines(calls())); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	for what, r := range map[string]reply{
		"another dataset": {Stdout: strings.ReplaceAll(answer, "tank/a", "tank/b")}, "nothing": {}, "cut off": {Stdout: answer[:len(answer)/2]},
		"no dataset": {Stdout: `{"output_version":{"vers_major":0},"datasets":{}}`}, "a complaint": {Stdout: answer, Stderr: "internal error: out of memory\n"},
	} {
		s, _ := fake(t, r)
		if got, err := s.Get(t.Context(), "tank/a"); err == nil || got.Name != "" {
			t.Errorf("%s: got %+v, %v", what, got, err)
		}
	}
	s, _ = fake(t, reply{Stderr: "cannot open 'tank/a': dataset does not exist\n", Code: 1})
	if _, err := s.Get(t.Context(), "tank/a"); !errors.Is(err, zfs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
}

func TestListArgs(t *testing.T) {
	for _, c := range []struct {
		q    zfs.Query
		want string
	}{
		{zfs.Query{Depth: -1}, "filesystem,volume,snapshot,bookmark -r --"},
		{zfs.Query{Kinds: []zfs.Kind{zfs.Volume}, Depth: 2}, "volume,filesystem -d 2 --"},
		{zfs.Query{Kinds: []zfs.Kind{zfs.Snapshot}, Roots: []string{"tank"}}, "snapshot -d 1 -- tank"},
		{zfs.Query{Kinds: []zfs.Kind{zfs.Filesystem}, Roots: []string{"tank@s", "tank#b", "tank/x/%recv"}},
			"filesystem,volume,snapshot,bookmark -d 1 -- tank@s tank#b tank/x/%recv"},
		{zfs.Query{Kinds: []zfs.Kind{zfs.Snapshot}, Roots: []string{"tank", "tank@s"}, Alone: true}, "filesystem,volume,snapshot,bookmark -- tank tank@s"},
	} {
		args, err := listArgs(c.q)
		if got, ok := strings.CutPrefix(strings.Join(args, " "), "list -j -p -o guid,creation -t "); err != nil || !ok || got != c.want {
			t.Errorf("%+v: got %q, %v, want %q", c.q, args, err, c.want)
		}
	}
	if args, err := listArgs(zfs.Query{Alone: true}); !errors.Is(err, zfs.ErrInvalid) {
		t.Errorf("alone, and no root: got %q, %v", args, err)
	}
}

func TestWanted(t *testing.T) {
	file := []zfs.Kind{zfs.Filesystem}
	for _, c := range []struct {
		q    zfs.Query
		name string
		want bool
	}{
		{zfs.Query{Depth: -1}, "tank/a/b/c", true},
		{zfs.Query{}, "tank", true},
		{zfs.Query{}, "tank@s", true},
		{zfs.Query{}, "tank/a", false},
		{zfs.Query{Depth: 1, Roots: []string{"tank/a"}}, "tank/a/b@s", true},
		{zfs.Query{Depth: 1, Roots: []string{"tank/a"}}, "tank/a/b/c", false},
		{zfs.Query{Depth: 0, Roots: []string{"tank/a"}}, "tank/ab", false},
		{zfs.Query{Depth: 0, Roots: []string{"tank/a", "tank/ab"}}, "tank/ab", true},
		{zfs.Query{Depth: 0, Roots: []string{"tank/a@s"}}, "tank/a@s", true},
		{zfs.Query{Depth: -1, Kinds: []zfs.Kind{zfs.Volume}}, "tank", false},
		{zfs.Query{Depth: -1, Kinds: file}, "tank", true},
	} {
		if got := wanted(c.q, zfs.Dataset{Name: c.name, Kind: zfs.Filesystem}); got != c.want {
			t.Errorf("%+v, %s: got %t", c.q, c.name, got)
		}
	}
}

func TestListErrors(t *testing.T) {
	recorded, err := os.ReadFile("testdata/list.json")
	if err != nil {
		t.Fatal(err)
	}
	whole := string(recorded)
	replace := func(old, by string) string {
		if !strings.Contains(whole, old) {
			t.Fatalf("no %q in the recording", old)
		}
		return strings.Replace(whole, old, by, 1)
	}
	for what, text := range map[string]string{
		"nothing": "", "cut": whole[:len(whole)/2], "no object": "[]", "no version": `{"datasets":{}}`, "no number": `{"output_version":{},"datasets":{}}`,
		"a later version": replace(`"vers_major":0`, `"vers_major":1`), "a type": replace(`"VOLUME"`, `"POOL"`), "a GUID": replace(`"18446744073709551615"`, `"x"`),
		"a time": replace(`"1764160000"`, `"soon"`), "a transaction": replace(`"createtxg":"12"`, `"createtxg":12`), "a source": replace(`"INHERITED"`, `"FOUND"`),
		"a name": replace(`"name":"tank/a"`, `"name":"tank//a"`), "a column": replace(`"origin"`, `"other"`),
		"datasets": `{"output_version":{"vers_major":0},"datasets":[]}`,
	} {
		s, _ := fake(t, reply{Stdout: text})
		got, err := s.List(t.Context(), zfs.Query{Depth: -1, Properties: []string{"compression", "origin"}})
		if err == nil || got != nil {
			t.Errorf("%s: got %d datasets, %v", what, len(got), err)
		}
	}
	s, _ := fake(t, reply{Stdout: whole, Stderr: "cannot open 'tank/no': dataset does not exist\n", Code: 1})
	if got, err := s.List(t.Context(), zfs.Query{}); !errors.Is(err, zfs.ErrNotExist) || got != nil {
		t.Errorf("failed: %v, %v", got, err)
	}
	s, _ = fake(t, reply{Stdout: `{"output_version":{"command":"zfs list","vers_major":0,"vers_minor":1},"datasets":{}}`})
	if got, err := s.List(t.Context(), zfs.Query{}); err != nil || len(got) != 0 {
		t.Errorf("no datasets: %v, %v", got, err)
	}
}

// TestPartialList: zfs exits with 0 where it has left out what it could not read, and says so only on standard error. Such a list is none.
func TestPartialList(t *testing.T) {
	recorded, err := os.ReadFile("testdata/list.json")
	if err != nil {
		t.Fatal(err)
	}
	whole, none := string(recorded), `{"output_version":{"command":"zfs list","vers_major":0,"vers_minor":1},"datasets":{}}`
	for _, c := range []struct {
		stdout, stderr string
		class          error
	}{
		{whole, "cannot iterate filesystems: I/O error\n", nil},
		{whole, "cannot iterate filesystems: pool I/O is currently suspended\n", zfs.ErrSuspended},
		{whole, noDatasets + "\n", nil},
		{none, noDatasets + "\ncannot iterate filesystems: I/O error\n", nil},
		{"", "internal error: out of memory\n", nil},
	} {
		s, _ := fake(t, reply{Stdout: c.stdout, Stderr: c.stderr})
		got, err := s.List(t.Context(), zfs.Query{Depth: -1})
		if err == nil || got != nil || !strings.Contains(err.Error(), strings.TrimSpace(strings.SplitAfter(c.stderr, "\n")[0])) || c.class != nil && !errors.Is(err, c.class) {
			t.Errorf("%q: %d datasets, %v", c.stderr, len(got), err)
		}
	}
	s, _ := fake(t, reply{Stdout: none, Stderr: noDatasets + "\n"})
	if got, err := s.List(t.Context(), zfs.Query{}); err != nil || len(got) != 0 {
		t.Errorf("no datasets: %v, %v", got, err)
	}
	s, _ = fake(t, reply{Stdout: "tank/a@1\tkeep\t1764160000\n", Stderr: "cannot read holds: I/O error\n"})
	if got, err := s.Holds(t.Context(), "tank/a@1", "tank/a@2"); err == nil || got != nil || !strings.Contains(err.Error(), "I/O error") {
		t.Errorf("holds: %v, %v", got, err)
	}
}
