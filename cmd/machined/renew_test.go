package main

import (
	"bytes"
	"debug/pe"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/hack/release/releasetest"
	"github.com/cyvive/cyvive/internal/storage/loader"
	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

// bootProgram is a boot loader of a version, signed by whom there is.
func bootProgram(t *testing.T, version string, by *secureboot.Signer) []byte {
	t.Helper()
	program := releasetest.Kernel(t, pe.IMAGE_FILE_MACHINE_AMD64, ".sdmagic", "#### LoaderInfo: systemd-boot "+version+" ####")
	if by == nil {
		return program
	}
	signed, err := by.SignProgram(program)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// TestMayReplace: a boot loader takes the place of one by the same signer, or of one by nobody while Secure Boot is off.
func TestMayReplace(t *testing.T) {
	ours, others := releasetest.SecureBoot(t, t.TempDir()), releasetest.SecureBoot(t, t.TempDir())
	off := secureboot.Firmware{}
	trusted := secureboot.CertificateEntry(secureboot.OwnerOf(ours.Certificate), ours.Certificate)
	on := secureboot.Firmware{On: true, DB: secureboot.Database{trusted}}
	for _, test := range []struct {
		name     string
		firmware secureboot.Firmware
		old, new *secureboot.Signer
		want     string // part of the error
	}{
		{"nobody signs", off, nil, nil, ""},
		{"signed from now on", off, nil, ours, ""},
		{"signed by the same", off, ours, ours, ""},
		{"signed no more", off, ours, nil, "not signed for Secure Boot"},
		{"signed by another", off, ours, others, "and the one that is there by"},
		{"Secure Boot is on", on, ours, ours, ""},
		{"Secure Boot is on, and nobody has signed it", on, ours, nil, "would not start it"},
		{"Secure Boot is on, and another has signed it", on, ours, others, "would not start it"},
		{"Secure Boot starts what nobody has signed", on, nil, ours, "starts it all the same"},
	} {
		err := mayReplace(test.firmware, bootProgram(t, "1", test.old), bootProgram(t, "2", test.new))
		if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

// TestRenewOfRelease: the release's own boot loader takes the place of an older one, and a release that brings none leaves it.
func TestRenewOfRelease(t *testing.T) {
	dir := t.TempDir()
	place, own := filepath.Join(dir, "EFI/BOOT/BOOTX64.EFI"), filepath.Join(t.TempDir(), "boot.efi")
	older, newer := bootProgram(t, "257.13-1", nil), bootProgram(t, "257.14-1", nil)
	if err := errors.Join(os.MkdirAll(filepath.Dir(place), 0o755), os.WriteFile(place, older, 0o644)); err != nil {
		t.Fatal(err)
	}
	boot := loader.New(func() (loader.Volume, error) {
		return loader.Volume{Dir: dir, FreeBytes: 100 << 20, Close: func() error { return nil }}, nil
	})
	if done, err := renew(boot, own, filepath.Join(dir, "none")); done != "" || err != nil {
		t.Errorf("a release without one: got %q, %v", done, err)
	}
	if err := os.WriteFile(own, newer, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"version 257.14-1 in the place of 257.13-1", ""} { // the second time there is nothing to do
		if done, err := renew(boot, own, filepath.Join(dir, "none")); done != want || err != nil {
			t.Errorf("got %q, %v, want %q", done, err, want)
		}
	}
	if got, err := os.ReadFile(place); err != nil || !bytes.Equal(got, newer) {
		t.Errorf("the boot loader has %d bytes, %v", len(got), err)
	}
}
