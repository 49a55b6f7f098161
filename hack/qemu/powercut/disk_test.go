package powercut

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// newDisk makes an empty disk, or one on an image.
func newDisk(t testing.TB, below *Image, sizeBytes, cacheBytes int64, seed uint64) *Disk {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "medium")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		t.Fatal(err)
	}
	d, err := New(below, f.Name(), sizeBytes, cacheBytes, rand.New(rand.NewPCG(seed, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func write(t *testing.T, d *Disk, at int64, p []byte) {
	t.Helper()
	if n, err := d.WriteAt(p, at); n != len(p) || err != nil {
		t.Fatalf("write at %d: %d, %v", at, n, err)
	}
}

func read(t *testing.T, d *Disk, at int64, length int) []byte {
	t.Helper()
	p := make([]byte, length)
	if n, err := d.ReadAt(p, at); n != length || err != nil {
		t.Fatalf("read at %d: %d, %v", at, n, err)
	}
	return p
}

// model is what each sector of a disk may hold, by the first byte of its content, which all have.
type model struct {
	// now is what the machine sees. may is what a cut may leave: what was there at the last flush, and all that was written since.
	now []byte
	may []map[byte]bool
}

func newModel(sectors int) *model {
	m := &model{now: make([]byte, sectors), may: make([]map[byte]bool, sectors)}
	for s := range m.may {
		m.may[s] = map[byte]bool{0: true}
	}
	return m
}

func (m *model) write(from, n int, value byte) {
	for s := from; s < from+n; s++ {
		m.now[s] = value
		m.may[s][value] = true
	}
}

// safe says that what is seen of some sectors is on the medium.
func (m *model) safe(from, n int) {
	for s := from; s < from+n; s++ {
		m.may[s] = map[byte]bool{m.now[s]: true}
	}
}

// check compares, after a cut or while the machine runs.
func (m *model) check(t *testing.T, d *Disk, cut bool) (lost int) {
	t.Helper()
	all := read(t, d, 0, len(m.now)*sectorBytes)
	for s := range m.now {
		sector := all[s*sectorBytes : (s+1)*sectorBytes]
		if !bytes.Equal(sector, bytes.Repeat(sector[:1], sectorBytes)) {
			t.Fatalf("sector %d was written in part: %x", s, sector)
		}
		got := sector[0]
		if cut && !m.may[s][got] || !cut && got != m.now[s] {
			t.Fatalf("sector %d (cut: %t) has %d; the machine saw %d, and %v may be left", s, cut, got, m.now[s], m.may[s])
		}
		if got != m.now[s] {
			lost++
		}
		m.now[s] = got
	}
	if cut {
		m.safe(0, len(m.now))
	}
	return lost
}

// TestWalk does everything in any order, with a cache that is too small, and cuts the power again and again.
func TestWalk(t *testing.T) {
	const sectors, blocks = 512, 512 / 8
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		d, m := newDisk(t, nil, sectors*sectorBytes, blocks/4*blockBytes, seed), newModel(sectors)
		lost := 0
		for step := range 2000 {
			from := r.IntN(sectors)
			n := 1 + r.IntN(min(32, sectors-from))
			value := byte(1 + step%255)
			at, length := int64(from)*sectorBytes, int64(n)*sectorBytes
			switch r.IntN(20) {
			case 0:
				if err := d.Flush(); err != nil {
					t.Fatal(err)
				}
				m.safe(0, sectors)
			case 1:
				loss, err := d.Cut()
				if err != nil || loss.LostBytes > loss.CachedBytes {
					t.Fatalf("cut: %+v, %v", loss, err)
				}
				lost += m.check(t, d, true)
			case 2:
				if err := d.Persist(at, length); err != nil {
					t.Fatal(err)
				}
				m.safe(from, n)
			case 3:
				if err := d.ZeroAt(at, length); err != nil {
					t.Fatal(err)
				}
				m.write(from, n, 0)
			case 4:
				m.check(t, d, false)
			default:
				write(t, d, at, bytes.Repeat([]byte{value}, int(length)))
				m.write(from, n, value)
			}
			if len(d.cache.order) > blocks/4+1 || len(d.cache.order) != len(d.cache.blocks) {
				t.Fatalf("%d blocks are in a cache for %d", len(d.cache.order), blocks/4)
			}
		}
		if lost == 0 {
			t.Errorf("seed %d: nothing was ever lost", seed)
		}
	}
}

// TestFates: over many cuts, a block that was not flushed is lost, kept, and torn.
func TestFates(t *testing.T) {
	fates := map[string]int{}
	for seed := range uint64(200) {
		d := newDisk(t, nil, 64*blockBytes, 64*blockBytes, seed)
		write(t, d, 5*blockBytes, bytes.Repeat([]byte{1}, blockBytes))
		if _, err := d.Cut(); err != nil {
			t.Fatal(err)
		}
		switch n := bytes.Count(read(t, d, 5*blockBytes, blockBytes), []byte{1}); n {
		case 0:
			fates["lost"]++
		case blockBytes:
			fates["kept"]++
		default:
			if n%sectorBytes != 0 {
				t.Fatalf("%d bytes were kept", n)
			}
			fates["torn"]++
		}
	}
	for _, fate := range []string{"lost", "kept", "torn"} {
		if fates[fate] == 0 {
			t.Errorf("no block was %s: %v", fate, fates)
		}
	}
}

// TestSeed: the same numbers and the same writes lose the same.
func TestSeed(t *testing.T) {
	left := func(seed uint64) []byte {
		d := newDisk(t, nil, 64*blockBytes, 16*blockBytes, seed)
		for block := range int64(64) {
			write(t, d, block*blockBytes, bytes.Repeat([]byte{byte(block + 1)}, blockBytes))
		}
		if _, err := d.Cut(); err != nil {
			t.Fatal(err)
		}
		return read(t, d, 0, 64*blockBytes)
	}
	differ := false
	for seed := range uint64(10) {
		if !bytes.Equal(left(seed), left(seed)) {
			t.Errorf("seed %d leaves something else each time", seed)
		}
		differ = differ || !bytes.Equal(left(seed), left(seed+1))
	}
	if !differ {
		t.Error("the seed changes nothing")
	}
}

// TestImages stacks disks on a file and on each other.
func TestImages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(path, bytes.Repeat([]byte{7}, 3*blockBytes+700), 0o600); err != nil {
		t.Fatal(err)
	}
	base, err := OpenImage(path)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	first := newDisk(t, base, 8*blockBytes, DefaultCacheBytes, 1)
	write(t, first, blockBytes, bytes.Repeat([]byte{8}, sectorBytes))
	if err := first.ZeroAt(2*blockBytes, blockBytes); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Freeze(); !errors.Is(err, ErrUnflushed) {
		t.Fatalf("freeze with a cache: %v", err)
	}
	if err := first.Flush(); err != nil {
		t.Fatal(err)
	}
	frozen, err := first.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Close()
	if _, err := first.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrEnded) {
		t.Errorf("read from a disk that was frozen: %v", err)
	}
	want := slab(7, blockBytes, 8, sectorBytes, 7, blockBytes-sectorBytes, 0, blockBytes, 7, 700, 0, 5*blockBytes-700)
	for i := range 2 {
		d := newDisk(t, frozen, 8*blockBytes, DefaultCacheBytes, 2)
		if !bytes.Equal(read(t, d, 0, 8*blockBytes), want) {
			t.Errorf("disk %d on the frozen one has another content", i)
		}
		// What one writes, the other does not see, nor at what it hides.
		write(t, d, 0, bytes.Repeat([]byte{9}, 8*blockBytes))
		if err := d.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	// It may be larger than what it is on.
	large := newDisk(t, frozen, 16*blockBytes, DefaultCacheBytes, 3)
	if !bytes.Equal(read(t, large, 0, 16*blockBytes), append(want, make([]byte, 8*blockBytes)...)) {
		t.Error("a larger disk has another content")
	}
	if got := read(t, large, blockBytes+sectorBytes-3, 6); !bytes.Equal(got, []byte{8, 8, 8, 7, 7, 7}) {
		t.Errorf("read between sectors: %d", got)
	}
}

// slab is so many bytes of each value.
func slab(values ...int) []byte {
	var p []byte
	for i := 0; i < len(values); i += 2 {
		p = append(p, bytes.Repeat([]byte{byte(values[i])}, values[i+1])...)
	}
	return p
}

func TestRange(t *testing.T) {
	d := newDisk(t, nil, 2*blockBytes, DefaultCacheBytes, 1)
	p := make([]byte, sectorBytes)
	for at, length := range map[int64]int{-sectorBytes: sectorBytes, 2 * blockBytes: sectorBytes, 100: sectorBytes, 0: 100, 1 << 62: sectorBytes} {
		if _, err := d.WriteAt(p[:length], at); !errors.Is(err, ErrRange) {
			t.Errorf("write %d bytes at %d: %v", length, at, err)
		}
	}
	if _, err := d.ReadAt(p, 2*blockBytes-1); !errors.Is(err, ErrRange) {
		t.Errorf("read across the end: %v", err)
	}
	if got := d.Stats(); got != (Stats{}) {
		t.Errorf("refused writes count: %+v", got)
	}
}
