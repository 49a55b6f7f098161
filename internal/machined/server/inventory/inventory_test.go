package inventory_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
	"github.com/cyvive/cyvive/internal/machined/server/inventory"
	"github.com/cyvive/cyvive/internal/machined/server/inventory/smart"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
)

var update = flag.Bool("update", false, "write what the machines of testdata are read as")

// plant makes the tree of an archive, in which "-> " begins a link, and returns its
// root. Binary files, which an archive cannot hold, come from more.
func plant(t *testing.T, archive string, more map[string][]byte) string {
	t.Helper()
	a, err := txtar.ParseFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, f := range a.Files {
		if more == nil {
			more = map[string][]byte{}
		}
		more[f.Name] = f.Data
	}
	for name, data := range more {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(string(data), "-> "); ok {
			err = os.Symlink(strings.TrimSpace(target), path)
		} else {
			err = os.WriteFile(path, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// devices answer what their fields say.
type devices struct {
	nvme, tpm []byte
	ata       smart.ATAPages
	scsi      map[byte][]byte

	mu    sync.Mutex
	asked []string
	hang  chan struct{} // NVMe disks answer when it is closed, if it is not nil
}

func (d *devices) ask(what string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, what)
	return nil
}

func (d *devices) questions() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(slices.Values(d.asked))
}

func (d *devices) NVMeHealth(disk string) ([]byte, error) {
	_ = d.ask("nvme " + disk)
	if d.hang != nil {
		<-d.hang
	}
	if d.nvme == nil {
		return nil, errors.New("get NVMe log page 02h: operation not permitted")
	}
	return d.nvme, nil
}

func (d *devices) ATAHealth(disk string) (smart.ATAPages, error) { return d.ata, d.ask("ata " + disk) }

func (d *devices) SCSILog(disk string, page byte) ([]byte, error) {
	data, ok := d.scsi[page]
	if !ok {
		return nil, errors.New("the disk refuses it with sense key 5h, code 24h, qualifier 00h")
	}
	return data, d.ask("scsi " + disk)
}

func (d *devices) NICFirmware(name string) (string, error) {
	return map[string]string{"eth0": "22.36.1010 (EX0000000001)"}[name], nil
}

func (d *devices) TPMProperties(command []byte) ([]byte, error) {
	if want := []byte{0x80, 1, 0, 0, 0, 22, 0, 0, 1, 0x7a, 0, 0, 0, 6, 0, 0, 1, 5, 0, 0, 0, 8}; !bytes.Equal(command, want) {
		return nil, errors.New("another command")
	}
	if d.tpm == nil {
		return nil, os.ErrNotExist
	}
	return d.tpm, nil
}

// healthyDevices answer well.
func healthyDevices() *devices {
	nvme := make([]byte, smart.NVMePageBytes)
	binary.LittleEndian.PutUint16(nvme[1:], 273+38)
	nvme[3], nvme[5] = 100, 3
	ata := make([]byte, smart.ATAPageBytes)
	copy(ata[2:], []byte{5, 0x33, 0, 100, 100, 16, 0, 0, 0, 0, 0, 0, 9, 0x32, 0, 99, 99, 100})
	var sum byte
	for _, b := range ata {
		sum += b
	}
	ata[511] = -sum
	return &devices{
		nvme: nvme, ata: smart.ATAPages{Data: ata}, scsi: map[byte][]byte{smart.SCSIExceptions: {0x2f, 0, 0, 7, 0, 0, 3, 3, 0, 0, 29}},
		tpm: tpmAnswer(map[uint32]string{0x105: "IFX\x00", 0x106: "SLB9", 0x107: "672 ", 0x10b: "\x00\x0f\x00\x17", 0x10c: "\x00\x00\x11\x06"}),
	}
}

// tpmAnswer is an answer to TPM2_GetCapability.
func tpmAnswer(properties map[uint32]string) []byte {
	answer := []byte{0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6}
	answer = binary.BigEndian.AppendUint32(answer, uint32(len(properties)))
	for property, value := range properties {
		answer = append(binary.BigEndian.AppendUint32(answer, property), value...)
	}
	return answer
}

// table is an SMBIOS table of a machine with three slots for memory, of which two are
// used, and a string of a hypervisor that holds a secret.
func table() []byte {
	structure := func(kind byte, fields map[int][]byte, length int, strings ...string) []byte {
		s := make([]byte, length)
		s[0], s[1] = kind, byte(length)
		for at, value := range fields {
			copy(s[at:], value)
		}
		for _, text := range strings {
			s = append(append(s, text...), 0)
		}
		if len(strings) == 0 {
			s = append(s, 0)
		}
		return append(s, 0)
	}
	module := func(more map[int][]byte, strings ...string) []byte {
		fields := map[int][]byte{
			0x0e: {9}, 0x10: {1}, 0x11: {2}, 0x12: {0x22}, 0x15: {0xc0, 0x12}, 0x17: {3}, 0x18: {4}, 0x1a: {5}, 0x20: {0xc0, 0x12},
		}
		for at, value := range more {
			fields[at] = value
		}
		return structure(17, fields, 0x5c, strings...)
	}
	return slices.Concat(
		structure(11, nil, 5, "dev.cyvive.config=hunter2-from-the-hypervisor"),
		structure(4, map[int][]byte{0x07: {1}, 0x10: {2}, 0x18: {0x41}}, 0x30, "Advanced Micro Devices", "EPYC of the firmware"),
		structure(16, map[int][]byte{0x05: {3}, 0x06: {6}}, 0x17),
		module(map[int][]byte{0x0c: {0xff, 0x7f}, 0x1c: {0, 0x80, 0, 0}}, "DIMM_A1", "BANK 0", "Example", "0123ABCD", "M321R4GA0BB0"),
		module(map[int][]byte{0x0c: {0, 0x40}, 0x15: {0xff, 0xff}, 0x54: {0x20, 0x1c}, 0x20: {0, 0}}, "DIMM_B1", "BANK 1", "Unknown", "Not Specified", " X "),
		module(map[int][]byte{0x0c: {0, 0}}, "DIMM_C1", "BANK 2", "NO DIMM"),
		structure(127, nil, 4),
	)
}

// binaries are the files of a tree that are no text.
func binaries() map[string][]byte {
	const ofUEFI = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	return map[string][]byte{
		"sys/firmware/dmi/tables/DMI":                                                 table(),
		"sys/firmware/efi/efivars/SecureBoot" + ofUEFI:                                {6, 0, 0, 0, 1},
		"sys/firmware/efi/efivars/SetupMode" + ofUEFI:                                 {6, 0, 0, 0, 0},
		"sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/vpd_pg80": append([]byte{0, 0x80, 0, 12}, "    VAG12345"...),
	}
}

// ask serves a machine over the API and asks as a reader.
func ask(t *testing.T, r *inventory.Reader, withoutHealth bool) *inventoryv1.Inventory {
	t.Helper()
	authority := servertest.Authority(t, "ours")
	api := servertest.Start(t, &servertest.Node{InventoryFrom: r}, authority, nil)
	pair, err := authority.Issue(pki.Request{CommonName: "alice", Organizations: []string{"node:reader"}, Client: true, Lifetime: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	client, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+api.Address, grpc.WithTransportCredentials(credentials.NewTLS(
		&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: authority.Pool(), Certificates: []tls.Certificate{client}})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got, err := inventoryv1.NewInventoryServiceClient(conn).GetInventory(t.Context(), &inventoryv1.GetInventoryRequest{WithoutDiskHealth: withoutHealth})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetInventory()
}

// TestMachines reads each recorded machine through the real server.
func TestMachines(t *testing.T) {
	for name, more := range map[string]map[string][]byte{"server": binaries(), "virtual": nil, "arm": nil} {
		t.Run(name, func(t *testing.T) {
			root := plant(t, "testdata/machines/"+name+".txtar", more)
			got := ask(t, inventory.New(root, healthyDevices(), time.Now), false)
			text, err := protojson.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(text, []byte("hunter2")) {
				t.Error("a secret that a hypervisor hands over is in the inventory")
			}
			golden := "testdata/machines/" + name + ".json"
			if *update {
				var indented bytes.Buffer
				if err := json.Indent(&indented, text, "", "  "); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, append(indented.Bytes(), '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			data, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			want := &inventoryv1.Inventory{}
			if err := protojson.Unmarshal(data, want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

// TestNothingThere: an empty root is a machine of which nothing is known.
func TestNothingThere(t *testing.T) {
	got := ask(t, inventory.New(t.TempDir(), &devices{}, time.Now), false)
	want := &inventoryv1.Inventory{System: &inventoryv1.System{}, Firmware: &inventoryv1.Firmware{}, Memory: &inventoryv1.Memory{}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestProblems: what is there and cannot be read is said.
func TestProblems(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"proc/cpuinfo", "sys/class/tpm/tpm0", "sys/firmware/dmi/tables/DMI"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "sys/class/tpm/tpm0/tpm_version_major"), []byte("2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := ask(t, inventory.New(root, &devices{tpm: []byte{0x80, 1, 0, 0, 0, 10, 0, 0, 1, 1}}, time.Now), false)
	text := strings.Join(got.GetProblems(), "\n")
	for _, want := range []string{"read /proc/cpuinfo: ", "read the SMBIOS tables: ", "ask the TPM for its maker: the TPM refuses with code 101h"} {
		if !strings.Contains(text, want) {
			t.Errorf("problems %q lack %q", text, want)
		}
	}
}

// TestThisMachine reads the machine that runs the test, without asking its devices.
func TestThisMachine(t *testing.T) {
	got := ask(t, inventory.New("/", &devices{}, time.Now), true)
	if len(got.GetProcessors()) == 0 || got.GetProcessors()[0].GetThreads() == 0 || got.GetMemory().GetTotalBytes() == 0 {
		t.Errorf("got %v", got)
	}
}

// TestHealth: a disk is asked once in a while, one that refuses says why, and one that
// hangs holds nobody up for long.
func TestHealth(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	d := &devices{scsi: map[byte][]byte{}}
	r := inventory.New(plant(t, "testdata/machines/server.txtar", binaries()), d, clock)
	verdicts := func(ctx context.Context) map[string]string {
		all, err := r.Inventory(ctx, true)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, disk := range all.GetDisks() {
			out[disk.GetName()] = disk.GetHealth().GetUnavailable()
		}
		return out
	}
	want := map[string]string{
		"nvme0n1": "get NVMe log page 02h: operation not permitted", "sda": "read ATA health: not the form of a SMART page: 0 bytes, expected 512",
		"sdb": "the disk refuses it with sense key 5h, code 24h, qualifier 00h", "sdc": "disks behind USB are not asked: their bridges differ in what they pass on",
	}
	for range 3 {
		if diff := cmp.Diff(want, verdicts(t.Context())); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if got := d.questions(); !slices.Equal(got, []string{"ata sda", "nvme nvme0n1"}) {
		t.Errorf("three calls asked %q", got)
	}
	if all := ask(t, r, true); all.GetDisks()[0].GetHealth() != nil {
		t.Error("a disk has health that nobody asked for")
	}
	mu.Lock()
	now = now.Add(time.Minute)
	mu.Unlock()
	d.hang = make(chan struct{})
	r.WaitForDisks(200 * time.Millisecond)
	for range 2 {
		start := time.Now()
		got := verdicts(t.Context())
		if took := time.Since(start); took > 20*time.Second || !strings.Contains(got["nvme0n1"], "has not answered within 200ms") {
			t.Errorf("a disk that hangs: %q after %v", got["nvme0n1"], took)
		}
	}
	close(d.hang)
	if got := d.questions(); !slices.Equal(got, []string{"ata sda", "ata sda", "nvme nvme0n1", "nvme nvme0n1"}) {
		t.Errorf("a disk that hangs was asked again: %q", got)
	}
}
