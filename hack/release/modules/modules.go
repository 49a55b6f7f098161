// Package modules signs the kernel modules that the image builder compiles, and the boot loader that it puts into the root. Their signatures are an input of the
// image, as the public keys are: it has the same bytes for whoever has both, and who builds it needs no key.
package modules

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

// End is the end of a signature's name, behind the SHA-256 of the module in hexadecimal digits: so a signature is never put to another build of it.
const End = ".p7s"

// ProgramEnd is the end of the name of a signed EFI program, behind the SHA-256 of the one that was not.
const ProgramEnd = ".efi"

// Sign signs the modules of a folder and an EFI program, if one is named, and makes another folder of the signatures and the signed program. The same input gives
// the same bytes.
func Sign(out, dir, program string, signer *secureboot.Signer) error {
	found, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("no modules in %s: %w", dir, fs.ErrNotExist)
	}
	if err != nil {
		return fmt.Errorf("sign modules: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return fmt.Errorf("sign modules: %w", err)
	}
	made, err := os.MkdirTemp(filepath.Dir(out), "."+filepath.Base(out)+"-*")
	if err != nil {
		return fmt.Errorf("sign modules: %w", err)
	}
	defer os.RemoveAll(made)
	for _, path := range found {
		module, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("sign modules: %w", err)
		}
		signature, err := signer.SignModule(module)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := os.WriteFile(filepath.Join(made, fmt.Sprintf("%x", sha256.Sum256(module))+End), signature, 0o644); err != nil {
			return fmt.Errorf("sign modules: %w", err)
		}
	}
	if program != "" {
		if err := signProgram(made, program, signer); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Chmod(made, 0o755), os.RemoveAll(out)); err != nil {
		return fmt.Errorf("sign modules: %w", err)
	}
	return os.Rename(made, out)
}

func signProgram(dir, path string, signer *secureboot.Signer) error {
	program, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("sign boot loader: %w", err)
	}
	signed, err := signer.SignProgram(program)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%x", sha256.Sum256(program))+ProgramEnd), signed, 0o644); err != nil {
		return fmt.Errorf("sign boot loader: %w", err)
	}
	return nil
}
