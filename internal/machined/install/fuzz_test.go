package install

import (
	"bytes"
	"encoding/hex"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// FuzzSelector asks for disks in any words: the answer is one disk that is not the node's, or an error.
func FuzzSelector(f *testing.F) {
	f.Add(">=100GB", "nvme", "SAMSUNG*", "S?75*", "eui.*", "nvme", "pci*")
	f.Add("<=1.5TiB", "", "", "", "", "", "")
	f.Fuzz(func(t *testing.T, size, kind, model, serial, wwn, bus, path string) {
		s := Selector{Sizes: []string{size}, Type: kind, Model: model, Serial: serial, WWN: wwn, Bus: bus, Path: path}
		d, err := Choose(machineDisks(), s)
		if err == nil && (d.System || len(s.Mismatches(d.identity())) > 0) {
			t.Errorf("%v chose %v", s, d)
		}
	})
}

// FuzzNote puts anything where the note of an installation is.
func FuzzNote(f *testing.F) {
	f.Add([]byte(`{"id":"b5a2b8a4-3a0f-4d43-9a7e-1f2b3c4d5e6f","plan":"ab","step":"esp","version":"1.2.3"}`))
	f.Add([]byte(`{"step":"begun"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := parseNote(data)
		if err != nil {
			return
		}
		d := newSimDisk(2 * mib)
		if err := n.write(d); err != nil {
			t.Skip(err) // a plan that is longer than any of ours
		}
		if _, err := readNote(d); err != nil {
			t.Error(err)
		}
	})
}

// FuzzCommandLine reads the command line of anything.
func FuzzCommandLine(f *testing.F) {
	f.Add(image("roothash=ab quiet")[:1000])
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, data []byte) {
		line, err := commandLine(bytes.NewReader(data))
		if err == nil && (len(line) > 3*maxLineBytes || strings.HasSuffix(line, "\x00")) {
			t.Errorf("a command line of %d bytes", len(line))
		}
	})
}

// FuzzTree reads anything as a hash tree and as the root of it. What comes through leads to the root hash.
func FuzzTree(f *testing.F) {
	root := bytes.Repeat([]byte("root"), 3*blockBytes/4)
	hash, tree := makeTree(f, root)
	f.Add(tree[:2*blockBytes], root, hash)
	f.Fuzz(func(t *testing.T, data, root []byte, hash string) {
		tree, err := readTree(bytes.NewReader(data), hash, mib)
		if err != nil {
			return
		}
		if raw, err := hex.DecodeString(hash); err != nil || len(raw) != 32 {
			t.Fatalf("a tree of root hash %q", hash)
		}
		out, err := io.ReadAll(&checked{from: bytes.NewReader(root), tree: &tree})
		if err == nil && !bytes.HasPrefix(root, out) {
			t.Error("something else was read than is there")
		}
	})
}

// FuzzTable puts anything where partition tables are.
func FuzzTable(f *testing.F) {
	l, err := newLayout(testDiskBytes, testSizes(), Release{Architecture: "amd64", RootHash: strings.Repeat("ab", 32)}, uuid.MustParse("b5a2b8a4-3a0f-4d43-9a7e-1f2b3c4d5e6f"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(l.tableWrites()[3].data, l.tableWrites()[1].data)
	f.Fuzz(func(t *testing.T, first, last []byte) {
		d := newSimDisk(2 * mib)
		d.WriteAt(first[:min(len(first), mib/2)], sectorBytes)
		last = last[:min(len(last), mib/2)]
		d.WriteAt(last, d.size-int64(len(last)))
		guids, err := tableGUIDs(d, d.size)
		if err != nil || len(guids) > 2 {
			t.Errorf("%v, %v", guids, err)
		}
		disk := Disk{SizeBytes: d.size}
		if err := Look(d, &disk); err != nil || disk.Note != nil {
			t.Errorf("%v, note %v", err, disk.Note)
		}
	})
}
