package blockdev

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/zfs/label"
	"github.com/cyvive/cyvive/internal/storage/zfs/label/labeltest"
)

// TestContentsOfPool: a device of a pool is known by any of its labels, and the mark of one that is being made lies where they do not.
func TestContentsOfPool(t *testing.T) {
	const size, labelBytes = 16 << 20, 256 << 10
	disk := New(tools(t), t.TempDir())
	path := image(t, size)
	node := label.Label{Name: "node", PoolGUID: 11, GUID: 12, State: label.Active, TXG: 4}
	write := func(l label.Label, places ...int) {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range places {
			labeltest.Put(data, at, binary.LittleEndian, labeltest.Packed(l))
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(name string, want storage.Contents) {
		t.Helper()
		got, err := disk.Contents(t.Context(), path)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
	}
	if err := disk.BeginPool(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	check("marked", storage.Contents{Formatting: true})
	clearAt := func(at, n int) {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		clear(data[at : at+n])
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	clearAt(0, 4<<10) // as zpool create does
	check("begun", storage.Contents{Formatting: true})
	write(node, labelBytes)
	clearAt(labelBytes+16<<10, 512)
	check("with a label that is not whole", storage.Contents{Signature: storage.PoolMember, Formatting: true})
	pool := storage.Contents{Signature: storage.PoolMember, Formatting: true, Pool: storage.PoolLabel{Name: "node", GUID: 11}}
	write(node, 0, labelBytes, size-2*labelBytes, size-labelBytes)
	check("being made", pool)
	if err := disk.FinishFormat(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	pool.Formatting = false
	check("made", pool)

	node.State, node.TXG, pool.Pool.Exported = label.Exported, 5, true
	write(node, 0)
	check("exported, as the newest label has it", pool)
	clearAt(0, 1<<20)
	pool.Blank, pool.Pool.Exported = true, false
	check("with a blank beginning", pool)
	write(label.Label{GUID: 1, State: label.Spare, TXG: 9}, 0)
	check("of a spare", storage.Contents{Signature: "a spare device of ZFS"})
}
