package signature

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Kind is what a signature is one of.
type Kind string

// The kinds.
const (
	PartitionTable Kind = "partition table"
	FileSystem     Kind = "file system"
	Encryption     Kind = "encryption"
	Volume         Kind = "volume manager"
	RAID           Kind = "RAID"
	Swap           Kind = "swap"
	// Unknown is data of no form that is in the table.
	Unknown Kind = "data"
)

// Found is one signature on a device.
type Found struct {
	Kind Kind
	// Name is that of the format, such as ext4.
	Name string
	// Offset is where its magic number is, in bytes from the beginning of the device.
	Offset int64
}

// String is for a person.
func (f Found) String() string {
	if f.Kind == Unknown {
		return f.Name
	}
	return fmt.Sprintf("%s (%s)", f.Name, f.Kind)
}

// EdgeBytes are read at the beginning and at the end of a device. What is not blank there is found, known or not.
const EdgeBytes = 1 << 20

// Range is a part of a device.
type Range struct{ Offset, Bytes int64 }

// Find returns what is on a device of a size, each format once, in the order of the table. What lies in except is not taken for unknown data; what the
// table knows is found there too. The error is of reading.
func Find(r io.ReaderAt, sizeBytes int64, except ...Range) ([]Found, error) {
	d, err := load(r, sizeBytes)
	if err != nil {
		return nil, err
	}
	var out []Found
	add := func(f Found) {
		if !slices.ContainsFunc(out, func(o Found) bool { return o.Name == f.Name }) {
			out = append(out, f)
		}
	}
	for _, m := range table() {
		for _, at := range m.at(sizeBytes) {
			if d.holds(at, m.magic) && (m.also == nil || m.also(d, at)) {
				add(Found{Kind: m.kind, Name: m.name, Offset: at})
			}
		}
	}
	if len(out) > 0 {
		return out, d.err
	}
	for _, e := range except {
		d.blank(e)
	}
	if at, some := d.firstByte(); some {
		add(Found{Kind: Unknown, Name: "data of no form that is known", Offset: at})
	}
	return out, d.err
}

// Names joins findings for a person.
func Names(found []Found) string {
	words := make([]string, len(found))
	for i, f := range found {
		words[i] = f.String()
	}
	return strings.Join(words, ", ")
}

// device is what was read of one.
type device struct {
	r    io.ReaderAt
	size int64
	// head and tail are its ends, which overlap on a small one.
	head, tail []byte
	// err is the first error of a look between them.
	err error
}

func load(r io.ReaderAt, size int64) (*device, error) {
	d := &device{r: r, size: size}
	n := max(min(size, EdgeBytes), 0)
	d.head, d.tail = make([]byte, n), make([]byte, n)
	if err := readFull(r, d.head, 0); err != nil {
		return nil, fmt.Errorf("read the beginning: %w", err)
	}
	if err := readFull(r, d.tail, size-n); err != nil {
		return nil, fmt.Errorf("read the end: %w", err)
	}
	return d, nil
}

// readFull takes the end of a device that comes with its last byte for no error.
func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	return err
}

// bytes returns a part of the device; nil if that is not on it.
func (d *device) bytes(at int64, n int) []byte {
	switch tail := d.size - int64(len(d.tail)); {
	case at < 0 || at > d.size-int64(n):
		return nil
	case at+int64(n) <= int64(len(d.head)):
		return d.head[at : at+int64(n)]
	case at >= tail:
		return d.tail[at-tail:][:n]
	}
	b := make([]byte, n)
	if err := readFull(d.r, b, at); err != nil {
		d.err = errors.Join(d.err, fmt.Errorf("read at byte %d: %w", at, err))
		return nil
	}
	return b
}

func (d *device) holds(at int64, magic string) bool {
	return string(d.bytes(at, len(magic))) == magic
}

// blank takes a part for zeros.
func (d *device) blank(r Range) {
	for _, edge := range []struct {
		b  []byte
		at int64
	}{{d.head, 0}, {d.tail, d.size - int64(len(d.tail))}} {
		from := min(max(r.Offset-edge.at, 0), int64(len(edge.b)))
		to := min(max(r.Offset+r.Bytes-edge.at, from), int64(len(edge.b)))
		clear(edge.b[from:to])
	}
}

// firstByte is where the first byte is that is not zero.
func (d *device) firstByte() (int64, bool) {
	if rest := bytes.TrimLeft(d.head, "\x00"); len(rest) > 0 {
		return int64(len(d.head) - len(rest)), true
	}
	rest := bytes.TrimLeft(d.tail, "\x00")
	return d.size - int64(len(rest)), len(rest) > 0
}
