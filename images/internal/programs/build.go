package programs

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cyvive/cyvive/images/internal/sandbox"
)

// Toolchain is the build machine's Go.
type Toolchain struct {
	Version, Root, ModCache string
}

// FindToolchain asks the go command in PATH, as it behaves in dir.
func FindToolchain(ctx context.Context, dir string) (Toolchain, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOROOT", "GOMODCACHE")
	cmd.Dir = dir
	b, err := cmd.Output()
	if err != nil {
		return Toolchain{}, fmt.Errorf("ask go for its environment: %w", err)
	}
	f := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(f) != 3 {
		return Toolchain{}, fmt.Errorf("ask go for its environment: got %q", b)
	}
	return Toolchain{Version: f[0], Root: f[1], ModCache: f[2]}, nil
}

// ModuleVersion returns the version of a module as the module in dir requires
// it.
func ModuleVersion(ctx context.Context, dir, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", module)
	cmd.Dir = dir
	b, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("find version of %s: %w", module, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// ModuleDir returns the directory with the sources of a module, of the version that
// the module in dir requires, and has go fetch it if it is not there.
func ModuleDir(ctx context.Context, dir, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = dir
	b, err := cmd.Output()
	var m struct{ Dir, Error string }
	if e := json.Unmarshal(b, &m); err == nil {
		err = e
	}
	if err != nil || m.Dir == "" {
		return "", fmt.Errorf("find sources of %s: %s (%v)", module, m.Error, err)
	}
	return m.Dir, nil
}

// Builder builds programs.
type Builder struct {
	// Images is the images directory of the repository, absolute.
	Images string
	// Arch is the architecture of the image.
	Arch string
	Go   Toolchain
	// Tree is where programs with C code are built; CgoCache is Go's build
	// cache for it.
	Tree     sandbox.Tree
	CgoCache string
}

func (p Program) args(version, out string) []string {
	flags := []string{"-s", "-w", "-buildid="}
	for _, s := range p.Stamps {
		flags = append(flags, "-X", s+"="+version)
	}
	if p.Cgo {
		flags = append(flags, "-linkmode=external", "-extldflags=-static")
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-o", out, "-ldflags", strings.Join(flags, " ")}
	if p.Tags != "" {
		args = append(args, "-tags", p.Tags)
	}
	return append(args, p.Package)
}

// Command returns the command that builds p, stamped with version, as the
// file out (absolute).
func (b *Builder) Command(ctx context.Context, p Program, version, out string) (*exec.Cmd, error) {
	if p.Cgo {
		return b.inTree(ctx, p, version, out)
	}
	cmd := exec.CommandContext(ctx, "go", p.args(version, out)...)
	cmd.Dir = filepath.Join(b.Images, p.Module)
	if p.Package[0] == '.' {
		if _, err := os.Stat(filepath.Join(cmd.Dir, p.Package)); err != nil {
			return nil, fmt.Errorf("build %s: its main package is not in this checkout: %w", p.Name, err)
		}
	}
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOOS=linux")
	if !p.Host {
		cmd.Env = append(cmd.Env, "GOARCH="+b.Arch, "GOAMD64=v1", "GOARM64=v8.0")
	}
	return cmd, nil
}

// inTree builds with the tree's compiler and the build machine's Go. The
// modules must be in the module cache already: the tree has no network set up.
func (b *Builder) inTree(ctx context.Context, p Program, version, out string) (*exec.Cmd, error) {
	binds := []sandbox.Bind{
		{Source: b.Go.Root, Target: "/mnt/go"},
		{Source: b.Go.ModCache, Target: "/mnt/modcache"},
		{Source: b.CgoCache, Target: "/mnt/gocache"},
		{Source: b.Images, Target: "/mnt/images"},
		{Source: filepath.Dir(out), Target: "/mnt/out"},
	}
	env := []string{
		"GOROOT=/mnt/go", "GOMODCACHE=/mnt/modcache", "GOCACHE=/mnt/gocache", "GOPROXY=off", "GOFLAGS=",
		"GOTOOLCHAIN=local", "GOTELEMETRY=off", "GOENV=off", "CGO_ENABLED=1", "GOOS=linux", "GOARCH=" + b.Arch,
		// What pkg-config would say of libseccomp: nothing but its name.
		"PKG_CONFIG=/usr/bin/true", "CGO_LDFLAGS=-O2 -g -lseccomp",
	}
	args := append([]string{"/mnt/go/bin/go", "-C", filepath.Join("/mnt/images", p.Module)},
		p.args(version, filepath.Join("/mnt/out", filepath.Base(out)))...)
	return b.Tree.Command(ctx, env, binds, args...)
}
