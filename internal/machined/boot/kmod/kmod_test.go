package kmod

import (
	"errors"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// files is a small modules directory.
var files = map[string]string{
	"modules.dep": `kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/fs/mbcache.ko kernel/lib/crc16.ko
kernel/fs/jbd2/jbd2.ko: kernel/lib/crc16.ko
kernel/fs/mbcache.ko:
kernel/lib/crc16.ko:
kernel/drivers/block/virtio_blk.ko:
kernel/drivers/net/virtio-net.ko.xz: kernel/drivers/net/failover.ko
kernel/drivers/net/failover.ko:
kernel/arch/x86/crypto/sha256-ssse3.ko:
kernel/crypto/crc32c-generic.ko:
kernel/crypto/crc32c-intel.ko:
kernel/lib/libcrc32c.ko:
kernel/fs/erofs/erofs.ko: kernel/lib/libcrc32c.ko
kernel/a.ko: 
kernel/b.ko: kernel/bad.ko
kernel/bad.ko:
`,
	"modules.alias": `# Aliases extracted from modules themselves.
alias fs-ext4 ext4
alias virtio:d00000002v* virtio_blk
alias virtio:d00000001v* virtio_net
alias crypto-sha256 sha256_ssse3
alias crypto-sha256 sha256_builtin
alias crypto-crc32c crc32c_intel
alias crypto-crc32c crc32c_generic
alias pci:v00008086d0000[1-3]* bad
`,
	"modules.softdep": "softdep ext4 pre: crypto_adler a post: b\nsoftdep a pre: ext4\nsoftdep libcrc32c pre: crypto-crc32c\n",
	"modules.builtin": "kernel/crypto/sha256_builtin.ko\nkernel/net/ipv4/tcp-cubic.ko\n",
}

// fake is a kernel that notes what is inserted.
type fake struct {
	inserted []string
	errs     map[string]error
}

func (f *fake) insert(file string) error {
	name := path.Base(file)
	f.inserted = append(f.inserted, name)
	return f.errs[name]
}

func newLoader(t *testing.T, f *fake) *Loader {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := New(dir, f.insert)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLoad(t *testing.T) {
	tests := map[string]struct {
		name string
		errs map[string]error
		want []string
		err  error
	}{
		"with all it needs, soft ones first": {name: "ext4", want: []string{"a.ko", "crc16.ko", "mbcache.ko", "jbd2.ko", "ext4.ko"}},
		"by alias":                           {name: "fs-ext4", want: []string{"a.ko", "crc16.ko", "mbcache.ko", "jbd2.ko", "ext4.ko"}},
		"dash and underscore":                {name: "virtio_net", want: []string{"failover.ko", "virtio-net.ko.xz"}},
		"built in":                           {name: "tcp_cubic"},
		"alias of module and built-in":       {name: "crypto-sha256", want: []string{"sha256-ssse3.ko"}},
		"loaded already": {
			name: "virtio-blk", errs: map[string]error{"virtio_blk.ko": unix.EEXIST}, want: []string{"virtio_blk.ko"},
		},
		"what it needs softly, by an alias": {
			name: "erofs", want: []string{"crc32c-intel.ko", "crc32c-generic.ko", "libcrc32c.ko", "erofs.ko"},
		},
		"a processor that the first of them is not for": {
			name: "erofs", errs: map[string]error{"crc32c-intel.ko": unix.ENODEV},
			want: []string{"crc32c-intel.ko", "crc32c-generic.ko", "libcrc32c.ko", "erofs.ko"},
		},
		"unknown": {name: "no-such", err: ErrNoModule},
		"a dependency fails": {
			name: "b", errs: map[string]error{"bad.ko": unix.EINVAL}, want: []string{"bad.ko"}, err: unix.EINVAL,
		},
		"a soft dependency fails": {
			name: "ext4", errs: map[string]error{"a.ko": unix.EINVAL},
			want: []string{"a.ko", "crc16.ko", "mbcache.ko", "jbd2.ko", "ext4.ko"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := &fake{errs: test.errs}
			err := newLoader(t, f).Load(test.name)
			if !errors.Is(err, test.err) {
				t.Errorf("error = %v, want %v", err, test.err)
			}
			if d := cmp.Diff(test.want, f.inserted); d != "" {
				t.Errorf("inserted (-want +got):\n%s", d)
			}
		})
	}
}

func TestLoadAliases(t *testing.T) {
	f := &fake{errs: map[string]error{"bad.ko": unix.ENODEV}}
	l := newLoader(t, f)
	l.Deny("virtio-blk")
	devices := []string{"virtio:d00000001v00001AF4", "virtio:d00000002v00001AF4", "pci:v00008086d00002x", "acpi:PNP0C0C:"}
	got, err := l.LoadAliases(devices)
	if d := cmp.Diff([]string{"virtio_net"}, got); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	// The same devices again: nothing is tried again.
	before := len(f.inserted)
	if got, err := l.LoadAliases(devices); len(got) != 0 || err != nil || len(f.inserted) != before {
		t.Errorf("again: %v, %v, inserted %v", got, err, f.inserted[before:])
	}
	// What is denied to devices may be loaded by name.
	if err := l.Load("virtio-blk"); err != nil || f.inserted[len(f.inserted)-1] != "virtio_blk.ko" {
		t.Errorf("load by name: %v, inserted %v", err, f.inserted)
	}
	f.errs["bad.ko"] = unix.EINVAL
	if _, err := l.LoadAliases([]string{"pci:v00008086d00001x"}); !errors.Is(err, unix.EINVAL) {
		t.Errorf("error = %v, want %v", err, unix.EINVAL)
	}
}

func TestBrokenIndex(t *testing.T) {
	for name, text := range map[string]string{
		"modules.dep": "no colon\n", "modules.softdep": "hard x pre: y\n", "modules.builtin": strings.Repeat("x", 70<<10),
	} {
		fsys := fstest.MapFS{"modules.dep": {Data: []byte("a.ko:\n")}}
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
		if _, err := readIndex(fsys); err == nil || !strings.Contains(err.Error(), name+":1") {
			t.Errorf("%s: %v, want an error with file and line", name, err)
		}
	}
	if _, err := New(t.TempDir(), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no modules.dep: %v, want %v", err, os.ErrNotExist)
	}
	if _, err := matchAliases(fstest.MapFS{"modules.alias": {Data: []byte("alias x\n")}}, nil); err == nil {
		t.Error("alias without module: no error")
	}
}

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, s string
		want       bool
	}{
		{"virtio:d00000002v*", "virtio:d00000002v00001AF4", true},
		{"virtio:d00000002v*", "virtio:d00000001v00001AF4", false},
		{"pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", true},
		{"input:b*v*p*e*-e*k*", "input:b0019v0000p0001e0000-e0,1,k74,ramlsfw", true},
		{"x-y", "x_y", true},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"a[0-9a]c", "a7c", true},
		{"a[0-9a]c", "aac", true},
		{"a[0-9]c", "abc", false},
		{"a[0-9", "a1", false},
		{"*", "", true},
		{"", "", true},
		{"", "a", false},
		{"a*", "", false},
		{"*a*b", "xaxxb", true},
		{"*a*b", "xaxxbc", false},
	}
	for _, test := range tests {
		if got := match(test.pattern, test.s); got != test.want {
			t.Errorf("match(%q, %q) = %v, want %v", test.pattern, test.s, got, test.want)
		}
	}
}

func TestDevices(t *testing.T) {
	dir := t.TempDir()
	for p, text := range map[string]string{"a/modalias": "x\n", "a/b/modalias": "y\n", "c/modalias": "x\n", "d/modalias": "", "e/other": "z"} {
		os.MkdirAll(filepath.Join(dir, filepath.Dir(p)), 0o755)
		os.WriteFile(filepath.Join(dir, p), []byte(text), 0o644)
	}
	got := map[string]bool{}
	for _, a := range Devices(dir) {
		if got[a] {
			t.Errorf("%q is listed twice", a)
		}
		got[a] = true
	}
	if want := map[string]bool{"x": true, "y": true}; !maps.Equal(got, want) {
		t.Errorf("devices = %v, want %v", got, want)
	}
}

// TestHelperRefuses: a program that the kernel does not name as its helper.
func TestHelperRefuses(t *testing.T) {
	if err := Helper("/nowhere/init", "ext4"); !errors.Is(err, ErrNotHelper) {
		t.Errorf("Helper = %v, want %v", err, ErrNotHelper)
	}
}

// FuzzMatch compares with path.Match, where both mean the same.
func FuzzMatch(f *testing.F) {
	f.Add("a*b?[0-9]", "axxbc7")
	f.Add("*a*b*", "ab")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		got := match(pattern, s)
		if strings.ContainsAny(pattern+s, "/\\-_^[]") {
			return
		}
		for _, r := range pattern + s {
			if r >= 0x80 {
				return
			}
		}
		want, err := path.Match(pattern, s)
		if err == nil && got != want {
			t.Errorf("match(%q, %q) = %v, path.Match says %v", pattern, s, got, want)
		}
	})
}

func FuzzReadIndex(f *testing.F) {
	f.Add(files["modules.dep"], files["modules.softdep"], files["modules.alias"])
	f.Add("a.ko: b.ko\nb.ko: a.ko\n", "softdep a pre: b", "alias * a")
	f.Fuzz(func(t *testing.T, dep, soft, alias string) {
		fsys := fstest.MapFS{
			"modules.dep": {Data: []byte(dep)}, "modules.softdep": {Data: []byte(soft)}, "modules.alias": {Data: []byte(alias)},
		}
		x, err := readIndex(fsys)
		if err != nil {
			return
		}
		k := &fake{}
		l := &Loader{fsys: fsys, insert: k.insert, index: x, loaded: map[string]bool{}, tried: map[string]bool{}}
		for name := range x.files {
			l.Load(name) // must end, circles or not
		}
		l.LoadAliases([]string{"pci:v00001234"})
		if len(k.inserted) > len(x.files) {
			t.Errorf("%d modules inserted of %d", len(k.inserted), len(x.files))
		}
	})
}
