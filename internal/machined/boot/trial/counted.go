package trial

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unicode/utf16"
)

// Variable is where efivarfs has the variable of the boot loader; the UUID is that
// of all of systemd-boot's (systemd.io/BOOT_LOADER_INTERFACE).
const Variable = "/sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// maxVariableBytes is far above the length of a path on a boot partition.
const maxVariableBytes = 4 << 10

// Counted reports whether the boot loader has counted the start of this slot's
// entry. A machine without the variable, or without such firmware, has not.
func Counted(path, slot string) (bool, error) {
	text, err := Text(path)
	if err != nil {
		return false, fmt.Errorf("read boot counter: %w", err)
	}
	return names(text, slot), nil
}

// Text is the text of a variable of the boot loader, empty if there is none.
func Text(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	raw := make([]byte, maxVariableBytes)
	n, err := f.Read(raw)
	if err != nil {
		return "", err
	}
	return parse(raw[:n]), nil
}

// parse returns the text of a variable as efivarfs gives it: four bytes of
// attributes (Documentation/filesystems/efivarfs.rst), then UTF-16 that ends with
// a zero.
func parse(raw []byte) string {
	const attributes = 4
	if len(raw) < attributes {
		return ""
	}
	var units []uint16
	for raw = raw[attributes:]; len(raw) >= 2; raw = raw[2:] {
		u := binary.LittleEndian.Uint16(raw)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// names reports whether a path on the boot partition is that of a slot's entry
// with a counter; package loader makes the names.
func names(path, slot string) bool {
	if slot == "" {
		return false
	}
	name := strings.ToLower(path[strings.LastIndexByte(path, '\\')+1:])
	return strings.HasPrefix(name, "cyvive-"+slot+"+") && strings.HasSuffix(name, ".conf")
}
