// Package wire is what the runner of VM tests and the program in the guest say
// to each other: a plan, which the guest finds as a file in its initramfs, and
// frames, which the guest sends through a virtio-serial port.
//
// A frame is one byte of kind, four bytes of length (big-endian), and the
// payload. The last frame of a run has kind Exit.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Names in the guest.
const (
	// PlanPath is where the guest finds its plan.
	PlanPath = "/vmtest.json"
	// TestPath is the test binary.
	TestPath = "/test"
	// PortName is the virtio-serial port for frames.
	PortName = "cyvive.vmtest"
	// ImageSerial is the serial number of the disk with the node's root image.
	ImageSerial = "image"
	// ScratchSerial, with a number behind, is that of an empty disk.
	ScratchSerial = "scratch"
)

// Plan says what the guest is to do.
type Plan struct {
	// Modules are the kernel modules to load, in this order; paths in the
	// initramfs.
	Modules []string `json:"modules"`
	// Image tells that a disk with the node's root image is attached, to be
	// mounted on /image, with its /usr in place.
	Image bool `json:"image"`
	// Scratch is the number of empty disks.
	Scratch int `json:"scratch"`
	// Args are the test binary's arguments, without its name.
	Args []string `json:"args"`
	// Env holds name=value pairs.
	Env []string `json:"env"`
	// Dir is the working folder; it exists in the initramfs.
	Dir string `json:"dir"`
}

// Kind tells frames apart.
type Kind byte

// Kinds of frame. Stdout and Stderr carry bytes as they came, Exit a Result as
// JSON.
const (
	Stdout Kind = 1
	Stderr Kind = 2
	Exit   Kind = 3
)

// Result is how the run ended.
type Result struct {
	// Code is the test binary's exit status, or -1 when it did not exit.
	Code int `json:"code"`
	// Reason is set where Code is -1: a signal, or what kept the guest from
	// running it.
	Reason string `json:"reason,omitempty"`
}

// MaxPayloadBytes bounds a frame.
const MaxPayloadBytes = 1 << 20

const headerBytes = 5

// ErrFrame says that bytes are no frame.
var ErrFrame = errors.New("malformed frame")

// Append adds a frame to buf. The payload must not exceed MaxPayloadBytes.
func Append(buf []byte, kind Kind, payload []byte) []byte {
	buf = append(buf, byte(kind))
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(payload)))
	return append(buf, payload...)
}

// Read reads one frame. The error is io.EOF where the stream ends between
// frames, io.ErrUnexpectedEOF where it ends inside one.
func Read(r io.Reader) (Kind, []byte, error) {
	var header [headerBytes]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	kind, length := Kind(header[0]), binary.BigEndian.Uint32(header[1:])
	if kind < Stdout || kind > Exit || length > MaxPayloadBytes {
		return 0, nil, fmt.Errorf("read frame of kind %d, %d bytes: %w", kind, length, ErrFrame)
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(r, payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return kind, payload, nil
}

// ParseResult reads the payload of an Exit frame.
func ParseResult(payload []byte) (Result, error) {
	var result Result
	if err := json.Unmarshal(payload, &result); err != nil {
		return Result{}, fmt.Errorf("read result: %w", err)
	}
	return result, nil
}
