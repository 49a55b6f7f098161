package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestRefuseHere runs the program as a person might by mistake: it must change
// nothing, and say why.
func TestRefuseHere(t *testing.T) {
	if os.Getenv("GUEST_MAIN") == "1" {
		main()
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestRefuseHere$")
	cmd.Env = append(os.Environ(), "GUEST_MAIN=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "refuse to run as process") {
		t.Errorf("got %v, %s; want a refusal", err, out)
	}
	if err := refuse(1); err == nil || !strings.Contains(err.Error(), "/proc") {
		t.Errorf("as PID 1, with /proc mounted: got %v, want a refusal that names /proc", err)
	}
}
