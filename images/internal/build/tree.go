package build

import (
	"context"
	"strings"

	"github.com/cyvive/cyvive/images/internal/sandbox"
	"github.com/cyvive/cyvive/images/internal/step"
)

// tree unpacks the throw-away Debian tree.
func (b *builder) tree(context.Context) error {
	var files, sums []string
	for _, p := range b.pins.Packages {
		if strings.HasPrefix(p.Name, "linux-image-") || p.Name == authoritiesPackage || blobPackage(p.Name) {
			continue // nothing in the tree uses it
		}
		files = append(files, b.cache.Deb(p.SHA256))
		sums = append(sums, p.SHA256)
	}
	dir, err := b.run.Cached("tree", step.Key("tree-1", strings.Join(sums, " ")), func(dir string) error {
		return sandbox.Unpack(dir, files)
	})
	b.results.tree = sandbox.Tree{Dir: dir}
	return err
}
