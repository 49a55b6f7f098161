// Package cache is the build cache in the user's cache directory
// ($XDG_CACHE_HOME/cyvive): packages by their SHA-256, and the results of build
// steps by the hash of their inputs. Everything in it may be deleted at any
// time; it only costs the time to make it again.
package cache

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// keepResults is how many results of one step survive Prune.
const keepResults = 2

// Cache is a directory. Its methods are safe for concurrent use by one
// process; two builds at once are kept apart by renames.
type Cache struct {
	Root string
	// Aside, where it is set, takes the new results of steps in place of Root: a
	// build for a test uses what there is, and pushes nothing out of it.
	Aside string
}

// Open makes the cache directory of the user.
func Open() (*Cache, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find cache directory: %w", err)
	}
	c := &Cache{Root: filepath.Join(base, "cyvive")}
	for _, d := range []string{"deb", "log", "tmp", "step"} {
		if err := os.MkdirAll(filepath.Join(c.Root, d), 0o755); err != nil {
			return nil, fmt.Errorf("make cache directory: %w", err)
		}
	}
	return c, nil
}

// Deb is where the package with a SHA-256 is kept.
func (c *Cache) Deb(sum string) string { return filepath.Join(c.Root, "deb", sum+".deb") }

// Log is where the output of a step's commands is kept.
func (c *Cache) Log(step string) string { return filepath.Join(c.Root, "log", step+".log") }

// Dir returns a directory of the cache for things that their own tool keeps
// current, as Go's build cache.
func (c *Cache) Dir(name string) (string, error) {
	d := filepath.Join(c.Root, name)
	if err := os.MkdirAll(d, 0o755); err != nil {
		return "", fmt.Errorf("make cache directory: %w", err)
	}
	return d, nil
}

// Result returns the directory of a step's result for key, and whether it is
// there.
func (c *Cache) Result(step, key string) (string, bool) {
	d := filepath.Join(c.Root, "step", step, key)
	_, err := os.Stat(d)
	if err != nil && c.Aside != "" {
		d = filepath.Join(c.Aside, "step", step, key)
		_, err = os.Stat(d)
	}
	return d, err == nil
}

// Make fills a new directory by calling fill and then names it the result of
// step for key; a result is there whole or not at all.
func (c *Cache) Make(step, key string, fill func(dir string) error) (string, error) {
	base := filepath.Join(cmp.Or(c.Aside, c.Root), "tmp")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", fmt.Errorf("make step directory: %w", err)
	}
	tmp, err := os.MkdirTemp(base, step+"-*")
	if err != nil {
		return "", fmt.Errorf("make step directory: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", fmt.Errorf("make step directory: %w", err)
	}
	if err := fill(tmp); err != nil {
		return "", err
	}
	dst, _ := c.Result(step, key)
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return "", fmt.Errorf("keep step result: %w", err)
	}
	if err := os.Rename(tmp, dst); err != nil {
		if _, ok := c.Result(step, key); ok { // another build was quicker
			return dst, nil
		}
		return "", fmt.Errorf("keep step result: %w", err)
	}
	if c.Aside != "" {
		return dst, nil
	}
	return dst, c.prune(step)
}

// prune deletes all but the newest results of step.
func (c *Cache) prune(step string) error {
	dir := filepath.Join(c.Root, "step", step)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("prune cache: %w", err)
	}
	age := func(e os.DirEntry) int64 {
		if i, err := e.Info(); err == nil {
			return i.ModTime().UnixNano()
		}
		return 0
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return cmp.Compare(age(b), age(a)) })
	for i, e := range entries {
		if i < keepResults {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("prune cache: %w", err)
		}
	}
	return nil
}
