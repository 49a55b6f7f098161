package blockdev

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs/label"
	"github.com/cyvive/cyvive/internal/storage/zfs/label/labeltest"
)

// TestContainerOn: of encrypted volumes, only those of pools' disks count, and one that is being made is known whatever there is of it.
func TestContainerOn(t *testing.T) {
	c := cryptsetup(t)
	path := image(t, 32<<20)
	check := func(what string, want *pool.Container) {
		t.Helper()
		got, err := containerOn(path)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, d)
		}
	}
	mark := func(data []byte) {
		t.Helper()
		if err := setMark(path, atEnd, data); err != nil {
			t.Fatal(err)
		}
	}
	check("blank", nil)
	mark(formatMark())
	check("begun", &pool.Container{Partition: path, Begun: true})
	key, _ := luks.NewKey()
	name := luks.NewDiskName()
	if err := c.Format(t.Context(), path, name, key); err != nil {
		t.Fatal(err)
	}
	mark(formatMark())
	check("with its header", &pool.Container{Name: name, Partition: path, Begun: true})
	mark(make([]byte, markBytes))
	check("made", &pool.Container{Name: name, Partition: path})
	if err := c.Format(t.Context(), path, "data", key); err != nil {
		t.Fatal(err)
	}
	check("a volume of another kind", nil)
	if got, err := containerOn(path + "-none"); got != nil || err != nil {
		t.Errorf("of a device that is not there: %+v, %v", got, err)
	}
}

// TestLookWithin: a disk with an encrypted volume is blank while that is being made and as long as nothing was written to it, and not while it is not open.
func TestLookWithin(t *testing.T) {
	const size = 80 << 20
	dir := t.TempDir()
	device, opened := filepath.Join(dir, "vdq"), filepath.Join(dir, "opened")
	for path, data := range map[string][]byte{device: nil, opened: make([]byte, 2<<20)} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(device, size); err != nil {
		t.Fatal(err)
	}
	w, err := OpenShared(device, true)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.writePoolTable(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt([]byte("a header"), 1<<20); err != nil {
		t.Fatal(err)
	}
	check := func(what string, c *pool.Container, blank bool) {
		t.Helper()
		p := pool.Disk{Identity: disk.Identity{Name: "vdq"}, Device: device, Devices: []string{device}, Container: c}
		if err := lookAt(&p); err != nil {
			t.Fatal(err)
		}
		if (p.Contents == "") != blank || p.Label != nil {
			t.Errorf("%s: it holds %q, label %+v", what, p.Contents, p.Label)
		}
	}
	check("without a volume", nil, false)
	check("not open", &pool.Container{Name: "x"}, false)
	check("being made", &pool.Container{Begun: true}, true)
	check("open, and new", &pool.Container{Name: "x", Open: true, Device: opened}, true)
	if err := os.WriteFile(opened, append(make([]byte, 1<<20-1), bytes.Repeat([]byte{1}, 1<<20)...), 0o600); err != nil {
		t.Fatal(err)
	}
	check("open, and written to", &pool.Container{Name: "x", Open: true, Device: opened}, false)
}

// TestLabelBesideAVolume: of a disk with an encrypted volume, what lies in that counts as a device of a pool, and nothing that somebody has written beside it.
func TestLabelBesideAVolume(t *testing.T) {
	const size = 2 << 20
	dir := t.TempDir()
	device, partition, opened := filepath.Join(dir, "vdq"), filepath.Join(dir, "vdq1"), filepath.Join(dir, "opened")
	labelled := make([]byte, size)
	labeltest.Put(labelled, 0, binary.LittleEndian, labeltest.Packed(label.Label{Name: "tank", PoolGUID: 12, GUID: 13, TXG: 4}))
	write := func(path string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(device, make([]byte, size))
	write(partition, labelled)
	write(opened, make([]byte, size))
	look := func(c *pool.Container) pool.Disk {
		t.Helper()
		p := pool.Disk{Identity: disk.Identity{Name: "vdq"}, Device: device, Devices: []string{device, partition, opened}, Container: c}
		if err := lookAt(&p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := look(nil); p.Label == nil || p.Label.Device != partition {
		t.Errorf("without a volume: %+v", p.Label)
	}
	if p := look(&pool.Container{Name: "x"}); p.Label != nil || p.Contents != shutContainer {
		t.Errorf("beside one that is not open: it holds %q, label %+v", p.Contents, p.Label)
	}
	open := &pool.Container{Name: "x", Open: true, Device: opened}
	if p := look(open); p.Label != nil || p.Contents != "" {
		t.Errorf("beside one that is open: it holds %q, label %+v", p.Contents, p.Label)
	}
	write(opened, labelled)
	if p := look(open); p.Label == nil || p.Label.Device != opened {
		t.Errorf("in one that is open: %+v", p.Label)
	}
}

// TestLookNamesWhatIsOpen: an open volume of the node's goes by the name that it was opened under, and is nobody's use of its disk where it is the disk's own.
func TestLookNamesWhatIsOpen(t *testing.T) {
	root := sysfs(t, map[string]string{
		"class/block/dm-3/dm/name": "cyvive-pool-0123456789abcdef\n", "class/block/dm-4/dm/name": "vg-root\n", "class/block/md0/size": "1\n",
		"class/block/vdb/dev": "254:16\n", "class/block/vdb/vdb1/partition": "1\n", "class/block/vdb/vdb1/holders/dm-3/x": "", "class/block/vdb/vdb1/holders/md0/x": "",
		"mountinfo": "",
	})
	d := &Disk{sysfs: root}
	for name, want := range map[string]string{"dm-3": "/dev/mapper/cyvive-pool-0123456789abcdef", "dm-4": "/dev/dm-4", "md0": "/dev/md0"} {
		if got := d.stable(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if got, err := d.usedBy("vdb", filepath.Join(root, "mountinfo"), "dm-3"); got != "vdb1 is part of md0" || err != nil {
		t.Errorf("used: %q, %v", got, err)
	}
}
