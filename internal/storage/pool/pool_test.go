package pool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/pool/pooltest"
)

// serials are selectors of disks.
func serials(names ...string) []disk.Selector {
	var out []disk.Selector
	for _, n := range names {
		out = append(out, disk.Selector{Serial: n})
	}
	return out
}

func mirror(names ...string) pool.VdevSpec {
	return pool.VdevSpec{Layout: pool.Mirror, Disks: serials(names...)}
}

func tank(vdevs ...pool.VdevSpec) pool.Spec {
	return pool.Spec{Pools: []pool.PoolSpec{{Name: "tank", Vdevs: vdevs}}}
}

// reach runs the domain until it has nothing to do, and returns the status.
func reach(t *testing.T, m *pooltest.Machine, spec pool.Spec) pool.Status {
	t.Helper()
	r := pool.New(m, m, m, func() time.Time { return m.Now })
	for range 20 {
		obs, err := r.Observe(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		ops := r.Diff(spec, obs)
		if len(ops) == 0 {
			return r.Status(spec, obs)
		}
		for _, o := range ops {
			if err := r.Apply(t.Context(), spec, o); err != nil {
				t.Fatalf("%s: %v", o, err)
			}
		}
	}
	t.Fatalf("it does not settle: %q", m.Calls)
	return pool.Status{}
}

// confirm adds confirmations of all that waits.
func confirm(spec pool.Spec, s pool.Status) pool.Spec {
	for _, p := range s.Pools {
		for _, o := range p.Waiting {
			spec.Confirmed = append(spec.Confirmed, pool.Confirmation{Pool: o.Pool, Operation: o.String()})
		}
	}
	return spec
}

// changes returns the calls since the last time.
func changes(m *pooltest.Machine) []string {
	out := m.Calls
	m.Calls = nil
	return out
}

func want(t *testing.T, m *pooltest.Machine, calls ...string) {
	t.Helper()
	if d := cmp.Diff(calls, changes(m)); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
}

// waits returns what waits for a confirmation.
func waits(s pool.Status) []string {
	var out []string
	for _, p := range s.Pools {
		for _, o := range p.Waiting {
			out = append(out, o.String())
		}
	}
	return out
}

func kinds(s pool.Status) []pool.Kind {
	var out []pool.Kind
	for _, p := range s.Pools {
		for _, c := range p.Conditions {
			out = append(out, c.Kind)
			if c.Text == "" || c.Next == "" {
				out = append(out, "without a text")
			}
		}
	}
	return out
}

func TestCreate(t *testing.T) {
	m := pooltest.New(6)
	spec := tank(mirror("s1", "s2"), pool.VdevSpec{Class: pool.Log, Disks: serials("s3")})
	spec.Pools[0].Spares, spec.Pools[0].Cache = serials("s4"), serials("s5")
	s := reach(t, m, spec)
	want(t, m, "prepare s1", "prepare s2", "prepare s3", "prepare s5", "prepare s4", "create tank", "remember tank")
	if !s.Ready || !s.Pools[0].Healthy || s.Pools[0].Summary != "It is well." {
		t.Errorf("%+v", s)
	}
	if m.Looks > 0 {
		t.Errorf("it was looked for pools to import %d times, where there is none", m.Looks)
	}
	picture := `tank         ONLINE
└─ mirror-0  ONLINE
   ├─ vdb1   ONLINE    vdb (1 TB, type ssd, serial s1)
   └─ vdc1   ONLINE    vdc (1 TB, type ssd, serial s2)
log
└─ vdd1      ONLINE    vdd (1 TB, type ssd, serial s3)
cache
└─ vdf1      ONLINE    vdf (1 TB, type ssd, serial s5)
spare
└─ vde1      AVAIL     vde (1 TB, type ssd, serial s4)
`
	if d := cmp.Diff(picture, s.Pools[0].Picture); d != "" {
		t.Errorf("picture (-want +got):\n%s", d)
	}
}

// TestCreateOnData: what a disk holds is lost only with the confirmation of just that.
func TestCreateOnData(t *testing.T) {
	m := pooltest.New(3)
	m.All["s1"].Contents = "XFS (file system)"
	spec := tank(mirror("s1", "s2"))
	s := reach(t, m, spec)
	want(t, m)
	line := "create pool tank: data mirror of vdb (1 TB, type ssd, serial s1) and vdc (1 TB, type ssd, serial s2); " +
		"what its disks hold is lost: vdb (1 TB, type ssd, serial s1) holds XFS (file system)"
	if d := cmp.Diff([]string{line}, waits(s)); d != "" || s.Ready || !strings.Contains(s.Pools[0].Next, `"tank"`) {
		t.Errorf("%+v\n%s", s, d)
	}
	// Another pool's name, and a confirmation of what has changed since, count for nothing.
	wrong := spec
	wrong.Confirmed = []pool.Confirmation{{Pool: "other", Operation: line}, {Pool: "tank", Operation: strings.ReplaceAll(line, "XFS", "ext4")}}
	if s = reach(t, m, wrong); s.Ready {
		t.Error("a wrong confirmation was taken")
	}
	r := pool.New(m, m, m, time.Now)
	obs, err := r.Observe(t.Context(), wrong)
	if err != nil {
		t.Fatal(err)
	}
	all, _ := pool.Plan(wrong, obs)
	if err := r.Apply(t.Context(), wrong, all[0]); !errors.Is(err, pool.ErrUnconfirmed) || !strings.Contains(err.Error(), `"tank"`) {
		t.Errorf("applied without a confirmation: %v", err)
	}
	want(t, m)
	if s = reach(t, m, confirm(spec, s)); !s.Ready {
		t.Errorf("%+v", s)
	}
	want(t, m, "prepare s1", "prepare s2", "create tank", "remember tank")
}

// TestNothingToMakeItOf: a pool that is declared without disks is imported as it is, and is not waited for in silence where it is not here.
func TestNothingToMakeItOf(t *testing.T) {
	m := pooltest.New(2)
	bare := pool.Spec{Pools: []pool.PoolSpec{{Name: "tank"}}}
	if s := reach(t, m, bare); s.Ready || !slices.Equal(kinds(s), []pool.Kind{pool.Missing}) || !strings.Contains(s.Reason, "no disks are declared to make it of") {
		t.Errorf("%+v", s)
	}
	want(t, m)
	reach(t, m, tank(mirror("s1", "s2")))
	m.Off("tank")
	changes(m)
	if s := reach(t, m, bare); !s.Ready || len(kinds(s)) != 0 {
		t.Errorf("%+v", s)
	}
	want(t, m, "import tank force=false rewind=false readonly=false")
}

// TestPowerCuts: whenever the power fails, the next pass goes on, and nothing asks for a confirmation that did not before.
func TestPowerCuts(t *testing.T) {
	for cut := range 8 {
		m := pooltest.New(4)
		m.PowerIn = cut
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
		if failed != (cut < 6) {
			t.Errorf("cut %d: failed %t", cut, failed)
		}
		for name := range m.Loaded {
			m.Off(name)
		}
		m.PowerIn = -1
		if s := reach(t, m, spec); !s.Ready || len(m.Loaded) != 1 || len(m.On) != 0 {
			t.Errorf("cut %d: %+v", cut, s)
		}
	}
}

// TestGrowing: attach, expand, add, and what is taken away only with a confirmation.
func TestGrowing(t *testing.T) {
	m := pooltest.New(8)
	reach(t, m, tank(pool.VdevSpec{Disks: serials("s1")}))
	changes(m)
	reach(t, m, tank(mirror("s1", "s2")))
	want(t, m, "prepare s2", "attach tank /dev/vdc1")
	reach(t, m, tank(mirror("s1", "s2", "s3")))
	want(t, m, "prepare s3", "attach tank /dev/vdd1")
	reach(t, m, tank(mirror("s1", "s2", "s3"), mirror("s4", "s5")))
	want(t, m, "prepare s4", "prepare s5", "add tank")
	less := tank(mirror("s1", "s2"))
	s := reach(t, m, less)
	want(t, m)
	if got := waits(s); len(got) != 2 || !strings.HasPrefix(got[0], "detach from pool tank (") || !strings.HasPrefix(got[1], "remove from pool tank (") {
		t.Errorf("waits: %q", got)
	}
	reach(t, m, confirm(less, s))
	want(t, m, "detach tank", "remove tank")

	single := tank(mirror("s1", "s2"), pool.VdevSpec{Disks: serials("s3")})
	s = reach(t, m, single)
	want(t, m)
	if got := waits(s); len(got) != 1 || !strings.Contains(got[0], "all of the pool is lost when its disk fails") {
		t.Errorf("a disk without redundancy beside a mirror: waits %q", got)
	}

	raidz := func(names ...string) pool.Spec {
		s := tank(pool.VdevSpec{Layout: pool.RAIDZ1, Disks: serials(names...)})
		s.Pools[0].Name = "z"
		return s
	}
	reach(t, m, raidz("s6", "s7"))
	changes(m)
	reach(t, m, raidz("s6", "s7", "s8"))
	want(t, m, "prepare s8", "attach z /dev/vdi1")
	if s := reach(t, m, raidz("s6", "s7")); !slices.Equal(kinds(s), []pool.Kind{pool.LayoutDiffers}) {
		t.Errorf("a narrower RAIDZ: %v", kinds(s))
	}
	want(t, m)
}

// TestDisks: pulled, moved, swapped, replaced.
func TestDisks(t *testing.T) {
	m := pooltest.New(5)
	spec := tank(mirror("s1", "s2"))
	reach(t, m, spec)
	changes(m)

	m.Pull("s2")
	s := reach(t, m, spec)
	want(t, m)
	if s.Pools[0].Healthy || !s.Ready || !slices.Equal(kinds(s), []pool.Kind{pool.DiskMissing}) || !strings.Contains(s.Pools[0].Next, "Plug the disk of /dev/vdc1 in again") {
		t.Errorf("%+v", s.Pools[0])
	}
	m.Move("s2", "vdz")
	m.Move("s3", "vdc") // another disk has its name now
	m.Plug("s2")
	if s = reach(t, m, spec); !s.Pools[0].Healthy {
		t.Errorf("%+v", s.Pools[0])
	}
	want(t, m, "path tank /dev/vdz1", "online tank")

	// Another disk is declared in its place: it is replaced, whether it is there or not.
	reach(t, m, tank(mirror("s1", "s3")))
	want(t, m, "prepare s3", "replace tank /dev/vdc1")
	m.Pull("s3")
	reach(t, m, tank(mirror("s1", "s4")))
	want(t, m, "prepare s4", "replace tank /dev/vde1")

	// One that is in another pool is not taken.
	other := pool.Spec{Pools: []pool.PoolSpec{tank(mirror("s1", "s4")).Pools[0], {Name: "other", Vdevs: []pool.VdevSpec{{Disks: serials("s5")}}}}}
	reach(t, m, other)
	changes(m)
	other.Pools[0].Vdevs[0].Disks = serials("s1", "s5")
	if s = reach(t, m, other); !slices.Contains(kinds(s), pool.DiskSwapped) {
		t.Errorf("%v", kinds(s))
	}
	want(t, m)
}

// TestNameTaken: a device whose old name another disk has now, where ZFS has looked for it, comes back under its own. One that cannot be read where it is does not.
func TestNameTaken(t *testing.T) {
	m := pooltest.New(3)
	spec := tank(mirror("s1", "s2"))
	reach(t, m, spec)
	changes(m)
	leaf := &m.Loaded["tank"].Vdevs[0].Children[1]
	leaf.State, leaf.Reason = pool.Faulted, "CORRUPT_DATA"
	reach(t, m, spec)
	want(t, m)
	leaf.Path = "/dev/vdd1"
	if s := reach(t, m, spec); !s.Ready {
		t.Errorf("%+v", s)
	}
	want(t, m, "path tank /dev/vdc1", "online tank")
}

// TestStaysOut: a device that stays out of use is brought online once, told of, and in the way of nothing; it is tried again after a while, or when its disk comes anew.
func TestStaysOut(t *testing.T) {
	m := pooltest.New(3)
	spec := tank(mirror("s1", "s2"))
	reach(t, m, spec)
	m.Pull("s2")
	m.Plug("s2")
	m.Dead["s2"] = true
	changes(m)
	r := pool.New(m, m, m, func() time.Time { return m.Now })
	step := func(spec pool.Spec) (pool.Status, error) {
		t.Helper()
		obs, err := r.Observe(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range r.Diff(spec, obs) {
			if err := r.Apply(t.Context(), spec, o); err != nil {
				return r.Status(spec, obs), err
			}
		}
		return r.Status(spec, obs), nil
	}
	for range 2 {
		if _, err := step(spec); !errors.Is(err, pool.ErrStaysOut) {
			t.Errorf("brought online: %v, want %v", err, pool.ErrStaysOut)
		}
		want(t, m, "path tank /dev/vdc1", "online tank")
		s, err := step(spec)
		if err != nil || !slices.Equal(kinds(s), []pool.Kind{pool.DeviceFails}) || !strings.Contains(s.Pools[0].Conditions[0].Next, "nodectl pool online tank ") {
			t.Errorf("tried again at once: %+v, %v", s.Pools[0], err)
		}
		want(t, m)
		m.Now = m.Now.Add(time.Hour)
	}
	if _, err := step(spec); !errors.Is(err, pool.ErrStaysOut) {
		t.Errorf("after a while: %v", err)
	}
	changes(m)
	m.Pull("s2")
	if _, err := step(spec); err != nil {
		t.Error(err)
	}
	m.Plug("s2")
	if _, err := step(spec); !errors.Is(err, pool.ErrStaysOut) {
		t.Errorf("plugged in anew: %v", err)
	}
	want(t, m, "path tank /dev/vdc1", "online tank")
	if _, err := step(tank(mirror("s1", "s3"))); err != nil {
		t.Errorf("another in its place: %v", err)
	}
	want(t, m, "prepare s3", "replace tank /dev/vdd1")
}

// TestSpareAndCacheComeBack: a spare or cache that was pulled, or that was not found where it was at the import, is added anew where its disk is now; what a person took
// offline, or what stands in, is left alone.
func TestSpareAndCacheComeBack(t *testing.T) {
	m := pooltest.New(5)
	spec := tank(mirror("s1", "s2"))
	spec.Pools[0].Spares, spec.Pools[0].Cache = serials("s3"), serials("s4")
	reach(t, m, spec)
	m.Pull("s3")
	m.Pull("s4")
	changes(m)
	if s := reach(t, m, spec); !slices.Equal(kinds(s), []pool.Kind{pool.DiskMissing, pool.DiskMissing}) {
		t.Errorf("%+v", s.Pools[0])
	}
	want(t, m)
	m.Plug("s3")
	m.Plug("s4")
	m.Move("s3", "vdy")
	m.Move("s4", "vdz")
	s := reach(t, m, spec)
	want(t, m, "remove tank", "add tank", "remove tank", "add tank")
	if p := s.Pools[0]; !p.Healthy || len(p.Conditions) > 0 || !strings.Contains(p.Picture, "vdy1") || !strings.Contains(p.Picture, "vdz1") {
		t.Errorf("%+v", p)
	}
	single := func(class pool.Class) *pool.Vdev {
		vdevs := m.Loaded["tank"].Vdevs
		return &vdevs[slices.IndexFunc(vdevs, func(v pool.Vdev) bool { return v.Class == class })]
	}
	// At an import another disk was where it had been.
	spare := single(pool.Spare)
	spare.State, spare.Reason, spare.Path = pool.Faulted, "CORRUPT_DATA", "/dev/vdf1"
	reach(t, m, spec)
	want(t, m, "remove tank", "add tank")
	for name, change := range map[string]func(){
		"offline":    func() { single(pool.Cache).State = pool.Offline },
		"its errors": func() { single(pool.Cache).State, single(pool.Cache).Reason = pool.Faulted, "ERR_EXCEEDED" },
		"stands in":  func() { single(pool.Spare).State = pool.InUse },
	} {
		change()
		reach(t, m, spec)
		if got := changes(m); len(got) > 0 {
			t.Errorf("%s: %q", name, got)
		}
	}
	single(pool.Spare).State = pool.Removed
	m.Loaded["tank"].Checkpoint = &pool.Checkpoint{}
	if s := reach(t, m, spec); !slices.Equal(kinds(s), []pool.Kind{pool.HasCheckpoint}) {
		t.Errorf("with a checkpoint: %+v", s.Pools[0])
	}
	want(t, m)
}

// TestReadOnly: a pool that is declared read-only is imported so, also where its features allow no more. Nothing of it is changed, be it that it is imported for writing.
func TestReadOnly(t *testing.T) {
	m := pooltest.New(4)
	reach(t, m, tank(mirror("s1", "s2")))
	changes(m)
	spec := tank(mirror("s1", "s2"))
	spec.Pools[0].ReadOnly, spec.Pools[0].Properties = true, map[string]string{"autotrim": "off"}
	spec.Pools[0].Spares, spec.Pools[0].Scrub = serials("s3"), every(time.Hour)
	m.All["s1"].GrowableBytes = 1 << 30
	s := reach(t, m, spec)
	want(t, m)
	if p := s.Pools[0]; !s.Ready || p.Healthy || !slices.Equal(kinds(s), []pool.Kind{pool.Writable}) || !strings.Contains(p.Next, "Reboot the node") {
		t.Errorf("imported for writing: %+v", s)
	}
	for _, problem := range []pool.Problem{pool.Ready, pool.NewerForWriting} {
		m.Off("tank")
		m.Problems["tank"] = problem
		s = reach(t, m, spec)
		want(t, m, "import tank force=false rewind=false readonly=true")
		if !s.Ready || !s.Pools[0].Healthy || len(kinds(s)) > 0 || !m.Loaded["tank"].ReadOnly {
			t.Errorf("%q: %+v", problem, s)
		}
	}
	spec.Pools[0].ReadOnly = false
	if s = reach(t, m, spec); !s.Ready || !slices.Equal(kinds(s), []pool.Kind{pool.ReadOnly}) {
		t.Errorf("declared to be written: %+v", s)
	}
	want(t, m)
}

// TestAmbiguousSelector: a device whose selector has come to mean several disks keeps its place, and a new disk takes that of the device that is gone.
func TestAmbiguousSelector(t *testing.T) {
	m := pooltest.New(5)
	reach(t, m, tank(mirror("s1", "s2", "s3")))
	m.Pull("s2")
	changes(m)
	s := reach(t, m, tank(mirror("s?", "s3", "s4")))
	want(t, m, "prepare s4", "replace tank /dev/vde1")
	if m.All["s1"].Label == nil || m.All["s2"].Label != nil {
		t.Error("the device that is well was replaced")
	}
	if !slices.Equal(kinds(s), []pool.Kind{pool.DiskMissing}) || !strings.Contains(s.Pools[0].Conditions[0].Text, "disks match serial=s?") {
		t.Errorf("%+v", s.Pools[0].Conditions)
	}
}

// TestLateDevice: which of the devices that are gone a disk that is not here stands for cannot be told, so none is replaced; and none that is well is replaced for a selector
// that means no disk.
func TestLateDevice(t *testing.T) {
	raidz := func(names ...string) pool.Spec {
		return tank(pool.VdevSpec{Layout: pool.RAIDZ2, Disks: serials(names...)})
	}
	made := func() *pooltest.Machine {
		m := pooltest.New(6)
		reach(t, m, raidz("s1", "s2", "s3", "s4"))
		changes(m)
		return m
	}
	m := made()
	m.Pull("s2") // for good
	m.Pull("s4") // late
	s := reach(t, m, raidz("s1", "s5", "s3", "s4"))
	want(t, m)
	if !slices.Equal(kinds(s), []pool.Kind{pool.DiskMissing, pool.DiskMissing}) || !strings.Contains(s.Pools[0].Conditions[1].Text, "may be any of /dev/vdc1 and /dev/vde1") {
		t.Errorf("%+v", s.Pools[0].Conditions)
	}
	m.Plug("s4")
	reach(t, m, raidz("s1", "s5", "s3", "s4"))
	want(t, m, "path tank /dev/vde1", "online tank", "prepare s5", "replace tank /dev/vdf1")
	if m.All["s4"].Label == nil || m.All["s2"].Label != nil {
		t.Error("the late device was replaced")
	}

	m = made()
	m.Pull("s2")
	reach(t, m, raidz("s1", "s5", "s3", "misspelt"))
	want(t, m, "prepare s5", "replace tank /dev/vdf1")
	if m.All["s4"].Label == nil || m.All["s2"].Label != nil {
		t.Error("the device that is well was replaced")
	}

	// Of two that are well, the one that the selector was for is not replaced by chance.
	m = made()
	s = reach(t, m, raidz("s1", "s5", "s3", "misspelt"))
	want(t, m)
	if !slices.Equal(kinds(s), []pool.Kind{pool.DiskMissing, pool.DiskMissing}) {
		t.Errorf("%+v", s.Pools[0].Conditions)
	}
}

// TestSpareForGood: a spare that is declared in the place of the device that it stands in for stays there, once a person has given that device up.
func TestSpareForGood(t *testing.T) {
	m := pooltest.New(3)
	spec := tank(mirror("s1", "s2"))
	spec.Pools[0].Spares = serials("s3")
	reach(t, m, spec)
	m.Pull("s2")
	m.StandIn("tank", "s2", "s3")
	changes(m)
	if s := reach(t, m, spec); len(waits(s)) != 0 {
		t.Errorf("the device is declared, and given up: %q", waits(s))
	}
	if s := reach(t, m, tank(mirror("s1", "s2", "s3"))); len(waits(s)) != 0 {
		t.Errorf("both are declared, and one is given up: %q", waits(s))
	}
	spec = tank(mirror("s1", "s3"))
	s := reach(t, m, spec)
	want(t, m)
	if got := waits(s); len(got) != 1 || !strings.HasPrefix(got[0], "detach from pool tank (1001): /dev/vdc1 (") || len(kinds(s)) != 0 ||
		!strings.Contains(s.Pools[0].Next, "Plug the disk of /dev/vdc1 in again") || !strings.Contains(s.Pools[0].Next, `Confirm with the pool's name, "tank"`) {
		t.Errorf("waits %q, %v, %s", got, kinds(s), s.Pools[0].Next)
	}
	if s = reach(t, m, confirm(spec, s)); !s.Pools[0].Healthy || len(m.Loaded["tank"].Vdevs) != 1 {
		t.Errorf("%+v", s.Pools[0])
	}
	want(t, m, "detach tank")
}

// TestConditions: what a person resolves, and nothing is done for.
func TestConditions(t *testing.T) {
	spec := tank(mirror("s1", "s2"))
	rewind := tank(mirror("s1", "s2"))
	rewind.Pools[0].Rewind = true
	for name, test := range map[string]struct {
		spec    pool.Spec
		change  func(m *pooltest.Machine)
		want    []pool.Kind
		waiting int
	}{
		"missing":         {spec, func(m *pooltest.Machine) { m.Pull("s1"); m.Pull("s2") }, []pool.Kind{pool.Missing}, 0},
		"incomplete":      {spec, func(m *pooltest.Machine) { m.Pull("s1") }, []pool.Kind{pool.DevicesMissing}, 0},
		"newer":           {spec, func(m *pooltest.Machine) { m.Problems["tank"] = pool.Newer }, []pool.Kind{pool.PoolNewer}, 0},
		"newer to write":  {spec, func(m *pooltest.Machine) { m.Problems["tank"] = pool.NewerForWriting }, []pool.Kind{pool.PoolNewer}, 0},
		"elsewhere":       {spec, func(m *pooltest.Machine) { m.Problems["tank"] = pool.Active }, []pool.Kind{pool.InUseElsewhere}, 0},
		"elsewhere once":  {spec, func(m *pooltest.Machine) { m.Problems["tank"] = pool.OtherSystem }, nil, 1},
		"damaged":         {spec, func(m *pooltest.Machine) { m.Problems["tank"] = pool.Damaged }, []pool.Kind{pool.PoolDamaged}, 0},
		"damaged, rewind": {rewind, func(m *pooltest.Machine) { m.Problems["tank"] = pool.Damaged }, []pool.Kind{pool.PoolDamaged}, 1},
		"two of one name": {spec, func(m *pooltest.Machine) { second(t, m) }, []pool.Kind{pool.TwoOfOneName}, 0},
		"another one": {spec, func(m *pooltest.Machine) {
			second(t, m)
			m.Pull("s1")
			m.Pull("s2")
			m.Memories["tank"] = 1001
		}, []pool.Kind{pool.OtherPool}, 0},
	} {
		m := pooltest.New(4)
		reach(t, m, spec)
		m.Off("tank")
		changes(m)
		test.change(m)
		changes(m)
		s := reach(t, m, test.spec)
		if d := cmp.Diff(test.want, kinds(s)); d != "" || s.Ready || len(waits(s)) != test.waiting || len(changes(m)) > 0 {
			t.Errorf("%s: ready %t, waits %q, conditions (-want +got):\n%s", name, s.Ready, waits(s), d)
		}
		if s.Pools[0].Summary == "" || s.Pools[0].Next == "" {
			t.Errorf("%s: %+v", name, s.Pools[0])
		}
		if test.waiting == 0 {
			continue
		}
		if s = reach(t, m, confirm(test.spec, s)); !s.Ready {
			t.Errorf("%s, confirmed: %+v", name, s)
		}
		if got := changes(m); len(got) == 0 || !strings.HasPrefix(got[0], "import tank") || !strings.Contains(got[0], "=true") {
			t.Errorf("%s, confirmed: %q", name, got)
		}
	}
}

// TestSystemDisk: the device of the node's own pool, which others import, is not opened to look for pools.
func TestSystemDisk(t *testing.T) {
	m := pooltest.New(2)
	m.All["s0"].Label = &pool.Label{Device: "/dev/vda6", Pool: "node", PoolGUID: 77, GUID: 78, State: pool.LabelActive}
	l := &looked{Machine: m}
	r := pool.New(l, m, m, func() time.Time { return m.Now })
	look := func() {
		t.Helper()
		if _, err := r.Observe(t.Context(), pool.Spec{}); err != nil {
			t.Fatal(err)
		}
	}
	if look(); m.Looks != 0 {
		t.Errorf("looked for pools %d times, on %q", m.Looks, l.devices)
	}
	reach(t, m, tank(mirror("s1", "s2")))
	m.Off("tank")
	m.Looks = 0
	if look(); m.Looks != 1 || !slices.Equal(l.devices, []string{"/dev/vdb1", "/dev/vdc1"}) {
		t.Errorf("looked for pools %d times, on %q", m.Looks, l.devices)
	}
}

// looked is a machine that notes where it is looked for pools.
type looked struct {
	*pooltest.Machine
	devices []string
}

func (l *looked) Importable(ctx context.Context, devices []string) ([]pool.Importable, error) {
	l.devices = devices
	return l.Machine.Importable(ctx, devices)
}

// TestCopiedDisk: a pool is not imported while a copy of one of its disks is here, whichever lies where the device was; a disk that is seen by two paths is no copy.
func TestCopiedDisk(t *testing.T) {
	const imported = "import tank force=false rewind=false readonly=false"
	m := pooltest.New(3)
	spec := tank(pool.VdevSpec{Disks: serials("s1")})
	reach(t, m, spec)
	m.Off("tank")
	changes(m)
	copied := *m.All["s1"].Label
	copied.Device = "/dev/vdd1"
	m.All["s3"].Label = &copied
	s := reach(t, m, spec)
	if d := cmp.Diff([]pool.Kind{pool.DiskCopied}, kinds(s)); d != "" || s.Ready || len(waits(s)) > 0 || !strings.Contains(s.Pools[0].Summary, "serial s1") || !strings.Contains(s.Pools[0].Summary, "serial s3") {
		t.Errorf("with a copy: %+v (-want +got):\n%s", s.Pools[0], d)
	}
	want(t, m)
	m.Pull("s3")
	if s := reach(t, m, spec); !s.Ready {
		t.Errorf("without it: %+v", s)
	}
	want(t, m, imported)
	m.Off("tank")
	m.Plug("s3")
	for _, serial := range []string{"s1", "s3"} {
		m.All[serial].WWN = "eui.1"
	}
	if s := reach(t, m, spec); !s.Ready {
		t.Errorf("a disk that is seen twice: %+v", s)
	}
	want(t, m, imported)
}

// TestCopyIsLeft: beside a disk of a pool that is imported, nothing is written to a copy of it, nor is that brought online in its place.
func TestCopyIsLeft(t *testing.T) {
	m := pooltest.New(3)
	spec := tank(mirror("s2", "s3"))
	reach(t, m, spec)
	changes(m)
	copied := *m.All["s2"].Label
	copied.Device = "/dev/vdb1"
	m.All["s1"].Label, m.All["s1"].GrowableBytes = &copied, 1<<30 // it is larger, and comes first
	if s := reach(t, m, spec); !s.Pools[0].Healthy {
		t.Errorf("beside a copy: %+v", s.Pools[0])
	}
	want(t, m)
	m.Pull("s2")
	m.Plug("s2")
	s := reach(t, m, spec)
	if lines := waits(s); s.Pools[0].Healthy || len(lines) != 1 || !strings.HasPrefix(lines[0], "replace in pool tank") || !strings.Contains(lines[0], "serial s2") {
		t.Errorf("pulled, and here again beside its copy: %+v, waiting %q", s.Pools[0], lines)
	}
	want(t, m)
	m.Pull("s1")
	if s := reach(t, m, spec); !s.Pools[0].Healthy {
		t.Errorf("without the copy: %+v", s.Pools[0])
	}
	want(t, m, "path tank /dev/vdc1", "online tank")
}

// TestClaim: that another system used a pool last is not always told before an import is refused; from then on somebody can confirm that it is forced.
func TestClaim(t *testing.T) {
	m := pooltest.New(2)
	spec := tank(mirror("s1", "s2"))
	reach(t, m, spec)
	m.Off("tank")
	m.Claimed["tank"] = true
	changes(m)
	r := pool.New(m, m, m, func() time.Time { return m.Now })
	step := func(spec pool.Spec) (pool.Status, error) {
		t.Helper()
		obs, err := r.Observe(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range r.Diff(spec, obs) {
			if err := r.Apply(t.Context(), spec, o); err != nil {
				return r.Status(spec, obs), err
			}
		}
		return r.Status(spec, obs), nil
	}
	for range 2 {
		if _, err := step(spec); !errors.Is(err, pool.ErrUsedElsewhere) || !errors.Is(err, pool.ErrInUseElsewhere) {
			t.Errorf("got %v", err)
		}
		want(t, m, "import tank force=false rewind=false readonly=false")
		s, err := step(spec)
		if got := waits(s); err != nil || len(got) != 1 || !strings.Contains(got[0], "against the claim of another system") {
			t.Errorf("it waits for %q, %v", got, err)
		}
		want(t, m)
		m.Now = m.Now.Add(time.Hour) // it may have been exported meanwhile
	}
	_, _ = step(spec)
	changes(m)
	s, _ := step(spec)
	if _, err := step(confirm(spec, s)); err != nil {
		t.Error(err)
	}
	want(t, m, "import tank force=true rewind=false readonly=false")

	// One that is damaged too.
	m.Off("tank")
	m.Problems["tank"] = pool.Damaged
	spec.Pools[0].Rewind = true
	r = pool.New(m, m, m, func() time.Time { return m.Now })
	if s, _ = step(spec); !slices.Equal(kinds(s), []pool.Kind{pool.PoolDamaged}) || len(waits(s)) != 1 {
		t.Fatalf("%v, waits %q", kinds(s), waits(s))
	}
	if _, err := step(confirm(spec, s)); err != nil {
		t.Error(err)
	}
	want(t, m, "import tank force=true rewind=true readonly=false")
}

// lacking has pools that lack a device which they can do without.
type lacking struct {
	*pooltest.Machine
	missing []string
}

func (l *lacking) Importable(ctx context.Context, devices []string) ([]pool.Importable, error) {
	found, err := l.Machine.Importable(ctx, devices)
	for i := range found {
		found[i].State, found[i].Missing = pool.Degraded, l.missing
	}
	return found, err
}

// TestLateDisk: a mirror is not imported without its other half the moment that one half is found: the other may only be slower, and the newer one.
func TestLateDisk(t *testing.T) {
	l := &lacking{Machine: pooltest.New(3), missing: []string{"/dev/vdc1"}}
	spec := tank(mirror("s1", "s2"))
	reach(t, l.Machine, spec)
	r := pool.New(l, l, l, func() time.Time { return l.Now })
	step := func() pool.Status {
		t.Helper()
		obs, err := r.Observe(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range r.Diff(spec, obs) {
			if err := r.Apply(t.Context(), spec, o); err != nil {
				t.Fatal(err)
			}
		}
		return r.Status(spec, obs)
	}
	for _, comes := range []bool{true, false} {
		l.Off("tank")
		l.missing = []string{"/dev/vdc1"}
		changes(l.Machine)
		s := step()
		want(t, l.Machine)
		if got := kinds(s); !slices.Equal(got, []pool.Kind{pool.DevicesMissing}) || !strings.Contains(s.Reason, "/dev/vdc1") {
			t.Errorf("conditions %v, %q", got, s.Reason)
		}
		if comes {
			l.missing = nil
		} else {
			if s.Late != 45*time.Second {
				t.Errorf("it is looked for again after %s", s.Late)
			}
			l.Now = l.Now.Add(s.Late - time.Second)
			s = step()
			want(t, l.Machine)
			l.Now = l.Now.Add(s.Late)
		}
		step()
		want(t, l.Machine, "import tank force=false rewind=false readonly=false")
		if s = step(); s.Late != 0 { // it is imported, and the next time counts from its beginning
			t.Errorf("it is waited for: %s", s.Late)
		}
	}
}

// TestLostLog: a pool whose log is gone is not imported without a word, and neither kept back for ever.
func TestLostLog(t *testing.T) {
	m := pooltest.New(3)
	spec := tank(mirror("s1", "s2"), pool.VdevSpec{Class: pool.Log, Disks: serials("s3")})
	reach(t, m, spec)
	m.Off("tank")
	m.Pull("s3")
	changes(m)
	s := reach(t, m, spec)
	want(t, m)
	if got := waits(s); len(got) != 1 || !slices.Equal(kinds(s), []pool.Kind{pool.DevicesMissing}) ||
		got[0] != "import pool tank (1001), without its log; what was written last is lost, so far as only its log has it: /dev/vdd1" {
		t.Errorf("waits %q, %v", got, kinds(s))
	}
	// It comes after all.
	m.Plug("s3")
	reach(t, m, spec)
	want(t, m, "import tank force=false rewind=false readonly=false")

	m.Off("tank")
	m.Pull("s3")
	changes(m)
	if s = reach(t, m, confirm(spec, s)); !s.Ready {
		t.Errorf("confirmed: %+v", s)
	}
	want(t, m, "import tank force=false rewind=false readonly=false withoutlog=true")
}

// second makes another pool with the name on other disks.
func second(t *testing.T, m *pooltest.Machine) {
	t.Helper()
	delete(m.Memories, "tank")
	hidden := m.On
	m.On = map[string]*pool.Pool{}
	reach(t, m, tank(mirror("s3", "s4")))
	m.Off("tank")
	for k, p := range hidden {
		m.On[k] = p
	}
}

// TestGUID: of two pools of one name, the one that is declared is imported, and the other is told of and left alone.
func TestGUID(t *testing.T) {
	m := pooltest.New(4)
	spec := tank(mirror("s1", "s2"))
	reach(t, m, spec)
	spec.Pools[0].GUID = m.Loaded["tank"].GUID
	m.Off("tank")
	second(t, m)
	changes(m)
	s := reach(t, m, spec)
	want(t, m, "import tank force=false rewind=false readonly=false", "remember tank")
	if !s.Ready || !slices.Equal(kinds(s), []pool.Kind{pool.TwoOfOneName}) || len(m.On) != 1 {
		t.Errorf("%+v", s)
	}
}

func TestDestroyAndForget(t *testing.T) {
	m := pooltest.New(2)
	spec := tank(mirror("s1", "s2"))
	reach(t, m, spec)
	changes(m)
	gone := pool.Spec{Pools: []pool.PoolSpec{{Name: "tank", Presence: pool.Destroyed}}}
	s := reach(t, m, gone)
	want(t, m)
	if got := waits(s); len(got) != 1 || !strings.HasPrefix(got[0], "destroy pool tank (1001); all that is in it is lost") {
		t.Errorf("%q", got)
	}
	// It is in use until then: what is in it changes between the question and the answer.
	m.Loaded["tank"].AllocatedBytes += 5 << 20
	if again := reach(t, m, gone); waits(again)[0] != waits(s)[0] || again.Pools[0].Waiting[0].Loss() != "all that is in it is lost: 5 MiB on 2 devices" ||
		!strings.Contains(again.Pools[0].Next, "about 5 MiB on 2 devices") {
		t.Errorf("%q, %q", waits(again), again.Pools[0].Next)
	}
	reach(t, m, confirm(gone, s))
	want(t, m, "destroy tank", "remember tank")
	if len(m.Memories) != 0 {
		t.Error("it is still remembered")
	}
	// What is on its disks is a destroyed pool's now, and asked about again.
	if s = reach(t, m, spec); len(waits(s)) != 1 || !strings.Contains(waits(s)[0], "holds part of pool tank (1001), destroyed") {
		t.Errorf("%q", waits(s))
	}
	// One whose disks are gone for good is forgotten by declaring it destroyed.
	m = pooltest.New(4)
	reach(t, m, spec)
	m.Off("tank")
	m.Pull("s1")
	m.Pull("s2")
	changes(m)
	reach(t, m, gone)
	want(t, m, "remember tank")
	if s = reach(t, m, tank(mirror("s3", "s4"))); !s.Ready {
		t.Errorf("%+v", s)
	}
}

// TestDestroyAfterReboot: a pool that is to be destroyed, and for which nobody has confirmed that, waits for it after a reboot too.
func TestDestroyAfterReboot(t *testing.T) {
	m := pooltest.New(4)
	spec := tank(mirror("s1", "s2"))
	reach(t, m, spec)
	gone := pool.Spec{Pools: []pool.PoolSpec{{Name: "tank", Presence: pool.Destroyed, ReadOnly: true}}}
	reach(t, m, gone)
	m.Off("tank")
	changes(m)
	r := pool.New(m, m, m, func() time.Time { return m.Now })
	obs, err := r.Observe(t.Context(), gone)
	if s := r.Status(gone, obs); err != nil || !strings.Contains(s.Pools[0].Summary, "not destroyed yet") {
		t.Errorf("%+v, %v", s.Pools, err)
	}
	s := reach(t, m, gone)
	want(t, m, "import tank force=false rewind=false readonly=false")
	if got := waits(s); len(got) != 1 || !strings.HasPrefix(got[0], "destroy pool tank (1001); all that is in it is lost") {
		t.Errorf("%q", got)
	}
	reach(t, m, confirm(gone, s))
	want(t, m, "destroy tank", "remember tank")
	// One that cannot be imported is told of, and not forgotten.
	reach(t, m, tank(mirror("s3", "s4")))
	m.Off("tank")
	m.Pull("s3")
	changes(m)
	if s = reach(t, m, gone); !slices.Equal(kinds(s), []pool.Kind{pool.DevicesMissing}) || m.Memories["tank"] == 0 {
		t.Errorf("%v, %v", kinds(s), m.Memories)
	}
	want(t, m)
}

// TestLeavesAnother: a pool that is to be gone, by its GUID, is not taken for another of its name.
func TestLeavesAnother(t *testing.T) {
	for _, presence := range []pool.Presence{pool.Exported, pool.Destroyed} {
		m := pooltest.New(2)
		reach(t, m, tank(mirror("s1", "s2")))
		changes(m)
		gone := pool.Spec{Pools: []pool.PoolSpec{{Name: "tank", Presence: presence, GUID: 77}}}
		s := reach(t, m, gone)
		reach(t, m, confirm(gone, s))
		want(t, m)
		if len(waits(s)) != 0 || !slices.Equal(kinds(s), []pool.Kind{pool.TwoOfOneName}) || m.Loaded["tank"] == nil || len(m.Memories) != 1 {
			t.Errorf("%q: %+v, %v", presence, s, m.Memories)
		}
		// Nor is the other forgotten while it is not here.
		m.Off("tank")
		m.Pull("s1")
		m.Pull("s2")
		changes(m)
		reach(t, m, gone)
		want(t, m)
	}
}

// every is a schedule.
type every time.Duration

func (e every) Due(last, now time.Time) bool { return now.Sub(last) >= time.Duration(e) }

func TestSchedules(t *testing.T) {
	m := pooltest.New(2)
	spec := tank(mirror("s1", "s2"))
	spec.Pools[0].Scrub, spec.Pools[0].Trim = every(24*time.Hour), every(time.Hour)
	reach(t, m, spec)
	if got := changes(m); !slices.Equal(got[len(got)-2:], []string{"scrub tank", "trim tank"}) {
		t.Errorf("%q", got)
	}
	m.Now = m.Now.Add(2 * time.Hour)
	reach(t, m, spec)
	want(t, m, "trim tank")
	// A pool that resilvers is left alone.
	m.Now = m.Now.Add(48 * time.Hour)
	m.Loaded["tank"].Scan = pool.Scan{Function: pool.Resilver, Progress: pool.Running}
	reach(t, m, spec)
	want(t, m)
	m.Loaded["tank"].Scan = pool.Scan{Function: pool.Resilver, Progress: pool.Finished, End: m.Now}
	reach(t, m, spec)
	want(t, m, "trim tank")
	// The clock went back a little, or by years after it was wrong.
	m.Now = m.Now.Add(-12 * time.Hour)
	reach(t, m, spec)
	want(t, m)
	m.Now = m.Now.AddDate(-2, 0, 0)
	reach(t, m, spec)
	want(t, m, "scrub tank", "trim tank")
	reach(t, m, spec)
	want(t, m)
}

// TestOwnPool: the system's own pool is scrubbed once a month, by what it tells of its last scrub, while that is asked for and it can be. Nothing else is done to it.
func TestOwnPool(t *testing.T) {
	m := pooltest.New(2)
	reach(t, m, pool.Spec{Pools: []pool.PoolSpec{{Name: "node", Vdevs: []pool.VdevSpec{mirror("s1", "s2")}}}})
	m.All["s1"].GrowableBytes = 1 << 30
	changes(m)
	reach(t, m, pool.Spec{})
	want(t, m)
	own := pool.Spec{Own: "node"}
	if s := reach(t, m, own); !s.Ready || len(s.Pools) != 1 || s.Pools[0].Declared {
		t.Errorf("%+v", s)
	}
	want(t, m, "scrub node")
	m.Now = m.Now.Add(27 * 24 * time.Hour)
	reach(t, m, own)
	want(t, m)
	m.Now = m.Now.Add(4 * 24 * time.Hour)
	reach(t, m, pool.Spec{})
	want(t, m)
	reach(t, m, own)
	want(t, m, "scrub node")
	m.Now = m.Now.AddDate(-2, 0, 0)
	reach(t, m, own)
	want(t, m, "scrub node")
	for name, p := range map[string]pool.Pool{
		"suspended":     {Name: "node", GUID: 1, State: pool.Suspended},
		"read-only":     {Name: "node", GUID: 1, State: pool.Online, ReadOnly: true},
		"under way":     {Name: "node", GUID: 1, State: pool.Online, Scan: pool.Scan{Function: pool.Scrub, Progress: pool.Running}},
		"of other name": {Name: "tank", GUID: 1, State: pool.Online},
	} {
		if ops, conditions := pool.Plan(own, pool.Observed{Now: m.Now, Pools: []pool.Pool{p}}); len(ops)+len(conditions) > 0 {
			t.Errorf("%s: %v, %v", name, ops, conditions)
		}
	}
}

// TestDisksComeOneByOne: the time for which missing disks are waited for begins anew when one of them has come, but not for one that comes and goes.
func TestDisksComeOneByOne(t *testing.T) {
	l := &lacking{Machine: pooltest.New(3), missing: []string{"/dev/vdc1", "/dev/vdd1"}}
	spec := tank(mirror("s1", "s2"))
	reach(t, l.Machine, spec)
	l.Off("tank")
	r := pool.New(l, l, l, func() time.Time { return l.Now })
	late := func() time.Duration {
		t.Helper()
		obs, err := r.Observe(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		return r.Status(spec, obs).Late
	}
	late()
	l.Now = l.Now.Add(40 * time.Second)
	l.missing = l.missing[:1]
	if got := late(); got != 45*time.Second {
		t.Errorf("one has come: waited for %s", got)
	}
	l.Now = l.Now.Add(20 * time.Second)
	l.missing = []string{"/dev/vdc1", "/dev/vdd1"}
	if got := late(); got != 25*time.Second {
		t.Errorf("it has gone again: waited for %s", got)
	}
	l.Now = l.Now.Add(20 * time.Second)
	l.missing = l.missing[:1]
	if got := late(); got != 5*time.Second {
		t.Errorf("and is here again: waited for %s", got)
	}
}

// tooSmall has disks that take no other's place.
type tooSmall struct{ *pooltest.Machine }

func (tooSmall) Replace(context.Context, string, string, string) error { return pool.ErrTooSmall }

// TestFailedCopyKeepsNoScrub: a replacement that cannot be begun is tried again, and the pool is read through meanwhile.
func TestFailedCopyKeepsNoScrub(t *testing.T) {
	m := tooSmall{pooltest.New(4)}
	spec := tank(mirror("s1", "s2"))
	reach(t, m.Machine, spec)
	changes(m.Machine)
	r := pool.New(m, m, m, func() time.Time { return m.Now })
	spec = tank(mirror("s1", "s3"))
	spec.Pools[0].Scrub = every(24 * time.Hour)
	tried := 0
	for range 2 {
		obs, err := r.Observe(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range r.Diff(spec, obs) {
			if err := r.Apply(t.Context(), spec, o); errors.Is(err, pool.ErrTooSmall) {
				tried++
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	if calls := changes(m.Machine); tried != 2 || !slices.Contains(calls, "scrub tank") {
		t.Errorf("tried %d times, %q", tried, calls)
	}
}

// TestPartOfSchedules: what keeps failing, such as a replacement that is too small, keeps back no scrub, and no recovery key from another disk.
func TestPartOfSchedules(t *testing.T) {
	replace := pool.Op{Verb: pool.ReplaceDevice, Pool: "tank"}
	for _, verb := range []pool.Verb{pool.StartScrub, pool.StartTrim, pool.EnrolDisk} {
		if part := (pool.Op{Verb: verb, Pool: "tank"}).Part(); part == replace.Part() {
			t.Errorf("%s is a part of %q", verb, part)
		}
	}
}

func TestProperties(t *testing.T) {
	m := pooltest.New(2)
	spec := tank(mirror("s1", "s2"))
	reach(t, m, spec)
	if got := m.Loaded["tank"].Properties["compatibility"].Value; got != pool.Compatibility {
		t.Errorf("compatibility is %q", got)
	}
	changes(m)
	spec.Pools[0].Properties = map[string]string{"autotrim": "off"}
	reach(t, m, spec)
	want(t, m, "set tank autotrim=off")
	// A disk that grew.
	m.All["s1"].GrowableBytes = 1 << 30
	reach(t, m, spec)
	want(t, m, "grow s1", "online tank")
	m.Loaded["tank"].Vdevs[0].Children[0].ExpandableBytes = 1 << 30
	reach(t, m, spec)
	want(t, m, "online tank")
}

// TestPropertiesLast: a property that cannot be set keeps no device from being replaced.
func TestPropertiesLast(t *testing.T) {
	m := pooltest.New(3)
	spec := tank(mirror("s1", "s2"))
	spec.Pools[0].Properties = map[string]string{"ashift": "9"}
	reach(t, m, spec)
	m.Pull("s2")
	spec = tank(mirror("s1", "s3"))
	spec.Pools[0].Properties = map[string]string{"compatibility": "openzfs-2.2", "ashift": "12"}
	r := pool.New(m, m, m, func() time.Time { return m.Now })
	obs, err := r.Observe(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range r.Diff(spec, obs) {
		got = append(got, string(o.Verb)+" "+o.Property)
	}
	if d := cmp.Diff([]string{"set property of pool ashift", "replace in pool ", "set property of pool compatibility"}, got); d != "" {
		t.Errorf("operations (-want +got):\n%s", d)
	}
}

// TestLasts: what writes to disks is given the time that they need, and what only tells the kernel something is not.
func TestLasts(t *testing.T) {
	for verb, want := range map[pool.Verb]bool{
		pool.CreatePool: true, pool.AddVdev: true, pool.AddSpare: true, pool.AddCache: true, pool.ReplaceDevice: true, pool.AttachDevice: true, pool.ExpandRAIDZ: true,
		pool.ImportPool: true, pool.RewindPool: true, pool.EraseDisk: true, pool.WipeDisk: true, pool.DestroyPool: true, pool.KeepOut: false, pool.EnrolDisk: false, pool.SetProperty: false, pool.BringOnline: false, pool.StartScrub: false, pool.Remember: false,
	} {
		if got := (pool.Op{Verb: verb}).Lasts(); got != want {
			t.Errorf("%s: %t, want %t", verb, got, want)
		}
	}
}

// TestAdviceOnSlowDevices: of a device whose I/Os take half a minute and more it is said, and what to do, though there is no error of it; of several the slowest is named.
func TestAdviceOnSlowDevices(t *testing.T) {
	m := pooltest.New(2)
	r := pool.New(m, m, m, time.Now)
	status := func(slow ...uint64) pool.PoolStatus {
		top := pool.Vdev{Name: "mirror-0", Type: "mirror", GUID: 10, State: pool.Online}
		for i, n := range slow {
			top.Children = append(top.Children, pool.Vdev{Name: fmt.Sprintf("/dev/vd%c1", 'b'+i), Type: "disk", State: pool.Online, SlowIOs: n})
		}
		p := pool.Pool{Name: "tank", GUID: 9, State: pool.Online, Vdevs: []pool.Vdev{top}}
		return r.Status(pool.Spec{}, pool.Observed{Now: time.Unix(2e9, 0), Pools: []pool.Pool{p}}).Pools[0]
	}
	s := status(3, 4711)
	if !s.Healthy || !strings.Contains(s.Summary, "4711 I/Os of /dev/vdc1") || strings.HasPrefix(s.Next, "Nothing") || !strings.HasSuffix(s.Next, ".") {
		t.Errorf("%t, %q, %q", s.Healthy, s.Summary, s.Next)
	}
	if s := status(0, 0); s.Summary != "It is well." || s.Next != "Nothing." {
		t.Errorf("without slow I/Os: %q, %q", s.Summary, s.Next)
	}
}

// TestAdviceOnScrubErrors: a pool is not well while its last scrub could not repair all, whatever else there is to say of it.
func TestAdviceOnScrubErrors(t *testing.T) {
	m := pooltest.New(1)
	r := pool.New(m, m, m, time.Now)
	for what, p := range map[string]pool.Pool{
		"nothing": {}, "slow I/Os": {Vdevs: []pool.Vdev{{Name: "a", Type: "disk", GUID: 1, State: pool.Online, SlowIOs: 3}}}, "little room": {CapacityPercent: 85},
		"much in pieces": {FragmentationPercent: 80}, "a checkpoint": {Checkpoint: &pool.Checkpoint{Start: time.Unix(1e9, 0)}},
	} {
		p.Name, p.GUID, p.State = "tank", 9, pool.Online
		p.Scan = pool.Scan{Function: pool.Scrub, Progress: pool.Finished, End: time.Unix(1e9, 0), Errors: 2}
		s := r.Status(pool.Spec{}, pool.Observed{Now: time.Unix(2e9, 0), Pools: []pool.Pool{p}}).Pools[0]
		if s.Healthy || !strings.Contains(s.Summary, "found 2 errors") {
			t.Errorf("%s: %t, %q", what, s.Healthy, s.Summary)
		}
		p.Scan.Progress = pool.Running
		if s = r.Status(pool.Spec{}, pool.Observed{Now: time.Unix(2e9, 0), Pools: []pool.Pool{p}}).Pools[0]; !s.Healthy {
			t.Errorf("%s, while it is scrubbed again: %q", what, s.Summary)
		}
	}
}

// TestAdvice: there is a sentence, and a next step, for every state that a pool, a leaf and a scan can have.
func TestAdvice(t *testing.T) {
	states := []pool.State{pool.Online, pool.Degraded, pool.Faulted, pool.Offline, pool.Removed, pool.Unavailable, pool.Suspended, "something new"}
	m := pooltest.New(2)
	r := pool.New(m, m, m, time.Now)
	now := time.Unix(2e9, 0)
	n := 0
	for _, ps := range states {
		for _, ls := range states {
			for _, scan := range []pool.Scan{{}, {Function: pool.Scrub, Progress: pool.Running, TotalBytes: 10}, {Function: pool.Resilver, Progress: pool.Running, PassStart: now.Add(-time.Minute), PassIssuedBytes: 60 << 20, TotalBytes: 1 << 30}} {
				for _, errs := range []uint64{0, 3} {
					leaf := pool.Vdev{Name: "a", Type: "disk", GUID: 1, State: ls, ChecksumErrors: errs}
					p := pool.Pool{Name: "tank", GUID: 9, State: ps, Vdevs: []pool.Vdev{leaf}, Scan: scan}
					s := r.Status(pool.Spec{}, pool.Observed{Now: now, Pools: []pool.Pool{p}})
					got := s.Pools[0]
					if got.Summary == "" || got.Next == "" || !strings.HasSuffix(got.Summary, ".") || !strings.HasSuffix(got.Next, ".") {
						t.Errorf("%s, %s, %+v: %q, %q", ps, ls, scan, got.Summary, got.Next)
					}
					lost := slices.Contains([]pool.State{pool.Faulted, pool.Offline, pool.Removed, pool.Unavailable}, ls)
					if got.Healthy != (ps == pool.Online && errs == 0 && !scan.Resilvers() && !lost) {
						t.Errorf("%s, %s, %d errors, %+v: healthy %t", ps, ls, errs, scan, got.Healthy)
					}
					n++
				}
			}
		}
	}
	if n != len(states)*len(states)*6 {
		t.Errorf("%d cases", n)
	}
	s := pool.Scan{Function: pool.Resilver, Progress: pool.Running, PassStart: now.Add(-time.Minute), PassIssuedBytes: 60 << 20, IssuedBytes: 60 << 20, TotalBytes: 180 << 20}
	if eta := s.ETA(now); eta != 2*time.Minute || fmt.Sprintf("%.0f", s.DonePercent()) != "33" {
		t.Errorf("%s, %f %%", eta, s.DonePercent())
	}
}
