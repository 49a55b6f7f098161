package tree

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var at = time.Unix(1_700_000_000, 0)

func sample(t testing.TB) *Tree {
	t.Helper()
	x := New()
	x.Write("/usr/bin/tool", 0o755, []byte("tool"))
	x.Symlink("/bin", "usr/bin")
	x.Symlink("/usr/bin/alias", "/bin/tool")
	x.Symlink("/usr/loop", "loop")
	if err := x.Hardlink("/a/name", "/usr/bin/tool"); err != nil {
		t.Fatal(err)
	}
	return x
}

func TestArchiveRoundTrip(t *testing.T) {
	var first, second bytes.Buffer
	x := sample(t)
	if err := x.WriteTar(&first, at); err != nil {
		t.Fatal(err)
	}
	y := New()
	if err := y.AddTar(bytes.NewReader(first.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := y.WriteTar(&second, at); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("an archive that is read and written again is another one")
	}
	var list bytes.Buffer
	if err := y.WriteList(&list); err != nil {
		t.Fatal(err)
	}
	want := "dir\t0755\t0\t0\t0\t/\t\t\ndir\t0755\t0\t0\t0\t/a\t\t\nlink\t0755\t0\t0\t4\t/a/name\t/usr/bin/tool\tdata\nsymlink\t0777\t0\t0\t0\t/bin\tusr/bin\t\n"
	if !strings.HasPrefix(list.String(), want) {
		t.Errorf("list is\n%swant it to begin\n%s", list.String(), want)
	}
}

func TestResolve(t *testing.T) {
	x := sample(t)
	for name, want := range map[string]string{
		"/bin/tool": "/usr/bin/tool", "usr/bin/alias": "/usr/bin/tool", "/a/name": "/usr/bin/tool",
		"/bin": "/usr/bin", "/usr/loop": "", "/nowhere": "", "/usr/bin/tool": "/usr/bin/tool",
	} {
		if got := x.Resolve(name); got != want {
			t.Errorf("Resolve(%q) = %q, want %q", name, got, want)
		}
	}
	if err := x.Hardlink("/b", "/bin"); err == nil {
		t.Error("a hard link to a symbolic link was accepted")
	}
}

func TestMerged(t *testing.T) {
	for name, want := range map[string]string{
		"./lib/x.so": "/usr/lib/x.so", "/sbin/e2fsck": "/usr/sbin/e2fsck", "/lib64": "/usr/lib64",
		"/library/x": "/library/x", "./usr/bin/x": "/usr/bin/x", "../../bin/x": "/usr/bin/x",
	} {
		if got := Merged(name); got != want {
			t.Errorf("Merged(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestAddDir(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"sub/run": 0o700, "read": 0o600} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("read", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	x := New()
	if err := x.AddDir("/at", dir); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range x.Paths() {
		got[p] = x.Get(p).Kind.String() + " " + x.Get(p).Mode.String()
	}
	want := map[string]string{
		"/": "dir -rwxr-xr-x", "/at": "dir -rwxr-xr-x", "/at/sub": "dir -rwxr-xr-x",
		"/at/sub/run": "file -rwxr-xr-x", "/at/read": "file -rw-r--r--", "/at/link": "symlink -rwxrwxrwx",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
}

// TestCopyClosure copies a script, and this test's own program with whatever
// libraries it names.
func TestCopyClosure(t *testing.T) {
	from := New()
	from.Write("/usr/bin/script", 0o755, []byte("#!/bin/x\n"))
	to := New()
	got, err := CopyClosure(to, from, "/usr/lib", "/usr/bin/script")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"/usr/bin/script"}, got); d != "" {
		t.Errorf("copied (-want +got):\n%s", d)
	}
	if _, err := CopyClosure(to, from, "/usr/lib", "/usr/bin/missing"); err == nil {
		t.Error("a missing program was accepted")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from.Copy("/usr/bin/self", 0o755, self)
	b, err := from.Get("/usr/bin/self").Content()
	if err != nil || !IsELF(b) {
		t.Fatalf("this test is no ELF file: %v", err)
	}
	libs, interp, err := Needed(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range libs {
		from.Write("/usr/lib/"+l, 0o644, []byte("library"))
	}
	if interp != "" {
		from.Write(Merged(interp), 0o755, []byte("loader"))
	}
	got, err = CopyClosure(New(), from, "/usr/lib", "/usr/bin/self")
	if err != nil {
		t.Fatal(err)
	}
	want := 1 + len(libs)
	if interp != "" {
		want++
	}
	if len(got) != want {
		t.Errorf("copied %v, want the program, %d libraries and the loader %q", got, len(libs), interp)
	}
}

func FuzzNeeded(f *testing.F) {
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		libs, interpreter, err := Needed(b)
		if err != nil && (libs != nil || interpreter != "") {
			t.Errorf("got %q and %q together with %v", libs, interpreter, err)
		}
		if strings.Contains(interpreter, "\x00") {
			t.Errorf("interpreter %q", interpreter)
		}
	})
}

func FuzzResolve(f *testing.F) {
	f.Add("/bin/../usr/loop/x")
	x := sample(f)
	f.Fuzz(func(t *testing.T, name string) {
		if got := x.Resolve(name); got != "" && x.Get(got) == nil {
			t.Errorf("Resolve(%q) = %q, which does not exist", name, got)
		}
	})
}

// FuzzAddTar: whatever an archive says, a path resolves to something of the tree
// or to nothing.
func FuzzAddTar(f *testing.F) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, h := range []tar.Header{
		{Name: "./usr/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./usr/a", Typeflag: tar.TypeReg, Mode: 0o644, Size: 1},
		{Name: "./usr/link", Typeflag: tar.TypeLink, Linkname: "./usr/gone"},
		{Name: "./usr/loop", Typeflag: tar.TypeSymlink, Linkname: "loop"},
	} {
		if err := w.WriteHeader(&h); err != nil {
			f.Fatal(err)
		}
		_, _ = w.Write(make([]byte, h.Size))
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(archive.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		x := New()
		if err := x.AddTar(bytes.NewReader(data)); err != nil {
			return
		}
		for _, name := range x.Paths() {
			if got := x.Resolve(name); got != "" && x.Get(got) == nil {
				t.Errorf("Resolve(%q) = %q, which does not exist", name, got)
			}
		}
	})
}
