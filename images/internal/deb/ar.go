package deb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
)

// ErrFormat is wrapped by every error that says that the input is not what
// the format asks for.
var ErrFormat = errors.New("not a Debian package")

// Archive reads the members of an ar archive in their order.
type Archive struct {
	r    io.Reader
	left int64 // bytes of the present member that were not read yet
	pad  int64 // 1 when the present member is followed by a padding byte
}

// NewArchive checks the archive's magic and returns its reader.
func NewArchive(r io.Reader) (*Archive, error) {
	magic := make([]byte, len(arMagic))
	if _, err := io.ReadFull(r, magic); err != nil {
		return nil, fmt.Errorf("read ar magic: %w: %w", ErrFormat, err)
	}
	if string(magic) != arMagic {
		return nil, fmt.Errorf("read ar magic: %w: got %q", ErrFormat, magic)
	}
	return &Archive{r: r}, nil
}

// Next moves to the next member and returns its name and size in bytes, or
// io.EOF behind the last one. The member is then read from the Archive.
func (a *Archive) Next() (string, int64, error) {
	if _, err := io.CopyN(io.Discard, a.r, a.left+a.pad); err != nil {
		return "", 0, fmt.Errorf("skip ar member: %w: %w", ErrFormat, err)
	}
	a.left, a.pad = 0, 0
	var h [arHeaderSize]byte
	if _, err := io.ReadFull(a.r, h[:]); err == io.EOF {
		return "", 0, io.EOF
	} else if err != nil {
		return "", 0, fmt.Errorf("read ar header: %w: %w", ErrFormat, err)
	}
	if !bytes.Equal(h[58:], []byte("`\n")) {
		return "", 0, fmt.Errorf("read ar header: %w: bad end %q", ErrFormat, h[58:])
	}
	size, err := strconv.ParseInt(strings.TrimSpace(string(h[48:58])), 10, 64)
	if err != nil || size < 0 {
		return "", 0, fmt.Errorf("read ar header: %w: size %q", ErrFormat, h[48:58])
	}
	a.left, a.pad = size, size%2
	name := strings.TrimSuffix(strings.TrimRight(string(h[:16]), " "), "/")
	return name, size, nil
}

// Read reads from the present member.
func (a *Archive) Read(p []byte) (int, error) {
	if a.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > a.left {
		p = p[:a.left]
	}
	n, err := a.r.Read(p)
	a.left -= int64(n)
	if err == io.EOF && a.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
