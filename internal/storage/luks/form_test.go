package luks

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// rewrite replaces the JSON text of both copies of a header, with checksums that are right.
func rewrite(t *testing.T, path string, change func(string) string) {
	t.Helper()
	part := read(t, path, 0, minHeaderBytes)
	area := part[binaryBytes:]
	changed := change(text(area))
	if changed == text(area) || len(changed) >= len(area) {
		t.Fatalf("the header was not changed, or there is no room: %d bytes", len(changed))
	}
	clear(area)
	copy(area, changed)
	for i := range 2 {
		to := make([]byte, minHeaderBytes)
		place(to, part, i)
		overwrite(t, path, int64(i*minHeaderBytes), to)
	}
}

// once replaces the first place where a text is.
func once(from, to string) func(string) string {
	return func(s string) string { return strings.Replace(s, from, to, 1) }
}

// forged are changes of a header of the node's form after which it is not.
func forged() map[string]func(string) string {
	const area, segment = `"encryption":"aes-xts-plain64","key_size":64`, `"encryption":"aes-xts-plain64","sector_size":4096`
	token := func(text string) func(string) string { return once(`"tokens":{`, `"tokens":{"0":`+text) }
	return map[string]func(string) string{
		"slot without encryption":    once(area, `"encryption":"cipher_null-ecb","key_size":64`),
		"slot with a short key":      once(area, `"encryption":"aes-xts-plain64","key_size":32`),
		"slot of another type":       once(`"type":"luks2"`, `"type":"reencrypt"`),
		"slot for a short key":       once(`"key_size":64,"af"`, `"key_size":32,"af"`),
		"slot with few stripes":      once(`"stripes":4000`, `"stripes":1`),
		"slot split by another hash": once(`"stripes":4000,"hash":"sha256"`, `"stripes":4000,"hash":"sha1"`),
		"slot in the header":         once(`"offset":"32768"`, `"offset":"4096"`),
		"slot in the data":           once(`"offset":"32768"`, `"offset":"4194304"`),
		"slot by another hash":       once(`"pbkdf2","hash":"sha256"`, `"pbkdf2","hash":"sha1"`),
		"slot that takes for ever":   once(`"iterations":1000`, `"iterations":4294967295`),
		"slot with a priority":       once(`"type":"luks2"`, `"type":"luks2","priority":2`),
		"segment without encryption": once(segment, `"encryption":"cipher_null-ecb","sector_size":4096`),
		"segment by another cipher":  once(segment, `"encryption":"aes-ecb","sector_size":4096`),
		"segment of other sectors":   once(segment, `"encryption":"aes-xts-plain64","sector_size":512`),
		"segment elsewhere":          once(`"offset":"4194304"`, `"offset":"8388608"`),
		"segment of a size":          once(`"size":"dynamic"`, `"size":"8388608"`),
		"segment with a tweak":       once(`"iv_tweak":"0"`, `"iv_tweak":"8"`),
		"segment with a flag":        once(`"iv_tweak":"0"`, `"iv_tweak":"0","flags":["backup-final"]`),
		"segment with integrity":     once(`"iv_tweak":"0"`, `"iv_tweak":"0","integrity":{"type":"none","journal_encryption":"none","journal_integrity":"none"}`),
		"two segments": once(`"segments":{`,
			`"segments":{"1":{"type":"linear","offset":"0","size":"4096","iv_tweak":"0","encryption":"","sector_size":4096},`),
		"digest by another hash": once(`"segments":["0"],"hash":"sha256"`, `"segments":["0"],"hash":"sha1"`),
		"digest of no segment":   once(`"segments":["0"]`, `"segments":[]`),
		"digest that is cut off": func(s string) string {
			return regexp.MustCompile(`"digest":"[^"]*"`).ReplaceAllString(s, `"digest":"AAAA"`)
		},
		"no digest": func(s string) string {
			return regexp.MustCompile(`"digests":\{.*\},"config"`).ReplaceAllString(s, `"digests":{},"config"`)
		},
		"requirement":              once(`"config":{`, `"config":{"requirements":{"mandatory":["offline-reencrypt"]},`),
		"flag":                     once(`"config":{`, `"config":{"flags":["allow-discards"],`),
		"size of the slots":        once(`"keyslots_size":"4161536"`, `"keyslots_size":"0"`),
		"token of the keyring":     token(`{"type":"luks2-keyring","keyslots":["0"],"key_description":"x"}`),
		"token of systemd":         token(`{"type":"systemd-tpm2","keyslots":["0"]}`),
		"field that is not known":  once(`"config":{`, `"more":{},"config":{`),
		"name in another case":     once(area, `"encryption":"cipher_null-ecb","Encryption":"aes-xts-plain64","key_size":64`),
		"name in that case only":   once(segment, `"Encryption":"aes-xts-plain64","sector_size":4096`),
		"name in other letters":    once(`"segments":{`, `"ſegments":{},"segments":{`),
		"name twice, true last":    once(segment, `"encryption":"cipher_null-ecb",`+segment),
		"name twice, true first":   once(segment, `"encryption":"aes-xts-plain64","encryption":"cipher_null-ecb","sector_size":4096`),
		"slot twice":               once(`"keyslots":{`, `"keyslots":{"0":{},`),
		"text behind":              func(s string) string { return s + "{}" },
		"text behind a zero":       func(s string) string { return s + "\x00{}" },
		"text before":              func(s string) string { return " " + s },
		"a comment, as json-c has": once(`"config":{`, `/* */"config":{`),
		"a number as a text":       once(`"stripes":4000`, `"stripes":"4000"`),
	}
}

// TestForm: a header that differs from the node's in anything gets no key, whatever the key is and whatever cryptsetup would say.
func TestForm(t *testing.T) {
	c := program(t)
	path, key := volume(t, c)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range forged() {
		t.Run(name, func(t *testing.T) {
			overwrite(t, path, 0, whole[:HeaderBytes])
			rewrite(t, path, change)
			if err := Check(path); !errors.Is(err, ErrForm) {
				t.Errorf("checked: %v", err)
			}
			if _, err := c.Test(t.Context(), path, key); !errors.Is(err, ErrForm) {
				t.Errorf("its key: %v", err)
			}
			if err := c.Open(t.Context(), path, "cyvive-test-form", key); !errors.Is(err, ErrForm) {
				t.Errorf("opened: %v", err)
			}
			if _, err := c.AddKey(t.Context(), path, key, key); !errors.Is(err, ErrForm) {
				t.Errorf("a further key: %v", err)
			}
		})
	}
}

// TestFormOfTheNode: what the node itself makes of a header stays of the form.
func TestFormOfTheNode(t *testing.T) {
	c := program(t)
	path, key := volume(t, c)
	further, _ := NewKey()
	phrase, err := Passphrase("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Secret{further, phrase} {
		if _, err := c.AddKey(t.Context(), path, key, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.PutToken(t.Context(), path, Token{Number: 1, JSON: []byte(`{"type":"cyvive-recovery","keyslots":["1"]}`)}); err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveKey(t.Context(), path, 0); err != nil {
		t.Fatal(err)
	}
	if err := Check(path); err != nil {
		t.Error(err)
	}
	if slot, err := c.Test(t.Context(), path, phrase); slot != 2 || err != nil {
		t.Errorf("the passphrase opens slot %d, %v", slot, err)
	}
	for name, want := range map[string]error{"blank": ErrNone, "cut off": ErrForm} {
		other := device(t)
		if name == "cut off" {
			if err := os.Truncate(other, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		if err := Check(other); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// TestFormOfCopies: neither copy can hide from the check what cryptsetup would read in it, and the copy that is used has the one that counts twice.
func TestFormOfCopies(t *testing.T) {
	c := program(t)
	path, key := volume(t, c)
	whole := read(t, path, 0, HeaderBytes)
	null := bytes.Replace(bytes.Clone(whole[:minHeaderBytes]), []byte(`"encryption":"aes-xts-plain64","sector`), []byte(`"encryption":"cipher_null-ecb","sector`), 1)
	newer := func(part []byte, by uint64) []byte {
		part = bytes.Clone(part)
		binary.BigEndian.PutUint64(part[seqOffset:], sequence(part)+by)
		return part
	}
	kind := bytes.Clone(null)
	copy(kind[sumKindOffset:], "sha512")
	size := bytes.Clone(null)
	binary.BigEndian.PutUint64(size[sizeOffset:], 2*minHeaderBytes)
	for name, parts := range map[string][2][]byte{
		"the first, newer":             {newer(null, 1), whole},
		"the second, newer":            {whole, newer(null, 1)},
		"the second, older":            {newer(whole[:minHeaderBytes], 1), null},
		"the first, by another sum":    {kind, whole},
		"the second, by another sum":   {whole, kind},
		"the first, of another size":   {size, whole},
		"the second, and no first one": {nil, null},
	} {
		overwrite(t, path, 0, make([]byte, 2*minHeaderBytes))
		for i, part := range parts {
			if part != nil {
				to := make([]byte, minHeaderBytes)
				place(to, part[:minHeaderBytes], i)
				overwrite(t, path, int64(i*minHeaderBytes), to)
			}
		}
		if _, err := c.Test(t.Context(), path, key); !errors.Is(err, ErrForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Of two that are of the form the newer one counts, as for cryptsetup, and is in both places of what it reads.
	label := newer(whole[:minHeaderBytes], 1)
	copy(label[labelOffset:], "later\x00")
	overwrite(t, path, 0, whole)
	to := make([]byte, minHeaderBytes)
	place(to, label, 1)
	overwrite(t, path, minHeaderBytes, to)
	f, err := checkedCopy(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := ReadHeader(f)
	if err != nil || h.Label != "later" || h.Repair {
		t.Errorf("read %+v, %v", h, err)
	}
	if slot, err := c.Test(t.Context(), path, key); slot != 0 || err != nil {
		t.Errorf("its key opens slot %d, %v", slot, err)
	}
}

// withNullSlot makes the key of a volume known: slot 0 is not encrypted, and the volume key in it is zeros.
func withNullSlot(t *testing.T, path string) {
	t.Helper()
	volumeKey, salt := make([]byte, volumeKeyBytes), make([]byte, saltBytes)
	digest, err := pbkdf2.Key(sha256.New, string(volumeKey), salt, keyIterations, digestBytes)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.StdEncoding.EncodeToString
	rewrite(t, path, func(s string) string {
		s = strings.Replace(s, `"encryption":"aes-xts-plain64","key_size"`, `"encryption":"cipher_null-ecb","key_size"`, 1)
		return regexp.MustCompile(`"salt":"[^"]*","digest":"[^"]*"`).ReplaceAllString(s, `"salt":"`+encode(salt)+`","digest":"`+encode(digest)+`"`)
	})
	// All stripes but the last are zeros, and that is what makes the sum of all zeros: AF_merge of lib/luks1/af.c.
	area, sum := make([]byte, areaBytes), make([]byte, volumeKeyBytes)
	for range stripes - 1 {
		for i := range volumeKeyBytes / sha256.Size {
			block := sum[i*sha256.Size : (i+1)*sha256.Size]
			mixed := sha256.Sum256(append(binary.BigEndian.AppendUint32(nil, uint32(i)), block...))
			copy(block, mixed[:])
		}
	}
	copy(area[(stripes-1)*volumeKeyBytes:], sum)
	overwrite(t, path, firstArea, area)
}

// TestNullSlot: a volume whose key everybody knows, and which opens with any key in cryptsetup before 2.8.1, does not open.
func TestNullSlot(t *testing.T) {
	c := program(t)
	path, _ := volume(t, c)
	withNullSlot(t, path)
	other, data := NewKey()
	cmd := exec.Command(c.Program, "--batch-mode", "open", "--test-passphrase", "--type=luks2", "--key-file=-", path)
	cmd.Stdin = bytes.NewReader(data)
	words, err := cmd.CombinedOutput()
	t.Logf("cryptsetup itself says: %v %s", err, words) // no error before 2.8.1, where the kernel lets programs encrypt
	if _, err := c.Test(t.Context(), path, other); !errors.Is(err, ErrForm) || !strings.Contains(err.Error(), "cipher_null-ecb") {
		t.Errorf("tried: %v", err)
	}
	if err := c.Open(t.Context(), path, "cyvive-test-null", other); !errors.Is(err, ErrForm) {
		t.Errorf("opened: %v", err)
	}
}
