package endpoint

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// of is a file system with a snapshot in each transaction group of a row; a cursor of a job is behind the one of its number.
func of(name, job string, snapshots, cursor int) *replication.FileSystem {
	f := &replication.FileSystem{Name: name}
	for i := range snapshots {
		guid, txg := zfs.GUID(i+1), uint64(10*i)
		f.Versions = append(f.Versions, replication.Version{Name: strconv.Itoa(i), GUID: guid, CreateTXG: txg})
		if i == cursor {
			f.Versions = append(f.Versions, replication.Version{Name: replication.CursorName(job, guid), Bookmark: true, GUID: guid, CreateTXG: txg})
		}
	}
	return f
}

func TestSince(t *testing.T) {
	const job, other = "11111111-2222-4333-8444-555555555555", "66666666-7777-4888-9999-aaaaaaaaaaaa"
	for _, c := range []struct {
		what string
		f    *replication.FileSystem
		want int
	}{
		{"nothing", of("tank/a", job, 0, -1), 0},
		{"no cursor", of("tank/a", job, 5, -1), 4},
		{"another's cursor", of("tank/a", other, 5, 2), 5},
		{"a cursor", of("tank/a", job, 5, 2), 2},
		{"a cursor of the latest", of("tank/a", job, 5, 4), 4},
	} {
		if got := since(c.f, job); got != c.want {
			t.Errorf("%s: from %d on, want %d", c.what, got, c.want)
		}
	}
}

func TestMemory(t *testing.T) {
	const job = "11111111-2222-4333-8444-555555555555"
	var m Memory
	if got := m.recall("tank/a", []zfs.GUID{1}); got != nil {
		t.Errorf("of nothing: %v", got)
	}
	f := of("tank/a", job, 100, 3)
	m.keep(f, since(f, job))
	if diff := cmp.Diff(map[zfs.GUID]string{4: "tank/a@3", 67: "tank/a@66"}, m.recall("tank/a", []zfs.GUID{4, 67})); diff != "" {
		t.Errorf("with a cursor (-want +got):\n%s", diff)
	}
	for what, guids := range map[string][]zfs.GUID{"before it": {3, 4}, "after very many": {4, 68}} {
		if got := m.recall("tank/a", guids); got != nil {
			t.Errorf("%s: %v", what, got)
		}
	}
	m.add("tank/a", 4, "tank/a@new")
	m.add("tank/a", 68, "tank/a@67")
	if got := m.recall("tank/a", []zfs.GUID{4}); got != nil {
		t.Errorf("what was known before one too many: %v", got)
	}
	if diff := cmp.Diff(map[zfs.GUID]string{68: "tank/a@67"}, m.recall("tank/a", []zfs.GUID{68})); diff != "" {
		t.Errorf("the last (-want +got):\n%s", diff)
	}
	key := func(name string) stepKey { return stepKey{job: job, fileSystem: name} }
	for _, name := range []string{"tank/a", "tank/a/b", "tank/ab"} {
		m.add(name, 1, name+"@0")
		m.begin(key(name), begun{to: 1})
	}
	m.begin(stepKey{job: "another", fileSystem: "tank/a"}, begun{to: 1})
	m.forget(job, []string{"tank/a"})
	for name, there := range map[string]bool{"tank/a": false, "tank/a/b": false, "tank/ab": true} {
		_, begun := m.end(key(name), 1)
		if known := m.recall(name, []zfs.GUID{1}) != nil; known != there || begun != there {
			t.Errorf("%s after a look at tank/a: name known %t, step known %t", name, known, begun)
		}
	}
	if _, ok := m.end(stepKey{job: "another", fileSystem: "tank/a"}, 2); ok {
		t.Error("a step to another snapshot")
	}
	if _, ok := m.end(stepKey{job: "another", fileSystem: "tank/a"}, 1); ok {
		t.Error("a step that has ended")
	}
}
