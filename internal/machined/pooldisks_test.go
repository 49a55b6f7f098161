package machined

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// diskWorld is a DiskKernel, and what it finds on disks.
type diskWorld struct {
	holds map[string]func(*pool.Disk)
	calls []string
	// held is how many disks are held.
	held int
}

// worldSequence is the number of all its disks.
const worldSequence = 7

func (w *diskWorld) Hold(string) (uint64, func() error, error) {
	w.held++
	return worldSequence, func() error { w.held--; return nil }, nil
}

func (w *diskWorld) Look(d *pool.Disk) error {
	if d.Name == "sdz" {
		return errors.New("input/output error")
	}
	d.Devices = append(d.Devices, d.Device+"1")
	if fill := w.holds[d.Name]; fill != nil {
		fill(d)
	}
	return nil
}

func (w *diskWorld) Prepare(_ context.Context, device string, sequence uint64) (string, error) {
	if w.held != 1 || sequence != worldSequence {
		return "", fmt.Errorf("disk %d is prepared while %d disks are held", sequence, w.held)
	}
	w.calls = append(w.calls, "prepare "+device)
	return device + "1", nil
}

func (w *diskWorld) Grow(_ context.Context, device string) error {
	if w.held != 1 {
		return fmt.Errorf("a disk is grown while %d disks are held", w.held)
	}
	w.calls = append(w.calls, "grow "+device)
	return nil
}

// someDisks are a system disk and three others.
func someDisks() anInventory {
	return anInventory{
		{Name: "vda", SizeBytes: 1 << 30, Bus: inventoryv1.DiskBus_DISK_BUS_VIRTIO, Path: "pci-1"},
		{Name: "nvme0n1", SizeBytes: 2 << 30, Bus: inventoryv1.DiskBus_DISK_BUS_NVME, Vendor: "ACME", Model: "Fast", Serial: "S-1", Wwn: "eui.1"},
		{Name: "sdz", SizeBytes: 3 << 30, Serial: "S-2", Rotational: true, ReadOnly: true},
		{Name: "sdy", Serial: "S-3"},
	}
}

func TestPoolDisks(t *testing.T) {
	w := &diskWorld{holds: map[string]func(*pool.Disk){"vda": func(d *pool.Disk) { d.Contents = "GPT" }}}
	got, err := PoolDisks{Inventory: someDisks(), System: "vda", Kernel: w}.Disks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []pool.Disk{
		{
			Identity: disk.Identity{Name: "vda", Type: disk.SSD, Bus: "virtio", Path: "pci-1", SizeBytes: 1 << 30}, Device: "/dev/vda",
			Devices: []string{"/dev/vda", "/dev/vda1"}, System: true, Contents: "GPT",
		},
		{
			Identity: disk.Identity{Name: "nvme0n1", Type: disk.NVMe, Bus: "nvme", Model: "ACME Fast", Serial: "S-1", WWN: "eui.1", SizeBytes: 2 << 30},
			Device:   "/dev/nvme0n1", Devices: []string{"/dev/nvme0n1", "/dev/nvme0n11"},
		},
		{
			Identity: disk.Identity{Name: "sdz", Type: disk.HDD, Serial: "S-2", SizeBytes: 3 << 30}, Device: "/dev/sdz", Devices: []string{"/dev/sdz"},
			Problem: "input/output error", ReadOnly: true,
		},
		{Identity: disk.Identity{Name: "sdy", Type: disk.SSD, Serial: "S-3"}, Device: "/dev/sdy", Devices: []string{"/dev/sdy"}, Problem: "it has no medium"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (PoolDisks{Inventory: someDisks(), Kernel: w}).Disks(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// TestPrepareLooksAgain: what was decided holds for the disk as it was, and for no other.
func TestPrepareLooksAgain(t *testing.T) {
	ext4 := func(d *pool.Disk) { d.Contents = "ext4" }
	labelled := func(guid zfs.GUID) func(*pool.Disk) {
		return func(d *pool.Disk) {
			d.Contents, d.Label = "GPT", &pool.Label{Device: d.Device + "1", Pool: "old", PoolGUID: 5, GUID: guid, State: pool.LabelExported}
		}
	}
	for name, c := range map[string]struct {
		before, after func(*pool.Disk)
		change        func(anInventory) anInventory
		want          string
	}{
		"as it was":            {nil, nil, nil, ""},
		"holding the same":     {ext4, ext4, nil, ""},
		"of the same pool":     {labelled(6), labelled(6), nil, ""},
		"blank by now":         {ext4, nil, nil, ""},
		"written to":           {nil, ext4, nil, "it holds ext4, and held nothing when it was chosen"},
		"something else":       {ext4, labelled(6), nil, `it holds a device of pool "old" (5), exported, and held ext4 when it was chosen`},
		"another leaf":         {labelled(6), labelled(7), nil, "it is not as it was"},
		"mounted":              {nil, func(d *pool.Disk) { d.Use = "nvme0n1p1 is mounted on /x" }, nil, "it is in use: nvme0n1p1 is mounted on /x"},
		"not to be looked at":  {nil, func(d *pool.Disk) { d.Problem = "timeout" }, nil, "timeout"},
		"gone":                 {nil, nil, func(i anInventory) anInventory { return i[:1] }, "does not exist any more"},
		"somewhere else":       {nil, nil, func(i anInventory) anInventory { i[1].Name = "nvme1n1"; return i }, "it is /dev/nvme1n1 now"},
		"of another size":      {nil, nil, func(i anInventory) anInventory { i[1].SizeBytes = 1 << 30; return i }, "it was nvme0n1 (2.147 GB"},
		"read-only":            {nil, nil, func(i anInventory) anInventory { i[1].ReadOnly = true; return i }, "it can only be read"},
		"twice":                {nil, nil, func(i anInventory) anInventory { i[2].Wwn = "eui.1"; return i }, "2 disks have its names, /dev/nvme0n1 and /dev/sdz"},
		"another in its place": {nil, nil, func(i anInventory) anInventory { i[1].Wwn = "eui.2"; return i }, "does not exist any more"},
	} {
		w := &diskWorld{holds: map[string]func(*pool.Disk){"nvme0n1": c.before}}
		p := PoolDisks{Inventory: someDisks(), System: "vda", Kernel: w}
		before, err := p.Disks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.holds["nvme0n1"] = c.after
		if c.change != nil {
			p.Inventory = c.change(someDisks())
		}
		leaf, err := p.Prepare(t.Context(), before[1], false)
		if w.held != 0 {
			t.Errorf("%s: %d disks are held", name, w.held)
		}
		switch {
		case c.want == "" && (err != nil || leaf != "/dev/nvme0n11" || !slices.Equal(w.calls, []string{"prepare /dev/nvme0n1"})):
			t.Errorf("%s: got %q, %v, calls %q", name, leaf, err, w.calls)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || len(w.calls) > 0):
			t.Errorf("%s: got %v, want %q; calls %q", name, err, c.want, w.calls)
		}
	}
	w := &diskWorld{}
	p := PoolDisks{Inventory: someDisks(), System: "nvme0n1", Kernel: w}
	all, err := p.Disks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Prepare(t.Context(), all[1], false); err == nil || !strings.Contains(err.Error(), "the node runs from it") || len(w.calls) > 0 {
		t.Errorf("the system disk: %v, calls %q", err, w.calls)
	}
}

// TestGrowIsForTheSameLeaf: the disk is larger than it was, and that is all that may differ.
func TestGrowIsForTheSameLeaf(t *testing.T) {
	leaf := func(guid zfs.GUID) func(*pool.Disk) {
		return func(d *pool.Disk) { d.Label = &pool.Label{Pool: "tank", PoolGUID: 5, GUID: guid} }
	}
	for name, c := range map[string]struct {
		now  func(*pool.Disk)
		want string
	}{"the same": {leaf(6), ""}, "another": {leaf(7), "it is not as it was"}, "none": {nil, "it holds nothing, and held a device of pool \"tank\""}} {
		w := &diskWorld{holds: map[string]func(*pool.Disk){"nvme0n1": leaf(6)}}
		p := PoolDisks{Inventory: someDisks(), Kernel: w}
		before, err := p.Disks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.holds["nvme0n1"] = c.now
		larger := someDisks()
		larger[1].SizeBytes <<= 1
		p.Inventory = larger
		err = p.Grow(t.Context(), before[1])
		if c.want == "" && (err != nil || !slices.Equal(w.calls, []string{"grow /dev/nvme0n1"})) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || len(w.calls) > 0) {
			t.Errorf("%s: got %v, want %q; calls %q", name, err, c.want, w.calls)
		}
	}
}

// TestPoolMemory: what is noted is there for whoever comes next, and what cannot be read is not taken for nothing.
func TestPoolMemory(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "pools.json")
	m := PoolMemory{Path: path}
	if got, err := m.Remembered(ctx); err != nil || got == nil || len(got) > 0 {
		t.Errorf("of a new node: %v, %v", got, err)
	}
	const large = zfs.GUID(17_000_000_000_000_000_001)
	for _, step := range []struct {
		name string
		guid zfs.GUID
		want map[string]zfs.GUID
	}{
		{"tank", large, map[string]zfs.GUID{"tank": large}}, {"fast", 2, map[string]zfs.GUID{"tank": large, "fast": 2}},
		{"tank", 3, map[string]zfs.GUID{"tank": 3, "fast": 2}}, {"tank", 0, map[string]zfs.GUID{"fast": 2}}, {"none", 0, map[string]zfs.GUID{"fast": 2}},
	} {
		if err := m.Remember(ctx, step.name, step.guid); err != nil {
			t.Fatal(err)
		}
		got, err := PoolMemory{Path: path}.Remembered(ctx)
		if d := cmp.Diff(step.want, got); err != nil || d != "" {
			t.Errorf("%s %s: %v (-want +got):\n%s", step.name, step.guid, err, d)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"read": second(m.Remembered(ctx)), "note": m.Remember(ctx, "tank", 5)} {
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "nodectl reset") {
			t.Errorf("%s a file that is cut off: %v", what, err)
		}
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "{" {
		t.Errorf("it was replaced: %q, %v", data, err)
	}
	if err := (PoolMemory{Path: filepath.Join(t.TempDir(), "none", "pools.json")}).Remember(ctx, "tank", 5); err == nil {
		t.Error("noted where there is no such directory")
	}
}

// FuzzPoolMemory: what is read has names and numbers, and is read the same again.
func FuzzPoolMemory(f *testing.F) {
	f.Add([]byte(`{"pools":{"tank":"5"}}`))
	f.Add([]byte(`{"pools":{"":"5"}}`))
	f.Add([]byte(`{"pools":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parsePoolMemory(data)
		if (err == nil) == (got == nil) {
			t.Fatalf("got %v and %v", got, err)
		}
		if err != nil {
			return
		}
		m := PoolMemory{Path: filepath.Join(t.TempDir(), "pools.json")}
		for name, guid := range got {
			if name == "" || guid == 0 {
				t.Fatalf("got %v", got)
			}
			if err := m.Remember(t.Context(), name, guid); err != nil {
				t.Fatal(err)
			}
		}
		if again, err := m.Remembered(t.Context()); err != nil || !maps.Equal(again, got) {
			t.Errorf("read again: %v, %v, want %v", again, err, got)
		}
	})
}
