package secureboot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// keySet is three keys and the variables that they make.
type keySet struct {
	pk, kek, db Signer
	variables   map[Variable][]byte
}

func newSet(t *testing.T) keySet {
	t.Helper()
	s := keySet{pk: newSigner(t, "the platform", nil), kek: newSigner(t, "exchange", nil), db: newSigner(t, "programs", nil), variables: map[Variable][]byte{}}
	owner := OwnerOf(s.pk.Certificate)
	for _, c := range []struct {
		v     Variable
		holds Signer
		by    Signer
	}{{PK, s.pk, s.pk}, {KEK, s.kek, s.pk}, {DB, s.db, s.kek}} {
		data, err := c.by.SignVariable(c.v, []Entry{CertificateEntry(owner, c.holds.Certificate)}, noon)
		if err != nil {
			t.Fatal(err)
		}
		s.variables[c.v] = data
	}
	return s
}

// TestSignVariable reads a signed variable by its places, as UEFI 2.10 gives them.
func TestSignVariable(t *testing.T) {
	s := newSet(t)
	le := binary.LittleEndian
	for v, data := range s.variables {
		// 8.2.2: the time, whose other fields have to be zero.
		if want := []byte{0xea, 0x07, 3, 1, 12, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0, 0}; !bytes.Equal(data[:16], want) {
			t.Errorf("%s: the time is % x, want % x", v, data[:16], want)
		}
		size := int(le.Uint32(data[16:]))
		if le.Uint16(data[20:]) != 0x0200 || le.Uint16(data[22:]) != 0x0ef1 || GUID(data[24:40]).String() != typePKCS7 {
			t.Errorf("%s: the signature's header is % x", v, data[16:40])
		}
		der, lists := data[40:16+size], data[16+size:]
		// AuthService.c of edk2: without ContentInfo the algorithm's identifier is at 13.
		if der[0] != 0x30 || der[1] != 0x82 || !bytes.HasPrefix(der[13:], []byte{0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01}) {
			t.Errorf("%s: firmware does not find SHA-256 in % x", v, der[:32])
		}
		// 32.4.1: one list with one certificate.
		if GUID(lists[:16]).String() != typeX509 || int(le.Uint32(lists[16:])) != len(lists) || le.Uint32(lists[20:]) != 0 || int(le.Uint32(lists[24:])) != len(lists)-28 {
			t.Errorf("%s: the list of %d bytes begins with % x", v, len(lists), lists[:28])
		}
		if owner := OwnerOf(s.pk.Certificate); GUID(lists[28:44]) != owner || !strings.HasPrefix(owner.String()[14:], "8") {
			t.Errorf("%s: owner %s, want %s", v, GUID(lists[28:44]), owner)
		}
	}
	if !bytes.HasSuffix(s.variables[DB], s.db.Certificate.Raw) {
		t.Error("db does not end in its certificate")
	}
	if err := Check(s.variables, s.pk.Certificate, s.kek.Certificate, s.db.Certificate); err != nil {
		t.Error(err)
	}
	again, err := s.kek.SignVariable(DB, []Entry{CertificateEntry(OwnerOf(s.pk.Certificate), s.db.Certificate)}, noon)
	if err != nil || !bytes.Equal(again, s.variables[DB]) {
		t.Errorf("signed twice it has other bytes: %v", err)
	}
}

// TestOthersVerifyVariables has OpenSSL check signatures, over what UEFI 2.10, 8.2.2 says is signed.
func TestOthersVerifyVariables(t *testing.T) {
	openssl := tool(t, "openssl")
	s := newSet(t)
	data := s.variables[KEK]
	size := int(binary.LittleEndian.Uint32(data[16:]))
	der, err := wrap(data[40 : 16+size])
	if err != nil {
		t.Fatal(err)
	}
	signed := []byte("K\x00E\x00K\x00")
	signed = append(signed, 0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c)
	signed = append(signed, 0x27, 0, 0, 0)
	signed = append(append(signed, data[:16]...), data[16+size:]...)
	args := []string{"cms", "-verify", "-binary", "-noverify", "-inform", "DER", "-in", "signature", "-content", "signed", "-out", "out"}
	words, err := run(t, openssl, map[string][]byte{"signature": der, "signed": signed}, args...)
	if err != nil {
		t.Errorf("%v\n%s", err, words)
	}
	signed[len(signed)-1] ^= 1
	if words, err := run(t, openssl, map[string][]byte{"signature": der, "signed": signed}, args...); err == nil {
		t.Errorf("another variable: it holds as well\n%s", words)
	}
}

// TestOthersVerifyModules has OpenSSL check the signature of a module, which holds no certificate.
func TestOthersVerifyModules(t *testing.T) {
	openssl := tool(t, "openssl")
	signer, other := newSigner(t, "db", nil), newSigner(t, "other", nil)
	module := bytes.Repeat([]byte("module"), 1000)
	der, err := signer.SignModule(module)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := signer.SignModule(module); err != nil || !bytes.Equal(der, again) {
		t.Errorf("signed twice it has other bytes: %v", err)
	}
	if bytes.Contains(der, signer.Certificate.Raw) {
		t.Error("it holds the certificate")
	}
	args := []string{"cms", "-verify", "-binary", "-noverify", "-inform", "DER", "-in", "signature", "-content", "module", "-certfile", "by.pem", "-out", "out"}
	for name, c := range map[string]struct {
		module []byte
		by     Signer
		good   bool
	}{"signed": {module, signer, true}, "changed": {module[1:], signer, false}, "another's": {module, other, false}} {
		words, err := run(t, openssl, map[string][]byte{"signature": der, "module": c.module, "by.pem": c.by.Certificate.Raw}, args...)
		if (err == nil) != c.good {
			t.Errorf("%s: %v\n%s", name, err, words)
		}
	}
	// The kernel takes no attributes in the signature of a module.
	s, err := parseWrapped(der)
	if err != nil || len(s.Signers[0].Attributes.FullBytes) > 0 || len(s.certificates) > 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestVerifyVariableRefuses(t *testing.T) {
	s := newSet(t)
	db := s.variables[DB]
	for name, c := range map[string]struct {
		v    Variable
		data []byte
		by   Signer
	}{
		"nothing":              {DB, nil, s.kek},
		"another variable":     {KEK, db, s.kek},
		"another's":            {DB, db, s.pk},
		"another time":         {DB, append([]byte{0xeb}, db[1:]...), s.kek},
		"another list":         {DB, append(bytes.Clone(db[:len(db)-1]), db[len(db)-1]^1), s.kek},
		"cut off":              {DB, db[:len(db)-1], s.kek},
		"more behind":          {DB, append(bytes.Clone(db), 0), s.kek},
		"larger than it is":    {DB, append(append(bytes.Clone(db[:16]), 0xff, 0xff, 0xff, 0xff), db[20:]...), s.kek},
		"of an EFI program":    {DB, append(bytes.Clone(db[:40]), loader()...), s.kek},
		"another kind of it":   {DB, append(append(bytes.Clone(db[:24]), make([]byte, 16)...), db[40:]...), s.kek},
		"signature of nothing": {DB, append(append(bytes.Clone(db[:16]), 24, 0, 0, 0), db[20:40]...), s.kek},
	} {
		if _, err := VerifyVariable(c.v, c.data, c.by.Certificate); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	// A set whose db lets nothing start that is signed with the key.
	if err := Check(s.variables, s.pk.Certificate, s.kek.Certificate, newSigner(t, "another", nil).Certificate); !errors.Is(err, errNoCertificate) {
		t.Errorf("db without the certificate: %v", err)
	}
}

func TestLists(t *testing.T) {
	a, b := known(typeX509), known(typeSHA256)
	in := []Entry{{a, GUID{1}, []byte("one")}, {a, GUID{2}, []byte("the second")}, {b, GUID{3}, make([]byte, 32)}}
	out, err := ParseLists(EncodeLists(in))
	if d := cmp.Diff(in, out); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	// Several of one size in a list with a header of its own, as others write them.
	list := append(b[:], 28+4+2*18, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0)
	list = append(list, "head"...)
	list = append(append(list, make([]byte, 16)...), "aa"...)
	list = append(append(list, make([]byte, 16)...), "bb"...)
	out, err = ParseLists(list)
	if d := cmp.Diff([]Entry{{b, GUID{}, []byte("aa")}, {b, GUID{}, []byte("bb")}}, out); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	for name, data := range map[string][]byte{
		"cut off in the header": list[:27], "cut off": list[:len(list)-1],
		"signatures of nothing": append(append(bytes.Clone(list[:24]), 0, 0, 0, 0), list[28:]...),
		"a size that is not":    append(append(bytes.Clone(list[:24]), 19, 0, 0, 0), list[28:]...),
		"smaller than itself":   append(append(bytes.Clone(list[:16]), 27, 0, 0, 0), list[20:]...),
		"larger header":         append(append(bytes.Clone(list[:20]), 0xff, 0xff, 0xff, 0xff), list[24:]...),
	} {
		if _, err := ParseLists(data); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestGUID(t *testing.T) {
	// The two examples are those of UEFI 2.10, 32.4.1, EFI_CERT_SHA256_GUID, and 3.3.
	if got, want := known(typeSHA256), (GUID{0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28}); got != want {
		t.Errorf("got % x, want % x", got, want)
	}
	for _, text := range []string{globalVariable, imageSecurity, typeX509, typeSHA256, typeX509SHA, typePKCS7} {
		if got := known(text).String(); got != text {
			t.Errorf("got %s, want %s", got, text)
		}
	}
	if got, want := DB.EFIName(), "db-d719b2cb-3d3a-4596-a3bc-dad00e67656f"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTimeIsUTC(t *testing.T) {
	if got, want := efiTime(noon.In(time.FixedZone("", 3600))), efiTime(noon); !bytes.Equal(got, want) {
		t.Errorf("got % x, want % x", got, want)
	}
}
