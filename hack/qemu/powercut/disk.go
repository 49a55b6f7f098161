package powercut

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

const (
	// DefaultCacheBytes is the cache of a disk: that of a small one.
	DefaultCacheBytes = 32 << 20
	// writeBack is how many blocks are written for one that the disk writes out by itself. So an older content than the last may be what a sector has.
	writeBack = 16
)

// ErrRange says that bytes are not on the disk, or no whole sectors.
var ErrRange = errors.New("not on the disk")

// ErrUnflushed says that the cache is not empty, ErrEnded that the disk was frozen or closed.
var (
	ErrUnflushed = errors.New("there is something in the cache that was not flushed")
	ErrEnded     = errors.New("the disk was given up")
)

// ErrBroken is what a machine gets, as an I/O error, of a disk that Break has broken.
var ErrBroken = errors.New("the disk is broken")

// Disk is a disk with a volatile cache. Its methods may be called concurrently.
type Disk struct {
	broken atomic.Bool

	mu        sync.Mutex
	medium    *Image
	sizeBytes int64
	cache     cache
	rand      *rand.Rand
	stats     Stats
}

// Stats count what was asked of a disk.
type Stats struct {
	// WrittenBytes are those of all writes, zeros included.
	WrittenBytes int64
	// Flushes are those that were asked for.
	Flushes int64
}

// New makes a disk with the content of an image, which may be nil for an empty one. What is written goes into a new file. The random numbers
// decide what is lost; they belong to the disk from then on.
func New(below *Image, path string, sizeBytes, cacheBytes int64, random *rand.Rand) (*Disk, error) {
	if sizeBytes <= 0 || sizeBytes%blockBytes != 0 || cacheBytes < blockBytes {
		return nil, fmt.Errorf("make disk: size of %d bytes, expected a multiple of %d, with a cache of %d", sizeBytes, blockBytes, cacheBytes)
	}
	medium, err := newLayer(below, path, sizeBytes)
	if err != nil {
		return nil, fmt.Errorf("make disk: %w", err)
	}
	return &Disk{medium: medium, sizeBytes: sizeBytes, cache: newCache(int(cacheBytes / blockBytes)), rand: random}, nil
}

// Break has each read, write and flush of a machine fail from now on, or mends the disk. What it holds stays as it is.
func (d *Disk) Break(broken bool) { d.broken.Store(broken) }

// SizeBytes is the disk's size.
func (d *Disk) SizeBytes() int64 { return d.sizeBytes }

// Stats returns the counts since the disk was made.
func (d *Disk) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}

// ReadAt implements io.ReaderAt. It sees what was written, flushed or not.
func (d *Disk) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 || int64(len(p)) > d.sizeBytes-at {
		return 0, fmt.Errorf("read %d bytes at %d: %w", len(p), at, ErrRange)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var whole [blockBytes]byte
	for n := 0; n < len(p); {
		block, from := (at+int64(n))/blockBytes, (at+int64(n))%blockBytes
		if err := d.seen(block, whole[:]); err != nil {
			return n, err
		}
		n += copy(p[n:], whole[from:])
	}
	return len(p), nil
}

// seen is a block as the machine sees it.
func (d *Disk) seen(block int64, p []byte) error {
	if d.medium == nil {
		return ErrEnded
	}
	if err := d.medium.read(block, p); err != nil {
		return err
	}
	if c := d.cache.blocks[block]; c != nil {
		c.overlay(p, c.mask)
	}
	return nil
}

// WriteAt implements io.WriterAt, for whole sectors. What it writes is in the cache only.
func (d *Disk) WriteAt(p []byte, at int64) (int, error) {
	if err := d.put(at, int64(len(p)), p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ZeroAt writes zeros, to the cache as well.
func (d *Disk) ZeroAt(at, length int64) error { return d.put(at, length, nil) }

// put writes p, or zeros.
func (d *Disk) put(at, length int64, p []byte) error {
	if at < 0 || length > d.sizeBytes-at || at%sectorBytes != 0 || length%sectorBytes != 0 {
		return fmt.Errorf("write %d bytes at %d: %w", length, at, ErrRange)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.medium == nil {
		return ErrEnded
	}
	d.stats.WrittenBytes += length
	var zeros [blockBytes]byte
	for n := int64(0); n < length; {
		block, from := (at+n)/blockBytes, (at+n)%blockBytes
		piece := min(blockBytes-from, length-n)
		data := zeros[:piece]
		if p != nil {
			data = p[n : n+piece]
		}
		d.cache.put(block, int(from), data)
		n += piece
		if err := d.writeBack(); err != nil {
			return err
		}
	}
	return nil
}

// writeBack writes a block out, at random: now and then, and when the cache is full.
func (d *Disk) writeBack() error {
	if d.cache.full() || d.rand.IntN(writeBack) == 0 {
		return d.out(d.cache.take(d.rand.IntN(len(d.cache.order))))
	}
	return nil
}

// out puts the cached sectors of a block on the medium.
func (d *Disk) out(c *cached) error { return d.outMasked(c, c.mask) }

func (d *Disk) outMasked(c *cached, mask uint8) error {
	if mask == 0 {
		return nil
	}
	var whole [blockBytes]byte
	if mask != allSectors {
		if err := d.medium.read(c.block, whole[:]); err != nil {
			return err
		}
	}
	c.overlay(whole[:], mask)
	return d.medium.write(c.block, whole[:])
}

// Flush puts all of the cache on the medium.
func (d *Disk) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.Flushes++
	return d.flush()
}

func (d *Disk) flush() error {
	for len(d.cache.order) > 0 {
		if err := d.out(d.cache.take(len(d.cache.order) - 1)); err != nil {
			return err
		}
	}
	return nil
}

// Persist puts what the cache has of a range on the medium, whole blocks of it. It is what FUA asks for after a write.
func (d *Disk) Persist(at, length int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for block := at / blockBytes; block*blockBytes < at+length; block++ {
		if c := d.cache.blocks[block]; c != nil {
			if err := d.out(d.cache.take(c.index)); err != nil {
				return err
			}
		}
	}
	return nil
}
