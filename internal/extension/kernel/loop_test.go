package kernel

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBackingFiles(t *testing.T) {
	block := t.TempDir()
	for name, file := range map[string]string{
		"loop0/loop/backing_file": "/var/a/image.erofs\n", "loop1/loop/backing_file": "/var/b/image.verity (deleted)\n", "loop2/size": "0\n", "dm-0/size": "8\n",
	} {
		path := filepath.Join(block, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := backingFiles(block)
	if d := cmp.Diff([]string{"/var/a/image.erofs", "/var/b/image.verity"}, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}
