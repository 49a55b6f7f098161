package build

import (
	"os"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEntry: the test of internal/storage/loader in the root module holds what
// the node writes against the same file.
func TestEntry(t *testing.T) {
	want, err := os.ReadFile("../../testdata/" + path.Base(entryPath))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(entry("0.1.0"))); d != "" {
		t.Errorf("entry (-want +got):\n%s", d)
	}
}

// TestSlotsHoldTheirTrees: the hash tree of a root that fills its partition fits
// into its own, so that only one limit has to be thought of.
func TestSlotsHoldTheirTrees(t *testing.T) {
	const hashBytes = 32
	bytes := int64(blockBytes) // the superblock
	for blocks := int64(rootBytes / blockBytes); blocks > 1; {
		blocks = (blocks*hashBytes + blockBytes - 1) / blockBytes
		bytes += blocks * blockBytes
	}
	if bytes > verityBytes {
		t.Errorf("the tree of a root of %d bytes has %d, its partition %d", int64(rootBytes), bytes, int64(verityBytes))
	}
}

// TestFits: an image is refused that leaves no room for the next.
func TestFits(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, size int64) string {
		name = dir + "/" + name
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, size); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for name, c := range map[string]struct {
		uki, root, tree int64
		says            string
	}{
		"fits":             {40 * mib, 400 * mib, 4 * mib, ""},
		"to the last byte": {168 * mib, rootBytes, verityBytes, ""},
		"kernel too large": {168*mib + 1, 400 * mib, 4 * mib, "kernel image"},
		"root too large":   {40 * mib, rootBytes + 1, 4 * mib, "root.erofs"},
		"tree too large":   {40 * mib, 400 * mib, verityBytes + 1, "root.verity"},
	} {
		b := &builder{}
		b.results.uki = make([]byte, c.uki)
		b.results.root, b.results.verity = file("root.erofs", c.root), file("root.verity", c.tree)
		err := b.fits()
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
}
