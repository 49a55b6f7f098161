package luks

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// smallBytes is the room in a smallDevice: three pieces of those that are encrypted at once.
const smallBytes = 3 * encloseBytes

// smallDevice is a device for what need not be large, as emulated processors are slow at it.
func smallDevice(t *testing.T) string {
	t.Helper()
	path := device(t)
	if err := os.Truncate(path, HeaderBytes+smallBytes); err != nil {
		t.Fatal(err)
	}
	return path
}

// content is what goes into a volume of the tests.
func content(t *testing.T, n int) []byte {
	t.Helper()
	data := make([]byte, n)
	_, _ = rand.Read(data)
	copy(data, "plain text, and zeros behind it")
	clear(data[4096:8192])
	return data
}

// TestEnclose: the header is as Format makes it, and nothing of the content is in the clear.
func TestEnclose(t *testing.T) {
	c := program(t)
	path := smallDevice(t)
	plain := content(t, smallBytes)
	key, _ := NewKey()
	if err := c.Enclose(t.Context(), path, "state", key, bytes.NewReader(plain)); err != nil {
		t.Fatal(err)
	}
	h := inspect(t, path)
	if h.Label != "state" || h.OffsetBytes != HeaderBytes || h.SectorBytes != sectorBytes || h.Cipher != cipher || len(h.Keyslots) != 1 || len(h.Tokens) != 0 {
		t.Errorf("header %+v", h)
	}
	if slot, err := c.Test(t.Context(), path, key); slot != 0 || err != nil {
		t.Errorf("its key opens slot %d, %v", slot, err)
	}
	raw, err := os.ReadFile(path)
	if err != nil || len(raw) != HeaderBytes+smallBytes || bytes.Contains(raw, []byte("plain text")) {
		t.Fatalf("%d bytes are in the file, as they went in: %v", len(raw), err)
	}
}

// TestEnclosedIsRead: cryptsetup, by which the format is defined, decrypts in its place what Enclose has encrypted, and it is the content again.
func TestEnclosedIsRead(t *testing.T) {
	c := program(t)
	path := device(t)
	plain := content(t, 12<<20)
	key, data := NewKey()
	if err := c.Enclose(t.Context(), path, "state", key, bytes.NewReader(plain)); err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, data, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(c.Program, "reencrypt", "--decrypt", "--batch-mode", "--force-offline-reencrypt",
		"--header="+filepath.Join(t.TempDir(), "header"), "--key-file="+keyFile, path)
	words, err := cmd.CombinedOutput()
	if bytes.Contains(words, []byte("acquire reencryption lock")) && os.Geteuid() != 0 {
		t.Skipf("needs root, whose the folder of cryptsetup's locks is: %s", words)
	}
	if err != nil {
		t.Fatalf("decrypt: %v: %s", err, words)
	}
	got, err := os.ReadFile(path)
	if err != nil || len(got) < len(plain) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for at := 0; at < len(plain); at += sectorBytes {
		if !bytes.Equal(got[at:at+sectorBytes], plain[at:at+sectorBytes]) {
			t.Fatalf("the sector at byte %d is another one", at)
		}
	}
}

// TestEncloseRefuses: a volume that would hold more, less or something else than its content is an error.
func TestEncloseRefuses(t *testing.T) {
	c := program(t)
	key, _ := NewKey()
	broken := errors.New("input/output error")
	for name, in := range map[string]io.Reader{
		"nothing": bytes.NewReader(nil), "too little": bytes.NewReader(make([]byte, smallBytes-1)), "too much": bytes.NewReader(make([]byte, smallBytes+1)),
		"an error": io.MultiReader(bytes.NewReader(make([]byte, 2*encloseBytes)), failing{broken}),
	} {
		if err := c.Enclose(t.Context(), smallDevice(t), "state", key, in); err == nil || name == "an error" && !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	odd := smallDevice(t)
	if err := os.Truncate(odd, HeaderBytes+smallBytes+512); err != nil {
		t.Fatal(err)
	}
	if err := c.Enclose(t.Context(), odd, "state", key, bytes.NewReader(make([]byte, smallBytes+512))); err == nil {
		t.Error("half a sector was encrypted")
	}
	if err := c.Enclose(t.Context(), filepath.Join(t.TempDir(), "nosuch"), "state", key, bytes.NewReader(nil)); err == nil {
		t.Error("no file was made into a volume")
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
