package disk

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/go-cmp/cmp"
)

const mib = 1 << 20

func temp(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func layout() []Partition {
	return []Partition{
		{Name: "esp", Type: TypeESP, UUID: "00000000-0000-8000-8000-000000000001", SizeBytes: mib},
		{Name: "root-a", Type: TypeRootAMD64, UUID: "00000000-0000-8000-8000-000000000002", SizeBytes: 2 * mib, Content: strings.NewReader("root")},
		{Name: "data", Type: TypeLinux, UUID: "00000000-0000-8000-8000-000000000003", SizeBytes: mib},
	}
}

const diskUUID = "00000000-0000-8000-8000-0000000000FF"

func TestWrite(t *testing.T) {
	f := temp(t)
	if err := Write(f, diskUUID, layout()); err != nil {
		t.Fatal(err)
	}
	table, err := gpt.Read(file.New(f, true), sectorBytes, sectorBytes)
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		Name, Type, UUID string
		Start, Size      int64
	}
	var got []row
	for _, p := range table.Partitions {
		if p.Size != 0 {
			got = append(got, row{p.Name, string(p.Type), p.GUID, p.GetStart(), p.GetSize()})
		}
	}
	var want []row
	at := int64(alignBytes)
	for _, p := range layout() {
		want = append(want, row{p.Name, p.Type, p.UUID, at, p.SizeBytes})
		at += p.SizeBytes
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("partitions (-want +got):\n%s", d)
	}
	if !strings.EqualFold(table.UUID(), diskUUID) {
		t.Errorf("disk has the UUID %s", table.UUID())
	}
	if err := table.Verify(file.New(f, true), uint64(at+alignBytes)); err != nil {
		t.Errorf("the table does not verify: %v", err)
	}
	content := make([]byte, 4)
	if _, err := f.ReadAt(content, 2*mib); err != nil || string(content) != "root" {
		t.Errorf("root-a begins with %q, %v", content, err)
	}
}

func TestWriteTwiceIsTheSame(t *testing.T) {
	var sums [2][32]byte
	for i := range sums {
		f := temp(t)
		if err := Write(f, diskUUID, layout()); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = sha256.Sum256(b)
	}
	if sums[0] != sums[1] {
		t.Error("the same partitions gave two different images")
	}
}

func TestWriteRefuses(t *testing.T) {
	big := layout()
	big[1].Content = io.LimitReader(zeros{}, 3*mib)
	odd := layout()
	odd[0].SizeBytes = 1000
	for name, parts := range map[string][]Partition{"content too large": big, "odd size": odd} {
		if err := Write(temp(t), diskUUID, parts); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestESP(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	files := map[string][]byte{
		"/EFI/BOOT/BOOTX64.EFI":         bytes.Repeat([]byte("boot"), 40_000),
		"/EFI/cyvive/a.efi":             bytes.Repeat([]byte("kernel"), 500_000),
		"/loader/loader.conf":           []byte("timeout 0\n"),
		"/loader/entries/cyvive-a.conf": []byte("title Cyvive\n"),
		"/EFI/systemd/systemd-bootx64x": []byte("x"),
	}
	const size = 64 * mib
	var sums [2][32]byte
	for i := range sums {
		f := temp(t)
		if err := WriteESP(f, size, "ESP", files); err != nil {
			t.Fatal(err)
		}
		for name, want := range files {
			got, err := ReadESP(f, size, 0, name)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: read %d bytes that differ from the %d written", name, len(got), len(want))
			}
		}
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = sha256.Sum256(b)
	}
	if sums[0] != sums[1] {
		t.Error("the same files gave two different file systems")
	}
}
