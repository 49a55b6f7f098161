package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPick(t *testing.T) {
	tests := []struct {
		args []string
		cni  string
		want role
	}{
		{[]string{"/init"}, "", roleStage1},
		{[]string{"/init", "quiet", "plane"}, "", roleStage1},
		{[]string{"/sbin/init"}, "", roleInit},
		{[]string{"/usr/bin/init"}, "", roleInit},
		{[]string{"./init"}, "", roleInit},
		{[]string{"/usr/bin/init", "plane"}, "", rolePlane},
		{[]string{"/usr/bin/init", "-q", "--", "fs-ext4"}, "", roleModule},
		{[]string{"/init", "-q", "--", "crypto-sha256"}, "", roleModule},
		{[]string{"/opt/cni/bin/cyvive"}, "ADD", roleCNI},
		{[]string{"/opt/cni/bin/cyvive"}, "", roleCNI},
		{[]string{"/usr/bin/init"}, "VERSION", roleCNI},
	}
	for _, test := range tests {
		if got := pick(test.args, test.cni); got != test.want {
			t.Errorf("pick(%q, %q) = %s, want %s", test.args, test.cni, got, test.want)
		}
	}
}

// build compiles the program as the image has it.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "init")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		if _, look := exec.LookPath("go"); look != nil && os.Getenv("CYVIVE_VM") == "1" {
			t.Skip("needs the go command, which test machines do not have")
		}
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// refusals are the ways to call the program by mistake, and what it says.
var refusals = []struct {
	name string
	args []string // args[0] is the name it is called by
	env  string
	want string
}{
	{"init", []string{"/sbin/init"}, "", "init: refused to start: init runs as PID 1 of a machine only"},
	{"stage 1", []string{"/init"}, "", "stage1: refused to start: stage 1"},
	{"plane", []string{"init", "plane"}, "CYVIVE_PLANE=1", "plane: refused to start: "},
	{"module helper", []string{"/nowhere/init", "-q", "--", "dummy"}, "", "modprobe: refused to load a module"},
}

// state is what a started init would change first.
func state(t *testing.T) map[string]string {
	t.Helper()
	s := map[string]string{}
	for _, file := range []string{
		"/proc/self/mountinfo", "/proc/sys/kernel/hostname", "/proc/sys/kernel/modprobe",
		"/proc/sys/kernel/ctrl-alt-del", "/proc/sys/net/ipv4/ip_forward", "/proc/modules",
	} {
		raw, _ := os.ReadFile(file)
		s[file] = string(raw)
	}
	_, err := os.Stat("/run/cyvive")
	s["/run/cyvive"] = fmt.Sprint(err)
	return s
}

func refuse(t *testing.T, path string, flags uintptr) {
	for _, r := range refusals {
		t.Run(r.name, func(t *testing.T) {
			before := state(t)
			var stdout, stderr bytes.Buffer
			cmd := &exec.Cmd{
				Path: path, Args: r.args, Env: []string{r.env}, Stdout: &stdout, Stderr: &stderr,
				SysProcAttr: &syscall.SysProcAttr{Cloneflags: flags &^ syscall.CLONE_NEWNS, Unshareflags: flags & syscall.CLONE_NEWNS},
			}
			var exit *exec.ExitError
			if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("exit = %v, want status 1", err)
			}
			want := r.want
			if flags != 0 {
				want, _, _ = strings.Cut(want, ": init runs") // there is another reason
			}
			if !strings.HasPrefix(stderr.String(), want) || strings.Count(stderr.String(), "\n") != 1 {
				t.Errorf("standard error = %q, want one line %q…", stderr.String(), want)
			}
			if stdout.Len() > 0 {
				t.Errorf("standard output = %q", stdout.String())
			}
			if d := cmp.Diff(before, state(t)); d != "" {
				t.Errorf("it changed the machine:\n%s", d)
			}
		})
	}
}

// TestRefusesOnBuildMachine runs the built program as anybody might by mistake.
func TestRefusesOnBuildMachine(t *testing.T) {
	refuse(t, build(t), 0)
}

// TestRootRefusesAsPID1OfNamespace: being PID 1 is not enough.
func TestRootRefusesAsPID1OfNamespace(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("REQUIRE_ROOT") == "1" {
			t.Fatal("REQUIRE_ROOT=1, but the test does not run as root")
		}
		t.Skip("needs root to make a PID namespace")
	}
	refuse(t, build(t), syscall.CLONE_NEWPID|syscall.CLONE_NEWNS)
}
