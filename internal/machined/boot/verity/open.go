package verity

import (
	"fmt"
	"io"
	"os"

	"github.com/containerd/go-dmverity/pkg/dm"
	"golang.org/x/sys/unix"
)

// sectorBytes is the unit of device-mapper tables, whatever the disk has.
const sectorBytes = 512

// Device is an open verity device.
type Device struct {
	Path      string // /dev/dm-N
	SizeBytes uint64
}

// Open makes a verified, read-only device named name of a data and a hash
// partition. It reads the superblock only; blocks are checked as they are read.
func Open(name, dataDevice, hashDevice string, rootHash [32]byte) (Device, error) {
	return open(name, dataDevice, hashDevice, rootHash, []string{"panic_on_corruption"})
}

// OpenData is Open for what is not the node's own code: a block that does not
// match its hash is an I/O error for whoever reads it, and the machine goes on.
func OpenData(name, dataDevice, hashDevice string, rootHash [32]byte) (Device, error) {
	return open(name, dataDevice, hashDevice, rootHash, nil)
}

func open(name, dataDevice, hashDevice string, rootHash [32]byte, flags []string) (Device, error) {
	s, err := readSuperblock(hashDevice)
	if err != nil {
		return Device{}, fmt.Errorf("open verity of %s: %s: %w", dataDevice, hashDevice, err)
	}
	t, err := target(dataDevice, hashDevice, rootHash, s, flags)
	if err != nil {
		return Device{}, fmt.Errorf("open verity of %s: %w", dataDevice, err)
	}
	d, err := activate(name, t, s)
	if err != nil {
		return Device{}, fmt.Errorf("open verity of %s: %w", dataDevice, err)
	}
	return d, nil
}

func readSuperblock(device string) (Superblock, error) {
	f, err := os.Open(device)
	if err != nil {
		return Superblock{}, err
	}
	defer f.Close()
	block := make([]byte, BlockBytes)
	if _, err := io.ReadFull(f, block); err != nil {
		return Superblock{}, fmt.Errorf("read verity superblock: %w", err)
	}
	return ParseSuperblock(block)
}

// target is the one line of the device's table.
func target(dataDevice, hashDevice string, rootHash [32]byte, s Superblock, flags []string) (dm.Target, error) {
	params, err := dm.BuildTargetParams(dm.OpenArgs{
		Version:        1,
		DataDevice:     dataDevice,
		HashDevice:     hashDevice,
		DataBlockSize:  BlockBytes,
		HashBlockSize:  BlockBytes,
		DataBlocks:     s.DataBlocks,
		HashName:       "sha256",
		RootDigest:     rootHash[:],
		Salt:           s.Salt,
		HashStartBytes: BlockBytes, // the tree follows the superblock
		Flags:          flags,
	})
	return dm.Target{Length: s.DataBlocks * (BlockBytes / sectorBytes), Type: "verity", Params: params}, err
}

func activate(name string, t dm.Target, s Superblock) (Device, error) {
	control, err := dm.Open()
	if err != nil {
		return Device{}, err
	}
	defer control.Close()
	number, err := control.CreateDevice(name)
	if err != nil {
		return Device{}, err
	}
	if err := control.LoadTable(name, []dm.Target{t}); err != nil {
		control.RemoveDevice(name)
		return Device{}, err
	}
	if err := control.SuspendDevice(name, false); err != nil {
		control.RemoveDevice(name)
		return Device{}, err
	}
	return Device{
		Path:      fmt.Sprintf("/dev/dm-%d", unix.Minor(number)),
		SizeBytes: s.DataBlocks * BlockBytes,
	}, nil
}
