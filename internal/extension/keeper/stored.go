package keeper

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cyvive/cyvive/internal/extension"
	"github.com/cyvive/cyvive/internal/release"
)

// goneDir is where a build lies while it is removed, which takes several steps.
const goneDir = ".gone"

// setAside takes a build from its place, if there is one, as a whole: without its image, a manifest would promise what is not there.
func (k *Keeper) setAside(dir string) error {
	gone := filepath.Join(k.cfg.Dir, goneDir)
	if err := k.removeAll(gone); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(k.cfg.Dir, dir), gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// clear removes what was set aside. What stays is removed the next time.
func (k *Keeper) clear() {
	if err := k.removeAll(filepath.Join(k.cfg.Dir, goneDir)); err != nil {
		k.cfg.Log.Warn("remove what is left of an extension", "error", err)
	}
}

// Remove removes a build. What is in use stays: ErrInUse. A directory that holds none that can be used is removed by what its name says.
func (k *Keeper) Remove(name extension.Name, kernel string) error {
	k.work.Lock()
	defer k.work.Unlock()
	m := extension.Manifest{Description: extension.Description{Name: name.Name, Version: name.Version}, Kernel: kernel}
	stored, err := k.List()
	if err != nil {
		return err
	}
	var there []string
	for _, s := range stored {
		if s.Dir != dirName(m) {
			there = append(there, s.Dir)
			continue
		}
		used, err := k.uses(s.Dir)
		if err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
		if used {
			return fmt.Errorf("remove %s: %w since this boot; take it out of the configuration and reboot", name, ErrInUse)
		}
		if err := k.setAside(s.Dir); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
		if err := syncDir(k.cfg.Dir); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
		k.clear()
		return nil
	}
	return fmt.Errorf("remove %s: %w; there are %q", name, ErrNotFound, there)
}

// SBOM opens the bill of materials of a build, if it is what was signed.
func (k *Keeper) SBOM(m extension.Manifest) (io.ReadCloser, error) {
	f, err := os.Open(filepath.Join(k.cfg.Dir, dirName(m), extension.SBOM))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read bill of materials of %s: %w", m, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if err := isSigned(f, m); err != nil {
		return nil, errors.Join(fmt.Errorf("read bill of materials of %s: %w", m, err), f.Close())
	}
	return f, nil
}

// isSigned holds a bill of materials against its manifest, and leaves the file at its beginning.
func isSigned(f *os.File, m extension.Manifest) error {
	want := m.Files[slices.IndexFunc(m.Files, func(f release.File) bool { return f.Name == extension.SBOM })]
	sum := sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(f, want.Bytes+1)); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want.SHA256 {
		return fmt.Errorf("%w, on the node's own disk: its SHA-256 is %s, %s was signed", release.ErrAltered, got, want.SHA256)
	}
	_, err := f.Seek(0, io.SeekStart)
	return err
}
