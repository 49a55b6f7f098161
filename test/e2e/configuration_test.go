package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// TestConfiguration changes the configuration of a node without a cluster, which boots quickly: live, on trial with what cuts it off, and for the next
// boot; and cuts its power in the middle of a trial.
func TestConfiguration(t *testing.T) {
	besideOthers(t)
	e := requireImage(t)
	ctx := testContext(t, 30*time.Minute)
	s := startAloneIn(t, ctx, e, e.smallOptions(t), nil)
	for _, part := range []struct {
		name string
		run  func(*testing.T, context.Context, *suite)
	}{
		{"live", testConfigLive}, {"try", testConfigTry}, {"power-cut", testConfigPowerCut}, {"staged", testConfigStaged},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, testContext(t, bootTimeout), s) })
	}
}

// startAlone makes and starts a node without a cluster, which boots quickly and runs nothing that needs much memory. The function changes its
// configuration before.
func startAlone(t *testing.T, ctx context.Context, e env, change func(*config.Config)) *suite {
	t.Helper()
	return startAloneIn(t, ctx, e, e.options(t), change)
}

// startAloneIn is startAlone in a machine of one's own.
func startAloneIn(t *testing.T, ctx context.Context, e env, options cluster.Options, change func(*config.Config)) *suite {
	t.Helper()
	s := makeAlone(t, ctx, e, options, change)
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("the node is not in order %s after its start", bootTimeout))
	defer cancel()
	for _, step := range []func(context.Context) error{s.Merge, s.Start, s.AwaitHealthy} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// makeAlone is startAlone without the start.
func makeAlone(t *testing.T, ctx context.Context, e env, options cluster.Options, change func(*config.Config)) *suite {
	t.Helper()
	options.MemoryBytes = 1 << 30
	c := create(t, ctx, options)
	s := &suite{Cluster: c, env: e, node: c.Nodes()[0], alone: true}
	if err := c.Alone(s.node, change); err != nil {
		t.Fatal(err)
	}
	return s
}

// patch writes a patch for nodectl.
func (s *suite) patch(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "patch.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// currentConfig waits until the node answers with its configuration, and what it says fulfils a condition.
func (s *suite) currentConfig(t *testing.T, ctx context.Context, what string, fulfils func(*configv1.GetResponse) bool) {
	t.Helper()
	eventually(t, ctx, what, func(ctx context.Context) error {
		out, err := s.Tools().Nodectl(ctx, "config", "get", "--output", "json")
		if err != nil {
			return err
		}
		got := &configv1.GetResponse{}
		if err := protojson.Unmarshal([]byte(out), got); err != nil {
			return err
		}
		if strings.Contains(out, "PRIVATE KEY") {
			t.Error("the answer holds a private key")
		}
		if !fulfils(got) {
			return fmt.Errorf("got %v, last %v", got.GetRevision(), got.GetLast())
		}
		return nil
	})
}

func testConfigLive(t *testing.T, ctx context.Context, s *suite) {
	dry := s.nodectl(t, ctx, "config", "apply", "--dry-run", "--patch", s.patch(t, "kind: Machine\nhostname: renamed\n"))
	if !strings.Contains(dry, "set host name renamed") {
		t.Errorf("dry run: got\n%s", dry)
	}
	s.nodectl(t, ctx, "config", "apply", "--patch", s.patch(t, "kind: Machine\nhostname: renamed\n"))
	eventually(t, ctx, "the new host name", func(ctx context.Context) error {
		out, err := s.Tools().Nodectl(ctx, "get", "nodes")
		if err == nil && !strings.Contains(out, "renamed") {
			err = fmt.Errorf("got\n%s", out)
		}
		return err
	})
	s.nodectl(t, ctx, "config", "rollback")
	s.currentConfig(t, ctx, "roll back", func(r *configv1.GetResponse) bool {
		return r.GetRevision().GetMode() == configv1.Mode_MODE_ROLLBACK && !strings.Contains(r.GetDocument(), "renamed")
	})
}

// cutOff gives the first link an address that nobody reaches it under.
const cutOff = "apiVersion: cyvive.dev/v1alpha1\nkind: Network\nlinks: [{name: first, dhcp: false, addresses: [192.0.2.9/24]}]\n"

// awaitCutOff waits until the node does not answer.
func (s *suite) awaitCutOff(t *testing.T, ctx context.Context) {
	t.Helper()
	eventually(t, ctx, "the node is cut off", func(context.Context) error {
		limited, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		if _, err := s.Tools().Nodectl(limited, "version"); err == nil {
			return fmt.Errorf("the node answers")
		}
		return nil
	})
}

func testConfigTry(t *testing.T, ctx context.Context, s *suite) {
	if _, err := s.Tools().Nodectl(ctx, "config", "apply", "--patch", s.patch(t, cutOff)); err == nil || !strings.Contains(err.Error(), "by which it is reached") {
		t.Fatalf("at once and for good: got %v, want that it is refused", err)
	}
	s.nodectl(t, ctx, "config", "apply", "--mode", "try", "--try-timeout", "40s", "--patch", s.patch(t, cutOff))
	s.awaitCutOff(t, ctx)
	s.currentConfig(t, ctx, "the node is back", func(r *configv1.GetResponse) bool {
		return r.GetTrial() == nil && r.GetLast().GetReason() == "it was not confirmed in time" && !strings.Contains(r.GetDocument(), "192.0.2.9")
	})
	s.nodectl(t, ctx, "config", "apply", "--mode", "try", "--confirm", "--patch", s.patch(t, "kind: Machine\ncertSANs: [tried.example, 127.0.0.1]\n"))
	s.currentConfig(t, ctx, "a trial that is confirmed", func(r *configv1.GetResponse) bool {
		return r.GetTrial() == nil && r.GetLast().GetSucceeded() && strings.Contains(r.GetDocument(), "tried.example")
	})
}

// testConfigPowerCut pulls the plug while the node is cut off by a trial that would last for an hour.
func testConfigPowerCut(t *testing.T, ctx context.Context, s *suite) {
	s.nodectl(t, ctx, "config", "apply", "--mode", "try", "--try-timeout", "1h", "--patch", s.patch(t, cutOff))
	s.awaitCutOff(t, ctx)
	if err := machine(t, s.Cluster, s.node).PowerCut(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	s.currentConfig(t, ctx, "the node is back after the cut", func(r *configv1.GetResponse) bool {
		return r.GetTrial() == nil && strings.Contains(r.GetLast().GetReason(), "started again before it was confirmed") &&
			strings.Contains(r.GetDocument(), "tried.example")
	})
}

func testConfigStaged(t *testing.T, ctx context.Context, s *suite) {
	s.nodectl(t, ctx, "config", "apply", "--mode", "staged", "--patch", s.patch(t, "kind: Machine\nprofile: strict\n"))
	s.currentConfig(t, ctx, "a staged revision", func(r *configv1.GetResponse) bool {
		return r.GetStaged() > r.GetRevision().GetNumber() && !strings.Contains(r.GetDocument(), "strict")
	})
	s.nodectl(t, ctx, "reboot", "--wait")
	s.currentConfig(t, ctx, "the staged revision after a boot", func(r *configv1.GetResponse) bool {
		return r.GetStaged() == 0 && r.GetRevision().GetMode() == configv1.Mode_MODE_STAGED && strings.Contains(r.GetDocument(), "profile: strict")
	})
}
