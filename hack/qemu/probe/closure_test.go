package probe

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseLoaded(t *testing.T) {
	const list = "\tlinux-vdso.so.1 (0x00007ffd1b5f2000)\n" +
		"\tlibaio.so.1 => /lib/x86_64-linux-gnu/libaio.so.1 (0x00007f0b0a000000)\n" +
		"\tlibceph-common.so.2 => /usr/lib/x86_64-linux-gnu/ceph/libceph-common.so.2 (0x00007f0b08000000)\n" +
		"\t/lib64/ld-linux-x86-64.so.2 (0x00007f0b0a400000)\n"
	got, err := parseLoaded(list)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/lib/x86_64-linux-gnu/libaio.so.1", "/usr/lib/x86_64-linux-gnu/ceph/libceph-common.so.2", "/lib64/ld-linux-x86-64.so.2"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if got, err := parseLoaded("\tstatically linked\n"); err != nil || len(got) > 0 {
		t.Errorf("a static program: %q, %v", got, err)
	}
	if _, err := parseLoaded("\tlibaio.so.1 => not found\n"); err == nil || !strings.Contains(err.Error(), "libaio.so.1") {
		t.Errorf("a library that is not there: got %v, want an error that names it", err)
	}
}

// TestWriteInitramfs: what the probe is to have lies in the archive under the path that it has here, behind the image's own archive.
func TestWriteInitramfs(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"modules.dep": "", "modules.builtin": "kernel/drivers/virtio/virtio_pci.ko\nkernel/drivers/char/virtio_console.ko\n",
		"base": "first", "guest": "the guest program", "tool": "a tool's bytes",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path, tool := filepath.Join(dir, "initramfs"), filepath.Join(dir, "tool")
	if err := WriteInitramfs(path, filepath.Join(dir, "base"), dir, filepath.Join(dir, "guest"), tool); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The name ends with a zero, and is filled up to a multiple of four bytes together with the header of 110 (package cpio).
	name := "probe/files" + tool + "\x00"
	for (110+len(name))%4 != 0 {
		name += "\x00"
	}
	if !bytes.HasPrefix(got, []byte("first\x00\x00\x00070701")) || !bytes.Contains(got, []byte(name+"a tool's bytes")) {
		t.Errorf("the archive has no file %q with the tool's bytes behind the first archive", name)
	}
	if err := WriteInitramfs(path, filepath.Join(dir, "base"), dir, filepath.Join(dir, "guest"), "tool"); err == nil || !strings.Contains(err.Error(), "whole path") {
		t.Errorf("a path that is not whole: got %v", err)
	}
}
