package zpool

import (
	"slices"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/pool"
)

func FuzzParseStatus(f *testing.F) {
	f.Add(read(f, "status.json"))
	f.Add([]byte(`{"output_version":{"command":"zpool status"},"pools":{"a":{"name":"a","vdevs":{"a":{"vdevs":{"b":{"vdevs":{}}}}}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		pools, err := parseStatus(data)
		if err != nil && pools != nil {
			t.Error("pools and an error")
		}
		for _, p := range pools {
			if p.Name == "" || len(p.Errors) > maxErrors {
				t.Errorf("%+v", p)
			}
			_ = pool.Picture(p, pool.Observed{})
		}
	})
}

func FuzzParseProperties(f *testing.F) {
	f.Add(read(f, "get.json"))
	f.Add([]byte(`{"output_version":{"command":"zpool get"},"pools":{"a":{"pool_guid":"1","properties":{"size":{"value":[]}}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := parseProperties(data)
		if err != nil {
			return
		}
		for _, properties := range all {
			var p pool.Pool
			setProperties(&p, properties)
			if p.CapacityPercent < -1 || p.FragmentationPercent < -1 {
				t.Errorf("%+v", p)
			}
		}
	})
}

func FuzzParseList(f *testing.F) {
	f.Add(read(f, "list.json"))
	f.Add([]byte(`{"output_version":{"command":"zpool list"},"pools":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if sizes, err := parseList(data); err != nil && sizes != nil {
			t.Error("pools and an error")
		}
	})
}

// FuzzParseImportable: what says that a pool can be imported just so is one that zpool calls whole or degraded, and none that it says something of another system of.
func FuzzParseImportable(f *testing.F) {
	f.Add(read(f, "import.txt"))
	f.Add([]byte("   pool: a\n     id: 1\n  state: ONLINE\n config:\n\n\ta  ONLINE\n\t          b  ONLINE\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		pools, err := parseImportable(data)
		if err != nil {
			return
		}
		for _, p := range pools {
			if p.Problem == pool.Ready && !slices.Contains([]pool.State{pool.Online, pool.Degraded}, p.State) {
				t.Errorf("%+v", p)
			}
		}
	})
}

func FuzzParseRewind(f *testing.F) {
	f.Add([]byte("Would be able to return tank to its state as of Thu Nov 26 12:00:00 2026.\nWould discard approximately 5 minutes of transactions.\n"))
	f.Add([]byte("approximately 999999999999 minutes of transactions"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := parseRewind(data)
		if r.Words == "" || r.Lost < 0 || !r.Possible && r.Lost != 0 {
			t.Errorf("%+v", r)
		}
	})
}
