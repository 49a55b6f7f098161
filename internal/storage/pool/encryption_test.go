package pool_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/pooltest"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/label"
)

// encryptedMachine is one with encrypted disks s1 and s2 in a mirror.
func encryptedMachine(t *testing.T) (*pooltest.Machine, pool.Spec) {
	t.Helper()
	m := pooltest.New(5)
	m.Keys = true
	spec := tank(mirror("s1", "s2"))
	if s := reach(t, m, spec); !s.Ready || !s.Pools[0].Healthy {
		t.Fatalf("%+v", s)
	}
	return m, spec
}

// TestEncrypted: every disk that a pool gets is encrypted where the node has a place for keys, whatever it comes as, and opens at the next boot.
func TestEncrypted(t *testing.T) {
	m, spec := encryptedMachine(t)
	want(t, m, "prepare s1 encrypted", "prepare s2 encrypted", "create tank", "remember tank", "enrol s1", "enrol s2")
	spec.Pools[0].Vdevs = []pool.VdevSpec{mirror("s1", "s4")}
	reach(t, m, spec)
	want(t, m, "prepare s4 encrypted", "replace tank /dev/mapper/pool-s4", "enrol s4")
	spec.Pools[0].Cache = serials("s5")
	reach(t, m, spec)
	want(t, m, "prepare s5 encrypted", "add tank", "enrol s5")
	m.Off("tank")
	m.Shut()
	if s := reach(t, m, spec); !s.Ready {
		t.Errorf("%+v", s)
	}
	want(t, m, "import tank force=false rewind=false readonly=false")
	spec.Pools[0].Spares = serials("s3")
	reach(t, m, spec)
	want(t, m, "prepare s3 encrypted", "add tank", "enrol s3")
	m.All["s1"].Container.Recoverable = false // as when the node has another recovery key
	m.Loaded["tank"].ReadOnly, spec.Pools[0].ReadOnly = true, true
	reach(t, m, spec)
	want(t, m)
	m.Loaded["tank"].ReadOnly, spec.Pools[0].ReadOnly = false, false
	reach(t, m, spec)
	want(t, m, "enrol s1")
}

// TestEncryptionIsDeclared: what a document says counts; where it says nothing, a pool stays as it is. That disks are encrypted is in what is shown and confirmed.
func TestEncryptionIsDeclared(t *testing.T) {
	m := pooltest.New(3)
	spec := tank(mirror("s1", "s2"))
	spec.Pools[0].Encryption = pool.EncryptAlways
	if s := reach(t, m, spec); len(kinds(s)) != 1 || kinds(s)[0] != pool.NoPlaceForKeys || s.Ready {
		t.Errorf("without a place for keys: %q", kinds(s))
	}
	want(t, m)
	spec.Pools[0].Encryption = pool.EncryptAsFound
	reach(t, m, spec)
	want(t, m, "prepare s1", "prepare s2", "create tank", "remember tank")
	m.Keys = true
	spec.Pools[0].Vdevs = []pool.VdevSpec{mirror("s1", "s3")}
	reach(t, m, spec)
	want(t, m, "prepare s3", "replace tank /dev/vdd1")
	spec.Pools[0].Encryption = pool.EncryptAlways
	if s := reach(t, m, spec); len(kinds(s)) != 1 || kinds(s)[0] != pool.LayoutDiffers || !s.Ready || !strings.Contains(s.Pools[0].Conditions[0].Text, "vdd") {
		t.Errorf("declared to be encrypted, and is not: %+v", s.Pools[0])
	}
	want(t, m)
	spec.Pools[0].Vdevs = []pool.VdevSpec{mirror("s1", "s2")}
	m.All["s2"].Contents = "XFS (file system)"
	s := reach(t, m, spec)
	if lines := waits(s); len(lines) != 1 || !strings.Contains(lines[0], ", encrypted; what the disk holds is lost") {
		t.Errorf("waiting: %q", lines)
	}
	reach(t, m, confirm(spec, s))
	want(t, m, "prepare s2 encrypted", "replace tank /dev/mapper/pool-s2", "enrol s2")

	m = pooltest.New(2)
	m.Keys = true
	spec = tank(mirror("s1", "s2"))
	spec.Pools[0].Encryption = pool.EncryptNever
	reach(t, m, spec)
	want(t, m, "prepare s1", "prepare s2", "create tank", "remember tank")
}

// TestEncryptedReplacement: a disk that joins an encrypted pool is encrypted, also while none of those that are in it can be looked at.
func TestEncryptedReplacement(t *testing.T) {
	obs := pool.Observed{
		Pools: []pool.Pool{{Name: "tank", GUID: 5, State: pool.Degraded, Vdevs: []pool.Vdev{{
			Name: "mirror-0", Type: "mirror", GUID: 6, State: pool.Degraded, Children: []pool.Vdev{
				{Name: "/dev/mapper/pool-s1", Path: "/dev/mapper/pool-s1", Type: "disk", GUID: 7, State: pool.Online},
				{Name: "8", Path: "/dev/mapper/pool-s2", Type: "disk", GUID: 8, State: pool.Unavailable},
			},
		}}}},
		Disks:      []pool.Disk{{Identity: disk.Identity{Serial: "s1"}, Problem: "input/output error"}, {Identity: disk.Identity{Serial: "s3"}}},
		Remembered: map[string]zfs.GUID{"tank": 5}, Encrypts: true,
	}
	ops, _ := pool.Plan(tank(mirror("s1", "s3")), obs)
	if len(ops) != 1 || ops[0].Verb != pool.ReplaceDevice || ops[0].VdevGUID != 8 || !ops[0].Encrypt {
		t.Errorf("operations %v", ops)
	}
	obs.Encrypts = false
	ops, conditions := pool.Plan(tank(mirror("s1", "s3")), obs)
	if len(ops) > 0 || !slices.ContainsFunc(conditions, func(c pool.Condition) bool { return c.Kind == pool.NoPlaceForKeys }) {
		t.Errorf("without a place for its key: operations %v, conditions %v", ops, conditions)
	}
}

// TestEncryptedImport: a pool that is declared to be encrypted is imported from disks that are not when a person has said so, and not before.
func TestEncryptedImport(t *testing.T) {
	const imported = "import tank force=false rewind=false readonly=false"
	m := pooltest.New(2)
	spec := tank(mirror("s1", "s2"))
	reach(t, m, spec)
	m.Off("tank")
	changes(m)
	spec.Pools[0].Encryption = pool.EncryptAlways
	s := reach(t, m, spec)
	if lines := waits(s); s.Ready || !slices.Equal(kinds(s), []pool.Kind{pool.LayoutDiffers}) || len(lines) != 1 || !strings.Contains(lines[0], "is not encrypted, and may be somebody else's: vdb (") {
		t.Errorf("plain disks: %q, waiting %q", kinds(s), lines)
	}
	want(t, m)
	if s := reach(t, m, confirm(spec, s)); !s.Ready {
		t.Errorf("confirmed: %+v", s)
	}
	want(t, m, imported)

	m, spec = encryptedMachine(t)
	spec.Pools[0].Encryption = pool.EncryptAlways
	m.Off("tank")
	m.Shut()
	changes(m)
	forged := *m.All["s2"].Label
	forged.Device = "/dev/vdd1"
	r := pool.New(importer{m, func(i pool.Import) {
		if slices.Contains(i.Devices, forged.Device) || len(i.Devices) != 2 {
			t.Errorf("imported from %q", i.Devices)
		}
	}}, m, m, time.Now)
	obs, err := r.Observe(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	m.All["s3"].Label = &forged
	for _, o := range r.Diff(spec, obs) {
		if err := r.Apply(t.Context(), spec, o); err != nil {
			t.Error(err)
		}
	}
	want(t, m, imported) // in which the disk that has come since has no part
	m.Off("tank")
	m.Shut()
	if s := reach(t, m, spec); s.Ready || len(waits(s)) != 1 || !strings.Contains(waits(s)[0], "serial s3") {
		t.Errorf("a copy that is not encrypted: %q, waiting %q", kinds(s), waits(s))
	}
	want(t, m)
	m.All["s3"].Label = nil
	if s := reach(t, m, spec); !s.Ready {
		t.Errorf("without it: %+v", s)
	}
	want(t, m, imported)
	m.Off("tank")
	m.Shut()
	former := forged
	former.GUID, former.Former = 4711, true
	m.All["s3"].Label = &former
	if s := reach(t, m, spec); !s.Ready {
		t.Errorf("beside a disk that was in the pool, and was replaced: %q, waiting %q", kinds(s), waits(s))
	}
	want(t, m, imported)
}

// TestFormerLabel: a label without a transaction group is that of a device which is in no pool, but for spares and caches, which have none.
func TestFormerLabel(t *testing.T) {
	for _, c := range []struct {
		label  label.Label
		former bool
	}{
		{label.Label{State: label.Active, GUID: 1, TXG: 0}, true}, {label.Label{State: label.Exported, GUID: 1, TXG: 0}, true},
		{label.Label{State: label.Active, GUID: 1, TXG: 4}, false}, {label.Label{State: label.Spare, GUID: 1}, false}, {label.Label{State: label.Cache, GUID: 1}, false},
	} {
		if got := pool.NewLabel("/dev/vdb1", c.label); got.Former != c.former {
			t.Errorf("%+v: %+v", c.label, got)
		}
	}
}

// importer tells what pools are imported from.
type importer struct {
	*pooltest.Machine
	seen func(pool.Import)
}

func (i importer) Import(ctx context.Context, p pool.Import) error {
	i.seen(p)
	return i.Machine.Import(ctx, p)
}

// TestEncryptedPowerCuts: whenever the power fails while an encrypted pool is made, the next boot goes on, without a question.
func TestEncryptedPowerCuts(t *testing.T) {
	const steps = 10 // prepare, enrol each of four, create, remember
	for cut := range steps + 1 {
		m := pooltest.New(4)
		m.Keys, m.PowerIn = true, cut
		spec := tank(mirror("s1", "s2"), mirror("s3", "s4"))
		r := pool.New(m, m, m, time.Now)
		failed := false
		for range 3 {
			obs, err := r.Observe(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range r.Diff(spec, obs) {
				if err := r.Apply(t.Context(), spec, o); err != nil {
					failed = errors.Is(err, pooltest.ErrPower)
					break
				}
			}
		}
		if failed != (cut < steps) {
			t.Errorf("cut %d: failed %t", cut, failed)
		}
		for name := range m.Loaded {
			m.Off(name)
		}
		m.Shut()
		m.PowerIn = -1
		if s := reach(t, m, spec); !s.Ready || len(m.Loaded) != 1 || len(m.On) != 0 {
			t.Errorf("cut %d: %+v", cut, s)
		}
		for _, serial := range []string{"s1", "s2", "s3", "s4"} {
			if c := m.All[serial].Container; c == nil || !c.Open || !c.Recoverable {
				t.Errorf("cut %d: %s is %+v", cut, serial, c)
			}
		}
	}
}

// TestEncryptedPull: a disk that was pulled fails, and nothing says why. It is opened anew and brought back when it is here again, whether ZFS has noticed or not.
func TestEncryptedPull(t *testing.T) {
	for _, busy := range []bool{false, true} {
		m, spec := encryptedMachine(t)
		changes(m)
		m.Busy["s2"] = busy
		m.Pull("s2")
		reach(t, m, spec)
		want(t, m)
		m.Plug("s2")
		m.Move("s2", "vdz")
		s := reach(t, m, spec)
		calls := []string{"reopen s2", "path tank /dev/mapper/pool-s2", "clear tank", "online tank"}
		if busy {
			calls = append([]string{"offline for now tank"}, calls...)
		}
		want(t, m, calls...)
		if !s.Pools[0].Healthy {
			t.Errorf("in use meanwhile %t: %+v", busy, s.Pools[0])
		}
	}
	m, spec := encryptedMachine(t)
	changes(m)
	m.Off("tank")
	m.Pull("s1")
	m.Plug("s1")
	if s := reach(t, m, spec); !s.Ready {
		t.Errorf("a disk of a pool that is not imported: %+v", s)
	}
	want(t, m, "reopen s1", "import tank force=false rewind=false readonly=false")
}

// TestEncryptedSparePull: a spare that was pulled is opened anew when it is here again, though ZFS has not noticed, and nothing tells it.
func TestEncryptedSparePull(t *testing.T) {
	m, spec := encryptedMachine(t)
	spec.Pools[0].Spares = serials("s3")
	reach(t, m, spec)
	changes(m)
	m.Pull("s3")
	vdevs := m.Loaded["tank"].Vdevs
	vdevs[slices.IndexFunc(vdevs, func(v pool.Vdev) bool { return v.Class == pool.Spare })].State = pool.Available
	m.Plug("s3")
	s := reach(t, m, spec)
	want(t, m, "remove tank", "reopen s3", "add tank")
	if !s.Pools[0].Healthy {
		t.Errorf("%+v", s.Pools[0])
	}
}

// TestEncryptedPullIsGoneOnWith: a device that was taken offline to be opened anew is brought back, also when the time of the pass is over meanwhile.
func TestEncryptedPullIsGoneOnWith(t *testing.T) {
	m, spec := encryptedMachine(t)
	changes(m)
	m.Busy["s2"] = true
	m.Pull("s2")
	m.Plug("s2")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	i := impatient{m, cancel}
	r := pool.New(i, i, m, time.Now)
	obs, err := r.Observe(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	ops := r.Diff(spec, obs)
	if len(ops) != 1 || ops[0].Verb != pool.BringOnline {
		t.Fatalf("operations %v", ops)
	}
	if err := r.Apply(ctx, spec, ops[0]); err != nil {
		t.Error(err)
	}
	want(t, m, "offline for now tank", "reopen s2", "path tank /dev/mapper/pool-s2", "clear tank", "online tank")
	if err := r.Apply(ctx, spec, ops[0]); !errors.Is(err, context.Canceled) {
		t.Errorf("begun after its time: %v", err)
	}
	want(t, m)
}

// impatient is a machine on which a pass is over as soon as a device is offline.
type impatient struct {
	*pooltest.Machine
	end context.CancelFunc
}

func (i impatient) OfflineForNow(ctx context.Context, name, vdev string) error {
	err := i.Machine.OfflineForNow(ctx, name, vdev)
	i.end()
	return err
}

func (i impatient) Reopen(ctx context.Context, d pool.Disk) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return i.Machine.Reopen(ctx, d)
}

func (i impatient) Online(ctx context.Context, name, vdev string, expand bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return i.Machine.Online(ctx, name, vdev, expand)
}

// TestEncryptedIsNotPlain: a disk that is not encrypted, and says that it is a device of an encrypted pool, is not brought online as that.
func TestEncryptedIsNotPlain(t *testing.T) {
	m, spec := encryptedMachine(t)
	changes(m)
	forged := *m.All["s2"].Label
	forged.Device = "/dev/vdd1"
	m.Pull("s2")
	for i := range m.Loaded["tank"].Vdevs[0].Children {
		if leaf := &m.Loaded["tank"].Vdevs[0].Children[i]; leaf.State == pool.Faulted {
			leaf.State = pool.Unavailable
		}
	}
	m.All["s3"].Label = &forged
	if s := reach(t, m, spec); s.Pools[0].Healthy {
		t.Errorf("%+v", s.Pools[0])
	}
	want(t, m)

	// The node's own pool is in an encrypted volume of a disk that is not all of a pool's.
	const data = "/dev/mapper/cyvive-data"
	obs := pool.Observed{
		Pools: []pool.Pool{{Name: "node", Vdevs: []pool.Vdev{{Name: data, Path: data, Type: "disk", GUID: 7, State: pool.Online}}}},
		Disks: []pool.Disk{{Identity: disk.Identity{Name: "vda", Serial: "s0"}, Label: &pool.Label{Device: data, Pool: "node", GUID: 7}}},
	}
	if picture := pool.Picture(obs.Pools[0], obs); !strings.Contains(picture, "serial s0") {
		t.Errorf("the node's own pool is on no disk:\n%s", picture)
	}
}

// TestEncryptedIsLeft: what a person took offline stays so, and disks without a key are neither imported nor taken for blank.
func TestEncryptedIsLeft(t *testing.T) {
	m, spec := encryptedMachine(t)
	changes(m)
	m.Pull("s2")
	for i := range m.Loaded["tank"].Vdevs[0].Children {
		if leaf := &m.Loaded["tank"].Vdevs[0].Children[i]; leaf.State == pool.Faulted {
			leaf.State = pool.Offline
		}
	}
	m.Plug("s2")
	reach(t, m, spec)
	want(t, m)
	m.Off("tank")
	m.Shut()
	for _, serial := range []string{"s1", "s2"} {
		m.All[serial].Container.Keyed = false
	}
	m.All["s1"].Container.Problem = "a reason"
	if s := reach(t, m, spec); s.Ready || len(kinds(s)) != 1 || kinds(s)[0] != pool.Missing || !strings.Contains(s.Pools[0].Summary, "serial s1): a reason") {
		t.Errorf("without keys: %q, %s", kinds(s), s.Pools[0].Summary)
	}
	delete(m.Memories, "tank")
	if s := reach(t, m, spec); len(waits(s)) != 1 || !strings.Contains(waits(s)[0], "what its disks hold is lost") {
		t.Errorf("without keys, and never seen: %q", waits(s))
	}
	want(t, m)
}

// TestEncryptedDestroy: with the pool go the keys of its disks, also where the power fails between the two.
func TestEncryptedDestroy(t *testing.T) {
	for cut := range 5 {
		m, spec := encryptedMachine(t)
		changes(m)
		spec.Pools[0].Presence = pool.Destroyed
		sure := confirm(spec, reach(t, m, spec))
		m.PowerIn = cut
		r := pool.New(m, m, m, time.Now)
		obs, err := r.Observe(t.Context(), sure)
		if err != nil {
			t.Fatal(err)
		}
		ops := r.Diff(sure, obs)
		if len(ops) != 1 {
			t.Fatalf("%v", ops)
		}
		if err := r.Apply(t.Context(), sure, ops[0]); (err == nil) != (cut == 4) {
			t.Errorf("cut %d: %v", cut, err)
		}
		m.PowerIn = -1
		if cut == 0 { // the pool is there, and asks again
			continue
		}
		reach(t, m, spec)
		if len(m.Loaded) > 0 || m.Memories["tank"] != 0 {
			t.Errorf("cut %d: loaded %v, remembered %v", cut, m.Loaded, m.Memories)
		}
		for _, serial := range []string{"s1", "s2"} {
			if d := m.All[serial]; d.Container != nil || d.Label != nil {
				t.Errorf("cut %d: %s holds %+v", cut, serial, d.Container)
			}
		}
	}
}

// TestEncryptedSuspended: of a pool that has stopped all I/O, disks that are here again are opened anew; the rest is for a person, who clears its errors.
func TestEncryptedSuspended(t *testing.T) {
	const device = "/dev/mapper/pool-s1"
	obs := pool.Observed{
		Pools: []pool.Pool{{
			Name: "tank", GUID: 5, State: pool.Suspended, Vdevs: []pool.Vdev{{Name: device, Path: device, Type: "disk", GUID: 7, State: pool.Faulted}},
		}},
		Disks:      []pool.Disk{{Identity: disk.Identity{Serial: "s1"}, Container: &pool.Container{Name: "pool-s1", Device: device, Stale: true, Keyed: true}}},
		Remembered: map[string]zfs.GUID{"tank": 5},
	}
	ops, conditions := pool.Plan(tank(pool.VdevSpec{Disks: serials("s1")}), obs)
	if len(ops) != 1 || ops[0].Verb != pool.ReopenDisk || ops[0].Needs != "" || len(conditions) != 1 || conditions[0].Kind != pool.IOSuspended {
		t.Errorf("operations %v, conditions %v", ops, conditions)
	}
	obs.Disks[0].Container.Stale = false
	if ops, _ := pool.Plan(tank(pool.VdevSpec{Disks: serials("s1")}), obs); len(ops) > 0 {
		t.Errorf("operations on a disk that is as it was: %v", ops)
	}
}

// TestLockedIsNotBlank: a node that has no key of a pool's disks, and does not know of the pool, proposes to open them before it makes another of them.
func TestLockedIsNotBlank(t *testing.T) {
	m, spec := encryptedMachine(t)
	m.Off("tank")
	m.Shut()
	clear(m.Memories)
	for _, serial := range []string{"s1", "s2"} {
		d := m.All[serial]
		d.Container.Keyed, d.Label, d.Contents = false, nil, "an encrypted disk"
	}
	changes(m)
	s := reach(t, m, spec)
	want(t, m)
	if got := kinds(s); !slices.Equal(got, []pool.Kind{pool.DiskLocked}) || !strings.Contains(s.Pools[0].Next, "nodectl disk recover pools") || !strings.Contains(s.Reason, pool.NoKey) {
		t.Errorf("%v: %q, next %q", got, s.Reason, s.Pools[0].Next)
	}
	if got := waits(s); len(got) != 1 || !strings.HasPrefix(got[0], "create pool tank") {
		t.Errorf("waits %q", got)
	}
	spec.Pools[0].GUID = 1001
	if s = reach(t, m, spec); !slices.Equal(kinds(s), []pool.Kind{pool.Missing}) || !strings.Contains(s.Reason, pool.NoKey) {
		t.Errorf("with its GUID: %v, %q", kinds(s), s.Reason)
	}
}
