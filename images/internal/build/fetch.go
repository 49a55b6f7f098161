package build

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/cyvive/cyvive/images/internal/lock"
)

// parallelFetches is how many packages are fetched at once.
const parallelFetches = 4

// fetch brings all pinned packages into the cache. The mirror is looked for
// only when one is missing.
func (b *builder) fetch(ctx context.Context) error {
	var missing []lock.Package
	var bytes int64
	for _, p := range b.pins.Packages {
		if _, err := os.Stat(b.cache.Deb(p.SHA256)); err != nil {
			missing = append(missing, p)
			bytes += p.Size
		}
	}
	if len(missing) == 0 {
		fmt.Fprintf(b.Progress, "mkimage: %-12s cached (%d packages)\n", "fetch", len(b.pins.Packages))
		return nil
	}
	fmt.Fprintf(b.Progress, "mkimage: %-12s %d packages, %d MB\n", "fetch", len(missing), bytes/1e6)
	return b.run.Do("fetch", func() error {
		c, err := client()
		if err != nil {
			return err
		}
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(parallelFetches)
		for _, p := range missing {
			g.Go(func() error { return c.Package(ctx, p, b.cache.Deb(p.SHA256)) })
		}
		return g.Wait()
	})
}
