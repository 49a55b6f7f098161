package build

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cyvive/cyvive/images/internal/kernel"
)

// builtModules is where the modules are that this builder compiles, below the
// kernel's. The kernel's own are signed by Debian.
const builtModules = "updates"

// moduleMagic ends a module with a signature (include/linux/module_signature.h
// and kernel/module/signing.c of Linux 6.12).
const moduleMagic = "~Module signature appended~\n"

// signedByPKCS7 is PKEY_ID_PKCS7 of enum pkey_id_type
// (include/linux/module_signature.h).
const signedByPKCS7 = 2

// signature is the signature of a module of Options.ModuleSignatures, in the form
// that the kernel reads behind a module; hack/release/modules of the root module
// makes them. Without such a directory it is empty: the module loads on
// machines without Secure Boot only.
func (b *builder) signature(module []byte) ([]byte, error) {
	if b.ModuleSignatures == "" {
		return nil, nil
	}
	file := filepath.Join(b.ModuleSignatures, fmt.Sprintf("%x.p7s", sha256.Sum256(module)))
	der, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s: the signatures are of another build of the module (hack/release modules signs)", file)
	}
	if err != nil {
		return nil, err
	}
	return appended(der), nil
}

// appended is what the kernel reads behind a module: the signature, struct
// module_signature with nothing set but its kind and length, and the magic.
func appended(der []byte) []byte {
	out := append(append([]byte(nil), der...), 0, 0, signedByPKCS7, 0, 0, 0, 0, 0)
	out = binary.BigEndian.AppendUint32(out, uint32(len(der)))
	return append(out, moduleMagic...)
}

// moduleSignatures returns the signatures of the modules below a directory, by
// their names in it.
func (b *builder) moduleSignatures(dir string) (map[string][]byte, error) {
	set := kernel.Set{Modules: map[string][]byte{}}
	if err := set.AddModules(dir, "."); err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for name, module := range set.Modules {
		var err error
		if out[name], err = b.signature(module); err != nil {
			return nil, fmt.Errorf("sign module %s: %w", name, err)
		}
	}
	return out, nil
}

// addBuilt adds the modules of a directory with their signatures.
func addBuilt(all *kernel.Set, dir string, signatures map[string][]byte) error {
	if err := all.AddModules(dir, builtModules); err != nil {
		return err
	}
	for name, signature := range signatures {
		at := path.Join(builtModules, name)
		module, ok := all.Modules[at]
		if !ok || strings.HasSuffix(string(module), moduleMagic) {
			return fmt.Errorf("sign module %s: it is gone, or has a signature", name)
		}
		all.Modules[at] = append(module, signature...)
	}
	return nil
}
