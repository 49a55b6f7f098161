package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/machined/config"
)

// passphrases are those that a node's disk has, one after the other.
const (
	firstPassphrase  = "ohng4ooQuah7ieveiThe"
	secondPassphrase = "Ieb3aithaeL9aequ5noo"
)

// TestDiskPassphrase takes a node without a TPM through what its disk opens under: the passphrase that its user data have, and no other. A part begins where the
// one before has left the node, so none runs behind one that fails. It runs with LONG=1 only.
func TestDiskPassphrase(t *testing.T) {
	longOnly(t, "it starts a node again and again")
	e := requireImage(t)
	ctx := testContext(t, 10*bootTimeout)
	n := &sealed{releases: e.releases(t)}
	n.suite = makeAlone(t, ctx, e, rawOptions(t, e, n.releases), nil)
	if err := n.Merge(ctx); err != nil {
		t.Fatal(err)
	}
	n.givePassphrase(t, firstPassphrase)
	n.start(t, ctx)
	n.healthy(t, testContext(t, bootTimeout))
	for _, part := range []struct {
		name string
		run  func(*testing.T, *sealed)
	}{
		{"first-boot", testPassphraseDisk}, {"recovery-key", testRecoveryKey}, {"reboot", testOpensAgain}, {"another", testOtherPassphrase},
		{"changed", testChangedPassphrase},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, n) }) {
			t.Fatalf("the parts behind %s are left out", part.name)
		}
	}
}

// givePassphrase has the node's source give a passphrase beside the configuration, or none. The machine is off.
func (n *sealed) givePassphrase(t *testing.T, text string) {
	t.Helper()
	data, err := os.ReadFile(n.UserDataPath(n.node))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("user-data", data)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Cluster, cfg.Machine.Disk.Encryption.Mode = nil, config.EncryptionPassphrase
	if data, err = config.Marshal(cfg); err != nil {
		t.Fatal(err)
	}
	if text != "" {
		data = append([]byte("apiVersion: cyvive.dev/v1alpha1\nkind: DiskPassphrase\npassphrase: "+text+"\n---\n"), data...)
	}
	if err := n.SetUserData(n.node, data); err != nil {
		t.Fatal(err)
	}
}

// testPassphraseDisk looks at the disk from outside: neither what it holds nor the passphrase is there to be read. Nor does the node say the passphrase to anybody.
func testPassphraseDisk(t *testing.T, n *sealed) {
	testSealedDisk(t, n)
	n.whilePaused(t, testContext(t, bootTimeout), func() {
		for _, name := range []string{"esp", "state", "data"} {
			if at := n.partition(t, name).find(t, firstPassphrase); len(at) > 0 {
				t.Errorf("partition %s has the passphrase in the clear, at byte %d", name, at[0])
			}
		}
	})
	ctx := testContext(t, bootTimeout)
	console, err := os.ReadFile(n.ConsolePath(n.node))
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"console": string(console), "configuration": n.nodectl(t, ctx, "config", "get"), "audit log": n.nodectl(t, ctx, "audit", "list"),
		"events": n.nodectl(t, ctx, "events"),
	} {
		if text == "" || strings.Contains(text, firstPassphrase) {
			t.Errorf("the %s has the passphrase, or nothing", what)
		}
	}
}

// testOtherPassphrase boots the node with another passphrase, and with none: it says so, and opens its disk when it has the right one.
func testOtherPassphrase(t *testing.T, n *sealed) {
	ctx := testContext(t, 4*bootTimeout)
	for text, reason := range map[string]string{secondPassphrase: "another passphrase than the disk was made with", "": "no passphrase was given to this machine"} {
		n.shutDown(t, ctx)
		n.givePassphrase(t, text)
		n.start(t, ctx)
		n.awaitKey(t, ctx, reason)
	}
	n.shutDown(t, ctx)
	n.givePassphrase(t, firstPassphrase)
	n.start(t, ctx)
	n.healthy(t, ctx)
}

// testChangedPassphrase opens the disk by its recovery key, and seals it anew with the passphrase that the machine is given now.
func testChangedPassphrase(t *testing.T, n *sealed) {
	longOnly(t, "boots the node three times")
	ctx := testContext(t, 3*bootTimeout)
	n.shutDown(t, ctx)
	n.givePassphrase(t, secondPassphrase)
	n.start(t, ctx)
	n.awaitKey(t, ctx, "another passphrase")
	n.recover(t, ctx)
	n.nodectl(t, ctx, "disk", "reseal")
	testOpensAfterReboot(t, ctx, n)
	n.nodectl(t, ctx, "disk", "rotate")
	testOpensAfterReboot(t, ctx, n)
}
