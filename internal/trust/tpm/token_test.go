package tpm

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/trust/pcr"
)

// TestToken: what a header keeps opens the volume, and no other.
func TestToken(t *testing.T) {
	m := newMachine(t)
	key := newKey(t)
	want := Token{Keyslot: 1, Volume: "state", UUID: "11111111-2222-3333-4444-555555555555", Sealed: seal(t, m, "secure", key)}
	text, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("token (-encoded +parsed):\n%s", d)
	}
	if len(text) > 2048 {
		t.Errorf("the token takes %d bytes of a header's 12288", len(text))
	}
	p, _ := start(t, m, "secure", "release 1")
	if secretOut, err := p.Unseal(got.Sealed, []pcr.Signature{release(t, "release 1", key)}); err != nil || !bytes.Equal(secretOut, secret()) {
		t.Errorf("unsealed %q, %v", secretOut, err)
	}
	if err := got.Check("state", want.UUID); err != nil {
		t.Error(err)
	}
	for _, c := range [][2]string{{"data", want.UUID}, {"state", "another"}} {
		if err := got.Check(c[0], c[1]); err == nil || !strings.Contains(err.Error(), c[0]) {
			t.Errorf("volume %s (%s): %v", c[0], c[1], err)
		}
	}
}

// sealedText is a token as TestToken's, of a TPM that is gone.
const sealedText = `{"type":"cyvive-tpm2","keyslots":["1"],"version":1,"volume":"state","uuid":"11111111-2222-3333-4444-555555555555","parent":"000bd2` +
	`37674bf4726ba1be1a2a5ba40c6cbb198a073582ca312c55ca195eb0e95e08","signer":"0464fc434244d294b544d2462e4107d93abc16018b04e374e1d78908` +
	`bd979a4f0bb8bfbc813f29fdf30189ff196b26408210d1e3fea77662a668be5f6843ff8fd3","fixed":{"7":"5aa36f6569b172fdfdc14af609eb2b1da3edde74` +
	`d354bb92a89ef07ea868ed8e"},"public":"AE4ACAALAAAEkgAgW89RQaVGyjKPta9FlHzG0eM7zR5QFt1ZarhQVODsirkAEAAgncY/nf2dpQ2DEkSVzsvMgGHyqYuTF` +
	`LYCVOS8DcuoUT8=","private":"AJ4AIEBuweJzJk+kYHYb3VNbDjfJdtS5X8uTpdOUJH7Q9lw1ABDZFIKeWaN6FtVfbyRF2xLJlo1nn6YyAYjuliklMtVIB7Td5dxPpD` +
	`dWKfH8Qz+OJFk/1tebRTAjLyYlG9ZthWv5joLieRQ5aOOZ8aTEwoshlD4Ie8sxyCl1y9ocPeb91GglLgEGBul5QthblIT/tAOyvF/DgzCaxZq/AA=="}`

func TestParseTokenRefuses(t *testing.T) {
	for name, c := range map[string]struct{ old, new, says string }{
		"another type":        {`"cyvive-tpm2"`, `"systemd-tpm2"`, "expected cyvive-tpm2"},
		"a later version":     {`"version":1`, `"version":2`, "version 2, expected 1"},
		"an unknown field":    {`"version":1`, `"version":1,"pin":true`, "pin"},
		"no volume":           {`"volume":"state"`, `"volume":""`, "which volume"},
		"two key slots":       {`["1"]`, `["1","2"]`, "2 key slots"},
		"key slot":            {`["1"]`, `["32"]`, "below 32"},
		"no register":         {`"fixed":{"7":`, `"fixed":{},"x":{"7":`, "unknown field"},
		"register":            {`{"7":`, `{"24":`, "below 24"},
		"signer not on curve": {`"signer":"04`, `"signer":"0400`, "signer"},
		"parent":              {`"parent":"000b`, `"parent":"0b`, "storage key"},
		"no sealed key":       {`"private":"`, `"private":"","x":"`, "unknown field"},
		"something behind":    {`"version":1`, `"version":1}{"a":1`, "behind"},
	} {
		text := strings.Replace(sealedText, c.old, c.new, 1)
		if text == sealedText {
			t.Fatalf("%s: %q is not in the token", name, c.old)
		}
		if _, err := ParseToken([]byte(text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.says)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add([]byte(sealedText))
	f.Fuzz(func(t *testing.T, data []byte) {
		token, err := ParseToken(data)
		if err != nil {
			return
		}
		text, err := token.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseToken(text)
		if d := cmp.Diff(token, again); err != nil || d != "" {
			t.Errorf("%v (-parsed +again):\n%s", err, d)
		}
	})
}

func FuzzSignature(f *testing.F) {
	f.Add([]byte("\x30\x06\x02\x01\x01\x02\x01\x02"))
	f.Fuzz(func(t *testing.T, der []byte) {
		s, err := tpmSignature(der)
		if err != nil {
			return
		}
		numbers, err := s.Signature.ECDSA()
		if err != nil || len(numbers.SignatureR.Buffer) != 32 || len(numbers.SignatureS.Buffer) != 32 {
			t.Errorf("%x became %+v, %v", der, numbers, err)
		}
	})
}
