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

// transportArgs are the options of zstd for the root. Level 19 takes minutes, once for
// each root, and makes what every node downloads some 8 % smaller than the best that
// the library of this program does. A build for a test is compressed quickly: nobody
// downloads it from afar, and a test makes several.
func (b *builder) transportArgs() []string {
	level := "-19"
	if b.Aside != "" {
		level = "-3"
	}
	return []string{level, fmt.Sprintf("--long=%d", transportWindowLog)}
}

// transport compresses the root for the way to a node.
func (b *builder) transport(ctx context.Context) error {
	sum, err := hashFile(b.results.root)
	if err != nil {
		return err
	}
	args := b.transportArgs()
	key := step.Key(append([]string{"transport-2", sum, filepath.Base(b.results.tree.Dir)}, args...)...)
	dir, err := b.run.Cached("transport", key, func(dir string) error {
		return b.compress(ctx, "transport", dir, "root.erofs.zst", b.results.root, args...)
	})
	if err != nil {
		return err
	}
	return b.publish("root.erofs.zst", filepath.Join(dir, "root.erofs.zst"))
}

// compress has zstd of the throw-away tree compress the file source to the file target
// in dir, for a step. One thread gives the same bytes on every machine.
func (b *builder) compress(ctx context.Context, name, dir, target, source string, args ...string) error {
	line := append([]string{"zstd", "-q", "--single-thread"}, args...)
	line = append(line, "-o", "/mnt/work/"+target, "/mnt/source/"+filepath.Base(source))
	cmd, err := b.results.tree.Command(ctx, nil, []sandbox.Bind{
		{Source: dir, Target: "/mnt/work"},
		{Source: filepath.Dir(source), Target: "/mnt/source"},
	}, line...)
	if err != nil {
		return err
	}
	return b.run.Command(ctx, name, cmd)
}
