package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/internal/pki"
)

// newNode is a node that has no configuration, and the file of its owner's key.
type newNode struct {
	*cluster.Cluster
	node cluster.Node
	key  string
}

// ownedBy makes an owner's key for the first node of a cluster, which has not been started.
func ownedBy(t *testing.T, ctx context.Context, c *cluster.Cluster) *newNode {
	t.Helper()
	n := &newNode{Cluster: c, node: c.Nodes()[0], key: filepath.Join(t.TempDir(), "owner.key")}
	if _, err := c.Tools().Nodectl(ctx, "owner", "new", "--owner-key", n.key); err != nil {
		t.Fatal(err)
	}
	return n
}

// document is what names the owner in user data.
func (n *newNode) document(t *testing.T, ctx context.Context) string {
	t.Helper()
	out, err := n.Tools().Nodectl(ctx, "owner", "show", "--form", "document", "--owner-key", n.key)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (n *newNode) address() string { return fmt.Sprintf("127.0.0.1:%d", n.node.APIPort) }

var shownFingerprint = regexp.MustCompile(`fingerprint  (SHA256:[A-Za-z0-9+/]{43})`)

// fingerprint waits until the console has shown the block of maintenance mode so many times, and returns the fingerprint that it shows last.
func (n *newNode) fingerprint(t *testing.T, ctx context.Context, times int) string {
	t.Helper()
	var found [][]string
	eventually(t, ctx, "the node's fingerprint on its console", func(context.Context) error {
		text, err := os.ReadFile(n.ConsolePath(n.node))
		if err != nil {
			return err
		}
		if found = shownFingerprint.FindAllStringSubmatch(string(text), -1); len(found) < times {
			return fmt.Errorf("it was shown %d times, want %d", len(found), times)
		}
		return nil
	})
	return found[len(found)-1][1]
}

// nodectl runs nodectl as the owner.
func (n *newNode) nodectl(ctx context.Context, fingerprint string, args ...string) (string, error) {
	return n.Tools().Nodectl(ctx, append([]string{"--maintenance", "--nodes", n.address(), "--fingerprint", fingerprint, "--owner-key", n.key}, args...)...)
}

// TestMaintenance boots a node without a configuration, whose user data names its owner and no more. Strangers get nothing, a wrong node and a wrong owner are
// noticed, and the owner gives it a configuration, which is in force without a reboot and outlives a power cut.
func TestMaintenance(t *testing.T) {
	besideOthers(t)
	e := requireImage(t)
	ctx := testContext(t, 30*time.Minute)
	c := create(t, ctx, e.smallOptions(t))
	n := ownedBy(t, ctx, c)
	userData, err := os.ReadFile(c.UserDataPath(n.node))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetUserData(n.node, []byte(n.document(t, ctx))); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	fingerprint := n.fingerprint(t, ctx, 1)
	// The API listens from the first moment on; its address may come later than the block.
	eventually(t, ctx, "the owner's first call", func(ctx context.Context) error {
		_, err := n.nodectl(ctx, fingerprint, "version")
		return err
	})
	for _, part := range []struct {
		name string
		run  func(*testing.T, context.Context, *newNode, string)
	}{
		{"strangers", testStrangers}, {"wrong-node", testWrongNode}, {"discover", testDiscover}, {"owner", testOwner}, {"restart", testOtherAfterBoot},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, testContext(t, bootTimeout), n, fingerprint) })
	}
	t.Run("apply", func(t *testing.T) {
		testFirstConfiguration(t, testContext(t, bootTimeout), n, n.fingerprint(t, ctx, 1), userData)
	})
}

// expectRefused runs nodectl, which must fail with words and print nothing of the node.
func expectRefused(t *testing.T, out string, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) || out != "" {
		t.Errorf("got %q, %v, want an error with %q", out, err, words)
	}
}

func testStrangers(t *testing.T, ctx context.Context, n *newNode, _ string) {
	for _, command := range [][]string{{"version"}, {"identity"}, {"inventory"}} {
		out, err := n.Tools().Nodectl(ctx, append(command, "--insecure", "--nodes", n.address())...)
		expectRefused(t, out, err, "in maintenance mode and answers its owner only")
	}
}

func testWrongNode(t *testing.T, ctx context.Context, n *newNode, fingerprint string) {
	another := pki.Fingerprint{1}.String()
	out, err := n.nodectl(ctx, another, "version")
	expectRefused(t, out, err, "expected the key "+another+", got "+fingerprint)
	out, err = n.Tools().Nodectl(ctx, "version", "--maintenance", "--nodes", n.address())
	expectRefused(t, out, err, "--fingerprint is missing")
	other := filepath.Join(t.TempDir(), "other.key")
	if _, err := n.Tools().Nodectl(ctx, "owner", "new", "--owner-key", other); err != nil {
		t.Fatal(err)
	}
	stranger := &newNode{n.Cluster, n.node, other}
	out, err = stranger.nodectl(ctx, fingerprint, "version")
	expectRefused(t, out, err, "does not come with the owner's key")
}

func testDiscover(t *testing.T, ctx context.Context, n *newNode, fingerprint string) {
	out, err := n.Tools().Nodectl(ctx, "discover", n.address(), "--owner-key", n.key)
	if err != nil || !regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(n.address())+` +maintenance +`+regexp.QuoteMeta(fingerprint)+` +\d`).MatchString(out) {
		t.Errorf("got %v and\n%s", err, out)
	}
}

func testOwner(t *testing.T, ctx context.Context, n *newNode, fingerprint string) {
	out, err := n.nodectl(ctx, fingerprint, "identity", "--output", "json")
	identity := &machinev1.GetIdentityResponse{}
	if err == nil {
		err = protojson.Unmarshal([]byte(out), identity)
	}
	if err != nil || identity.GetState() != machinev1.NodeState_NODE_STATE_MAINTENANCE || identity.GetFingerprint() != fingerprint || identity.GetOwnerSource() != "user-data" {
		t.Errorf("identity: got %v, %v", identity, err)
	}
	// A node without a configuration is not healthy, and says why.
	if out, _ := n.nodectl(ctx, fingerprint, "health"); !strings.Contains(out, "no configuration found") {
		t.Errorf("health: got\n%s", out)
	}
	for command, want := range map[string]string{"inventory": "memory", "dmesg": "Linux version"} {
		if out, err := n.nodectl(ctx, fingerprint, command); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: got %v, want %q in\n%.2000s", command, err, want, out)
		}
	}
	out, err = n.nodectl(ctx, fingerprint, "logs", "machined")
	expectRefused(t, out, err, "is not available before the node has a configuration")
}

// testOtherAfterBoot: without a configuration nothing says how the volume is made on which the node's key would be kept, so after a boot it has another one, and
// what was noted before is no good.
func testOtherAfterBoot(t *testing.T, ctx context.Context, n *newNode, fingerprint string) {
	text, err := os.ReadFile(n.ConsolePath(n.node))
	if err != nil {
		t.Fatal(err)
	}
	shown := len(shownFingerprint.FindAll(text, -1))
	if _, err := n.nodectl(ctx, fingerprint, "reboot"); err != nil {
		t.Fatal(err)
	}
	after := n.fingerprint(t, ctx, shown+1)
	if after == fingerprint {
		t.Errorf("after a boot the console shows %s, as before", after)
	}
	eventually(t, ctx, "the owner's call after the boot", func(ctx context.Context) error {
		_, err := n.nodectl(ctx, after, "version")
		return err
	})
	out, err := n.nodectl(ctx, fingerprint, "version")
	expectRefused(t, out, err, "another node answers there")
}

// testFirstConfiguration gives the node the configuration that the cluster made for it, without Kubernetes.
func testFirstConfiguration(t *testing.T, ctx context.Context, n *newNode, fingerprint string, userData []byte) {
	file := withoutCluster(t, userData)
	if _, err := n.nodectl(ctx, fingerprint, "config", "validate", file); err != nil {
		t.Fatal(err)
	}
	if _, err := n.nodectl(ctx, fingerprint, "config", "apply", file); err != nil {
		t.Fatal(err)
	}
	for _, step := range []func(context.Context) error{n.Merge, n.AwaitHealthy} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s := &suite{Cluster: n.Cluster, node: n.node}
	if out := s.nodectl(t, ctx, "identity"); !strings.HasPrefix(strings.TrimSpace(out[strings.IndexByte(out, '\n')+1:]), "configured") || !strings.Contains(out, fingerprint) {
		t.Errorf("identity of the configured node: got\n%s", out)
	}
	if out := s.nodectl(t, ctx, "config", "history"); !strings.Contains(out, "owner") {
		t.Errorf("history: got\n%s", out)
	}
	if out := s.nodectl(t, ctx, "audit", "list"); !strings.Contains(out, "ConfigService/Apply  OK  owner") {
		t.Errorf("the audit log does not have the owner's call:\n%s", out)
	}
	out, err := n.nodectl(ctx, fingerprint, "version")
	expectRefused(t, out, err, "which is not this node's authority")
	if err := machine(t, n.Cluster, n.node).PowerCut(ctx); err != nil {
		t.Fatal(err)
	}
	for _, step := range []func(context.Context) error{n.Start, n.AwaitHealthy} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if out := s.nodectl(t, ctx, "identity"); !strings.Contains(out, fingerprint) {
		t.Errorf("after the power cut it is another node than %s:\n%s", fingerprint, out)
	}
}
