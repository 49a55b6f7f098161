package verity

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/go-dmverity/pkg/dm"
	"golang.org/x/sys/unix"
)

// ErrOther is for a device of a name that is open with another root hash.
var ErrOther = errors.New("a device of this name is open with another root hash")

// Existing returns the device of a name that an earlier process has opened; found is false where there is none. The error is ErrOther unless
// the kernel checks the device by the root hash.
func Existing(name string, rootHash [32]byte) (d Device, found bool, err error) {
	control, err := dm.Open()
	if err != nil {
		return Device{}, false, fmt.Errorf("look for device %s: %w", name, err)
	}
	defer control.Close()
	s, err := control.DeviceStatus(name)
	switch {
	case errors.Is(err, unix.ENXIO):
		return Device{}, false, nil
	case err != nil:
		return Device{}, false, fmt.Errorf("look for device %s: %w", name, err)
	case !s.ActivePresent:
		// It was made and cut off there: nothing uses it.
		return Device{}, false, control.RemoveDevice(name)
	}
	table, err := control.TableStatus(name, true)
	if err != nil {
		return Device{}, false, fmt.Errorf("read table of device %s: %w", name, err)
	}
	blocks, hash, err := parseTable(table)
	if err != nil {
		return Device{}, false, fmt.Errorf("read table of device %s: %w", name, err)
	}
	if hash != rootHash {
		return Device{}, false, fmt.Errorf("device %s: %w: %x", name, ErrOther, hash)
	}
	return Device{Path: fmt.Sprintf("/dev/dm-%d", s.Minor), SizeBytes: blocks * BlockBytes}, true, nil
}

// Close removes the device of a name, which nothing may use.
func Close(name string) error {
	control, err := dm.Open()
	if err != nil {
		return fmt.Errorf("remove device %s: %w", name, err)
	}
	defer control.Close()
	return control.RemoveDevice(name)
}

// parseTable reads the parameters of a verity target as the kernel gives them back (Documentation/admin-guide/device-mapper/verity.rst):
// version, data device, hash device, both block sizes, number of data blocks, start of the tree, algorithm, root hash, salt.
func parseTable(params string) (blocks uint64, rootHash [32]byte, err error) {
	f := strings.Fields(params)
	if len(f) < 10 || f[0] != "1" || f[7] != "sha256" {
		return 0, rootHash, fmt.Errorf("%.200q is not that of a verity device of version 1 with SHA-256", params)
	}
	if _, err := fmt.Sscan(f[5], &blocks); err != nil || blocks == 0 || blocks > 1<<40 {
		return 0, rootHash, fmt.Errorf("%.20q is no number of blocks", f[5])
	}
	hash, err := hex.DecodeString(f[8])
	if err != nil || len(hash) != len(rootHash) {
		return 0, rootHash, fmt.Errorf("%.80q is no root hash", f[8])
	}
	return blocks, [32]byte(hash), nil
}
