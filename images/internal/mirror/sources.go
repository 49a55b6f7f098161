package mirror

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/images/internal/deb"
)

// EnvMirror names the environment variable that overrides the apt sources.
const EnvMirror = "DEBIAN_MIRROR"

// Source is one entry of an apt source list.
type Source struct {
	URIs, Suites, Components []string
}

// ErrNoMirror says that neither the environment nor the apt sources name a
// Debian mirror.
var ErrNoMirror = errors.New("no Debian mirror in the apt sources; set " + EnvMirror + " to the address of one, ending in /debian")

// ParseList reads the one-line format of sources.list(5).
func ParseList(text string) []Source {
	var out []Source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != "deb" {
			continue
		}
		f = f[1:]
		if strings.HasPrefix(f[0], "[") {
			end := slices.IndexFunc(f, func(s string) bool { return strings.HasSuffix(s, "]") })
			if end < 0 {
				continue
			}
			f = f[end+1:]
		}
		if len(f) >= 2 {
			out = append(out, Source{URIs: f[:1], Suites: f[1:2], Components: f[2:]})
		}
	}
	return out
}

// ParseDeb822 reads the deb822 format of sources.list(5).
func ParseDeb822(text string) ([]Source, error) {
	var out []Source
	err := deb.ReadParagraphs(strings.NewReader(text), func(p deb.Paragraph) error {
		enabled := strings.ToLower(p["Enabled"])
		if !slices.Contains(strings.Fields(p["Types"]), "deb") || enabled == "no" || enabled == "false" {
			return nil
		}
		out = append(out, Source{
			URIs:       strings.Fields(p["URIs"]),
			Suites:     strings.Fields(p["Suites"]),
			Components: strings.Fields(p["Components"]),
		})
		return nil
	})
	return out, err
}

// readSources reads every source list below root ("/" on a machine).
func readSources(root string) ([]Source, error) {
	dir := filepath.Join(root, "etc/apt")
	files := []string{filepath.Join(dir, "sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		more, err := filepath.Glob(filepath.Join(dir, "sources.list.d", pattern))
		if err != nil {
			return nil, fmt.Errorf("list apt sources: %w", err)
		}
		files = append(files, more...)
	}
	var out []Source
	for _, f := range files {
		b, err := os.ReadFile(f)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read apt sources: %w", err)
		}
		if !strings.HasSuffix(f, ".sources") {
			out = append(out, ParseList(string(b))...)
			continue
		}
		more, err := ParseDeb822(string(b))
		if err != nil {
			return nil, fmt.Errorf("read apt sources %s: %w", f, err)
		}
		out = append(out, more...)
	}
	return out, nil
}

// Addresses are the base addresses of the two archives, without a slash at
// the end.
type Addresses struct{ Main, Security string }

// Find returns the mirror's addresses: of $DEBIAN_MIRROR, else of the apt
// sources below root.
func Find(root string, getenv func(string) string) (Addresses, error) {
	if m := strings.TrimRight(getenv(EnvMirror), "/"); m != "" {
		return Addresses{Main: m, Security: beside(m)}, nil
	}
	sources, err := readSources(root)
	if err != nil {
		return Addresses{}, err
	}
	var a Addresses
	for _, s := range sources {
		for _, uri := range s.URIs {
			uri = strings.TrimRight(resolveMirrorFile(root, uri), "/")
			switch path.Base(uri) {
			case "debian":
				a.Main = first(a.Main, uri)
			case "debian-security":
				a.Security = first(a.Security, uri)
			}
		}
	}
	if a.Main == "" {
		return Addresses{}, ErrNoMirror
	}
	a.Security = first(a.Security, beside(a.Main))
	return a, nil
}

// beside is where the security archive is when only the main one is known.
func beside(main string) string {
	return strings.TrimSuffix(main, "/debian") + "/debian-security"
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// resolveMirrorFile follows apt's mirror+file:/path form, which Debian's
// cloud images use, to the first address in the file.
func resolveMirrorFile(root, uri string) string {
	name, ok := strings.CutPrefix(uri, "mirror+file:")
	if !ok {
		return uri
	}
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 0 && !strings.HasPrefix(f[0], "#") {
			return f[0]
		}
	}
	return ""
}
