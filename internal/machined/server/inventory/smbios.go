package inventory

import (
	"bytes"
	"encoding/binary"
	"strings"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
)

// The types of SMBIOS structures that are read, and the last of a table (DMTF
// DSP0134, 7).
const (
	typeProcessor    = 4
	typeMemoryArray  = 16
	typeMemoryModule = 17
	typeEnd          = 127
)

// structure is one of a table: its bytes, with four of header, and its strings.
type structure struct {
	kind    byte
	data    []byte
	strings []string
}

// parseTable takes a table apart (DSP0134, 6.1.2 and 6.1.3), for the types that are
// read. One that ends within a structure gives what stands before.
func parseTable(table []byte) []structure {
	const headerBytes = 4
	var out []structure
	for len(table) >= headerBytes {
		kind, length := table[0], int(table[1])
		if kind == typeEnd || length < headerBytes || length > len(table) {
			break
		}
		// Strings end with a NUL each, and the set with another one; without strings it is two NULs.
		set, rest, whole := bytes.Cut(table[length:], []byte{0, 0})
		if !whole {
			break
		}
		if kind == typeProcessor || kind == typeMemoryArray || kind == typeMemoryModule {
			s := structure{kind: kind, data: table[:length]}
			for _, text := range bytes.Split(set, []byte{0}) {
				s.strings = append(s.strings, valid(strings.TrimSpace(string(text))))
			}
			out = append(out, s)
		}
		table = rest
	}
	return out
}

// byte, word and dword read a field; one that this version of the structure does not
// have is 0.
func (s structure) byte(at int) byte {
	if at >= len(s.data) {
		return 0
	}
	return s.data[at]
}

func (s structure) word(at int) uint16 { return uint16(s.byte(at)) | uint16(s.byte(at+1))<<8 }

func (s structure) dword(at int) uint32 {
	if at+4 > len(s.data) {
		return 0
	}
	return binary.LittleEndian.Uint32(s.data[at:])
}

// text is the string whose number, from 1, is at a place. What makers write where they
// know nothing is empty.
func (s structure) text(at int) string {
	n := int(s.byte(at))
	if n == 0 || n > len(s.strings) {
		return ""
	}
	switch text := s.strings[n-1]; strings.ToLower(text) {
	case "unknown", "not specified", "none", "n/a", "not provided", "to be filled by o.e.m.":
		return ""
	default:
		return text
	}
}

// processorName is the firmware's words for a processor.
type processorName struct{ vendor, model string }

// processorWords are those of the sockets that hold one (DSP0134, 7.5).
func processorWords(table []structure) []processorName {
	var out []processorName
	for _, s := range table {
		const populated = 1 << 6
		if s.kind == typeProcessor && s.byte(0x18)&populated != 0 {
			out = append(out, processorName{s.text(0x07), s.text(0x10)})
		}
	}
	return out
}

// memoryTypes and formFactors are of DSP0134, 7.18.2 and 7.18.1.
var (
	memoryTypes = map[byte]string{
		0x03: "DRAM", 0x07: "RAM", 0x0f: "SDRAM", 0x12: "DDR", 0x13: "DDR2", 0x14: "DDR2 FB-DIMM", 0x18: "DDR3", 0x1a: "DDR4", 0x1b: "LPDDR",
		0x1c: "LPDDR2", 0x1d: "LPDDR3", 0x1e: "LPDDR4", 0x1f: "non-volatile", 0x20: "HBM", 0x21: "HBM2", 0x22: "DDR5", 0x23: "LPDDR5", 0x24: "HBM3",
	}
	formFactors = map[byte]string{
		0x03: "SIMM", 0x05: "chip", 0x09: "DIMM", 0x0b: "row of chips", 0x0d: "SODIMM", 0x0f: "FB-DIMM", 0x10: "die", 0x11: "CAMM",
	}
	corrections = map[byte]string{3: "none", 4: "parity", 5: "single-bit ECC", 6: "multi-bit ECC", 7: "CRC"}
)

// memoryModules returns the modules, and how many slots for them there are.
func memoryModules(table []structure) (modules []*inventoryv1.MemoryModule, slots uint32) {
	for _, s := range table {
		if s.kind != typeMemoryModule {
			continue
		}
		slots++
		size := moduleBytes(s)
		if size == 0 {
			continue
		}
		modules = append(modules, &inventoryv1.MemoryModule{
			Locator: s.text(0x10), Bank: s.text(0x11), SizeBytes: size, Type: memoryTypes[s.byte(0x12)], FormFactor: formFactors[s.byte(0x0e)],
			SpeedMts: speed(s, 0x15, 0x54), ConfiguredSpeedMts: speed(s, 0x20, 0x58),
			Manufacturer: s.text(0x17), Serial: s.text(0x18), PartNumber: s.text(0x1a),
		})
	}
	return modules, slots
}

// moduleBytes is the size of a module; 0 is an empty slot, or one of unknown content.
func moduleBytes(s structure) uint64 {
	const unknown, extended, kilobytes = 0xffff, 0x7fff, 0x8000
	switch size := s.word(0x0c); {
	case size == unknown:
		return 0
	case size == extended:
		return uint64(s.dword(0x1c)&0x7fffffff) << 20
	case size&kilobytes != 0:
		return uint64(size&^kilobytes) << 10
	default:
		return uint64(size) << 20
	}
}

// speed reads a speed, which stands at a second place where it does not fit the first.
func speed(s structure, at, extended int) uint32 {
	if n := s.word(at); n != 0xffff {
		return uint32(n)
	}
	return s.dword(extended) & 0x7fffffff
}

// errorCorrection is that of the array for the system's memory.
func errorCorrection(table []structure) string {
	const useAt, correctionAt, systemMemory = 5, 6, 3
	for _, s := range table {
		if s.kind == typeMemoryArray && s.byte(useAt) == systemMemory {
			return corrections[s.byte(correctionAt)]
		}
	}
	return ""
}

func (l *look) smbios() []structure {
	table, err := l.read(maxTableBytes, "sys/firmware/dmi/tables/DMI")
	l.problem("read the SMBIOS tables", err)
	return parseTable(table)
}

func (l *look) memory(table []structure) *inventoryv1.Memory {
	info, err := l.read(maxFileBytes, "proc/meminfo")
	l.problem("read /proc/meminfo", err)
	m := &inventoryv1.Memory{TotalBytes: parseMemTotal(string(info)), ErrorCorrection: errorCorrection(table)}
	m.Modules, m.Slots = memoryModules(table)
	for _, name := range l.names("sys/devices/system/node") {
		if rest, ok := strings.CutPrefix(name, "node"); ok && rest != "" && strings.Trim(rest, "0123456789") == "" {
			m.NumaNodes++
		}
	}
	return m
}
