package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/network"
	"github.com/cyvive/cyvive/hack/release/bundle"
	"github.com/cyvive/cyvive/hack/release/diskimage"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/trust/kmstest"
)

// kmsPort is that of the host's key server, as the guest sees it.
const kmsPort = 4050

// served is a node whose disk a key server opens, which is a program of the test.
type served struct {
	*sealed
	server *kmstest.Server
}

// kmsEndpoint is the key server's URL, as the guest has it.
func kmsEndpoint() string {
	return "https://" + net.JoinHostPort(network.UserHost.String(), fmt.Sprint(kmsPort))
}

// rawOptions are those of a node without a TPM whose disk can be read from outside.
func rawOptions(t *testing.T, e env, r *releases) cluster.Options {
	t.Helper()
	options := e.options(t)
	options.RawImage = filepath.Join(r.Dir(), "signed.raw")
	if err := diskimage.Sign(options.RawImage, e.out(), diskimage.Options{Keys: bundle.Keys{Policy: r.Key().Policy}}); err != nil {
		t.Fatalf("%v; make image builds an image with room for signatures", err)
	}
	return options
}

// TestKeyServer takes a node without a TPM through what its disk opens under: reboots while the key server answers, and while it does not. A part begins where
// the one before has left the node, so none runs behind one that fails. It runs with LONG=1 only.
func TestKeyServer(t *testing.T) {
	longOnly(t, "it starts a node again and again")
	e := requireImage(t)
	ctx := testContext(t, 15*bootTimeout)
	n := &served{&sealed{releases: e.releases(t)}, kmstest.New(t, nil, network.UserHost)}
	options := rawOptions(t, e, n.releases)
	options.Reach = []network.Reach{{Port: kmsPort, Command: e.dialer(t, ctx) + " " + n.server.Address()}}
	n.suite = startAloneIn(t, ctx, e, options, func(cfg *config.Config) {
		cfg.Machine.Disk.Encryption = config.Encryption{
			Mode: config.EncryptionKMS, KMS: &config.KeyServer{Endpoint: kmsEndpoint(), CA: n.server.CA()},
		}
	})
	for _, part := range []struct {
		name string
		run  func(*testing.T, *served)
	}{
		{"first-boot", testServedDisk}, {"recovery-key", func(t *testing.T, n *served) { testRecoveryKey(t, n.sealed) }},
		{"reboot", func(t *testing.T, n *served) { testOpensAgain(t, n.sealed) }},
		{"server-away", testServerAway}, {"configuration-beside", testConfigurationBeside}, {"recovered", testServerRecovered}, {"another-key", testServerKey}, {"rotate", testServedRotate},
		{"configuration-on-disk", testServedConfiguration},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, n) }) {
			t.Fatalf("the parts behind %s are left out", part.name)
		}
	}
}

// testServedDisk looks at the disk from outside, and at what the server was asked.
func testServedDisk(t *testing.T, n *served) {
	testSealedDisk(t, n.sealed)
	asked := n.server.Asked()
	if len(asked) < 3 || !strings.HasPrefix(asked[0], "Seal ") || !strings.HasPrefix(asked[1], "Unseal ") || !strings.HasPrefix(asked[2], "Unseal ") {
		t.Fatalf("the server was asked %q, want the key sealed, tried, and unsealed", asked)
	}
	machine := strings.TrimPrefix(asked[0], "Seal ")
	if out := n.nodectl(t, testContext(t, bootTimeout), "inventory", "--output", "json"); !strings.Contains(strings.ToLower(out), machine) {
		t.Errorf("the server knows the machine as %s, which its inventory does not have", machine)
	}
}

// awaitKey waits until the node says that it has no key for its state volume, and why.
func (n *sealed) awaitKey(t *testing.T, ctx context.Context, reason string, flags ...string) {
	t.Helper()
	eventually(t, ctx, "the node says what its disk waits for", func(ctx context.Context) error {
		volumes, err := n.volumes(ctx, flags...)
		if err != nil {
			return err
		}
		v := volumes["state"]
		if !v.GetEncrypted() || v.GetMounted() || !strings.Contains(v.GetReason(), "waits for its key") || !strings.Contains(v.GetReason(), reason) {
			return fmt.Errorf("volume state: %v, want it to wait for its key with %q", v, reason)
		}
		if d := volumes["data"]; d.GetMounted() {
			t.Fatalf("volume data is open without its key: %v", d)
		}
		return nil
	})
	// An error is right: the node is not healthy.
	if out, err := n.Tools().Nodectl(ctx, append([]string{"health", "--output", "json"}, flags...)...); err == nil || !strings.Contains(out+err.Error(), reason) {
		t.Errorf("health does not say %q: %v\n%s", reason, err, out)
	}
}

// testServerAway boots the node while the server is away. It says so, and opens its disk by itself when the server is back.
func testServerAway(t *testing.T, n *served) {
	ctx := testContext(t, 2*bootTimeout)
	n.shutDown(t, ctx)
	n.server.Stop()
	n.start(t, ctx)
	n.awaitKey(t, ctx, "the key server "+kmsEndpoint()+" was asked to unseal a key: it cannot be reached")
	console, err := os.ReadFile(n.ConsolePath(n.node))
	if err != nil || !strings.Contains(string(console), "the state volume waits for its key") {
		t.Errorf("the console does not say what the disk waits for: %v", err)
	}
	n.server.Start()
	n.healthy(t, ctx)
}

// testConfigurationBeside puts another configuration to the machine while the server is away: the node goes by it, so that it can be reached, until its disk opens.
func testConfigurationBeside(t *testing.T, n *served) {
	ctx := testContext(t, 3*bootTimeout)
	own, err := os.ReadFile(n.UserDataPath(n.node))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("user-data", own)
	if err != nil {
		t.Fatal(err)
	}
	before := cfg.Machine.Hostname
	cfg.Machine.Hostname = "beside"
	beside, err := config.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.shutDown(t, ctx)
	n.server.Stop()
	if err := n.SetUserData(n.node, beside); err != nil {
		t.Fatal(err)
	}
	n.start(t, ctx)
	n.awaitKey(t, ctx, "it cannot be reached")
	n.awaitHostname(t, ctx, "beside")
	n.server.Start()
	n.healthy(t, ctx)
	n.awaitHostname(t, ctx, before)
	n.shutDown(t, ctx)
	if err := n.SetUserData(n.node, own); err != nil {
		t.Fatal(err)
	}
	n.start(t, ctx)
	n.healthy(t, ctx)
}

// awaitHostname waits until the node has a name.
func (n *served) awaitHostname(t *testing.T, ctx context.Context, want string) {
	t.Helper()
	eventually(t, ctx, "the node is called "+want, func(ctx context.Context) error {
		out, err := n.Tools().Nodectl(ctx, "get", "nodes", "--output", "json")
		if err != nil {
			return err
		}
		node := &machinev1.GetNodeResponse{}
		if err := protojson.Unmarshal([]byte(out), node); err != nil {
			return fmt.Errorf("read answer of nodectl get nodes: %w", err)
		}
		if node.GetHostname() != want {
			return fmt.Errorf("it is called %q", node.GetHostname())
		}
		return nil
	})
}

// testServerRecovered opens the disk by its recovery key while the server is away. It is sealed anew when the server is back, and not before.
func testServerRecovered(t *testing.T, n *served) {
	ctx := testContext(t, 3*bootTimeout)
	n.shutDown(t, ctx)
	n.server.Stop()
	n.start(t, ctx)
	n.awaitKey(t, ctx, "it cannot be reached")
	n.recover(t, ctx)
	if _, err := n.Tools().Nodectl(ctx, "disk", "reseal"); err == nil || !strings.Contains(err.Error(), kmsEndpoint()) {
		t.Errorf("sealed anew with the server away: %v", err)
	}
	n.server.Start()
	n.nodectl(t, ctx, "disk", "reseal")
	testOpensAfterReboot(t, ctx, n.sealed)
}

// testOpensAfterReboot reboots a node, which opens its disk by itself.
func testOpensAfterReboot(t *testing.T, ctx context.Context, n *sealed) {
	t.Helper()
	before := currentBoot(t, ctx, n.suite)
	n.nodectl(t, ctx, "reboot")
	awaitBoot(t, ctx, n.suite, before)
	n.healthy(t, ctx)
}

// testServerKey has the server lose its key: it gives out something else then, which the node notices.
func testServerKey(t *testing.T, n *served) {
	ctx := testContext(t, 3*bootTimeout)
	n.shutDown(t, ctx)
	n.server.ChangeKey()
	n.start(t, ctx)
	n.awaitKey(t, ctx, "gives out another key than it was asked to seal")
	n.recover(t, ctx)
	n.nodectl(t, ctx, "disk", "reseal")
	testOpensAfterReboot(t, ctx, n.sealed)
	if out := n.nodectl(t, ctx, "audit", "list"); !strings.Contains(out, "DiskService/Reseal") || strings.Contains(out, n.key) {
		t.Error("the audit log does not have the resealing, or has the recovery key")
	}
}

func testServedRotate(t *testing.T, n *served) {
	ctx := testContext(t, 2*bootTimeout)
	asked := len(n.server.Asked())
	n.nodectl(t, ctx, "disk", "rotate")
	if now := n.server.Asked(); len(now) < asked+2 {
		t.Errorf("the server was asked %q for another key", now[asked:])
	}
	testOpensAfterReboot(t, ctx, n.sealed)
}

// testServedConfiguration starts the machine with a source that names its owner and no more: its configuration is on the disk that the server opens, so the
// node brings up a network without it.
func testServedConfiguration(t *testing.T, n *served) {
	ctx := testContext(t, 3*bootTimeout)
	n.owned(t, ctx)
	owner := ownedBy(t, ctx, n.Cluster)
	n.shutDown(t, ctx)
	if err := n.SetUserData(n.node, []byte(owner.document(t, ctx))); err != nil {
		t.Fatal(err)
	}
	n.start(t, ctx)
	n.healthy(t, ctx)
	if got := n.nodectl(t, ctx, "config", "get"); !strings.Contains(got, "sealed.example") {
		t.Errorf("the node has another configuration than the one on its disk:\n%s", got)
	}
	text, err := os.ReadFile(n.ConsolePath(n.node))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "MAINTENANCE MODE: this node has no configuration") {
		t.Error("it was in maintenance mode, though its key server answered")
	}
	// With the server away for longer, its owner is shown what is the matter, and how to open the disk.
	n.shutDown(t, ctx)
	n.server.Stop()
	n.start(t, ctx)
	fingerprint := owner.fingerprint(t, ctx, 1)
	asOwner := []string{"--maintenance", "--nodes", owner.address(), "--fingerprint", fingerprint, "--owner-key", owner.key}
	n.awaitKey(t, ctx, "it cannot be reached", asOwner...)
	n.recover(t, ctx, asOwner...)
	n.server.Start()
	testOpensAfterReboot(t, ctx, n.sealed)
}
