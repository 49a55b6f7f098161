package disk

import (
	"strings"
	"testing"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "ab", true}, {"a*", "abc", true}, {"*c", "abc", true}, {"a*c", "abc", true},
		{"a*b*c", "aXbYbZc", true}, {"a*b", "abc", false}, {"?", "", false}, {"?", "ä", true}, {"a?c", "abc", true}, {"**", "x", true}, {"*?*", "", false},
		{"abc", "abc", true}, {"abc", "ab", false}, {"ab", "abc", false}, {"*ab*ab*", "ab", false},
	} {
		if got := glob(c.pattern, c.text); got != c.want {
			t.Errorf("glob(%q, %q) = %t", c.pattern, c.text, got)
		}
	}
}

func disks() []Identity {
	return []Identity{
		{Name: "nvme0n1", Type: NVMe, Model: "SAMSUNG MZVL2512HCJQ-00B00", Serial: "S675NX0R1", WWN: "eui.002538b1", Bus: "nvme", SizeBytes: 512e9},
		{Name: "sdb", Type: HDD, Model: "ATA WDC WD40EFRX-68N", Serial: "WD-WCC7K1", Bus: "ata", SizeBytes: 4e12},
		{Name: "vda", Type: SSD, Bus: "virtio", Path: "pci0000:00/0000:00:04.0", SizeBytes: 20e9},
	}
}

func TestMismatches(t *testing.T) {
	for want, s := range map[string]Selector{
		"nvme0n1":     {Serial: "s675*", Sizes: []string{">=500GB"}},
		"sdb":         {Type: "HDD"},
		"vda":         {Path: "pci0000:00/0000:00:04.?"},
		"nvme0n1 sdb": {Serial: "?*"},
		"":            {Model: "none such"},
	} {
		var got []string
		for _, d := range disks() {
			if len(s.Mismatches(d)) == 0 {
				got = append(got, d.Name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s chose %q, want %q", s, got, want)
		}
	}
}

func TestKey(t *testing.T) {
	want := []string{"wwn:eui.002538b1", "serial:wd-wcc7k1", "path:pci0000:00/0000:00:04.0"}
	for i, d := range disks() {
		if got := d.Key(); got != want[i] {
			t.Errorf("%s has the key %q, want %q", d, got, want[i])
		}
	}
	if got := (Identity{Name: "ram0"}).Key(); got != "name:ram0" {
		t.Errorf("a disk that tells nothing has the key %q", got)
	}
}

func FuzzSelector(f *testing.F) {
	f.Add(">=100GB", "nvme", "SAMSUNG*", "S?75*", "eui.*", "nvme", "pci*")
	f.Add("<=1.5TiB", "", "", "", "", "", "")
	f.Fuzz(func(t *testing.T, size, kind, model, serial, wwn, bus, path string) {
		s := Selector{Sizes: []string{size}, Type: kind, Model: model, Serial: serial, WWN: wwn, Bus: bus, Path: path}
		if s.Check() != nil {
			return
		}
		for _, d := range disks() {
			// A disk that is described by what it tells is always meant, but for patterns in what it tells.
			self := Selector{Type: d.Type, Model: d.Model, Serial: d.Serial, WWN: d.WWN, Bus: d.Bus, Path: d.Path}
			if why := self.Mismatches(d); len(why) > 0 {
				t.Errorf("%s does not mean itself: %v", d, why)
			}
			_ = s.Mismatches(d)
		}
	})
}
