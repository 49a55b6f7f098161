package storage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	return []string{
		"record state of state: clean", "make file system on state (/dev/vda6)", "mount state (/dev/vda6)",
		"make directory /state",
		"grow partition data (/dev/vda7)", "record state of data: clean", "make file system on data (/dev/vda7)", "mount data (/dev/vda7)",
		"make directory /var/etcd", "make directory /var/plane", "make directory /var/log", "make directory /var/upgrade",
		"make directory /var/extensions", "make directory /var/extensions/store", "make directory /var/extensions/data",
	}
}

func TestBoots(t *testing.T) {
	machine := storagetest.New(10 << 30)
	domain, spec := storage.New(machine, machine, nil), storage.DefaultSpec("/dev/vda", 900)

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
	want := []string{"record state of state: clean", "mount state (/dev/vda6)", "record state of data: clean", "mount data (/dev/vda7)"}
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
		"record state of data: unclean", "check file system on data (/dev/vda7)", "mount data (/dev/vda7)",
	}
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
	domain, spec := storage.New(machine, machine, nil), storage.DefaultSpec("/dev/vda", 900)
	look := func() (storage.Status, []storage.Op) {
		t.Helper()
		obs, err := domain.Observe(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		return domain.Status(spec, obs), domain.Diff(spec, obs)
	}
	long := func(ops []storage.Op) (out []storage.Verb) {
		for _, op := range ops {
			if op.Lasts() {
				out = append(out, op.Verb)
			}
		}
		return out
	}
	status, ops := look()
	if got := long(ops); !slices.Equal(got, []storage.Verb{storage.Format}) || !strings.Contains(status.Reason, "volume state is not mounted yet: its file system is made first") {
		t.Errorf("a blank disk: %v, %q", got, status.Reason)
	}
	if _, _, err := pass(t, domain, spec); err != nil {
		t.Fatal(err)
	}
	machine.Boot(false)
	status, ops = look()
	const reason = "volume data is not mounted yet: its file system was not left clean, and is checked first, which takes as long as the disk needs"
	if got := long(ops); !slices.Equal(got, []storage.Verb{storage.Check}) || !strings.Contains(status.Reason, reason) {
		t.Errorf("after a power cut: %v, %q", got, status.Reason)
	}
}

func TestFileSystemGrowsWithTheDisk(t *testing.T) {
	machine := storagetest.New(10 << 30)
	machine.SetContents("/dev/vda7", storage.Contents{Signature: storage.FileSystem, Clean: true, FileSystemBytes: 64 << 20})
	domain, spec := storage.New(machine, machine, nil), storage.DefaultSpec("/dev/vda", 900)
	applied, _, err := pass(t, domain, spec)
	if err != nil || !slices.Contains(applied, "grow file system of data (/dev/vda7)") {
		t.Errorf("applied %v, %v", applied, err)
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
			"partition data (/dev/vda7) holds ntfs, expected ext4 or nothing; it is left alone",
		},
		{
			"unknown data", storage.Contents{},
			"partition data (/dev/vda7) holds data without a known file system, expected ext4 or blank; it is left alone",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			machine := storagetest.New(0)
			machine.SetContents("/dev/vda7", test.contents)
			domain, spec := storage.New(machine, machine, nil), storage.DefaultSpec("/dev/vda", 900)
			applied, status, err := pass(t, domain, spec)
			if err != nil {
				t.Fatal(err)
			}
			if status.Ready || status.Reason != test.reason || !status.StateMounted || status.DataMounted {
				t.Errorf("status: %+v\nwant reason %q", status, test.reason)
			}
			if slices.ContainsFunc(applied, func(op string) bool { return op == "make file system on data (/dev/vda7)" }) {
				t.Errorf("made a file system: %v", applied)
			}
		})
	}
	t.Run("no partition", func(t *testing.T) {
		machine := storagetest.New(0)
		domain, spec := storage.New(machine, machine, nil), storage.DefaultSpec("/dev/vda", 900)
		spec.Volumes[1].Name = "pool"
		if _, status, _ := pass(t, domain, spec); status.Reason != `the system disk has no partition named "pool"` {
			t.Errorf("status: %+v", status)
		}
	})
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
	machine, spec := storagetest.New(0), storage.DefaultSpec("/dev/vda", 900)
	broken := storage.New(unreadable{machine, "/dev/vda7"}, machine, nil)
	_, status, err := pass(t, broken, spec)
	reason := "read contents of partition data (/dev/vda7): input/output error"
	if err != nil || !status.StateMounted || status.DataMounted || status.Reason != reason || !status.Volumes[1].Refused {
		t.Errorf("%v, %+v\nwant reason %q", err, status, reason)
	}
	if _, status, err = pass(t, storage.New(machine, machine, nil), spec); err != nil || !status.Ready {
		t.Errorf("once it can be read: %v, %+v", err, status)
	}
	if _, err := storage.New(unreadable{machine, "/dev/vda6"}, machine, nil).Observe(t.Context(), spec); err == nil {
		t.Error("state is not known, and that is no error")
	}
}

// TestPowerCuts cuts the power in every operation of the first boot. The next boot must come to the same end.
func TestPowerCuts(t *testing.T) {
	spec := storage.DefaultSpec("/dev/vda", 900)
	whole := storagetest.New(10 << 30)
	if _, _, err := pass(t, storage.New(whole, whole, nil), spec); err != nil {
		t.Fatal(err)
	}
	for cut := range firstBoot() {
		machine := storagetest.New(10 << 30)
		domain := storage.New(machine, machine, nil)
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
