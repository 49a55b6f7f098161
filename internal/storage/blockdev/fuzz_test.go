package blockdev

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzPartition reads one partition's files of sysfs.
func FuzzPartition(f *testing.F) {
	f.Add("10\n", "2048\n", "254:10\n", "MAJOR=254\nDEVNAME=vda10\nPARTN=10\nPARTNAME=data\n")
	f.Add("x", "-1", "", "PARTNAME")
	f.Fuzz(func(t *testing.T, number, size, dev, uevent string) {
		dir := t.TempDir()
		for name, text := range map[string]string{"partition": number, "size": size, "dev": dev, "uevent": uevent} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p, err := partition(dir)
		if err != nil {
			return
		}
		if p.Number < 0 || p.SizeBytes%sysfsSectorBytes != 0 || strings.Contains(p.Name, "\n") {
			t.Errorf("accepted %+v", p)
		}
		if p.Name != "" && !strings.Contains(uevent, "PARTNAME="+p.Name) {
			t.Errorf("name %q is not in %q", p.Name, uevent)
		}
	})
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte(`{"clean":true}`))
	f.Add([]byte(`{"clean":`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := New(Tools{}, t.TempDir())
		if err := os.WriteFile(filepath.Join(d.records, "data.json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := d.Records()
		if (err == nil) != (len(got) == 1) {
			t.Fatalf("%q: got %v, %v", data, got, err)
		}
		// A record that is there stays: the first of a boot counts.
		if err := d.Record("data", !got["data"]); err != nil {
			t.Fatal(err)
		}
		if again, err := d.Records(); err == nil && again["data"] != got["data"] {
			t.Errorf("%q: %v became %v", data, got, again)
		}
	})
}
