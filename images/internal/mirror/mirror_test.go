package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"

	"github.com/cyvive/cyvive/images/internal/lock"
)

const packagesText = `Package: app
Version: 1.0-1
Architecture: amd64
Pre-Depends: libc (>= 2)
Depends: shell | other-shell, virtual, script (= 1)
Filename: pool/main/a/app_1.0-1.deb
Size: 3
SHA256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad

Package: app
Version: 1.2-1
Architecture: amd64
Depends: libc:any
Filename: pool/main/a/app_1.2-1.deb
Size: 3
SHA256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad

Package: tool
Version: 1
Architecture: all
Depends: shell | other-shell, virtual, script (= 1)
Filename: pool/main/t/tool.deb
Size: 1
SHA256: 00

Package: libc
Version: 2
Filename: pool/main/l/libc.deb
Size: 1
SHA256: 00

Package: other-shell
Version: 1
Filename: pool/main/o/o.deb
Size: 1
SHA256: 00

Package: provider
Version: 1
Provides: virtual (= 3)
Filename: pool/main/p/p.deb
Size: 1
SHA256: 00
`

func newKey(t *testing.T, name string) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity(name, "", name+"@example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func signed(t *testing.T, key *openpgp.Entity, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, key.PrivateKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packed(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// archive serves one suite with one package, and lets a test replace files.
func archive(t *testing.T, key *openpgp.Entity, change func(files map[string][]byte)) *Client {
	t.Helper()
	index := packed(t, packagesText)
	release := fmt.Sprintf("Codename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nSHA256:\n %x %d main/binary-amd64/Packages.xz\n", sha256.Sum256(index), len(index))
	files := map[string][]byte{
		"/debian/dists/trixie/InRelease":                     signed(t, key, release),
		"/debian/dists/trixie/main/binary-amd64/Packages.xz": index,
		"/debian/pool/main/a/app_1.2-1.deb":                  []byte("abc"),
	}
	if change != nil {
		change(files)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(b)
	}))
	t.Cleanup(s.Close)
	return &Client{Addresses: Addresses{Main: s.URL + "/debian"}, HTTP: s.Client(), Keys: openpgp.EntityList{key}}
}

var trixie = []Suite{{Archive: lock.ArchiveMain, Name: "trixie", Components: []string{"main"}}}

func TestIndexes(t *testing.T) {
	c := archive(t, newKey(t, "archive"), nil)
	x, date, err := c.Indexes(t.Context(), trixie, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 9, 12, 7, 55, 41, 0, time.UTC); !date.Equal(want) {
		t.Errorf("date is %v, want %v", date, want)
	}
	if got := x.Packages["app"].Version; got != "1.2-1" {
		t.Errorf("newest app is %s, want 1.2-1", got)
	}
	list, err := x.Resolve([]string{"app", "tool"}, map[string]bool{"script": true})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range list {
		names = append(names, p.Name)
	}
	if d := cmp.Diff([]string{"app", "libc", "tool", "other-shell", "provider"}, names); d != "" {
		t.Errorf("resolved (-want +got):\n%s", d)
	}
	if _, err := x.Resolve([]string{"tool"}, nil); err == nil || !strings.Contains(err.Error(), `"script"`) {
		t.Errorf("resolving with a missing dependency: got %v", err)
	}
}

func TestIndexesRefuses(t *testing.T) {
	key, other := newKey(t, "archive"), newKey(t, "other")
	const release = "/debian/dists/trixie/InRelease"
	tests := map[string]struct {
		change func(map[string][]byte)
		want   string
	}{
		"other key": {func(f map[string][]byte) { f[release] = signed(t, other, "Codename: trixie\n") }, "signature"},
		"changed text": {func(f map[string][]byte) {
			f[release] = bytes.Replace(f[release], []byte("2026"), []byte("2027"), 1)
		}, "signature"},
		"not signed": {func(f map[string][]byte) { f[release] = []byte("Codename: trixie\n") }, "clear-signed"},
		"other suite": {func(f map[string][]byte) {
			f[release] = signed(t, key, "Codename: sid\nDate: Sat, 12 Sep 2026 07:55:41 UTC\n")
		}, "codename"},
		"changed index": {func(f map[string][]byte) {
			f["/debian/dists/trixie/main/binary-amd64/Packages.xz"] = packed(t, "Package: x\nSize: 1\n")
		}, "SHA-256"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := archive(t, key, test.change).Indexes(t.Context(), trixie, "amd64")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error about %q", err, test.want)
			}
		})
	}
}

func TestPackage(t *testing.T) {
	c := archive(t, newKey(t, "archive"), nil)
	p := lock.Package{
		Name: "app", Version: "1.2-1", Archive: lock.ArchiveMain, Path: "pool/main/a/app_1.2-1.deb",
		SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte("abc"))),
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "app.deb")
	if err := c.Package(t.Context(), p, path); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "abc" {
		t.Errorf("package file holds %q, %v", b, err)
	}
	bad := p
	bad.SHA256 = strings.Repeat("0", 64)
	if err := c.Package(t.Context(), bad, filepath.Join(dir, "bad.deb")); err == nil || !strings.Contains(err.Error(), "lock file says") {
		t.Errorf("wrong hash: got %v", err)
	}
	gone := p
	gone.Path = "pool/main/a/app_0.9.deb"
	err := c.Package(t.Context(), gone, filepath.Join(dir, "gone.deb"))
	if !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "make lock") {
		t.Errorf("gone from the mirror: got %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%d files left, want the good one only", len(left))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Package(ended, gone, filepath.Join(dir, "x")); err == nil {
		t.Error("a cancelled fetch succeeded")
	}
}

func FuzzRelease(f *testing.F) {
	f.Add([]byte("Codename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nSHA256:\n " + strings.Repeat("0", 64) + " 1 main/x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRelease(b)
		if err != nil {
			return
		}
		for file, sum := range r.files {
			if file == "" || len(sum) != 64 {
				t.Errorf("%q has the sum %q", file, sum)
			}
		}
	})
}

func FuzzIndex(f *testing.F) {
	f.Add(packagesText)
	f.Fuzz(func(_ *testing.T, text string) {
		x := NewIndex()
		if x.Add(lock.ArchiveMain, strings.NewReader(text)) == nil {
			for name := range x.Packages {
				_, _ = x.Resolve([]string{name}, nil)
			}
		}
	})
}
