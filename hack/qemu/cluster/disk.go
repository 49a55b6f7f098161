package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Files of a node's machine.
const (
	diskFile   = "disk.qcow2"
	cidataFile = "cidata.iso"
	// imageFile is what the image builder makes in its output folder.
	imageFile = "disk.qcow2"
)

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

func qemuImg(ctx context.Context, args ...string) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "qemu-img", args...)
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("make disk: qemu-img %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return nil
}
