package luks

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDiskName: names are made that are known again, and what a header may say otherwise is none: it becomes the name of a file with a key.
func TestDiskName(t *testing.T) {
	first, second := NewDiskName(), NewDiskName()
	if !IsDiskName(first) || !IsDiskName(second) || first == second || len(first) > labelBytes {
		t.Errorf("made %q and %q", first, second)
	}
	for _, label := range []string{
		"", "state", "data", "pool-", "pool-0123456789abcde", "pool-0123456789abcdef0", "pool-0123456789ABCDEF", "pool-../../../../tmp/x", "pool-0123456789abcde/",
		"pool-0123456789abcde\x00", "xpool-0123456789abcdef",
	} {
		if IsDiskName(label) {
			t.Errorf("%q is taken for the name of a disk", label)
		}
	}
}

// TestVMOpenDisk: what is written is on the disk encrypted only, what is discarded reaches the disk where that can, and a volume is opened again as it was.
func TestVMOpenDisk(t *testing.T) {
	disk := scratch(t)
	c := mapper(t)
	key, _ := NewKey()
	name := NewDiskName()
	if err := c.Format(t.Context(), disk, name, key); err != nil {
		t.Fatal(err)
	}
	if h, err := Inspect(disk); err != nil || h.Label != name {
		t.Fatalf("header %+v, %v", h, err)
	}
	wrong, _ := NewKey()
	if err := c.OpenDisk(t.Context(), disk, MapperPrefix+name, wrong); !errors.Is(err, ErrWrongKey) {
		t.Errorf("with another key: %v", err)
	}
	text := bytes.Repeat([]byte("plain text of 16"), 4096/16)
	for round := range 2 {
		if err := c.OpenDisk(t.Context(), disk, MapperPrefix+name, key); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			overwrite(t, MapperDir+MapperPrefix+name, 0, text)
		}
		if got := read(t, MapperDir+MapperPrefix+name, 0, len(text)); !bytes.Equal(got, text) {
			t.Errorf("round %d: read %.40q", round, got)
		}
		below, above := maxDiscard(t, filepath.Base(disk)), maxDiscard(t, mappedTo(t, MapperPrefix+name))
		if (below == "0") != (above == "0") {
			t.Errorf("the disk discards %s bytes at once, the volume %s", below, above)
		}
		if err := c.Close(t.Context(), MapperPrefix+name); err != nil {
			t.Fatal(err)
		}
	}
	if raw := read(t, disk, HeaderBytes, len(text)); bytes.Contains(raw, []byte("plain text")) {
		t.Errorf("the disk holds %.40q", raw)
	}
}

// mappedTo is the kernel's name of an open volume.
func mappedTo(t *testing.T, name string) string {
	t.Helper()
	names, err := filepath.Glob("/sys/class/block/dm-*/dm/name")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range names {
		if got, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(got)) == name {
			return filepath.Base(filepath.Dir(filepath.Dir(file)))
		}
	}
	t.Fatalf("no device is %s", name)
	return ""
}

// maxDiscard is how many bytes a device discards at once, as the kernel says it (Documentation/ABI/stable/sysfs-block).
func maxDiscard(t *testing.T, device string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/sys/class/block", device, "queue/discard_max_bytes"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}
