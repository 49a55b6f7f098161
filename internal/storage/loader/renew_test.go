package loader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// loaderProgram is a boot loader of a version, of as much as is looked at.
func loaderProgram(version string, machine uint16) []byte {
	out := make([]byte, 0x80)
	copy(out, "MZ")
	out[0x3c] = 0x40
	copy(out[0x40:], "PE\x00\x00")
	binary.LittleEndian.PutUint16(out[0x44:], machine)
	return append(out, "code #### LoaderInfo: systemd-boot "+version+" #### more"...)
}

const amd64, arm64 = 0x8664, 0xaa64

// esp puts programs onto a boot partition, by their paths.
func esp(t *testing.T, dir string, programs map[string][]byte) {
	t.Helper()
	for name, data := range programs {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRenew: the boot loader is replaced where an older one is, and nothing else is touched.
func TestRenew(t *testing.T) {
	older, newer := loaderProgram("257.13-1~deb13u1", amd64), loaderProgram("257.14-1~deb13u1", amd64)
	const first, own = "EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi"
	refusal := errors.New("signed by nobody")
	for _, test := range []struct {
		name    string
		there   map[string][]byte
		program []byte
		may     error
		was     string
		want    map[string][]byte // what is other than there
		problem error
	}{
		{"older ones", map[string][]byte{first: older, own: older}, newer, nil, "257.13-1~deb13u1", map[string][]byte{first: newer, own: newer}, nil},
		{"one was replaced, and then the power failed", map[string][]byte{first: older, own: newer, first + ".new": newer[:50]}, newer, nil, "257.13-1~deb13u1", map[string][]byte{first: newer}, nil},
		{"the same", map[string][]byte{first: newer, own: newer}, newer, refusal, "", nil, nil},
		{"newer ones, of a release that was left", map[string][]byte{first: newer, own: newer}, older, refusal, "", nil, nil},
		{
			"others", map[string][]byte{first: []byte("another boot loader"), "EFI/BOOT/BOOTAA64.EFI": loaderProgram("1", arm64), "EFI/systemd/mmx64.efi": older},
			newer, refusal, "", nil, nil,
		},
		{"one that may not be replaced", map[string][]byte{first: older, own: older}, newer, refusal, "", nil, refusal},
		{"none", map[string][]byte{"EFI/cyvive/a.efi": []byte("kernel")}, newer, refusal, "", nil, nil},
		{"no boot loader", map[string][]byte{first: older}, []byte("kernel"), nil, "", nil, ErrNoLoader},
	} {
		l, dir := open(t)
		esp(t, dir, test.there)
		was, err := l.Renew(test.program, func(old []byte) error {
			if _, ok := ProgramVersion(old); !ok {
				t.Errorf("%s: asked for %q", test.name, old)
			}
			return test.may
		})
		if was != test.was || !errors.Is(err, test.problem) || (err != nil) != (test.problem != nil) {
			t.Errorf("%s: got %q, %v", test.name, was, err)
		}
		for name, before := range test.there {
			want, ok := test.want[name]
			if !ok {
				want = before
			}
			if strings.HasSuffix(name, newSuffix) {
				want = nil // gone
			}
			if got, _ := os.ReadFile(filepath.Join(dir, name)); !bytes.Equal(got, want) {
				t.Errorf("%s: %s is %q, want %q", test.name, name, got, want)
			}
		}
		left, err := filepath.Glob(filepath.Join(dir, "EFI/*/*"+newSuffix))
		if len(left) > 0 || err != nil {
			t.Errorf("%s: left behind %q, %v", test.name, left, err)
		}
	}
}

// TestRenewNeedsRoom: nothing is begun that could not be finished.
func TestRenewNeedsRoom(t *testing.T) {
	dir := t.TempDir()
	older := loaderProgram("1", amd64)
	esp(t, dir, map[string][]byte{"EFI/BOOT/BOOTX64.EFI": older})
	l := New(func() (Volume, error) {
		return Volume{Dir: dir, FreeBytes: reserveBytes, Close: func() error { return nil }}, nil
	})
	if was, err := l.Renew(loaderProgram("2", amd64), func([]byte) error { return nil }); err == nil || was != "" {
		t.Errorf("got %q, %v", was, err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "EFI/BOOT/BOOTX64.EFI")); !bytes.Equal(got, older) {
		t.Errorf("it is %q now", got)
	}
}

func TestCompareVersions(t *testing.T) {
	ordered := []string{
		"254.1", "257~rc1-1", "257", "257-1", "257.1", "257.13-1~deb13u1", "257.13-1~deb13u2", "257.13-1~deb13u10", "257.13-1", "257.13-2", "258~rc1", "258", "1000",
	}
	for i, a := range ordered {
		for j, b := range ordered {
			if got, want := older(a, b), i < j; got != want {
				t.Errorf("%q is older than %q: got %t, want %t", a, b, got, want)
			}
		}
	}
	if older("257.013", "257.13") || older("257.13", "257.013") {
		t.Error("a zero in front of a number makes a difference")
	}
	for _, none := range []string{"", "v257", "257-12-g0a1b2c^", "257 .1"} {
		if older(none, "258") || older("1", none) {
			t.Errorf("%q is no version, and has a place in their order", none)
		}
	}
}

func FuzzCompareVersions(f *testing.F) {
	f.Add("257.13-1~deb13u1", "257.13-1~deb13u2")
	f.Add("~", "")
	f.Fuzz(func(t *testing.T, a, b string) {
		if older(a, b) && older(b, a) || older(a, a) {
			t.Errorf("%q and %q: each is older than the other, or than itself", a, b)
		}
	})
}

func FuzzProgramVersion(f *testing.F) {
	f.Add(loaderProgram("257.13-1~deb13u1", amd64))
	f.Fuzz(func(t *testing.T, data []byte) {
		version, ok := programVersion(data)
		if ok != (version != "") || len(version) > maxVersionBytes || strings.ContainsAny(version, " \n") {
			t.Errorf("%q, %t", version, ok)
		}
		machineOf(data)
	})
}
