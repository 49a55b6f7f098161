package e2e

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

// testSupport asks what the machine is made of, and takes one archive of all it tells.
func testSupport(t *testing.T, s *suite) {
	ctx := testContext(t, 3*time.Minute)
	var answer inventoryv1.GetInventoryResponse
	ask(t, ctx, s, &answer, "inventory")
	all := answer.GetInventory()
	if len(all.GetProblems()) > 0 || len(all.GetProcessors()) == 0 || all.GetMemory().GetTotalBytes() < 1<<30 || !all.GetFirmware().GetUefi() {
		t.Errorf("inventory: got %v", all)
	}
	if len(all.GetDisks()) == 0 || len(all.GetInterfaces()) == 0 || len(all.GetPciDevices()) == 0 || all.GetSystem().GetVendor() == "" {
		t.Errorf("inventory: got %v", all)
	}
	for _, d := range all.GetDisks() {
		if d.GetSizeBytes() == 0 || d.GetPath() == "" || d.GetHealth() == nil {
			t.Errorf("disk: got %v", d)
		}
	}
	var crashes machinev1.ListCrashesResponse
	ask(t, ctx, s, &crashes, "crashes")

	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "support.age")
	s.nodectl(t, ctx, "support", "--recipient", id.Recipient().String(), "--audit", "--file", path, "--timeout", "60s")
	files := openSupport(t, path, id)
	for _, name := range []string{
		"manifest.json", "health.json", "boots.json", "config.yaml", "config.json", "config-history.json", "dmesg.txt", "events.txt", "logs/etcd.log", "processes.json", "inventory.json", "files/proc/modules", "audit.jsonl",
	} {
		if len(files[name]) == 0 {
			t.Errorf("the archive lacks %s", name)
		}
	}
	var manifest struct {
		Nodes []struct {
			Items []struct{ Name, Failed string }
		}
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil || len(manifest.Nodes) != 1 {
		t.Errorf("manifest: %v, %s", err, files["manifest.json"])
	}
}

// openSupport returns the files of an archive of one node, without their folders.
func openSupport(t *testing.T, path string, id age.Identity) map[string][]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	opened, err := age.Decrypt(f, id)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := zstd.NewReader(opened)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	files := map[string][]byte{}
	for archive := tar.NewReader(packed); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(header.Name, "/")
		if _, inNode, ok := strings.Cut(name, "/"); ok {
			name = inNode
		}
		if files[name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}
