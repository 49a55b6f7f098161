package install

import (
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/storage/signature"
)

// machineDisks are those of a machine that runs from the first one.
func machineDisks() []Disk {
	return []Disk{
		{Name: "sda", Type: SSD, Model: "KINGSTON DataTraveler", Serial: "USB1", Bus: "usb", SizeBytes: 16e9, SectorBytes: 512, System: true},
		{
			Name: "nvme0n1", Type: NVMe, Model: "SAMSUNG MZVL2512HCJQ-00B00", Serial: "S675NX0R1", WWN: "eui.002538b1", Bus: "nvme", SizeBytes: 512e9, SectorBytes: 512,
			Path: "pci0000:00/0000:00:06.0/0000:01:00.0",
		},
		{Name: "sdb", Type: HDD, Model: "ATA WDC WD40EFRX-68N", Serial: "WD-WCC7K1", WWN: "naa.50014ee2", Bus: "ata", SizeBytes: 4e12, SectorBytes: 512},
		{Name: "sdc", Type: HDD, Model: "ATA WDC WD40EFRX-68N", Serial: "WD-WCC7K2", WWN: "naa.50014ee3", Bus: "ata", SizeBytes: 4e12, SectorBytes: 512},
		{Name: "vda", Type: HDD, Bus: "virtio", SizeBytes: 20e9, SectorBytes: 512},
	}
}

func TestChoose(t *testing.T) {
	for name, test := range map[string]struct {
		selector Selector
		want     string // a name, or a part of the error behind a colon
	}{
		"type":                     {Selector{Type: "nvme"}, "nvme0n1"},
		"type in capitals":         {Selector{Type: "NVMe"}, "nvme0n1"},
		"model":                    {Selector{Model: "samsung*"}, "nvme0n1"},
		"model whole":              {Selector{Model: "samsung"}, ": no disk matches model=samsung"},
		"serial":                   {Selector{Serial: "WD-WCC7K2"}, "sdc"},
		"serial, one of several":   {Selector{Serial: "WD-WCC7K?"}, ": 2 disks match, exactly one has to"},
		"wwn":                      {Selector{WWN: "naa.50014EE3"}, "sdc"},
		"bus":                      {Selector{Bus: "virtio"}, "vda"},
		"path":                     {Selector{Path: "*/0000:01:00.0"}, "nvme0n1"},
		"size from both sides":     {Selector{Sizes: []string{">=100GB", "<=1TB"}}, "nvme0n1"},
		"size at the limits":       {Selector{Sizes: []string{">=512GB", "<= 512 gb"}}, "nvme0n1"},
		"size in powers of two":    {Selector{Sizes: []string{">=3TiB"}, Serial: "*1"}, "sdb"},
		"a fraction":               {Selector{Sizes: []string{">=0.4TB", "<=0.6TB"}}, "nvme0n1"},
		"all of it":                {Selector{Type: "hdd", Bus: "ata", Serial: "*2", Sizes: []string{"<=4TB"}}, "sdc"},
		"one does not match":       {Selector{Type: "ssd", Serial: "WD-WCC7K1"}, ": sdb (4 TB, type hdd, model ATA WDC WD40EFRX-68N, serial WD-WCC7K1, wwn naa.50014ee2, bus ata): its type \"hdd\" is not \"ssd\"\n"},
		"what it does not tell":    {Selector{Serial: "x"}, ": vda (20 GB, type hdd, bus virtio): it tells no serial"},
		"its size":                 {Selector{Sizes: []string{">=5TB"}}, ": its size of 4 TB is not >=5TB"},
		"the system disk":          {Selector{Serial: "USB1"}, ": the node runs from it"},
		"the system disk besides":  {Selector{Sizes: []string{"<=30GB"}}, "vda"},
		"nothing":                  {Selector{}, ": nothing says which disk is meant"},
		"an unknown type":          {Selector{Type: "tape"}, `: type "tape" is none of ssd, hdd and nvme`},
		"a size without condition": {Selector{Sizes: []string{"100GB"}}, `: size "100GB" begins with neither >= nor <=`},
		"a size of no unit":        {Selector{Sizes: []string{">=100XB"}}, `: size "100XB": it has "X" at byte 4, expected one of B, kB, MB`},
		"a size that is none":      {Selector{Sizes: []string{">=NaN"}}, `: size "NaN": it has "N" at byte 1, expected a number, such as 100GB`},
		"a size of too much":       {Selector{Sizes: []string{">=99999999999TB"}}, `: size "99999999999TB": it is more than 9223372036854775807 bytes`},
		"a negative size":          {Selector{Sizes: []string{"<=-1GB"}}, `: size "-1GB": it has "-" at byte 1, expected a number`},
	} {
		got, err := Choose(machineDisks(), test.selector)
		want, isError := strings.CutPrefix(test.want, ": ")
		if !isError && strings.Contains(want, " ") {
			isError = true
		}
		switch {
		case isError && (err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, ErrRequest) && !errors.Is(err, ErrDisk)):
			t.Errorf("%s: got %q, %v; want %q", name, got.Name, err, want)
		case !isError && (err != nil || got.Name != want):
			t.Errorf("%s: got %q, %v; want %q", name, got.Name, err, want)
		}
	}
	if _, err := Choose(nil, Selector{Serial: "x"}); err == nil || !strings.Contains(err.Error(), "no disk that is known") {
		t.Errorf("no disks: %v", err)
	}
}

// TestNotTaken: a disk that is meant, and cannot be taken.
func TestNotTaken(t *testing.T) {
	good := Disk{Name: "vdb", Serial: "S", SizeBytes: testDiskBytes, SectorBytes: 512}
	r := Release{Version: "1.0.0", Architecture: "amd64", RootHash: strings.Repeat("ab", 32), RootBytes: 1, VerityBytes: 1, KernelBytes: 1}
	for name, test := range map[string]struct {
		change func(d *Disk, r *Release)
		want   string
		class  error
	}{
		"read only":    {func(d *Disk, _ *Release) { d.ReadOnly = true }, "can only be read", ErrDisk},
		"in use":       {func(d *Disk, _ *Release) { d.Use = "vdb1 is mounted on /mnt" }, "is in use: vdb1 is mounted on /mnt", ErrDisk},
		"unreadable":   {func(d *Disk, _ *Release) { d.Problem = "input/output error" }, "cannot be looked at: input/output error", ErrDisk},
		"4k sectors":   {func(d *Disk, _ *Release) { d.SectorBytes = 4096 }, "has sectors of 4096 bytes", ErrDisk},
		"small":        {func(d *Disk, _ *Release) { d.SizeBytes = 20 * mib }, "it has 20.97 MB, an installation needs 25.17 MB", ErrDisk},
		"a large root": {func(_ *Disk, r *Release) { r.RootBytes = 2 * mib }, "the root of version 1.0.0 has 2097152 bytes, its partition room for 1048576", ErrDisk},
		"a large tree": {func(_ *Disk, r *Release) { r.VerityBytes = 2 * mib }, "the hash tree of version", ErrDisk},
		"data":         {func(d *Disk, _ *Release) { d.Contents = []signature.Found{{Kind: signature.RAID, Name: "Linux MD"}} }, "Linux MD (RAID); choose another, or wipe it by its serial number or WWN: S", ErrData},
		"data without a name": {func(d *Disk, _ *Release) {
			d.Serial, d.Contents = "", []signature.Found{{Kind: signature.RAID, Name: "Linux MD"}}
		}, "it has neither a serial number nor a WWN", ErrData},
		"data over an installation": {func(d *Disk, _ *Release) {
			d.Note, d.Contents = &Note{Step: Begun, Version: "0.9.0"}, []signature.Found{{Kind: signature.RAID, Name: "Linux MD"}}
		}, "go on with the installation that was begun on it (version 0.9.0)", ErrData},
	} {
		d, release := good, r
		d.Path = "here"
		test.change(&d, &release)
		_, err := Build(Request{Disk: Selector{Path: "here"}}, []Disk{d}, release, testSizes())
		if !errors.Is(err, test.class) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Build(Request{Disk: Selector{Serial: "S"}}, []Disk{good}, r, testSizes()); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func TestPlanText(t *testing.T) {
	r := Release{Version: "1.2.3", Architecture: "amd64", RootHash: strings.Repeat("ab", 32), RootBytes: 400 * mib, VerityBytes: 3 * mib, KernelBytes: 60 * mib, Pushed: true}
	d := Disk{Name: "vdb", Type: SSD, Serial: "S", SizeBytes: 8 << 30, SectorBytes: 512, Contents: []signature.Found{{Kind: signature.PartitionTable, Name: "GPT"}}}
	p, err := Build(Request{Disk: Selector{Serial: "S"}, Wipe: "S", Configuration: []byte("x")}, []Disk{d}, r, NodeSizes())
	if err != nil {
		t.Fatal(err)
	}
	want := `install version 1.2.3 on vdb (8.59 GB, type ssd, serial S)
destroys: GPT (partition table)
partition 1: esp, 512 MiB at 1 MiB
partition 2: root-a, 1024 MiB at 513 MiB
partition 3: verity-a, 16 MiB at 1537 MiB
partition 4: root-b, 1024 MiB at 1553 MiB
partition 5: verity-b, 16 MiB at 2577 MiB
partition 6: state, 64 MiB at 2593 MiB
partition 7: data, 5534 MiB at 2657 MiB
begun: note the installation on vdb
clear: discard what is on the disk, and overwrite both ends of the disk and of its partitions
root: copy the root of the release that was pushed, version 1.2.3, and check it against ` + r.RootHash + `
verity: copy its hash tree
esp: make file system, with boot loader, boot entry and kernel image
state: make file system, with the configuration in it
table: write the partition table: from now on the disk starts
complete: note that all is done
`
	if d := cmp.Diff(want, p.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestSmallestDisk: there is room for a pool on the smallest disk that is taken, also in an encrypted volume; and of one that is smaller the error says what is needed.
func TestSmallestDisk(t *testing.T) {
	const leastPool = 64 * mib // SPA_MINDEVSIZE in include/sys/fs/zfs.h of OpenZFS 2.3.9
	s := NodeSizes()
	r := Release{Version: "1.0.0", Architecture: "amd64", RootHash: strings.Repeat("ab", 32), RootBytes: 1, VerityBytes: 1, KernelBytes: 1}
	for _, encrypted := range []bool{false, true} {
		d := Disk{Name: "vdb", Serial: "S", SizeBytes: s.total(), SectorBytes: 512}
		req := Request{Disk: Selector{Serial: "S"}, Encrypted: encrypted}
		p, err := Build(req, []Disk{d}, r, s)
		if err != nil {
			t.Fatal(err)
		}
		if data := p.Layout.partition(dataName).Bytes; data-luks.HeaderBytes < leastPool {
			t.Errorf("encrypted %t: data has %d bytes, of which an encrypted volume leaves %d", encrypted, data, data-luks.HeaderBytes)
		}
		d.SizeBytes -= 512
		if _, err := Build(req, []Disk{d}, r, s); !errors.Is(err, ErrDisk) || !strings.Contains(err.Error(), "an installation needs 2.858 GB") {
			t.Errorf("encrypted %t: a disk that is smaller: %v", encrypted, err)
		}
	}
}

// TestSizesOfImages: an installed disk is divided as an image is, so that a release that fits the one fits the other.
func TestSizesOfImages(t *testing.T) {
	text, err := os.ReadFile("../../../images/internal/build/disk.go")
	if err != nil {
		t.Fatal(err)
	}
	s := NodeSizes()
	for name, got := range map[string]int64{
		"espBytes": s.ESP, "rootBytes": s.Root, "verityBytes": s.Verity, "stateBytes": s.State, "dataBytes": s.Data, "espSpareBytes": espSpareBytes,
	} {
		m := regexp.MustCompile(`(?m)^\s` + name + `\s+= (\d+) \* mib$`).FindSubmatch(text)
		if m == nil {
			t.Fatalf("images/internal/build/disk.go does not say how large %s is", name)
		}
		if want, _ := strconv.ParseInt(string(m[1]), 10, 64); got != want*mib {
			t.Errorf("%s is %d MiB here, %d in images", name, got/mib, want)
		}
	}
}
