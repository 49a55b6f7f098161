package nocloud

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"github.com/cyvive/cyvive/hack/qemu/cidata"
	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
)

// scratch returns the empty disks of the VM test runner, with the modules for what the tests put on them loaded.
func scratch(t *testing.T) []string {
	t.Helper()
	disks := strings.Split(os.Getenv("CYVIVE_VM_DISKS"), ":")
	if os.Getenv("CYVIVE_VM") != "1" || len(disks) < 2 {
		if os.Getenv("REQUIRE_VM") == "1" {
			t.Fatal("REQUIRE_VM=1, but this is no virtual machine of the test runner with two empty disks")
		}
		t.Skip("needs the VM test runner: empty disks of its own")
	}
	modules, err := kmod.Open("/usr/lib/modules")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"isofs", "vfat", "nls_cp437", "nls_ascii"} {
		if err := modules.Load(name); err != nil {
			t.Fatal(err)
		}
	}
	return disks
}

// put copies an image to a disk, or wipes its beginning if there is no image.
func put(t *testing.T, disk, image string) {
	t.Helper()
	data := make([]byte, 1<<20)
	if image != "" {
		var err error
		if data, err = os.ReadFile(image); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// fat returns the image of a FAT32 file system with one file.
func fat(t *testing.T, label, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fat")
	const size = 48 << 20
	storage, err := file.CreateFromPath(path, size)
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	fs, err := fat32.Create(storage, size, 0, 512, label, true)
	if err != nil {
		t.Fatal(err)
	}
	if dir := filepath.Dir(name); dir != "." {
		if err := fs.Mkdir("/" + dir); err != nil {
			t.Fatal(err)
		}
	}
	f, err := fs.OpenFile("/"+name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVMFindsTheConfiguration(t *testing.T) {
	disks := scratch(t)
	iso := filepath.Join(t.TempDir(), "iso")
	if err := cidata.Write(iso, []byte("kind: Machine\n"), []byte("instance-id: x\n")); err != nil {
		t.Fatal(err)
	}
	const driveFile = "openstack/latest/user_data"
	for _, test := range []struct {
		name, image          string
		source               machined.Place
		want, found, problem string
	}{
		{"no volume", "", Source{}, "", "", ""},
		{"ISO 9660", iso, Source{}, "kind: Machine\n", "user-data", ""},
		{"FAT", fat(t, "CIDATA", "user-data", "kind: Network\n"), Source{}, "kind: Network\n", "user-data", ""},
		{"another label", fat(t, "OTHER", "user-data", "kind: Network\n"), Source{}, "", "", ""},
		{"no user-data", fat(t, "cidata", "meta-data", "x"), Source{}, "", "", "has no file user-data"},
		{"no config drive", iso, ConfigDrive{}, "", "", ""},
		{"config drive", fat(t, "config-2", driveFile, "kind: Cluster\n"), ConfigDrive{}, "kind: Cluster\n", driveFile, ""},
		{"config drive without user data", fat(t, "CONFIG-2", "openstack/latest/meta_data.json", "{}"), ConfigDrive{}, "", "", ""},
		{"config drive is no NoCloud volume", fat(t, "config-2", driveFile, "kind: Cluster\n"), Source{}, "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			put(t, disks[1], "")
			put(t, disks[1], test.image)
			doc, err := test.source.Find(t.Context())
			if (err != nil) != (test.problem != "") || err != nil && !strings.Contains(err.Error(), test.problem) {
				t.Fatalf("error %v, want %q", err, test.problem)
			}
			got, found := "", ""
			if doc != nil {
				got, found = string(doc.Data), doc.Name
			}
			if got != test.want || found != test.found {
				t.Errorf("got %q in %q, want %q in %q", got, found, test.want, test.found)
			}
		})
	}
}
