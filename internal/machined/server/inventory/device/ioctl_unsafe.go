package device

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nvmeCommand is what differs between admin commands.
type nvmeCommand struct {
	opcode             uint8
	namespace, dword10 uint32
}

// nvmeAdminCommand is struct nvme_passthru_cmd of include/uapi/linux/nvme_ioctl.h.
type nvmeAdminCommand struct {
	opcode, flags           uint8
	_                       uint16
	namespace               uint32
	_, _                    uint32
	metadata, data          uint64
	metadataBytes, dataSize uint32
	dwords                  [6]uint32 // 10 to 15
	timeoutMillis, result   uint32
}

// nvmeAdminIoctl is NVME_IOCTL_ADMIN_CMD: _IOWR('N', 0x41, struct nvme_admin_cmd).
const nvmeAdminIoctl = 3<<30 | uintptr(unsafe.Sizeof(nvmeAdminCommand{}))<<16 | 'N'<<8 | 0x41

// nvmeAdmin sends an admin command that reads into data.
func nvmeAdmin(f *os.File, c nvmeCommand, data []byte) error {
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&data[0])
	command := &nvmeAdminCommand{
		opcode: c.opcode, namespace: c.namespace, data: uint64(uintptr(unsafe.Pointer(&data[0]))), dataSize: uint32(len(data)),
		dwords: [6]uint32{c.dword10}, timeoutMillis: uint32(commandTimeout.Milliseconds()),
	}
	status, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), nvmeAdminIoctl, uintptr(unsafe.Pointer(command)))
	runtime.KeepAlive(data)
	if errno != 0 {
		return errno
	}
	if status != 0 {
		return fmt.Errorf("the disk refuses it with status %03xh", status)
	}
	return nil
}

// sgHeader is struct sg_io_hdr of include/scsi/sg.h, on machines of 64 bits.
type sgHeader struct {
	interfaceID, direction    int32
	commandBytes, maxSense    uint8
	vectors                   uint16
	dataBytes                 uint32
	data, command, sense      unsafe.Pointer
	timeoutMillis, flags      uint32
	packet                    int32
	user                      uintptr
	status, maskedStatus      uint8
	messageStatus, senseBytes uint8
	hostStatus, driverStatus  uint16
	residual                  int32
	durationMillis, info      uint32
}

const (
	sgIoctl         = 0x2285 // SG_IO
	sgInterface     = 'S'
	sgNone, sgFrom  = -1, -3 // SG_DXFER_NONE, SG_DXFER_FROM_DEV
	maxSenseBytes   = 64
	checkCondition  = 0x02 // SAM STATUS
	driverSenseMask = 0x08 // DRIVER_SENSE
)

// senseError is a command that the disk has answered with sense data.
type senseError struct{ sense []byte }

// Error implements error.
func (e *senseError) Error() string {
	var key, code, qualifier byte
	switch {
	case len(e.sense) >= 4 && e.sense[0]&0x7e == 0x72:
		key, code, qualifier = e.sense[1]&0x0f, e.sense[2], e.sense[3]
	case len(e.sense) >= 14:
		key, code, qualifier = e.sense[2]&0x0f, e.sense[12], e.sense[13]
	}
	return fmt.Sprintf("the disk refuses it with sense key %xh, code %02xh, qualifier %02xh", key, code, qualifier)
}

var errTransport = errors.New("the command did not reach the disk")

// scsi sends a command that reads into data, or one without data, and returns how
// much was read. Sense data is a *senseError.
func scsi(f *os.File, command, data []byte) (int, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	sense := make([]byte, maxSenseBytes)
	h := &sgHeader{
		interfaceID: sgInterface, direction: sgNone, commandBytes: uint8(len(command)), maxSense: maxSenseBytes, dataBytes: uint32(len(data)),
		command: unsafe.Pointer(&command[0]), sense: unsafe.Pointer(&sense[0]), timeoutMillis: uint32(commandTimeout.Milliseconds()),
	}
	pin.Pin(&command[0])
	pin.Pin(&sense[0])
	if len(data) > 0 {
		h.direction, h.data = sgFrom, unsafe.Pointer(&data[0])
		pin.Pin(&data[0])
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), sgIoctl, uintptr(unsafe.Pointer(h))); errno != 0 {
		return 0, errno
	}
	switch {
	case h.senseBytes > 0 && (h.status == checkCondition || h.driverStatus&driverSenseMask != 0):
		return 0, &senseError{sense[:min(int(h.senseBytes), len(sense))]}
	case h.hostStatus != 0 || h.driverStatus&^driverSenseMask != 0:
		return 0, fmt.Errorf("%w (host %xh, driver %xh)", errTransport, h.hostStatus, h.driverStatus)
	case h.status != 0:
		return 0, fmt.Errorf("the disk refuses it with status %02xh", h.status)
	}
	return len(data) - min(max(int(h.residual), 0), len(data)), nil
}
