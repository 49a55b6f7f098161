package diskimage

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/hack/release/bundle"
	"github.com/cyvive/cyvive/hack/release/keys"
	"github.com/cyvive/cyvive/hack/release/releasetest"
	"github.com/cyvive/cyvive/internal/release"
	"github.com/cyvive/cyvive/internal/trust/pcr"
	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

const (
	espStart   = 1 << 20
	espBytes   = 272 << 20 // of a size at which clusters have eight sectors, as the builder's
	rootBytes  = 4 << 20
	diskBytes  = espStart + espBytes + rootBytes + 1<<20
	kernelPath = "/EFI/cyvive/a.efi"
	loaderPath = "/EFI/BOOT/BOOTX64.EFI"
	epoch      = 1767225600
	conf       = "timeout menu-disabled\neditor no\n"
)

// folder is the builder's, with a disk: a boot partition, and a root behind it.
func folder(t *testing.T) (dir string, kernel, loader []byte) {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", strconv.Itoa(epoch))
	dir = releasetest.Folder(t, nil)
	kernel, err := os.ReadFile(filepath.Join(dir, release.Kernel))
	if err != nil {
		t.Fatal(err)
	}
	loader = releasetest.Kernel(t, pe.IMAGE_FILE_MACHINE_AMD64, ".text", "the boot loader is a PE file too")
	disk, err := os.Create(filepath.Join(dir, File))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if err := disk.Truncate(diskBytes); err != nil {
		t.Fatal(err)
	}
	table := &gpt.Table{LogicalSectorSize: 512, PhysicalSectorSize: 512, GUID: "00000000-0000-8000-8000-0000000000FF", ProtectiveMBR: true, Partitions: []*gpt.Partition{
		{Index: 1, Name: "esp", Type: typeESP, GUID: "00000000-0000-8000-8000-000000000001", Start: espStart / 512, End: (espStart+espBytes)/512 - 1, Size: espBytes},
		{
			Index: 2, Name: "root-a", Type: "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", GUID: "00000000-0000-8000-8000-000000000002",
			Start: (espStart + espBytes) / 512, End: (espStart+espBytes+rootBytes)/512 - 1, Size: rootBytes,
		},
	}}
	if err := table.Write(disk, diskBytes); err != nil {
		t.Fatal(err)
	}
	esp, err := fat32.Create(file.New(disk, false), espBytes, espStart, 512, "ESP", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{loaderPath, loader}, {kernelPath, kernel}, {loaderConf, []byte(conf)}, {"/loader/entries/cyvive-a.conf", []byte("title Cyvive\n")}} {
		if err := writeFile(esp, f.name, f.data); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := disk.WriteAt([]byte("the root"), espStart+espBytes); err != nil {
		t.Fatal(err)
	}
	return dir, kernel, loader
}

// digest hashes a part of a file.
func digest(t *testing.T, path string, part span) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if n, err := io.Copy(sum, io.NewSectionReader(f, part.start, part.size)); err != nil || n != part.size {
		t.Fatalf("%s: %d bytes at %d, %v; want %d", path, n, part.start, err, part.size)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// onDisk reads the boot partition of a disk, by names in small letters.
func onDisk(t *testing.T, path string) (found map[string][]byte, f files) {
	t.Helper()
	disk, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if f, err = readFiles(disk, span{espStart, espBytes}); err != nil {
		t.Fatal(err)
	}
	found = map[string][]byte{}
	for name, data := range f.content {
		found[strings.ToLower(name)] = data
	}
	return found, f
}

func policyKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestSign: all that firmware and boot loader start is signed, the keys are there, and the rest of the disk is as it was.
func TestSign(t *testing.T) {
	dir, kernel, loader := folder(t)
	keyDir := t.TempDir()
	o := Options{Keys: bundle.Keys{Policy: policyKey(t), SecureBoot: releasetest.SecureBoot(t, keyDir)}, Enrol: EnrolForce}
	var err error
	if o.Variables, err = keys.Variables(keyDir); err != nil {
		t.Fatal(err)
	}
	built, whole := filepath.Join(dir, File), span{0, diskBytes}
	before := digest(t, built, whole)
	out := filepath.Join(t.TempDir(), "signed.raw")
	var first string
	for range 2 {
		if err := Sign(out, dir, o); err != nil {
			t.Fatal(err)
		}
		got := digest(t, out, whole)
		if first != "" && got != first {
			t.Error("the same disk has other bytes")
		}
		first = got
	}
	for _, part := range []span{{0, espStart}, {espStart + espBytes, diskBytes - espStart - espBytes}} {
		if digest(t, built, part) != digest(t, out, part) {
			t.Errorf("the disk is another in the %d bytes at %d", part.size, part.start)
		}
	}
	if digest(t, built, whole) != before {
		t.Error("the original was changed")
	}
	found, f := onDisk(t, out)
	if got := f.written.Unix(); got != epoch {
		t.Errorf("the files are of %d, want %d", got, epoch)
	}
	checkSigned(t, found, kernel, loader, o)
	if got, want := string(found[loaderConf]), conf+"secure-boot-enroll force\n"; got != want {
		t.Errorf("loader.conf is %q, want %q", got, want)
	}
	want := []string{
		"/efi/boot/bootx64.efi", "/efi/cyvive/a.efi", "/loader/entries/cyvive-a.conf",
		"/loader/keys/auto/db.auth", "/loader/keys/auto/kek.auth", "/loader/keys/auto/pk.auth", loaderConf,
	}
	if d := cmp.Diff(want, slices.Sorted(maps.Keys(found))); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
}

func checkSigned(t *testing.T, found map[string][]byte, kernel, loader []byte, o Options) {
	t.Helper()
	firmware := secureboot.Firmware{On: true, DB: secureboot.Database{secureboot.CertificateEntry(secureboot.GUID{}, o.Keys.SecureBoot.Certificate)}}
	for name, built := range map[string][]byte{loaderPath: loader, kernelPath: kernel} {
		image := found[strings.ToLower(name)]
		if err := firmware.Starts(bytes.NewReader(image)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(image) <= len(built) {
			t.Errorf("%s has %d bytes, and had %d", name, len(image), len(built))
		}
	}
	if err := pcr.Check(bytes.NewReader(found[strings.ToLower(kernelPath)]), &o.Keys.Policy.PublicKey); err != nil {
		t.Errorf("the kernel image on the signed disk: %v", err)
	}
	for v, data := range o.Variables {
		if got := found[strings.ToLower(keysDir+string(v)+".auth")]; !bytes.Equal(got, data) {
			t.Errorf("%s.auth has %d bytes that are not the %d expected", v, len(got), len(data))
		}
	}
}

// TestSignWithoutSecureBoot: without keys for it, the disk is signed for TPMs alone.
func TestSignWithoutSecureBoot(t *testing.T) {
	dir, kernel, loader := folder(t)
	key := policyKey(t)
	out := filepath.Join(t.TempDir(), "signed.raw")
	if err := Sign(out, dir, Options{Keys: bundle.Keys{Policy: key}, Enrol: EnrolIfSafe}); err != nil {
		t.Fatal(err)
	}
	found, _ := onDisk(t, out)
	image := found[strings.ToLower(kernelPath)]
	if err := pcr.Check(bytes.NewReader(image), &key.PublicKey); err != nil {
		t.Error(err)
	}
	if err := pcr.Detach(image); err != nil || !bytes.Equal(image, kernel) {
		t.Errorf("without its signature it is not what was built: %v", err)
	}
	if !bytes.Equal(found[strings.ToLower(loaderPath)], loader) || string(found[loaderConf]) != conf || len(found) != 4 {
		t.Errorf("more was changed: %q", slices.Sorted(maps.Keys(found)))
	}
}

func TestSignRefuses(t *testing.T) {
	dir, kernel, _ := folder(t)
	o := Options{Keys: bundle.Keys{Policy: policyKey(t)}}
	kernel[len(kernel)-1] ^= 1
	if err := os.WriteFile(filepath.Join(dir, release.Kernel), kernel, 0o644); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	if err := Sign(filepath.Join(out, "signed.raw"), dir, o); !errors.Is(err, ErrAbsent) {
		t.Errorf("the disk of another build: %v", err)
	}
	if err := os.Truncate(filepath.Join(dir, File), 4096); err != nil {
		t.Fatal(err)
	}
	if err := Sign(filepath.Join(out, "signed.raw"), dir, o); err == nil {
		t.Error("a disk that is cut off was signed")
	}
	if err := os.Remove(filepath.Join(dir, File)); err != nil {
		t.Fatal(err)
	}
	if err := Sign(filepath.Join(out, "signed.raw"), dir, o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no disk: %v", err)
	}
	if left, _ := os.ReadDir(out); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestParseEnrol(t *testing.T) {
	for _, word := range []string{"if-safe", "force", "off"} {
		if e, err := ParseEnrol(word); err != nil || string(e) != word {
			t.Errorf("%s: got %q, %v", word, e, err)
		}
	}
	if _, err := ParseEnrol("manual"); err == nil || !strings.Contains(err.Error(), "if-safe") {
		t.Errorf("got %v, want an error with what can be said", err)
	}
}

// TestFilesKeepTheirFolders: a name of the boot partition is whole.
func TestFilesKeepTheirFolders(t *testing.T) {
	dir, _, _ := folder(t)
	_, f := onDisk(t, filepath.Join(dir, File))
	for name := range f.content {
		if !path.IsAbs(name) || path.Dir(name) == "/" {
			t.Errorf("%s is not in a folder", name)
		}
	}
	if got := f.find("/LOADER/Loader.conf"); !strings.EqualFold(got, loaderConf) || f.content[got] == nil {
		t.Errorf("found %q", got)
	}
}
