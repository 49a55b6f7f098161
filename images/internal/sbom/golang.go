package sbom

import (
	"cmp"
	"debug/buildinfo"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"
)

// Modules reads which Go modules are linked into the program file, sorted, the
// standard library among them as "stdlib".
func Modules(file string) ([]Component, error) {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read modules of %s: %w", file, err)
	}
	return modulesOf(info), nil
}

func modulesOf(info *debug.BuildInfo) []Component {
	out := []Component{goModule("stdlib", strings.TrimPrefix(info.GoVersion, "go"), "")}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		if strings.HasPrefix(m.Path, ".") {
			continue // a directory of this repository
		}
		out = append(out, goModule(m.Path, m.Version, m.Sum))
	}
	if info.Main.Version != "" && !isOwn(&info.Main) {
		out = append(out, goModule(info.Main.Path, info.Main.Version, info.Main.Sum))
	}
	slices.SortFunc(out, func(a, b Component) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// isOwn reports whether a program's main module is one of this repository.
func isOwn(m *debug.Module) bool { return strings.HasPrefix(m.Path, "github.com/cyvive/cyvive") }

func goModule(path, version, sum string) Component {
	namespace, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		namespace, name = path[:i], path[i+1:]
	}
	c := Component{
		ID: "go-" + path + "-" + version, Name: path, Version: version,
		PURL: packageurl.NewPackageURL(packageurl.TypeGolang, namespace, name, version, nil, "").ToString(),
	}
	if sum != "" {
		c.Source = "Go module, " + sum
	}
	return c
}
