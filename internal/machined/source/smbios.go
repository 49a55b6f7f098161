package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cyvive/cyvive/internal/machined"
)

// oemPrefix begins the OEM string that holds the configuration, by itself or in base64, as systemd's io.systemd.credential: does for
// credentials.
const oemPrefix = "dev.cyvive.config="

// maxTableBytes bounds what is read of SMBIOS: a configuration in base64, and all else.
const maxTableBytes = 4 << 20

// oemString is an OEM string of SMBIOS, which a hypervisor can set (QEMU: -smbios type=11,path=FILE). The kernel shows the table in
// firmware/dmi/tables/DMI of sysfs (Documentation/ABI/testing/sysfs-firmware-dmi-tables), to root only.
type oemString struct{ sys string }

func (oemString) Where() string { return "an OEM string " + oemPrefix + " of SMBIOS" }

func (o oemString) Find(context.Context) (*machined.Document, error) {
	value, err := oemValue(o.sys, oemPrefix)
	if err != nil || value == "" {
		return nil, err
	}
	return document("SMBIOS "+strings.TrimSuffix(oemPrefix, "="), []byte(value))
}

// oemValue returns what stands behind a prefix in the one OEM string that begins with it; empty if there is none, or nothing behind it.
func oemValue(sys, prefix string) (string, error) {
	table, err := readFile(filepath.Join(sys, "firmware/dmi/tables/DMI"), maxTableBytes)
	if err != nil || table == nil {
		return "", err
	}
	var values []string
	for _, text := range oemStrings(table) {
		if value, ok := strings.CutPrefix(text, prefix); ok {
			values = append(values, value)
		}
	}
	switch {
	case len(values) == 0, len(values) == 1 && strings.TrimSpace(values[0]) == "":
		return "", nil
	case len(values) > 1:
		return "", fmt.Errorf("read SMBIOS: %d OEM strings begin with %s, expected one", len(values), prefix)
	}
	return values[0], nil
}

const (
	oemStringsType = 11
	endOfTableType = 127
	// structureHeaderBytes are type, length and handle.
	structureHeaderBytes = 4
)

// oemStrings returns the strings of the structures "OEM Strings" of an SMBIOS table (DMTF DSP0134, 6.1.2 and 6.1.3 for the form of a structure
// and of its strings, 7.12 for this one). A table that ends within a structure gives what stands before.
func oemStrings(table []byte) []string {
	var all []string
	for len(table) >= structureHeaderBytes {
		kind, length := table[0], int(table[1])
		if kind == endOfTableType || length < structureHeaderBytes || length > len(table) {
			break
		}
		// Strings end with a NUL each, and the set with another one; without strings it is two NULs.
		set, rest, whole := bytes.Cut(table[length:], []byte{0, 0})
		if !whole {
			break
		}
		if kind == oemStringsType {
			for _, text := range bytes.Split(set, []byte{0}) {
				all = append(all, string(text))
			}
		}
		table = rest
	}
	return all
}

// readFile returns a file of sysfs, or nil if there is none. Larger than the limit is an error.
func readFile(path string, limitBytes int64) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limitBytes+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limitBytes {
		return nil, fmt.Errorf("read %s: larger than %d bytes", path, limitBytes)
	}
	return data, nil
}
