package initramfs

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/images/internal/tree"
)

// list reads an archive back: "mode name content" for each entry.
func list(t *testing.T, b []byte) []string {
	t.Helper()
	var out []string
	for at := 0; ; {
		if string(b[at:at+6]) != "070701" {
			t.Fatalf("no header at %d: %q", at, b[at:at+6])
		}
		field := func(i int) int {
			n, err := strconv.ParseUint(string(b[at+6+8*i:at+14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		mode, size, major, minor, nameLen := field(1), field(6), field(9), field(10), field(11)
		name := string(b[at+110 : at+110+nameLen-1])
		at = (at + 110 + nameLen + 3) &^ 3
		if name == trailer {
			return out
		}
		line := fmt.Sprintf("%06o %s %q", mode, name, b[at:at+size])
		if major != 0 {
			line += fmt.Sprintf(" %d:%d", major, minor)
		}
		out = append(out, line)
		at = (at + size + 3) &^ 3
	}
}

func TestWrite(t *testing.T) {
	x := tree.New()
	x.Write("/init", 0o755, []byte("program"))
	x.Symlink("/lib", "usr/lib")
	x.MkdirAll("/dev")
	var first, second bytes.Buffer
	for _, b := range []*bytes.Buffer{&first, &second} {
		if err := Write(b, x, time.Unix(1_700_000_000, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same tree gave two different archives")
	}
	want := []string{
		`040755 dev ""`, `100755 init "program"`, `120777 lib "usr/lib"`, `020600 dev/console "" 5:1`,
	}
	if d := cmp.Diff(want, list(t, first.Bytes())); d != "" {
		t.Errorf("entries (-want +got):\n%s", d)
	}
	if err := x.Hardlink("/again", "/init"); err != nil {
		t.Fatal(err)
	}
	if err := Write(io.Discard, x, time.Unix(0, 0)); err == nil {
		t.Error("a hard link was accepted")
	}
}
