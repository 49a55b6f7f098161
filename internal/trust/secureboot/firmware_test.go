package secureboot

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

// TestInSetupMode: firmware that says so is, and one that says nothing is not; what it cannot say is an error.
func TestInSetupMode(t *testing.T) {
	for name, c := range map[string]struct {
		file []byte
		want bool
		says string
	}{
		"no variable": {nil, false, ""},
		"off":         {[]byte{6, 0, 0, 0, 0}, false, ""},
		"on":          {[]byte{6, 0, 0, 0, 1}, true, ""},
		"neither":     {[]byte{6, 0, 0, 0, 2}, false, "setup mode"},
		"long":        {[]byte{6, 0, 0, 0, 1, 1}, false, "2 bytes"},
		"short":       {[]byte{6}, false, "1 bytes"},
	} {
		variables := fstest.MapFS{}
		if c.file != nil {
			variables[setupVariable.EFIName()] = &fstest.MapFile{Data: c.file}
		}
		got, err := InSetupMode(variables)
		if got != c.want || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %t, %v; want %t, %q", name, got, err, c.want, c.says)
		}
	}
}

// TestStarts: what firmware with such variables starts, and why it does not.
func TestStarts(t *testing.T) {
	signer, other, authority := newSigner(t, "db", nil), newSigner(t, "other", nil), newSigner(t, "authority", nil)
	leaf := newSigner(t, "a leaf", &authority)
	plain := program([]string{"12345678"}, "")
	sign := func(s Signer) []byte {
		signed, err := s.SignProgram(plain)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	signed, changed := sign(signer), sign(signer)
	changed[headerBytes] ^= 1
	cut := signed[:len(signed)-8]
	hash := hashAsFirmware(t, plain)
	byHash := []Entry{{known(typeSHA256), GUID{}, hash[:]}}
	cert := func(s Signer) Entry { return CertificateEntry(GUID{}, s.Certificate) }
	tbs := sha256.Sum256(signer.Certificate.RawTBSCertificate)
	withdrawn := Entry{known(typeX509SHA), GUID{}, append(tbs[:], make([]byte, 16)...)}
	broken := Entry{known(typeX509), GUID{}, []byte("no certificate")}
	for name, c := range map[string]struct {
		on      byte
		db, dbx []Entry
		file    []byte
		says    string
	}{
		"off":                            {0, nil, nil, plain, ""},
		"signed":                         {1, []Entry{cert(signer)}, nil, signed, ""},
		"signed, among others":           {1, []Entry{broken, cert(other), cert(signer)}, byHash[:0], signed, ""},
		"by its hash":                    {1, byHash, nil, plain, ""},
		"by a leaf":                      {1, []Entry{cert(authority)}, nil, sign(leaf), ""},
		"not signed":                     {1, []Entry{cert(signer)}, nil, plain, "not signed"},
		"by another":                     {1, []Entry{cert(signer)}, nil, sign(other), `signed by "CN=other"`},
		"no db":                          {1, nil, nil, signed, "not in db"},
		"changed":                        {1, []Entry{cert(signer)}, nil, changed, "it was changed"},
		"cut off":                        {1, []Entry{cert(signer)}, nil, cut, "certificates"},
		"withdrawn":                      {1, []Entry{cert(signer)}, byHash, signed, "dbx"},
		"its signer withdrawn":           {1, []Entry{cert(signer)}, []Entry{cert(signer)}, signed, "dbx"},
		"its signer withdrawn by a hash": {1, []Entry{cert(signer)}, []Entry{withdrawn}, signed, "dbx"},
		"no program":                     {1, []Entry{cert(signer)}, nil, []byte("kernel"), "form"},
	} {
		f, err := Read(efivars(c.on, c.db, c.dbx))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		err = f.Starts(bytes.NewReader(c.file))
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
}

func TestRead(t *testing.T) {
	const state = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	f, err := Read(fstest.MapFS{})
	if err != nil || f.On {
		t.Errorf("no variables: %+v, %v", f, err)
	}
	f, err = Read(fstest.MapFS{state: {Data: []byte{6, 0, 0, 0, 1}}})
	if err != nil || !f.On || len(f.DB) != 0 {
		t.Errorf("no db: %+v, %v", f, err)
	}
	bad := efivars(1, nil, nil)
	bad[DB.EFIName()] = &fstest.MapFile{Data: []byte{0x27, 0, 0, 0, 1}}
	for name, variables := range map[string]fstest.MapFS{
		"no state":  {state: {Data: []byte{6, 0, 0, 0}}},
		"cut off":   {state: {Data: []byte{6, 0}}},
		"two":       {state: {Data: []byte{6, 0, 0, 0, 2}}},
		"db broken": bad,
		"too large": {state: {Data: make([]byte, maxVariableBytes+1)}},
	} {
		if f, err := Read(variables); err == nil {
			t.Errorf("%s: %+v was accepted", name, f)
		}
	}
}
