package verity

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/go-dmverity/pkg/verity"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// makeTree hashes data of so many blocks with the library that the image
// builder's format follows too, and returns data and tree file and root hash.
func makeTree(t *testing.T, blocks int) (data, tree string, root [32]byte) {
	t.Helper()
	dir := t.TempDir()
	data, tree = filepath.Join(dir, "data"), filepath.Join(dir, "tree")
	content := make([]byte, blocks*BlockBytes)
	for i := range content {
		content[i] = byte(i * i >> 7)
	}
	if err := errors.Join(os.WriteFile(data, content, 0o600), os.WriteFile(tree, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(tree, 1<<20); err != nil {
		t.Fatal(err)
	}
	p := verity.DefaultParams()
	p.DataBlockSize, p.HashBlockSize, p.DataBlocks = BlockBytes, BlockBytes, uint64(blocks)
	p.Salt, p.SaltSize = []byte(strings.Repeat("s", 32)), 32
	p.UUID, p.HashAreaOffset = [16]byte{1, 2}, BlockBytes
	hash, err := verity.Create(&p, data, tree)
	if err != nil {
		t.Fatal(err)
	}
	return data, tree, [32]byte(hash)
}

func TestSuperblockOfLibrary(t *testing.T) {
	_, tree, _ := makeTree(t, 300)
	got, err := readSuperblock(tree)
	want := Superblock{UUID: [16]byte{1, 2}, DataBlocks: 300, Salt: []byte(strings.Repeat("s", 32))}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
}

// TestEveryByteCounts flips each bit of the superblock, but for its UUID: the
// result is an error, or another device.
func TestEveryByteCounts(t *testing.T) {
	_, tree, _ := makeTree(t, 300)
	block, err := os.ReadFile(tree)
	if err != nil {
		t.Fatal(err)
	}
	block = block[:BlockBytes]
	good, err := ParseSuperblock(block)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * BlockBytes {
		if at := bit / 8; at >= offUUID && at < offAlgorithm {
			continue
		}
		block[bit/8] ^= 1 << (bit % 8)
		if s, err := ParseSuperblock(block); err == nil && cmp.Equal(s, good) {
			t.Errorf("bit %d of byte %d changes nothing", bit%8, bit/8)
		}
		block[bit/8] ^= 1 << (bit % 8)
	}
}

func TestTarget(t *testing.T) {
	var root [32]byte
	root[0] = 0xab
	for flags, list := range map[string][]string{" 1 panic_on_corruption": {"panic_on_corruption"}, "": nil} {
		got, err := target("/dev/vda2", "/dev/vda3", root, Superblock{DataBlocks: 300, Salt: []byte{0x5a}}, list)
		if err != nil {
			t.Fatal(err)
		}
		want := "1 /dev/vda2 /dev/vda3 4096 4096 300 1 sha256 " + hex.EncodeToString(root[:]) + " 5a" + flags
		if got.Params != want || got.Length != 2400 || got.Type != "verity" {
			t.Errorf("target = %+v\nwant %s, 2400 sectors", got, want)
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	short := filepath.Join(dir, "short")
	os.WriteFile(short, []byte("verity"), 0o600)
	zeros := filepath.Join(dir, "zeros")
	os.WriteFile(zeros, make([]byte, BlockBytes), 0o600)
	for device, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file",
		short:                      "read verity superblock: unexpected EOF",
		zeros:                      "signature is",
	} {
		_, err := Open("root", "/dev/vda2", device, [32]byte{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), device) {
			t.Errorf("Open(%s): %v, want the device and %q", device, err, want)
		}
	}
}

func TestCheckAll(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	n, err := CheckAll(t.Context(), path)
	if errors.Is(err, unix.EINVAL) {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatal("REQUIRE_VM=1, but the test binary lies on a file system without O_DIRECT")
		}
		t.Skip("the test binary lies on a file system without O_DIRECT")
	}
	if err != nil || n != info.Size() {
		t.Errorf("read %d bytes of %d, %v", n, info.Size(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := CheckAll(ctx, path); err == nil {
		t.Error("a check that was called off succeeded")
	}
}

func FuzzParseSuperblock(f *testing.F) {
	block := make([]byte, BlockBytes)
	copy(block, "verity\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00")
	copy(block[offAlgorithm:], "sha256")
	f.Add(block[:512])
	f.Fuzz(func(t *testing.T, start []byte) {
		block := make([]byte, BlockBytes)
		copy(block, start)
		s, err := ParseSuperblock(block)
		if err == nil && (s.DataBlocks == 0 || len(s.Salt) > maxSaltBytes) {
			t.Errorf("ParseSuperblock let %+v through", s)
		}
	})
}
