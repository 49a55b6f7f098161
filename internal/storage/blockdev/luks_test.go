package blockdev

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
)

// cryptsetup returns the build machine's.
func cryptsetup(t *testing.T) luks.Cryptsetup {
	t.Helper()
	for _, path := range []string{"/usr/sbin/cryptsetup", "/usr/bin/cryptsetup", "/sbin/cryptsetup"} {
		if exists(path) {
			return luks.Cryptsetup{Program: path}
		}
	}
	if os.Getenv("REQUIRE_ROOT") == "1" {
		t.Fatal("cryptsetup is not installed, and this environment was promised to have it")
	}
	t.Skip("cryptsetup is not installed")
	return luks.Cryptsetup{}
}

// TestContentsOfEncrypted: an encrypted volume is known from its header, from either copy; a file system made over one is a file system.
func TestContentsOfEncrypted(t *testing.T) {
	c, disk := cryptsetup(t), New(tools(t), t.TempDir())
	path := image(t, 32<<20)
	key, _ := luks.NewKey()
	if err := c.Format(t.Context(), path, "state", key); err != nil {
		t.Fatal(err)
	}
	check := func(name string, want storage.Contents) {
		t.Helper()
		got, err := disk.Contents(t.Context(), path)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
	}
	write := func(at int64, data string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte(data), at); err != nil {
			t.Fatal(err)
		}
	}
	check("made", storage.Contents{Signature: storage.Encrypted})
	if err := setMark(path, atEnd, formatMark()); err != nil {
		t.Fatal(err)
	}
	check("being made", storage.Contents{Signature: storage.Encrypted, Formatting: true})
	if err := setMark(path, atEnd, make([]byte, markBytes)); err != nil {
		t.Fatal(err)
	}
	write(4096, "junk")
	check("first copy damaged", storage.Contents{Signature: storage.Encrypted})
	write(16<<10+4096, "junk")
	check("both copies damaged", storage.Contents{Signature: "a damaged encrypted volume"})
	if err := setMark(path, atEnd, formatMark()); err != nil {
		t.Fatal(err)
	}
	check("both copies damaged while it is made", storage.Contents{Formatting: true})
	if err := setMark(path, atEnd, make([]byte, markBytes)); err != nil {
		t.Fatal(err)
	}
	write(6, "\x00\x01")
	write(16<<10, "junk")
	check("another version", storage.Contents{Signature: "an encrypted volume of another form"})

	if err := c.Format(t.Context(), path, "state", key); err != nil {
		t.Fatal(err)
	}
	if err := disk.Format(t.Context(), path, "state"); err != nil {
		t.Fatal(err)
	}
	got, err := disk.Contents(t.Context(), path)
	if err != nil || got.Signature != storage.FileSystem || !got.Clean {
		t.Errorf("a file system over it: %+v, %v", got, err)
	}
}
