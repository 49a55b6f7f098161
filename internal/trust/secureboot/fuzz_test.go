package secureboot

import (
	"bytes"
	"testing"
)

// FuzzProgram: a program that was changed is never taken for what was signed.
func FuzzProgram(f *testing.F) {
	signer := newSigner(f, "db", nil)
	signed, err := signer.SignProgram(loader())
	if err != nil {
		f.Fatal(err)
	}
	hash, err := HashProgram(bytes.NewReader(signed))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add(loader())
	f.Fuzz(func(t *testing.T, data []byte) {
		if VerifyProgram(bytes.NewReader(data), signer.Certificate) != nil {
			return
		}
		if got, err := HashProgram(bytes.NewReader(data)); err != nil || got != hash {
			t.Errorf("a program with the hash %x, %v passes for the one that was signed, with %x", got, err, hash)
		}
	})
}

// FuzzSignature: whatever is parsed as a signature does not hold over what nobody has signed.
func FuzzSignature(f *testing.F) {
	signer := newSigner(f, "db", nil)
	der, err := signer.SignModule([]byte("module"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseWrapped(data)
		if err != nil {
			return
		}
		if err := s.verify([]byte("something else"), signer.Certificate); err == nil {
			t.Error("a signature of something else holds")
		}
	})
}

// FuzzLists: what is read is written as it was read.
func FuzzLists(f *testing.F) {
	f.Add(EncodeLists([]Entry{{known(typeX509), GUID{1}, []byte("certificate")}, {known(typeSHA256), GUID{}, make([]byte, 32)}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := ParseLists(data)
		if err != nil {
			return
		}
		again, err := ParseLists(EncodeLists(entries))
		if err != nil || len(again) != len(entries) {
			t.Fatalf("%d entries are %d when they are written and read: %v", len(entries), len(again), err)
		}
		for i, e := range entries {
			if again[i].Type != e.Type || again[i].Owner != e.Owner || !bytes.Equal(again[i].Data, e.Data) {
				t.Errorf("entry %d is another", i)
			}
		}
	})
}

// FuzzVariable: no variable is taken that nobody has signed.
func FuzzVariable(f *testing.F) {
	signer := newSigner(f, "KEK", nil)
	data, err := signer.SignVariable(DB, []Entry{CertificateEntry(GUID{}, signer.Certificate)}, noon)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, changed []byte) {
		entries, err := VerifyVariable(DB, changed, signer.Certificate)
		if err == nil && (len(entries) != 1 || !bytes.Equal(entries[0].Data, signer.Certificate.Raw)) {
			t.Errorf("%d entries that were not signed", len(entries))
		}
	})
}
