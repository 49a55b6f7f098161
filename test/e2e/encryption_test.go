package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/hack/release/bundle"
	"github.com/cyvive/cyvive/hack/release/diskimage"
	"github.com/cyvive/cyvive/hack/release/variant"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/trust/recovery"
)

// TestEncryption takes a node with a TPM through what its disk opens under, and what it does not: reboots, an upgrade, a changed kernel image, a boot entry that
// adds to the command line, and another TPM. Its disk is a file that the test reads from outside. Secure Boot is off. A part begins where the one before has
// left the node, so none runs behind one that fails. An ordinary reboot, the upgrade, and what is behind the changed image, are made with LONG=1.
func TestEncryption(t *testing.T) {
	besideOthers(t)
	e := requireImage(t)
	ctx := testContext(t, buildTimeout+2*pushTimeout+12*bootTimeout)
	n := &sealed{releases: e.releases(t)}
	options := e.smallOptions(t)
	options.TPM, options.RawImage = true, filepath.Join(n.releases.Dir(), "signed.raw")
	if err := diskimage.Sign(options.RawImage, e.out(), diskimage.Options{Keys: bundle.Keys{Policy: n.releases.Key().Policy}}); err != nil {
		t.Fatalf("%v; make image builds an image with room for signatures", err)
	}
	n.suite = startAloneIn(t, ctx, e, options, func(cfg *config.Config) {
		cfg.Machine.Disk.Encryption.Mode = config.EncryptionTPM
		cfg.Machine.Upgrade.Deadline = 5 * time.Minute
	})
	for _, part := range []struct {
		name string
		run  func(*testing.T, *sealed)
	}{
		{"first-boot", testSealedDisk}, {"recovery-key", testRecoveryKey}, {"reboot", testOpensAgain}, {"upgrade", testUpgradeKeepsSealed},
		{"changed-image", testChangedImage}, {"changed-entry", testChangedEntry}, {"another-tpm", testAnotherTPM}, {"reseal", testReseal},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, n) }) {
			t.Fatalf("the parts behind %s are left out", part.name)
		}
	}
}

// plainMarks are in what the volumes hold, and would be on a disk that is not encrypted: the configuration with its private keys, and the root folder of
// a file system, on state; and on data, which is a pool, names in its labels (ZPOOL_CONFIG_VDEV_TREE and ZPOOL_CONFIG_POOL_GUID in include/sys/fs/zfs.h of OpenZFS
// 2.3), which ZFS does not compress.
var plainMarks = []string{"PRIVATE KEY", "apiVersion: cyvive.dev", "lost+found", "vdev_tree", "pool_guid"}

// testSealedDisk looks at the disk from outside.
func testSealedDisk(t *testing.T, n *sealed) {
	ctx := testContext(t, 5*time.Minute)
	n.checkOpen(t, ctx)
	// That marks are found where they are.
	userData, err := os.ReadFile(n.UserDataPath(n.node))
	if err != nil {
		t.Fatal(err)
	}
	for _, mark := range plainMarks[:2] {
		if !strings.Contains(string(userData), mark) {
			t.Fatalf("the configuration does not have %q: nothing is proven by the disk not having it", mark)
		}
	}
	n.whilePaused(t, ctx, func() {
		for _, name := range []string{"state", "data"} {
			p := n.partition(t, name)
			if head := p.read(t, 0, 6); string(head) != "LUKS\xba\xbe" {
				t.Errorf("partition %s begins with %q, and not with the header of an encrypted volume", name, head)
			}
			// The magic number of ext4 (Documentation/filesystems/ext4/super.rst, s_magic).
			if magic := p.read(t, 1024+0x38, 2); string(magic) == "\x53\xef" {
				t.Errorf("partition %s holds a plain file system", name)
			}
			for _, mark := range plainMarks {
				if at := p.find(t, mark); len(at) > 0 {
					t.Errorf("partition %s has %q in the clear, at byte %d", name, mark, at[0])
				}
			}
		}
	})
}

// testRecoveryKey writes the recovery key down, and has the node forget it.
func testRecoveryKey(t *testing.T, n *sealed) {
	ctx := testContext(t, time.Minute)
	n.key = strings.TrimSpace(n.nodectl(t, ctx, "disk", "recovery-key"))
	if _, err := recovery.Parse(n.key); err != nil {
		t.Fatal(err)
	}
	n.wrongKey(t, ctx, "disk", "recovery-key", "--forget")
	if _, err := n.Tools().NodectlInput(ctx, n.key, "disk", "recovery-key", "--forget"); err != nil {
		t.Fatal(err)
	}
	if out, err := n.Tools().Nodectl(ctx, "disk", "recovery-key"); err == nil || out != "" {
		t.Errorf("the node shows the key that it was to forget: %v", err)
	}
}

func testOpensAgain(t *testing.T, n *sealed) {
	longOnly(t, "the boot behind the changed image opens the disk, too")
	ctx := testContext(t, 2*bootTimeout)
	before := currentBoot(t, ctx, n.suite)
	n.nodectl(t, ctx, "reboot")
	// The ledger is on the state volume.
	if boots := awaitBoot(t, ctx, n.suite, before); len(boots) != 2 {
		t.Errorf("the ledger has %d boots, want two", len(boots))
	}
	n.healthy(t, ctx)
}

// testUpgradeKeepsSealed takes the node to the next release of the same signer, and not to one that would leave the disk shut.
func testUpgradeKeepsSealed(t *testing.T, n *sealed) {
	longOnly(t, "builds a release")
	ctx := testContext(t, buildTimeout+2*pushTimeout+3*bootTimeout)
	dir := n.build(t, ctx, "light", variant.GoodVersion, variant.Light()...)
	unsigned := releases{Builder: variant.Signer(n.Dir(), bundle.Keys{Release: n.Key().Release})}
	_, err := n.Tools().Nodectl(ctx, "upgrade", "--image", unsigned.sign(t, dir, "unsigned"))
	if err == nil || !strings.Contains(err.Error(), "no signed policy") {
		t.Errorf("a release that would not open the disk: %v", err)
	}
	before := currentBoot(t, ctx, n.suite)
	n.nodectl(t, ctx, "upgrade", "--image", n.sign(t, dir, "light"))
	n.awaitVersion(t, ctx, before, variant.GoodVersion, machinev1.Slot_SLOT_B)
	n.awaitBlessed(t, ctx, variant.GoodVersion)
	n.healthy(t, ctx)
}

// testChangedImage changes one digit of the command line in the kernel image, which the signer has not signed. The recovery key opens the disk, whose keys are
// changed then. With the digit as it was, the TPM gives out the new one.
func testChangedImage(t *testing.T, n *sealed) {
	ctx := testContext(t, 3*bootTimeout)
	line := n.commandLine(t, ctx)
	changed := strings.Replace(line, " panic=10 ", " panic=11 ", 1)
	if changed == line {
		t.Fatalf("the command line has no panic=10: %s", line)
	}
	n.shutDown(t, ctx)
	n.partition(t, "esp").replace(t, line, changed)
	n.start(t, ctx)
	n.awaitShut(t, ctx, "PCR 11 (the kernel image) is ")
	if out := n.nodectl(t, ctx, "dmesg"); !strings.Contains(out, " panic=11 ") {
		t.Error("the kernel's command line was not changed, or the kernel does not tell")
	}
	n.recover(t, ctx)
	n.nodectl(t, ctx, "disk", "rotate")
	n.shutDown(t, ctx)
	n.partition(t, "esp").replace(t, changed, line)
	n.start(t, ctx)
	n.healthy(t, ctx)
}

// changedEntry is a boot entry that goes before those of the node. Without Secure Boot the kernel image takes its options in place of its own.
func changedEntry(slot, line string) string {
	return fmt.Sprintf("title changed\nsort-key cyvive\nversion 1000000\nefi /EFI/cyvive/%s.efi\noptions %s cyvive.e2e=changed\n", slot, line)
}

// testChangedEntry adds a boot entry whose options add to the command line. It leaves the machine off, and the entry without options: then it starts the kernel
// image as the node's own does.
func testChangedEntry(t *testing.T, n *sealed) {
	longOnly(t, "one changed start is in make test")
	ctx := testContext(t, 2*bootTimeout)
	line := n.commandLine(t, ctx)
	boots, err := listBoots(ctx, n.suite)
	if err != nil {
		t.Fatal(err)
	}
	slot := map[machinev1.Slot]string{machinev1.Slot_SLOT_A: "a", machinev1.Slot_SLOT_B: "b"}[boots[0].GetSlot()]
	n.owned(t, ctx)
	n.shutDown(t, ctx)
	n.partition(t, "esp").put(t, "/loader/entries/changed.conf", changedEntry(slot, line))
	n.start(t, ctx)
	n.awaitShut(t, ctx, "PCR 12 (additions to its command line) is ")
	if out := n.nodectl(t, ctx, "dmesg"); !strings.Contains(out, "cyvive.e2e=changed") {
		t.Error("the boot entry's options are not on the kernel's command line, or the kernel does not tell")
	}
	n.shutDown(t, ctx)
	n.partition(t, "esp").replace(t, "\noptions "+line, "\n#ptions "+line)
}

// testAnotherTPM starts the machine with another TPM. The only configuration is on the disk, so the node is in maintenance mode. Its owner opens the disk, and
// the node takes up what is on it.
func testAnotherTPM(t *testing.T, n *sealed) {
	longOnly(t, "takes two boots")
	ctx := testContext(t, 2*bootTimeout)
	owner := ownedBy(t, ctx, n.Cluster)
	if err := n.SetUserData(n.node, []byte(owner.document(t, ctx))); err != nil {
		t.Fatal(err)
	}
	if err := n.ReplaceTPM(n.node); err != nil {
		t.Fatal(err)
	}
	n.start(t, ctx)
	fingerprint := owner.fingerprint(t, ctx, 1)
	asOwner := []string{"--maintenance", "--nodes", owner.address(), "--fingerprint", fingerprint, "--owner-key", owner.key}
	n.awaitShut(t, ctx, "sealed by another TPM, or by this one before it was cleared", asOwner...)
	console, err := os.ReadFile(n.ConsolePath(n.node))
	if err != nil || !strings.Contains(string(console), "nodectl disk recover state") {
		t.Errorf("the console does not say what opens the disk: %v", err)
	}
	out, err := owner.nodectl(ctx, fingerprint, "disk", "recovery-key")
	expectRefused(t, out, err, "is not available before the node has a configuration")
	n.recover(t, ctx, asOwner...)
	if got := n.nodectl(t, ctx, "config", "get"); !strings.Contains(got, "sealed.example") {
		t.Errorf("the node has another configuration than the one on its disk:\n%s", got)
	}
	out, err = owner.nodectl(ctx, fingerprint, "version")
	if err == nil || out != "" {
		t.Errorf("the owner of a node that has its configuration again: %q, %v", out, err)
	}
}

// testReseal seals the disk to the other TPM, which opens it from then on.
func testReseal(t *testing.T, n *sealed) {
	longOnly(t, "takes a boot")
	ctx := testContext(t, 2*bootTimeout)
	n.nodectl(t, ctx, "disk", "reseal")
	before := currentBoot(t, ctx, n.suite)
	n.nodectl(t, ctx, "reboot")
	awaitBoot(t, ctx, n.suite, before)
	n.healthy(t, ctx)
	if out := n.nodectl(t, ctx, "audit", "list"); !strings.Contains(out, "DiskService/Reseal") || strings.Contains(out, n.key) {
		t.Error("the audit log does not have the resealing, or has the recovery key")
	}
}
