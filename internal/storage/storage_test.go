package storage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// pass makes passes like the loop does, until nothing is to be done or an operation fails, and returns what was applied.
func pass(t *testing.T, domain *storage.Reconciler, spec storage.Spec) ([]string, storage.Status, error) {
	t.Helper()
	var applied []string
	for range 12 {
		obs, err := domain.Observe(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		ops := domain.Diff(spec, obs)
		if len(ops) == 0 {
			return applied, domain.Status(spec, obs), nil
		}
		for _, op := range ops {
			if err := domain.Apply(t.Context(), spec, op); err != nil {
				return applied, domain.Status(spec, obs), fmt.Errorf("%s: %w", op, err)
			}
			applied = append(applied, op.String())
		}
	}
	t.Fatalf("does not converge: %v", applied)
	return nil, storage.Status{}, nil
}

func firstBoot() []string {
	ops := []string{
		"record state of state: clean", "make file system on state (/dev/vda6)", "mount state (/dev/vda6)",
		"make directory /state",
		"grow partition data (/dev/vda7)", "record state of data: clean", "make pool on data (/dev/vda7)",
	}
	return append(ops, firstDatasets()...)
}

// laterDatasets is what happens to a pool of an earlier boot.
func laterDatasets() []string {
	return slices.DeleteFunc(firstDatasets(), func(op string) bool { return strings.HasPrefix(op, "make dataset") })
}

// firstDatasets is what happens to a pool that has just been made, of 10 GiB and a little.
func firstDatasets() []string {
	return []string{
		"make dataset node/var: mountpoint=legacy refreservation=540016640", "make mount point /var", "mount node/var",
		"make directory /var/plane", "make directory /var/plane/lib", "make directory /var/upgrade",
		"make directory /var/extensions", "make directory /var/extensions/store", "make directory /var/extensions/data",
		"make dataset node/etcd: mountpoint=legacy recordsize=16384 refreservation=1080033280", "make mount point /var/etcd", "mount node/etcd",
		"make directory /var/etcd",
		"make dataset node/log: compression=zstd mountpoint=legacy quota=1080033280", "make mount point /var/log", "mount node/log",
		"make directory /var/log",
		"make dataset node/plane: mountpoint=none quota=7516192768",
		"make dataset node/plane/containerd: mountpoint=legacy", "make mount point /var/plane/lib/containerd", "mount node/plane/containerd",
		"make directory /var/plane/lib/containerd",
		"make dataset node/plane/kubelet: mountpoint=legacy", "make mount point /var/plane/lib/kubelet", "mount node/plane/kubelet",
		"make directory /var/plane/lib/kubelet",
		"make dataset node/plane/volumes: mountpoint=none",
	}
}

func TestBoots(t *testing.T) {
	machine := storagetest.New(10 << 30)
	domain, spec := storage.New(machine, machine, machine, nil), storage.DefaultSpec("/dev/vda")

	applied, status, err := pass(t, domain, spec)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(firstBoot(), applied); d != "" {
		t.Errorf("first boot (-want +got):\n%s", d)
	}
	if !status.Ready || !status.StateMounted || !status.DataMounted || status.Reason != "" {
		t.Errorf("status of the first boot: %+v", status)
	}

	machine.Boot(true)
	applied, status, err = pass(t, domain, spec)
	want := []string{"record state of state: clean", "mount state (/dev/vda6)", "record state of data: clean", "import pool of data (/dev/vda7)"}
	want = append(want, laterDatasets()...)
	if d := cmp.Diff(want, applied); d != "" || err != nil {
		t.Errorf("boot after a clean end: %v (-want +got):\n%s", err, d)
	}
	if !status.Volumes[1].Known || !status.Volumes[1].Clean {
		t.Errorf("data after a clean end: %+v", status.Volumes[1])
	}

	machine.Boot(false)
	applied, status, err = pass(t, domain, spec)
	want = []string{
		"record state of state: unclean", "check file system on state (/dev/vda6)", "mount state (/dev/vda6)",
		"record state of data: unclean", "import pool of data (/dev/vda7)",
	}
	want = append(want, laterDatasets()...)
	if d := cmp.Diff(want, applied); d != "" || err != nil {
		t.Errorf("boot after a power cut: %v (-want +got):\n%s", err, d)
	}
	if status.Volumes[1].Clean || !status.Ready {
		t.Errorf("status after a power cut: %+v", status)
	}
}

// TestWaitsForWhatTakesLong: what takes as long as the disk needs is not bounded, and the volume says that it waits for it.
func TestWaitsForWhatTakesLong(t *testing.T) {
	machine := storagetest.New(0)
	domain, spec := storage.New(machine, machine, machine, nil), storage.DefaultSpec("/dev/vda")
	// look returns what is waited for and what of it lasts, and then does it.
	look := func() (string, []storage.Verb) {
		t.Helper()
		obs, err := domain.Observe(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		var long []storage.Verb
		for _, op := range domain.Diff(spec, obs) {
			if op.Lasts() {
				long = append(long, op.Verb)
			}
			if err := domain.Apply(t.Context(), spec, op); err != nil {
				t.Fatal(err)
			}
		}
		return domain.Status(spec, obs).Reason, long
	}
	for _, want := range []struct {
		verb   storage.Verb
		reason string
	}{
		{storage.Format, "volume state is not mounted yet: its file system is made first; volume data is not mounted yet: its pool is made first"},
		{storage.MakePool, "volume data is not mounted yet: its pool is made first"},
	} {
		if reason, got := look(); !slices.Equal(got, []storage.Verb{want.verb}) || !strings.HasSuffix(reason, want.reason) {
			t.Errorf("a blank disk: %v, %q, want %q with %q", got, reason, want.verb, want.reason)
		}
	}
	if _, _, err := pass(t, domain, spec); err != nil {
		t.Fatal(err)
	}
	machine.Boot(false)
	const data = "volume data is not mounted yet: its pool was not left in order, and is imported first, which takes as long as the disk needs"
	for _, want := range []struct {
		verb   storage.Verb
		reason string
	}{
		{storage.Check, "volume state is not mounted yet: its file system was not left clean, and is checked first, which takes as long as the disk needs; " + data},
		{storage.Import, data},
	} {
		if reason, got := look(); !slices.Equal(got, []storage.Verb{want.verb}) || reason != want.reason {
			t.Errorf("after a power cut: %v, %q, want %q with %q", got, reason, want.verb, want.reason)
		}
	}
}

func TestPoolGrowsWithTheDisk(t *testing.T) {
	machine := storagetest.New(10 << 30)
	domain, spec := storage.New(machine, machine, machine, nil), storage.DefaultSpec("/dev/vda")
	if _, _, err := pass(t, domain, spec); err != nil {
		t.Fatal(err)
	}
	machine.GrowDisk(10 << 30)
	applied, status, err := pass(t, domain, spec)
	// What is a share of the pool grows with it.
	want := []string{
		"grow partition data (/dev/vda7)", "grow pool of data (/dev/vda7)",
		"set properties of dataset node/var: refreservation=1073741824", "set properties of dataset node/etcd: refreservation=2153775104",
		"set properties of dataset node/log: quota=2153775104", "set properties of dataset node/plane: quota=15032385536",
	}
	if d := cmp.Diff(want, applied); d != "" || err != nil || !status.Ready {
		t.Errorf("%v, %q (-want +got):\n%s", err, status.Reason, d)
	}
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name     string
		contents storage.Contents
		reason   string
	}{
		{
			"another file system", storage.Contents{Signature: "ntfs"},
			"partition data (/dev/vda7) holds ntfs, expected zfs or nothing; it is left alone",
		},
		{
			"unknown data", storage.Contents{},
			"partition data (/dev/vda7) holds data without a known file system, expected zfs or blank; it is left alone",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			machine := storagetest.New(0)
			machine.SetContents("/dev/vda7", test.contents)
			domain, spec := storage.New(machine, machine, machine, nil), storage.DefaultSpec("/dev/vda")
			applied, status, err := pass(t, domain, spec)
			if err != nil {
				t.Fatal(err)
			}
			if status.Ready || status.Reason != test.reason || !status.StateMounted || status.DataMounted {
				t.Errorf("status: %+v\nwant reason %q", status, test.reason)
			}
			if slices.ContainsFunc(applied, func(op string) bool { return op == "make pool on data (/dev/vda7)" }) {
				t.Errorf("made a file system: %v", applied)
			}
		})
	}
	t.Run("no partition", func(t *testing.T) {
		machine := storagetest.New(0)
		domain, spec := storage.New(machine, machine, machine, nil), storage.DefaultSpec("/dev/vda")
		spec.Volumes[1].Name = "pool"
		if _, status, _ := pass(t, domain, spec); status.Reason != `the system disk has no partition named "pool"` {
			t.Errorf("status: %+v", status)
		}
	})
}

// TestNobodyFillsThePool: on a pool of whatever size, all that has a limit comes to its limit, and what is reserved is used, before the pool is full: ZFS keeps as much
// of it for itself as spa_get_slop_space in module/zfs/spa_misc.c (OpenZFS 2.3.9) says. That loses no more than needed.
func TestNobodyFillsThePool(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for _, size := range []uint64{256 * mib, gib, 3*gib + 5*mib, 20 * gib, 100 * gib, 4 << 40, 100 << 40} {
		machine := storagetest.New(size)
		domain, spec := storage.New(machine, machine, machine, nil), storage.DefaultSpec("/dev/vda")
		if _, _, err := pass(t, domain, spec); err != nil {
			t.Fatal(err)
		}
		state, err := machine.Pool(t.Context(), storage.PoolName, []string{"quota", "refreservation"})
		if err != nil {
			t.Fatal(err)
		}
		usable := state.SizeBytes - max(min(state.SizeBytes/32, 128*gib), min(state.SizeBytes/2, 128*mib))
		limits := uint64(0)
		for name, properties := range state.Datasets {
			for _, property := range []string{"quota", "refreservation"} {
				if text := properties[property]; text != "" {
					n, err := strconv.ParseUint(text, 10, 64)
					if err != nil || n == 0 {
						t.Errorf("%s of %s is %q", property, name, text)
					}
					limits += n
				}
			}
		}
		if limits+32*mib > usable || limits+32*mib+64*mib+size/50 < usable {
			t.Errorf("a pool of %d MiB, of which %d can be used: the limits are %d MiB", state.SizeBytes/mib, usable/mib, limits/mib)
		}
	}
}

// full is a machine whose pool has no room for what is to be kept for somebody.
type full struct{ *storagetest.Machine }

var errFull = errors.New("out of space")

func (full) SetDataset(context.Context, string, map[string]string) error { return errFull }

// TestFullPool: what a pool that is full refuses to set keeps nothing from being mounted, neither now nor in the next boot, and is told.
func TestFullPool(t *testing.T) {
	machine := storagetest.New(10 << 30)
	spec := storage.DefaultSpec("/dev/vda")
	if _, _, err := pass(t, storage.New(machine, machine, machine, nil), spec); err != nil {
		t.Fatal(err)
	}
	machine.GrowDisk(10 << 30)
	domain := storage.New(machine, machine, full{machine}, nil)
	if _, status, err := pass(t, domain, spec); !errors.Is(err, errFull) || !status.Ready {
		t.Errorf("once it has grown: %v, %+v", err, status)
	}
	machine.Boot(true)
	applied, status, err := pass(t, domain, spec)
	want := []string{"record state of state: clean", "mount state (/dev/vda6)", "record state of data: clean", "import pool of data (/dev/vda7)"}
	want = append(want, laterDatasets()...)
	if d := cmp.Diff(want, applied); d != "" || !errors.Is(err, errFull) || !status.Ready || !status.DataMounted {
		t.Errorf("the next boot: %v, %+v (-want +got):\n%s", err, status, d)
	}
	if applied, status, err = pass(t, storage.New(machine, machine, machine, nil), spec); err != nil || !status.Ready || len(applied) == 0 {
		t.Errorf("once there is room: %v, %v, %+v", err, applied, status)
	}
}

// unreadable is a machine that cannot read one of its devices.
type unreadable struct {
	*storagetest.Machine
	device string
}

func (u unreadable) Contents(ctx context.Context, device string) (storage.Contents, error) {
	if device == u.device {
		return storage.Contents{}, errors.New("input/output error")
	}
	return u.Machine.Contents(ctx, device)
}

// TestUnreadableData: a node whose data cannot be read has its state, and says what is wrong; once it can be read, it is used.
func TestUnreadableData(t *testing.T) {
	machine, spec := storagetest.New(0), storage.DefaultSpec("/dev/vda")
	broken := storage.New(unreadable{machine, "/dev/vda7"}, machine, machine, nil)
	_, status, err := pass(t, broken, spec)
	reason := "read contents of partition data (/dev/vda7): input/output error"
	if err != nil || !status.StateMounted || status.DataMounted || status.Reason != reason || !status.Volumes[1].Refused {
		t.Errorf("%v, %+v\nwant reason %q", err, status, reason)
	}
	if _, status, err = pass(t, storage.New(machine, machine, machine, nil), spec); err != nil || !status.Ready {
		t.Errorf("once it can be read: %v, %+v", err, status)
	}
	if _, err := storage.New(unreadable{machine, "/dev/vda6"}, machine, machine, nil).Observe(t.Context(), spec); err == nil {
		t.Error("state is not known, and that is no error")
	}
}

// TestPowerCuts cuts the power in every operation of the first boot. The next boot must come to the same end.
func TestPowerCuts(t *testing.T) {
	spec := storage.DefaultSpec("/dev/vda")
	whole := storagetest.New(10 << 30)
	if _, _, err := pass(t, storage.New(whole, whole, whole, nil), spec); err != nil {
		t.Fatal(err)
	}
	for cut := range firstBoot() {
		machine := storagetest.New(10 << 30)
		domain := storage.New(machine, machine, machine, nil)
		machine.FailPower(cut)
		if _, _, err := pass(t, domain, spec); !errors.Is(err, storagetest.ErrPower) {
			t.Fatalf("cut %d: %v", cut, err)
		}
		machine.Boot(false)
		if _, status, err := pass(t, domain, spec); err != nil || !status.Ready {
			t.Fatalf("boot after cut %d: %v, %+v", cut, err, status)
		}
		if d := cmp.Diff(whole.String(), machine.String()); d != "" {
			t.Errorf("after cut %d (-whole +cut):\n%s", cut, d)
		}
	}
}
