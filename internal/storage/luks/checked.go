package luks

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Check says whether the header of a volume, both copies of it, is of the form that the node makes: the error is ErrForm where it is not, ErrNone or
// ErrDamaged where there is none to be read.
func Check(device string) error {
	f, err := os.Open(device)
	if err != nil {
		return fmt.Errorf("check LUKS header: %w", err)
	}
	defer f.Close()
	if _, err := readChecked(f); err != nil {
		return fmt.Errorf("check LUKS header of %s: %w", device, err)
	}
	return nil
}

// checkedCopy returns a file in memory with the header of a volume: what was checked, and nothing that the device, or who sits between, says when it is
// asked again. The caller closes it.
func checkedCopy(device string) (*os.File, error) {
	f, err := os.Open(device)
	if err != nil {
		return nil, fmt.Errorf("check LUKS header: %w", err)
	}
	defer f.Close()
	header, err := readChecked(f)
	if err != nil {
		return nil, fmt.Errorf("check LUKS header of %s: %w", device, err)
	}
	fd, err := unix.MemfdCreate("luks-header", unix.MFD_CLOEXEC) // since Linux 3.17
	if err != nil {
		return nil, fmt.Errorf("make file in memory: %w", err)
	}
	memory := os.NewFile(uintptr(fd), "luks-header")
	if _, err := memory.WriteAt(header, 0); err != nil {
		memory.Close()
		return nil, fmt.Errorf("copy LUKS header of %s: %w", device, err)
	}
	return memory, nil
}

// readChecked reads a header of the node's form with all its key slots: HeaderBytes, in which both copies are the one that counts, so that whoever reads
// it finds no other. That is the newer one of those that are whole, and the first of two that are as new: so cryptsetup has it (LUKS2_disk_hdr_read). All that
// are whole have to be of the form, since what changes a header reads it from the device.
func readChecked(r io.ReaderAt) ([]byte, error) {
	header := make([]byte, HeaderBytes)
	n, err := r.ReadAt(header, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n < HeaderBytes {
		return nil, fmt.Errorf("%w: the device ends after %d bytes of it", ErrForm, n)
	}
	var counts []byte
	worst := ErrNone
	for i := range 2 {
		part := header[i*minHeaderBytes : (i+1)*minHeaderBytes]
		switch err := checkCopy(part, i); {
		case errors.Is(err, ErrNone):
		case errors.Is(err, ErrDamaged):
			worst = err
		case err != nil:
			return nil, fmt.Errorf("%w: copy %d: %w", ErrForm, i+1, err)
		case counts == nil || sequence(part) > sequence(counts):
			counts = part
		}
	}
	if counts == nil {
		return nil, worst
	}
	counts = slices.Clone(counts)
	for i := range 2 {
		place(header[i*minHeaderBytes:(i+1)*minHeaderBytes], counts, i)
	}
	return header, nil
}

// magicOf are the magic numbers of the copies, in their order.
func magicOf(i int) string { return []string{primaryMagic, secondaryMagic}[i] }

func sequence(part []byte) uint64 { return binary.BigEndian.Uint64(part[seqOffset:]) }

// checkCopy looks at one copy of a header. It is ErrNone or ErrDamaged where cryptsetup takes it for none, and another error where it may take it for one
// and the node has not made it.
func checkCopy(part []byte, i int) error {
	switch {
	case !bytes.HasPrefix(part, []byte(magicOf(i))):
		return ErrNone
	case binary.BigEndian.Uint16(part[versionOffset:]) != 2, binary.BigEndian.Uint64(part[placeOffset:]) != uint64(i*minHeaderBytes):
		return ErrDamaged
	}
	if size := binary.BigEndian.Uint64(part[sizeOffset:]); size != minHeaderBytes {
		return fmt.Errorf("it has %d bytes, expected %d", size, minHeaderBytes)
	}
	if kind := text(part[sumKindOffset : sumKindOffset+sumKindBytes]); kind != sumKind {
		return fmt.Errorf("checksum of the kind %q, expected %s", kind, sumKind)
	}
	sum := checksum(part)
	if !bytes.Equal(sum[:], part[sumOffset:sumOffset+sha256.Size]) {
		return ErrDamaged
	}
	return checkForm(part[binaryBytes:])
}

// checksum is that of a copy of a header, in which its own place counts as zeros.
func checksum(part []byte) [sha256.Size]byte {
	part = bytes.Clone(part)
	clear(part[sumOffset : sumOffset+sumBytes])
	return sha256.Sum256(part)
}

// place writes a copy of a header into its place as copy i.
func place(to, from []byte, i int) {
	copy(to, from)
	copy(to, magicOf(i))
	binary.BigEndian.PutUint64(to[placeOffset:], uint64(i*minHeaderBytes))
	sum := checksum(to)
	clear(to[sumOffset : sumOffset+sumBytes])
	copy(to[sumOffset:], sum[:])
}
