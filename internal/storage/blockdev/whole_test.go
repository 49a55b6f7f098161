package blockdev

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/storage"
)

// junk makes a file full of bytes that are not zero.
func junk(t *testing.T, size int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "device")
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xA5}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBeyondTheEnd: a device that has no room where it is written is gone. The kernel has one for tests (full(4)).
func TestBeyondTheEnd(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &Whole{File: f}
	if _, err := w.WriteAt([]byte("x"), 0); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("got %v", err)
	}
}

func TestWholeFile(t *testing.T) {
	path := junk(t, 8<<20)
	w, err := OpenWhole(path, true)
	if err != nil {
		t.Fatal(err)
	}
	if w.SizeBytes != 8<<20 || w.SectorBytes != 512 {
		t.Errorf("%d bytes, sectors of %d", w.SizeBytes, w.SectorBytes)
	}
	if _, err := w.WriteAt([]byte("end"), 8<<20-3); err != nil {
		t.Error(err)
	}
	if err := errors.Join(w.Sync(), w.Discard(1<<20, 1<<20), w.Renew(), w.Close()); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile(path)
	if err != nil || len(data) != 8<<20 || string(data[8<<20-3:]) != "end" || data[1<<20-1] != 0xA5 || data[2<<20] != 0xA5 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if _, err := OpenWhole(filepath.Join(t.TempDir(), "nosuch"), false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no device: %v", err)
	}
	r, err := OpenWhole(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.WriteAt([]byte("x"), 0); err == nil {
		t.Error("what was opened for reading was written")
	}
}

// TestWipe: both ends are zeros, whatever the size, and nothing is known of what was there.
func TestWipe(t *testing.T) {
	for _, size := range []int{0, 1, 512, 1 << 20, 1<<20 + 512, 16<<20 - 1, 17 << 20, 17<<20 + 512, 20<<20 + 4096} {
		path := junk(t, size)
		if err := Wipe(t.Context(), path); err != nil {
			t.Errorf("%d bytes: %v", size, err)
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil || len(data) != size {
			t.Errorf("%d bytes became %d: %v", size, len(data), err)
		}
		head, tail := data[:min(size, wipeHeadBytes)], data[max(size-wipeTailBytes, 0):]
		if len(bytes.Trim(head, "\x00")) > 0 || len(bytes.Trim(tail, "\x00")) > 0 {
			t.Errorf("%d bytes: an end is not blank", size)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Wipe(ctx, junk(t, 2<<20)); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
}

// TestWipeWithoutDiscard: a disk that announces to discard, and fails at it, is wiped all the same.
func TestWipeWithoutDiscard(t *testing.T) {
	path := junk(t, 20<<20)
	w, err := OpenWhole(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.wipe(t.Context(), func(int64, int64) error { return unix.EREMOTEIO }); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile(path)
	if err != nil || len(bytes.Trim(data[:wipeHeadBytes], "\x00")) > 0 || len(bytes.Trim(data[len(data)-wipeTailBytes:], "\x00")) > 0 {
		t.Errorf("an end is not blank: %v", err)
	}
}

// TestWipePartitions: a disk that does not discard is blank at both ends of each of its partitions, also where only the copy of its table can be read. Elsewhere
// nothing is written.
func TestWipePartitions(t *testing.T) {
	const size, mib = 64 << 20, 1 << 20
	for name, damage := range map[string]int64{"whole": -1, "the primary table is damaged": sector} {
		path := filepath.Join(t.TempDir(), "disk")
		partitioned(t, path, size) // state from 1 MiB to 17, data from there to 34
		w, err := OpenWhole(path, true)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		write := func(at, n int64) {
			t.Helper()
			if _, err := w.WriteAt(bytes.Repeat([]byte{0xA5}, int(n)), at); err != nil {
				t.Fatal(err)
			}
		}
		write(mib, 60*mib)
		if damage >= 0 {
			write(damage, sector)
		}
		if err := w.wipe(t.Context(), func(int64, int64) error { return unix.EOPNOTSUPP }); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := range int64(size / mib) {
			// The head, the ends of both partitions, and the tail, where nothing was from 61 MiB on.
			want := at < 16 || at == 16 || at == 17 || at == 33 || at >= 61
			if got := len(bytes.Trim(data[at*mib:(at+1)*mib], "\x00")) == 0; got != want {
				t.Errorf("%s: MiB %d is blank: %t, want %t", name, at, got, want)
			}
		}
	}
}

// TestWipedVolume: what the node takes for its own before is blank afterwards, and becomes a file system again.
func TestWipedVolume(t *testing.T) {
	path := junk(t, 32<<20)
	disk := New(tools(t), t.TempDir())
	if err := errors.Join(Wipe(t.Context(), path), disk.Format(t.Context(), path, "data"), Wipe(t.Context(), path)); err != nil {
		t.Fatal(err)
	}
	if c, err := disk.Contents(t.Context(), path); err != nil || c != (storage.Contents{Blank: true}) {
		t.Errorf("contents %+v, %v", c, err)
	}
}

func TestMakeImage(t *testing.T) {
	onBuilder(t)
	dir := t.TempDir()
	from, image := filepath.Join(dir, "from"), filepath.Join(dir, "image")
	if err := errors.Join(os.MkdirAll(filepath.Join(from, "config"), 0o700), os.WriteFile(filepath.Join(from, "config/record-0"), []byte("text"), 0o600),
		os.WriteFile(image, nil, 0o600), os.Truncate(image, 64<<20)); err != nil {
		t.Fatal(err)
	}
	disk := New(tools(t), dir)
	if err := disk.MakeImage(t.Context(), image, "state", from); err != nil {
		t.Fatal(err)
	}
	c, err := disk.Contents(t.Context(), image)
	if err != nil || c.Signature != storage.FileSystem || !c.Clean || c.Formatting {
		t.Errorf("contents %+v, %v", c, err)
	}
	debugfs, err := exec.LookPath("debugfs")
	if err != nil {
		debugfs = "/usr/sbin/debugfs"
	}
	for command, want := range map[string]string{"cat /config/record-0": "text", "stat /config": "Mode:  0700", "stat /config/record-0": "Mode:  0600"} {
		out, err := exec.Command(debugfs, "-R", command, image).Output()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %q, %v; want %q", command, out, err, want)
		}
	}
	if err := disk.MakeImage(t.Context(), image, "state", filepath.Join(dir, "nosuch")); err == nil {
		t.Error("a folder that is not there was taken")
	}
}

func TestInUse(t *testing.T) {
	root := sysfs(t, map[string]string{
		"class/block/vdb/dev": "254:16\n", "class/block/vdb/size": "1\n",
		"class/block/vdb/vdb1/partition": "1\n", "class/block/vdb/vdb1/dev": "254:17\n", "class/block/vdb/vdb1/holders/dm-0/x": "",
		"class/block/vdb/vdb2/partition": "2\n", "class/block/vdb/vdb2/dev": "254:18\n",
		"class/block/vdb/queue/dev": "254:99\n",
		"class/block/vdc/dev":       "254:32\n", "class/block/vdc/holders/md0/x": "",
		"class/block/vdd/dev": "254:48\n",
		"mountinfo": "22 1 254:18 / /mnt/a\\040b rw - ext4 /dev/vdb2 rw\n23 1 254:18 /x /srv rw - ext4 /dev/vdb2 rw\n24 1 0:5 / /proc rw - proc proc rw\n" +
			"25 1 254:99 / /q rw - x x x\nshort line\n",
	})
	d := &Disk{sysfs: root}
	for name, want := range map[string]string{
		"vdb": `vdb1 is part of dm-0, vdb2 is mounted on /mnt/a\040b, vdb2 is mounted on /srv`, "vdc": "vdc is part of md0", "vdd": "",
	} {
		got, err := d.InUse(name, filepath.Join(root, "mountinfo"))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	if _, err := d.InUse("vdx", filepath.Join(root, "mountinfo")); err == nil {
		t.Error("a disk that is not there is used by nobody")
	}
	if _, err := d.InUse("vdd", filepath.Join(root, "nosuch")); err == nil {
		t.Error("without a list of mounts nobody uses the disk")
	}
}

// FuzzMounts reads anything as a list of mounts.
func FuzzMounts(f *testing.F) {
	f.Add("22 1 254:18 / /mnt rw - ext4 /dev/vdb2 rw\n", "254:18")
	f.Fuzz(func(t *testing.T, text, number string) {
		for _, line := range mountedOn(text, map[string]string{number: "vdb2"}) {
			if !strings.HasPrefix(line, "vdb2 is mounted on ") || !strings.Contains(text, number) {
				t.Errorf("%q", line)
			}
		}
	})
}
