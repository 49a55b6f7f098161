package pcr

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"debug/pe"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// section is one of an image; padding is by how much it is larger in the file, and missing by how much smaller.
type section struct {
	name             string
	data             []byte
	padding, missing int
}

// image makes a PE file of sections in the order given.
func image(t testing.TB, sections ...section) []byte {
	t.Helper()
	const headerBytes = 0x600
	var headers, body bytes.Buffer
	put := func(v any) {
		if err := binary.Write(&headers, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	headers.WriteString("MZ" + strings.Repeat("\x00", 0x3a))
	put(uint32(0x40))
	headers.WriteString("PE\x00\x00")
	put(pe.FileHeader{
		Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: uint16(len(sections)), SizeOfOptionalHeader: uint16(binary.Size(pe.OptionalHeader64{})),
	})
	put(pe.OptionalHeader64{Magic: 0x20b, NumberOfRvaAndSizes: 16})
	for _, s := range sections {
		raw := append(slices.Clone(s.data), bytes.Repeat([]byte{0xAA}, s.padding)...)
		raw = raw[:len(raw)-s.missing]
		h := pe.SectionHeader32{VirtualSize: uint32(len(s.data)), SizeOfRawData: uint32(len(raw)), PointerToRawData: uint32(headerBytes + body.Len())}
		copy(h.Name[:], s.name)
		put(h)
		body.Write(raw)
	}
	return append(append(headers.Bytes(), make([]byte, headerBytes-headers.Len())...), body.Bytes()...)
}

// fixture is an image in another order than that of the measurements.
func fixture() []section {
	return []section{
		{name: ".text", data: []byte("the stub itself is measured by the firmware")},
		{name: ".sbat", data: []byte("sbat,1,SBAT\n")},
		{name: ".osrel", data: []byte("ID=cyvive\nVERSION_ID=0.0.1\n")},
		{name: ".cmdline", data: []byte("roothash=00 console=ttyS0"), padding: 7},
		{name: ".uname", data: []byte("6.12.0")},
		{name: ".initrd", data: []byte("initial RAM disk")},
		{name: ".linux", data: []byte("kernel of the fixture")},
		{name: ".pcrsig", data: Blank()},
	}
}

// The values that systemd-measure of systemd 257.13-1~deb13u1 computes for the sections above, given to it as files:
//
//	systemd-measure calculate --bank=sha256 --phase=: --linux=linux --osrel=osrel --cmdline=cmdline --initrd=initrd --uname=uname --sbat=sbat
//	systemd-measure sign      the same, for the policy
const (
	fixtureValue  = "a84079caea296c4d75c04148728c557a2f4a45c6727c50a7ce7a9f6612809d14"
	fixturePolicy = "05bc17b84e44085308cc73254ea3765be2091e170b22961fbaa74ae8ac72ba0e"
	// With --pcrpkey=, "public key", and then with --ucode=, --splash= and --dtb= too, each "section NAME".
	withKeyValue  = "79775584e8b4208babab81b155d84f6dca9bd2af14b6da0078365153d63883d0"
	withMoreValue = "c7e9d31589a1626774d8a1150dd94588e1d76f408cc23720ca20ed0636b769fa"
)

func TestPredict(t *testing.T) {
	key := section{name: ".pcrpkey", data: []byte("public key")}
	more := []section{
		{name: ".ucode", data: []byte("section ucode")}, {name: ".splash", data: []byte("section splash")}, {name: ".dtb", data: []byte("section dtb")},
	}
	for name, test := range map[string]struct {
		sections []section
		want     string
	}{
		"as built":     {fixture(), fixtureValue},
		"with key":     {append(fixture(), key), withKeyValue},
		"with more":    {slices.Concat(more, fixture(), []section{key}), withMoreValue},
		"without sig":  {fixture()[:7], fixtureValue},
		"unknown kind": {append(fixture(), section{name: ".own", data: []byte("x")}), fixtureValue},
	} {
		got, err := Predict(bytes.NewReader(image(t, test.sections...)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want, err := ParseDigest(test.want)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(Values{Kernel: want, Config: {}, Extensions: {}}, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// TestPredictTellsApart changes each section by one byte.
func TestPredictTellsApart(t *testing.T) {
	sound := predict(t, fixture())
	for i, s := range fixture() {
		changed := fixture()
		changed[i].data = append(slices.Clone(s.data), '.')
		same := s.name == ".text" || s.name == SectionName
		if got := predict(t, changed); (got == sound) != same {
			t.Errorf("%s with one byte more: the value is the same: %t", s.name, got == sound)
		}
	}
	if got := predict(t, fixture()[:6]); got == sound {
		t.Error("an image without kernel has the value of one")
	}
}

func predict(t *testing.T, sections []section) Digest {
	t.Helper()
	v, err := Predict(bytes.NewReader(image(t, sections...)))
	if err != nil && !strings.Contains(err.Error(), "no section .linux") {
		t.Fatal(err)
	}
	return v[Kernel]
}

// TestPredictZeros: what a section lacks in the file is zero in memory.
func TestPredictZeros(t *testing.T) {
	whole, short := fixture(), fixture()
	whole[6].data = append(whole[6].data, make([]byte, 100<<10)...)
	short[6].data, short[6].missing = whole[6].data, 100<<10
	if a, b := predict(t, whole), predict(t, short); a != b {
		t.Errorf("with zeros in the file %s, without %s", a, b)
	}
}

func TestPredictRefuses(t *testing.T) {
	linux := section{name: ".linux", data: []byte("kernel")}
	for name, test := range map[string]struct {
		image []byte
		says  string
	}{
		"no PE file":   {[]byte("ELF"), "read image"},
		"no kernel":    {image(t, fixture()[0]), "no section .linux"},
		"two kernels":  {image(t, linux, linux), "two sections .linux"},
		"profiles":     {image(t, linux, section{name: ".profile", data: []byte("ID=x")}), "depends on the machine"},
		"device trees": {image(t, linux, section{name: ".dtbauto", data: []byte("x")}), "depends on the machine"},
		"cut off":      {image(t, linux)[:0x602], "the file ends in it"},
	} {
		if _, err := Predict(bytes.NewReader(test.image)); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.says)
		}
	}
}

func TestPolicy(t *testing.T) {
	value, err := ParseDigest(fixtureValue)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Values{Kernel: value}.Policy()
	if err != nil || got.String() != fixturePolicy {
		t.Errorf("got %s, %v; want %s", got, err, fixturePolicy)
	}
	more, err := Values{Kernel: value, Config: {}, Extensions: {}}.Policy()
	if err != nil || more == got {
		t.Errorf("with more registers: %s, %v", more, err)
	}
}

func newKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestAttach signs an image with two keys, as one is that hands over from one to the other.
func TestAttach(t *testing.T) {
	built := image(t, fixture()...)
	signed := slices.Clone(built)
	if _, err := Attached(bytes.NewReader(built)); !errors.Is(err, ErrUnsigned) {
		t.Errorf("an image as it is built: %v", err)
	}
	values, err := Predict(bytes.NewReader(built))
	if err != nil {
		t.Fatal(err)
	}
	var list []Signature
	keys := []*ecdsa.PrivateKey{newKey(t, elliptic.P256()), newKey(t, elliptic.P256())}
	for _, key := range keys {
		s, err := Sign(values, key)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Sign(values, key); err != nil || !bytes.Equal(again.ASN1, s.ASN1) {
			t.Errorf("signed twice: %x and %x, %v", s.ASN1, again.ASN1, err)
		}
		list = append(list, s)
	}
	if err := Attach(signed, list); err != nil {
		t.Fatal(err)
	}
	got, err := Attached(bytes.NewReader(signed))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(list, got); d != "" {
		t.Errorf("signatures (-attached +read):\n%s", d)
	}
	for i, s := range got {
		if err := s.Verify(&keys[i].PublicKey); err != nil {
			t.Errorf("signature %d: %v", i, err)
		}
		if err := s.Verify(&keys[1-i].PublicKey); err == nil {
			t.Errorf("signature %d holds for the other key", i)
		}
	}
	if after, err := Predict(bytes.NewReader(signed)); err != nil || !cmp.Equal(values, after) {
		t.Errorf("the signed image is measured as %v, %v; want %v", after, err, values)
	}
	// Fewer signatures leave nothing of the ones before, and none leave the image as it was built.
	if err := Attach(signed, list[:1]); err != nil {
		t.Fatal(err)
	}
	if got, err := Attached(bytes.NewReader(signed)); len(got) != 1 || err != nil {
		t.Errorf("signed again: %d signatures, %v", len(got), err)
	}
	if err := Detach(signed); err != nil || !bytes.Equal(signed, built) {
		t.Errorf("with its signatures taken off the image is another: %v", err)
	}
}

func TestAttachRefuses(t *testing.T) {
	s, err := Sign(Values{Kernel: {}}, newKey(t, elliptic.P256()))
	if err != nil {
		t.Fatal(err)
	}
	if err := Attach(image(t, fixture()[:7]...), []Signature{s}); err == nil || !strings.Contains(err.Error(), "without room") {
		t.Errorf("an image without the section: %v", err)
	}
	if err := Attach(image(t, fixture()...), slices.Repeat([]Signature{s}, 40)); err == nil || !strings.Contains(err.Error(), "4096") {
		t.Errorf("too many signatures: %v", err)
	}
	if err := Attach(image(t, fixture()...)[:0x700], []Signature{s}); err == nil {
		t.Error("an image that is cut off was signed")
	}
	if _, err := Sign(Values{Kernel: {}}, newKey(t, elliptic.P384())); err == nil {
		t.Error("a key on another curve was taken")
	}
}

// TestCheck: an image that would open a disk, and those that would not.
func TestCheck(t *testing.T) {
	key, stranger := newKey(t, elliptic.P256()), newKey(t, elliptic.P256())
	signed := func(sections []section, by *ecdsa.PrivateKey) []byte {
		data := image(t, sections...)
		v, err := Predict(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		s, err := Sign(v, by)
		if err == nil {
			err = Attach(data, []Signature{s})
		}
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	forged := signed(fixture(), stranger)
	list, err := Attached(bytes.NewReader(forged))
	if err != nil {
		t.Fatal(err)
	}
	if list[0].Key, err = Fingerprint(&key.PublicKey); err != nil {
		t.Fatal(err)
	}
	if err := Attach(forged, list); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		image []byte
		says  string
	}{
		"signed":          {signed(fixture(), key), ""},
		"not signed":      {image(t, fixture()...), ErrUnsigned.Error()},
		"without section": {image(t, fixture()[:7]...), ErrUnsigned.Error()},
		"by another":      {signed(fixture(), stranger), ErrUnsigned.Error()},
		"forged":          {forged, "does not match"},
		"changed":         {bytes.Replace(signed(fixture(), key), []byte("console=ttyS0"), []byte("console=ttyS1"), 1), "changed after that"},
		"no image":        {[]byte("x"), "read image"},
	} {
		err := Check(bytes.NewReader(test.image), &key.PublicKey)
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want %q", name, err, test.says)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	key := newKey(t, elliptic.P256())
	s, err := Sign(Values{Kernel: {1}, Config: {}}, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Signature){
		"other values": func(s *Signature) { s.Values = Values{Kernel: {2}, Config: {}} },
		"other policy": func(s *Signature) { s.Values, s.Policy = Values{Kernel: {2}}, policyOf(t, Values{Kernel: {2}}) },
		"cut off":      func(s *Signature) { s.ASN1 = s.ASN1[:len(s.ASN1)-1] },
		"other key":    func(s *Signature) { s.Key = Digest{} },
	} {
		changed := s
		change(&changed)
		if err := changed.Verify(&key.PublicKey); err == nil {
			t.Errorf("%s: it holds", name)
		}
	}
}

func policyOf(t *testing.T, v Values) Digest {
	t.Helper()
	d, err := v.Policy()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func FuzzPredict(f *testing.F) {
	f.Add(image(f, fixture()...))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Predict(bytes.NewReader(data))
		if err != nil {
			return
		}
		if v[Kernel] == (Digest{}) || len(v) != 3 {
			t.Errorf("predicted %v", v)
		}
		// Signing changes nothing of what is measured, wherever the sections lie.
		signed := slices.Clone(data)
		if Detach(signed) != nil {
			return
		}
		if again, err := Predict(bytes.NewReader(signed)); err == nil && again[Kernel] != v[Kernel] && !overlaps(t, data) {
			t.Errorf("signed, it is %s and not %s", again[Kernel], v[Kernel])
		}
	})
}

// overlaps tells whether sections of an image share bytes with the signatures, or with the headers.
func overlaps(t *testing.T, data []byte) bool {
	t.Helper()
	f, err := pe.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	s := f.Section(SectionName)
	for _, o := range f.Sections {
		if o != s && o.Offset < s.Offset+s.Size && s.Offset < o.Offset+o.Size {
			return true
		}
	}
	return s.Offset < 0x600
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"sha256":[{"pcrs":[11],"pkfp":"` + fixtureValue + `","pol":"` + fixturePolicy + `","sig":"AA==","values":{"11":"` + fixtureValue + `"}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := Parse(data)
		if err != nil {
			return
		}
		text, err := Encode(list)
		if err != nil || !json.Valid(text) {
			t.Fatalf("%q, %v", text, err)
		}
		again, err := Parse(text)
		if d := cmp.Diff(list, again); err != nil || d != "" {
			t.Errorf("%v (-parsed +again):\n%s", err, d)
		}
	})
}
