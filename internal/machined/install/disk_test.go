package install

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
)

// simDisk is a disk in memory that can lose its power: what was not synced is then there, or not, or in part, sector by sector.
type simDisk struct {
	size int64
	// durable is what is on the disk for good, cache what is read; pages of zeros are absent. A page is never changed, but another one takes its place, so
	// that disks may share them.
	durable, cache map[int64][]byte
	pending        []write
	// left is how many writes succeed; with the next one the power fails. broken fails instead, and loses nothing.
	left   int
	broken error
	cut    bool
	random *rand.Rand
	// writes counts them.
	writes   int
	discards int
}

const pageBytes = 4096

var errCut = errors.New("the power failed")

func newSimDisk(size int64) *simDisk {
	return &simDisk{size: size, durable: map[int64][]byte{}, cache: map[int64][]byte{}, left: 1 << 30, random: rand.New(rand.NewPCG(1, 2))}
}

// ReadAt implements io.ReaderAt.
func (d *simDisk) ReadAt(b []byte, at int64) (int, error) {
	if d.cut {
		return 0, errCut
	}
	if at >= d.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), d.size-at))
	for i := 0; i < n; {
		page, within := (at+int64(i))/pageBytes, int((at+int64(i))%pageBytes)
		m := min(n-i, pageBytes-within)
		if data := d.cache[page]; data != nil {
			copy(b[i:i+m], data[within:])
		} else {
			clear(b[i : i+m])
		}
		i += m
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// putPages writes into pages.
func putPages(pages map[int64][]byte, at int64, b []byte) {
	for len(b) > 0 {
		page, within := at/pageBytes, int(at%pageBytes)
		m := min(len(b), pageBytes-within)
		data := pages[page]
		if data == nil && zeros(b[:m]) {
			at, b = at+int64(m), b[m:]
			continue
		}
		fresh := make([]byte, pageBytes)
		copy(fresh, data)
		copy(fresh[within:], b[:m])
		if pages[page] = fresh; zeros(fresh) {
			delete(pages, page)
		}
		at, b = at+int64(m), b[m:]
	}
}

// blankPage is one of zeros. To compare with it costs little, with the race detector too.
var blankPage = make([]byte, pageBytes)

func zeros(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), pageBytes)
		if !bytes.Equal(b[:n], blankPage[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// WriteAt implements io.WriterAt.
func (d *simDisk) WriteAt(b []byte, at int64) (int, error) {
	if d.cut {
		return 0, errCut
	}
	if at < 0 || at+int64(len(b)) > d.size {
		return 0, errors.New("outside of the disk")
	}
	d.writes++
	if d.left--; d.left < 0 {
		if d.broken != nil {
			return 0, d.broken
		}
		d.pending = append(d.pending, write{at, b})
		d.powerOff()
		return 0, errCut
	}
	putPages(d.cache, at, b)
	d.pending = append(d.pending, write{at, append([]byte(nil), b...)})
	return len(b), nil
}

// powerOff keeps some of what was not synced.
func (d *simDisk) powerOff() {
	d.cut = true
	for _, w := range d.pending {
		for len(w.data) > 0 {
			n := min(len(w.data), sectorBytes-int(w.at%sectorBytes))
			if d.random.IntN(2) == 0 {
				putPages(d.durable, w.at, w.data[:n])
			}
			w.at, w.data = w.at+int64(n), w.data[n:]
		}
	}
	d.pending = nil
}

// powerOn starts the machine again.
func (d *simDisk) powerOn() {
	d.cut, d.left, d.pending = false, 1<<30, nil
	d.cache = maps.Clone(d.durable)
}

// Sync implements Device.
func (d *simDisk) Sync() error {
	if d.cut {
		return errCut
	}
	if d.broken != nil && d.left < 0 {
		return d.broken
	}
	for _, w := range d.pending {
		putPages(d.durable, w.at, w.data)
	}
	d.pending = nil
	return nil
}

// Discard implements Device: what is read then is anything.
func (d *simDisk) Discard(at, n int64) error {
	d.discards++
	for page := range d.cache {
		if page*pageBytes >= at && (page+1)*pageBytes <= at+n {
			junk := d.junk()
			putPages(d.cache, page*pageBytes, junk)
			putPages(d.durable, page*pageBytes, junk)
		}
	}
	return nil
}

// junk is a page of anything.
func (d *simDisk) junk() []byte {
	b := make([]byte, pageBytes)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], d.random.Uint64())
	}
	return b
}

func (d *simDisk) Renew() error { return nil }
func (d *simDisk) Close() error { return nil }

// clone is the same disk in another world.
func (d *simDisk) clone(seed uint64) *simDisk {
	c := newSimDisk(d.size)
	c.random = rand.New(rand.NewPCG(seed, 3))
	c.durable = maps.Clone(d.durable)
	c.powerOn()
	return c
}
