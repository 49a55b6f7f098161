package build

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/images/internal/tree"
)

// loaderFile is the boot loader among the image's files, for whoever signs it.
const loaderFile = "boot-loader.efi"

// bootLoader is the boot loader as the package has it. On the disk it is signed by
// whoever signs the disk.
func (b *builder) bootLoader() ([]byte, error) {
	u, err := b.openUserland()
	if err != nil {
		return nil, err
	}
	boot := u.Get(bootDir + "systemd-boot" + efiNames[b.Arch] + ".efi")
	if boot == nil {
		return nil, fmt.Errorf("find boot loader: systemd-boot-efi has none for %s", b.Arch)
	}
	return boot.Data, nil
}

func (b *builder) publishLoader() error {
	boot, err := b.bootLoader()
	if err != nil {
		return err
	}
	return b.write(loaderFile, func(f *os.File) error { _, err := f.Write(boot); return err })
}

// addLoader places the boot loader in the root, by which a node that runs this
// image replaces an older one of its disk (internal/storage/loader of the root
// module). It is signed there, as it has to be for firmware with Secure Boot.
func (b *builder) addLoader(t *tree.Tree) error {
	boot, err := b.bootLoader()
	if err != nil {
		return err
	}
	if boot, err = b.signedProgram(boot); err != nil {
		return err
	}
	t.Write(cyviveDir+"/boot.efi", 0o644, boot)
	return nil
}

// signedProgram is an EFI program as it is in Options.ModuleSignatures, signed;
// without such a directory nobody has signed it.
func (b *builder) signedProgram(program []byte) ([]byte, error) {
	if b.ModuleSignatures == "" {
		return program, nil
	}
	file := filepath.Join(b.ModuleSignatures, fmt.Sprintf("%x.efi", sha256.Sum256(program)))
	signed, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s: the signatures are of another boot loader, or without one (hack/release modules signs)", file)
	}
	return signed, err
}
