package smart

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
)

// The log pages of SCSI that are read (SPC-4, 7.3, and SBC-3, 6.4). Only the page of
// informational exceptions is needed.
const (
	SCSIWriteErrors    = 0x02
	SCSIReadErrors     = 0x03
	SCSITemperature    = 0x0d
	SCSISolidState     = 0x11
	SCSIBackgroundScan = 0x15
	SCSIExceptions     = 0x2f
)

// SCSIPages are all of them, the needed one first.
func SCSIPages() []byte {
	return []byte{SCSIExceptions, SCSITemperature, SCSIWriteErrors, SCSIReadErrors, SCSISolidState, SCSIBackgroundScan}
}

// Additional sense codes of page 2Fh: a limit is passed; a failure is predicted.
const (
	senseWarning           = 0x0b
	senseFailurePrediction = 0x5d
)

var errSCSIPage = errors.New("read SCSI health: not the form of a log page")

// SCSI reads log pages, by their number. One that is missing or spoilt is left out,
// save that of informational exceptions.
func SCSI(pages map[byte][]byte) (*inventoryv1.DiskHealth, error) {
	exceptions, err := parameters(SCSIExceptions, pages[SCSIExceptions])
	if err != nil {
		return nil, err
	}
	first := exceptions[0]
	if len(first) < 2 {
		return nil, fmt.Errorf("%w: it tells of no exceptions", errSCSIPage)
	}
	h := &inventoryv1.DiskHealth{Verdict: inventoryv1.DiskVerdict_DISK_VERDICT_GOOD}
	switch first[0] {
	case senseFailurePrediction:
		warn(h, fmt.Sprintf("the disk predicts its own failure (code %02xh)", first[1]), true)
	case senseWarning:
		warn(h, fmt.Sprintf("a limit of the disk is passed (code %02xh)", first[1]), false)
	}
	if len(first) >= 3 {
		h.TemperatureCelsius = celsius(first[2])
	}
	fill(h, func(page byte, parameter uint16) []byte {
		found, err := parameters(page, pages[page])
		if err != nil {
			return nil
		}
		return found[parameter]
	})
	return h, nil
}

// fill sets what the other pages tell.
func fill(h *inventoryv1.DiskHealth, at func(page byte, parameter uint16) []byte) {
	if t := at(SCSITemperature, 0); len(t) >= 2 {
		h.TemperatureCelsius = celsius(t[1])
	}
	if used := at(SCSISolidState, 1); len(used) >= 4 {
		h.UsedPercent = proto.Uint32(uint32(used[3]))
		if used[3] >= 100 {
			warn(h, fmt.Sprintf("%d%% of its life are used by the maker's reckoning", used[3]), false)
		}
	}
	if minutes := at(SCSIBackgroundScan, 0); len(minutes) >= 4 {
		h.PowerOn = lasting(uint64(binary.BigEndian.Uint32(minutes)), time.Minute)
	}
	const bytesProcessed, uncorrected = 5, 6
	h.ReadBytes, h.WrittenBytes = number(at(SCSIReadErrors, bytesProcessed)), number(at(SCSIWriteErrors, bytesProcessed))
	var total *uint64
	for _, n := range []*uint64{number(at(SCSIReadErrors, uncorrected)), number(at(SCSIWriteErrors, uncorrected))} {
		total = sum(total, n)
	}
	h.MediaErrors = total
	if total != nil && *total > 0 {
		warn(h, fmt.Sprintf("%d errors that it could not correct", *total), false)
	}
}

// sum adds two counters, of which either may be missing.
func sum(a, b *uint64) *uint64 {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return proto.Uint64(*a + min(*b, math.MaxUint64-*a))
}

// celsius reads a temperature; FFh is none, and so is 0 for disks that have none.
func celsius(b byte) *int32 {
	if b == 0 || b == 0xff {
		return nil
	}
	return proto.Int32(int32(b))
}

// number reads a counter of any length, most significant byte first; nil is none.
func number(data []byte) *uint64 {
	if len(data) == 0 {
		return nil
	}
	var n uint64
	for _, b := range data {
		if n >= 1<<56 {
			return proto.Uint64(math.MaxUint64)
		}
		n = n<<8 | uint64(b)
	}
	return proto.Uint64(n)
}

// parameters reads the parameters of a log page (SPC-4, 7.3.2). One that is cut off
// ends it.
func parameters(want byte, page []byte) (map[uint16][]byte, error) {
	const headerBytes = 4
	if len(page) < headerBytes || page[0]&0x3f != want {
		return nil, errSCSIPage
	}
	rest := page[headerBytes:]
	rest = rest[:min(len(rest), int(binary.BigEndian.Uint16(page[2:])))]
	out := map[uint16][]byte{}
	for len(rest) >= headerBytes {
		code, length := binary.BigEndian.Uint16(rest), int(rest[3])
		if length > len(rest)-headerBytes {
			break
		}
		out[code] = rest[headerBytes : headerBytes+length]
		rest = rest[headerBytes+length:]
	}
	return out, nil
}
