package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// module builds the smallest ELF file that has a .modinfo section.
func module(modinfo string) []byte {
	names := "\x00.modinfo\x00.shstrtab\x00"
	const header, section = 64, 64
	at := uint64(header)
	h := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1,
		Shoff: at + uint64(len(modinfo)+len(names)), Ehsize: header, Shentsize: section, Shnum: 3, Shstrndx: 2,
	}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	var b bytes.Buffer
	put := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	put(h)
	b.WriteString(modinfo)
	b.WriteString(names)
	put(elf.Section64{})
	put(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: at, Size: uint64(len(modinfo))})
	put(elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: at + uint64(len(modinfo)), Size: uint64(len(names))})
	return b.Bytes()
}

func info(fields ...string) []byte { return module(strings.Join(fields, "\x00") + "\x00") }

func sampleSet() *Set {
	return &Set{
		Release: "6.12",
		Modules: map[string][]byte{
			"kernel/a/top-one.ko": info("depends=mid,low", "alias=pci:v1*", "alias=top", "softdep=pre: soft builtin-x"),
			"kernel/mid.ko":       info("depends=low"),
			"kernel/low.ko":       info("depends="),
			"kernel/soft.ko":      info("license=GPL"),
			"kernel/other.ko":     info("alias=usb:*"),
		},
		Builtin:     []byte("kernel/virtio/virtio_pci.ko\n"),
		BuiltinInfo: []byte("virtio_pci.alias=pci:v00001AF4*\x00virtio_pci.license=GPL\x00"),
		Order:       []byte("kernel/low.ko\n"),
	}
}

func TestIndexes(t *testing.T) {
	files, err := sampleSet().Indexes()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"modules.dep": "kernel/a/top-one.ko: kernel/mid.ko kernel/low.ko\nkernel/low.ko:\n" +
			"kernel/mid.ko: kernel/low.ko\nkernel/other.ko:\nkernel/soft.ko:\n",
		"modules.alias": "# Aliases extracted from modules themselves.\n" +
			"alias pci:v1* top_one\nalias top top_one\nalias usb:* other\n",
		"modules.softdep":       "# Soft dependencies extracted from modules themselves.\nsoftdep top_one pre: soft builtin-x\n",
		"modules.builtin.alias": "alias pci:v00001AF4* virtio_pci\n",
	}
	for name, text := range want {
		if d := cmp.Diff(text, string(files[name])); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestIndexesRefuses(t *testing.T) {
	tests := map[string]map[string][]byte{
		"missing dependency": {"a.ko": info("depends=b")},
		"cycle":              {"a.ko": info("depends=b"), "b.ko": info("depends=a")},
		"two of one name":    {"x/a-b.ko": info("x=1"), "y/a_b.ko": info("x=1")},
		"not ELF":            {"a.ko": []byte("text")},
	}
	for name, modules := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := (&Set{Modules: modules}).Indexes(); err == nil {
				t.Error("the set was accepted")
			}
		})
	}
}

func TestSubset(t *testing.T) {
	sub, err := sampleSet().Subset("top_one", "virtio_pci")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range sub.Modules {
		names = append(names, Name(name))
	}
	if len(names) != 4 || sub.Modules["kernel/other.ko"] != nil {
		t.Errorf("subset has %v, want top_one, mid, low, soft", names)
	}
	if _, err := sampleSet().Subset("absent"); err == nil {
		t.Error("a name that is nowhere was accepted")
	}
}

// TestSubsetTakesSoftAliases: what a module needs softly by an alias comes along, in
// each form that there is: EROFS cannot be loaded without one of the two here.
func TestSubsetTakesSoftAliases(t *testing.T) {
	s := &Set{Modules: map[string][]byte{
		"erofs.ko":          info("depends=libcrc32c"),
		"libcrc32c.ko":      info("softdep=pre: crypto-crc32c"),
		"crc32c_generic.ko": info("alias=crc32c", "alias=crypto-crc32c"),
		"crc32c-intel.ko":   info("alias=crypto-crc32c", "alias=cpu:type:x86*"),
		"crc32_generic.ko":  info("alias=crypto-crc32*"),
	}}
	sub, err := s.Subset("erofs")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"crc32c-intel.ko", "crc32c_generic.ko", "erofs.ko", "libcrc32c.ko"}
	if d := cmp.Diff(want, slices.Sorted(maps.Keys(sub.Modules))); d != "" {
		t.Errorf("subset (-want +got):\n%s", d)
	}
}

func TestSaveAndOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "modules")
	s := sampleSet()
	if err := s.Save(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Open(dir, "6.12")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s, got); d != "" {
		t.Errorf("set (-saved +opened):\n%s", d)
	}
	more := t.TempDir()
	if err := os.WriteFile(filepath.Join(more, "zfs.ko"), info("depends=low"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := got.AddModules(more, "updates"); err != nil {
		t.Fatal(err)
	}
	files, err := got.Indexes()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(files["modules.dep"]), "updates/zfs.ko: kernel/low.ko\n") {
		t.Errorf("modules.dep lacks the added module:\n%s", files["modules.dep"])
	}
}

func FuzzReadInfo(f *testing.F) {
	f.Add(info("depends=a,b", "alias=x", "softdep=pre: y"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ReadInfo("kernel/x-y.ko", b)
		if err == nil && (got.Name != "x_y" || slices.Contains(got.Depends, "") || slices.Contains(got.Aliases, "")) {
			t.Errorf("got %+v", got)
		}
	})
}

func FuzzBuiltinInfo(f *testing.F) {
	f.Add([]byte("a.alias=x\x00b.alias=y\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		seen := map[string]bool{}
		for _, info := range parseBuiltinInfo(b) {
			if seen[info.Name] || strings.ContainsAny(info.Name, "-.\x00") {
				t.Errorf("%q: %q is there twice, or is no module's name", b, info.Name)
			}
			seen[info.Name] = true
		}
	})
}
