package signature

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/google/go-cmp/cmp"
)

const testBytes = 70 << 20 // more than the farthest place of the table

// names are what is found on a device.
func names(t *testing.T, r io.ReaderAt, size int64, except ...Range) []string {
	t.Helper()
	found, err := Find(r, size, except...)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range found {
		out = append(out, f.Name)
	}
	return out
}

// TestTable writes each magic number of the table to each of its places: it is found there under its name. A number that asks for more gets it.
func TestTable(t *testing.T) {
	more := map[string]func(b []byte){
		"MBR":                 func(b []byte) { b[446+4] = 0x83 },
		"Apple partition map": func(b []byte) { copy(b, "ER") },
	}
	for _, m := range table() {
		if len(m.at(testBytes)) == 0 {
			t.Errorf("%s is looked for nowhere", m.name)
		}
		for _, at := range m.at(testBytes) {
			b := &sparse{size: testBytes}
			if do := more[m.name]; do != nil {
				do(b.page(0))
			}
			b.put(at, m.magic)
			found, err := Find(b, testBytes)
			if err != nil || !slices.ContainsFunc(found, func(f Found) bool { return f.Name == m.name && f.Kind == m.kind }) {
				t.Errorf("%s at %d: found %v, %v", m.name, at, found, err)
			}
		}
	}
}

// sparse is a device of zeros but for some pages.
type sparse struct {
	size  int64
	pages map[int64][]byte
}

const pageBytes = 4096

func (s *sparse) page(n int64) []byte {
	if s.pages == nil {
		s.pages = map[int64][]byte{}
	}
	if s.pages[n] == nil {
		s.pages[n] = make([]byte, pageBytes)
	}
	return s.pages[n]
}

func (s *sparse) put(at int64, text string) {
	for i := range len(text) {
		s.page((at + int64(i)) / pageBytes)[(at+int64(i))%pageBytes] = text[i]
	}
}

// ReadAt implements io.ReaderAt.
func (s *sparse) ReadAt(b []byte, at int64) (int, error) {
	n := int(max(min(int64(len(b)), s.size-at), 0))
	clear(b[:n])
	for page, data := range s.pages {
		from := page*pageBytes - at
		if from < 0 {
			data, from = data[min(-from, pageBytes):], 0
		}
		if from < int64(n) {
			copy(b[from:n], data)
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func TestBlankAndUnknown(t *testing.T) {
	for name, test := range map[string]struct {
		size   int64
		data   map[int64]string
		except []Range
		want   []string
	}{
		"blank":                      {testBytes, nil, nil, nil},
		"empty":                      {0, nil, nil, nil},
		"one byte":                   {1, nil, nil, nil},
		"a byte at the beginning":    {testBytes, map[int64]string{700000: "x"}, nil, []string{"data of no form that is known"}},
		"a byte at the end":          {testBytes, map[int64]string{testBytes - 1: "x"}, nil, []string{"data of no form that is known"}},
		"a byte in the middle":       {testBytes, map[int64]string{testBytes / 2: "x"}, nil, nil},
		"excepted":                   {testBytes, map[int64]string{700000: "x"}, []Range{{700000, 1}}, nil},
		"beside what is excepted":    {testBytes, map[int64]string{700000: "xy"}, []Range{{700000, 1}}, []string{"data of no form that is known"}},
		"excepted across both ends":  {1 << 20, map[int64]string{1000: "x"}, []Range{{-5, 1 << 30}}, nil},
		"known where it is excepted": {testBytes, map[int64]string{0: "XFSB"}, []Range{{0, 512}}, []string{"XFS"}},
		"a boot sector":              {testBytes, map[int64]string{510: "\x55\xAA"}, nil, []string{"data of no form that is known"}},
		"a boot sector with code":    {testBytes, map[int64]string{446: "\x33\xC0\x8E\xD0\x83", 510: "\x55\xAA"}, nil, []string{"data of no form that is known"}},
		"two":                        {testBytes, map[int64]string{1024 + 0x38: "\x53\xEF", 4086: "SWAPSPACE2"}, nil, []string{"ext2, ext3 or ext4", "swap space"}},
	} {
		s := &sparse{size: test.size}
		for at, text := range test.data {
			s.put(at, text)
		}
		if d := cmp.Diff(test.want, names(t, s, test.size, test.except...)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// TestRealPrograms: what the programs make is known by its name, and by no other.
func TestRealPrograms(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"mke2fs": {[]string{"-q", "-t", "ext4"}, []string{"ext2, ext3 or ext4"}},
		"mkswap": {nil, []string{"swap space"}},
		"cryptsetup": {
			[]string{"luksFormat", "--batch-mode", "--type=luks2", "--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000", "--key-file=/proc/version"}, []string{"LUKS"},
		},
		"mkfs.xfs":   {[]string{"-q"}, []string{"XFS"}},
		"mkfs.btrfs": {[]string{"-q"}, []string{"Btrfs"}},
	} {
		t.Run(name, func(t *testing.T) {
			program := find(name)
			if program == "" {
				if name == "mke2fs" {
					t.Fatal("mke2fs is not there, which the tests of storage need")
				}
				t.Skipf("%s is not on this machine; TestTable has its magic number", name)
			}
			path := filepath.Join(t.TempDir(), "device")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(512 << 20); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(program, append(test.args, path)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if d := cmp.Diff(test.want, names(t, f, 512<<20)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// find looks for a program in the folders of an administrator too.
func find(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name)
		}
	}
	return ""
}

func TestFAT(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "device"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 64 << 20
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := fat32.Create(file.New(f, false), size, 0, 512, "TEST", true); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"FAT"}, names(t, f, size)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// broken fails from an offset on.
type broken struct {
	*bytes.Reader
	from int64
}

var errBroken = errors.New("input/output error")

func (b broken) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > b.from {
		return 0, errBroken
	}
	return b.Reader.ReadAt(p, at)
}

// TestReadErrors: a disk that cannot be read is not taken for a blank one.
func TestReadErrors(t *testing.T) {
	device := bytes.NewReader(make([]byte, 5<<20))
	for _, from := range []int64{0, 2 << 20, 5<<20 - 1} {
		if _, err := Find(broken{device, from}, 5<<20); !errors.Is(err, errBroken) {
			t.Errorf("broken from %d on: %v", from, err)
		}
	}
	if _, err := Find(device, 6<<20); err == nil {
		t.Error("a device that is shorter than it was said to be gave no error")
	}
}

func ExampleNames() {
	fmt.Println(Names([]Found{{PartitionTable, "GPT", 512}, {Unknown, "data of no form that is known", 9}}))
	// Output: GPT (partition table), data of no form that is known
}

// FuzzFind puts anything at both ends of a device of any size.
func FuzzFind(f *testing.F) {
	f.Add([]byte("XFSB"), []byte("\xFC\x4E\x2B\xA9"), uint32(1<<20))
	f.Add([]byte{}, []byte{}, uint32(0))
	f.Fuzz(func(t *testing.T, head, tail []byte, size uint32) {
		b := make([]byte, size%(3<<20))
		copy(b, head)
		copy(b[max(len(b)-len(tail), 0):], tail)
		found, err := Find(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		edge := min(len(b), EdgeBytes)
		blank := len(bytes.Trim(b[:edge], "\x00"))+len(bytes.Trim(b[len(b)-edge:], "\x00")) == 0
		if blank && len(found) > 0 && found[0].Kind == Unknown || !blank && len(found) == 0 {
			t.Errorf("blank: %t, found %v", blank, found)
		}
		for _, x := range found {
			if x.Offset < 0 || x.Offset >= int64(len(b)) {
				t.Errorf("%v lies outside", x)
			}
		}
	})
}
