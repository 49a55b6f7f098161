package build

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/cyvive/cyvive/images/internal/step"
)

// transportWindow is how far back the compressed root refers, and so the memory
// that a node needs to decompress it. Twice of it saves 2 MB of 77.
const transportWindow = 64 << 20

// transport compresses the root for the way to a node.
func (b *builder) transport(context.Context) error {
	sum, err := hashFile(b.results.root)
	if err != nil {
		return err
	}
	key := step.Key("transport-1", sum, fmt.Sprint(transportWindow))
	dir, err := b.run.Cached("transport", key, func(dir string) error {
		return compress(filepath.Join(dir, "root.erofs.zst"), b.results.root)
	})
	if err != nil {
		return err
	}
	return b.publish("root.erofs.zst", filepath.Join(dir, "root.erofs.zst"))
}

func compress(target, source string) error {
	in, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	defer in.Close()
	out, err := os.Create(target)
	if err != nil {
		return fmt.Errorf("compress %s: %w", source, err)
	}
	defer out.Close()
	// One at a time, so that the same input gives the same bytes.
	e, err := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithWindowSize(transportWindow), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("compress %s: %w", source, err)
	}
	if _, err := io.Copy(e, in); err != nil {
		return fmt.Errorf("compress %s: %w", source, err)
	}
	if err := e.Close(); err != nil {
		return fmt.Errorf("compress %s: %w", source, err)
	}
	return out.Close()
}
