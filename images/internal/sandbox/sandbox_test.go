package sandbox

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// packageFile makes a package with the given entries.
func packageFile(t *testing.T, headers ...*tar.Header) string {
	t.Helper()
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	for _, h := range headers {
		body := []byte(h.Name)
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(body))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(body); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "!<arch>\n%-16s%-12d%-6d%-6d%-8o%-10d`\n", "data.tar", 0, 0, 0, 0o644, data.Len())
	b.Write(data.Bytes())
	name := filepath.Join(t.TempDir(), "x.deb")
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestUnpack(t *testing.T) {
	dir := t.TempDir()
	err := Unpack(dir, []string{
		packageFile(t,
			&tar.Header{Typeflag: tar.TypeReg, Name: "./bin/tool", Mode: 0o4755},
			&tar.Header{Typeflag: tar.TypeLink, Name: "./usr/bin/second", Linkname: "./bin/tool"},
			&tar.Header{Typeflag: tar.TypeSymlink, Name: "./usr/lib/x.so", Linkname: "x.so.1"},
			&tar.Header{Typeflag: tar.TypeReg, Name: "./usr/share/doc/tool/README", Mode: 0o644},
			&tar.Header{Typeflag: tar.TypeReg, Name: "./../../outside", Mode: 0o644}),
		packageFile(t, &tar.Header{Typeflag: tar.TypeReg, Name: "./usr/bin/cc", Mode: 0o755}),
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"usr/bin/tool": 0o755, "usr/bin/second": 0o755, "usr/bin/cc": 0o755, "outside": 0o644} {
		i, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || i.Mode() != mode {
			t.Errorf("%s: %v, %v; want mode %v", name, i, err, mode)
		}
	}
	for name, target := range map[string]string{"bin": "usr/bin", "usr/bin/sh": "dash", "usr/lib/x.so": "x.so.1"} {
		if got, err := os.Readlink(filepath.Join(dir, name)); err != nil || got != target {
			t.Errorf("%s points to %q, %v; want %q", name, got, err, target)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "usr/share/doc/tool/README")); err == nil {
		t.Error("documentation was unpacked")
	}
}

func TestCommandLine(t *testing.T) {
	dir, source := t.TempDir(), t.TempDir()
	cmd, err := Tree{Dir: dir}.Command(t.Context(), []string{"A=b"}, []Bind{{Source: source, Target: "/mnt/work"}}, "tool", "arg")
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Join(cmd.Args, " ")
	if !strings.Contains(line, dir+" 1 "+source+" /mnt/work /usr/bin/env -i") || !strings.HasSuffix(line, " A=b tool arg") {
		t.Errorf("command is %s", line)
	}
	if _, err := os.Stat(filepath.Join(dir, "mnt/work")); err != nil {
		t.Errorf("the place of the bind was not made: %v", err)
	}
}
