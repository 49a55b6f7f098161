package source

import (
	"os"
	"path/filepath"
	"testing"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestReadFile: what is not there is nothing, what cannot be read or is too large is an error.
func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/four", "1234")
	for path, want := range map[string]string{"/four": "1234", "/none": "", "/none/below": ""} {
		data, err := readFile(dir+path, 4)
		if err != nil || string(data) != want {
			t.Errorf("%s: got %q, %v", path, data, err)
		}
	}
	for _, path := range []string{"/four", ""} {
		if data, err := readFile(dir+path, 3); err == nil {
			t.Errorf("%s with a limit of 3: got %q", path, data)
		}
	}
}
