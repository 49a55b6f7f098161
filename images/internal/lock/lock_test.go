package lock

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func valid() *Lock {
	return &Lock{Epoch: 1, Architectures: map[string]*Pins{"amd64": {Kernel: "6.12", Packages: []Package{
		{Name: "b", Version: "1", Arch: "amd64", Archive: ArchiveMain, Path: "pool/main/b/b.deb", SHA256: sum, Size: 1},
		{Name: "a", Version: "1", Arch: "all", Archive: ArchiveSecurity, Path: "pool/updates/a.deb", SHA256: sum, Size: 1},
	}}}}
}

func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock.json")
	l := valid()
	if err := l.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(l, got); d != "" {
		t.Errorf("lock (-saved +loaded):\n%s", d)
	}
	if names := got.Architectures["amd64"].Packages; names[0].Name != "a" {
		t.Errorf("packages are not sorted: %s comes first", names[0].Name)
	}
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]func(*Package){
		"host in path":   func(p *Package) { p.Path = "pool/http://host/x.deb" },
		"path goes up":   func(p *Package) { p.Path = "pool/../../x.deb" },
		"path elsewhere": func(p *Package) { p.Path = "/etc/passwd" },
		"short hash":     func(p *Package) { p.SHA256 = "00" },
		"hash not hex":   func(p *Package) { p.SHA256 = strings.Repeat("z", 64) },
		"other archive":  func(p *Package) { p.Archive = "ubuntu" },
		"no version":     func(p *Package) { p.Version = "" },
		"no name":        func(p *Package) { p.Name = "" },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			l := valid()
			spoil(&l.Architectures["amd64"].Packages[0])
			path := filepath.Join(t.TempDir(), "lock.json")
			if err := l.Save(path); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(path); err == nil {
				t.Error("the lock was accepted")
			}
		})
	}
	for _, text := range []string{"", "{}", `{"epoch":1,"host":"x"}`, `{"epoch":1,"architectures":{"amd64":null}}`} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

// TestRepositoryLock checks the lock file that the image is built from.
func TestRepositoryLock(t *testing.T) {
	l, err := Load("../../lock.json")
	if err != nil {
		t.Fatal(err)
	}
	pins := l.Architectures["amd64"]
	if pins == nil {
		t.Fatal("the lock has no pins for amd64")
	}
	for _, name := range Wanted("amd64") {
		if _, err := pins.Find(name); err != nil {
			t.Error(err)
		}
	}
	for name := range Without() {
		if _, err := pins.Find(name); err == nil {
			t.Errorf("%s is pinned and is to be left out", name)
		}
	}
	if _, err := pins.Find("linux-image-" + pins.Kernel); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"epoch":1,"architectures":{"amd64":{"kernel":"6","packages":[{"name":"a","version":"1","archive":"debian","path":"pool/a","sha256":"` + sum + `"}]}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Parse(b)
		if err != nil {
			return
		}
		path := filepath.Join(t.TempDir(), "lock.json")
		if err := l.Save(path); err != nil {
			t.Fatal(err)
		}
		again, err := Load(path)
		if d := cmp.Diff(l, again); err != nil || d != "" {
			t.Errorf("%v (-saved +loaded):\n%s", err, d)
		}
	})
}
