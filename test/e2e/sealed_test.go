package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	diskv1 "github.com/cyvive/cyvive/api/proto/disk/v1"
	"github.com/cyvive/cyvive/internal/trust/recovery"
)

// sealed is a node with an encrypted disk.
type sealed struct {
	*suite
	*releases
	// key is the node's recovery key, as it was written down.
	key string
}

// volumes asks the node for its volumes, by name.
func (n *sealed) volumes(ctx context.Context, flags ...string) (map[string]*diskv1.Volume, error) {
	out, err := n.Tools().Nodectl(ctx, append([]string{"disk", "list", "--output", "json"}, flags...)...)
	if err != nil {
		return nil, err
	}
	var list diskv1.ListVolumesResponse
	if err := protojson.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("read answer of nodectl disk list: %w", err)
	}
	found := map[string]*diskv1.Volume{}
	for _, v := range list.GetVolumes() {
		found[v.GetName()] = v
	}
	return found, nil
}

// enrolTimeout is for a node that is healthy to give its volumes their recovery key, which comes last and takes some runs of cryptsetup.
const enrolTimeout = 2 * time.Minute

// checkOpen wants both volumes encrypted, open and in use.
func (n *sealed) checkOpen(t *testing.T, ctx context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(ctx, enrolTimeout, fmt.Errorf("not %s after the node was healthy", enrolTimeout))
	defer cancel()
	eventually(t, ctx, "both volumes are open and have a recovery key", func(ctx context.Context) error {
		volumes, err := n.volumes(ctx)
		if err != nil {
			return err
		}
		for _, name := range []string{"state", "data"} {
			if v := volumes[name]; !v.GetEncrypted() || !v.GetMounted() || !v.GetRecoverable() || v.GetReason() != "" {
				return fmt.Errorf("volume %s: %v, want it encrypted, mounted and with a recovery key", name, v)
			}
		}
		return nil
	})
}

// awaitShut waits until the node has come up without its state volume, and says why.
func (n *sealed) awaitShut(t *testing.T, ctx context.Context, reason string, flags ...string) {
	t.Helper()
	eventually(t, ctx, "the node says that its disk does not open", func(ctx context.Context) error {
		volumes, err := n.volumes(ctx, flags...)
		if err != nil {
			return err
		}
		v := volumes["state"]
		if !v.GetEncrypted() || v.GetMounted() || !strings.Contains(v.GetReason(), "does not open") {
			return fmt.Errorf("volume state: %v", v)
		}
		if !strings.Contains(v.GetReason(), reason) {
			t.Fatalf("volume state does not open: %s\nwant the reason %q", v.GetReason(), reason)
		}
		if d := volumes["data"]; d.GetMounted() {
			t.Fatalf("volume data is open without its key: %v", d)
		}
		return nil
	})
}

// start turns the machine on.
func (n *sealed) start(t *testing.T, ctx context.Context) {
	t.Helper()
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// healthy waits until all is in order, which it is with both volumes mounted only.
func (n *sealed) healthy(t *testing.T, ctx context.Context) {
	t.Helper()
	if err := n.AwaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
	n.checkOpen(t, ctx)
}

// wrongKey gives a command another recovery key, and one that was mistyped.
func (n *sealed) wrongKey(t *testing.T, ctx context.Context, command ...string) {
	t.Helper()
	mistyped := []byte(n.key)
	mistyped[0], mistyped[1] = mistyped[1], mistyped[0]
	if mistyped[0] == mistyped[1] {
		mistyped[0] ^= 1
	}
	for key, want := range map[string]string{recovery.New().Reveal(): "the recovery key of something else", string(mistyped): "group 1"} {
		if _, err := n.Tools().NodectlInput(ctx, key, command...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nodectl %s: %v, want %q", strings.Join(command, " "), err, want)
		}
	}
}

// recover opens the state volume with the recovery key, from where the node goes on by itself.
func (n *sealed) recover(t *testing.T, ctx context.Context, flags ...string) {
	t.Helper()
	command := append([]string{"disk", "recover", "state"}, flags...)
	n.wrongKey(t, ctx, command...)
	if _, err := n.Tools().NodectlInput(ctx, n.key, command...); err != nil {
		t.Fatal(err)
	}
	n.healthy(t, ctx)
}

// commandLine is that of the kernel image which runs.
func (n *sealed) commandLine(t *testing.T, ctx context.Context) string {
	t.Helper()
	text, err := os.ReadFile(n.suite.env.out("cmdline"))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text))
	for i, f := range fields {
		if strings.HasPrefix(f, "roothash=") {
			fields[i] = "roothash=" + n.running(t, ctx).GetRootHash()
		}
	}
	return strings.Join(fields, " ")
}

// owned changes the node's configuration over the API, so that what is on its disk can be told from what its source has.
func (n *sealed) owned(t *testing.T, ctx context.Context) {
	t.Helper()
	n.nodectl(t, ctx, "config", "apply", "--patch", n.patch(t, "kind: Machine\ncertSANs: [sealed.example, 127.0.0.1]\n"))
}

// whilePaused runs look while the machine stands still.
func (n *sealed) whilePaused(t *testing.T, ctx context.Context, look func()) {
	t.Helper()
	m := machine(t, n.Cluster, n.node)
	if err := m.Pause(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Resume(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	look()
}
