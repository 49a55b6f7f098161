package pool_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/pooltest"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// part has the disks of a mirror's halves tell that the pool went on with each without the other.
func part(m *pooltest.Machine, a, b string) {
	one, other := m.All[a].Label, m.All[b].Label
	one.Peers, one.Written = []pool.Peer{{GUID: other.GUID, Away: true}}, m.Now
	other.Peers, other.Written = []pool.Peer{{GUID: one.GUID, Away: true}}, m.Now.Add(time.Hour)
}

// TestApart: a pool is not imported with two halves that were each written to without the other; a person says which is given up, and never both.
func TestApart(t *testing.T) {
	m := pooltest.New(3)
	spec := tank(mirror("s1", "s2"))
	reach(t, m, spec)
	m.Off("tank")
	part(m, "s1", "s2")
	changes(m)
	s := reach(t, m, spec)
	lines := waits(s)
	if d := cmp.Diff([]pool.Kind{pool.DiskApart}, kinds(s)); d != "" || s.Ready || len(lines) != 2 {
		t.Fatalf("%+v, waiting %q (-want +got):\n%s", s, lines, d)
	}
	for n, serials := range [][2]string{{"serial s1", "serial s2"}, {"serial s2", "serial s1"}} {
		what, lost, _ := strings.Cut(lines[n], "; ")
		if !strings.HasPrefix(what, "wipe a disk of pool tank") || !strings.Contains(what, serials[0]) || !strings.Contains(lost, serials[1]) {
			t.Errorf("waiting: %s", lines[n])
		}
	}
	if !strings.Contains(lines[0], "until 2001-09-09T01:46:40Z") || !strings.Contains(lines[1], "until 2001-09-09T02:46:40Z") || !strings.Contains(s.Pools[0].Summary, "2001-09-09T02:46:40Z") {
		t.Errorf("%q, waiting %q", s.Pools[0].Summary, lines)
	}
	want(t, m)
	both := confirm(spec, s)
	r := pool.New(m, m, m, func() time.Time { return m.Now })
	obs, err := r.Observe(t.Context(), both)
	if err != nil {
		t.Fatal(err)
	}
	ops := r.Diff(both, obs)
	if len(ops) != 2 {
		t.Fatalf("%v", ops)
	}
	if err := r.Apply(t.Context(), both, ops[0]); err != nil {
		t.Error(err)
	}
	if err := r.Apply(t.Context(), both, ops[1]); !errors.Is(err, pool.ErrLastCopy) {
		t.Errorf("the other half was given up too: %v, want %v", err, pool.ErrLastCopy)
	}
	want(t, m, "prepare s1")
	if s := reach(t, m, spec); slices.Contains(kinds(s), pool.DiskApart) || len(waits(s)) > 0 {
		t.Errorf("after one was given up: %v, waiting %q", kinds(s), waits(s))
	}
}

// TestApartAtImport: a half that comes just before the import is not imported either.
func TestApartAtImport(t *testing.T) {
	l := &lacking{Machine: pooltest.New(3)}
	spec := tank(mirror("s1", "s2"))
	reach(t, l.Machine, spec)
	l.Off("tank")
	changes(l.Machine)
	r := pool.New(l, l, l, func() time.Time { return l.Now })
	obs, err := r.Observe(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	ops := r.Diff(spec, obs)
	if len(ops) != 1 || ops[0].Verb != pool.ImportPool {
		t.Fatalf("%v", ops)
	}
	part(l.Machine, "s1", "s2")
	if err := r.Apply(t.Context(), spec, ops[0]); err == nil {
		t.Error("it was imported")
	}
	want(t, l.Machine)
}

// TestApartTold: where the pool was told to go on without a disk, it is imported without it; only while it is exported can a person give up the others instead.
func TestApartTold(t *testing.T) {
	m := pooltest.New(3)
	spec := tank(mirror("s1", "s2"))
	reach(t, m, spec)
	m.Off("tank")
	part(m, "s1", "s2")
	m.All["s1"].Label.Peers[0].Offline = true
	changes(m)
	if s := reach(t, m, spec); !slices.Equal(kinds(s), []pool.Kind{pool.DiskApart}) || len(waits(s)) != 2 {
		t.Errorf("the other has gone on for longer: %v, waiting %q", kinds(s), waits(s))
	}
	m.All["s1"].Label.Written = m.Now.Add(2 * time.Hour)
	l := &looked{Machine: m}
	r := pool.New(l, m, m, func() time.Time { return m.Now })
	obs, err := r.Observe(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"/dev/vdb1"}, l.devices); d != "" {
		t.Errorf("devices that it is looked for on (-want +got):\n%s", d)
	}
	if _, conditions := pool.Plan(spec, obs); slices.ContainsFunc(conditions, func(c pool.Condition) bool { return c.Kind == pool.DiskApart }) {
		t.Errorf("%v", conditions)
	}
	m.All["s2"].Label.Peers[0].Offline = true // before the other went on
	if obs, err = r.Observe(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"/dev/vdb1"}, l.devices); d != "" {
		t.Errorf("devices that it is looked for on, where each was told to go on without the other (-want +got):\n%s", d)
	}
	spec.Pools[0].Presence = pool.Exported
	if s := r.Status(spec, obs); !slices.Equal(kinds(s), []pool.Kind{pool.DiskApart}) || len(waits(s)) != 2 {
		t.Errorf("exported: %v, waiting %q", kinds(s), waits(s))
	}
	want(t, m)
}

// TestKeptOut: a disk that was written to without the pool is not brought back beside what the pool has, nor opened by a scrub, before a person has given up what is on it.
func TestKeptOut(t *testing.T) {
	m := pooltest.New(3)
	spec := tank(mirror("s1", "s2"))
	reach(t, m, spec)
	m.Pull("s2")
	part(m, "s1", "s2")
	m.Plug("s2")
	changes(m)
	due := tank(mirror("s1", "s2"))
	due.Pools[0].Scrub = every(0)
	r := pool.New(m, m, m, func() time.Time { return m.Now })
	obs, err := r.Observe(t.Context(), due)
	if err != nil {
		t.Fatal(err)
	}
	var verbs []pool.Verb
	for _, o := range r.Diff(due, obs) {
		verbs = append(verbs, o.Verb)
	}
	if d := cmp.Diff([]pool.Verb{pool.KeepOut}, verbs); d != "" {
		t.Errorf("operations (-want +got):\n%s", d)
	}
	if lines := waits(r.Status(due, obs)); len(lines) > 0 {
		t.Errorf("given up before it is known that the pool can do without it: %q", lines)
	}
	s := reach(t, m, spec)
	want(t, m, "offline tank")
	lines := waits(s)
	if d := cmp.Diff([]pool.Kind{pool.DiskApart}, kinds(s)); d != "" || len(lines) != 1 || !strings.Contains(lines[0], "serial s2") || !strings.Contains(lines[0], "is not in the pool, is lost") {
		t.Errorf("waiting %q (-want +got):\n%s", lines, d)
	}
	if p := s.Pools[0]; !s.Ready || p.Healthy || !strings.Contains(p.Summary, "kept out") || !strings.Contains(p.Next, "confirm that it is wiped") {
		t.Errorf("%+v", p)
	}
	s = reach(t, m, confirm(spec, s))
	want(t, m, "prepare s2", "prepare s2", "replace tank /dev/vdc1")
	if !s.Pools[0].Healthy {
		t.Errorf("after it was given up: %+v", s.Pools[0])
	}
}

// TestKeptOutBoth: while one of two is taken offline, for which ZFS opens all of their vdev, the other is not where it was.
func TestKeptOutBoth(t *testing.T) {
	m := pooltest.New(3)
	spec := tank(mirror("s1", "s2", "s3"))
	reach(t, m, spec)
	first := pool.Peer{GUID: m.All["s1"].Label.GUID, Away: true}
	for _, serial := range []string{"s2", "s3"} {
		m.Pull(serial)
		m.All[serial].Label.Peers = []pool.Peer{first}
	}
	m.Plug("s2")
	m.Plug("s3")
	changes(m)
	s := reach(t, m, spec)
	want(t, m, "path tank /dev/vdd1-kept-out", "offline tank", "offline tank")
	if lines := waits(s); !slices.Equal(kinds(s), []pool.Kind{pool.DiskApart, pool.DiskApart}) || len(lines) != 2 {
		t.Errorf("%v, waiting %q", kinds(s), lines)
	}
}

// TestNotKeptOut: a disk without which ZFS has not all of the pool is brought back, and nobody is asked to have it wiped.
func TestNotKeptOut(t *testing.T) {
	m := pooltest.New(3)
	spec := tank(mirror("s1", "s2"))
	reach(t, m, spec)
	m.Pull("s2")
	part(m, "s1", "s2")
	m.Plug("s2")
	m.Needed = map[string]bool{"s2": true}
	changes(m)
	s := reach(t, m, spec)
	want(t, m, "offline tank", "path tank /dev/vdc1", "online tank")
	if len(kinds(s)) > 0 || len(waits(s)) > 0 || !s.Pools[0].Healthy {
		t.Errorf("%+v", s.Pools[0])
	}
}

// TestNotKeptOutAnyMore: a device is not taken offline for what was seen a while ago.
func TestNotKeptOutAnyMore(t *testing.T) {
	m := pooltest.New(3)
	spec := tank(mirror("s1", "s2"))
	reach(t, m, spec)
	m.Pull("s2")
	part(m, "s1", "s2")
	m.Plug("s2")
	changes(m)
	r := pool.New(m, m, m, func() time.Time { return m.Now })
	obs, err := r.Observe(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	m.All["s2"].Label.Peers = nil
	for _, o := range r.Diff(spec, obs) {
		if err := r.Apply(t.Context(), spec, o); err != nil {
			t.Error(err)
		}
	}
	want(t, m)
}

// TestAstray: what a disk says that comes back to a mirror of three, whose other devices are the first and the second.
func TestAstray(t *testing.T) {
	away, there := func(n zfs.GUID) pool.Peer { return pool.Peer{GUID: n, Away: true} }, func(n zfs.GUID) pool.Peer { return pool.Peer{GUID: n} }
	for name, c := range map[string]struct {
		peers  []pool.Peer
		second pool.State
		txg    uint64 // that of the others is 100
		want   pool.Verb
	}{
		"it was pulled beside all others":            {[]pool.Peer{there(1), there(2)}, pool.Online, 90, pool.BringOnline},
		"it went on alone":                           {[]pool.Peer{away(1), away(2)}, pool.Online, 90, pool.KeepOut},
		"it went on with one that the pool has":      {[]pool.Peer{away(1), there(2)}, pool.Online, 90, pool.BringOnline},
		"it went on with one that the pool has not":  {[]pool.Peer{away(1), there(2)}, pool.Faulted, 90, pool.KeepOut},
		"it went on with one that is no more":        {[]pool.Peer{away(1), there(9)}, pool.Online, 90, pool.KeepOut},
		"it knew none of them":                       {[]pool.Peer{there(9)}, pool.Online, 90, pool.BringOnline},
		"it cannot be read what it knew":             {nil, pool.Online, 0, pool.BringOnline},
		"it has what the pool never came to":         {[]pool.Peer{there(1), there(2)}, pool.Online, 102, pool.KeepOut},
		"the power failed amid the last transaction": {[]pool.Peer{there(1), there(2)}, pool.Online, 101, pool.BringOnline},
	} {
		t.Run(name, func(t *testing.T) {
			mirror := pool.Vdev{Name: "mirror-0", Type: "mirror", GUID: 20, State: pool.Degraded}
			obs := pool.Observed{Remembered: map[string]zfs.GUID{"tank": 7}}
			for n, state := range []pool.State{pool.Online, c.second, pool.Removed} {
				guid, serial := zfs.GUID(n+1), string(rune('1'+n))
				path := "/dev/vd" + string(rune('b'+n)) + "1"
				mirror.Children = append(mirror.Children, pool.Vdev{Name: path, Type: "disk", GUID: guid, Path: path, State: state})
				l := &pool.Label{Device: path, Pool: "tank", PoolGUID: 7, GUID: guid, State: pool.LabelActive, TXG: 100}
				if state == pool.Removed {
					l.Peers, l.TXG = c.peers, c.txg
				}
				obs.Disks = append(obs.Disks, pool.Disk{Identity: disk.Identity{Name: "vd" + string(rune('b'+n)), Serial: "s" + serial}, Devices: []string{path}, Label: l})
			}
			obs.Pools = []pool.Pool{{Name: "tank", GUID: 7, State: pool.Degraded, Vdevs: []pool.Vdev{mirror}}}
			ops, _ := pool.Plan(tank(), obs)
			if i := slices.IndexFunc(ops, func(o pool.Op) bool { return o.VdevGUID == 3 }); i < 0 || ops[i].Verb != c.want {
				t.Errorf("operations %v, want %q first", ops, c.want)
			}
		})
	}
}

// TestApartLinked: two devices each of which was away for the other are not apart where a third was there with both.
func TestApartLinked(t *testing.T) {
	m := pooltest.New(3)
	spec := tank(mirror("s1", "s2", "s3"))
	reach(t, m, spec)
	m.Off("tank")
	part(m, "s1", "s2")
	third := pool.Peer{GUID: m.All["s3"].Label.GUID}
	for _, serial := range []string{"s1", "s2"} {
		m.All[serial].Label.Peers = append(m.All[serial].Label.Peers, third)
	}
	changes(m)
	if s := reach(t, m, spec); !s.Ready {
		t.Errorf("%+v", s)
	}
	want(t, m, "import tank force=false rewind=false readonly=false")
}
