package machined

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// fromMedium has a node run from an installation medium.
func fromMedium(c *Config) { c.Boot.Medium, c.Boot.Version.Slot, c.Boot.Disk = true, "", "/dev/loop0" }

// TestMedium: on an installation medium the node takes the configuration of its sources at once, comes up as far as its API, and says in its health why no
// further; it does not look at a disk, stores nothing, and has the configuration for who installs it.
func TestMedium(t *testing.T) {
	t.Parallel()
	disk := storagetest.New(1 << 30)
	before := disk.String()
	n := startNodeWith(t, t.TempDir(), disk, fromMedium)
	docs := documents(t)
	n.source.set(docs)
	n.await("the configuration, and what it waits for", func(s snapshot) bool {
		return healthy(s, "config") && healthy(s, "network") &&
			!slices.ContainsFunc([]string{"storage", "identity", "etcd", "kube-apiserver", "node"}, func(name string) bool { return reasonOf(s, name) != plan.OnMedium })
	})
	_, unlock, err := configsAPI{n.Agent}.open()
	unlock()
	if !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), plan.OnMedium) {
		t.Errorf("a configuration for the node itself: %v", err)
	}
	if check, err := (configsAPI{n.Agent}).ValidateConfig(t.Context(), server.ConfigDocument{Name: "node.yaml", Document: string(docs)}, true); err != nil || len(check.Mistakes) > 0 {
		t.Errorf("a configuration for the installed node: %+v, %v", check.Mistakes, err)
	}
	if got, err := n.ownDocuments(); err != nil || !bytes.Equal(got, docs) {
		t.Errorf("for the installed node it has %d bytes, %v; want the %d of its source", len(got), err, len(docs))
	}
	if after := disk.String(); after != before {
		t.Errorf("a disk was changed: from\n%s\nto\n%s", before, after)
	}
	if entries, err := os.ReadDir(n.state); err != nil || len(entries) > 0 {
		t.Errorf("stored: %v, %v", entries, err)
	}
}

// TestMediumWithoutConfiguration: the owner is told on the console how to install, and not to configure what is gone with the power.
func TestMediumWithoutConfiguration(t *testing.T) {
	t.Parallel()
	b := startBareWith(t, t.TempDir(), storagetest.New(1<<30), fromMedium, maintenance.Claim{From: "image"})
	b.awaitConsole(t, "nodectl install --disk-serial")
	if strings.Contains(b.console.String(), "config apply") {
		t.Errorf("the console shows\n%s", b.console.String())
	}
}
