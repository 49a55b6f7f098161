package ringlog

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"syscall"
)

// headBytes is how much of a file's beginning tells it from another of the same
// number.
const headBytes = 128

// Position is a place in a ring: a file, and how much of it was read. Head is of the
// file's beginning, since another file may get its number when the folder is a new
// one. The zero Position is before all that a ring has.
type Position struct {
	Inode  uint64 `json:"inode"`
	Offset int64  `json:"offset"`
	Head   uint32 `json:"head"`
}

// piece is the part of a file that is to be read.
type piece struct {
	file     *os.File
	inode    uint64
	from, to int64
	read     int64
}

// Since returns what the ring of a service has behind a position, and the position
// behind that; name is as Names has it. It returns maxBytes at most, the newest, and
// whole lines: one that has not ended is left for the next call, unless it alone is as
// long as that, or unended is set. Missing says that something behind the position
// was not returned, and will not be: it was more than maxBytes, or has left the ring.
func (s Source) Since(name string, at Position, maxBytes int64, unended bool) (data []byte, next Position, missing bool, err error) {
	pieces, gone, err := s.pieces(name+".log", at)
	defer closePieces(pieces)
	if err != nil || len(pieces) == 0 {
		return nil, at, false, err
	}
	over := newest(pieces, maxBytes)
	for i := range pieces {
		if data, err = pieces[i].appendTo(data); err != nil {
			return nil, at, false, err
		}
	}
	begin := 0
	if over {
		begin = bytes.IndexByte(data, '\n') + 1 // of a line that is longer than all, its end is better than nothing
	}
	end := max(begin, bytes.LastIndexByte(data, '\n')+1)
	if unended || end == 0 && int64(len(data)) >= maxBytes {
		end = len(data)
	}
	if next, err = before(pieces, int64(len(data)-end)); err != nil {
		return nil, at, false, err
	}
	return data[begin:end], next, gone || over, nil
}

// pieces opens what a ring has behind a position, the older file first. Gone says that
// the file of the position is not in the ring any more. The caller closes them.
func (s Source) pieces(name string, at Position) (out []piece, gone bool, err error) {
	current, previous, err := s.files(name)
	if err != nil {
		return nil, false, err
	}
	for _, f := range []*os.File{previous, current} {
		if f != nil {
			out = append(out, piece{file: f})
		}
	}
	first := 0
	for i := range out {
		p := &out[i]
		info, err := p.file.Stat()
		if err != nil {
			closePieces(out)
			return nil, false, fmt.Errorf("read log: %w", err)
		}
		p.inode, p.to = inodeOf(info), info.Size()
		if at.Inode == 0 || p.inode != at.Inode || at.Offset < 0 || at.Offset > p.to {
			continue
		}
		head, err := headOf(p.file, at.Offset)
		if err != nil {
			closePieces(out)
			return nil, false, err
		}
		if head == at.Head {
			first, p.from = i, at.Offset
		}
	}
	gone = at.Inode != 0 && len(out) > 0 && (out[first].inode != at.Inode || out[first].from != at.Offset)
	closePieces(out[:first])
	return out[first:], gone, nil
}

// newest leaves of the pieces no more than maxBytes, the newest, and reports whether
// they were more.
func newest(pieces []piece, maxBytes int64) (more bool) {
	room := maxBytes
	for i := len(pieces) - 1; i >= 0; i-- {
		p := &pieces[i]
		if p.to-p.from > room {
			p.from, more = p.to-room, true
		}
		room -= p.to - p.from
	}
	return more
}

// appendTo reads the piece. A file that is shorter by now gives less.
func (p *piece) appendTo(data []byte) ([]byte, error) {
	buf := make([]byte, p.to-p.from)
	n, err := io.ReadFull(io.NewSectionReader(p.file, p.from, int64(len(buf))), buf)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read log: %w", err)
	}
	p.read = int64(n)
	return append(data, buf[:n]...), nil
}

// before is the position so many bytes before the end of what was read.
func before(pieces []piece, rest int64) (Position, error) {
	i := len(pieces) - 1
	for i > 0 && rest > pieces[i].read {
		rest -= pieces[i].read
		i--
	}
	p := pieces[i]
	at := Position{Inode: p.inode, Offset: p.from + p.read - rest}
	var err error
	at.Head, err = headOf(p.file, at.Offset)
	return at, err
}

// headOf is the sum of a file's beginning, of no more than what is before offset.
func headOf(f *os.File, offset int64) (uint32, error) {
	var buf [headBytes]byte
	n, err := io.ReadFull(io.NewSectionReader(f, 0, min(offset, headBytes)), buf[:min(offset, headBytes)])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, fmt.Errorf("read log: %w", err)
	}
	return crc32.ChecksumIEEE(buf[:n]), nil
}

func closePieces(pieces []piece) {
	for _, p := range pieces {
		_ = p.file.Close() // opened for reading
	}
}

// inodeOf is a file's number, 0 where there is none.
func inodeOf(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
