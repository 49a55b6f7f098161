package blockdev

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cyvive/cyvive/internal/storage"
)

// tools returns the build machine's e2fsprogs.
func tools(t *testing.T) Tools {
	t.Helper()
	find := func(name string) string {
		for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin"} {
			if path := filepath.Join(dir, name); exists(path) {
				return path
			}
		}
		if os.Getenv("REQUIRE_ROOT") == "1" {
			t.Fatalf("%s is not installed, and this environment was promised to have it", name)
		}
		t.Skipf("%s of e2fsprogs is not installed", name)
		return ""
	}
	return Tools{Mke2fs: find("mke2fs"), E2fsck: find("e2fsck")}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// image returns a file of zeros.
func image(t *testing.T, sizeBytes int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, sizeBytes); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFileSystemFromBlankToRepaired(t *testing.T) {
	const size = 64 << 20
	disk := New(tools(t), t.TempDir())
	path := image(t, size)
	contents := func() storage.Contents {
		t.Helper()
		c, err := disk.Contents(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if got := contents(); got != (storage.Contents{Blank: true}) {
		t.Errorf("blank image: %+v", got)
	}
	if err := disk.Format(t.Context(), path, "data"); err != nil {
		t.Fatal(err)
	}
	want := storage.Contents{Signature: storage.FileSystem, Clean: true}
	if got := contents(); got != want {
		t.Errorf("after Format: %+v, want %+v", got, want)
	}
	if err := disk.Check(t.Context(), path); err != nil {
		t.Errorf("check of a clean file system: %v", err)
	}
	// The kernel sets this bit while the file system is mounted.
	patch(t, path, func(sb []byte) { sb[0x60] |= incompatRecover })
	if got := contents(); got.Clean || got.Signature != storage.FileSystem {
		t.Errorf("with a journal to replay: %+v", got)
	}
	if err := disk.Check(t.Context(), path); err != nil {
		t.Errorf("check of an unclean file system: %v", err)
	}
	if got := contents(); got != want {
		t.Errorf("after Check: %+v, want %+v", got, want)
	}
}

// patch changes the superblock and its checksum.
func patch(t *testing.T, path string, do func(sb []byte)) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sb := make([]byte, superblockBytes)
	if _, err := f.ReadAt(sb, superblockOffset); err != nil {
		t.Fatal(err)
	}
	do(sb)
	setChecksum(sb)
	if _, err := f.WriteAt(sb, superblockOffset); err != nil {
		t.Fatal(err)
	}
}

func TestDamageIsNotBlank(t *testing.T) {
	disk := New(tools(t), t.TempDir())
	path := image(t, 64<<20)
	if err := disk.Format(t.Context(), path, "data"); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{0xFF}, superblockOffset+0x28); err != nil {
		t.Fatal(err)
	}
	if c, err := disk.Contents(t.Context(), path); err != nil || c.Signature != "a damaged ext4 file system" {
		t.Errorf("one wrong byte in the superblock: %+v, %v", c, err)
	}
	if _, err := f.WriteAt(make([]byte, superblockBytes), superblockOffset); err != nil {
		t.Fatal(err)
	}
	if c, err := disk.Contents(t.Context(), path); err != nil || c.Signature != "" || c.Blank || c.Formatting {
		t.Errorf("superblock overwritten: %+v, %v; the rest is not blank", c, err)
	}
}

func TestInterruptedFormatLeavesItsMark(t *testing.T) {
	onBuilder(t)
	path := image(t, 64<<20)
	failing, err := exec.LookPath("false")
	if err != nil {
		t.Fatal(err)
	}
	disk := New(Tools{Mke2fs: failing}, t.TempDir())
	if err := disk.Format(t.Context(), path, "data"); err == nil {
		t.Fatal("a failing mke2fs was taken for success")
	}
	if c, err := disk.Contents(t.Context(), path); err != nil || !c.Formatting {
		t.Errorf("after the failure: %+v, %v", c, err)
	}
	whole := New(tools(t), t.TempDir())
	if err := whole.Format(t.Context(), path, "data"); err != nil {
		t.Fatal(err)
	}
	if c, err := whole.Contents(t.Context(), path); err != nil || c.Formatting || c.Signature != storage.FileSystem {
		t.Errorf("after the second attempt: %+v, %v", c, err)
	}
}

// TestCutAmidSuperblock: of the superblock, which is written last, one of two sectors got to the disk. What is being made is made again; anything else is left
// alone.
func TestCutAmidSuperblock(t *testing.T) {
	disk := New(tools(t), t.TempDir())
	path := image(t, 64<<20)
	if err := disk.Format(t.Context(), path, "data"); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, superblockBytes/2), superblockOffset+superblockBytes/2); err != nil {
		t.Fatal(err)
	}
	if c, err := disk.Contents(t.Context(), path); err != nil || c.Signature != "a damaged ext4 file system" {
		t.Errorf("without a mark: %+v, %v", c, err)
	}
	if err := setMark(path, atEnd, formatMark()); err != nil {
		t.Fatal(err)
	}
	if c, err := disk.Contents(t.Context(), path); err != nil || c != (storage.Contents{Formatting: true}) {
		t.Errorf("with the mark: %+v, %v; want what can be made again", c, err)
	}
}

// onBuilder skips a test in the virtual machine, whose root has none of the programs that it takes from the machine which builds, where it runs too.
func onBuilder(t *testing.T) {
	t.Helper()
	if os.Getenv("CYVIVE_VM") == "1" {
		t.Skip("takes programs of the machine that builds, and runs there")
	}
}

func TestForeignFileSystemIsNamed(t *testing.T) {
	onBuilder(t)
	mkswap, err := exec.LookPath("/usr/sbin/mkswap")
	if err != nil {
		mkswap, err = exec.LookPath("/sbin/mkswap")
	}
	if err != nil {
		t.Fatalf("mkswap of util-linux is needed: %v", err)
	}
	path := image(t, 16<<20)
	if out, err := exec.Command(mkswap, path).CombinedOutput(); err != nil {
		t.Fatalf("mkswap: %v: %s", err, out)
	}
	if c, err := New(Tools{}, t.TempDir()).Contents(t.Context(), path); err != nil || c.Signature != "swap" {
		t.Errorf("swap: %+v, %v", c, err)
	}
}

func TestRecordsAreKeptOnce(t *testing.T) {
	disk := New(Tools{}, filepath.Join(t.TempDir(), "storage"))
	if got, err := disk.Records(); err != nil || len(got) != 0 {
		t.Errorf("before: %v, %v", got, err)
	}
	for _, clean := range []bool{false, true} {
		if err := disk.Record("data", clean); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := disk.Records(); err != nil || len(got) != 1 || got["data"] {
		t.Errorf("after: %v, %v; the first record counts", got, err)
	}
}

func FuzzSuperblock(f *testing.F) {
	sb := make([]byte, superblockBytes)
	sb[0x38], sb[0x39], sb[0x3A] = 0x53, 0xEF, 1
	f.Add(sb)
	f.Add(sb[:100])
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseSuperblock(data)
		if err != nil && got != (superblock{}) {
			t.Errorf("both %+v and %v", got, err)
		}
		if len(data) < superblockBytes && !errors.Is(err, errNoSuperblock) {
			t.Errorf("%d bytes: %v", len(data), err)
		}
	})
}
