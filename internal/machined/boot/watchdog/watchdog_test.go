package watchdog

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDog uses a file in place of the device: the bytes are the protocol of
// the kernel's watchdog-api.
func TestDog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "watchdog0")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path, Timeout)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.Ping(); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := os.ReadFile(path); string(got) != "\x00\x00" {
		t.Errorf("device got %q, and must not get the V that stops it", got)
	}
}

func TestNoDog(t *testing.T) {
	d, err := Open(filepath.Join(t.TempDir(), "none"), Timeout)
	if d != nil || err != nil {
		t.Errorf("Open of nothing = %v, %v", d, err)
	}
	d.SetTimeout(Timeout)
	env, err := d.HandOn()
	if d.Ping() != nil || env != nil || err != nil {
		t.Error("no watchdog is an error")
	}
	if d, err := Take(); d != nil || err != nil {
		t.Errorf("Take of nothing = %v, %v", d, err)
	}
}

// TestHandOn: the next program feeds the same watchdog, without opening it.
func TestHandOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "watchdog0")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path, BootTimeout)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Ping(); err != nil {
		t.Fatal(err)
	}
	env, err := d.HandOn()
	if err != nil || len(env) != 1 {
		t.Fatalf("environment %q, %v", env, err)
	}
	// A child gets files in the order of ExtraFiles, from 3 on, and not by their number here.
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestNextProgram$")
	cmd.Env, cmd.ExtraFiles = []string{"CYVIVE_TEST_CHILD=1", variable + "=3"}, []*os.File{d.file}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "fed") {
		t.Fatalf("%v: %s", err, out)
	}
	if got, _ := os.ReadFile(path); string(got) != "\x00\x00" {
		t.Errorf("device got %q, want a ping of each program", got)
	}
}

// TestNextProgram is what the next program does.
func TestNextProgram(t *testing.T) {
	if os.Getenv("CYVIVE_TEST_CHILD") == "" {
		t.Skip("is run by TestHandOn, with the file that it hands on")
	}
	d, err := Take()
	if err != nil || d == nil {
		t.Fatalf("Take = %v, %v", d, err)
	}
	d.SetTimeout(Timeout)
	if err := d.Ping(); err != nil {
		t.Fatal(err)
	}
	if again, err := Take(); again != nil || err != nil {
		t.Errorf("a second Take = %v, %v", again, err)
	}
	os.Stdout.WriteString("fed\n")
}

func TestTakeOfNothing(t *testing.T) {
	for _, text := range []string{"", "x", "-1", "60000"} {
		t.Setenv(variable, text)
		if d, err := Take(); d != nil || err == nil {
			t.Errorf("Take with %q = %v, %v", text, d, err)
		}
	}
}
