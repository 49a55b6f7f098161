package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/cyvive/cyvive/images/internal/lock"
	"github.com/cyvive/cyvive/images/internal/mirror"
)

// suites are the ones of Debian 13 that inputs are taken from.
func suites() []mirror.Suite {
	components := []string{"main", "contrib", "non-free-firmware"}
	return []mirror.Suite{
		{Archive: lock.ArchiveMain, Name: "trixie", Components: components},
		{Archive: lock.ArchiveMain, Name: "trixie-updates", Components: components},
		{Archive: lock.ArchiveSecurity, Name: "trixie-security", Components: components},
	}
}

// moveLock resolves the wanted packages against the mirror as it is now and
// writes the lock file.
func moveLock(ctx context.Context, path string, arches []string, out io.Writer) error {
	addresses, err := mirror.Find("/", os.Getenv)
	if err != nil {
		return err
	}
	keys, err := mirror.ReadKeyring("/")
	if err != nil {
		return err
	}
	c := &mirror.Client{Addresses: addresses, HTTP: http.DefaultClient, Keys: keys}
	l, err := lock.Load(path)
	if errors.Is(err, os.ErrNotExist) {
		l = &lock.Lock{Architectures: map[string]*lock.Pins{}}
	} else if err != nil {
		return err
	}
	for _, arch := range arches {
		index, date, err := c.Indexes(ctx, suites(), arch)
		if err != nil {
			return err
		}
		packages, err := index.Resolve(lock.Wanted(arch), lock.Without())
		if err != nil {
			return err
		}
		pins := &lock.Pins{Kernel: kernelRelease(packages, arch), Packages: packages}
		if pins.Kernel == "" {
			return fmt.Errorf("lock %s: no kernel among the resolved packages", arch)
		}
		l.Architectures[arch] = pins
		l.Epoch = max(l.Epoch, date.Unix())
		fmt.Fprintf(out, "mkimage: %s: %d packages, kernel %s\n", arch, len(packages), pins.Kernel)
	}
	return l.Save(path)
}

// kernelRelease reads the kernel's release off the name of its package, which the
// one that was asked for depends on.
func kernelRelease(packages []lock.Package, arch string) string {
	for _, p := range packages {
		release, ok := strings.CutPrefix(p.Name, "linux-image-")
		if ok && release != arch {
			return release
		}
	}
	return ""
}
