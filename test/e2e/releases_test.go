package e2e

import (
	"context"
	"testing"

	"github.com/cyvive/cyvive/hack/release/bundle"
	"github.com/cyvive/cyvive/hack/release/variant"
	"github.com/cyvive/cyvive/internal/release"
)

// releases makes signed releases out of the image under test and its sources.
type releases struct {
	*variant.Builder
	env env
}

// releases finds the developer's key: nodes of the image trust nobody else.
func (e env) releases(t *testing.T) *releases {
	t.Helper()
	b, err := variant.New(e.root, e.arch, e.workDir(t))
	if err != nil {
		t.Fatal(err)
	}
	return &releases{b, e}
}

// build is variant.Builder.Build.
func (r *releases) build(t *testing.T, ctx context.Context, name, version string, flags ...string) string {
	t.Helper()
	dir, err := r.Build(ctx, name, version, flags...)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// sign makes one file of a folder that build has filled.
func (r *releases) sign(t *testing.T, dir, name string) string {
	t.Helper()
	path, m, err := r.Sign(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("release %s: version %s, root %s, %d MB", name, m.Version, m.RootHash, m.PartsBytes()>>20)
	return path
}

// manifest describes a folder that build has filled.
func manifest(t *testing.T, dir string) release.Manifest {
	t.Helper()
	m, err := bundle.Describe(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
