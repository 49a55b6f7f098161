package preflight

import (
	"bytes"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// richHost has everything; tests take away.
func richHost() Host {
	return Host{
		FindTool:        func(string) error { return nil },
		Release:         func() string { return "trixie" },
		FindFirmware:    func(string) error { return nil },
		AvailableMemory: func() (int64, error) { return 64 << 30, nil },
		FreeSpace:       func(string) (int64, error) { return 64 << 30, nil },
		CheckPort:       func(uint16) error { return nil },
	}
}

func TestCheck(t *testing.T) {
	needs := Needs{Arch: "amd64", MemoryBytes: 4 << 30, DiskBytes: 3 << 30, Dir: "out", Ports: []uint16{6443}}
	broken := errors.New("it is broken")
	for _, c := range []struct {
		name string
		take func(*Host)
		want []string
	}{
		{"rich", func(*Host) {}, nil},
		{"tools", func(h *Host) {
			h.FindTool = func(name string) error {
				if strings.HasPrefix(name, "qemu-") {
					return exec.ErrNotFound
				}
				return nil
			}
		}, []string{
			"program qemu-system-x86_64 (package qemu-system-x86; make setup installs it)",
			"program qemu-img (package qemu-utils; make setup installs it)",
		}},
		{"firmware", func(h *Host) { h.FindFirmware = func(string) error { return broken } },
			[]string{"UEFI firmware for amd64 (package ovmf; make setup installs it)"}},
		{"memory", func(h *Host) { h.AvailableMemory = func() (int64, error) { return 2 << 30, nil } },
			[]string{"memory: the nodes take 4.2 GiB, 2 GiB is available"}},
		{"memory unknown", func(h *Host) { h.AvailableMemory = func() (int64, error) { return 0, broken } },
			[]string{"it is broken"}},
		{"disk", func(h *Host) { h.FreeSpace = func(string) (int64, error) { return 1 << 30, nil } },
			[]string{"disk: the nodes may write 3 GiB, 1 GiB is free below out"}},
		{"port", func(h *Host) { h.CheckPort = func(uint16) error { return broken } },
			[]string{"port: it is broken"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := richHost()
			c.take(&host)
			var got []string
			for _, m := range Check(needs, host) {
				got = append(got, m.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPackages(t *testing.T) {
	missing := []Missing{{"b", "y"}, {"a", "x"}, {"memory", ""}, {"c", "y"}}
	if diff := cmp.Diff([]string{"x", "y"}, Packages(missing)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDivide(t *testing.T) {
	packages := []string{"ovmf", "qemu-efi-aarch64", "qemu-system-arm", "qemu-system-x86", "qemu-utils", "swtpm"}
	newer, rest := divide(packages, "bookworm")
	if diff := cmp.Diff([]string{"qemu-system-arm", "qemu-system-x86", "qemu-utils"}, newer); diff != "" {
		t.Errorf("Debian 12, of its backports: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"ovmf", "qemu-efi-aarch64", "swtpm"}, rest); diff != "" {
		t.Errorf("Debian 12, of its own: -want +got:\n%s", diff)
	}
	for _, release := range []string{"trixie", ""} {
		if newer, rest := divide(packages, release); len(newer) > 0 || !slices.Equal(rest, packages) {
			t.Errorf("release %q: got %v of backports and %v of its own", release, newer, rest)
		}
	}
}

func TestWithBackports(t *testing.T) {
	targets := "bookworm-security http://security.example/debian-security/\nbookworm-updates http://mirror.example/debian/\nbookworm http://mirror.example/debian/\n"
	got, err := withBackports([]byte("deb http://mirror.example/debian bookworm main"), targets)
	want := "deb http://mirror.example/debian bookworm main\ndeb http://mirror.example/debian/ bookworm-backports main\n"
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	for _, targets := range []string{"", "trixie http://mirror.example/debian/\n", "bookworm\n", "bookworm cdrom:[Debian 12 a]/\n"} {
		if got, err := withBackports(nil, targets); err == nil {
			t.Errorf("%q: got %q, want an error", targets, got)
		}
	}
}

func TestCodename(t *testing.T) {
	for text, want := range map[string]string{
		"ID=debian\nVERSION_CODENAME=bookworm\nNAME=x\n": "bookworm",
		"VERSION_CODENAME=\"noble\"":                     "noble",
		"ID=arch\n":                                      "",
	} {
		if got := codename(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestCheckToolsWithMore(t *testing.T) {
	host := richHost()
	find := host.FindTool
	host.FindTool = func(name string) error {
		if name == "mmdebstrap" {
			return errors.New("not there")
		}
		return find(name)
	}
	if missing := CheckTools("amd64", host); len(missing) > 0 {
		t.Errorf("without more: %v", missing)
	}
	if got := Packages(CheckTools("amd64", host, "mmdebstrap")); !slices.Equal(got, []string{"mmdebstrap"}) {
		t.Errorf("got %q", got)
	}
}

func TestSetup(t *testing.T) {
	var out bytes.Buffer
	if err := Setup(t.Context(), "amd64", richHost(), &out); err != nil || out.Len() > 0 {
		t.Errorf("nothing is missing: got %v, %q; want silence", err, out.String())
	}
	poor := richHost()
	poor.FindTool = func(name string) error { return exec.ErrNotFound } // no apt-get either
	err := Setup(t.Context(), "arm64", poor, &out)
	if err == nil || !strings.Contains(err.Error(), "qemu-system-arm") {
		t.Errorf("no apt-get: got %v, want an error that names the packages", err)
	}
}

func TestParseMemAvailable(t *testing.T) {
	for text, want := range map[string]int64{
		"MemTotal: 10 kB\nMemAvailable:    2048 kB\n": 2 << 20,
		"MemAvailable: -1 kB\n":                       -1,
		"MemAvailable: many\n":                        -1,
		"MemTotal: 10 kB\n":                           -1,
	} {
		got, err := parseMemAvailable(strings.NewReader(text))
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: got %d, %v; want %d", text, got, err, want)
		}
	}
}

func FuzzParseMemAvailable(f *testing.F) {
	f.Add("MemAvailable:    2048 kB\n")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := parseMemAvailable(strings.NewReader(text)); err == nil && got < 0 {
			t.Errorf("%q: got %d", text, got)
		}
	})
}

// TestThisHost asks the real machine: whatever it has, the questions work.
func TestThisHost(t *testing.T) {
	host := ThisHost()
	if got, err := host.AvailableMemory(); err != nil || got <= 0 {
		t.Errorf("available memory: %d, %v", got, err)
	}
	if got, err := host.FreeSpace(t.TempDir() + "/not/there/yet"); err != nil || got <= 0 {
		t.Errorf("free space: %d, %v", got, err)
	}
	if err := host.FindTool("sh"); err != nil {
		t.Error(err)
	}
	if err := host.FindTool("no-such-program"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("got %v, want %v", err, exec.ErrNotFound)
	}
}
