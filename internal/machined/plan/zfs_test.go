package plan

import (
	"slices"
	"strconv"
	"testing"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/size"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// TestPropertiesAreThoseOfZFS: what a document may set on a file system, ZFS takes. Package config imports nothing, and has a table of its own.
func TestPropertiesAreThoseOfZFS(t *testing.T) {
	samples := map[string][]string{
		"compression": {"on", "off", "lz4", "zle", "gzip", "gzip-1", "gzip-9", "zstd", "zstd-1", "zstd-19", "zstd-fast", "zstd-fast-10", "zstd-fast-90", "zstd-fast-1000"},
		"mountpoint":  {"none", config.MountRoot + "/a"},
	}
	n := 0
	for _, field := range datasetProperties(t) {
		values := slices.Concat(field.Values, samples[field.Name])
		if field.Type == config.TypeSize {
			for _, text := range []string{"512", "16KiB", "16MiB"} {
				bytes, err := size.Binary().Parse(text)
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, strconv.FormatUint(bytes, 10))
			}
		}
		if len(values) == 0 {
			t.Errorf("%s has no values to be tried", field.Name)
		}
		for _, value := range values {
			n++
			if err := zfs.CheckProperty(zfs.Filesystem, field.Name, value, true); err != nil {
				t.Errorf("a document may set %s=%s: %v", field.Name, value, err)
			}
		}
	}
	if n < 90 {
		t.Errorf("%d values were tried", n)
	}
}

// datasetProperties are the fields of a Dataset's properties.
func datasetProperties(t *testing.T) []config.Field {
	t.Helper()
	for _, d := range config.Documents() {
		if d.Kind != "Dataset" {
			continue
		}
		for _, f := range d.Fields {
			if f.Name == "properties" {
				return f.Fields
			}
		}
	}
	t.Fatal("no document of kind Dataset has properties")
	return nil
}
