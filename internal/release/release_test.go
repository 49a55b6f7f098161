package release

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func testKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(keys ...ed25519.PrivateKey) []ed25519.PublicKey {
	var out []ed25519.PublicKey
	for _, k := range keys {
		out = append(out, k.Public().(ed25519.PublicKey))
	}
	return out
}

// content is what the parts of the test's release hold.
func content() map[string][]byte {
	return map[string][]byte{
		Kernel: bytes.Repeat([]byte("kernel "), 1000), Verity: bytes.Repeat([]byte("tree "), 300), Root: bytes.Repeat([]byte("root "), 5000),
	}
}

func manifest() Manifest {
	m := Manifest{Version: "1.2.3", Architecture: "amd64", RootHash: strings.Repeat("ab", 32), RootBytes: 1 << 20}
	for _, name := range parts {
		sum := sha256.Sum256(content()[name])
		m.Files = append(m.Files, File{Name: name, Bytes: int64(len(content()[name])), SHA256: hex.EncodeToString(sum[:])})
	}
	return m
}

func open(files map[string][]byte) func(string) (io.ReadCloser, error) {
	return func(name string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files[name])), nil }
}

func bundle(t testing.TB, key ed25519.PrivateKey) []byte {
	t.Helper()
	e, err := Sign(manifest(), key)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Write(&b, e, manifest(), open(content())); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sink collects parts.
type sink map[string]*bytes.Buffer

func (s sink) create(f File) (io.WriteCloser, error) {
	s[f.Name] = &bytes.Buffer{}
	return nopCloser{s[f.Name]}, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func read(data []byte, keys []ed25519.PublicKey) (sink, error) {
	got := sink{}
	b, err := Open(bytes.NewReader(data), keys)
	if err != nil {
		return got, err
	}
	return got, b.Extract(got.create)
}

func TestBundle(t *testing.T) {
	data := bundle(t, testKey(1))
	if again := bundle(t, testKey(1)); !bytes.Equal(data, again) {
		t.Error("the same release gave other bytes")
	}
	got, err := read(data, public(testKey(2), testKey(1)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range content() {
		if !bytes.Equal(got[name].Bytes(), want) {
			t.Errorf("%s differs", name)
		}
	}
}

// rebuild makes a bundle of any files in any order.
func rebuild(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(files[i+1]))
	}
	w.Close()
	return b.Bytes()
}

func TestRefusals(t *testing.T) {
	key := testKey(1)
	good := bundle(t, key)
	c := content()
	e, err := Sign(manifest(), key)
	if err != nil {
		t.Fatal(err)
	}
	swap := func(old, new string) []byte { return bytes.Replace(good, []byte(old), []byte(new), 1) }
	unsigned := []byte(strings.Split(string(e), `"signatures"`)[0] + `"signatures": []}`)
	forged := manifest()
	forged.Version = "9.9.9"
	other, err := Sign(forged, testKey(3))
	if err != nil {
		t.Fatal(err)
	}
	// The signature of one manifest beside another.
	var a, b envelope
	json.Unmarshal(e, &a)
	json.Unmarshal(other, &b)
	b.Signatures = a.Signatures
	mixed, _ := json.Marshal(b)
	tests := map[string]struct {
		data []byte
		want error
		says string
	}{
		"nothing":             {nil, ErrMalformed, ""},
		"not a release":       {[]byte(strings.Repeat("x", 4096)), ErrMalformed, ""},
		"cut in the envelope": {good[:700], ErrMalformed, ""},
		"cut in a part":       {good[:len(good)-20000], ErrMalformed, Root},
		"a part is missing":   {rebuild(t, envelopeName, string(e), Kernel, string(c[Kernel]), Root, string(c[Root])), ErrMalformed, "where root.verity should"},
		"ends too early":      {rebuild(t, envelopeName, string(e), Kernel, string(c[Kernel])), ErrMalformed, "before root.verity"},
		"one part too many": {rebuild(t, envelopeName, string(e), Kernel, string(c[Kernel]), Verity, string(c[Verity]), Root, string(c[Root]), "x", "y"),
			ErrMalformed, "is not part of a release"},
		"envelope not first":    {rebuild(t, Kernel, string(c[Kernel]), envelopeName, string(e)), ErrMalformed, "begins with"},
		"kernel altered":        {swap("kernel kernel", "kernel Kernel"), ErrAltered, Kernel},
		"tree altered":          {swap("tree tree", "tree Tree"), ErrAltered, Verity},
		"root altered":          {swap("root root", "root Root"), ErrAltered, Root},
		"part shorter":          {rebuild(t, envelopeName, string(e), Kernel, "short"), ErrAltered, "7000 were signed"},
		"no signature":          {rebuild(t, envelopeName, string(unsigned)), ErrUntrusted, "no signature"},
		"another's key":         {bundle(t, testKey(3)), ErrUntrusted, "signed by key"},
		"another's signature":   {rebuild(t, envelopeName, string(mixed)), ErrUntrusted, "does not match"},
		"envelope of any kind":  {rebuild(t, envelopeName, strings.ReplaceAll(string(e), payloadType, "text/plain")), ErrMalformed, "text/plain"},
		"field of no envelope":  {rebuild(t, envelopeName, `{"x": 1}`), ErrMalformed, ""},
		"something behind it":   {rebuild(t, envelopeName, string(e)+"{}"), ErrMalformed, "behind"},
		"an envelope too large": {rebuild(t, envelopeName, strings.Repeat(" ", 3*MaxManifestBytes)+string(e)), ErrMalformed, "at most"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := read(test.data, public(key))
			if !errors.Is(err, test.want) || !strings.Contains(fmt.Sprint(err), test.says) {
				t.Errorf("got %v, want %v with %q", err, test.want, test.says)
			}
		})
	}
}

// every is how many bytes lie between those that are looked at. With -short there are fewer of these.
func every(n int) int {
	if testing.Short() {
		return 11 * n
	}
	return n
}

// TestEveryCutIsNoticed ends the bundle after each byte. Only the archive's own end may be missing, the zeros up to a whole block and two more blocks:
// nothing of the release lies there.
func TestEveryCutIsNoticed(t *testing.T) {
	data := bundle(t, testKey(1))
	whole := len(data) - 2*512 - 511
	for n := 0; n < whole; n += every(7) {
		if _, err := read(data[:n], public(testKey(1))); err == nil {
			t.Fatalf("took the first %d of %d bytes", n, len(data))
		}
	}
}

// TestEveryByteIsSigned changes one byte after another. What is taken in spite of it must be the same release.
func TestEveryByteIsSigned(t *testing.T) {
	data := bundle(t, testKey(1))
	for i := 0; i < len(data); i += every(5) {
		data[i] ^= 0x20
		got, err := read(data, public(testKey(1)))
		if err == nil {
			for name, want := range content() {
				if !bytes.Equal(got[name].Bytes(), want) {
					t.Fatalf("byte %d: another %s was taken", i, name)
				}
			}
		}
		data[i] ^= 0x20
	}
}

// TestSenderHasTheLastWord: a stream that ends with an error behind the release is one that failed, whoever sends it.
func TestSenderHasTheLastWord(t *testing.T) {
	other := errors.New("it is not the file that was asked for")
	for name, last := range map[string]error{"an error": other, "its end": io.EOF} {
		b, err := Open(io.MultiReader(bytes.NewReader(bundle(t, testKey(1))), iotest.ErrReader(last)), public(testKey(1)))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Extract(sink{}.create); errors.Is(err, other) != (last == other) || (err == nil) != (last == io.EOF) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestWriterFails(t *testing.T) {
	full := errors.New("disk full")
	b, err := Open(bytes.NewReader(bundle(t, testKey(1))), public(testKey(1)))
	if err != nil {
		t.Fatal(err)
	}
	err = b.Extract(func(File) (io.WriteCloser, error) { return failing{full}, nil })
	if !errors.Is(err, full) || errors.Is(err, ErrMalformed) {
		t.Errorf("got %v, want the writer's own error", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
func (f failing) Close() error              { return nil }

func TestWriteRefusesAnotherPart(t *testing.T) {
	e, err := Sign(manifest(), testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	other := content()
	other[Verity] = bytes.ToUpper(other[Verity])
	if err := Write(io.Discard, e, manifest(), open(other)); err == nil || !strings.Contains(err.Error(), Verity) {
		t.Errorf("got %v, want an error that names %s", err, Verity)
	}
}

func TestParseManifest(t *testing.T) {
	good, err := json.Marshal(manifest())
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseManifest(good)
	if d := cmp.Diff(manifest(), got); d != "" || err != nil {
		t.Fatalf("%v\n%s", err, d)
	}
	for name, test := range map[string]struct{ old, new, says string }{
		"version":          {`"1.2.3"`, `"next"`, "version"},
		"architecture":     {`"amd64"`, `"riscv64"`, "architecture"},
		"root hash":        {strings.Repeat("ab", 32), "abc", "root hash"},
		"upper case":       {strings.Repeat("ab", 32), strings.Repeat("AB", 32), "root hash"},
		"root of no size":  {`"rootBytes":1048576`, `"rootBytes":-1`, "out of range"},
		"order":            {`"cyvive.efi"`, `"root.verity"`, "file 1"},
		"unknown field":    {`"version"`, `"colour":"blue","version"`, "unknown field"},
		"negative size":    {`"bytes":7000`, `"bytes":-7`, "out of range"},
		"trailing garbage": {`]}`, `]}]`, "behind"},
	} {
		bad := strings.Replace(string(good), test.old, test.new, 1)
		if _, err := ParseManifest([]byte(bad)); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.says)
		}
	}
	if _, err := ParseManifest(make([]byte, MaxManifestBytes+1)); err == nil {
		t.Error("a manifest that is too large was read")
	}
}

func TestCheck(t *testing.T) {
	node := Node{
		Version: "1.2.2", Architecture: "amd64", RootHash: strings.Repeat("cd", 32), Floor: "1.1.0",
		SlotBytes: 1 << 30, VerityBytes: 1 << 20, KernelBytes: 1 << 20,
	}
	for name, test := range map[string]struct {
		change    func(*Manifest, *Node)
		downgrade bool
		says      string
	}{
		"newer":                {func(*Manifest, *Node) {}, false, ""},
		"another build":        {func(m *Manifest, _ *Node) { m.Version = "1.2.2" }, false, ""},
		"older":                {func(m *Manifest, _ *Node) { m.Version = "1.2.1" }, false, "downgrade"},
		"a pre-release":        {func(m *Manifest, _ *Node) { m.Version = "1.2.2-rc.1" }, false, "downgrade"},
		"older, asked for":     {func(m *Manifest, _ *Node) { m.Version = "1.2.1" }, true, ""},
		"below the floor":      {func(m *Manifest, _ *Node) { m.Version = "1.0.9" }, true, "the oldest"},
		"no floor":             {func(m *Manifest, n *Node) { m.Version, n.Floor = "0.0.1", "" }, true, ""},
		"another architecture": {func(m *Manifest, _ *Node) { m.Architecture = "arm64" }, true, "arm64"},
		"the same":             {func(m *Manifest, n *Node) { n.RootHash = m.RootHash }, true, "already"},
		"root too large":       {func(m *Manifest, _ *Node) { m.RootBytes = 1<<30 + 1 }, true, "slot"},
		"tree too large":       {func(_ *Manifest, n *Node) { n.VerityBytes = 10 }, true, "hash tree"},
		"kernel too large":     {func(_ *Manifest, n *Node) { n.KernelBytes = 10 }, true, "kernel image"},
	} {
		m, n := manifest(), node
		test.change(&m, &n)
		err := m.Check(n, test.downgrade)
		if (err == nil) != (test.says == "") || !strings.Contains(fmt.Sprint(err), test.says) && err != nil {
			t.Errorf("%s: got %v, want %q", name, err, test.says)
		}
		if err != nil && !errors.Is(err, ErrUnwanted) {
			t.Errorf("%s: %v is not ErrUnwanted", name, err)
		}
	}
}

func pemKey(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestParsePublicKeys(t *testing.T) {
	want := public(testKey(1), testKey(2))
	got, err := ParsePublicKeys([]byte(pemKey(t, want[0]) + "\n" + pemKey(t, want[1])))
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Fatalf("%v\n%s", err, d)
	}
	for _, bad := range []string{"text", pemKey(t, want[0]) + "text", strings.ReplaceAll(pemKey(t, want[0]), "PUBLIC", "PRIVATE"), "-----BEGIN PUBLIC KEY-----\n"} {
		if _, err := ParsePublicKeys([]byte(bad)); err == nil {
			t.Errorf("took %q", bad)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(bundle(f, testKey(1)))
	f.Add([]byte("release.dsse.json"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := read(data, public(testKey(1)))
		if err == nil && !bytes.Equal(got[Root].Bytes(), content()[Root]) {
			t.Error("another release was taken")
		}
	})
}

func FuzzParsePublicKeys(f *testing.F) {
	f.Add([]byte(pemKey(f, testKey(1).Public())))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := ParsePublicKeys(data)
		for _, k := range keys {
			if err == nil && len(k) != ed25519.PublicKeySize {
				t.Errorf("a key of %d bytes", len(k))
			}
		}
	})
}

// image is a PE file with one section.
func image(name, text string) []byte {
	const headers = 0x200
	out := make([]byte, headers+max(len(text), 1))
	copy(out, "MZ")
	out[0x3c] = 0x40
	copy(out[0x40:], "PE\x00\x00\x64\x86\x01\x00")
	section := out[0x44+20:]
	copy(section, name)
	le := binary.LittleEndian
	le.PutUint32(section[8:], uint32(len(text)))
	le.PutUint32(section[16:], uint32(len(text)))
	le.PutUint32(section[20:], headers)
	copy(out[headers:], text)
	return out
}

func TestKernelRelease(t *testing.T) {
	for _, text := range []string{"6.12.57+deb13-cloud-amd64", "6.12.57+deb13-cloud-amd64\n\x00"} {
		if got, err := KernelRelease(bytes.NewReader(image(".uname", text))); got != "6.12.57+deb13-cloud-amd64" || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	cut := image(".uname", "6.12")
	for name, bad := range map[string][]byte{
		"no image": []byte("text"), "no section": image(".linux", "6.12"), "empty": image(".uname", ""), "path": image(".uname", "../6.12"),
		"long": image(".uname", strings.Repeat("6", 5000)), "cut": cut[:len(cut)-2],
	} {
		if got, err := KernelRelease(bytes.NewReader(bad)); err == nil {
			t.Errorf("%s: %q was taken", name, got)
		}
	}
}

func FuzzKernelRelease(f *testing.F) {
	f.Add(image(".uname", "6.12.57+deb13-cloud-amd64"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := KernelRelease(bytes.NewReader(data)); err == nil && !IsKernelRelease(got) {
			t.Errorf("%q was taken", got)
		}
	})
}
