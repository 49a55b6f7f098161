package build

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/cyvive/cyvive/images/internal/programs"
	"github.com/cyvive/cyvive/images/internal/step"
)

// component is one entry of release.json.
type component struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Source  string `json:"source"`
}

// programs builds all programs, or takes them from the cache.
func (b *builder) programs(ctx context.Context) error {
	tools, err := programs.FindToolchain(ctx, b.Images)
	if err != nil {
		return err
	}
	cgo, err := b.cache.Dir("gocache-tree")
	if err != nil {
		return err
	}
	pb := &programs.Builder{Images: b.Images, Arch: b.Arch, Go: tools, Tree: b.results.tree, CgoCache: cgo}
	for _, p := range programs.Table() {
		if file := b.Replace[p.Name]; file != "" {
			b.results.programs[p.Name] = file
			continue
		}
		if err := b.program(ctx, pb, p); err != nil {
			return err
		}
	}
	dir, err := programs.ModuleDir(ctx, filepath.Join(b.Images, kubernetesDir), definitionsModule)
	if err != nil {
		return err
	}
	if b.results.definitions, err = readDefinitions(dir); err != nil {
		return err
	}
	if err := b.publishTested(); err != nil {
		return err
	}
	return b.publishDefinitions()
}

// publishTested puts the programs that tests start as processes beside the
// image's files (test/planes).
func (b *builder) publishTested() error {
	if err := os.MkdirAll(b.out("programs"), 0o755); err != nil {
		return fmt.Errorf("publish programs: %w", err)
	}
	for _, name := range []string{"coredns", "etcd", "kubernetes"} {
		file := "programs/" + name
		if err := b.publish(file, b.results.programs[name]); err != nil {
			return err
		}
		if err := os.Chmod(b.out(file), 0o755); err != nil {
			return fmt.Errorf("publish programs: %w", err)
		}
	}
	return nil
}

// program builds one program. Its own sources are Go's business; those of
// other modules are pinned by go.sum, so that their result can be cached.
func (b *builder) program(ctx context.Context, pb *programs.Builder, p programs.Program) error {
	dir := filepath.Join(b.Images, p.Module)
	version := b.version
	if p.Component != "" {
		v, err := programs.ModuleVersion(ctx, dir, p.Component)
		if err != nil {
			return err
		}
		version = v
	}
	b.addComponent(p, version)
	build := func(out string) error {
		if p.Cgo { // the tree has no network: fetch the modules first
			get := exec.CommandContext(ctx, "go", "list", "-deps", "-tags", p.Tags, p.Package)
			get.Dir = dir
			get.Env = append(os.Environ(), "CGO_ENABLED=1", "GOOS=linux", "GOARCH="+b.Arch, "GOFLAGS=")
			if err := b.run.Command(ctx, p.Name, get); err != nil {
				return err
			}
		}
		cmd, err := pb.Command(ctx, p, version, out)
		if err != nil {
			return err
		}
		return b.run.Command(ctx, p.Name, cmd)
	}
	if p.Component == "" {
		return b.ownProgram(p, build)
	}
	sources, err := moduleKey(dir, p.Package)
	if err != nil {
		return err
	}
	key := []string{"program-1", pb.Go.Version, fmt.Sprintf("%+v", p), sources, b.Arch}
	if p.Cgo {
		key = append(key, filepath.Base(b.results.tree.Dir))
	}
	res, err := b.run.Cached(p.Name, step.Key(key...), func(dir string) error {
		return build(filepath.Join(dir, p.Name))
	})
	if err != nil {
		return err
	}
	file := filepath.Join(res, p.Name)
	b.results.programs[p.Name] = file
	if p.Host {
		return b.installHost(p.Name, file)
	}
	return nil
}

func (b *builder) ownProgram(p programs.Program, build func(out string) error) error {
	dir, err := b.cache.Dir(filepath.Join("own", b.Arch))
	if b.Aside != "" {
		dir = filepath.Join(b.Aside, "own", b.Arch)
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return err
	}
	file := filepath.Join(dir, p.Name)
	b.results.programs[p.Name] = file
	return b.run.Do(p.Name, func() error { return build(file) })
}

// installHost puts a program of the build machine into the bin directory.
func (b *builder) installHost(name, file string) error {
	dst := filepath.Join(b.Bin, name)
	if same(dst, file) {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	if err := os.MkdirAll(b.Bin, 0o755); err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	tmp := dst + ".new"
	if err := os.WriteFile(tmp, data, 0o755); err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	return os.Rename(tmp, dst)
}

func (b *builder) addComponent(p programs.Program, version string) {
	if p.Host {
		return // not in the image
	}
	b.results.components = append(b.results.components, component{p.Name, version, cmp.Or(p.Component, "this repository")})
}

// moduleKey hashes what decides a program of the module in dir: the module's
// requirements with their checksums, and the Go files of the program's package and
// of the packages below it, where that is a directory of the module, and those of
// directories that stand in for other modules.
func moduleKey(dir, pkg string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("hash module %s: %w", dir, err)
	}
	mod, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		return "", fmt.Errorf("hash module %s: %w", dir, err)
	}
	files := []string{"go.mod", "go.sum"}
	var sources []string // directories
	if strings.HasPrefix(pkg, ".") {
		sources = append(sources, pkg)
	}
	for _, r := range mod.Replace {
		if r.New.Version == "" {
			sources = append(sources, r.New.Path)
		}
	}
	for _, s := range sources {
		names, err := goFiles(filepath.Join(dir, s))
		if err != nil {
			return "", fmt.Errorf("hash module %s: %w", dir, err)
		}
		for _, name := range names {
			files = append(files, filepath.Join(s, name))
		}
	}
	var parts []string
	for _, name := range files {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", fmt.Errorf("hash module %s: %w", dir, err)
		}
		parts = append(parts, name, string(b))
	}
	return step.Key(parts...), nil
}

// goFiles lists the Go files in dir and below it, relative to it and sorted, without
// tests and what they read, and without modules of their own.
func goFiles(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(path, "go.mod"))
			if path != dir && (d.Name() == "testdata" || err == nil) {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			files = append(files, strings.TrimPrefix(path, dir+string(filepath.Separator)))
		}
		return nil
	})
	return files, err
}
