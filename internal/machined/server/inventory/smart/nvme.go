package smart

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
)

// NVMePageBytes is the length of the SMART / Health Information log page, 02h.
const NVMePageBytes = 512

// kelvin is 0 °C, as NVMe rounds it.
const kelvin = 273

// dataUnitBytes is what NVMe counts reads and writes in: a thousand times 512.
const dataUnitBytes = 512_000

// nvmeWarnings are the bits of the field Critical Warning (NVM Express Base
// Specification 2.0, figure 207), and whether the disk is failing by it.
var nvmeWarnings = []struct {
	text    string
	failing bool
}{
	{"the spare blocks are fewer than the disk's own limit", true},
	{"the temperature is beyond the disk's own limits", false},
	{"the reliability is degraded by errors", true},
	{"the disk takes no writes any more", true},
	{"the memory that survives a power cut has failed", true},
	{"the persistent memory region is unreliable", true},
}

// NVMe reads log page 02h.
func NVMe(page []byte) (*inventoryv1.DiskHealth, error) {
	if len(page) < NVMePageBytes {
		return nil, fmt.Errorf("read NVMe health: %d bytes, expected %d", len(page), NVMePageBytes)
	}
	count := func(at int) uint64 { return saturated(page[at : at+16]) }
	used := uint32(page[5])
	h := &inventoryv1.DiskHealth{
		Verdict:         inventoryv1.DiskVerdict_DISK_VERDICT_GOOD,
		PowerCycles:     proto.Uint64(count(112)),
		PowerOn:         hours(count(128)),
		UnsafeShutdowns: proto.Uint64(count(144)),
		MediaErrors:     proto.Uint64(count(160)),
		UsedPercent:     proto.Uint32(used),
		SparePercent:    proto.Uint32(uint32(page[3])),
		ReadBytes:       proto.Uint64(times(count(32), dataUnitBytes)),
		WrittenBytes:    proto.Uint64(times(count(48), dataUnitBytes)),
	}
	if t := binary.LittleEndian.Uint16(page[1:]); t != 0 {
		h.TemperatureCelsius = proto.Int32(int32(t) - kelvin)
	}
	for bit, w := range nvmeWarnings {
		if page[0]&(1<<bit) != 0 {
			warn(h, w.text, w.failing)
		}
	}
	if used >= 100 {
		warn(h, fmt.Sprintf("%d%% of its life are used by the maker's reckoning", used), false)
	}
	if n := h.GetMediaErrors(); n > 0 {
		warn(h, fmt.Sprintf("%d errors that it could not correct", n), false)
	}
	return h, nil
}

// warn adds what speaks against a disk; its verdict gets no better.
func warn(h *inventoryv1.DiskHealth, text string, failing bool) {
	h.Warnings = append(h.Warnings, text)
	verdict := inventoryv1.DiskVerdict_DISK_VERDICT_WARNING
	if failing {
		verdict = inventoryv1.DiskVerdict_DISK_VERDICT_FAILING
	}
	h.Verdict = max(h.Verdict, verdict)
}

// saturated reads a number of 16 bytes, least first; what needs more than eight is
// the largest of eight.
func saturated(data []byte) uint64 {
	if binary.LittleEndian.Uint64(data[8:]) != 0 {
		return math.MaxUint64
	}
	return binary.LittleEndian.Uint64(data)
}

// times multiplies; what is too large is the largest.
func times(n, unit uint64) uint64 {
	high, low := bits.Mul64(n, unit)
	if high != 0 {
		return math.MaxUint64
	}
	return low
}

// hours is a time; what a duration cannot hold is the longest.
func hours(n uint64) *durationpb.Duration { return lasting(n, time.Hour) }

func lasting(n uint64, unit time.Duration) *durationpb.Duration {
	if n > uint64(math.MaxInt64/unit) {
		return durationpb.New(math.MaxInt64)
	}
	return durationpb.New(time.Duration(n) * unit)
}
