package build

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/images/internal/uki"
)

// cmdlineRest is the kernel command line behind the root hash. Consoles: the
// last one gets /dev/console. Kernel messages are not rate-limited for the
// agent's log. A panic restarts the machine after ten seconds, and an oops is one
// from the first moment on: a kernel that has lost its footing serves nobody.
//
// A partition table that a power cut has left damaged is read from its copy (gpt;
// find_valid_gpt in block/partitions/efi.c). The node changes the table with every
// upgrade, and not all firmware mends it. The kernel then looks at that copy on every
// disk, also on one whose first table was removed on purpose and whose last was left.
//
// Huge pages go to who asks for them with madvise(2), and not to every mapping
// that is large enough, as Debian's kernel has it: a dozen Go programs touch a few
// pages in each. With it an idle node of two processors had 655 MB of memory in use
// and not 782, and PID 1 7 MB and not 11.
const cmdlineRest = "console=tty0 console=ttyS0,115200 printk.devkmsg=on panic=10 oops=panic gpt transparent_hugepage=madvise " + hardening

// hardening closes what no node needs, following the Kernel Self-Protection
// Project; meanings are in the kernel's
// Documentation/admin-guide/kernel-parameters.txt. Of the security modules those
// that nothing here configures are left out; the node's own programs need bpf.
// Freed memory is not cleared (init_on_free): allocated memory is, at a fraction
// of the cost.
const hardening = "lsm=lockdown,yama,landlock,bpf slab_nomerge init_on_alloc=1 page_alloc.shuffle=1 " +
	"randomize_kstack_offset=on vsyscall=none debugfs=off proc_mem.force_override=never"

// efiNames are the ends of the names of systemd's and UEFI's files.
var efiNames = map[string]string{"amd64": "x64", "arm64": "aa64"}

// cmdline is the kernel command line of the image.
func (b *builder) cmdline() string {
	line := "roothash=" + b.results.rootHash + " " + cmdlineRest
	if b.Append != "" {
		line += " " + b.Append
	}
	return line
}

// unsigned is the section in which whoever signs a release puts what sealed disks
// are opened by, and which the stub does not measure: the image is the same for
// whoever builds it, and is signed without a change to any header. It is the Blank
// of internal/trust/pcr, of the root module, which says more.
func unsigned() []byte {
	blank := bytes.Repeat([]byte("\n"), 4096)
	copy(blank, "{}")
	return blank
}

// uki makes the unified kernel image.
func (b *builder) uki(context.Context) error {
	return b.run.Do("uki", func() error {
		u, err := b.openUserland()
		if err != nil {
			return err
		}
		stub := u.Get(bootDir + "linux" + efiNames[b.Arch] + ".efi.stub")
		if stub == nil {
			return fmt.Errorf("find boot stub: systemd-boot-efi has none for %s", b.Arch)
		}
		vmlinuz, err := os.ReadFile(b.out("vmlinuz"))
		if err != nil {
			return err
		}
		ramdisk, err := os.ReadFile(b.results.initramfs)
		if err != nil {
			return err
		}
		sections := []uki.Section{
			{Name: ".osrel", Data: b.osRelease()},
			{Name: ".cmdline", Data: []byte(b.cmdline())},
			{Name: ".uname", Data: []byte(b.pins.Kernel)},
		}
		if b.results.microcode != "" && len(b.Microcode) > 0 {
			early, err := os.ReadFile(filepath.Join(b.results.microcode, "early.cpio"))
			if err != nil {
				return err
			}
			// The stub hands it to the kernel before the initramfs (systemd-stub(7)).
			sections = append(sections, uki.Section{Name: ".ucode", Data: early})
		}
		// An installation medium has another .initrd, and moves what lies behind it.
		image, err := uki.Build(stub.Data, append(sections,
			uki.Section{Name: ".initrd", Data: ramdisk},
			uki.Section{Name: ".linux", Data: vmlinuz},
			uki.Section{Name: ".pcrsig", Data: unsigned()},
		))
		if err != nil {
			return err
		}
		b.results.uki = image
		for name, data := range map[string][]byte{"cyvive.efi": image, "cmdline": []byte(b.cmdline() + "\n")} {
			if err := b.write(name, func(f *os.File) error { _, err := f.Write(data); return err }); err != nil {
				return err
			}
		}
		return nil
	})
}
