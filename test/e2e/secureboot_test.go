package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/hack/qemu/vm"
	"github.com/cyvive/cyvive/hack/release/diskimage"
	"github.com/cyvive/cyvive/hack/release/keys"
	"github.com/cyvive/cyvive/hack/release/variant"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

// What firmware and boot loader say, in the form of squeezed. The first is of systemd-boot 257 (src/boot/secure-boot.c), as is the third (image_start of
// src/boot/boot.c); the second is of edk2 (OvmfPkg/Library/PlatformBmPrintScLib).
var (
	keysEnrolled  = regexp.MustCompile(`CustomSecureBootkeyssuccessfullyenrolled`)
	loaderRefused = regexp.MustCompile(`(?i)failedtoloadBoot[0-9A-F]{4}.{0,200}?(accessdenied|securityviolation)`)
	kernelRefused = regexp.MustCompile(`(?i)errorloading.{0,80}?a\.efi.{0,20}?(accessdenied|securityviolation)`)
	kernelStarted = regexp.MustCompile(`Linuxversion`)
)

const (
	// refusalTimeout is for firmware to come as far as the boot loader and the kernel image.
	refusalTimeout = 5 * time.Minute
	// graceTime is how long a machine that has refused a program is looked at for one that starts after all.
	graceTime = 20 * time.Second
	// firmwareVars is the file of a machine's variables (hack/qemu/vm).
	firmwareVars = "efivars.fd"
)

// withSMM says whether the firmware keeps its variables from the guest by system management mode. Emulated processors are slow in it, and not all versions
// of QEMU are known to get through; what is started is checked with and without. SMM=1 and SMM=0 decide otherwise.
func withSMM() bool {
	switch os.Getenv("SMM") {
	case "1":
		return true
	case "0":
		return false
	}
	return vm.DetectAccel() == vm.KVM
}

// TestSecureBoot boots a signed disk in a machine that has no keys yet. It enrols those of the disk, starts again, and is a node on which Secure Boot is
// on; with LONG=1 it has a TPM that its disk is sealed to, takes a signed release, which the disk opens for, and refuses one that is not; and with Secure Boot
// off, the disk stays shut. Then machines with the same keys are given disks that are not as they were signed, and start none of them.
func TestSecureBoot(t *testing.T) {
	besideOthers(t)
	e := requireImage(t)
	ctx := testContext(t, 30*time.Minute+upgradeTimeout)
	b := e.signDisk(t, ctx)
	options := e.smallOptions(t)
	options.Image, options.SecureBoot, options.SMM = b.qcow2, true, withSMM()
	t.Logf("SMM: %t", options.SMM)
	mode := config.EncryptionNone
	if long() {
		options.TPM, options.RawImage, mode = true, b.raw, config.EncryptionTPM
	}
	s := startAloneIn(t, ctx, e, options, func(cfg *config.Config) { cfg.Machine.Disk.Encryption.Mode = mode })
	t.Run("enrolled", func(t *testing.T) { testEnrolled(t, s) })
	t.Run("upgrade", func(t *testing.T) { testSecureUpgrade(t, &sealed{suite: s}) })
	s.shutDown(t, ctx)
	b.keepVariables(t, s)
	t.Run("turned-off", func(t *testing.T) { testTurnedOff(t, &sealed{suite: s}) })
	testRefusedDisks(t, ctx, b)
}

// keepVariables takes a copy of what the machine's firmware remembers.
func (b *secureDisk) keepVariables(t *testing.T, s *suite) {
	t.Helper()
	b.variables = filepath.Join(b.dir, firmwareVars)
	variables, err := os.ReadFile(filepath.Join(s.NodeDir(s.node), firmwareVars))
	if err == nil {
		err = os.WriteFile(b.variables, variables, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// testEnrolled: the machine has taken the keys and started again, the node says that Secure Boot is on, and OpenZFS, which Debian has not signed, is loaded.
func testEnrolled(t *testing.T, s *suite) {
	ctx := testContext(t, bootTimeout)
	console, err := os.ReadFile(s.ConsolePath(s.node))
	if err != nil {
		t.Fatal(err)
	}
	if !keysEnrolled.MatchString(squeezed(console)) {
		t.Errorf("the console does not say that keys were enrolled: %s", s.ConsolePath(s.node))
	}
	s.checkSecure(t, ctx)
}

// checkSecure wants Secure Boot to be on, and the kernel to go by it.
func (s *suite) checkSecure(t *testing.T, ctx context.Context) {
	t.Helper()
	var all inventoryv1.GetInventoryResponse
	ask(t, ctx, s, &all, "inventory", "--no-disk-health")
	f := all.GetInventory().GetFirmware()
	if f.GetSecureBoot() != inventoryv1.Toggle_TOGGLE_ON || f.GetSetupMode() != inventoryv1.Toggle_TOGGLE_OFF || f.GetKernelLockdown() != "integrity" {
		t.Errorf("the firmware is %v; want Secure Boot on, setup mode off, and a kernel in lockdown", f)
	}
	if out := s.nodectl(t, ctx, "inventory"); !strings.Contains(out, "secure boot on") {
		t.Errorf("nodectl does not show Secure Boot:\n%s", out)
	}
	log := s.nodectl(t, ctx, "dmesg")
	for _, want := range []string{"Secure boot enabled", "Cyvive program key", "ZFS: Loaded module"} {
		if !strings.Contains(log, want) {
			t.Errorf("the kernel does not say %q", want)
		}
	}
	if strings.Contains(log, "unsigned module") {
		t.Error("the kernel has refused a module")
	}
}

// testSecureUpgrade: a release that firmware would not start is refused before anything is written, and one that it starts is taken and kept. The disk, which was
// sealed with Secure Boot on, opens for it by the TPM: nobody has written its recovery key down.
func testSecureUpgrade(t *testing.T, s *sealed) {
	longOnly(t, "builds a release")
	ctx := testContext(t, buildTimeout+2*pushTimeout+2*bootTimeout)
	s.checkOpen(t, ctx)
	r := s.suite.env.releases(t)
	good := r.build(t, ctx, "good", variant.GoodVersion)
	key := r.Key()
	key.SecureBoot = nil
	unsigned := releases{variant.Signer(r.Dir(), key), r.env}
	before := s.system(t, ctx)
	_, err := s.Tools().Nodectl(ctx, "upgrade", "--image", unsigned.sign(t, good, "unsigned"))
	if err == nil || !strings.Contains(err.Error(), secureboot.ErrRefused.Error()) || !strings.Contains(err.Error(), secureboot.ErrUnsigned.Error()) {
		t.Errorf("a release that is not signed for firmware: %v", err)
	}
	if after := s.system(t, ctx); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("the disk changed: before %v, after %v", before, after)
	}
	boot := currentBoot(t, ctx, s.suite)
	s.nodectl(t, ctx, "upgrade", "--image", r.sign(t, good, "good"))
	s.awaitVersion(t, ctx, boot, variant.GoodVersion, machinev1.Slot_SLOT_B)
	s.awaitBlessed(t, ctx, variant.GoodVersion)
	s.checkSecure(t, ctx)
	s.healthy(t, ctx)
}

// testTurnedOff starts the machine, which is off, with Secure Boot off: a kernel image that is signed, and the same TPM, do not open the disk. It leaves the
// machine off.
func testTurnedOff(t *testing.T, n *sealed) {
	longOnly(t, "the disk is sealed in the long form only")
	ctx := testContext(t, 2*bootTimeout)
	// Without its variables the machine is in setup mode, and the disk does not have it enrol the keys again.
	n.partition(t, "esp").replace(t, "secure-boot-enroll if-safe\n", "secure-boot-enroll off\n###\n")
	if err := os.Remove(filepath.Join(n.NodeDir(n.node), firmwareVars)); err != nil {
		t.Fatal(err)
	}
	n.start(t, ctx)
	n.awaitShut(t, ctx, "PCR 7 (Secure Boot and its keys) is ")
	n.shutDown(t, ctx)
}

// testRefusedDisks starts machines whose firmware has the keys from disks of all kinds.
func testRefusedDisks(t *testing.T, ctx context.Context, b *secureDisk) {
	kernel, loader := b.file(t, "/EFI/cyvive/a.efi"), b.file(t, "/EFI/BOOT/BOOT"+map[string]string{"amd64": "X64", "arm64": "AA64"}[b.env.arch]+".EFI")
	for _, c := range []struct {
		name string
		// disk makes a disk in a folder.
		disk func(t *testing.T, ctx context.Context, dir string) string
		// says is on the console, and started whether a kernel is, too.
		says    *regexp.Regexp
		started bool
		// short says that it is in make test, too.
		short bool
	}{
		// Without this the others would show nothing. In the short form, the node has started already.
		{"as signed", b.changed(), kernelStarted, true, false},
		{"kernel image not signed", b.changed(change{kernel, signatureGone}), kernelRefused, false, false},
		{"bit of the kernel image", b.changed(change{kernel, flippedBit}), kernelRefused, false, true},
		{"bit of the boot loader", b.changed(change{loader, flippedBit}), loaderRefused, false, true},
		{"nothing signed", b.unsigned, loaderRefused, false, false},
		{"signed by another", b.byAnother, loaderRefused, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !c.short {
				longOnly(t, "one disk of each kind is in make test")
			}
			besideOthers(t)
			dir := b.env.workDir(t)
			config := b.env.bare(t, dir)
			firmware, err := vm.FindSecureFirmware(b.env.arch, withSMM())
			if err != nil {
				t.Fatal(err)
			}
			config.FirmwareCode, config.FirmwareVars, config.SMM = firmware.Code, b.variables, withSMM()
			config.Disks = []vm.Disk{{Path: c.disk(t, ctx, dir), Format: "qcow2"}}
			expectOnConsole(t, ctx, config, c.says, c.started)
		})
	}
}

// expectOnConsole boots a machine and wants it to say something, and to start a kernel or not.
func expectOnConsole(t *testing.T, ctx context.Context, config vm.Config, says *regexp.Regexp, started bool) {
	t.Helper()
	m, err := vm.Start(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.PowerCut(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	read := func() string {
		text, err := os.ReadFile(m.Console().Path())
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return squeezed(text)
	}
	limited, cancel := context.WithTimeout(ctx, refusalTimeout)
	defer cancel()
	eventually(t, limited, "what the machine says", func(context.Context) error {
		text := read()
		if found := says.FindString(text); found != "" {
			t.Logf("the console says: %s", found)
			return nil
		}
		if !started && kernelStarted.MatchString(text) {
			t.Fatal("a kernel was started that is not what was signed")
		}
		return fmt.Errorf("%s is not on the console %s, which ends in %q", says, m.Console().Path(), text[max(0, len(text)-200):])
	})
	if started {
		return
	}
	time.Sleep(graceTime)
	if kernelStarted.MatchString(read()) {
		t.Error("a kernel was started that is not what was signed")
	}
}

// sequences are what firmware draws its screens with (ECMA-48).
var sequences = regexp.MustCompile("\x1b(\\[[0-9;?=]*[A-Za-z]|[()][A-Z0-9]|[=>])")

// squeezed is the text of a console without terminal sequences, spaces and line ends: firmware breaks lines where its screen ends.
func squeezed(console []byte) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' {
			return -1
		}
		return r
	}, string(sequences.ReplaceAll(console, nil)))
}

func TestSqueezed(t *testing.T) {
	console := "\x1b[2J\x1b[01;01HBdsDxe: failed to load Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x2\r\n,0x0): Access De\x1b[0m\r\nnied\r\n"
	if got := squeezed([]byte(console)); !loaderRefused.MatchString(got) || kernelRefused.MatchString(got) {
		t.Errorf("got %q", got)
	}
	got := squeezed([]byte("../src/boot/boot.c:2406@image_start: Error loading \\EFI\\cyvive\\a.efi: Access denied\r\n"))
	if !kernelRefused.MatchString(got) || loaderRefused.MatchString(got) {
		t.Errorf("got %q", got)
	}
	if got := squeezed([]byte("Custom Secure Boot keys successfully enrolled, rebooting the system now!\n")); !keysEnrolled.MatchString(got) {
		t.Errorf("got %q", got)
	}
}

// sign makes a signed disk image, and the same in the form for machines.
func (e env) sign(t *testing.T, ctx context.Context, dir string, o diskimage.Options) (raw, qcow2 string) {
	t.Helper()
	raw, qcow2 = filepath.Join(dir, "signed.raw"), filepath.Join(dir, "signed.qcow2")
	if err := diskimage.Sign(raw, e.out(), o); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img convert: %v: %s", err, out)
	}
	return raw, qcow2
}

// signDisk signs the image as make release does.
func (e env) signDisk(t *testing.T, ctx context.Context) *secureDisk {
	t.Helper()
	dir, err := keys.Dir(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	b := &secureDisk{env: e, dir: e.workDir(t)}
	b.options.Keys = e.releases(t).Key()
	b.options.Enrol = diskimage.EnrolIfSafe
	if b.options.Variables, err = keys.Variables(dir); err != nil {
		t.Fatalf("what machines enrol: %v; make image makes it", err)
	}
	b.raw, b.qcow2 = e.sign(t, ctx, b.dir, b.options)
	return b
}
