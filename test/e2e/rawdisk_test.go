package e2e

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
)

// rawPartition is a partition of a raw disk image. What it writes is for a machine that is off.
type rawPartition struct {
	disk string
	place
}

// partition finds one on the node's disk, whose image is a raw one.
func (s *suite) partition(t *testing.T, name string) rawPartition {
	t.Helper()
	disk, format := s.Disk(s.node)
	if format != "raw" {
		t.Fatalf("the node's disk is an image of the format %s", format)
	}
	found, err := places(disk)
	if err != nil {
		t.Fatal(err)
	}
	at, ok := found[name]
	if !ok {
		t.Fatalf("%s has no partition %s", disk, name)
	}
	return rawPartition{disk, at}
}

func (p rawPartition) open(t *testing.T, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(p.disk, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (p rawPartition) read(t *testing.T, at int64, n int) []byte {
	t.Helper()
	f := p.open(t, os.O_RDONLY)
	defer f.Close()
	data := make([]byte, n)
	if _, err := f.ReadAt(data, p.start+at); err != nil {
		t.Fatal(err)
	}
	return data
}

// seekData is lseek's SEEK_DATA (Linux 3.1): the next place that is no hole of a file, and ENXIO where there is none. File systems that do not know holes have
// data everywhere.
const seekData = 3

// find returns where a text is, in bytes from the partition's start. The text has no zeros, of which holes of the image consist.
func (p rawPartition) find(t *testing.T, text string) (found []int64) {
	t.Helper()
	f := p.open(t, os.O_RDONLY)
	defer f.Close()
	piece := make([]byte, 4*mib+len(text)-1)
	for at := int64(0); at < p.size; at += 4 * mib {
		data, err := f.Seek(p.start+at, seekData)
		if errors.Is(err, syscall.ENXIO) {
			break
		}
		if err == nil && data > p.start+at {
			if at = data - p.start; at >= p.size {
				break
			}
		}
		n, err := f.ReadAt(piece[:min(int64(len(piece)), p.size-at)], p.start+at)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		for from := 0; ; {
			i := bytes.Index(piece[from:n], []byte(text))
			if i < 0 {
				break
			}
			found = append(found, at+int64(from+i))
			from += i + 1
		}
	}
	return found
}

// replace puts a text of the same length in the place of another, wherever that is. It has to be somewhere.
func (p rawPartition) replace(t *testing.T, old, new string) {
	t.Helper()
	if len(old) != len(new) {
		t.Fatalf("replace %q by %q, which is not as long", old, new)
	}
	places := p.find(t, old)
	if len(places) == 0 {
		t.Fatalf("%q is not on the partition", old)
	}
	f := p.open(t, os.O_RDWR)
	defer f.Close()
	for _, at := range places {
		if _, err := f.WriteAt([]byte(new), p.start+at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// put makes a file on the partition, which is FAT32.
func (p rawPartition) put(t *testing.T, name, text string) {
	t.Helper()
	f := p.open(t, os.O_RDWR)
	defer f.Close()
	volume, err := fat32.Read(file.New(f, false), p.size, p.start, 512)
	if err != nil {
		t.Fatal(err)
	}
	out, err := volume.OpenFile(name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// TestRawPartition: what is put and replaced is there, and nothing else has changed.
func TestRawPartition(t *testing.T) {
	const start, size = 3 * mib, 64 * mib
	p := rawPartition{filepath.Join(t.TempDir(), "disk"), place{start, size}}
	f, err := os.Create(p.disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(start + size + mib); err != nil {
		t.Fatal(err)
	}
	volume, err := fat32.Create(file.New(f, false), size, start, 512, "ESP", true)
	if err != nil {
		t.Fatal(err)
	}
	const before = "/loader/entries/cyvive-a.conf"
	if err := volume.Mkdir(path.Dir(before)); err != nil {
		t.Fatal(err)
	}
	p.put(t, before, "title Cyvive\noptions x\n")
	p.put(t, "/loader/entries/changed.conf", changedEntry("b", "roothash=ab"))
	// Across the border of two pieces, and outside of the partition.
	const across = 4*mib - 3
	for _, at := range []int64{start + across, start + size + 10} {
		if _, err := f.WriteAt([]byte("border"), at); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.find(t, "border"); len(got) != 1 || got[0] != across {
		t.Errorf("found at %v, want %d", got, across)
	}
	p.replace(t, "\noptions roothash=ab", "\n#ptions roothash=ab")
	for name, want := range map[string]string{
		before: "title Cyvive\noptions x\n", "/loader/entries/changed.conf": strings.Replace(changedEntry("b", "roothash=ab"), "\noptions", "\n#ptions", 1),
	} {
		volume, err := fat32.Read(file.New(f, true), size, start, 512)
		if err != nil {
			t.Fatal(err)
		}
		in, err := volume.OpenFile(name, os.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(in)
		if err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v; want %q", name, got, err, want)
		}
	}
}
