package build

import (
	"bytes"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/cyvive/cyvive/images/internal/kernel"
)

// machines are devices of real and virtual machines of amd64, as the kernel names
// them (modalias), with the module that has to be found for each. boot is set where
// stage 1 needs it.
var machines = []struct {
	module, alias string
	boot          bool
}{
	{"nvme", "pci:v0000144Dd0000A808sv0000144Dsd0000A801bc01sc08i02", true},
	{"vmd", "pci:v00008086d000028C0sv00001028sd00000AE6bc01sc04i00", true},
	{"ahci", "pci:v00008086d0000A182sv00001028sd00000718bc01sc06i01", true},
	{"mpt3sas", "pci:v00001000d00000097sv00001028sd00001F46bc01sc07i00", true},      // SAS 3008
	{"mpt3sas", "pci:v00001000d000000E6sv00001028sd0000200Cbc01sc07i00", true},      // SAS 3816
	{"mpi3mr", "pci:v00001000d000000A5sv00001028sd00002114bc01sc07i00", true},       // SAS 4116
	{"megaraid_sas", "pci:v00001000d0000005Dsv00001028sd00001F49bc01sc04i00", true}, // PERC H730
	{"megaraid_sas", "pci:v00001000d000010E2sv00001028sd00001AE0bc01sc04i00", true}, // PERC H755
	{"smartpqi", "pci:v00009005d0000028Fsv00001590sd0000036Fbc01sc07i00", true},     // Smart Array, Gen 11
	{"hpsa", "pci:v0000103Cd00003239sv0000103Csd000021BDbc01sc04i00", true},         // Smart Array, Gen 9
	{"aacraid", "pci:v00009005d0000028Dsv00009005sd00000555bc01sc04i00", true},      // Adaptec series 8
	{"xhci_pci", "pci:v00008086d0000A12Fsv00001028sd00000718bc0Csc03i30", true},     // USB 3
	{"ehci_pci", "pci:v00008086d00008D26sv00001028sd00000600bc0Csc03i20", true},     // USB 2
	{"usb_storage", "usb:v0781p5581d0100dc00dsc00dp00ic08isc06ip50in00", true},      // a stick
	{"uas", "usb:v174Cp55AAd0100dc00dsc00dp00ic08isc06ip62in00", true},              // a disk in a case
	{"virtio_blk", "virtio:d00000002v00001AF4", true},
	{"virtio_scsi", "virtio:d00000008v00001AF4", true},
	{"hv_storvsc", "vmbus:d96361baa104294db60572e2ffb1dc7f", true}, // SCSI of Hyper-V
	{"pci_hyperv", "vmbus:1df6c444444400449d52802e27ede19f", true}, // NVMe of Azure
	{"vmw_pvscsi", "pci:v000015ADd000007C0sv000015ADsd000007C0bc01sc07i00", true},
	{"iTCO_wdt", "platform:iTCO_wdt", true},
	{"lpc_ich", "pci:v00008086d00008D44sv00001028sd00000600bc06sc01i00", true},    // its chipset, C610
	{"i2c_i801", "pci:v00008086d0000A1A3sv00001028sd00000718bc0Csc05i00", true},   // its chipset, C620
	{"sp5100_tco", "pci:v00001022d0000790Bsv00001022sd0000790Bbc0Csc05i00", true}, // AMD since Zen
	{"hpwdt", "pci:v0000103Cd00003306sv00001590sd000000E4bc08sc80i00", true},      // iLO 5
	{"wdat_wdt", "platform:wdat_wdt", true},
	{"i6300esb", "pci:v00008086d000025ABsv00001AF4sd00001100bc08sc80i00", true}, // QEMU
	{"ipmi_si", "acpi:IPI0001:", false},
	{"skx_edac", "cpu:type:x86,ven0000fam0006mod0055:feature:,0000,", false},      // Xeon, Skylake
	{"amd64_edac", "cpu:type:x86,ven0002fam0019mod0001:feature:,0000,", false},    // EPYC, Milan
	{"e1000", "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00", false},     // QEMU, VirtualBox
	{"e1000e", "pci:v00008086d000015B8sv00001028sd000007A0bc02sc00i00", false},    // I219
	{"igb", "pci:v00008086d00001521sv00001028sd00001F60bc02sc00i00", false},       // I350
	{"igb", "pci:v00008086d00001533sv000015D9sd00001533bc02sc00i00", false},       // I210
	{"igc", "pci:v00008086d000015F3sv00001043sd000087D2bc02sc00i00", false},       // I225
	{"ixgbe", "pci:v00008086d000010FBsv00008086sd00000003bc02sc00i00", false},     // 82599
	{"ixgbe", "pci:v00008086d00001563sv000015D9sd00001563bc02sc00i00", false},     // X550
	{"i40e", "pci:v00008086d00001572sv00008086sd00000007bc02sc00i00", false},      // X710
	{"i40e", "pci:v00008086d000037D2sv000015D9sd000037D2bc02sc00i00", false},      // X722
	{"ice", "pci:v00008086d0000159Bsv00008086sd00000003bc02sc00i00", false},       // E810, 25 Gbit/s
	{"ice", "pci:v00008086d00001592sv00008086sd00000002bc02sc00i00", false},       // E810, 100 Gbit/s
	{"iavf", "pci:v00008086d00001889sv00008086sd00000000bc02sc00i00", false},      // a function of these
	{"tg3", "pci:v000014E4d0000165Fsv00001028sd00001F5Bbc02sc00i00", false},       // BCM5720
	{"bnx2", "pci:v000014E4d00001639sv00001028sd00000235bc02sc00i00", false},      // BCM5709
	{"bnx2x", "pci:v000014E4d0000168Esv0000103Csd00003382bc02sc00i00", false},     // BCM57810
	{"bnxt_en", "pci:v000014E4d000016D7sv000014E4sd00001402bc02sc00i00", false},   // BCM57414
	{"bnxt_en", "pci:v000014E4d00001750sv000014E4sd00002100bc02sc00i00", false},   // BCM57508
	{"mlx4_core", "pci:v000015B3d00001007sv000015B3sd00000006bc02sc00i00", false}, // ConnectX-3 Pro
	{"mlx5_core", "pci:v000015B3d00001017sv000015B3sd00000020bc02sc00i00", false}, // ConnectX-5
	{"mlx5_core", "pci:v000015B3d00001021sv000015B3sd00000023bc02sc00i00", false}, // ConnectX-7
	{"r8169", "pci:v000010ECd00008168sv00001458sd0000E000bc02sc00i00", false},
	{"r8169", "pci:v000010ECd00008125sv00001462sd00007D91bc02sc00i00", false},    // 2.5 Gbit/s
	{"atlantic", "pci:v00001D6Ad000007B1sv00001043sd00008741bc02sc00i00", false}, // AQC107
	{"sfc", "pci:v00001924d00000B03sv00001924sd00008022bc02sc00i00", false},      // X2500
	{"be2net", "pci:v000010DFd00000720sv0000103Csd00003381bc02sc00i00", false},   // OneConnect
	{"enic", "pci:v00001137d00000043sv00001137sd0000012Ebc02sc00i00", false},     // UCS
	{"virtio_net", "virtio:d00000001v00001AF4", false},
	{"hv_netvsc", "vmbus:635161f83edfc546913ff2d2f965ed0e", false},
	{"vmxnet3", "pci:v000015ADd000007B0sv000015ADsd000007B0bc02sc00i00", false},
	{"ena", "pci:v00001D0Fd0000EC20sv00001D0Fsd0000EC20bc02sc00i00", false}, // EC2
	{"gve", "pci:v00001AE0d00000042sv00001AE0sd00000058bc02sc00i00", false}, // Google Cloud
	{"xen_netfront", "xen:vif", false},
}

// TestImageHasDrivers looks for the driver of each device as a node does, in the index
// of the modules of the built image, and for its file in the root and the initramfs.
func TestImageHasDrivers(t *testing.T) {
	if arch() != "amd64" {
		t.Skip("the machines of the table are of amd64")
	}
	root, boot := map[string]bool{}, bootFiles(t)
	for _, e := range image(t) {
		if strings.HasSuffix(e.Path, ".ko") {
			root[kernel.Name(e.Path)] = true
		}
	}
	index, err := os.ReadFile(filepath.Join("../../../out", arch(), "modules/modules.alias"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range machines {
		switch found := matching(string(index), m.alias); {
		case !slices.Contains(found, m.module):
			t.Errorf("%s: the image has %v for it, want %s", m.alias, found, m.module)
		case !root[m.module]:
			t.Errorf("%s: %s is in the index and not in the root", m.alias, m.module)
		case m.boot && !boot[m.module]:
			t.Errorf("%s: %s is not in the initramfs", m.alias, m.module)
		}
	}
	// What the kernel asks for by no device's name.
	for _, name := range []string{"erofs", "crc32c_generic", "dm_verity"} {
		if !root[name] || !boot[name] {
			t.Errorf("%s is not in the root (%t), or not in the initramfs (%t)", name, root[name], boot[name])
		}
	}
	for _, name := range []string{"ext4", "ipmi_watchdog", "softdog"} {
		if !root[name] {
			t.Errorf("%s is not in the root", name)
		}
	}
}

// matching are the modules of modules.alias that have a pattern for the alias.
func matching(index, alias string) []string {
	var out []string
	for line := range strings.Lines(index) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "alias" {
			continue
		}
		if ok, err := path.Match(f[1], alias); err == nil && ok && !slices.Contains(out, f[2]) {
			out = append(out, f[2])
		}
	}
	return out
}

// bootFiles are the names of the modules in the built initramfs (newc; see package
// initramfs).
func bootFiles(t *testing.T) map[string]bool {
	t.Helper()
	image(t) // skips, or fails, where there is no image
	packed, err := os.ReadFile(filepath.Join("../../../out", arch(), "initramfs.zst"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	const header = 110
	field := func(at, n int) int {
		v, err := strconv.ParseUint(string(data[at+6+8*n:at+14+8*n]), 16, 32)
		if err != nil {
			t.Fatalf("read initramfs: byte %d: %v", at, err)
		}
		return int(v)
	}
	for at := 0; at+header <= len(data); {
		size, nameLen := field(at, 6), field(at, 11)
		name := string(data[at+header : at+header+nameLen-1])
		if name == "TRAILER!!!" {
			return out
		}
		if strings.HasSuffix(name, ".ko") {
			out[kernel.Name(name)] = true
		}
		at = (at + header + nameLen + 3) &^ 3
		at = (at + size + 3) &^ 3
	}
	t.Fatal("read initramfs: it has no end")
	return nil
}

// TestBootModules: what stage 1 is to have is in the list of modules as well, since
// the initramfs takes its modules from those of the root.
func TestBootModules(t *testing.T) {
	text, err := os.ReadFile("../../modules.list")
	if err != nil {
		t.Fatal(err)
	}
	without := []string{"virtio_pci", "dm_bufio"} // built in; what dm_verity needs
	for _, a := range []string{"amd64", "arm64"} {
		names, err := kernel.ParseList(bytes.NewReader(text), a)
		if err != nil {
			t.Fatal(err)
		}
		boot := bootModulesFor(a)
		for i, name := range boot {
			if !slices.Contains(names, name) && !slices.Contains(without, name) {
				t.Errorf("%s: %s is for stage 1 and not in modules.list", a, name)
			}
			if slices.Contains(boot[:i], name) {
				t.Errorf("%s: %s is there twice", a, name)
			}
		}
	}
}

func TestCommonRelease(t *testing.T) {
	if got, err := commonRelease("6.12.117+deb13-amd64", "amd64"); got != "6.12.117+deb13" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, release := range []string{"6.12.117+deb13-cloud-amd64", "6.12.117+deb13-rt-amd64", "6.12.117+deb13-arm64", "-amd64", ""} {
		if got, err := commonRelease(release, "amd64"); err == nil || !strings.Contains(err.Error(), "make lock") {
			t.Errorf("%q: got %q, %v", release, got, err)
		}
	}
}
