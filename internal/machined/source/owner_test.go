package source_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/boot/cmdline"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/source"
	"github.com/cyvive/cyvive/internal/pki"
)

// owners are the keys that the places name, each its own.
func owner(n byte) pki.Fingerprint { return pki.Fingerprint{n} }

func ownerDocument(key pki.Fingerprint) string {
	return "apiVersion: cyvive.dev/v1alpha1\nkind: Owner\nkey: " + key.String() + "\n"
}

// ownedMachine names an owner in every place, in the order of the claims that are wanted.
func ownedMachine(t *testing.T) (source.Config, *memory, []maintenance.Claim) {
	t.Helper()
	sys := t.TempDir()
	image := filepath.Join(t.TempDir(), "owner.pem")
	for path, text := range map[string]string{
		image: owner(1).String() + "\n",
		filepath.Join(sys, "firmware/dmi/tables/DMI"):                               string(table(structure(11, "dev.cyvive.owner="+owner(3).String(), "dev.cyvive.config= "))),
		filepath.Join(sys, "firmware/qemu_fw_cfg/by_name/opt/dev.cyvive.owner/raw"): owner(4).String(),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	volume := &memory{name: "user-data"}
	volume.Put([]byte(ownerDocument(owner(5))))
	return source.Config{
			Facts: source.Facts{Args: cmdline.Parse("cyvive.owner=" + owner(2).String() + " cyvive.owner=" + owner(2).String())}, Sys: sys, Image: image, NoCloud: volume,
		}, volume, []maintenance.Claim{
			{From: "the image", Key: owner(1), Measured: true}, {From: "the kernel command line", Key: owner(2), Measured: true}, {From: "SMBIOS", Key: owner(3)}, {From: "QEMU's fw_cfg", Key: owner(4)},
			{From: "user-data", Key: owner(5)},
		}
}

func checkOwners(t *testing.T, s *source.Sources, want []maintenance.Claim) {
	t.Helper()
	if d := cmp.Diff(want, s.Owners()); d != "" {
		t.Errorf("owners (-want +got):\n%s", d)
	}
}

// TestOwners: every place names one, in the order in which they count. A document of an owner is no configuration.
func TestOwners(t *testing.T) {
	cfg, volume, want := ownedMachine(t)
	drive := &memory{name: "drive"}
	cfg.ConfigDrive = drive
	s := source.New(cfg)
	checkOwners(t, s, want[:4]) // the volume has not been looked at
	drive.Put([]byte(ownerDocument(owner(6)) + "---\n" + documents + "drive\n"))
	doc, err := s.Find(t.Context())
	if err != nil || doc == nil || doc.Name != "drive" || string(doc.Data) != "\n\n\n---\n"+documents+"drive\n" {
		t.Errorf("got %+v, %v", doc, err)
	}
	checkOwners(t, s, append(want[:5:5], maintenance.Claim{From: "drive", Key: owner(6)}))
	volume.Put([]byte(documents + "volume\n"))
	if doc, err := s.Find(t.Context()); err != nil || doc == nil || doc.Name != "user-data" {
		t.Errorf("got %+v, %v", doc, err)
	}
	checkOwners(t, s, want[:4]) // the drive is not looked at, behind a configuration
}

// TestOwnersThatCannotBeTold: whoever could have named one, and cannot be understood, is heard as such.
func TestOwnersThatCannotBeTold(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*source.Config, *memory)
		at    int
		want  string
	}{
		"image":        {func(c *source.Config, _ *memory) { c.Image = c.Sys }, 0, "is a directory"},
		"large image":  {func(c *source.Config, _ *memory) { c.Image = largeFile(t) }, 0, "larger than 8192 bytes"},
		"command line": {func(c *source.Config, _ *memory) { c.Facts.Args = cmdline.Parse("cyvive.owner=alice") }, 1, "expected a fingerprint SHA256:…, or a public key"},
		"given twice": {func(c *source.Config, _ *memory) {
			c.Facts.Args = append(c.Facts.Args, cmdline.Parse("cyvive.owner=")...)
		}, 1,
			"cyvive.owner= is given twice, and differs"},
		"volume":         {func(_ *source.Config, m *memory) { m.Put([]byte("kind: Owner\n" + documents)) }, 4, "user-data:1: Owner"},
		"failing volume": {func(_ *source.Config, m *memory) { m.err = errors.New("no user-data") }, 4, "no user-data"},
		"waiting":        {func(_ *source.Config, m *memory) { m.err = &machined.Waiting{For: "an address"} }, 4, "waiting for an address"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, volume, want := ownedMachine(t)
			test.spoil(&cfg, volume)
			s := source.New(cfg)
			_, _ = s.Find(t.Context())
			got := s.Owners()
			if len(got) != len(want) || got[test.at].Key != (pki.Fingerprint{}) || !strings.Contains(got[test.at].Problem, test.want) {
				t.Fatalf("got %+v, want %q in place %d", got, test.want, test.at)
			}
			for i, c := range got {
				if i != test.at && c != want[i] {
					t.Errorf("place %d: got %+v, want %+v", i, c, want[i])
				}
			}
		})
	}
}

func largeFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "owner.pem")
	if err := os.WriteFile(path, make([]byte, 10<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestNoOwner: a machine that nobody has told of an owner has none.
func TestNoOwner(t *testing.T) {
	s := source.New(source.Config{Sys: t.TempDir(), Image: filepath.Join(t.TempDir(), "nosuch")})
	if doc, err := s.Find(t.Context()); doc != nil || err != nil {
		t.Errorf("got %v, %v", doc, err)
	}
	checkOwners(t, s, nil)
}
