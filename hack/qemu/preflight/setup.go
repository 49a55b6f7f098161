package preflight

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Setup installs the packages that the missing tools come from, with apt-get,
// through sudo where the caller is not root. It says what it runs on w, and does
// nothing when no tool is missing. More is as for CheckTools.
func Setup(ctx context.Context, arch string, host Host, w io.Writer, more ...string) error {
	missing := CheckTools(arch, host, more...)
	if len(missing) == 0 {
		return nil
	}
	Print(w, missing)
	packages := Packages(missing)
	for _, name := range []string{"apt-get", "sudo"} {
		if (name == "apt-get" || os.Geteuid() != 0) && host.FindTool(name) != nil {
			return fmt.Errorf("install packages: %s is not there; install them by hand: %s", name, strings.Join(packages, " "))
		}
	}
	newer, rest := divide(packages, host.Release())
	if len(newer) > 0 {
		if err := installNewer(ctx, w, newer); err != nil {
			fmt.Fprintf(w, "setup: %v; this release's own QEMU does as well, at half the speed where there is no KVM\n", err)
			rest = packages
		}
	}
	if err := apt(ctx, w, "update"); err != nil {
		return err
	}
	if len(rest) > 0 {
		if err := apt(ctx, w, installArgs(rest)...); err != nil {
			return err
		}
	}
	if still := CheckTools(arch, host, more...); len(still) > 0 {
		Print(w, still)
		return errors.New("install packages: something is still missing")
	}
	return nil
}

// Debian 12 has QEMU 7.2, its backports have 10.0. Without KVM, the newer emulates a
// processor's instructions for SHA-256, and those for AES with the host's: a guest hashes
// three times as fast, encrypts for TLS twelve times, and runs other programs up to twice
// as fast. The older does not always get over two emulated processors, either.
const (
	oldRelease = "bookworm"
	backports  = oldRelease + "-backports"
)

// divide returns the packages that are to come from the backports of a release, and the others.
func divide(packages []string, release string) (newer, rest []string) {
	for _, name := range packages {
		if release == oldRelease && slices.Contains([]string{"qemu-system-x86", "qemu-system-arm", "qemu-utils"}, name) {
			newer = append(newer, name)
		} else {
			rest = append(rest, name)
		}
	}
	return newer, rest
}

// installNewer installs packages from the backports, at the mirror that the machine has its
// release from. The machine's own list of sources stays as it is.
func installNewer(ctx context.Context, w io.Writer, packages []string) error {
	targets, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return fmt.Errorf("ask apt-get for its sources: %w", err)
	}
	list, err := os.ReadFile("/etc/apt/sources.list")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read apt's sources: %w", err)
	}
	if list, err = withBackports(list, string(targets)); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "cyvive-setup-") // of which apt's user must read the file
	if err != nil {
		return fmt.Errorf("make a folder for apt's sources: %w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "sources.list")
	if err := errors.Join(os.WriteFile(file, list, 0o644), os.Chmod(dir, 0o755)); err != nil {
		return fmt.Errorf("write apt's sources: %w", err)
	}
	option := []string{"-o", "Dir::Etc::SourceList=" + file}
	if err := apt(ctx, w, append(option, "update")...); err != nil {
		return err
	}
	return apt(ctx, w, append(append(option, "--target-release", backports), installArgs(packages)...)...)
}

// withBackports returns a sources.list(5) with the backports after what was in it. Targets are
// what apt-get indextargets(8) says, a line each: codename and address.
func withBackports(list []byte, targets string) ([]byte, error) {
	for line := range strings.Lines(targets) {
		fields := strings.Fields(line)
		if len(fields) == 2 && fields[0] == oldRelease {
			return fmt.Appendf(list, "\ndeb %s %s main\n", fields[1], backports), nil
		}
	}
	return nil, fmt.Errorf("apt has no source of %s, so there is none of %s", oldRelease, backports)
}

func installArgs(packages []string) []string {
	return append([]string{"install", "--yes", "--no-install-recommends"}, packages...)
}

// apt runs apt-get, as root.
func apt(ctx context.Context, w io.Writer, args ...string) error {
	command := append([]string{"apt-get"}, args...)
	if os.Geteuid() != 0 {
		command = append([]string{"sudo"}, command...)
	}
	fmt.Fprintf(w, "setup: %s\n", strings.Join(command, " "))
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Stdin = w, w, os.Stdin // sudo may ask
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("install packages: %s: %w", strings.Join(command, " "), err)
	}
	return nil
}
