package disk

import "strings"

// Types of disks, as Selector.Type and Identity.Type have them.
const (
	SSD  = "ssd"
	HDD  = "hdd"
	NVMe = "nvme"
)

// Identity is what a disk and its place tell of it. Texts are empty where they tell nothing.
type Identity struct {
	// Name is the kernel's, such as vdb. It may be another disk's with the next boot.
	Name string
	// Type is SSD, HDD or NVMe.
	Type, Model string
	// Serial and WWN are the disk's own names.
	Serial, WWN string
	// Bus is how it is attached, and Path where.
	Bus, Path string
	SizeBytes int64
}

// String tells the disk from others, for a person.
func (d Identity) String() string {
	words := []string{SizeText(d.SizeBytes)}
	for _, f := range (Selector{}).fields(d) {
		if f.got != "" {
			words = append(words, f.name+" "+f.got)
		}
	}
	return d.Name + " (" + strings.Join(words, ", ") + ")"
}

// Names are those that stay with the disk, by which what it holds can be given up.
func (d Identity) Names() []string {
	var out []string
	for _, n := range []string{d.Serial, d.WWN} {
		if n != "" {
			out = append(out, n)
		}
	}
	return out
}

// Key is the same for a disk wherever it is plugged in: the WWN, else the serial number, else, for disks that tell neither, as virtual ones do, where it is.
func (d Identity) Key() string {
	for _, k := range []struct{ kind, name string }{{"wwn", d.WWN}, {"serial", d.Serial}, {"path", d.Path}} {
		if k.name != "" {
			return k.kind + ":" + strings.ToLower(k.name)
		}
	}
	return "name:" + d.Name
}
