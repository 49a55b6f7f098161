package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cyvive/cyvive/internal/machined/configstore"
)

// configDir is where a node keeps its configurations on the state volume.
const configDir = "config"

// SealingKeyFile is where it keeps the key that opens the sealed secrets of those.
const SealingKeyFile = "sealing.key"

// makeState makes the file system of the state volume, with the configuration as the one that counts, and copies it to the disk. What it makes on the
// way lies in the work folder, which is in memory, and is removed: it holds secrets. Without a configuration the volume is blank: what it becomes is for the
// first one to say.
func (i *Installer) makeState(ctx context.Context, w *window, req Request) (err error) {
	if req.Configuration == nil {
		return w.zero(0, w.size)
	}
	if err := os.RemoveAll(i.cfg.Work); err != nil {
		return fmt.Errorf("clear work folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(i.cfg.Work)) }()
	from := filepath.Join(i.cfg.Work, "files")
	if err := os.MkdirAll(from, 0o700); err != nil {
		return fmt.Errorf("make work folder: %w", err)
	}
	if err := storeConfiguration(filepath.Join(from, configDir), req, i.cfg.Now); err != nil {
		return err
	}
	if req.SealingKey != nil {
		if err := os.WriteFile(filepath.Join(from, SealingKeyFile), req.SealingKey, 0o600); err != nil {
			return fmt.Errorf("hand on the key of sealed secrets: %w", err)
		}
	}
	size := w.size
	if req.Encrypted {
		size -= i.cfg.HeaderBytes
	}
	f, err := i.imageFile("image", size)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := i.cfg.MakeFileSystem(ctx, f.Name(), stateName, from); err != nil {
		return fmt.Errorf("make file system of the state volume: %w", err)
	}
	if req.Encrypted {
		sealed, err := i.seal(ctx, i.sealer(req), f, w.size)
		if err != nil {
			return err
		}
		defer sealed.Close()
		f = sealed
	}
	n, err := w.fill(f)
	if err == nil && n != w.size {
		err = fmt.Errorf("the image has %d bytes: %w", n, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return fmt.Errorf("write file system of the state volume: %w", err)
	}
	return nil
}

// imageFile makes a file of a size in the work folder.
func (i *Installer) imageFile(name string, size int64) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(i.cfg.Work, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		if err = f.Truncate(size); err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make image of the state volume: %w", err)
	}
	return f, nil
}

// seal makes an encrypted volume of a size, with a file system in it.
func (i *Installer) seal(ctx context.Context, sealer Sealer, plain *os.File, size int64) (*os.File, error) {
	f, err := i.imageFile("encrypted", size)
	if err != nil {
		return nil, err
	}
	if err := sealer.Enclose(ctx, f.Name(), plain); err != nil {
		return nil, errors.Join(fmt.Errorf("encrypt the state volume: %w", err), f.Close())
	}
	return f, nil
}

// storeConfiguration makes a store whose first revision is the configuration. It is owned: whatever sources the installed node finds do not count.
func storeConfiguration(dir string, req Request, now func() time.Time) error {
	store, err := configstore.Open(configstore.OSDir(dir), configstore.Config{Now: now, SinceBoot: func() time.Duration { return 0 }})
	if err != nil {
		return err
	}
	_, err = store.Add(configstore.Revision{By: req.By, Mode: configstore.Auto, Note: "written by the installation", Document: req.Configuration},
		func(r configstore.Record, n uint64) (configstore.Record, error) { return r.Applied(n, true) })
	return err
}
