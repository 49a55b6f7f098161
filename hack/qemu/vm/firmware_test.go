package vm

import (
	"strings"
	"testing"
)

// TestSecureFirmwares: machines with Secure Boot begin without keys, and only what was built for SMM is started with it.
func TestSecureFirmwares(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		for _, smm := range []bool{false, true} {
			list := secureFirmwares(arch, smm)
			if len(list) == 0 {
				t.Errorf("%s, SMM %t: none", arch, smm)
			}
			for _, f := range list {
				if built := strings.Contains(f.Code, ".secboot."); built != (smm && arch == "amd64") {
					t.Errorf("%s, SMM %t: code %s", arch, smm, f.Code)
				}
				// Debian's ".ms" has Microsoft's keys, ".snakeoil" those of a test.
				for _, keys := range []string{".ms.", ".snakeoil.", ".secboot."} {
					if strings.Contains(f.Vars, keys) {
						t.Errorf("%s, SMM %t: variables %s hold keys", arch, smm, f.Vars)
					}
				}
			}
		}
	}
	for _, f := range firmwares("amd64") {
		if strings.Contains(f.Code, "secboot") {
			t.Errorf("%s needs SMM, which other machines do not have", f.Code)
		}
	}
	if _, err := find([]Firmware{{"/nonexistent/code", "/nonexistent/vars"}}); err == nil || !strings.Contains(err.Error(), "/nonexistent/code") {
		t.Errorf("got %v, want an error with what was looked for", err)
	}
}
