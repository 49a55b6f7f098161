package build

import (
	"bytes"
	"context"
	"debug/pe"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/images/internal/initramfs"
	"github.com/cyvive/cyvive/images/internal/lock"
	"github.com/cyvive/cyvive/images/internal/tree"
)

func TestMicrocodeIsJoined(t *testing.T) {
	from := tree.New()
	amd, intel := vendors["amd"], vendors["intel"]
	from.Write(amd.dir+"microcode_amd_fam17h.bin", 0o644, []byte("two"))
	from.Write(amd.dir+"microcode_amd.bin", 0o644, []byte("one"))
	from.Write(amd.dir+"README", 0o644, []byte("text"))
	from.Write(intel.dir+"06-8f-05", 0o644, []byte("shared"))
	from.Write(intel.dir+"06-8f-04", 0o644, []byte("shared"))
	from.Write(intel.dir+"06-9e-09.initramfs", 0o644, []byte("last"))
	for _, c := range []struct {
		of   vendor
		want string
	}{{amd, "onetwo"}, {intel, "sharedlast"}} {
		if got := string(joined(from, c.of)); got != c.want {
			t.Errorf("%s: %q, want %q", c.of.pkg, got, c.want)
		}
	}
	x := tree.New()
	x.Write(amd.early, 0o644, joined(from, amd))
	var out bytes.Buffer
	if err := initramfs.Write(&out, x, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "070701") || !strings.Contains(out.String(), amd.early+"\x00") || !strings.Contains(out.String(), "onetwo") {
		t.Errorf("the kernel would not find it in %q", out.String())
	}
}

func TestMicrocodeOfNobody(t *testing.T) {
	b := &builder{Options: Options{Arch: "amd64", Microcode: []string{"via"}}, lock: &lock.Lock{Epoch: 1}, pins: &lock.Pins{}}
	if err := b.microcode(context.Background()); err == nil || !strings.Contains(err.Error(), `"via"; it is of amd, intel`) {
		t.Errorf("an unknown vendor: got %v", err)
	}
	b.Options = Options{Arch: "arm64", Microcode: []string{"amd"}}
	if err := b.microcode(context.Background()); err != nil || b.results.microcode != "" {
		t.Errorf("of an architecture without any: got %q, %v", b.results.microcode, err)
	}
}

// TestImageHasMicrocode looks into the built kernel image: what there is lies there
// plain, before the initramfs.
func TestImageHasMicrocode(t *testing.T) {
	image(t) // skips, or fails, where there is no image
	if choice, ok := os.LookupEnv("MICROCODE"); arch() != "amd64" || ok && !strings.Contains(choice, "amd") {
		t.Skipf("an image of %s with microcode of %q", arch(), choice)
	}
	f, err := pe.Open(filepath.Join("../../../out", arch(), "cyvive.efi"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := f.Section(".ucode")
	if s == nil {
		t.Fatal("the kernel image has no section .ucode")
	}
	data, err := s.Data()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(data, []byte("070701")) || !bytes.Contains(data, []byte(vendors["amd"].early+"\x00")) {
		t.Errorf("the section begins with %.16q, and does not name %s", data, vendors["amd"].early)
	}
	if initrd := f.Section(".initrd"); initrd == nil || initrd.Offset < s.Offset {
		t.Error("the initramfs does not lie behind it: an installation medium could not be made")
	}
}
