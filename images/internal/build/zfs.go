package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/images/internal/kernel"
	"github.com/cyvive/cyvive/images/internal/sandbox"
	"github.com/cyvive/cyvive/images/internal/step"
)

// zfsScript builds OpenZFS's modules in /mnt/work; $1 is the version of the
// source, $2 the common headers, $3 the architecture's, $4 the number of jobs.
const zfsScript = `set -e
cd /mnt/work
cp -r /usr/src/zfs-$1 src
cd src
./configure --with-config=kernel --with-linux=$2 --with-linux-obj=$3
make -j$4
strip -g -o /mnt/work/spl.ko module/spl.ko
strip -g -o /mnt/work/zfs.ko module/zfs.ko
cd ..
rm -rf src`

// zfs compiles OpenZFS's modules against the pinned kernel's headers.
func (b *builder) zfs(ctx context.Context) error {
	p, err := b.pins.Find("zfs-dkms")
	if err != nil {
		return err
	}
	version, _, _ := strings.Cut(p.Version, "-")
	release := b.pins.Kernel
	common, err := commonRelease(release, b.Arch)
	if err != nil {
		return fmt.Errorf("build OpenZFS: %w", err)
	}
	headers := "/usr/src/linux-headers-"
	key := step.Key("zfs-1", zfsScript, filepath.Base(b.results.tree.Dir), release)
	dir, err := b.run.Cached("zfs", key, func(dir string) error {
		cmd, err := b.results.tree.Command(ctx, nil, []sandbox.Bind{{Source: dir, Target: "/mnt/work"}},
			"sh", "-c", zfsScript, "zfs", version, headers+common+"-common", headers+release, fmt.Sprint(runtime.NumCPU()))
		if err != nil {
			return err
		}
		return b.run.Command(ctx, "zfs", cmd)
	})
	if err != nil {
		return err
	}
	b.results.zfs = dir
	b.results.components = append(b.results.components, component{"openzfs", version, "zfs-linux " + p.Version})
	return b.publishDir("zfs", dir) // for whoever signs them
}

// commonRelease is what the packages of one version of the kernel share of its
// release: 6.12.1+deb13 of 6.12.1+deb13-amd64. One with a flavour (cloud, rt) is
// refused: the image's is the kernel for all machines.
func commonRelease(release, arch string) (string, error) {
	common, ok := strings.CutSuffix(release, "-"+arch)
	if !ok || common == "" || strings.Contains(common, "-") {
		return "", fmt.Errorf("kernel %q: expected a release that ends in -%s and has no other part of that kind, as Debian's without a flavour has; `make lock` pins it", release, arch)
	}
	return common, nil
}

// modules joins the kernel's modules with OpenZFS's and their signatures, takes
// those of the list modules.list with what they need, and indexes them.
func (b *builder) modules(context.Context) error {
	text, err := os.ReadFile(filepath.Join(b.Images, "modules.list"))
	if err != nil {
		return err
	}
	names, err := kernel.ParseList(bytes.NewReader(text), b.Arch)
	if err != nil {
		return err
	}
	signatures, err := b.moduleSignatures(b.results.zfs)
	if err != nil {
		return err
	}
	parts := []string{"modules-4", filepath.Base(b.results.kernel), filepath.Base(b.results.zfs), strings.Join(names, " ")}
	for _, name := range slices.Sorted(maps.Keys(signatures)) {
		parts = append(parts, name, string(signatures[name]))
	}
	key := step.Key(parts...)
	dir, err := b.run.Cached("modules", key, func(dir string) error {
		all, err := kernel.Open(filepath.Join(b.results.kernel, "modules"), b.pins.Kernel)
		if err != nil {
			return err
		}
		if err := addBuilt(all, b.results.zfs, signatures); err != nil {
			return err
		}
		set, err := all.Subset(names...)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, "modules")
		return errors.Join(os.Mkdir(to, 0o755), set.Save(to))
	})
	if err != nil {
		return err
	}
	b.results.modules = filepath.Join(dir, "modules")
	return b.publishDir("modules", b.results.modules)
}
