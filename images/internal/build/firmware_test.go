package build

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/images/internal/kernel"
	"github.com/cyvive/cyvive/images/internal/tree"
)

// TestBlobs: files are taken by the names that modules ask for, through links, and
// with the licences that the list names.
func TestBlobs(t *testing.T) {
	const copyright = "Files: *\nLicense: free\n\nLicense: other\n some text\n"
	from, to := tree.New(), tree.New()
	from.Write(firmwareDir+"/b/b-1.bin", 0o600, []byte("firmware"))
	from.Symlink(firmwareDir+"/b/b.bin", "b-1.bin")
	from.Write(copyrightFile("firmware-b"), 0o644, []byte(copyright))
	from.Write(copyrightFile("firmware-c"), 0o644, []byte(copyright))
	seen := map[[sha256.Size]byte]string{}
	for _, name := range []string{"firmware-b", "firmware-c"} {
		if err := addCopyright(to, from, name, []string{"free"}, seen); err != nil {
			t.Fatal(err)
		}
	}
	if err := addBlobs(to, from, kernel.FirmwareLine{Package: "firmware-b", License: "free", Files: []string{"b/b.bin"}}); err != nil {
		t.Fatal(err)
	}
	if e := to.Get(firmwareDir + "/b/b.bin"); e == nil || e.Kind != tree.File || e.Mode != 0o644 || string(e.Data) != "firmware" {
		t.Errorf("the file behind the link is %+v", e)
	}
	if e := to.Get(copyrightFile("firmware-c")); e == nil || e.Kind != tree.Link || e.Target != copyrightFile("firmware-b") {
		t.Errorf("the second copyright file is %+v, want another name of the first", e)
	}
	for want, err := range map[string]error{
		"does not have it":     addBlobs(to, from, kernel.FirmwareLine{Package: "firmware-b", Files: []string{"b/absent.bin"}}),
		"no copyright file":    addCopyright(to, from, "firmware-d", nil, seen),
		"called binary-redist": addCopyright(to, from, "firmware-b", []string{"binary-redist"}, seen),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestImageHasFirmware holds the built image against what its own modules ask for.
func TestImageHasFirmware(t *testing.T) {
	files := map[string]bool{}
	for _, e := range image(t) {
		files[e.Path] = e.Kind == "f"
	}
	set, err := kernel.Open(filepath.Join("../../../out", arch(), "modules"), "")
	if err != nil {
		t.Fatal(err)
	}
	asked, err := set.Firmware()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.Open("../../firmware.list")
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	list, err := kernel.ParseFirmware(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := list.Check(asked); err != nil {
		t.Error(err)
	}
	for _, l := range list.Lines {
		for _, f := range l.Files {
			if !files[firmwareDir+"/"+f] {
				t.Errorf("%s is not in the image; module %s asks for it", f, asked[f])
			}
		}
		if !files[copyrightFile(l.Package)] {
			t.Errorf("the copyright file of %s is not in the image", l.Package)
		}
	}
}
