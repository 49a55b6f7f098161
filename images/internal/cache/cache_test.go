package cache

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func open(t *testing.T) *Cache {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func fill(text string) func(string) error {
	return func(dir string) error { return os.WriteFile(filepath.Join(dir, "f"), []byte(text), 0o644) }
}

func TestMake(t *testing.T) {
	c := open(t)
	if _, ok := c.Result("s", "k"); ok {
		t.Fatal("a new cache has a result")
	}
	dir, err := c.Make("s", "k", fill("one"))
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := c.Result("s", "k"); !ok || got != dir {
		t.Errorf("result is %q, %v; want %q", got, ok, dir)
	}
	// A second build that made the same result meanwhile does no harm.
	if again, err := c.Make("s", "k", fill("two")); err != nil || again != dir {
		t.Errorf("made again: %q, %v", again, err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(b) != "one" {
		t.Errorf("result holds %q, %v", b, err)
	}
}

func TestMakeFails(t *testing.T) {
	c := open(t)
	broken := errors.New("broken")
	_, err := c.Make("s", "k", func(dir string) error { return errors.Join(fill("half")(dir), broken) })
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if _, ok := c.Result("s", "k"); ok {
		t.Error("a step that failed left a result")
	}
	if left, _ := os.ReadDir(filepath.Join(c.Root, "tmp")); len(left) != 0 {
		t.Errorf("%d directories are left behind", len(left))
	}
}

func TestPrune(t *testing.T) {
	c := open(t)
	for _, key := range []string{"a", "b", "c", "d"} {
		if _, err := c.Make("s", key, fill(key)); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(filepath.Join(c.Root, "step", "s"))
	if err != nil || len(left) != keepResults {
		t.Errorf("%d results are kept (%v), want %d", len(left), err, keepResults)
	}
	if _, ok := c.Result("s", "d"); !ok {
		t.Error("the newest result is gone")
	}
}

// TestAside: what a build for a test makes is not in the cache, and what is in
// the cache is used.
func TestAside(t *testing.T) {
	c := open(t)
	old, err := c.Make("s", "a", fill("a"))
	if err != nil {
		t.Fatal(err)
	}
	c.Aside = filepath.Join(t.TempDir(), "aside")
	if got, ok := c.Result("s", "a"); !ok || got != old {
		t.Errorf("the cache's result is %q, %v; want %q", got, ok, old)
	}
	for _, key := range []string{"b", "c", "d"} {
		dir, err := c.Make("s", key, fill(key))
		if err != nil || filepath.Dir(filepath.Dir(filepath.Dir(dir))) != c.Aside {
			t.Errorf("made in %q: %v", dir, err)
		}
		if got, ok := c.Result("s", key); !ok || got != dir {
			t.Errorf("result is %q, %v; want %q", got, ok, dir)
		}
	}
	left, err := os.ReadDir(filepath.Join(c.Root, "step", "s"))
	if err != nil || len(left) != 1 {
		t.Errorf("the cache has %d results (%v), want the one it had", len(left), err)
	}
}
