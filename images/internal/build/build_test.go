package build

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/images/internal/lock"
	"github.com/cyvive/cyvive/images/internal/tree"
)

func TestUUIDs(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	a, b := uuidOf("a", "x"), uuidOf("ax")
	if !form.MatchString(a) || a == b || a != uuidOf("a", "x") {
		t.Errorf("UUIDs are %s and %s", a, b)
	}
	const half = "00112233445566778899aabbccddeeff"
	if got := hexUUID(half); got != "00112233-4455-6677-8899-aabbccddeeff" {
		t.Errorf("hexUUID = %s", got)
	}
}

// TestPartitions checks that a unified kernel image finds its pair by the
// halves of the root hash, and that no two partitions have one UUID.
func TestPartitions(t *testing.T) {
	hash := strings.Repeat("a1", 16) + strings.Repeat("b2", 16)
	b := &builder{Options: Options{Arch: "amd64"}}
	b.results.rootHash = hash
	parts := b.partitions(nil, nil, nil)
	var names []string
	seen := map[string]bool{}
	for _, p := range parts {
		names = append(names, p.Name)
		if seen[p.UUID] {
			t.Errorf("UUID %s is there twice", p.UUID)
		}
		seen[p.UUID] = true
	}
	if got := strings.Join(names, " "); got != "esp root-a verity-a root-b verity-b state data" {
		t.Errorf("partitions are %s", got)
	}
	joined := strings.ReplaceAll(parts[1].UUID+parts[2].UUID, "-", "")
	if _, err := hex.DecodeString(joined); err != nil || joined != hash {
		t.Errorf("the UUIDs of the first slot are %s, want the root hash %s", joined, hash)
	}
}

func TestContentKey(t *testing.T) {
	key := func(name, text string) string {
		x := tree.New()
		x.Write(name, 0o644, []byte(text))
		k, err := contentKey(x)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first, again := key("/a", "x"), key("/a", "x")
	if first != again || first == key("/a", "y") || first == key("/b", "x") {
		t.Error("the key does not stand for names and contents")
	}
}

func TestModuleKey(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	key := func(pkg string) string {
		t.Helper()
		k, err := moduleKey(dir, pkg)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	write("go.mod", "module x")
	write("go.sum", "")
	write("programs/a/main.go", "package main")
	foreign, own := key("example.org/b"), key("./programs/a")
	write("internal/y.go", "package y")
	write("programs/a/main_test.go", "package main")
	if key("example.org/b") != foreign || key("./programs/a") != own {
		t.Error("files that the program is not built from change the key")
	}
	write("programs/a/main.go", "package main // changed")
	if key("./programs/a") == own || key("example.org/b") != foreign {
		t.Error("a program's source does not change its own key and no other")
	}
	write("go.sum", "x")
	if key("example.org/b") == foreign {
		t.Error("a checksum does not change the key")
	}
}

func TestPublish(t *testing.T) {
	b := &builder{Options: Options{Arch: "amd64", Out: t.TempDir()}}
	source := filepath.Join(t.TempDir(), "key", "modules")
	if err := os.MkdirAll(filepath.Join(source, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(b.out(""), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(source, "sub", "f")
	if err := os.WriteFile(file, []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.publish("f", file); err != nil {
			t.Fatal(err)
		}
		if err := b.publishDir("modules", source); err != nil {
			t.Fatal(err)
		}
	}
	if !same(b.out("f"), file) || !same(b.out("modules/sub/f"), file) {
		t.Error("what was published differs from its source")
	}
	if left, _ := filepath.Glob(b.out(".new-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRefusals(t *testing.T) {
	images := t.TempDir()
	l := &lock.Lock{Epoch: 1, Architectures: map[string]*lock.Pins{"amd64": {}}}
	if err := l.Save(filepath.Join(images, "lock.json")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"VERSION", "FLOOR"} {
		if err := os.WriteFile(filepath.Join(images, name), []byte("1.0.0\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	o := Options{Arch: "riscv64", Out: t.TempDir(), Images: images, Progress: os.Stderr}
	if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no pins") {
		t.Errorf("an architecture without pins: got %v", err)
	}
	o.Arch, o.Until = "amd64", "nothing"
	if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no such step") {
		t.Errorf("an unknown step: got %v", err)
	}
	o.Until = ""
	if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "make keys") {
		t.Errorf("no release keys: got %v", err)
	}
	o.Until = "kernel"
	if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "make lock") {
		t.Errorf("a lock without a kernel: got %v", err)
	}
}
