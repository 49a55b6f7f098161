package kernel

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseList(t *testing.T) {
	got, err := ParseList(strings.NewReader("# why\nveth tun # both\n\nahci @amd64\nloop @arm64\n"), "amd64")
	if d := cmp.Diff([]string{"ahci", "tun", "veth"}, got); d != "" || err != nil {
		t.Errorf("list (-want +got):\n%s%v", d, err)
	}
	for text, want := range map[string]string{
		"@amd64 i6300esb":  "is no module name",
		"veth\nveth\n":     "line 2: veth is there a second time",
		"ahci @riscv64\n":  `"riscv64" is neither`,
		"tcp-bbr\n":        "is no module name",
		"kernel/x/veth.ko": "is no module name",
	} {
		if _, err := ParseList(strings.NewReader(text), "amd64"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// TestImageList checks the image's own list: it parses for both architectures,
// and has what the node cannot do without.
func TestImageList(t *testing.T) {
	text, err := os.ReadFile("../../modules.list")
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		names, err := ParseList(strings.NewReader(string(text)), arch)
		if err != nil {
			t.Fatal(err)
		}
		all := " " + strings.Join(names, " ") + " "
		for _, must := range []string{
			"virtio_blk", "nvme", "mpt3sas", "usb_storage", "dm_verity", "erofs", "ext4", "crc32c_generic", "overlay", "zfs", "veth", "wireguard",
		} {
			if !strings.Contains(all, " "+must+" ") {
				t.Errorf("%s: %s is not in the list", arch, must)
			}
		}
	}
}

func FuzzParseList(f *testing.F) {
	f.Add("veth tun # why\nahci @amd64\n")
	f.Fuzz(func(t *testing.T, text string) {
		names, err := ParseList(strings.NewReader(text), "amd64")
		if err != nil {
			return
		}
		again, err := ParseList(strings.NewReader(strings.Join(names, "\n")), "arm64")
		if err != nil || !slices.Equal(names, again) {
			t.Errorf("%q lists %q, which reads as %q, %v", text, names, again, err)
		}
	})
}
