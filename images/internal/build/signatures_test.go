package build

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/images/internal/kernel"
)

// TestModuleSignatures: a module gets its own signature, in the form that the
// kernel reads from its end, and never that of another build.
func TestModuleSignatures(t *testing.T) {
	dir, signatures := t.TempDir(), t.TempDir()
	module := bytes.Repeat([]byte("module "), 100)
	write := func(path string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "zfs.ko"), module)
	der := []byte("signature of zfs")
	write(filepath.Join(signatures, fmt.Sprintf("%x.p7s", sha256.Sum256(module))), der)

	b := &builder{}
	b.ModuleSignatures = signatures
	found, err := b.moduleSignatures(dir)
	if err != nil {
		t.Fatal(err)
	}
	set := &kernel.Set{Modules: map[string][]byte{}}
	if err := addBuilt(set, dir, found); err != nil {
		t.Fatal(err)
	}
	got := set.Modules["updates/zfs.ko"]
	// As mod_verify_sig does it: from the end.
	rest, ok := bytes.CutSuffix(got, []byte("~Module signature appended~\n"))
	if !ok {
		t.Fatalf("the module ends in %q", got[max(0, len(got)-40):])
	}
	header, rest := rest[len(rest)-12:], rest[:len(rest)-12]
	size := int(binary.BigEndian.Uint32(header[8:]))
	if !bytes.Equal(header[:8], []byte{0, 0, 2, 0, 0, 0, 0, 0}) || size != len(der) {
		t.Fatalf("the header is % x", header)
	}
	if !bytes.Equal(rest[len(rest)-size:], der) || !bytes.Equal(rest[:len(rest)-size], module) {
		t.Error("in front of the header is not the module and its signature")
	}

	write(filepath.Join(dir, "zfs.ko"), append(module, '!'))
	if _, err := b.moduleSignatures(dir); err == nil || !strings.Contains(err.Error(), "another build") {
		t.Errorf("another build of the module: %v", err)
	}
	b.ModuleSignatures = ""
	if found, err := b.moduleSignatures(dir); err != nil || len(found) != 1 || len(found["zfs.ko"]) != 0 {
		t.Errorf("without signatures: %q, %v", found, err)
	}
	if err := addBuilt(&kernel.Set{Modules: map[string][]byte{}}, dir, map[string][]byte{"spl.ko": der}); err == nil {
		t.Error("the signature of a module that is not there was accepted")
	}
}

// TestSignedLoader: the root gets the boot loader that is signed, of the same bytes and of no others.
func TestSignedLoader(t *testing.T) {
	signatures := t.TempDir()
	program := []byte("a boot loader")
	b := &builder{}
	if got, err := b.signedProgram(program); err != nil || !bytes.Equal(got, program) {
		t.Errorf("without signatures: %q, %v", got, err)
	}
	b.ModuleSignatures = signatures
	if _, err := b.signedProgram(program); err == nil || !strings.Contains(err.Error(), "hack/release modules signs") {
		t.Errorf("signatures without it: %v", err)
	}
	signed := []byte("a boot loader, signed")
	if err := os.WriteFile(filepath.Join(signatures, fmt.Sprintf("%x.efi", sha256.Sum256(program))), signed, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := b.signedProgram(program); err != nil || !bytes.Equal(got, signed) {
		t.Errorf("with its signature: %q, %v", got, err)
	}
}
