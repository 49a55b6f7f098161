package loader

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Unlimited is Left of an entry without a counter.
const Unlimited = -1

// Entry is one entry of the boot loader.
type Entry struct {
	// Slot is a or b.
	Slot string
	// Generation orders entries: the boot loader begins with the highest.
	Generation uint64
	// Version is that of the release, as the entry's title has it.
	Version string
	// Left is how often it is tried still, or Unlimited. Done is how often it was.
	Left, Done int
}

// entryName are the names of the files; see "Boot counting" of the Boot Loader Specification.
var entryName = regexp.MustCompile(`^cyvive-([ab])(?:\+([0-9]{1,4})(?:-([0-9]{1,4}))?)?\.conf$`)

// parseName reads slot and counter off a file's name; others than the node's own are passed over.
func parseName(name string) (e Entry, ok bool) {
	m := entryName.FindStringSubmatch(name)
	if m == nil {
		return Entry{}, false
	}
	e = Entry{Slot: m[1], Left: Unlimited}
	if m[2] != "" {
		e.Left, _ = strconv.Atoi(m[2]) // at most four digits
		e.Done, _ = strconv.Atoi(m[3]) // or none, which is 0
	}
	return e, true
}

func (e Entry) name() string {
	switch {
	case e.Left == Unlimited:
		return "cyvive-" + e.Slot + ".conf"
	case e.Done == 0:
		return fmt.Sprintf("cyvive-%s+%d.conf", e.Slot, e.Left)
	}
	return fmt.Sprintf("cyvive-%s+%d-%d.conf", e.Slot, e.Left, e.Done)
}

// Path is where the entry's file is, relative to the partition.
func (e Entry) Path() string { return "loader/entries/" + e.name() }

const titlePrefix = "Cyvive "

// Text is the content of the entry's file.
func (e Entry) Text() string {
	return fmt.Sprintf("title %s%s\nsort-key cyvive\nversion %d\nefi /%s\n", titlePrefix, e.Version, e.Generation, kernelPath(e.Slot))
}

// KernelPath is where the kernel image of a slot is, relative to the partition.
func KernelPath(slot string) string { return kernelPath(slot) }

func kernelPath(slot string) string { return "EFI/cyvive/" + slot + ".efi" }

// parseText reads what Text has written. A file without a valid version has generation 0, which no entry has that is whole.
func (e Entry) parseText(text string) Entry {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "title":
			e.Version = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(value)+" ", titlePrefix))
		case "version":
			e.Generation, _ = strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		}
	}
	return e
}
