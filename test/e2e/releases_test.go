package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cyvive/cyvive/hack/release/bundle"
	"github.com/cyvive/cyvive/hack/release/keys"
	"github.com/cyvive/cyvive/internal/release"
)

// Versions of the releases that a node is taken to. Which of them is no good is in the root or the command line, not in the number, so that the
// reason that the node finds is looked for in the boots of this version only.
const (
	goodVersion  = "0.2.0"
	initVersion  = "0.2.1"
	readyVersion = "0.2.2"
)

// releases makes signed releases out of the image under test and its sources.
type releases struct {
	env env
	// dir holds what is built, aside the parts that several builds share.
	dir, aside string
	// public and policy are the files of the public keys.
	public, policy string
	key            bundle.Keys
}

// releases finds the developer's key: nodes of the image trust nobody else.
func (e env) releases(t *testing.T) *releases {
	t.Helper()
	dir, err := keys.Dir(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	var key bundle.Keys
	if key.Release, err = keys.Load(filepath.Join(dir, keys.PrivateFile)); err != nil {
		t.Fatalf("the key that signs releases for the image: %v; make image makes it", err)
	}
	if key.Policy, err = keys.LoadPolicy(filepath.Join(dir, keys.PolicyPrivateFile)); err != nil {
		t.Fatalf("the key that signs what its disks are opened by: %v; make image makes it", err)
	}
	if key.SecureBoot, err = keys.ProgramSigner(dir); err != nil {
		t.Fatalf("the key that signs what firmware starts: %v; make image makes it", err)
	}
	work := e.workDir(t)
	return &releases{
		env: e, dir: work, aside: filepath.Join(work, "aside"), key: key,
		public: filepath.Join(dir, keys.PublicFile), policy: filepath.Join(dir, keys.PolicyPublicFile),
	}
}

// build makes the files of an image of another version, changed by further flags of mkimage, and returns their folder. What was built for an earlier
// one with the same root is taken again.
func (r *releases) build(t *testing.T, ctx context.Context, name, version string, flags ...string) string {
	t.Helper()
	out := filepath.Join(r.dir, name)
	args := append([]string{
		"run", "./cmd/mkimage", "build", "--arch", r.env.arch, "--out", out, "--keys", r.public, "--policy-keys", r.policy, "--until", "uki",
		"--aside", r.aside, "--version", version, "--module-signatures", r.env.out("module-signatures"),
	}, flags...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(r.env.root, "images")
	if words, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build release %s: %v\n%s", name, err, words)
	}
	return filepath.Join(out, r.env.arch)
}

// sign makes one file of a folder that build has filled.
func (r *releases) sign(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(r.dir, name+".cyvive")
	m, err := bundle.Write(path, dir, r.key)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("release %s: version %s, root %s, %d MB", name, m.Version, m.RootHash, m.PartsBytes()>>20)
	return path
}

// make builds and signs a release, and keeps only that.
func (r *releases) make(t *testing.T, ctx context.Context, name, version string, flags ...string) string {
	t.Helper()
	dir := r.build(t, ctx, name, version, flags...)
	path := r.sign(t, dir, name)
	if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	return path
}

// program compiles a program of this repository for the node.
func (r *releases) program(t *testing.T, ctx context.Context, name string) string {
	t.Helper()
	path := filepath.Join(r.dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "./test/e2e/"+name)
	cmd.Dir = r.env.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+r.env.arch)
	if words, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile %s: %v\n%s", name, err, words)
	}
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
