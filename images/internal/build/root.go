package build

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/go-dmverity/pkg/verity"

	"github.com/cyvive/cyvive/images/internal/sandbox"
	"github.com/cyvive/cyvive/images/internal/step"
	"github.com/cyvive/cyvive/images/internal/tree"
)

// blockBytes is the block size of EROFS and dm-verity.
const blockBytes = 4096

// erofsArgs are the options of mkfs.erofs, besides identity and time.
//
// The root is not compressed. What a node downloads is (see transport), as one
// stream with a long window, which finds what the programs have in common: 77 MB of
// a root of 325 MB, while clusters of 64 KiB, each compressed for itself with zstd's
// level 9, made 100 MB, clusters of 1 MiB 95 MB, and LZMA in clusters of 64 KiB
// 84 MB. And the node decompresses it once, not with every read.
var erofsArgs = []string{"-x-1", "--quiet"}

// root makes the EROFS root.
func (b *builder) root(ctx context.Context) error {
	t, err := b.layout()
	if err != nil {
		return err
	}
	b.results.layout = t
	var list bytes.Buffer
	if err := t.WriteList(&list); err != nil {
		return err
	}
	content, err := contentKey(t)
	if err != nil {
		return err
	}
	key := step.Key("root-5", list.String(), content, strings.Join(erofsArgs, " "), b.epoch().String(), filepath.Base(b.results.tree.Dir))
	dir, err := b.run.Cached("root", key, func(dir string) error {
		return b.makeErofs(ctx, t, key, dir)
	})
	if err != nil {
		return err
	}
	b.results.root = filepath.Join(dir, "root.erofs")
	if r := t.Get(cyviveDir + "/release.json"); r != nil {
		if err := b.write("release.json", func(f *os.File) error { _, err := f.Write(r.Data); return err }); err != nil {
			return err
		}
	}
	return b.publish("root.erofs", b.results.root)
}

// contentKey hashes the content of every file of the tree.
func contentKey(t *tree.Tree) (string, error) {
	h := sha256.New()
	for _, name := range t.Paths() {
		e := t.Get(name)
		if e.Kind != tree.File {
			continue
		}
		data, err := e.Content()
		if err != nil {
			return "", fmt.Errorf("hash %s: %w", name, err)
		}
		fmt.Fprintf(h, "%s %x\n", name, sha256.Sum256(data))
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// makeErofs writes the tree as an archive and has mkfs.erofs, in the
// throw-away tree, make a file system of it.
func (b *builder) makeErofs(ctx context.Context, t *tree.Tree, key, dir string) error {
	tarFile := filepath.Join(dir, "root.tar")
	f, err := os.Create(tarFile)
	if err != nil {
		return err
	}
	defer os.Remove(tarFile)
	defer f.Close()
	if err := t.WriteTar(f, b.epoch()); err != nil {
		return err
	}
	args := append([]string{"mkfs.erofs"}, erofsArgs...)
	args = append(args, "-T", fmt.Sprint(b.lock.Epoch), "-U", uuidOf("erofs", key), "--tar=f", "/mnt/work/root.erofs", "/mnt/work/root.tar")
	cmd, err := b.results.tree.Command(ctx, nil, []sandbox.Bind{{Source: dir, Target: "/mnt/work"}}, args...)
	if err != nil {
		return err
	}
	return b.run.Command(ctx, "root", cmd)
}

// uuidOf derives a UUID (version 8, RFC 9562 section 5.8) from content.
func uuidOf(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	u := sum[:16]
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// verity makes the hash tree of the root. Salt and UUID come from the root's
// content, so that the same root has the same root hash.
func (b *builder) verity(context.Context) error {
	sum, err := hashFile(b.results.root)
	if err != nil {
		return err
	}
	dir, err := b.run.Cached("verity", step.Key("verity-1", sum), func(dir string) error {
		hash, err := makeVerity(b.results.root, filepath.Join(dir, "root.verity"))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "roothash"), fmt.Appendf(nil, "%x\n", hash), 0o644)
	})
	if err != nil {
		return err
	}
	b.results.verity = filepath.Join(dir, "root.verity")
	hash, err := os.ReadFile(filepath.Join(dir, "roothash"))
	if err != nil {
		return err
	}
	b.results.rootHash = strings.TrimSpace(string(hash))
	if err := b.publish("roothash", filepath.Join(dir, "roothash")); err != nil {
		return err
	}
	return b.publish("root.verity", b.results.verity)
}

// makeVerity writes the hash tree of an image and returns its root hash. Salt and
// UUID come from the image's content.
func makeVerity(image, treeFile string) ([]byte, error) {
	sum, err := hashFile(image)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(image)
	if err != nil {
		return nil, err
	}
	if info.Size()%blockBytes != 0 {
		return nil, fmt.Errorf("%s has %d bytes, no multiple of the block size %d", filepath.Base(image), info.Size(), blockBytes)
	}
	salt := sha256.Sum256([]byte("cyvive verity salt " + sum))
	id := sha256.Sum256([]byte("cyvive verity uuid " + sum))
	p := verity.DefaultParams()
	p.DataBlockSize, p.HashBlockSize = blockBytes, blockBytes
	p.DataBlocks = uint64(info.Size()) / blockBytes
	p.Salt, p.SaltSize = salt[:], uint16(len(salt))
	p.HashAreaOffset = blockBytes
	copy(p.UUID[:], id[:])
	return verity.Create(&p, image, treeFile)
}
