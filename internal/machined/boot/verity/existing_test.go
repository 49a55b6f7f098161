package verity

import (
	"strings"
	"testing"
)

func TestParseTable(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	good := "1 7:0 7:1 4096 4096 300 1 sha256 " + hash + " 5a"
	blocks, root, err := parseTable(good)
	if err != nil || blocks != 300 || root[0] != 0xab || root[31] != 0xab {
		t.Errorf("got %d blocks, root hash %x, %v", blocks, root, err)
	}
	for _, flags := range []string{" 1 panic_on_corruption", " 2 use_fec_from_device 7:2"} {
		if _, again, err := parseTable(good + flags); err != nil || again != root {
			t.Errorf("with%s: %x, %v", flags, again, err)
		}
	}
	for _, bad := range []string{
		"", "0 2048 linear 7:0 0", strings.Replace(good, "1 7:0", "0 7:0", 1), strings.Replace(good, "sha256", "sha1", 1),
		strings.Replace(good, "300", "many", 1), strings.Replace(good, "300", "0", 1), strings.Replace(good, hash, hash[2:], 1),
	} {
		if _, _, err := parseTable(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzParseTable(f *testing.F) {
	f.Add("1 7:0 7:1 4096 4096 300 1 sha256 " + strings.Repeat("ab", 32) + " 5a")
	f.Fuzz(func(t *testing.T, params string) {
		if blocks, _, err := parseTable(params); err == nil && blocks == 0 {
			t.Error("a table without blocks was taken")
		}
	})
}
