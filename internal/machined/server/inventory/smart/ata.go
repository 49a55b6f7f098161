package smart

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
)

// ATAPageBytes is the length of a page of ATA SMART, with its checksum.
const ATAPageBytes = 512

// ATAPages is what an ATA disk answers.
type ATAPages struct {
	// Data and Thresholds are of SMART READ DATA and SMART READ THRESHOLDS. Disks
	// without the latter leave it empty.
	Data, Thresholds []byte
	// Sense is the SCSI sense data of SMART RETURN STATUS, in which the
	// registers of the disk stand (SAT-4, 12.2.2.7); empty where it failed.
	Sense []byte
}

// Attributes of which makers agree what they count.
const (
	attributeReallocated   = 5
	attributePowerOn       = 9
	attributePowerCycles   = 12
	attributeUncorrectable = 187
	attributeAirflow       = 190
	attributeTemperature   = 194
	attributePending       = 197
)

var errATAPage = errors.New("read ATA health: not the form of a SMART page")

// ATA reads the pages of an ATA disk. Without a status its verdict comes from the
// thresholds.
func ATA(p ATAPages) (*inventoryv1.DiskHealth, error) {
	attributes, err := parseAttributes(p.Data)
	if err != nil {
		return nil, err
	}
	// A page that is spoilt counts as none.
	thresholds, _ := parseThresholds(p.Thresholds)
	h := &inventoryv1.DiskHealth{Verdict: inventoryv1.DiskVerdict_DISK_VERDICT_GOOD, Attributes: attributes}
	for _, a := range attributes {
		a.Threshold = thresholds[a.GetId()]
		if a.GetThreshold() > 0 && a.GetValue() <= a.GetThreshold() {
			warn(h, fmt.Sprintf("attribute %d is at %d, and the disk's limit is %d", a.GetId(), a.GetValue(), a.GetThreshold()), a.GetCritical())
		}
		count(h, a)
	}
	if failing, known := parseStatus(p.Sense); known && failing {
		warn(h, "the disk predicts its own failure", true)
	}
	for _, w := range []struct {
		n    uint64
		text string
	}{
		{h.GetPendingSectors(), "%d sectors cannot be read and wait to be replaced"},
		{h.GetReallocatedSectors(), "%d sectors are replaced"},
		{h.GetMediaErrors(), "%d errors that it could not correct"},
	} {
		if w.n > 0 {
			warn(h, fmt.Sprintf(w.text, w.n), false)
		}
	}
	return h, nil
}

// count takes over an attribute whose meaning is known. Of the raw value, makers put
// more than the count into the upper bytes.
func count(h *inventoryv1.DiskHealth, a *inventoryv1.DiskAttribute) {
	low := a.GetRaw() & 0xffffffff
	switch a.GetId() {
	case attributeReallocated:
		h.ReallocatedSectors = proto.Uint64(low)
	case attributePowerOn:
		h.PowerOn = hours(low)
	case attributePowerCycles:
		h.PowerCycles = proto.Uint64(low)
	case attributeUncorrectable:
		h.MediaErrors = proto.Uint64(low)
	case attributePending:
		h.PendingSectors = proto.Uint64(low)
	case attributeTemperature:
		h.TemperatureCelsius = proto.Int32(int32(int8(a.GetRaw())))
	case attributeAirflow:
		if h.TemperatureCelsius == nil {
			h.TemperatureCelsius = proto.Int32(int32(int8(a.GetRaw())))
		}
	}
}

// entries returns the 30 entries of 12 bytes that both pages have from their third
// byte on, without the empty ones. The sum of all bytes is zero.
func entries(page []byte) ([][]byte, error) {
	if len(page) < ATAPageBytes {
		return nil, fmt.Errorf("%w: %d bytes, expected %d", errATAPage, len(page), ATAPageBytes)
	}
	var sum byte
	for _, b := range page[:ATAPageBytes] {
		sum += b
	}
	if sum != 0 {
		return nil, fmt.Errorf("%w: its checksum is wrong", errATAPage)
	}
	const first, entryBytes, most = 2, 12, 30
	var out [][]byte
	for i := range most {
		entry := page[first+i*entryBytes:][:entryBytes]
		if entry[0] != 0 {
			out = append(out, entry)
		}
	}
	return out, nil
}

func parseAttributes(page []byte) ([]*inventoryv1.DiskAttribute, error) {
	list, err := entries(page)
	if err != nil {
		return nil, err
	}
	var out []*inventoryv1.DiskAttribute
	for _, e := range list {
		raw := append(append([]byte{}, e[5:11]...), 0, 0)
		out = append(out, &inventoryv1.DiskAttribute{
			Id: uint32(e[0]), Critical: e[1]&1 != 0, Value: uint32(e[3]), Worst: uint32(e[4]), Raw: binary.LittleEndian.Uint64(raw),
		})
	}
	return out, nil
}

func parseThresholds(page []byte) (map[uint32]uint32, error) {
	list, err := entries(page)
	if err != nil {
		return nil, err
	}
	out := map[uint32]uint32{}
	for _, e := range list {
		out[uint32(e[0])] = uint32(e[1])
	}
	return out, nil
}

// parseStatus finds the middle and high byte of the disk's LBA register in sense
// data: 4Fh and C2h are a good disk, F4h and 2Ch one that passed a threshold (ACS-3,
// 7.48.8).
func parseStatus(sense []byte) (failing, known bool) {
	var mid, high byte
	switch {
	case len(sense) >= 22 && sense[0]&0x7f == 0x72 && sense[8] == 0x09:
		mid, high = sense[8+9], sense[8+11] // ATA Status Return descriptor
	case len(sense) >= 12 && sense[0]&0x7f == 0x70:
		mid, high = sense[10], sense[11] // command-specific information
	}
	switch {
	case mid == 0x4f && high == 0xc2:
		return false, true
	case mid == 0xf4 && high == 0x2c:
		return true, true
	}
	return false, false
}
