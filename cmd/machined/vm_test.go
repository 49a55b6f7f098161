package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/mdlayher/vsock"
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
	usual := slices.DeleteFunc(espOptions(), func(o string) bool { return strings.HasPrefix(o, "errors=") })
	for name, c := range map[string]struct {
		options []string
		want    error
	}{"the node's": {espOptions(), nil}, "the kernel's": {usual, unix.EROFS}} {
		t.Run(name, func(t *testing.T) {
			cutBootPartition(t, device, usual)
			l := bootPartition(t, device, c.options)
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

// bootPartition is one on a device, mounted with options.
func bootPartition(t *testing.T, device string, options []string) *loader.Loader {
	t.Helper()
	dir := t.TempDir()
	var mounts mount.Mounts
	return loader.New(func() (loader.Volume, error) {
		if err := mounts.Mount(device, dir, "vfat", options); err != nil {
			return loader.Volume{}, err
		}
		return loader.Volume{Dir: dir, FreeBytes: 1 << 20, Close: func() error { return mounts.Unmount(dir) }}, nil
	})
}

// cutBootPartition makes a boot partition with a release in slot b, and then has the tables of FAT be as they were before that.
func cutBootPartition(t *testing.T, device string, options []string) {
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
	write := func(data []byte, at int64) {
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
	write(data, 0)
	if err := bootPartition(t, device, options).Put("b", "1", 2, strings.NewReader("kernel 1")); err != nil {
		t.Fatal(err)
	}
	// Microsoft's FAT specification 1.03: BPB_RsvdSecCnt, BPB_NumFATs and BPB_FATSz32.
	const sector = 512
	first := int(binary.LittleEndian.Uint16(data[14:])) * sector
	bytes := int(data[16]) * int(binary.LittleEndian.Uint32(data[36:])) * sector
	write(data[first:first+bytes], int64(first))
}
