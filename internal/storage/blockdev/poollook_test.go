package blockdev

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/disk"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs/label"
	"github.com/cyvive/cyvive/internal/storage/zfs/label/labeltest"
)

// TestLookForPool looks at a disk that is a file: blank, prepared, with a label, and with something else.
func TestLookForPool(t *testing.T) {
	const size = 80 << 20
	dir := t.TempDir()
	device := filepath.Join(dir, "vdq")
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := OpenShared(device, true)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Truncate(size); err != nil {
		t.Fatal(err)
	}
	w.SizeBytes = size
	sysfs, mounts := t.TempDir(), filepath.Join(dir, "mountinfo")
	block := filepath.Join(sysfs, "class/block/vdq")
	for path, text := range map[string]string{
		filepath.Join(block, "dev"): "254:16\n", filepath.Join(block, "vdq1/dev"): "254:17\n", filepath.Join(block, "vdq1/partition"): "1\n", filepath.Join(block, "vdq1/size"): "2048\n",
		filepath.Join(block, "vdq1/uevent"): "PARTNAME=x\n", filepath.Join(block, "vdq1/holders/dm-7"): "", mounts: "1 1 0:1 / / rw - tmpfs t rw\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := &Disk{sysfs: sysfs}
	look := func() pool.Disk {
		t.Helper()
		p := pool.Disk{Identity: disk.Identity{Name: "vdq"}, Device: device}
		if err := d.LookForPool(&p, mounts); err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := look(); p.Contents != "" || p.Label != nil || p.Use != "vdq1 is part of dm-7" || strings.Join(p.Devices, " ") != device+" /dev/vdq1 /dev/dm-7" {
		t.Errorf("blank: %+v", p)
	}
	if err := w.writePoolTable(); err != nil {
		t.Fatal(err)
	}
	if p := look(); p.Contents != "" || p.Label != nil {
		t.Errorf("prepared: %+v", p)
	}
	if _, err := w.WriteAt([]byte("something"), 1<<20); err != nil {
		t.Fatal(err)
	}
	if p := look(); !strings.Contains(p.Contents, "GPT") || p.Label != nil {
		t.Errorf("written to: %+v", p)
	}
	if _, err := w.WriteAt(make([]byte, 1<<20), 0); err != nil {
		t.Fatal(err)
	}
	member := make([]byte, 256<<10)
	labeltest.Put(member, 0, binary.LittleEndian, labeltest.Packed(label.Label{Name: "tank", PoolGUID: 12, GUID: 13, TXG: 4}))
	if _, err := w.WriteAt(member, 0); err != nil {
		t.Fatal(err)
	}
	p := look()
	if p.Contents == "" || p.Label == nil || p.Label.Pool != "tank" || p.Label.GUID != 13 || p.Label.Device != device {
		t.Errorf("a member of a pool: %+v", p)
	}
}
