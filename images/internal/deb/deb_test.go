package deb

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// member is one entry of an ar archive under test.
type member struct {
	name string
	data []byte
}

func arArchive(members ...member) []byte {
	var b bytes.Buffer
	b.WriteString(arMagic)
	for _, m := range members {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", m.name, 0, 0, 0, 0o100644, len(m.data))
		b.Write(m.data)
		if len(m.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

func dataTar(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "./usr/", Mode: 0o755},
		{Typeflag: tar.TypeReg, Name: "./usr/file", Mode: 0o4755, Size: 3},
	} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte("abc")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compress(t testing.TB, name string, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch name {
	case "data.tar.xz":
		w, err = xz.NewWriter(&b)
	case "data.tar.zst":
		w, err = zstd.NewWriter(&b)
	case "data.tar.gz":
		w = gzip.NewWriter(&b)
	default:
		return plain
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWalk(t *testing.T) {
	for _, name := range []string{"data.tar", "data.tar.gz", "data.tar.xz", "data.tar.zst"} {
		t.Run(name, func(t *testing.T) {
			file := arArchive(
				member{"debian-binary", []byte("2.0\n")},
				member{"control.tar.xz", []byte("odd")},
				member{name, compress(t, name, dataTar(t))},
			)
			var got []string
			err := Walk(bytes.NewReader(file), func(h *tar.Header, r io.Reader) error {
				b, err := io.ReadAll(r)
				got = append(got, fmt.Sprintf("%s %o %s", h.Name, h.Mode, b))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"./usr/ 755 ", "./usr/file 4755 abc"}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("entries (-want +got):\n%s", d)
			}
		})
	}
}

func TestWalkRefuses(t *testing.T) {
	whole := arArchive(member{"debian-binary", []byte("2.0\n")}, member{"data.tar", dataTar(t)})
	tests := map[string][]byte{
		"empty":         nil,
		"other magic":   []byte("!<arch>x and more"),
		"no data":       arArchive(member{"debian-binary", []byte("2.0\n")}),
		"short header":  whole[:len(arMagic)+20],
		"bad size":      bytes.Replace(whole, []byte("4         `"), []byte("x         `"), 1),
		"negative size": bytes.Replace(whole, []byte("4         `"), []byte("-4        `"), 1),
	}
	for name, file := range tests {
		t.Run(name, func(t *testing.T) {
			err := Walk(bytes.NewReader(file), func(*tar.Header, io.Reader) error { return nil })
			if !errors.Is(err, ErrFormat) {
				t.Errorf("got %v, want an error of the format", err)
			}
		})
	}
	if err := Walk(bytes.NewReader(whole[:len(whole)-1500]), func(*tar.Header, io.Reader) error { return nil }); err == nil {
		t.Error("a truncated data archive was accepted")
	}
}

func TestReadParagraphs(t *testing.T) {
	text := "# comment\nPackage: a\nDepends: b,\n c (>= 1)\n\n\nPackage: d\n"
	var got []Paragraph
	err := ReadParagraphs(strings.NewReader(text), func(p Paragraph) error { got = append(got, p); return nil })
	if err != nil {
		t.Fatal(err)
	}
	want := []Paragraph{{"Package": "a", "Depends": "b,\nc (>= 1)"}, {"Package": "d"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("paragraphs (-want +got):\n%s", d)
	}
	for _, bad := range []string{" continues\n", "no colon\n", ": no name\n"} {
		if err := ReadParagraphs(strings.NewReader(bad), func(Paragraph) error { return nil }); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	ordered := []string{
		"1.0~rc1-1", "1.0-1", "1.0-1+b1", "1.0-1.1", "1.0-2", "1.0a-1", "1.0+dfsg-1", "1.2-1", "1.10-1",
		"6.12.107-1", "6.12.117-1", "1:0.1-1",
	}
	for i, a := range ordered {
		for j, b := range ordered {
			if got, err := CompareVersions(a, b); err != nil || sign(got) != sign(i-j) {
				t.Errorf("CompareVersions(%q, %q) = %d, %v; want %d", a, b, got, err, sign(i-j))
			}
		}
	}
	for _, equal := range [][2]string{{"1.01-1", "1.1-1"}, {"1", "1-0"}, {"0:1", "1"}} {
		if got, err := CompareVersions(equal[0], equal[1]); got != 0 || err != nil {
			t.Errorf("CompareVersions(%q, %q) = %d, %v; want 0", equal[0], equal[1], got, err)
		}
	}
	if got, err := CompareVersions("1.18446744073709551616", "1.18446744073709551617"); got >= 0 || err != nil {
		t.Errorf("numbers of more than 64 bits: got %d, %v; want less than 0", got, err)
	}
	for _, none := range []string{"", "a1", "x:1", "1_0", "1 0"} {
		if _, err := CompareVersions(none, "1"); err == nil {
			t.Errorf("%q is taken for a version", none)
		}
		if _, err := CompareVersions("1", none); err == nil {
			t.Errorf("%q is taken for a version, as the second", none)
		}
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func FuzzWalk(f *testing.F) {
	f.Add(arArchive(member{"debian-binary", []byte("2.0\n")}, member{"data.tar", dataTar(f)}))
	f.Add(arArchive(member{"data.tar.gz", compress(f, "data.tar.gz", dataTar(f))}))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = Walk(bytes.NewReader(b), func(_ *tar.Header, r io.Reader) error {
			_, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20))
			return err
		})
	})
}

func FuzzReadParagraphs(f *testing.F) {
	f.Add("Package: a\nDepends: b\n c\n\nPackage: d\n")
	f.Fuzz(func(t *testing.T, text string) {
		_ = ReadParagraphs(strings.NewReader(text), func(p Paragraph) error {
			if len(p) == 0 {
				t.Error("an empty paragraph was visited")
			}
			return nil
		})
	})
}

func FuzzCompareVersions(f *testing.F) {
	f.Add("1:1.0~rc1-1", "1.0-1+b2")
	f.Fuzz(func(t *testing.T, a, b string) {
		there, err := CompareVersions(a, b)
		back, backErr := CompareVersions(b, a)
		if (err == nil) != (backErr == nil) {
			t.Fatalf("whether %q and %q are versions depends on which comes first: %v, %v", a, b, err, backErr)
		}
		if sign(there) != -sign(back) {
			t.Errorf("the order of %q and %q depends on which comes first", a, b)
		}
		if same, _ := CompareVersions(a, a); same != 0 {
			t.Errorf("%q is not equal to itself", a)
		}
	})
}
