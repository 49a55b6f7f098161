package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/vsock"
	"github.com/siderolabs/go-blockdevice/v2/block"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/internal/machined/boot/kmod"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/storage/loader"
	"github.com/cyvive/cyvive/internal/storage/mount"
)

// requireVM skips a test, for a reason, that does not run in a virtual machine of the test runner; where one was promised that is a failure.
func requireVM(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CYVIVE_VM") == "1" {
		return
	}
	if os.Getenv("REQUIRE_VM") == "1" {
		t.Fatal("REQUIRE_VM=1, but this is no virtual machine of the test runner")
	}
	t.Skip("needs the VM test runner: " + reason)
}

// TestVMVsock calls the API over vsock, from the machine to itself: with the same
// certificates, and the same refusals.
func TestVMVsock(t *testing.T) {
	requireVM(t, "vsock needs modules of the node's kernel")
	modules, err := kmod.Open("/usr/lib/modules")
	if err != nil {
		t.Fatal(err)
	}
	if err := modules.Load("vsock_loopback"); err != nil {
		t.Fatal(err)
	}
	listener, err := listenVsock()
	if err != nil {
		t.Fatal(err)
	}
	authority := servertest.Authority(t, "ours")
	servertest.StartOn(t, listener, &servertest.Node{}, authority, nil)
	pair, err := authority.Issue(pki.Request{CommonName: "alice", Organizations: []string{"node:reader"}, Client: true, Lifetime: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		certificates []tls.Certificate
		want         codes.Code
	}{"reader": {[]tls.Certificate{certificate}, codes.OK}, "nobody": {nil, codes.Unauthenticated}} {
		conn, err := grpc.NewClient("passthrough:///vsock",
			grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: authority.Pool(), ServerName: "localhost", Certificates: c.certificates})),
			grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return vsock.Dial(vsock.Local, server.Port, nil) }))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = machinev1.NewMachineServiceClient(conn).GetNode(t.Context(), &machinev1.GetNodeRequest{})
		if status.Code(err) != c.want {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// TestVMKernelClock sets and slews the clock of a virtual machine, never that of the machine that runs the tests.
func TestVMKernelClock(t *testing.T) {
	requireVM(t, "it sets the clock")
	if (kernelClock{}).Kept() {
		t.Error("the clock counts as kept before anybody did so")
	}
	began, before := time.Now(), time.Now().Round(0)
	for _, offset := range []time.Duration{90*time.Minute + 250*time.Millisecond, -2 * time.Hour} {
		if err := (kernelClock{}).Step(offset); err != nil {
			t.Fatal(err)
		}
		before = before.Add(offset)
		if off := time.Now().Round(0).Sub(before.Add(time.Since(began))); off.Abs() > time.Second {
			t.Errorf("after a step by %s the clock is off by %s", offset, off)
		}
	}
	if err := (kernelClock{}).Slew(20*time.Millisecond, time.Millisecond, 64*time.Second); err != nil {
		t.Fatal(err)
	}
	var now unix.Timex
	if _, err := unix.Adjtimex(&now); err != nil || now.Status&unix.STA_UNSYNC != 0 || now.Status&unix.STA_PLL == 0 || now.Constant != 2 || !(kernelClock{}).Kept() {
		t.Errorf("the kernel's loop: status %#x, constant %d, kept %t, %v", now.Status, now.Constant, kernelClock{}.Kept(), err)
	}
}

// TestVMBootPartitionAfterCut: of what was put on a boot partition the names got to the disk before a power cut, and that their clusters are taken did not. The next
// release is put there all the same, with the options of the node; with the kernel's own it is not.
func TestVMBootPartitionAfterCut(t *testing.T) {
	requireVM(t, "it mounts a disk with modules of the node's kernel")
	device := emptyDisk(t)
	usual := slices.DeleteFunc(espOptions(), func(o string) bool { return strings.HasPrefix(o, "errors=") })
	for name, c := range map[string]struct {
		options []string
		want    error
	}{"the node's": {espOptions(), nil}, "the kernel's": {usual, unix.EROFS}} {
		t.Run(name, func(t *testing.T) {
			cutBootPartition(t, device, usual)
			l := bootPartition(t, device, c.options, nil)
			if err := l.Put("b", "2", 2, strings.NewReader("kernel 2")); !errors.Is(err, c.want) {
				t.Fatalf("put: %v, want %v", err, c.want)
			}
			if c.want != nil {
				return
			}
			s, err := l.Read()
			if e, ok := s.Entry("b"); err != nil || !ok || e.Version != "2" || e.Left != 2 {
				t.Errorf("the entries are %+v, %v", s.Entries, err)
			}
			err = l.ReadKernel("b", func(kernel *io.SectionReader) error {
				data, err := io.ReadAll(kernel)
				if string(data) != "kernel 2" {
					t.Errorf("the kernel image is %q", data)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestVMBootEntryOnDisk changes boot entries, and at the end of each change, before anything else has the kernel write, looks at what is on the disk: a file without
// a counter that leads to nothing, beside one with a counter that is gone, would have a power cut take a blessed release back.
func TestVMBootEntryOnDisk(t *testing.T) {
	requireVM(t, "it mounts a disk with modules of the node's kernel")
	disk := emptyDisk(t)
	data := emptyBootPartition(t)
	writeAt(t, disk, data, partitionAt)
	device := addPartition(t, disk, partitionAt, int64(len(data)))
	var onDisk map[string]string
	l := bootPartition(t, device, espOptions(), func() (err error) {
		onDisk, err = filesOnDisk(t.TempDir(), disk, partitionAt, int64(len(data)))
		return err
	})
	const kernel = "/EFI/cyvive/b.efi"
	for _, step := range []struct {
		what string
		do   func() error
		left int
	}{
		{"put", func() error { return l.Put("b", "2", 2, strings.NewReader("kernel 2")) }, 2},
		{"spoil", func() error { return l.Spoil("b") }, 0},
		{"bless", func() error { return l.Bless("b") }, loader.Unlimited},
	} {
		onDisk = nil
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		e := loader.Entry{Slot: "b", Generation: 1, Version: "2", Left: step.left}
		if d := cmp.Diff(map[string]string{"/" + e.Path(): e.Text(), kernel: "kernel 2"}, onDisk); d != "" {
			t.Errorf("%s: what is on the disk at its end (-want +got):\n%s", step.what, d)
		}
	}
}

// partitionAt is where a partition begins, in bytes.
const partitionAt = 1 << 20

// emptyDisk is a disk of the virtual machine that a test may write to, of which the kernel knows no partition. What a FAT file system on it needs of the kernel is
// loaded.
func emptyDisk(t *testing.T) string {
	t.Helper()
	device, _, _ := strings.Cut(os.Getenv("CYVIVE_VM_DISKS"), ":")
	if device == "" {
		t.Fatal("the virtual machine has no empty disk")
	}
	modules, err := kmod.Open("/usr/lib/modules")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"vfat", "nls_cp437", "nls_ascii"} {
		if err := modules.Load(name); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The table of a test before is gone, and the kernel still has what was in it.
	if err := errors.Join(unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0), f.Close()); err != nil {
		t.Fatalf("have the kernel read the partitions of %s: %v", device, err)
	}
	return device
}

// addPartition has the kernel know a partition of a disk that has no table. A partition and its disk have each their own page cache: what is read of the disk is not
// what is about to be written to the partition.
func addPartition(t *testing.T, disk string, at, size int64) (device string) {
	t.Helper()
	d, err := block.NewFromPath(disk, block.OpenForWrite())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.KernelPartitionAdd(1, uint64(at), uint64(size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d, err := block.NewFromPath(disk, block.OpenForWrite())
		if err == nil {
			err = errors.Join(d.KernelPartitionDelete(1), d.Close())
		}
		if err != nil {
			t.Errorf("remove the partition: %v", err)
		}
	})
	return disk + "1"
}

// filesOnDisk are the contents of the files of a FAT file system, as the disk has them. Dir is for a copy.
func filesOnDisk(dir, disk string, at, size int64) (map[string]string, error) {
	f, err := os.OpenFile(disk, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// O_DIRECT takes memory that is aligned to the disk's blocks (open(2)).
	data, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	defer unix.Munmap(data)
	if _, err := f.ReadAt(data, at); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "fat")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return nil, err
	}
	image, err := file.OpenFromPath(path, true)
	if err != nil {
		return nil, err
	}
	defer image.Close()
	volume, err := fat32.Read(image, size, 0, 512)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	return files, fs.WalkDir(volume, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := fs.ReadFile(volume, path)
		if err != nil {
			return fmt.Errorf("read /%s as it is on the disk: %w", path, err)
		}
		files["/"+path] = string(data)
		return nil
	})
}

// bootPartition is one on a device, mounted with options. Done, if there is one, is called when a change of it is at its end and it is mounted still.
func bootPartition(t *testing.T, device string, options []string, done func() error) *loader.Loader {
	t.Helper()
	dir := t.TempDir()
	var mounts mount.Mounts
	return loader.New(func() (loader.Volume, error) {
		if err := mounts.Mount(device, dir, "vfat", options); err != nil {
			return loader.Volume{}, err
		}
		unmount := func() error { return mounts.Unmount(dir) }
		if done == nil {
			return loader.Volume{Dir: dir, FreeBytes: 1 << 20, Close: unmount}, nil
		}
		return loader.Volume{Dir: dir, FreeBytes: 1 << 20, Close: func() error { return errors.Join(done(), unmount()) }}, nil
	})
}

// emptyBootPartition is a boot partition with the directories that a node has there.
func emptyBootPartition(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fat")
	const size = 48 << 20
	image, err := file.CreateFromPath(path, size)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	volume, err := fat32.Create(image, size, 0, 512, "ESP", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/EFI/cyvive", "/loader/entries"} {
		if err := volume.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// writeAt puts data on a device.
func writeAt(t *testing.T, device string, data []byte, at int64) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = f.WriteAt(data, at)
	if err := errors.Join(err, f.Sync()); err != nil {
		t.Fatal(err)
	}
}

// cutBootPartition makes a boot partition with a release in slot b, and then has the tables of FAT be as they were before that.
func cutBootPartition(t *testing.T, device string, options []string) {
	t.Helper()
	data := emptyBootPartition(t)
	writeAt(t, device, data, 0)
	if err := bootPartition(t, device, options, nil).Put("b", "1", 2, strings.NewReader("kernel 1")); err != nil {
		t.Fatal(err)
	}
	// Microsoft's FAT specification 1.03: BPB_RsvdSecCnt, BPB_NumFATs and BPB_FATSz32.
	const sector = 512
	first := int(binary.LittleEndian.Uint16(data[14:])) * sector
	bytes := int(data[16]) * int(binary.LittleEndian.Uint32(data[36:])) * sector
	writeAt(t, device, data[first:first+bytes], int64(first))
}
