package wrap

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

const (
	// maxSlots is how many key slots a LUKS2 header has (LUKS2_KEYSLOTS_MAX of cryptsetup).
	maxSlots = 32
	// maxNameBytes is more than the name of a volume and the UUID of a header have.
	maxNameBytes = 64
)

var (
	// ErrNoMachine says that the firmware gives the machine no UUID by which it could be told from others.
	ErrNoMachine = errors.New("the firmware gives this machine no UUID (SMBIOS, type 1), by which keys of disks are told apart")
	// ErrOtherMachine says that a key was wrapped for another machine, or for this one before its board was replaced.
	ErrOtherMachine = errors.New("the key is for another machine, or for this one before its board was replaced")
)

var machineForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// ParseMachine returns a machine's UUID as it is written into tokens. What firmware has in the place of one that is not set is ErrNoMachine (DMTF DSP0134,
// 7.2.1: all bits zero, or all one).
func ParseMachine(text string) (string, error) {
	machine := strings.ToLower(strings.TrimSpace(text))
	if !machineForm.MatchString(machine) || strings.Trim(machine, "0-") == "" || strings.Trim(machine, "f-") == "" {
		return "", fmt.Errorf("%w: it has %.40q", ErrNoMachine, text)
	}
	return machine, nil
}

// Binding is what a wrapped key belongs to.
type Binding struct {
	// Keyslot is the number of the slot that the key opens.
	Keyslot int
	// Volume is the name of the volume, and UUID that of its LUKS header.
	Volume, UUID string
	// Machine is the UUID of the machine, as ParseMachine returns it.
	Machine string
}

// Context is what Wrap and Unwrap bind a key to, for a kind of token. The header's UUID is not in it: keys are wrapped before there is a header.
func (b Binding) Context(kind string) string { return kind + "\x00" + b.Volume + "\x00" + b.Machine }

// Check says whether a token belongs to a volume of a machine, by the volume's name, what its header says, and the machine's UUID as its firmware has it.
func (b Binding) Check(volume, uuid, machine string) error {
	if b.Volume != volume || b.UUID != uuid {
		return fmt.Errorf("use token: it is of volume %s (%s), and this is volume %s (%s)", b.Volume, b.UUID, volume, uuid)
	}
	this, err := ParseMachine(machine)
	if err != nil {
		return fmt.Errorf("use token: %w", err)
	}
	if b.Machine != this {
		return fmt.Errorf("use token: %w: it is for %s, and this is %s", ErrOtherMachine, b.Machine, this)
	}
	return nil
}

// Text is the JSON form of a Binding, for tokens to embed. Type and keyslots are those of every LUKS2 token (LUKS2 On-Disk Format Specification 1.1.4, 3.5).
type Text struct {
	Type     string   `json:"type"`
	Keyslots []string `json:"keyslots"`
	Version  int      `json:"version"`
	Volume   string   `json:"volume"`
	UUID     string   `json:"uuid"`
	Machine  string   `json:"machine"`
}

// Text returns the form for a kind of token, and the version of that.
func (b Binding) Text(kind string, version int) Text {
	return Text{Type: kind, Keyslots: []string{strconv.Itoa(b.Keyslot)}, Version: version, Volume: b.Volume, UUID: b.UUID, Machine: b.Machine}
}

// Binding reads the form, which has to be of a kind and version.
func (t Text) Binding(kind string, version int) (Binding, error) {
	b := Binding{Volume: t.Volume, UUID: t.UUID, Machine: t.Machine}
	switch machine, err := ParseMachine(t.Machine); {
	case t.Type != kind:
		return b, fmt.Errorf("it is of the type %.40q, expected %s", t.Type, kind)
	case t.Version != version:
		return b, fmt.Errorf("it is of version %d, expected %d", t.Version, version)
	case t.Volume == "" || t.UUID == "" || len(t.Volume) > maxNameBytes || len(t.UUID) > maxNameBytes:
		return b, errors.New("it does not say which volume it is of")
	case len(t.Keyslots) != 1:
		return b, fmt.Errorf("it has %d key slots, expected one", len(t.Keyslots))
	case err != nil || machine != t.Machine:
		return b, fmt.Errorf("it is for machine %.40q, expected a UUID in lower case", t.Machine)
	}
	slot, err := strconv.Atoi(t.Keyslots[0])
	if err != nil || slot < 0 || slot >= maxSlots || strconv.Itoa(slot) != t.Keyslots[0] {
		return b, fmt.Errorf("key slot %.20q is no number below %d", t.Keyslots[0], maxSlots)
	}
	b.Keyslot = slot
	return b, nil
}

// Decode reads a token strictly: what is not known here could change what it means.
func Decode(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind it")
	}
	return nil
}
