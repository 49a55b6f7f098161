package blockdev

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/partition/gpt"
)

// TestIdentify gives partitions new UUIDs and reads them with another implementation.
func TestIdentify(t *testing.T) {
	const size = 64 << 20
	path := t.TempDir() + "/disk"
	partitioned(t, path, size)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := readTable(f, sector, size)
	if err != nil {
		t.Fatal(err)
	}
	id := [16]byte{0: 0x00, 1: 0x01, 2: 0x02, 3: 0x03, 4: 0x04, 5: 0x05, 6: 0x06, 7: 0x07, 8: 0x08, 15: 0x0f}
	if err := table.identify(2, id); err != nil {
		t.Fatal(err)
	}
	if err := table.identify(3, id); err == nil {
		t.Error("a partition that is not there got a name")
	}
	if err := table.write(f, f.Sync); err != nil {
		t.Fatal(err)
	}
	again, err := readTable(f, sector, size)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.uuid(2); got != id {
		t.Errorf("read again %x, want %x", got, id)
	}
	got, err := gpt.Read(f, sector, sector)
	if err != nil {
		t.Fatal(err)
	}
	if want := "00010203-0405-0607-0800-00000000000f"; !strings.EqualFold(got.Partitions[1].GUID, want) {
		t.Errorf("go-diskfs reads %s, want %s", got.Partitions[1].GUID, want)
	}
	if err := got.Verify(f, size); err != nil {
		t.Errorf("verify by go-diskfs: %v", err)
	}
}

func TestWritePartition(t *testing.T) {
	const size = 3 * syncEvery / 2
	device := filepath.Join(t.TempDir(), "device")
	if err := os.WriteFile(device, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	for _, n := range []int{0, 1, syncEvery, syncEvery + 1, size} {
		if err := writePartition(t.Context(), device, size, bytes.NewReader(content[:n])); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		got, err := os.ReadFile(device)
		if err != nil || !bytes.Equal(got[:n], content[:n]) || len(got) != size {
			t.Errorf("%d bytes: what is on the device differs, %v", n, err)
		}
	}
	if err := writePartition(t.Context(), device, size, io.MultiReader(bytes.NewReader(content), strings.NewReader("x"))); err == nil {
		t.Error("more than the device holds was taken")
	}
	if info, err := os.Stat(device); err != nil || info.Size() != size {
		t.Errorf("the device has grown: %v", err)
	}
	broken := errors.New("broken")
	if err := writePartition(t.Context(), device, size, io.MultiReader(strings.NewReader("x"), failing{broken})); !errors.Is(err, broken) {
		t.Errorf("a reader that fails: %v", err)
	}
	if err := writePartition(t.Context(), device, size, io.MultiReader(bytes.NewReader(content), failing{broken})); !errors.Is(err, broken) {
		t.Errorf("a reader that fails where the device is full: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := writePartition(ended, device, size, bytes.NewReader(content)); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
