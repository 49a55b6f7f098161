package mirror

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFind(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		env   string
		want  Addresses
		err   error
	}{
		"environment wins": {
			files: map[string]string{"sources.list": "deb http://a.example/debian trixie main\n"},
			env:   "http://b.example/debian/",
			want:  Addresses{"http://b.example/debian", "http://b.example/debian-security"},
		},
		"one-line": {
			files: map[string]string{"sources.list": "# old\ndeb-src http://x.example/debian trixie main\n" +
				"deb [arch=amd64 signed-by=/k] http://a.example/debian trixie main # here\n"},
			want: Addresses{"http://a.example/debian", "http://a.example/debian-security"},
		},
		"deb822 with security": {
			files: map[string]string{"sources.list.d/debian.sources": "Types: deb\nURIs: http://a.example/debian/\nSuites: bookworm bookworm-updates\nComponents: main\n\n" +
				"Types: deb\nURIs: http://s.example/debian-security\nSuites: bookworm-security\nComponents: main\n"},
			want: Addresses{"http://a.example/debian", "http://s.example/debian-security"},
		},
		"disabled and foreign entries": {
			files: map[string]string{
				"sources.list.d/a.sources": "Types: deb\nEnabled: no\nURIs: http://off.example/debian\nSuites: x\n\nTypes: deb\nURIs: http://node.example/node_20.x\nSuites: x\n",
				"sources.list.d/z.list":    "deb http://a.example/debian trixie main\n",
			},
			want: Addresses{"http://a.example/debian", "http://a.example/debian-security"},
		},
		"mirror+file": {
			files: map[string]string{
				"sources.list.d/debian.sources": "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: trixie\nComponents: main\n",
				"mirrors/debian.list":           "# first\nhttp://a.example/debian\n",
			},
			want: Addresses{"http://a.example/debian", "http://a.example/debian-security"},
		},
		"none": {
			files: map[string]string{"sources.list": "deb http://a.example/ubuntu noble main\n"},
			err:   ErrNoMirror,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range test.files {
				p := filepath.Join(root, "etc/apt", file)
				if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Find(root, func(string) string { return test.env })
			if !errors.Is(err, test.err) {
				t.Fatalf("error is %v, want %v", err, test.err)
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("addresses (-want +got):\n%s", d)
			}
		})
	}
}

func FuzzSources(f *testing.F) {
	f.Add("deb [a=b] http://a.example/debian trixie main")
	f.Add("Types: deb\nURIs: http://a.example/debian\nSuites: trixie\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range ParseList(text) {
			if len(s.URIs) != 1 || len(s.Suites) != 1 {
				t.Errorf("entry of %q has %d addresses and %d suites", text, len(s.URIs), len(s.Suites))
			}
		}
		_, _ = ParseDeb822(text)
	})
}

func FuzzResolveMirrorFile(f *testing.F) {
	f.Add("# first\nhttp://a.example/debian priority:1\nhttp://b.example/debian\n")
	f.Add("\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		root := t.TempDir()
		if err := os.WriteFile(filepath.Join(root, "mirrors"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := resolveMirrorFile(root, "mirror+file:/mirrors")
		if strings.HasPrefix(got, "#") || strings.ContainsAny(got, " \t\n") || !strings.Contains(text, got) {
			t.Errorf("%q: got %q", text, got)
		}
	})
}
