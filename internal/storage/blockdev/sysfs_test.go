package blockdev

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage"
)

// sysfs makes a tree of files by path.
func sysfs(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestPartitionsFromSysfs(t *testing.T) {
	root := sysfs(t, map[string]string{
		"class/block/vda/size":             "4194304\n",
		"class/block/vda/dev":              "254:0\n",
		"class/block/vda/queue/rotational": "1\n",
		"class/block/vda/vda10/partition":  "10\n", "class/block/vda/vda10/size": "2048\n", "class/block/vda/vda10/dev": "254:10\n",
		"class/block/vda/vda10/uevent":   "MAJOR=254\nDEVNAME=vda10\nPARTN=10\nPARTNAME=data\n",
		"class/block/vda/vda6/partition": "6\n", "class/block/vda/vda6/size": "131072\n", "class/block/vda/vda6/dev": "254:6\n",
		"class/block/vda/vda6/uevent": "PARTN=6\nPARTNAME=state\n",
	})
	got, err := partitions(root, "/dev/vda")
	if err != nil {
		t.Fatal(err)
	}
	want := []storage.Partition{
		{Number: 6, Name: "state", Device: "/dev/vda6", Numbers: "254:6", SizeBytes: 64 << 20},
		{Number: 10, Name: "data", Device: "/dev/vda10", Numbers: "254:10", SizeBytes: 1 << 20},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("partitions (-want +got):\n%s", d)
	}
	if _, err := partitions(root, "/dev/vdb"); err == nil {
		t.Error("a disk that is not there has partitions")
	}
}

func TestDevices(t *testing.T) {
	root := sysfs(t, map[string]string{
		"class/block/vda/size": "10\n", "class/block/sr0/size": "0\n", "class/block/ram0/size": "10\n", "class/block/loop0/size": "10\n",
		"class/block/vdb/size": "8\n", "class/block/zd0/size": "10\n", "class/block/zd16p1/size": "10\n",
	})
	got, err := Devices(root)
	if d := cmp.Diff([]string{"/dev/vda", "/dev/vdb"}, got); d != "" || err != nil {
		t.Errorf("devices: %v (-want +got):\n%s", err, d)
	}
}
