package ramroot

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/go-cmp/cmp"
)

const rootHash = "00112233445566778899aabbccddeeffffeeddccbbaa99887766554433221100"

// imageDir is a folder like that of an image, as far as it is looked at.
func imageDir(t *testing.T) (dir, root, tree string) {
	t.Helper()
	dir, root, tree = t.TempDir(), strings.Repeat("root", 300_000), strings.Repeat("tree", 1000)
	for name, text := range map[string]string{
		"roothash": rootHash + "\n", "root.erofs": root, "root.verity": tree, "initramfs.zst": "first archive",
		"modules/modules.dep": "kernel/loop.ko:\n", "modules/modules.builtin": "", "modules/kernel/loop.ko": "module", "guest": "program",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, root, tree
}

// unpack reads the files of an archive in the newc format back.
func unpack(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for len(data) > 110 {
		field := func(i int) int {
			n, err := strconv.ParseUint(string(data[6+8*i:14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		aligned := func(n int) int { return (n + 3) &^ 3 }
		size, nameSize := field(6), field(11)
		name := string(data[110 : 110+nameSize-1])
		data = data[aligned(110+nameSize):]
		files["/"+name] = data[:size]
		data = data[aligned(size):]
	}
	return files
}

// TestWriteInitramfs puts the disk together as the guest does, and reads it as stage 1 does: by the partitions' UUIDs.
func TestWriteInitramfs(t *testing.T) {
	dir, root, tree := imageDir(t)
	path := filepath.Join(dir, "initramfs")
	if err := WriteInitramfs(path, dir, filepath.Join(dir, "guest")); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const first = "first archive\x00\x00\x00"
	if !bytes.HasPrefix(data, []byte(first+"070701")) {
		t.Fatalf("it begins with %q", data[:32])
	}
	files := unpack(t, data[len(first):])
	if string(files[GuestPath]) != "program" || string(files[ModuleDir+"/00-loop.ko"]) != "module" {
		t.Errorf("guest program %q, module %q", files[GuestPath], files[ModuleDir+"/00-loop.ko"])
	}
	size, err := strconv.ParseInt(string(files[SizePath]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := os.Create(filepath.Join(dir, "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	head, tail := files[HeadPath], files[TailPath]
	if int64(len(head)+len(tail)) > size-2*volumeBytes {
		t.Errorf("%d and %d of %d bytes are in the archive: the volumes are to have no place there", len(head), len(tail), size)
	}
	_, headErr := disk.WriteAt(head, 0)
	_, tailErr := disk.WriteAt(tail, size-int64(len(tail)))
	if err := errors.Join(headErr, tailErr); err != nil {
		t.Fatal(err)
	}
	table, err := gpt.Read(file.New(disk, true), sectorBytes, sectorBytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Verify(file.New(disk, true), uint64(size)); err != nil {
		t.Error(err)
	}
	content := map[string]string{"root": root, "verity": tree}
	var names, ids []string
	for _, p := range table.Partitions {
		names, ids = append(names, p.Name), append(ids, strings.ToLower(strings.ReplaceAll(p.GUID, "-", "")))
		got := make([]byte, len(content[p.Name]))
		if _, err := disk.ReadAt(got, int64(p.Start)*sectorBytes); err != nil || string(got) != content[p.Name] {
			t.Errorf("%s has another content, %v", p.Name, err)
		}
	}
	if d := cmp.Diff([]string{"root", "verity", "state", "data"}, names); d != "" {
		t.Fatalf("partitions (-want +got):\n%s", d)
	}
	if got := ids[0] + ids[1]; got != rootHash {
		t.Errorf("the UUIDs of root and tree are %s together, want the root hash", got)
	}
}

func TestWriteInitramfsRefuses(t *testing.T) {
	dir, _, _ := imageDir(t)
	if err := os.WriteFile(filepath.Join(dir, "roothash"), []byte("12"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteInitramfs(filepath.Join(dir, "initramfs"), dir, filepath.Join(dir, "guest")); err == nil || !strings.Contains(err.Error(), "root hash") {
		t.Errorf("got %v", err)
	}
}
