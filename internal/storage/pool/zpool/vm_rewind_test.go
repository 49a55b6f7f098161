package zpool_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/storage/pool"
)

// TestVMRewindBack: a pool whose latest state cannot be read could be in the one before, which a dry run says and does not do. Imported by the rewind it is, and all
// but what was set last is there.
func TestVMRewindBack(t *testing.T) {
	longOnly(t)
	z := vm(t)
	ctx := t.Context()
	dir := t.TempDir()
	d := files(t, dir, "a")
	must(t, os.Truncate(d[0], pastBytes))
	must(t, z.Create(ctx, pool.Creation{Pool: "past", Groups: []pool.Group{{Devices: d}}}))
	guid := one(t, z, "past").GUID
	// Each in a transaction group of its own, and none in the labels, which would be newer than the state that is returned to.
	for _, property := range []string{"autoreplace", "autoexpand", "listsnapshots"} {
		must(t, z.Set(ctx, "past", property, "on"))
	}
	crashed := copied(t, d[0])
	must(t, z.Export(ctx, "past"))
	spoilLatest(t, crashed)
	must(t, os.WriteFile(d[0], crashed, 0o600))
	found, err := z.Importable(ctx, []string{dir})
	must(t, err)
	if len(found) != 1 || found[0].Problem != pool.Damaged {
		t.Fatalf("without its latest state: %+v", found)
	}
	got, err := z.RewindDryRun(ctx, guid, []string{dir})
	if err != nil || !got.Possible || !strings.HasPrefix(got.Words, "Would be able to return past to its state as of ") || got.Lost > time.Minute {
		t.Fatalf("dry run: %+v, %v", got, err)
	}
	if pools, err := z.Pools(ctx); err != nil || len(pools) != 0 {
		t.Errorf("it is imported after a dry run: %+v, %v", pools, err)
	}
	after, err := os.ReadFile(d[0])
	if err != nil || !bytes.Equal(crashed, after) {
		t.Errorf("the dry run has written to the device (%v)", err)
	}
	if err := z.Import(ctx, pool.Import{GUID: guid, Devices: []string{dir}, Force: got.Claimed}); err == nil {
		t.Fatal("it was imported, and nobody has given its latest state up")
	}
	must(t, z.Import(ctx, pool.Import{GUID: guid, Devices: []string{dir}, Force: got.Claimed, Rewind: true}))
	p := one(t, z, "past")
	if p.State != pool.Online {
		t.Errorf("after the rewind it is %s", p.State)
	}
	for property, want := range map[string]string{"autoreplace": "on", "autoexpand": "on", "listsnapshots": "off"} {
		if value := p.Properties[property].Value; value != want {
			t.Errorf("after the rewind %s is %q, want %s", property, value, want)
		}
	}
}

const (
	// pastBytes is the least that a device has (SPA_MINDEVSIZE in include/sys/fs/zfs.h): it is in memory several times.
	pastBytes = 64 << 20
	// labelsBytes is what two labels take, of which a device has two at each end.
	labelsBytes = 512 << 10
)

// copied is a device as a power cut leaves it, of a pool that is in use. Its last labels are read first: all that they lead to is there still when it is read, as what
// is freed is not written over at once.
func copied(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	data := make([]byte, pastBytes)
	for _, part := range [][2]int64{{pastBytes - labelsBytes, pastBytes}, {0, pastBytes - labelsBytes}} {
		if _, err := f.ReadAt(data[part[0]:part[1]], part[0]); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

// spoilLatest clears what the latest uberblock of a device leads to (include/sys/uberblock_impl.h and struct blkptr in include/sys/spa.h, OpenZFS 2.3.9): the root of all
// metadata, which is there three times.
func spoilLatest(t *testing.T, data []byte) {
	t.Helper()
	const (
		labelBytes, ringAt, slotBytes = labelsBytes / 2, labelsBytes / 4, 1 << 10 // VDEV_UBERBLOCK_SHIFT is 10 at least
		magic, txgAt, rootAt          = 0x00bab10c, 16, 40
		dataAt                        = 4 << 20 // VDEV_LABEL_START_SIZE
	)
	number := binary.LittleEndian.Uint64
	var latest []byte
	for _, at := range []int{0, labelBytes, len(data) - 2*labelBytes, len(data) - labelBytes} {
		for slot := at + ringAt; slot < at+labelBytes; slot += slotBytes {
			u := data[slot : slot+slotBytes]
			if number(u) == magic && (latest == nil || number(u[txgAt:]) > number(latest[txgAt:])) {
				latest = u
			}
		}
	}
	if latest == nil {
		t.Fatal("the device has no uberblock")
	}
	for i := range 3 {
		dva := latest[rootAt+16*i:]
		size := (number(dva) & 0xffffff) << 9
		at := (number(dva[8:])&(1<<63-1))<<9 + dataAt
		if size == 0 || at+size > uint64(len(data)) {
			t.Fatalf("copy %d of the latest state has %d bytes at byte %d", i+1, size, at)
		}
		clear(data[at : at+size])
	}
}
