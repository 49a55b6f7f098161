package machined

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/trust/recovery"
	"github.com/cyvive/cyvive/internal/trust/volumes"
)

// diskSafe is a DiskVault with one volume, of the name sealedName, and notes what is done.
type diskSafe struct {
	state volumes.DiskState
	// place says that keys have one, busy that the open volume is in use; fail is the error of opening.
	place, busy bool
	fail        error
	// forged says that another has made what is on the disk, so that no key of the node opens it.
	forged bool
	calls  []string
}

const (
	sealedName   = "pool-0123456789abcdef"
	sealedDevice = "/dev/mapper/cyvive-" + sealedName
)

func (s *diskSafe) note(call string) { s.calls = append(s.calls, call) }

func (s *diskSafe) Encrypts() bool { return s.place }

func (s *diskSafe) Disk(name, _ string) (volumes.DiskState, error) {
	if name != sealedName {
		return volumes.DiskState{}, volumes.ErrNoDisk
	}
	out := s.state
	out.Device = sealedDevice
	return out, nil
}

func (s *diskSafe) MakeDisk(_ context.Context, partition string) (string, error) {
	s.note("make " + partition)
	return "/dev/mapper/new", nil
}

func (s *diskSafe) OpenDisk(_ context.Context, name, partition string) error {
	s.note("open " + name + " " + partition)
	if s.fail == nil {
		s.state.Open, s.state.Stale = true, false
	}
	return s.fail
}

func (s *diskSafe) CloseDisk(_ context.Context, name string) error {
	if s.busy {
		return fmt.Errorf("close %s: %w", name, volumes.ErrOpen)
	}
	s.note("close " + name)
	s.state.Open, s.state.Stale = false, false
	return nil
}

func (s *diskSafe) ExtendDisk(_ context.Context, name string) error {
	s.note("extend " + name)
	return nil
}

func (s *diskSafe) Enrol(_ context.Context, name, partition string) error {
	s.note("enrol " + name + " " + partition)
	return nil
}

func (s *diskSafe) Opens(context.Context, string, string) bool { return s.state.Keyed && !s.forged }

func (s *diskSafe) ForgetDisk(name string) error {
	s.note("forget " + name)
	return nil
}

// sealedDisks are disks of which nvme0n1 has an encrypted volume, which holds a label of a pool if one is given, and is seen when it is open.
func sealedDisks(s *diskSafe, label *pool.Label) (PoolDisks, *diskWorld) {
	w := &diskWorld{}
	w.holds = map[string]func(*pool.Disk){"nvme0n1": func(d *pool.Disk) {
		d.Container = &pool.Container{Name: sealedName, Partition: "/dev/nvme0n1p1", Open: s.state.Open}
		if d.Contents = "an encrypted disk"; s.state.Open {
			d.Contents, d.Label = "", label
		}
	}}
	return PoolDisks{Inventory: someDisks(), System: "vda", Kernel: w, Vault: s}, w
}

// theDisk is nvme0n1 as it is now.
func theDisk(t *testing.T, p PoolDisks) pool.Disk {
	t.Helper()
	all, err := p.Disks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all[1]
}

// TestContainersAreOpened: what the node has a key of is opened, once, and nothing else is.
func TestContainersAreOpened(t *testing.T) {
	label := &pool.Label{Device: sealedDevice, Pool: "tank", PoolGUID: 5, GUID: 6, State: pool.LabelActive}
	open := []string{"open " + sealedName + " /dev/nvme0n1p1"}
	for name, c := range map[string]struct {
		state volumes.DiskState
		fail  error
		calls []string
		seen  bool
		why   string
	}{
		"a key":              {volumes.DiskState{Keyed: true}, nil, open, true, ""},
		"open already":       {volumes.DiskState{Keyed: true, Open: true}, nil, nil, true, ""},
		"no key":             {volumes.DiskState{}, nil, nil, false, ""},
		"pulled before":      {volumes.DiskState{Keyed: true, Stale: true}, nil, nil, false, ""},
		"a copy":             {volumes.DiskState{Keyed: true, Double: true}, nil, nil, false, "another disk that is here has the same"},
		"it does not open":   {volumes.DiskState{Keyed: true}, errors.New("no key of the volume is the one given"), open, false, "no key of the volume"},
		"opened by a person": {volumes.DiskState{Open: true}, nil, nil, true, ""},
	} {
		s := &diskSafe{state: c.state, fail: c.fail}
		p, _ := sealedDisks(s, label)
		d := theDisk(t, p)
		if (d.Label != nil) != c.seen || d.Container == nil || d.Container.Open != c.seen || d.Container.Device != sealedDevice || !strings.Contains(d.Container.Problem, c.why) || c.why == "" && d.Container.Problem != "" {
			t.Errorf("%s: label %+v, %+v", name, d.Label, d.Container)
		}
		if diff := cmp.Diff(c.calls, s.calls); diff != "" || d.Problem != "" {
			t.Errorf("%s: problem %q, calls (-want +got):\n%s", name, d.Problem, diff)
		}
	}
}

// TestCopiesAreNotOpened: of two disks with one encrypted volume neither is opened, nor opened anew, since nobody can tell which is the copy. One that is open stays so, and a
// disk that is seen by two paths is opened once.
func TestCopiesAreNotOpened(t *testing.T) {
	label := &pool.Label{Device: sealedDevice, Pool: "tank", PoolGUID: 5, GUID: 6, State: pool.LabelActive}
	for name, c := range map[string]struct {
		state volumes.DiskState
		wwn   string
		open  bool
		calls []string
	}{
		"both shut":             {volumes.DiskState{Keyed: true}, "", false, nil},
		"pulled, and both here": {volumes.DiskState{Keyed: true, Stale: true}, "", false, nil},
		"one is open":           {volumes.DiskState{Keyed: true, Open: true}, "", true, nil},
		"one, by two paths":     {volumes.DiskState{Keyed: true}, "eui.1", true, []string{"open " + sealedName + " /dev/nvme0n1p1"}},
	} {
		s := &diskSafe{state: c.state, place: true}
		p, w := sealedDisks(s, label)
		w.holds["sdy"] = func(d *pool.Disk) {
			d.Contents, d.Container = "an encrypted disk", &pool.Container{Name: sealedName, Partition: "/dev/sdy1"}
		}
		both := someDisks()
		both[3].SizeBytes, both[3].Wwn = 2<<30, c.wwn
		p.Inventory = both
		all, err := p.Disks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		first := all[1].Container
		if first.Open != c.open || (all[1].Label != nil) != c.open || !c.open && (!first.Double || first.Stale || !strings.Contains(first.Problem, "Take out")) {
			t.Errorf("%s: label %+v, %+v", name, all[1].Label, first)
		}
		if !c.open && (all[3].Container.Open || !all[3].Container.Double) {
			t.Errorf("%s: the other is %+v", name, all[3].Container)
		}
		if d := cmp.Diff(c.calls, s.calls); d != "" {
			t.Errorf("%s: calls (-want +got):\n%s", name, d)
		}
		if c.open {
			continue
		}
		if _, err := p.Reopen(t.Context(), all[1]); !errors.Is(err, errChanged) || len(s.calls) > 0 {
			t.Errorf("%s: opened anew: %v, calls %q", name, err, s.calls)
		}
	}
}

// TestPrepareEncrypts: a volume that is new is used as it is; another is closed, and made anew; and keys go with what they open.
func TestPrepareEncrypts(t *testing.T) {
	const prepare = "prepare /dev/nvme0n1"
	label := &pool.Label{Device: sealedDevice, Pool: "old", PoolGUID: 5, GUID: 6, State: pool.LabelExported}
	for name, c := range map[string]struct {
		state   volumes.DiskState
		label   *pool.Label
		encrypt bool
		leaf    string
		calls   []string
		kernel  []string
	}{
		"new, as it is":        {volumes.DiskState{Keyed: true, Open: true}, nil, true, sealedDevice, nil, nil},
		"new, not encrypted":   {volumes.DiskState{Keyed: true, Open: true}, nil, false, "/dev/nvme0n11", []string{"close " + sealedName, "forget " + sealedName}, []string{prepare}},
		"of a pool":            {volumes.DiskState{Keyed: true, Open: true}, label, true, "/dev/mapper/new", []string{"close " + sealedName, "forget " + sealedName, "make /dev/nvme0n11"}, []string{prepare}},
		"of another node":      {volumes.DiskState{}, nil, true, "/dev/mapper/new", []string{"make /dev/nvme0n11"}, []string{prepare}},
		"pulled before":        {volumes.DiskState{Keyed: true, Stale: true}, nil, false, "/dev/nvme0n11", nil, []string{prepare}},
		"opened by a person":   {volumes.DiskState{Open: true}, nil, true, "/dev/mapper/new", []string{"close " + sealedName, "forget " + sealedName, "make /dev/nvme0n11"}, []string{prepare}},
		"a copy of one in use": {volumes.DiskState{Keyed: true, Double: true}, nil, false, "/dev/nvme0n11", nil, []string{prepare}},
	} {
		s := &diskSafe{state: c.state, place: true}
		p, w := sealedDisks(s, c.label)
		leaf, err := p.Prepare(t.Context(), theDisk(t, p), c.encrypt)
		if err != nil || leaf != c.leaf {
			t.Errorf("%s: got %q, %v, want %q", name, leaf, err, c.leaf)
		}
		if d := cmp.Diff(c.calls, s.calls); d != "" {
			t.Errorf("%s: volumes (-want +got):\n%s", name, d)
		}
		if d := cmp.Diff(c.kernel, w.calls); d != "" {
			t.Errorf("%s: disks (-want +got):\n%s", name, d)
		}
	}
	s := &diskSafe{state: volumes.DiskState{Keyed: true}, place: true, fail: errors.New("no key of the volume is the one given")}
	p, w := sealedDisks(s, label)
	d := theDisk(t, p)
	s.calls = nil
	if _, err := p.Prepare(t.Context(), d, false); err != nil || slices.Contains(s.calls, "forget "+sealedName) || !slices.Equal(w.calls, []string{prepare}) {
		t.Errorf("a header of that name which its key does not open: %v, calls %q, %q", err, s.calls, w.calls)
	}
	s = &diskSafe{state: volumes.DiskState{Keyed: true, Open: true}, place: true, busy: true}
	p, w = sealedDisks(s, label)
	if _, err := p.Prepare(t.Context(), theDisk(t, p), false); !errors.Is(err, volumes.ErrOpen) || len(w.calls) > 0 {
		t.Errorf("in use: %v, calls %q", err, w.calls)
	}
	s.place, s.busy = false, false
	if _, err := p.Prepare(t.Context(), theDisk(t, p), true); !errors.Is(err, volumes.ErrNoPlace) || len(w.calls) > 0 {
		t.Errorf("without a place for its key: %v, calls %q", err, w.calls)
	}
	if p.Encrypts() || (PoolDisks{}).Encrypts() {
		t.Error("disks can be encrypted without a place for keys")
	}
}

// TestForgedMarkForgetsNoKey: a disk that is said to be in the making, under the name of another, takes no key with it that does not open it.
func TestForgedMarkForgetsNoKey(t *testing.T) {
	for name, c := range map[string]struct {
		forged bool
		calls  []string
	}{
		"the node's own": {false, []string{"forget " + sealedName}},
		"forged":         {true, nil},
	} {
		s := &diskSafe{state: volumes.DiskState{Keyed: true}, place: true, forged: c.forged}
		p, w := sealedDisks(s, nil)
		look := w.holds["nvme0n1"]
		w.holds["nvme0n1"] = func(d *pool.Disk) {
			look(d)
			d.Contents, d.Container.Begun = "", true
		}
		if _, err := p.Prepare(t.Context(), theDisk(t, p), false); err != nil || !slices.Equal(w.calls, []string{"prepare /dev/nvme0n1"}) {
			t.Errorf("%s: %v, disks %q", name, err, w.calls)
		}
		if d := cmp.Diff(c.calls, s.calls); d != "" {
			t.Errorf("%s: volumes (-want +got):\n%s", name, d)
		}
	}
}

// TestContainerIsTheSame: what is done to the encrypted volume of a disk is done to the one that was seen, and a disk whose pool was destroyed is wiped with its keys.
func TestContainerIsTheSame(t *testing.T) {
	ctx := t.Context()
	label := &pool.Label{Device: sealedDevice, Pool: "tank", PoolGUID: 5, GUID: 6, State: pool.LabelDestroyed}
	s := &diskSafe{state: volumes.DiskState{Keyed: true, Stale: true}, place: true, busy: true}
	p, w := sealedDisks(s, label)
	d := theDisk(t, p)
	if _, err := p.Reopen(ctx, d); !errors.Is(err, zfs.ErrBusy) {
		t.Errorf("the one before is in use: %v", err)
	}
	s.busy = false
	device, err := p.Reopen(ctx, d)
	if want := []string{"close " + sealedName, "open " + sealedName + " /dev/nvme0n1p1"}; err != nil || device != sealedDevice || !slices.Equal(s.calls, want) {
		t.Errorf("reopened %q, %v, calls %q", device, err, s.calls)
	}
	s.calls = nil
	if device, err := p.Reopen(ctx, d); err != nil || device != sealedDevice || len(s.calls) > 0 {
		t.Errorf("open by now: %q, %v, calls %q", device, err, s.calls)
	}
	other := theDisk(t, p)
	other.Container.Name = "pool-fedcba9876543210"
	for what, err := range map[string]error{"reopen": second(p.Reopen(ctx, other)), "enrol": p.Enrol(ctx, other), "erase": p.Erase(ctx, other)} {
		if !errors.Is(err, errChanged) || len(s.calls)+len(w.calls) > 0 {
			t.Errorf("%s another: %v, calls %q, %q", what, err, s.calls, w.calls)
		}
	}
	d = theDisk(t, p)
	if err := p.Enrol(ctx, d); err != nil || !slices.Equal(s.calls, []string{"enrol " + sealedName + " /dev/nvme0n1p1"}) {
		t.Errorf("enrol: %v, calls %q", err, s.calls)
	}
	s.calls = nil
	if err := p.Grow(ctx, d); err != nil || !slices.Equal(s.calls, []string{"extend " + sealedName}) || !slices.Equal(w.calls, []string{"grow /dev/nvme0n1"}) {
		t.Errorf("grow: %v, calls %q, %q", err, s.calls, w.calls)
	}
	s.calls, w.calls = nil, nil
	wrong := d
	wrong.Label = &pool.Label{GUID: 7}
	if err := p.Erase(ctx, wrong); !errors.Is(err, errChanged) || len(s.calls)+len(w.calls) > 0 {
		t.Errorf("erase a device of another pool: %v, calls %q, %q", err, s.calls, w.calls)
	}
	if err := p.Erase(ctx, d); err != nil || !slices.Equal(s.calls, []string{"close " + sealedName, "forget " + sealedName}) || !slices.Equal(w.calls, []string{"prepare /dev/nvme0n1"}) {
		t.Errorf("erase: %v, calls %q, %q", err, s.calls, w.calls)
	}
}

// TestPoolDisksOverTheAPI: encrypted disks of pools are listed, opened with the recovery key of another node, get other keys, and the recovery key when it is noted.
func TestPoolDisksOverTheAPI(t *testing.T) {
	t.Parallel()
	n, v := sealedNode(t, false)
	api, ctx := disksAPI{n.Agent}, t.Context()
	const foreign = "pool-fedcba9876543210"
	n.update(func(s *snapshot) {
		used := &pool.Container{Name: sealedName, Partition: "/dev/vdb1", Device: sealedDevice, Open: true, Keyed: true, Recoverable: true}
		locked := &pool.Container{Name: foreign, Partition: "/dev/vdc1", Device: "/dev/mapper/cyvive-" + foreign}
		s.pools.Status.Disks = []pool.Disk{{Device: "/dev/vda"}, {Device: "/dev/vdb", Container: used}, {Device: "/dev/vdc", Container: locked}, {Container: &pool.Container{Begun: true}}}
		s.pools.Status.Pools = []pool.PoolStatus{{Name: "tank", Imported: true, Declared: true, Pool: pool.Pool{Vdevs: []pool.Vdev{{Path: sealedDevice}}}}}
	})
	list, err := api.Volumes(ctx)
	if err != nil || len(list) != 4 {
		t.Fatalf("volumes %+v, %v", list, err)
	}
	if u := list[2]; u.Name != sealedName || u.Device != "/dev/vdb1" || !u.Mounted || !u.Encrypted || !u.Recoverable || u.Reason != "" {
		t.Errorf("a disk in use: %+v", u)
	}
	if l := list[3]; l.Name != foreign || l.Mounted || l.Recoverable || !strings.Contains(l.Reason, "nodectl disk recover") {
		t.Errorf("a disk of another node: %+v", l)
	}
	key := v.key.Reveal()
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"another key":          {api.Recover(ctx, foreign, recovery.New().Reveal()), server.ErrInvalid},
		"another key for all":  {api.Recover(ctx, "pools", recovery.New().Reveal()), server.ErrInvalid},
		"one that is open":     {api.Recover(ctx, sealedName, key), server.ErrPrecondition},
		"one that is not here": {api.Recover(ctx, "pool-0000000000000000", key), server.ErrNotFound},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: got %v, want %v", name, c.err, c.want)
		}
	}
	for _, name := range []string{foreign, "pools"} {
		if err := api.Recover(ctx, name, key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if want := foreign + " on /dev/vdc1"; !slices.Equal(v.recovered, []string{want, want}) {
		t.Errorf("recovered %q", v.recovered)
	}
	names, err := api.RotateKeys(ctx)
	if err != nil || !slices.Equal(names, []string{"state", "data", sealedName}) || !slices.Contains(v.rotated, sealedName+" on /dev/vdb1") {
		t.Errorf("rotated %q as %q, %v", v.rotated, names, err)
	}
	if err := api.ForgetRecoveryKey(ctx, key); err != nil || v.asked[sealedName] != "/dev/vdb1" || v.asked[foreign] != "" || len(v.asked) != 3 {
		t.Errorf("asked for %v, %v", v.asked, err)
	}
}

// TestForgetWaitsForPools: a declared pool that is not imported gives the recovery key to none of its disks, so it is not forgotten while one here lacks it.
func TestForgetWaitsForPools(t *testing.T) {
	t.Parallel()
	n, v := sealedNode(t, false)
	api, ctx := disksAPI{n.Agent}, t.Context()
	label := func(name string, guid zfs.GUID) *pool.Label {
		return &pool.Label{Device: sealedDevice, Pool: name, PoolGUID: guid, GUID: 6, State: pool.LabelActive}
	}
	forget := func(p pool.PoolStatus, c pool.Container, l *pool.Label) error {
		c.Name, c.Partition, c.Device = sealedName, "/dev/vdb1", sealedDevice
		n.update(func(s *snapshot) {
			s.pools.Status.Disks, s.pools.Status.Pools = []pool.Disk{{Device: "/dev/vdb", Container: &c, Label: l}}, []pool.PoolStatus{p}
		})
		return api.ForgetRecoveryKey(ctx, v.key.Reveal())
	}
	tank := pool.PoolStatus{Name: "tank", Declared: true}
	byGUID := pool.PoolStatus{Name: "tank", GUID: 5, Declared: true}
	open, shut := pool.Container{Open: true, Keyed: true}, pool.Container{Keyed: true}
	for name, c := range map[string]struct {
		p pool.PoolStatus
		c pool.Container
		l *pool.Label
	}{
		"by its name": {tank, open, label("tank", 5)}, "by its GUID": {byGUID, open, label("other", 5)}, "a disk that is shut": {tank, shut, nil},
	} {
		err := forget(c.p, c.c, c.l)
		if !errors.Is(err, server.ErrUnavailable) || !strings.Contains(err.Error(), "pool tank is not imported") || !strings.Contains(err.Error(), sealedName) || v.forgotten {
			t.Errorf("%s: %v, forgotten %t", name, err, v.forgotten)
		}
	}
	former, recoverable := label("tank", 5), open
	former.Former, recoverable.Recoverable = true, true
	for name, c := range map[string]struct {
		p pool.PoolStatus
		c pool.Container
		l *pool.Label
	}{
		"it has the key": {tank, recoverable, label("tank", 5)}, "a disk of another pool": {tank, open, label("other", 7)}, "of another of that name": {byGUID, open, label("tank", 7)},
		"a disk that was detached": {tank, open, former}, "not declared": {pool.PoolStatus{Name: "tank"}, open, label("tank", 5)},
		"no key of it here": {tank, pool.Container{}, nil},
	} {
		v.forgotten = false
		if err := forget(c.p, c.c, c.l); err != nil || !v.forgotten {
			t.Errorf("%s: %v, forgotten %t", name, err, v.forgotten)
		}
	}
}

// TestResetKeepsDisks: volume state is not wiped while only it has what opens disks of pools, and nobody has said that the recovery key is noted, unless by force.
func TestResetKeepsDisks(t *testing.T) {
	t.Parallel()
	n, v := sealedNode(t, false)
	both := server.ResetOrder{State: true, Data: true}
	has := func(c ...*pool.Container) {
		n.update(func(s *snapshot) {
			s.pools.Status.Disks = nil
			for _, one := range c {
				s.pools.Status.Disks = append(s.pools.Status.Disks, pool.Disk{Container: one})
			}
		})
	}
	refused := func(what, why string) {
		t.Helper()
		err := n.keepsDisks(both)
		if why == "" && err != nil || why != "" && (!errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), sealedName)) {
			t.Errorf("%s: %v, want %q", what, err, why)
		}
	}
	n.update(func(s *snapshot) { s.pooled, s.poolsSeen = true, false })
	if err := n.keepsDisks(both); !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), "not looked at yet") {
		t.Errorf("before the pools were looked at: %v", err)
	}
	n.update(func(s *snapshot) { s.poolsSeen = true })
	has(&pool.Container{Name: "pool-fedcba9876543210"})
	refused("a disk that it has no key of", "")
	used := &pool.Container{Name: sealedName, Open: true, Keyed: true}
	has(used)
	refused("the recovery key does not open it", "no recovery key opens these")
	used = &pool.Container{Name: sealedName, Open: true, Keyed: true, Recoverable: true}
	has(used)
	refused("nobody has noted the key", "nodectl disk recovery-key")
	for _, o := range []server.ResetOrder{{Data: true}, {State: true, Data: true, Forced: true}} {
		if err := n.keepsDisks(o); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if err := v.ForgetRecoveryKey(v.key, nil); err != nil {
		t.Fatal(err)
	}
	refused("it is noted", "")
}

// TestRotateGoesOn: a disk that cannot be written to is told of, and keeps no other from another key.
func TestRotateGoesOn(t *testing.T) {
	t.Parallel()
	n, v := sealedNode(t, false)
	const other = "pool-fedcba9876543210"
	n.update(func(s *snapshot) {
		s.pools.Status.Disks = nil
		for _, name := range []string{sealedName, other} {
			c := &pool.Container{Name: name, Partition: "/dev/" + name, Open: true, Keyed: true}
			s.pools.Status.Disks = append(s.pools.Status.Disks, pool.Disk{Container: c})
		}
	})
	v.mu.Lock()
	v.broken = sealedName
	v.mu.Unlock()
	names, err := disksAPI{n.Agent}.RotateKeys(t.Context())
	if err == nil || !strings.Contains(err.Error(), "input/output error") || !slices.Equal(names, []string{"state", "data", other}) {
		t.Errorf("rotated %q, %v", names, err)
	}
}

// TestRecoverGoesOn: of all disks that a recovery key is to open, one that is damaged keeps no other shut.
func TestRecoverGoesOn(t *testing.T) {
	t.Parallel()
	n, v := sealedNode(t, false)
	const other = "pool-fedcba9876543210"
	n.update(func(s *snapshot) {
		s.pools.Status.Disks = nil
		for _, name := range []string{sealedName, other} {
			s.pools.Status.Disks = append(s.pools.Status.Disks, pool.Disk{Container: &pool.Container{Name: name, Partition: "/dev/" + name}})
		}
	})
	v.mu.Lock()
	v.broken = sealedName
	v.mu.Unlock()
	err := disksAPI{n.Agent}.Recover(t.Context(), "pools", v.key.Reveal())
	if !errors.Is(err, server.ErrPrecondition) || !errors.Is(err, volumes.ErrForm) || !slices.Equal(v.recovered, []string{other + " on /dev/" + other}) {
		t.Errorf("recovered %q, %v", v.recovered, err)
	}
}
