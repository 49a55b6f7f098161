package kernel

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseFirmware(t *testing.T) {
	got, err := ParseFirmware(strings.NewReader("# why\nfirmware-b free b/1.fw b/2.fw # both\n\nwithout b/0.fw\nfirmware-a other a.bin\nfirmware-b free b/3.fw\n"))
	want := Firmware{
		Lines:   []FirmwareLine{{"firmware-b", "free", []string{"b/1.fw", "b/2.fw"}}, {"firmware-a", "other", []string{"a.bin"}}, {"firmware-b", "free", []string{"b/3.fw"}}},
		Without: []string{"b/0.fw"},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("list (-want +got):\n%s%v", d, err)
	}
	if d := cmp.Diff([]string{"firmware-a", "firmware-b"}, got.Packages()); d != "" {
		t.Errorf("packages (-want +got):\n%s", d)
	}
	for text, want := range map[string]string{
		"firmware-b free\n":                        "line 1: \"firmware-b free\" is neither",
		"without\n":                                "is neither",
		"linux-image free a\n":                     "is neither",
		"firmware-b free /a\n":                     "is no path below",
		"firmware-b free a/../../b\n":              "is no path below",
		"firmware-b free .\n":                      "is no path below",
		"firmware-b free a\nwithout a\n":           "line 2: a is there a second time",
		"firmware-b free a\nfirmware-c free b a\n": "line 2: a is there a second time",
	} {
		if _, err := ParseFirmware(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestCheckFirmware(t *testing.T) {
	list := Firmware{Lines: []FirmwareLine{{"firmware-b", "free", []string{"b/2.fw"}}}, Without: []string{"b/1.fw"}}
	s := &Set{Modules: map[string][]byte{
		"b.ko": info("firmware=b/1.fw", "firmware=b/2.fw"), "c.ko": info("license=GPL"),
	}}
	asked, err := s.Firmware()
	if d := cmp.Diff(map[string]string{"b/1.fw": "b", "b/2.fw": "b"}, asked); d != "" || err != nil {
		t.Fatalf("asked for (-want +got):\n%s%v", d, err)
	}
	if err := list.Check(asked); err != nil {
		t.Error(err)
	}
	asked["c.fw"] = "c"
	if err := list.Check(asked); err == nil || !strings.Contains(err.Error(), "module c asks for c.fw") {
		t.Errorf("a file that is not listed: got %v", err)
	}
	if err := list.Check(map[string]string{"b/1.fw": "b"}); err == nil || !strings.Contains(err.Error(), "no module asks for b/2.fw") {
		t.Errorf("a file that nothing asks for: got %v", err)
	}
}

// TestImageFirmware checks the image's own list.
func TestImageFirmware(t *testing.T) {
	f, err := os.Open("../../firmware.list")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := ParseFirmware(f)
	if err != nil || len(list.Lines) == 0 {
		t.Errorf("%d lines, %v", len(list.Lines), err)
	}
}

func FuzzParseFirmware(f *testing.F) {
	f.Add("firmware-b free b/1.fw # why\nwithout b/0.fw\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseFirmware(strings.NewReader(text))
		if err != nil {
			return
		}
		var again strings.Builder
		for _, l := range list.Lines {
			for _, file := range l.Files {
				if !fs.ValidPath(file) {
					t.Errorf("%q: %q is no path", text, file)
				}
			}
			again.WriteString(l.Package + " " + l.License + " " + strings.Join(l.Files, " ") + "\n")
		}
		for _, file := range list.Without {
			again.WriteString("without " + file + "\n")
		}
		got, err := ParseFirmware(strings.NewReader(again.String()))
		if d := cmp.Diff(list, got); d != "" || err != nil {
			t.Errorf("%q reads as another list (-first +second):\n%s%v", text, d, err)
		}
	})
}
