package variant

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/cyvive/cyvive/hack/release/bundle"
	"github.com/cyvive/cyvive/hack/release/keys"
	"github.com/cyvive/cyvive/internal/release"
)

// Builder makes releases. Its methods must not be called concurrently.
type Builder struct {
	root, arch string
	// dir holds what is built, aside the parts that several builds share.
	dir, aside string
	// public and policy are the files of the public keys, modules the folder of the signatures of kernel modules.
	public, policy, modules string
	key                     bundle.Keys
}

// New finds the developer's keys. Root is the repository, dir the folder for what is built; both are absolute.
func New(root, arch, dir string) (*Builder, error) {
	from, err := keys.Dir(os.Getenv)
	if err != nil {
		return nil, err
	}
	b := &Builder{
		root: root, arch: arch, dir: dir, aside: filepath.Join(dir, "aside"),
		public: filepath.Join(from, keys.PublicFile), policy: filepath.Join(from, keys.PolicyPublicFile),
		modules: filepath.Join(root, "out", arch, "module-signatures"),
	}
	if b.key.Release, err = keys.Load(filepath.Join(from, keys.PrivateFile)); err != nil {
		return nil, fmt.Errorf("the key that signs releases for the image: %w; make image makes it", err)
	}
	if b.key.Policy, err = keys.LoadPolicy(filepath.Join(from, keys.PolicyPrivateFile)); err != nil {
		return nil, fmt.Errorf("the key that signs what its disks are opened by: %w; make image makes it", err)
	}
	if b.key.SecureBoot, err = keys.ProgramSigner(from); err != nil {
		return nil, fmt.Errorf("the key that signs what firmware starts: %w; make image makes it", err)
	}
	return b, nil
}

// Signer returns a builder that can only sign, with a given key, into dir.
func Signer(dir string, key bundle.Keys) *Builder { return &Builder{dir: dir, key: key} }

// Build makes the files of an image of another version, changed by further flags of mkimage, and returns their folder. What was built for an earlier
// one with the same root is taken again.
func (b *Builder) Build(ctx context.Context, name, version string, flags ...string) (string, error) {
	out := filepath.Join(b.dir, name)
	args := append([]string{
		"run", "./cmd/mkimage", "build", "--arch", b.arch, "--out", out, "--keys", b.public, "--policy-keys", b.policy, "--until", "uki",
		"--aside", b.aside, "--version", version, "--module-signatures", b.modules,
	}, flags...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(b.root, "images")
	if words, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build release %s: %w\n%s", name, err, words)
	}
	return filepath.Join(out, b.arch), nil
}

// Sign makes one file of a folder that Build has filled.
func (b *Builder) Sign(dir, name string) (path string, m release.Manifest, err error) {
	path = filepath.Join(b.dir, name+".cyvive")
	m, err = bundle.Write(path, dir, b.key)
	return path, m, err
}

// Make builds and signs a release, and keeps only that.
func (b *Builder) Make(ctx context.Context, name, version string, flags ...string) (path string, m release.Manifest, err error) {
	dir, err := b.Build(ctx, name, version, flags...)
	if err != nil {
		return "", m, err
	}
	if path, m, err = b.Sign(dir, name); err != nil {
		return "", m, err
	}
	return path, m, os.RemoveAll(filepath.Dir(dir))
}

// Key is what releases are signed with, Dir the folder for what is built.
func (b *Builder) Key() bundle.Keys { return b.key }
func (b *Builder) Dir() string      { return b.dir }

// Program compiles a package of this repository for the node, by its path below the root.
func (b *Builder) Program(ctx context.Context, path string) (string, error) {
	to := filepath.Join(b.dir, filepath.Base(path))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", to, "./"+path)
	cmd.Dir = b.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+b.arch)
	if words, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile %s: %w\n%s", path, err, words)
	}
	return to, nil
}
