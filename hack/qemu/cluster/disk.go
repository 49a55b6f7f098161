package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/cyvive/cyvive/hack/qemu/vm"
)

// Files of a node's machine.
const (
	diskFile   = "disk.qcow2"
	cidataFile = "cidata.iso"
	// imageFile is what the image builder makes in its output folder.
	imageFile = "disk.qcow2"
	// baseFile is the image that diskFile is an overlay on.
	baseFile = "image.qcow2"
	// rawFile is in place of diskFile where the image was a raw one.
	rawFile = "disk.raw"
)

// SystemSerial is the serial number of a node's disk, SpareSerial that of a second one, where a test gives it one.
const (
	SystemSerial = "system"
	SpareSerial  = "spare"
)

// EmptyDisk is a disk of zeros that a node has besides its own.
type EmptyDisk struct {
	// Serial is the disk's serial number, and by it what vm.PullDisk takes.
	Serial    string
	SizeBytes int64
	// Socket, in place of a size, is that of an NBD server in the machine's folder, which a test has for it.
	Socket string
}

func (d EmptyDisk) file() string { return "empty-" + d.Serial + ".qcow2" }

// emptyDisks are those of a machine, each in a slot.
func (c *Cluster) emptyDisks(dir string) []vm.Disk {
	var disks []vm.Disk
	for _, d := range c.options.Empty {
		disk := vm.Disk{Path: filepath.Join(dir, d.file()), Format: "qcow2", Serial: d.Serial, Slot: true}
		if d.Socket != "" {
			disk = vm.Disk{Socket: d.Socket, Format: "raw", Serial: d.Serial, Slot: true}
		}
		disks = append(disks, disk)
	}
	return disks
}

// image is the file that the nodes' disks begin as.
func (o Options) image() string {
	if o.Image != "" {
		return o.Image
	}
	return filepath.Join(o.ImageDir, imageFile)
}

// holdImage gives a disk image one more name, under which it stays what it is: the
// builder puts a new file in the place of an image, and an overlay whose base is
// another one than before is no disk any more. Where there can be no second name,
// as on another file system, it is copied.
func holdImage(ctx context.Context, image, path string) error {
	whole, err := filepath.EvalSymlinks(image)
	if err != nil {
		return fmt.Errorf("keep disk image: %w", err)
	}
	if os.Link(whole, path) == nil {
		return nil
	}
	return qemuImg(ctx, "convert", "-f", "qcow2", "-O", "qcow2", whole, path)
}

// CreateOverlay makes a qcow2 image at path that reads from base and takes the
// writes itself. Its size is
// sizeBytes, or the base's for 0.
func CreateOverlay(ctx context.Context, base, path string, sizeBytes int64) error {
	base, err := filepath.Abs(base)
	if err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	args := []string{"create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", path}
	if sizeBytes > 0 {
		args = append(args, strconv.FormatInt(sizeBytes, 10))
	}
	return qemuImg(ctx, args...)
}

// copyRaw copies a raw image, without its holes, and makes the copy as large as
// sizeBytes if that is more.
func copyRaw(ctx context.Context, from, path string, sizeBytes int64) error {
	if err := qemuImg(ctx, "convert", "-f", "raw", "-O", "raw", from, path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err == nil && info.Size() < sizeBytes {
		err = os.Truncate(path, sizeBytes)
	}
	if err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	return nil
}

// CreateEmpty makes a qcow2 image of zeros.
func CreateEmpty(ctx context.Context, path string, sizeBytes int64) error {
	return qemuImg(ctx, "create", "-q", "-f", "qcow2", path, strconv.FormatInt(sizeBytes, 10))
}

func qemuImg(ctx context.Context, args ...string) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "qemu-img", args...)
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("make disk: qemu-img %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return nil
}
