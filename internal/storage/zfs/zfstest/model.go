package zfstest

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Model is one machine's pools, in memory. It implements zfs.System and may be used concurrently.
type Model struct {
	mu       sync.Mutex
	name     string
	txg      uint64
	now      time.Time
	made     uint64
	datasets map[string]*dataset
}

// New returns a machine with empty pools. Its name makes GUIDs differ from those of another; the same calls on the same name give the same GUIDs. The
// clock stands until [Model.Advance].
func New(name string, pools ...string) *Model {
	m := &Model{name: name, txg: 10, now: time.Unix(1_700_000_000, 0), datasets: map[string]*dataset{}}
	for _, pool := range pools {
		m.datasets[pool] = &dataset{name: pool, kind: zfs.Filesystem, guid: m.newGUID(), txg: m.next(), created: m.now, encryption: "off"}
	}
	return m
}

// Advance moves the clock on, or with a negative duration back.
func (m *Model) Advance(by time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(by)
}

// dataset is a file system or volume.
type dataset struct {
	name    string
	kind    zfs.Kind
	guid    zfs.GUID
	txg     uint64
	created time.Time
	size    uint64
	// open says that the device of a volume is in use, and then shut that it takes no writes.
	open, shut bool
	// settings are properties that are set or received.
	settings map[string]setting
	// encryption is the cipher, or off; root the dataset whose key it is, which is nil where it is off.
	encryption string
	root       *dataset
	// contents is what was written, changed the transaction group of the latest change. Both are replaced, never changed in place.
	contents []record
	changed  uint64
	// logged says that its intent log was used; own that OpenZFS alone has written to it since the latest snapshot, which was of such a one.
	logged, own bool
	// large says that blocks of more than 128 KiB were written.
	large     bool
	snapshots []*snapshot
	bookmarks []*bookmark
	origin    *snapshot
	// partial is a receive that runs, or was cut; inconsistent says that the dataset itself is one, and not only about to be followed by another
	// snapshot.
	partial      *partial
	inconsistent bool
}

type snapshot struct {
	of       *dataset
	name     string
	guid     zfs.GUID
	txg      uint64
	created  time.Time
	contents []record
	large    bool
	size     uint64
	user     map[string]setting
	holds    map[string]int64
	// logged is that of the dataset when it was made.
	logged bool
	// sending counts streams that are being read.
	sending int
}

type bookmark struct {
	name    string
	guid    zfs.GUID
	txg     uint64
	created time.Time
	// length is how many records the snapshot had.
	length int
}

// setting is what is set on one dataset: locally, received, or both.
type setting struct{ local, received *string }

// record is one write.
type record struct {
	Name string `json:"name"`
	Data []byte `json:"data"`
}

func (s *snapshot) whole() string { return s.of.name + "@" + s.name }

// next begins a transaction group.
func (m *Model) next() uint64 {
	m.txg++
	return m.txg
}

func (m *Model) newGUID() zfs.GUID {
	m.made++
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d", m.name, m.made)
	// Mixed once more (the finaliser of splitmix64), since the last byte alone hardly moves the high bits of FNV.
	z := h.Sum64()
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return zfs.GUID(z ^ z>>31)
}

// dataset returns a file system or volume.
func (m *Model) dataset(name string) (*dataset, error) {
	if d := m.datasets[name]; d != nil {
		return d, nil
	}
	return nil, fmt.Errorf("open %s: %w", name, zfs.ErrNotExist)
}

// snapshot returns one by its whole name.
func (m *Model) snapshot(name string) (*snapshot, error) {
	of, short, ok := strings.Cut(name, "@")
	if !ok {
		return nil, fmt.Errorf("open %s: %w: no snapshot", name, zfs.ErrInvalid)
	}
	d, err := m.dataset(of)
	if err != nil {
		return nil, err
	}
	if s := d.snapshot(short); s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("open %s: %w", name, zfs.ErrNotExist)
}

func (d *dataset) snapshot(short string) *snapshot {
	for _, s := range d.snapshots {
		if s.name == short {
			return s
		}
	}
	return nil
}

func (d *dataset) bookmark(short string) *bookmark {
	for _, b := range d.bookmarks {
		if b.name == short {
			return b
		}
	}
	return nil
}

// latest is the newest snapshot, or nil.
func (d *dataset) latest() *snapshot {
	if len(d.snapshots) == 0 {
		return nil
	}
	return d.snapshots[len(d.snapshots)-1]
}

// below returns the datasets below one, and that itself, by name.
func (m *Model) below(name string) []*dataset {
	var found []*dataset
	for _, key := range slices.Sorted(maps.Keys(m.datasets)) {
		if key == name || strings.HasPrefix(key, name+"/") {
			found = append(found, m.datasets[key])
		}
	}
	return found
}

// clones returns the datasets that begin with a snapshot. A partial receive on top of one is a clone of it, too (dmu_recv_begin_sync).
func (m *Model) clones(s *snapshot) []string {
	var names []string
	for _, key := range slices.Sorted(maps.Keys(m.datasets)) {
		d := m.datasets[key]
		if d.origin == s {
			names = append(names, key)
		}
		if d.partial != nil && d.partial.base == s {
			names = append(names, key+"/%recv")
		}
	}
	return names
}

// parentOf is the name without its last component, or empty for a pool.
func parentOf(name string) string {
	if i := strings.LastIndexByte(name, '/'); i > 0 {
		return name[:i]
	}
	return ""
}
