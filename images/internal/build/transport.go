package build

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/cyvive/cyvive/images/internal/sandbox"
	"github.com/cyvive/cyvive/images/internal/step"
)

// transportWindow is how far back the compressed root refers, and so the memory
// that a node needs to decompress it. Twice of it saves 2 MB of 77.
const (
	transportWindowLog = 26
	transportWindow    = 1 << transportWindowLog
)

// transportArgs are the options of zstd. Its level 19 takes minutes, once for each
// root, and makes what every node downloads some 8 % smaller than the best that the
// library of this program does. One thread gives the same bytes on every machine.
var transportArgs = []string{"-q", "-19", fmt.Sprintf("--long=%d", transportWindowLog), "--single-thread"}

// transport compresses the root for the way to a node, by zstd of the throw-away tree.
func (b *builder) transport(ctx context.Context) error {
	sum, err := hashFile(b.results.root)
	if err != nil {
		return err
	}
	key := step.Key(append([]string{"transport-2", sum, filepath.Base(b.results.tree.Dir)}, transportArgs...)...)
	dir, err := b.run.Cached("transport", key, func(dir string) error {
		line := append([]string{"zstd"}, transportArgs...)
		line = append(line, "-o", "/mnt/work/root.erofs.zst", "/mnt/image/"+filepath.Base(b.results.root))
		cmd, err := b.results.tree.Command(ctx, nil, []sandbox.Bind{
			{Source: dir, Target: "/mnt/work"},
			{Source: filepath.Dir(b.results.root), Target: "/mnt/image"},
		}, line...)
		if err != nil {
			return err
		}
		return b.run.Command(ctx, "transport", cmd)
	})
	if err != nil {
		return err
	}
	return b.publish("root.erofs.zst", filepath.Join(dir, "root.erofs.zst"))
}
