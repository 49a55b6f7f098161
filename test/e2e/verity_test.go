package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/hack/qemu/cluster"
	"github.com/cyvive/cyvive/hack/qemu/vm"
)

// stopped is what the console says when a boot ends, for whatever reason.
var stopped = regexp.MustCompile(`Kernel panic - not syncing`)

// TestFlippedBit boots copies of the disk in which one bit is wrong. Nothing of
// the root may run.
func TestFlippedBit(t *testing.T) {
	besideOthers(t)
	e := requireImage(t)
	for _, c := range []struct {
		partition string
		// offset in the partition: the superblock of the file system
		// (fs/erofs/erofs_fs.h), and the top block of the hash tree, which
		// follows the superblock of dm-verity (Documentation/admin-guide/
		// device-mapper/verity.rst).
		offset int64
		want   string
	}{
		{"root-a", 1024 + 40, `verity: .*data block .*is corrupted`},
		{"verity-a", 4096 + 40, `verity: .*(metadata|data) block .*is corrupted`},
	} {
		t.Run(c.partition, func(t *testing.T) {
			besideOthers(t)
			ctx := testContext(t, 5*time.Minute)
			dir := e.workDir(t)
			overlay := filepath.Join(dir, "disk.qcow2")
			if err := cluster.CreateOverlay(ctx, e.out("disk.qcow2"), overlay, 0); err != nil {
				t.Fatal(err)
			}
			flipBit(t, ctx, e.out("disk.raw"), overlay, c.partition, c.offset)
			config := e.bare(t, dir)
			config.Disks = []vm.Disk{{Path: overlay, Format: "qcow2"}}
			expectStop(t, ctx, config, c.want)
		})
	}
}

// TestWrongRootHash boots the true disk with another root hash on the kernel's
// command line: stage 1 must find no partitions for it, and say so.
func TestWrongRootHash(t *testing.T) {
	besideOthers(t)
	e := requireImage(t)
	ctx := testContext(t, 5*time.Minute)
	dir := e.workDir(t)
	cmdline, err := os.ReadFile(e.out("cmdline"))
	if err != nil {
		t.Fatal(err)
	}
	hash := regexp.MustCompile(`roothash=([0-9a-f]{64})`).FindSubmatch(cmdline)
	if hash == nil {
		t.Fatalf("command line %q has no root hash", cmdline)
	}
	wrong := bytes.Clone(hash[1])
	wrong[0] = "0123456789abcdef"[strings.IndexByte("123456789abcdef0", wrong[0])]
	config := e.bare(t, dir)
	config.Kernel, config.Initrd = e.out("vmlinuz"), e.out("initramfs.zst")
	config.Append = strings.TrimSpace(string(bytes.ReplaceAll(cmdline, hash[1], wrong)))
	config.Disks = []vm.Disk{{Path: e.out("disk.qcow2"), Format: "qcow2", Snapshot: true}}
	expectStop(t, ctx, config, `no disk has partitions`)
}

// bare is a machine without network and configuration.
func (e env) bare(t *testing.T, dir string) vm.Config {
	t.Helper()
	firmware, err := vm.FindFirmware(e.arch)
	if err != nil {
		t.Fatal(err)
	}
	return vm.Config{
		Name: "e2e-" + filepath.Base(dir), Dir: dir, Arch: e.arch, Accel: vm.DetectAccel(),
		// One processor, for the reason given at hack/qemu's --cpus.
		CPUs: 1, MemoryBytes: 1 << 30,
		FirmwareCode: firmware.Code, FirmwareVars: firmware.Vars,
		Network: []string{"-nic", "none"}, NoReboot: true,
	}
}

// expectStop boots a machine and wants it to say why it stops, then to stop,
// and never to start init.
func expectStop(t *testing.T, ctx context.Context, config vm.Config, reason string) {
	t.Helper()
	m, err := vm.Start(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.PowerCut(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	line, err := m.Console().WaitLine(ctx, regexp.MustCompile(reason))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the console says: %s", line)
	if _, err := m.Console().WaitLine(ctx, stopped); err != nil {
		t.Fatal(err)
	}
	console, err := os.ReadFile(m.Console().Path())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(console, []byte("machined")) {
		t.Error("machined ran from a root that is not what was built")
	}
}

// flipBit changes one bit of a partition in an overlay whose base has the same
// content as raw.
func flipBit(t *testing.T, ctx context.Context, raw, overlay, partition string, offset int64) {
	t.Helper()
	at, err := partitionStart(raw, partition)
	if err != nil {
		t.Fatal(err)
	}
	const sectorBytes = 512
	at += offset
	start := at - at%sectorBytes
	file, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sector := make([]byte, sectorBytes)
	if _, err := file.ReadAt(sector, start); err != nil {
		t.Fatal(err)
	}
	sector[at-start] ^= 1
	changed := filepath.Join(t.TempDir(), "sector")
	if err := os.WriteFile(changed, sector, 0o600); err != nil {
		t.Fatal(err)
	}
	command := fmt.Sprintf("write -s %s %d %d", changed, start, sectorBytes)
	out, err := exec.CommandContext(ctx, "qemu-io", "-f", "qcow2", "-c", command, overlay).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-io: %v: %s", err, out)
	}
}
