package lock

// Wanted lists what is asked of the archive for arch; the lock holds these
// and everything they depend on.
func Wanted(arch string) []string {
	names := []string{
		// The image. One kernel is for virtual and physical machines.
		"linux-image-" + arch,
		"systemd-boot-efi",
		"e2fsprogs",
		"cryptsetup-bin",
		"mount",
		"zfsutils-linux",
		"ca-certificates",
		// What devices run, and are not without: images/firmware.list.
		"firmware-bnx2", "firmware-bnx2x", "firmware-intel-misc", "firmware-misc-nonfree",
		"firmware-realtek",
		// The throw-away tree: a compiler, what OpenZFS's configure calls, the
		// kernel's headers, OpenZFS's source, mkfs.erofs, libseccomp for runc, zstd
		// for what nodes download.
		"linux-headers-" + arch,
		"zfs-dkms",
		"erofs-utils",
		"libseccomp-dev",
		"zstd",
		"gcc", "libc6-dev", "make", "dash", "bash", "coreutils", "sed", "grep",
		"mawk", "findutils", "diffutils", "gzip", "xz-utils", "perl-base", "tar",
	}
	if arch == "amd64" {
		// What processors run, and of which the builder is told what to take.
		names = append(names, "amd64-microcode", "intel-microcode")
	}
	return names
}

// Without lists the packages that are depended on by some of the wanted ones
// and left out: their maintainer scripts, interpreters and boot tools have no
// use where no maintainer script runs.
func Without() map[string]bool {
	out := map[string]bool{}
	for _, name := range []string{
		"python3", "libpython3-stdlib", "init-system-helpers", "initramfs-tools",
		"linux-base", "kmod", "dkms", "file", "lsb-release", "debconf", "logsave",
		"dpkg", "libpam-modules", "libpam-runtime", "base-files",
		"dmsetup", "openssl", "iucode-tool",
	} {
		out[name] = true
	}
	return out
}
