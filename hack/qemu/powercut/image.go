package powercut

import (
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	// sectorBytes is what a disk writes as a whole or not at all.
	sectorBytes = 512
	// blockBytes is how much is cached, and kept on a medium, together.
	blockBytes = 8 * sectorBytes
)

// Image is the content of a disk. One that was opened or frozen does not change, and may be under several disks, read by several goroutines.
type Image struct {
	file *os.File
	// fileBytes are what of the file is content: there are zeros behind it.
	fileBytes int64
	// held says of each block whether the file has it; nil is all. What it does not have is read from below.
	held  []uint64
	below *Image
}

// OpenImage takes a file, which must not change, as the content of a disk. The caller closes it, after the disks that are on it.
func OpenImage(path string) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open image: %w", err), f.Close())
	}
	return &Image{file: f, fileBytes: info.Size()}, nil
}

// newLayer makes an image that can be written to, in a new file. It has nothing of its own yet.
func newLayer(below *Image, path string, sizeBytes int64) (*Image, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(sizeBytes); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	blocks := (sizeBytes + blockBytes - 1) / blockBytes
	return &Image{file: f, fileBytes: sizeBytes, held: make([]uint64, (blocks+63)/64), below: below}, nil
}

// has says whether a block is in the image's own file.
func (i *Image) has(block int64) bool {
	return i.held == nil || block/64 < int64(len(i.held)) && i.held[block/64]&(1<<(block%64)) != 0
}

// read fills p, of one block, with its content.
func (i *Image) read(block int64, p []byte) error {
	for ; i != nil; i = i.below {
		if !i.has(block) {
			continue
		}
		at := block * blockBytes
		n := 0
		if at < i.fileBytes {
			var err error
			n, err = i.file.ReadAt(p[:min(blockBytes, i.fileBytes-at)], at)
			if err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("read medium at byte %d: %w", at, err)
			}
		}
		clear(p[n:])
		return nil
	}
	clear(p)
	return nil
}

// write puts a whole block into the image's own file, of which zeros need no place.
func (i *Image) write(block int64, p []byte) error {
	at := block * blockBytes
	if i.has(block) || !isZero(p) {
		if _, err := i.file.WriteAt(p[:min(blockBytes, i.fileBytes-at)], at); err != nil {
			return fmt.Errorf("write medium at byte %d: %w", at, err)
		}
	}
	i.held[block/64] |= 1 << (block % 64)
	return nil
}

func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// Close closes the image's own file, and removes it if a disk has made it.
func (i *Image) Close() error {
	if i.held == nil {
		return i.file.Close()
	}
	return errors.Join(i.file.Close(), os.Remove(i.file.Name()))
}
