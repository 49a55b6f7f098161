package endpoint

import (
	"maps"
	"strings"
	"sync"

	"github.com/cyvive/cyvive/internal/storage/replication"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// maxNames is how many names of a file system are remembered: a run seldom has more steps of one.
const maxNames = 64

// Memory is what a side remembers of a job between requests, so that a step does not look for a snapshot among all that its file system has: by which
// names those were found that requests know by their GUIDs, and what a step in progress has begun with. It is lost without harm: what is remembered is
// read again by its name before it is used, and looked for where it is not there, or is another. The zero one is empty; its methods may be called
// concurrently.
type Memory struct {
	mu sync.Mutex
	// names are whole, by file system and GUID.
	names map[string]map[zfs.GUID]string
	steps map[stepKey]begun
}

// stepKey is a step in progress on one side.
type stepKey struct {
	job, fileSystem string
	receiving       bool
}

// begun is what a step has begun with. Names are whole, with their GUIDs: on the sending side those of the snapshots that it holds, on the receiving side
// those of what has arrived and of what it goes on from.
type begun struct {
	from, to zfs.GUID
	names    map[string]zfs.GUID
}

// forget is for a look at trees, with which a run begins and after which a step may be another: what was begun before in them is known no longer.
func (m *Memory) forget(job string, roots []string) {
	below := func(name string) bool {
		for _, root := range roots {
			if name == root || strings.HasPrefix(name, root+"/") {
				return true
			}
		}
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.names, func(name string, _ map[zfs.GUID]string) bool { return below(name) })
	maps.DeleteFunc(m.steps, func(k stepKey, _ begun) bool { return k.job == job && below(k.fileSystem) })
}

// keep remembers the versions of a file system from one on, in the place of what was known of it.
func (m *Memory) keep(f *replication.FileSystem, from int) {
	names := map[zfs.GUID]string{}
	for _, v := range f.Versions[from:] {
		if len(names) == maxNames {
			break
		}
		if _, there := names[v.GUID]; !there { // of a snapshot and its bookmarks, the snapshot is first
			names[v.GUID] = f.Whole(v)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names == nil {
		m.names = map[string]map[zfs.GUID]string{}
	}
	m.names[f.Name] = names
}

// add remembers one more.
func (m *Memory) add(fileSystem string, guid zfs.GUID, whole string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names == nil {
		m.names = map[string]map[zfs.GUID]string{}
	}
	names := m.names[fileSystem]
	if _, there := names[guid]; names == nil || !there && len(names) >= maxNames {
		names = map[zfs.GUID]string{}
		m.names[fileSystem] = names
	}
	names[guid] = whole
}

// recall returns the whole names of all GUIDs, or nothing.
func (m *Memory) recall(fileSystem string, guids []zfs.GUID) (names map[zfs.GUID]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	names = map[zfs.GUID]string{}
	for _, guid := range guids {
		name, ok := m.names[fileSystem][guid]
		if !ok {
			return nil
		}
		names[guid] = name
	}
	return names
}

// begin remembers a step.
func (m *Memory) begin(k stepKey, b begun) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.steps == nil {
		m.steps = map[stepKey]begun{}
	}
	m.steps[k] = b
}

// end returns a step to a snapshot, and forgets it.
func (m *Memory) end(k stepKey, to zfs.GUID) (begun, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.steps[k]
	delete(m.steps, k)
	return b, ok && b.to == to
}

// since is where the versions begin that the next steps of a job may name: with what its cursor is of, or, as where it receives, the latest.
func since(f *replication.FileSystem, job string) int {
	at := max(len(f.Versions)-1, 0)
	for i, v := range f.Versions {
		if of, _, ok := replication.ParseCursor(v.Name); v.Bookmark && ok && of == job {
			at = i
			break
		}
	}
	for at > 0 && f.Versions[at-1].CreateTXG == f.Versions[at].CreateTXG {
		at--
	}
	return at
}
