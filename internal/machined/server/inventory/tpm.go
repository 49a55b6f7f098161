package inventory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
)

// tpm reads the first TPM (Documentation/ABI/stable/sysfs-class-tpm).
func (l *look) tpm() *inventoryv1.TPM {
	const dir = "sys/class/tpm/tpm0"
	if !l.exists(dir) {
		return nil
	}
	t := &inventoryv1.TPM{MajorVersion: l.small(dir, "tpm_version_major")}
	for _, name := range l.names(dir) {
		if bank, ok := strings.CutPrefix(name, "pcr-"); ok {
			t.PcrBanks = append(t.PcrBanks, valid(bank))
		}
	}
	if t.GetMajorVersion() != 2 {
		return t
	}
	answer, err := l.devices.TPMProperties(getProperties())
	if err == nil {
		var properties map[uint32]uint32
		if properties, err = parseProperties(answer); err == nil {
			describe(t, properties)
		}
	}
	l.problem("ask the TPM for its maker", err)
	return t
}

// The numbers of TPM2_GetCapability (TCG TPM 2.0 Library, parts 2 and 3, 30.2).
const (
	tagNoSessions        = 0x8001
	commandGetCapability = 0x17a
	capabilityProperties = 6
	propertyManufacturer = 0x105 // and four of the vendor's string behind it
	propertyFirmware1    = 0x10b
	propertyFirmware2    = 0x10c
	propertiesAsked      = propertyFirmware2 - propertyManufacturer + 1
	vendorStrings        = 4
)

// getProperties is the command that asks for the maker and the firmware.
func getProperties() []byte {
	const commandBytes = 22
	c := binary.BigEndian.AppendUint16(nil, tagNoSessions)
	for _, n := range []uint32{commandBytes, commandGetCapability, capabilityProperties, propertyManufacturer, propertiesAsked} {
		c = binary.BigEndian.AppendUint32(c, n)
	}
	return c
}

var errTPM = errors.New("not the form of an answer to TPM2_GetCapability")

// parseProperties reads the answer to getProperties. One that is cut off gives what
// stands before.
func parseProperties(answer []byte) (map[uint32]uint32, error) {
	const headerBytes, listAt, entryBytes = 10, 19, 8
	if len(answer) < headerBytes {
		return nil, errTPM
	}
	if code := binary.BigEndian.Uint32(answer[6:]); code != 0 {
		return nil, fmt.Errorf("the TPM refuses with code %03xh", code)
	}
	if len(answer) < listAt || binary.BigEndian.Uint32(answer[headerBytes+1:]) != capabilityProperties {
		return nil, errTPM
	}
	out := map[uint32]uint32{}
	count := binary.BigEndian.Uint32(answer[headerBytes+5:])
	for list := answer[listAt:]; len(list) >= entryBytes && count > 0; list = list[entryBytes:] {
		out[binary.BigEndian.Uint32(list)] = binary.BigEndian.Uint32(list[4:])
		count--
	}
	return out, nil
}

// describe puts properties in words.
func describe(t *inventoryv1.TPM, properties map[uint32]uint32) {
	t.Manufacturer = letters(properties[propertyManufacturer])
	for i := range uint32(vendorStrings) {
		t.Model += letters(properties[propertyManufacturer+1+i])
	}
	t.Model = strings.TrimSpace(t.GetModel())
	if one, ok := properties[propertyFirmware1]; ok {
		two := properties[propertyFirmware2]
		t.Firmware = fmt.Sprintf("%d.%d.%d.%d", one>>16, one&0xffff, two>>16, two&0xffff)
	}
}

// letters is the text in four bytes, which ends with zeros or spaces.
func letters(n uint32) string {
	var text strings.Builder
	for _, b := range binary.BigEndian.AppendUint32(nil, n) {
		if b > ' ' && b < 0x7f || b == ' ' && text.Len() > 0 {
			text.WriteByte(b)
		}
	}
	return text.String()
}
