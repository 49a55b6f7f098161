package smart

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
)

const (
	good    = inventoryv1.DiskVerdict_DISK_VERDICT_GOOD
	warning = inventoryv1.DiskVerdict_DISK_VERDICT_WARNING
	failing = inventoryv1.DiskVerdict_DISK_VERDICT_FAILING
)

// same compares what was read.
func same(t *testing.T, want, got *inventoryv1.DiskHealth, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("health (-want +got):\n%s", diff)
	}
}

// nvmePage is a page of a disk in good health.
func nvmePage() []byte {
	page := make([]byte, NVMePageBytes)
	binary.LittleEndian.PutUint16(page[1:], 273+41)
	page[3], page[4], page[5] = 98, 10, 7
	for at, n := range map[int]uint64{32: 1000, 48: 2000, 112: 12, 128: 8760, 144: 3} {
		binary.LittleEndian.PutUint64(page[at:], n)
	}
	return page
}

func TestNVMe(t *testing.T) {
	want := func() *inventoryv1.DiskHealth {
		return &inventoryv1.DiskHealth{
			Verdict: good, TemperatureCelsius: proto.Int32(41), SparePercent: proto.Uint32(98), UsedPercent: proto.Uint32(7),
			ReadBytes: proto.Uint64(512_000_000), WrittenBytes: proto.Uint64(1_024_000_000), PowerCycles: proto.Uint64(12),
			PowerOn: durationpb.New(8760 * time.Hour), UnsafeShutdowns: proto.Uint64(3), MediaErrors: proto.Uint64(0),
		}
	}
	h, err := NVMe(nvmePage())
	same(t, want(), h, err)

	hot := nvmePage()
	hot[0], hot[5] = 1<<1, 101
	w := want()
	w.Verdict, w.UsedPercent = warning, proto.Uint32(101)
	w.Warnings = []string{"the temperature is beyond the disk's own limits", "101% of its life are used by the maker's reckoning"}
	h, err = NVMe(hot)
	same(t, w, h, err)

	bad := nvmePage()
	bad[0], bad[160] = 1|1<<3, 9
	for i := range 16 {
		bad[48+i] = 0xff // more than fits
	}
	binary.LittleEndian.PutUint64(bad[128:], math.MaxUint64)
	w = want()
	w.Verdict, w.MediaErrors, w.WrittenBytes, w.PowerOn = failing, proto.Uint64(9), proto.Uint64(math.MaxUint64), durationpb.New(math.MaxInt64)
	w.Warnings = []string{"the spare blocks are fewer than the disk's own limit", "the disk takes no writes any more", "9 errors that it could not correct"}
	h, err = NVMe(bad)
	same(t, w, h, err)

	if _, err := NVMe(bad[:511]); err == nil {
		t.Error("a short page is read")
	}
}

// ataPage makes a page of entries, with its checksum.
func ataPage(entries ...[12]byte) []byte {
	page := make([]byte, ATAPageBytes)
	page[0] = 16
	for i, e := range entries {
		copy(page[2+12*i:], e[:])
	}
	var sum byte
	for _, b := range page {
		sum += b
	}
	page[511] = -sum
	return page
}

func attribute(id, value byte, critical bool, raw ...byte) [12]byte {
	e := [12]byte{id, 0x32, 0, value, value}
	if critical {
		e[1] |= 1
	}
	copy(e[5:], raw)
	return e
}

// sense is the answer to SMART RETURN STATUS, as a descriptor or in fixed form.
func sense(fixed bool, mid, high byte) []byte {
	if fixed {
		return []byte{0x70, 0, 0, 0, 0x50, 0, 0, 10, 0, 0, mid, high, 0, 0x1d}
	}
	return []byte{0x72, 1, 0, 0x1d, 0, 0, 0, 14, 0x09, 0x0c, 0, 0, 0, 0, 0, 0, 0, mid, 0, high, 0, 0x50}
}

func TestATA(t *testing.T) {
	data := ataPage(
		attribute(5, 100, true), attribute(9, 90, false, 0x38, 0x22, 0, 0, 0x7f), attribute(12, 99, false, 40),
		attribute(194, 64, false, 36, 0, 20, 0, 45), attribute(197, 100, false),
	)
	thresholds := ataPage([12]byte{5, 10}, [12]byte{9, 0})
	want := func() *inventoryv1.DiskHealth {
		return &inventoryv1.DiskHealth{
			Verdict: good, TemperatureCelsius: proto.Int32(36), PowerOn: durationpb.New(8760 * time.Hour), PowerCycles: proto.Uint64(40),
			ReallocatedSectors: proto.Uint64(0), PendingSectors: proto.Uint64(0),
			Attributes: []*inventoryv1.DiskAttribute{
				{Id: 5, Value: 100, Worst: 100, Threshold: 10, Critical: true}, {Id: 9, Value: 90, Worst: 90, Raw: 0x7f00002238},
				{Id: 12, Value: 99, Worst: 99, Raw: 40}, {Id: 194, Value: 64, Worst: 64, Raw: 0x2d00140024}, {Id: 197, Value: 100, Worst: 100},
			},
		}
	}
	h, err := ATA(ATAPages{Data: data, Thresholds: thresholds, Sense: sense(false, 0x4f, 0xc2)})
	same(t, want(), h, err)
	// Without thresholds and status, and with thresholds that are spoilt.
	w := want()
	w.Attributes[0].Threshold = 0
	h, err = ATA(ATAPages{Data: data})
	same(t, w, h, err)
	h, err = ATA(ATAPages{Data: data, Thresholds: make([]byte, 10)})
	same(t, w, h, err)

	for _, fixed := range []bool{false, true} {
		w := want()
		w.Verdict, w.Warnings = failing, []string{"the disk predicts its own failure"}
		h, err = ATA(ATAPages{Data: data, Thresholds: thresholds, Sense: sense(fixed, 0xf4, 0x2c)})
		same(t, w, h, err)
	}
	h, err = ATA(ATAPages{Data: ataPage(attribute(5, 9, true, 200), attribute(187, 50, false, 3), attribute(197, 100, false, 8)), Thresholds: thresholds})
	if err != nil || h.GetVerdict() != failing || !slices.Equal(h.GetWarnings(), []string{
		"attribute 5 is at 9, and the disk's limit is 10", "8 sectors cannot be read and wait to be replaced", "200 sectors are replaced",
		"3 errors that it could not correct",
	}) {
		t.Errorf("a dying disk: %v, %v", h, err)
	}
	data[100]++
	if _, err := ATA(ATAPages{Data: data}); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("a page with a bit changed: %v", err)
	}
}

// logPage makes a page of one parameter after another.
func logPage(number byte, parameters map[uint16][]byte) []byte {
	var body []byte
	for _, code := range slices.Sorted(func(yield func(uint16) bool) {
		for c := range parameters {
			if !yield(c) {
				return
			}
		}
	}) {
		body = append(binary.BigEndian.AppendUint16(body, code), 3, byte(len(parameters[code])))
		body = append(body, parameters[code]...)
	}
	return append([]byte{number, 0, byte(len(body) >> 8), byte(len(body))}, body...)
}

func TestSCSI(t *testing.T) {
	pages := map[byte][]byte{
		SCSIExceptions:     logPage(SCSIExceptions, map[uint16][]byte{0: {0, 0, 33}}),
		SCSITemperature:    logPage(SCSITemperature, map[uint16][]byte{0: {0, 35}, 1: {0, 60}}),
		SCSIReadErrors:     logPage(SCSIReadErrors, map[uint16][]byte{5: {1, 0, 0, 0, 0}, 6: {0, 2}}),
		SCSIWriteErrors:    logPage(SCSIWriteErrors, map[uint16][]byte{5: {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 6: {0}}),
		SCSISolidState:     logPage(SCSISolidState, map[uint16][]byte{1: {0, 0, 0, 12}}),
		SCSIBackgroundScan: logPage(SCSIBackgroundScan, map[uint16][]byte{0: {0, 0, 0, 90, 0, 0, 0, 0}}),
	}
	h, err := SCSI(pages)
	same(t, &inventoryv1.DiskHealth{
		Verdict: warning, Warnings: []string{"2 errors that it could not correct"}, TemperatureCelsius: proto.Int32(35), UsedPercent: proto.Uint32(12),
		ReadBytes: proto.Uint64(1 << 32), WrittenBytes: proto.Uint64(math.MaxUint64), MediaErrors: proto.Uint64(2), PowerOn: durationpb.New(90 * time.Minute),
	}, h, err)

	h, err = SCSI(map[byte][]byte{SCSIExceptions: logPage(SCSIExceptions, map[uint16][]byte{0: {0x5d, 0x10, 0xff}})})
	same(t, &inventoryv1.DiskHealth{Verdict: failing, Warnings: []string{"the disk predicts its own failure (code 10h)"}}, h, err)
	h, err = SCSI(map[byte][]byte{SCSIExceptions: logPage(SCSIExceptions, map[uint16][]byte{0: {0x0b, 0x01}})})
	same(t, &inventoryv1.DiskHealth{Verdict: warning, Warnings: []string{"a limit of the disk is passed (code 01h)"}}, h, err)
	// No page, another one, and one without its parameter.
	for _, page := range [][]byte{nil, logPage(SCSITemperature, map[uint16][]byte{0: {0, 0}}), logPage(SCSIExceptions, nil)} {
		if _, err := SCSI(map[byte][]byte{SCSIExceptions: page}); err == nil {
			t.Errorf("page %x is read", page)
		}
	}
}

func FuzzNVMe(f *testing.F) {
	f.Add(nvmePage())
	f.Fuzz(func(t *testing.T, page []byte) {
		h, err := NVMe(page)
		if (err == nil) != (len(page) >= NVMePageBytes) {
			t.Errorf("%d bytes: %v", len(page), err)
		}
		sound(t, h, err)
	})
}

func FuzzATA(f *testing.F) {
	f.Add(ataPage(attribute(5, 9, true, 200)), ataPage([12]byte{5, 10}), sense(false, 0xf4, 0x2c))
	f.Fuzz(func(t *testing.T, data, thresholds, status []byte) {
		h, err := ATA(ATAPages{Data: data, Thresholds: thresholds, Sense: status})
		sound(t, h, err)
		// The checksum is hard to hit by chance.
		if len(data) == ATAPageBytes {
			var sum byte
			for _, b := range data[:511] {
				sum += b
			}
			data[511] = -sum
			h, err = ATA(ATAPages{Data: data, Thresholds: thresholds, Sense: status})
			if err != nil {
				t.Error(err)
			}
			sound(t, h, err)
		}
	})
}

func FuzzSCSI(f *testing.F) {
	f.Add(logPage(SCSIExceptions, map[uint16][]byte{0: {0x5d, 0x10, 30}}), logPage(SCSIReadErrors, map[uint16][]byte{5: {1}, 6: {1}}))
	f.Fuzz(func(t *testing.T, exceptions, other []byte) {
		pages := map[byte][]byte{SCSIExceptions: exceptions}
		for _, number := range SCSIPages()[1:] {
			pages[number] = append([]byte{number}, other...)
		}
		h, err := SCSI(pages)
		sound(t, h, err)
	})
}

// sound checks what holds of every answer.
func sound(t *testing.T, h *inventoryv1.DiskHealth, err error) {
	t.Helper()
	if err != nil {
		return
	}
	if (h.GetVerdict() == good) != (len(h.GetWarnings()) == 0) || h.GetVerdict() == inventoryv1.DiskVerdict_DISK_VERDICT_UNSPECIFIED {
		t.Errorf("verdict %v with %q", h.GetVerdict(), h.GetWarnings())
	}
	if h.GetPowerOn().AsDuration() < 0 {
		t.Errorf("%v of power", h.GetPowerOn())
	}
	if _, err := proto.Marshal(h); err != nil {
		t.Error(err)
	}
}
