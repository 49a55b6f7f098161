package build

import (
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestTransportIsTheRoot: what a node downloads becomes the root again, within the
// memory of its window.
func TestTransportIsTheRoot(t *testing.T) {
	builtImage(t) // skips, or fails, where there is no image
	dir := filepath.Join("../../../out", arch())
	hash := func(r io.Reader) [sha256.Size]byte {
		t.Helper()
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			t.Fatal(err)
		}
		return [sha256.Size]byte(h.Sum(nil))
	}
	open := func(name string) *os.File {
		t.Helper()
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	d, err := zstd.NewReader(open("root.erofs.zst"), zstd.WithDecoderMaxWindow(transportWindow))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if hash(d) != hash(open("root.erofs")) {
		t.Error("root.erofs.zst is not root.erofs")
	}
}

// TestTransportArgs: what is released is made as small as it gets, and what a test
// builds is not; nodes decompress both with the same memory.
func TestTransportArgs(t *testing.T) {
	for aside, want := range map[string][]string{"": {"-19", "--long=26"}, "/dir": {"-3", "--long=26"}} {
		b := &builder{}
		b.Aside = aside
		if got := b.transportArgs(); !slices.Equal(got, want) {
			t.Errorf("results aside in %q: options %q, want %q", aside, got, want)
		}
	}
	if transportWindow != 64<<20 {
		t.Errorf("the window is of %d bytes; nodes of earlier releases decompress up to 64 MiB", transportWindow)
	}
}
