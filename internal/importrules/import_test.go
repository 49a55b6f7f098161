package importrules

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cyvive/cyvive/"

// goPackage is what go list tells of a package.
type goPackage struct {
	Dir, ImportPath string
	GoFiles         []string
	Imports, Deps   []string
}

// list returns the module's packages, built for the node, without their tests.
func list(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=Dir,ImportPath,GoFiles,Imports,Deps", module+"...")
	cmd.Env = append(cmd.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	var words bytes.Buffer
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, words.String())
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages
		case err != nil:
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func TestImports(t *testing.T) {
	packages := list(t)
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			matched := 0
			for _, p := range packages {
				path := strings.TrimPrefix(p.ImportPath, module)
				if !r.applies(path) {
					continue
				}
				matched++
				imports := p.Imports
				if r.deep {
					imports = p.Deps
				}
				for _, imported := range imports {
					short, own := strings.CutPrefix(imported, module)
					if r.violation(short, own) {
						t.Errorf("%s imports %s\nbut %s", path, short, r.reason)
					}
				}
			}
			if matched == 0 {
				t.Errorf("the rule is for %v, and there is none: it guards nothing", r.packages)
			}
		})
	}
}

// TestUnsafe: memory tricks are easy to find, and to review, by their file's
// name.
func TestUnsafe(t *testing.T) {
	for _, p := range list(t) {
		if !slices.Contains(p.Imports, "unsafe") {
			continue
		}
		for _, file := range p.GoFiles {
			if strings.HasSuffix(file, "_unsafe.go") || strings.HasSuffix(file, ".pb.go") {
				continue
			}
			if importsOf(t, filepath.Join(p.Dir, file))["unsafe"] {
				t.Errorf("%s: imports unsafe, which belongs in a file named *_unsafe.go", filepath.Join(p.ImportPath, file))
			}
		}
	}
}

// TestNoRegistration: an import must not change a program; so no package has an
// init function, save generated ones.
func TestNoRegistration(t *testing.T) {
	for _, p := range list(t) {
		for _, file := range p.GoFiles {
			if !strings.HasSuffix(file, ".pb.go") && declaresInit(t, filepath.Join(p.Dir, file)) {
				t.Errorf("%s: has an init function; constructors take what they need instead", filepath.Join(p.ImportPath, file))
			}
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"internal/etcd/...", "internal/etcd", true},
		{"internal/etcd/...", "internal/etcd/member", true},
		{"internal/etcd/...", "internal/etcdtest", false},
		{"internal/etcd", "internal/etcd/member", false},
		{"os", "os/exec", false},
	} {
		if got := covers(c.pattern, c.path); got != c.want {
			t.Errorf("covers(%q, %q): got %t", c.pattern, c.path, got)
		}
	}
}

func TestViolation(t *testing.T) {
	r := rule{only: []string{"a/..."}, ban: []string{"os/exec", "x/..."}, allow: []string{"x/fine"}}
	for _, c := range []struct {
		imported string
		own      bool
		want     bool
	}{
		{"a/b", true, false}, {"b", true, true}, {"b", false, false},
		{"os/exec", false, true}, {"os", false, false}, {"x/y", false, true}, {"x/fine", true, false},
	} {
		if got := r.violation(c.imported, c.own); got != c.want {
			t.Errorf("violation(%q, %t): got %t", c.imported, c.own, got)
		}
	}
}
