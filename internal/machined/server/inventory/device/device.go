package device

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cyvive/cyvive/internal/machined/server/inventory"
	"github.com/cyvive/cyvive/internal/machined/server/inventory/smart"
)

// commandTimeout is how long the kernel waits for a disk.
const commandTimeout = 4 * time.Second

// Devices are those of the running machine. It implements [inventory.Devices] and
// is safe for concurrent use.
type Devices struct {
	// Dir is /dev.
	Dir string
}

var _ inventory.Devices = Devices{}

// open opens a device for questions. Nothing is read from it: O_NONBLOCK keeps a
// drive without a medium from holding the call up.
func (d Devices) open(name string) (*os.File, error) {
	fd, err := unix.Open(filepath.Join(d.Dir, filepath.Base(name)), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// NVMeHealth implements inventory.Devices.
func (d Devices) NVMeHealth(disk string) ([]byte, error) {
	f, err := d.open(disk)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const getLogPage, healthPage, allNamespaces = 0x02, 0x02, 0xffffffff
	page := make([]byte, smart.NVMePageBytes)
	// Dword 10: the number of dwords less one, and the page (NVM Express Base
	// Specification 2.0, 5.16).
	dword10 := uint32(len(page)/4-1)<<16 | healthPage
	if err := nvmeAdmin(f, nvmeCommand{opcode: getLogPage, namespace: allNamespaces, dword10: dword10}, page); err != nil {
		return nil, fmt.Errorf("get NVMe log page 02h: %w", err)
	}
	return page, nil
}

// SMART's commands of ATA (ACS-3, 7.48), by their value in the feature register.
const (
	readData       = 0xd0
	readThresholds = 0xd1
	returnStatus   = 0xda
)

// ATAHealth implements inventory.Devices.
func (d Devices) ATAHealth(disk string) (smart.ATAPages, error) {
	f, err := d.open(disk)
	if err != nil {
		return smart.ATAPages{}, err
	}
	defer f.Close()
	pages := smart.ATAPages{Data: make([]byte, smart.ATAPageBytes), Thresholds: make([]byte, smart.ATAPageBytes)}
	if _, err := scsi(f, smartCommand(readData, true), pages.Data); err != nil {
		return smart.ATAPages{}, fmt.Errorf("read SMART data: %w", err)
	}
	// The two others are missing on some disks.
	if _, err := scsi(f, smartCommand(readThresholds, true), pages.Thresholds); err != nil {
		pages.Thresholds = nil
	}
	// The disk's registers come as sense data, whether or not that is an error.
	var failed *senseError
	if _, err := scsi(f, smartCommand(returnStatus, false), nil); errors.As(err, &failed) {
		pages.Sense = failed.sense
	}
	return pages, nil
}

// smartCommand is ATA PASS-THROUGH (16) with a command of SMART (SAT-4, 12.2.2).
func smartCommand(feature byte, data bool) []byte {
	const passThrough16, smart, pioIn, nonData = 0x85, 0xb0, 4 << 1, 3 << 1
	const oneBlockIn, checkCondition = 0x0e, 0x20 // T_DIR, BYT_BLOK and length in the sector count; CK_COND
	command := []byte{passThrough16, nonData, checkCondition, 0, feature, 0, 0, 0, 0, 0, 0x4f, 0, 0xc2, 0, smart, 0}
	if data {
		command[1], command[2], command[6] = pioIn, oneBlockIn, 1
	}
	return command
}

// scsiPageBytes is room for every log page that is asked for.
const scsiPageBytes = 4096

// SCSILog implements inventory.Devices.
func (d Devices) SCSILog(disk string, page byte) ([]byte, error) {
	f, err := d.open(disk)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const logSense, cumulative = 0x4d, 1 << 6
	data := make([]byte, scsiPageBytes)
	n, err := scsi(f, []byte{logSense, 0, cumulative | page, 0, 0, 0, 0, scsiPageBytes >> 8, scsiPageBytes & 0xff, 0}, data)
	if err != nil {
		return nil, fmt.Errorf("get SCSI log page %02xh: %w", page, err)
	}
	return data[:n], nil
}

// NICFirmware implements inventory.Devices.
func (d Devices) NICFirmware(name string) (string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(fd)
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, name)
	if err != nil {
		return "", fmt.Errorf("get driver information of %s: %w", name, err)
	}
	return unix.ByteSliceToString(info.Fw_version[:]), nil
}

// maxTPMBytes is the largest answer of a TPM (MAX_RESPONSE_SIZE of the PC Client
// profile).
const maxTPMBytes = 4096

// TPMProperties implements inventory.Devices, through the kernel's resource manager.
func (d Devices) TPMProperties(command []byte) ([]byte, error) {
	f, err := os.OpenFile(filepath.Join(d.Dir, "tpmrm0"), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Write(command); err != nil {
		return nil, fmt.Errorf("ask the TPM: %w", err)
	}
	answer := make([]byte, maxTPMBytes)
	n, err := f.Read(answer)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("ask the TPM: %w", err)
	}
	return answer[:n], nil
}
