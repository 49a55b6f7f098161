package loader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	debversion "pault.ag/go/debian/version"
)

// ErrNoLoader says that a program is not the boot loader.
var ErrNoLoader = errors.New("it is no systemd-boot with a version")

// maxProgramBytes bounds a boot loader; systemd 257.13 has one of 130 kB.
const maxProgramBytes = 16 << 20

// places are where the boot loader lies, in the order in which it is replaced: under its own name, and then under the one by which firmware starts it without
// being told.
func places() []struct{ dir, begin string } {
	return []struct{ dir, begin string }{{"EFI/systemd", "systemd-boot"}, {"EFI/BOOT", "boot"}}
}

// Renew replaces the boot loader by a newer one, at each of its places where an older one is, and returns the version that was there; empty if nothing was
// replaced. May is asked for each before any is, and its error keeps all. Programs of others are left alone.
//
// Whenever the power fails, each place has the one or the other, whole.
func (l *Loader) Renew(program []byte, may func(old []byte) error) (was string, err error) {
	if _, ok := programVersion(program); !ok {
		return "", fmt.Errorf("renew boot loader: %w", ErrNoLoader)
	}
	err = l.with("renew boot loader", func(v Volume) error {
		older, version, err := olderPrograms(v.Dir, program, may)
		if err != nil {
			return err
		}
		// One beside another is the most that there is at a time.
		if need := int64(len(program)) + reserveBytes; len(older) > 0 && v.FreeBytes < need {
			return fmt.Errorf("the boot partition has %d bytes left, and %d are needed", v.FreeBytes, need)
		}
		for _, path := range older {
			if err := replace(path, bytes.NewReader(program)); err != nil {
				return err
			}
		}
		was = version
		return nil
	})
	if err != nil {
		return "", err
	}
	return was, nil
}

// olderPrograms finds those that a program may take the place of, and the version of one of them.
func olderPrograms(dir string, program []byte, may func(old []byte) error) (paths []string, version string, err error) {
	to, _ := programVersion(program)
	for _, place := range places() {
		files, err := os.ReadDir(filepath.Join(dir, place.dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		for _, f := range files {
			// FAT keeps the case of names and does not tell it apart.
			name := strings.ToLower(f.Name())
			if f.IsDir() || !strings.HasPrefix(name, place.begin) || !strings.HasSuffix(name, ".efi") {
				continue
			}
			path := filepath.Join(dir, place.dir, f.Name())
			old, err := readProgram(path)
			if err != nil {
				return nil, "", err
			}
			from, ok := programVersion(old)
			if !ok || machineOf(old) != machineOf(program) || !older(from, to) {
				continue
			}
			if err := may(old); err != nil {
				return nil, "", fmt.Errorf("%s: version %s is not replaced by %s: %w", f.Name(), from, to, err)
			}
			paths, version = append(paths, path), from
		}
	}
	return paths, version, nil
}

func readProgram(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxProgramBytes))
}

// Marks around the version of systemd-boot, in its section .sdmagic (src/boot/boot.c of systemd 257.13); bootctl knows it by them as well.
const (
	versionBegin = "#### LoaderInfo: systemd-boot "
	versionEnd   = " ####"
	// maxVersionBytes bounds what is between them.
	maxVersionBytes = 128
)

// ProgramVersion returns the version of a boot loader, which is one by deb-version(7); false is for another program, and for one whose version has another form.
func ProgramVersion(program []byte) (string, bool) { return programVersion(program) }

func programVersion(program []byte) (string, bool) {
	_, rest, ok := bytes.Cut(program, []byte(versionBegin))
	if !ok {
		return "", false
	}
	version, _, ok := bytes.Cut(rest[:min(len(rest), maxVersionBytes)], []byte(versionEnd))
	if !ok || bytes.ContainsFunc(version, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", false
	}
	if _, err := debversion.Parse(string(version)); err != nil {
		return "", false
	}
	return string(version), true
}

// machineOf is the architecture of an EFI program, as its COFF header has it ("PE Format", "Machine Types"); 0 is none.
func machineOf(program []byte) uint16 {
	const place, machine = 0x3c, 4
	if len(program) < place+4 {
		return 0
	}
	at := int64(binary.LittleEndian.Uint32(program[place:])) + machine
	if at+2 > int64(len(program)) {
		return 0
	}
	return binary.LittleEndian.Uint16(program[at:])
}

// older tells whether one version of a program comes before another as dpkg and systemd order them. What is no version comes before none, and none before it.
func older(a, b string) bool {
	from, err := debversion.Parse(a)
	if err != nil {
		return false
	}
	to, err := debversion.Parse(b)
	return err == nil && debversion.Compare(from, to) < 0
}
