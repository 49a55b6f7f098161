package reset

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Stage is where a reset is.
type Stage string

// The stages; the drawing is in the package's comment.
const (
	// Leaving: the node parts from its cluster.
	Leaving Stage = "leaving"
	// Armed: the volumes are wiped at the next start.
	Armed Stage = "armed"
)

// Record is a reset that was ordered. The zero Record is none.
type Record struct {
	Stage Stage `json:"stage"`
	// Volumes are to be wiped, Wiped are those that are. They are wiped in their order.
	Volumes []string `json:"volumes"`
	Wiped   []string `json:"wiped,omitempty"`
	// PowerOff says that the machine is to power off afterwards.
	PowerOff bool `json:"powerOff,omitempty"`
	// Boot is the kernel's boot_id of the boot in which it was ordered or armed.
	Boot string `json:"boot"`
	// By is who ordered it, for the log.
	By string `json:"by"`
}

// maxBy is how much of a name is kept, in bytes as JSON has it: a note is one sector, and what does not fit can be neither ordered nor ended.
const maxBy = 64

// short is the beginning of a name.
func short(name string) string {
	name = strings.ToValidUTF8(name[:min(len(name), maxBy)], "")
	for {
		data, err := json.Marshal(name)
		if err != nil {
			return "" // no text is such
		}
		if len(data) <= maxBy+len(`""`) {
			return name
		}
		_, last := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-last]
	}
}

// Begin is a reset that is ordered now.
func Begin(volumes []string, forced, powerOff bool, boot, by string) Record {
	r := Record{Stage: Leaving, Volumes: volumes, PowerOff: powerOff, Boot: boot, By: short(by)}
	if forced {
		r.Stage = Armed
	}
	return r
}

// Left says that the node has parted from its cluster.
func (r Record) Left(boot string) Record {
	r.Stage, r.Boot = Armed, boot
	return r
}

// Next is what is to be done at the start of an agent.
type Next int

// What is to be done.
const (
	// Nothing: no reset was ordered.
	Nothing Next = iota
	// GoOnLeaving, and then arm.
	GoOnLeaving
	// Reboot was asked for, and has not come.
	Reboot
	// Wipe what Left returns, before any volume is mounted.
	Wipe
)

// Next takes the boot that an agent starts in.
func (r Record) Next(boot string) Next {
	switch {
	case r.Stage == Leaving:
		return GoOnLeaving
	case r.Stage == Armed && r.Boot == boot:
		return Reboot
	case r.Stage == Armed:
		return Wipe
	}
	return Nothing
}

// Rest are the volumes that are not wiped yet.
func (r Record) Rest() []string {
	return slices.DeleteFunc(slices.Clone(r.Volumes), func(v string) bool { return slices.Contains(r.Wiped, v) })
}

// Done says that a volume is wiped.
func (r Record) Done(volume string) Record {
	r.Wiped = append(slices.Clone(r.Wiped), volume)
	return r
}

// String is the reset for a person.
func (r Record) String() string {
	return fmt.Sprintf("wipe %s, asked for by %s", strings.Join(r.Volumes, " and "), r.By)
}

// Encode writes the record.
func (r Record) Encode() ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode reset: %w", err)
	}
	return data, nil
}

// Parse reads a record; no data is none.
func Parse(data []byte) (Record, error) {
	if len(data) == 0 {
		return Record{}, nil
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("parse reset: %w", err)
	}
	if r.Stage != Leaving && r.Stage != Armed || len(r.Volumes) == 0 || r.Boot == "" {
		return Record{}, errors.New("parse reset: it is of another form than this release knows")
	}
	return r, nil
}
