package main

import (
	"crypto/ed25519"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/cyvive/cyvive/internal/confine/lsm"
	"github.com/cyvive/cyvive/internal/extension"
	"github.com/cyvive/cyvive/internal/extension/keeper"
	"github.com/cyvive/cyvive/internal/extension/kernel"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/mount"
)

const (
	// extensionKeys are the keys of whoever may sign extensions, besides those of releases. Images without the file have none.
	extensionKeys = "/usr/lib/cyvive/extension-keys.pem"
	// extensionsDir is where extensions are mounted: nothing of it is bound into the workload plane.
	extensionsDir = "/run/cyvive/extensions"
)

// extensionsOf makes what has the node's extensions.
func extensionsOf(log *slog.Logger, version server.Version) *keeper.Keeper {
	return keeper.New(keeper.Config{
		Log: log.With("part", "extensions"), Dir: filepath.Join(storage.ExtensionsDir, "store"),
		Keys:      allExtensionKeys(log, releaseKeys, extensionKeys),
		Node:      extension.Node{Architecture: runtime.GOARCH, Kernel: version.KernelRelease, OS: version.OS},
		FreeBytes: mount.Mounts{}.FreeBytes,
		Kernel: kernel.New(kernel.Config{
			Dir: extensionsDir, Modules: "/usr/lib/modules",
			Admit: func(devices []uint32) ([]uint32, error) { return lsm.Admit(lsm.Node(), devices) },
		}),
	})
}

// allExtensionKeys reads the keys that the verified root brings: whoever may replace all of the system may extend it too.
func allExtensionKeys(log *slog.Logger, releases, extensions string) []ed25519.PublicKey {
	keys := readKeys(log, releases)
	if _, err := os.Stat(extensions); errors.Is(err, fs.ErrNotExist) {
		return keys
	}
	return append(keys, readKeys(log, extensions)...)
}
