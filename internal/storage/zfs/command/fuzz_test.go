package command

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

func FuzzList(f *testing.F) {
	f.Add(`{"output_version":{"vers_major":0},"datasets":{}}`)
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseList(strings.NewReader(text), []string{"used", "x:y"})
		if err != nil && all != nil {
			t.Errorf("%d datasets, and %v", len(all), err)
		}
		for _, d := range all {
			if _, err := zfs.ParseName(d.Name); err != nil {
				t.Errorf("name %q: %v", d.Name, err)
			}
			if len(d.Properties) > 2 {
				t.Errorf("properties %v were not asked for", d.Properties)
			}
			for name, p := range d.Properties {
				if p.Source == zfs.SourceNone && p.Value == "-" || p.From != "" && p.Source != zfs.SourceInherited {
					t.Errorf("%s: %+v", name, p)
				}
			}
		}
	})
}

func FuzzHolds(f *testing.F) {
	f.Add("tank@1\ttag\t1764160000\n")
	f.Fuzz(func(t *testing.T, text string) {
		holds, err := parseHolds(text, []string{"tank@1", "tank@2"})
		if err != nil {
			return
		}
		length := 0
		for name, all := range holds {
			if name != "tank@1" && name != "tank@2" {
				t.Errorf("%q was not asked for", name)
			}
			for _, h := range all {
				length += len(name) + len(h.Tag)
			}
		}
		if length > len(text) {
			t.Errorf("%q: %v", text, holds)
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add("1-ab-3-4", "\ttoguid = 0x1\n\ttoname = tank@s\n\tbytes = 0x5\n")
	f.Fuzz(func(t *testing.T, token, text string) {
		if err := checkToken(token); err == nil && (strings.ContainsAny(token, " \n\x00") || token[0] != '1') {
			t.Errorf("token %q passes", token)
		} else if err != nil && !errors.Is(err, zfs.ErrBadToken) {
			t.Errorf("token %q: %v", token, err)
		}
		got, err := parseToken(tokenHead + text)
		if err != nil {
			return
		}
		if n, err := zfs.ParseName(got.ToName); err != nil || n.Snapshot == "" {
			t.Errorf("%q: %+v", text, got)
		}
	})
}

// FuzzStreamHead: what is taken for the beginning of a stream says the same in either byte order.
func FuzzStreamHead(f *testing.F) {
	f.Add(headOf(binary.LittleEndian, zfs.StreamHead{Kind: zfs.Filesystem, From: 1, To: 2}, "tank/a@s"))
	f.Fuzz(func(t *testing.T, data []byte) {
		head, err := parseStreamHead(data)
		if err != nil {
			if !errors.Is(err, zfs.ErrBadStream) || head != (zfs.StreamHead{}) {
				t.Errorf("got %+v, %v", head, err)
			}
			return
		}
		if head.Package && head != (zfs.StreamHead{Package: true}) {
			t.Errorf("a package says more: %+v", head)
		}
		name := head.Name
		if head.Package {
			name = "tank/a@s"
		}
		for _, order := range byteOrders() {
			if again, err := parseStreamHead(headOf(order, head, name)); err != nil || again != head {
				t.Errorf("%+v comes back as %+v, %v", head, again, err)
			}
		}
	})
}

func FuzzEstimate(f *testing.F) {
	f.Add("full\ttank@s\t5\nsize\t5\n")
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := parseEstimate(text); err == nil && !strings.Contains(text, "size\t") {
			t.Errorf("%q: %d", text, n)
		}
	})
}

func FuzzProgram(f *testing.F) {
	f.Add(`{"return":{"tank@a":"held"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		answer, err := parseProgram([]byte(text))
		if err != nil {
			return
		}
		if err := parseDestroyed(answer); err == nil && len(answer) == 0 {
			t.Errorf("%q passes as %q", text, answer)
		}
	})
}

// FuzzSaid: whatever a program says, it makes an error of bounded length that has the class of the table.
func FuzzSaid(f *testing.F) {
	f.Add("cannot open 'tank/a': dataset does not exist\n", "tank/a")
	f.Fuzz(func(t *testing.T, said, arg string) {
		e := &Error{Program: "zfs", Args: []string{"destroy", "--", arg[:min(len(arg), 255)]}, Said: said, Cause: errors.New("exit status 1")}
		e.Class = e.classify()
		if got := e.Error(); len(got) > shownBytes+500 || !strings.Contains(got, "exit status 1") {
			t.Errorf("%d bytes: %q", len(got), got)
		}
		if e.Class != nil && !errors.Is(e, e.Class) {
			t.Errorf("%v is no %v", e, e.Class)
		}
	})
}
