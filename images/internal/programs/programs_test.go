package programs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/images/internal/sandbox"
)

func byName(t *testing.T, name string) Program {
	t.Helper()
	i := slices.IndexFunc(Table(), func(p Program) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("no program %s", name)
	}
	return Table()[i]
}

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Table() {
		if seen[p.Name] {
			t.Errorf("%s is there twice", p.Name)
		}
		seen[p.Name] = true
		if _, err := os.Stat(filepath.Join("../..", p.Module, "go.mod")); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		if p.Cgo != (p.Name == "runc") {
			t.Errorf("%s: cgo is %v; only runc needs C", p.Name, p.Cgo)
		}
	}
}

func TestArgs(t *testing.T) {
	line := strings.Join(byName(t, "runc").args("v1", "/out/runc"), " ")
	for _, want := range []string{"-trimpath", "-buildvcs=false", "-X main.version=v1", "-extldflags=-static", "seccomp"} {
		if !strings.Contains(line, want) {
			t.Errorf("arguments %q lack %s", line, want)
		}
	}
	if line := strings.Join(byName(t, "init").args("v1", "/out/init"), " "); strings.Contains(line, "extld") {
		t.Errorf("arguments of a pure Go program are %q", line)
	}
}

func TestCommand(t *testing.T) {
	images := t.TempDir()
	b := &Builder{Images: images, Arch: "arm64", Go: Toolchain{Root: "/goroot", ModCache: "/mod"}, Tree: sandbox.Tree{Dir: t.TempDir()}, CgoCache: "/cgo"}
	if _, err := b.Command(t.Context(), byName(t, "pause"), "1", "/out/pause"); err == nil || !strings.Contains(err.Error(), "not in this checkout") {
		t.Errorf("a program without sources: got %v", err)
	}
	cmd, err := b.Command(t.Context(), byName(t, "etcd"), "1", "/out/etcd")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CGO_ENABLED=0", "GOARCH=arm64"} {
		if !slices.Contains(cmd.Env, want) {
			t.Errorf("environment lacks %s", want)
		}
	}
	host, err := b.Command(t.Context(), byName(t, "kubectl"), "1", "/out/kubectl")
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(host.Env, "GOARCH=arm64") {
		t.Error("a program of the build machine is built for the image's architecture")
	}
	runc, err := b.Command(t.Context(), byName(t, "runc"), "1", "/out/runc")
	if err != nil {
		t.Fatal(err)
	}
	if line := strings.Join(runc.Args, " "); !strings.Contains(line, "GOPROXY=off") || !strings.Contains(line, "/mnt/out/runc") {
		t.Errorf("command in the tree is %s", line)
	}
}

func TestFindToolchain(t *testing.T) {
	tools, err := FindToolchain(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(tools.Version, "go1.") || tools.Root == "" || tools.ModCache == "" {
		t.Errorf("toolchain is %+v", tools)
	}
	v, err := ModuleVersion(t.Context(), "../..", "go.etcd.io/etcd/server/v3")
	if err != nil || !strings.HasPrefix(v, "v3.") {
		t.Errorf("version of etcd is %q, %v", v, err)
	}
}
