package nocloud

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/machined/source"
)

// TestVMFirmware reads what a real kernel shows of QEMU's firmware. It is here since package source has no other test for a virtual machine.
func TestVMFirmware(t *testing.T) {
	disks := scratch(t)
	put(t, disks[1], "")
	modules, err := kmod.Open("/usr/lib/modules")
	if err != nil {
		t.Fatal(err)
	}
	if err := modules.Load("qemu_fw_cfg"); err != nil {
		t.Fatal(err)
	}
	facts := source.ReadFacts("/sys", nil)
	all := source.New(source.Config{Facts: facts, Sys: "/sys", NoCloud: Source{}, ConfigDrive: ConfigDrive{}})
	if doc, err := all.Find(t.Context()); doc != nil || err != nil {
		t.Errorf("on a machine of the test runner: found %v, %v", doc, err)
	}
	checkFwCfg(t)
	if runtime.GOARCH != "amd64" {
		return // without UEFI, which the runner leaves out, no other architecture has SMBIOS
	}
	if facts.Vendor != "QEMU" || facts.Product == "" {
		t.Errorf("DMI: %+v", facts)
	}
	checkSMBIOS(t)
}

// checkFwCfg wants files of fw_cfg where the source looks for its own.
func checkFwCfg(t *testing.T) {
	t.Helper()
	raws, err := filepath.Glob("/sys/firmware/qemu_fw_cfg/by_name/etc/*/raw")
	if err != nil || len(raws) == 0 {
		t.Fatalf("fw_cfg shows no file by its name: %v", err)
	}
	for _, raw := range raws {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(raw), "size"))
		if err != nil {
			t.Fatal(err)
		}
		size, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(raw); err != nil || len(data) != size {
			t.Errorf("%s: got %d bytes, %v, want %d", raw, len(data), err, size)
		}
	}
}

// checkSMBIOS puts an OEM string behind the machine's own structures, and wants it found.
func checkSMBIOS(t *testing.T) {
	t.Helper()
	table, err := os.ReadFile("/sys/firmware/dmi/tables/DMI")
	if err != nil {
		t.Fatal(err)
	}
	end := bytes.LastIndex(table, []byte{127, 4}) // the structure that ends the table
	if end < 0 {
		t.Fatalf("the table of %d bytes has no end", len(table))
	}
	const documents = "apiVersion: cyvive.dev/v1alpha1\n"
	sys := t.TempDir()
	path := filepath.Join(sys, "firmware/dmi/tables/DMI")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	whole := append(table[:end:end], "\x0b\x05\x00\xfe\x01dev.cyvive.config="+documents+"\x00\x00"...)
	if err := os.WriteFile(path, append(whole, table[end:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	doc, err := source.New(source.Config{Sys: sys}).Find(t.Context())
	if err != nil || doc == nil || string(doc.Data) != documents {
		t.Errorf("got %v, %v", doc, err)
	}
}
