package build

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/images/internal/tree"
)

func describeExtension(t *testing.T, text string) extensionDescription {
	t.Helper()
	var d extensionDescription
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func putFile(t *testing.T, name string, mode os.FileMode, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// TestExtensionTree: the image of an extension has its modules, its service's root, and a place for all that is mounted there; and nothing of the folder
// that it is made of beyond that.
func TestExtensionTree(t *testing.T) {
	dir := t.TempDir()
	putFile(t, filepath.Join(dir, "rootfs/usr/bin/agent"), 0o755, "program")
	putFile(t, filepath.Join(dir, "rootfs/usr/share/text"), 0o644, "text")
	putFile(t, filepath.Join(dir, "notes"), 0o644, "not meant for it")
	putFile(t, filepath.Join(dir, "built/modules.dep"), 0o644, "kernel/x.ko:\n")
	putFile(t, filepath.Join(dir, "built/kernel/x.ko"), 0o644, "module")
	d := describeExtension(t, `{"name": "agent", "version": "1.0.0", "modules": ["x"],
		"service": {"program": "/usr/bin/agent", "user": 2001, "paths": ["/etc/resolv.conf"], "data": true}}`)
	got, err := extensionTree(d, filepath.Join(dir, "built"), dir)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, name := range got.Paths() {
		if got.Get(name).Kind == tree.File {
			files = append(files, name)
		}
	}
	want := []string{"/modules/kernel/x.ko", "/modules/modules.dep", "/rootfs/etc/resolv.conf", "/rootfs/usr/bin/agent", "/rootfs/usr/share/text"}
	if !slices.Equal(files, want) {
		t.Errorf("files %q, want %q", files, want)
	}
	for _, name := range []string{"dev", "proc", "sys", "run", "tmp", "data"} {
		if e := got.Get("/rootfs/" + name); e == nil || e.Kind != tree.Dir {
			t.Errorf("there is no place for /%s", name)
		}
	}
	alone, err := extensionTree(describeExtension(t, `{"name": "x", "version": "1.0.0", "modules": ["x"]}`), filepath.Join(dir, "built"), dir)
	if err != nil || alone.Get("/rootfs") != nil || alone.Get("/modules/kernel/x.ko") == nil {
		t.Errorf("modules alone: %v", err)
	}
	for what, program := range map[string]string{"none": "/usr/bin/none", "no program": "/usr/share/text", "a directory": "/usr/bin"} {
		d.Service.Program = program
		if _, err := extensionTree(d, "", dir); err == nil || !strings.Contains(err.Error(), program) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// TestExtensionKeys: an image names those who may sign extensions only if it is told to.
func TestExtensionKeys(t *testing.T) {
	none := tree.New()
	if err := (&builder{}).addExtensionKeys(none); err != nil || none.Get(cyviveDir+"/extension-keys.pem") != nil {
		t.Errorf("without keys: %v", err)
	}
	if keys, err := readExtensionKeys(""); keys != nil || err != nil {
		t.Errorf("no file: %q, %v", keys, err)
	}
	bad := filepath.Join(t.TempDir(), "keys.pem")
	putFile(t, bad, 0o644, "text")
	if _, err := readExtensionKeys(bad); err == nil {
		t.Error("a file without a key was taken")
	}
	some := tree.New()
	if err := (&builder{extensionKeys: []byte("keys")}).addExtensionKeys(some); err != nil || string(some.Get(cyviveDir+"/extension-keys.pem").Data) != "keys" {
		t.Errorf("with keys: %v", err)
	}
}
