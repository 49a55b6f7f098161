package preflight

// tool is a program, or the whole path of another file, and the Debian package that has it.
type tool struct{ name, pkg string }

// tools lists what the make targets call on the host.
func tools(arch string) []tool {
	system := tool{"qemu-system-x86_64", "qemu-system-x86"}
	if arch == "arm64" {
		system = tool{"qemu-system-aarch64", "qemu-system-arm"}
	}
	return []tool{
		system,
		{"qemu-img", "qemu-utils"},
		{"unshare", "util-linux"},
		{"mke2fs", "e2fsprogs"},
		// For tests of encrypted volumes and sealed keys.
		{"cryptsetup", "cryptsetup-bin"},
		{"swtpm", "swtpm"},
		// For tests of what is signed for Secure Boot: others' programs check it.
		{"openssl", "openssl"},
		{"osslsigncode", "osslsigncode"},
		{"git", "git"},
		// For tests with the race detector.
		{"gcc", "gcc"},
		{"/usr/include/stdio.h", "libc6-dev"},
		// For the eBPF programs; hack/bpf.sh.
		{"clang-19", "clang-19"},
		{"llvm-strip-19", "llvm-19"},
	}
}

// firmwarePackage names the Debian package with UEFI firmware for guests.
func firmwarePackage(arch string) string {
	if arch == "arm64" {
		return "qemu-efi-aarch64"
	}
	return "ovmf"
}
