package extension

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cyvive/cyvive/internal/confine"
	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/release"
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

func content() map[string][]byte {
	return map[string][]byte{Image: bytes.Repeat([]byte("image123"), 1024), Verity: bytes.Repeat([]byte("tree"), 1024), SBOM: []byte("{}\n")}
}

func manifest() Manifest {
	m := Manifest{
		Description: Description{
			Name: "nlmon", Version: "1.2.3", Modules: []string{"nlmon"}, OS: Range{From: "0.1.0", Before: "1.0.0"},
			Service: &Service{
				Program: "/usr/bin/monitor", Args: []string{"--all"}, Env: []string{"A=b"}, User: 2001, Capabilities: []string{"CAP_NET_RAW"},
				Paths: []string{"/etc/resolv.conf"}, Data: true,
			},
		},
		Architecture: "amd64", Kernel: "6.12.57+deb13-cloud-amd64", RootHash: strings.Repeat("ab", 32),
	}
	for _, p := range parts {
		sum := sha256.Sum256(content()[p.name])
		m.Files = append(m.Files, release.File{Name: p.name, Bytes: int64(len(content()[p.name])), SHA256: hex.EncodeToString(sum[:])})
	}
	return m
}

func pack(t testing.TB, key ed25519.PrivateKey) []byte {
	t.Helper()
	e, err := Sign(manifest(), key)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Write(&b, e, manifest(), func(name string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content()[name])), nil }); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func read(data []byte, keys []ed25519.PublicKey) (Manifest, map[string]*bytes.Buffer, error) {
	got := map[string]*bytes.Buffer{}
	r, err := Open(bytes.NewReader(data), keys)
	if err != nil {
		return Manifest{}, got, err
	}
	return r.Manifest, got, r.Extract(func(f release.File) (io.WriteCloser, error) {
		got[f.Name] = &bytes.Buffer{}
		return nopCloser{got[f.Name]}, nil
	})
}

func TestFile(t *testing.T) {
	data := pack(t, testKey(1))
	if !bytes.Equal(data, pack(t, testKey(1))) {
		t.Error("the same extension gave other bytes")
	}
	m, got, err := read(data, public(testKey(2), testKey(1)))
	if d := cmp.Diff(manifest(), m); d != "" || err != nil {
		t.Fatalf("%v (-want +got):\n%s", err, d)
	}
	for name, want := range content() {
		if !bytes.Equal(got[name].Bytes(), want) {
			t.Errorf("%s differs", name)
		}
	}
}

// TestRefusals: what is no extension, whole and signed for one, is refused by its class.
func TestRefusals(t *testing.T) {
	good := pack(t, testKey(1))
	m := release.Manifest{Version: "1.2.3", Architecture: "amd64", RootHash: strings.Repeat("ab", 32), RootBytes: 1}
	for _, name := range []string{release.Kernel, release.Verity, release.Root} {
		m.Files = append(m.Files, release.File{Name: name, Bytes: 1, SHA256: strings.Repeat("ab", 32)})
	}
	foreign, err := release.Sign(m, testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(foreign, public(testKey(1))); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "release.v1") {
		t.Errorf("the manifest of a release: %v", err)
	}
	own, err := Sign(manifest(), testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := release.Verify(own, public(testKey(1))); !errors.Is(err, release.ErrMalformed) {
		t.Errorf("the manifest of an extension, as a release: %v", err)
	}
	var other bytes.Buffer
	f := form()
	f.Envelope = "release.dsse.json"
	if err := f.Write(&other, own, nil, nil); err != nil {
		t.Fatal(err)
	}
	swap := func(old, new string) []byte { return bytes.Replace(good, []byte(old), []byte(new), 1) }
	for name, test := range map[string]struct {
		data []byte
		want error
		says string
	}{
		"nothing":       {nil, ErrMalformed, "not a whole extension"},
		"cut":           {good[:len(good)-6000], ErrMalformed, ""},
		"another's key": {pack(t, testKey(3)), release.ErrUntrusted, "signed by key"},
		"image altered": {swap("image123image123", "image123Image123"), release.ErrAltered, Image},
		"sbom altered":  {swap("{}\n", "[]\n"), release.ErrAltered, SBOM},
		"other file":    {other.Bytes(), ErrMalformed, "begins with"},
	} {
		if _, _, err := read(test.data, public(testKey(1))); !errors.Is(err, test.want) || !strings.Contains(fmt.Sprint(err), test.says) {
			t.Errorf("%s: got %v, want %v with %q", name, err, test.want, test.says)
		}
	}
}

// TestEveryByteIsSigned changes one byte after another. What is taken in spite of it must be the same extension.
func TestEveryByteIsSigned(t *testing.T) {
	data, step := pack(t, testKey(1)), 5
	if testing.Short() {
		step = 55
	}
	for i := 0; i < len(data); i += step {
		data[i] ^= 0x20
		m, got, err := read(data, public(testKey(1)))
		if err == nil {
			if !cmp.Equal(m, manifest()) {
				t.Fatalf("byte %d: another manifest was taken", i)
			}
			for name, want := range content() {
				if !bytes.Equal(got[name].Bytes(), want) {
					t.Fatalf("byte %d: another %s was taken", i, name)
				}
			}
		}
		data[i] ^= 0x20
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
		"name":                {`"name":"nlmon"`, `"name":"NLMON"`, "name"},
		"name with a comma":   {`"name":"nlmon"`, `"name":"a,b"`, "name"},
		"version":             {`"1.2.3"`, `"1.2"`, "version"},
		"version with a path": {`"1.2.3"`, `"1.2.3-../x"`, "version"},
		"architecture":        {`"amd64"`, `"riscv64"`, "architecture"},
		"root hash":           {strings.Repeat("ab", 32), "abc", "root hash"},
		"no kernel":           {`"kernel":"6.12.57+deb13-cloud-amd64",`, ``, "kernel"},
		"kernel with a path":  {`"6.12.57+deb13-cloud-amd64"`, `"../x"`, "kernel"},
		"no modules":          {`"modules":["nlmon"],`, ``, "names a kernel"},
		"module by path":      {`["nlmon"]`, `["../nlmon"]`, "module name"},
		"module twice":        {`["nlmon"]`, `["nlmon","nlmon"]`, "second time"},
		"no oldest version":   {`"from":"0.1.0",`, ``, "os.from"},
		"range":               {`"before":"1.0.0"`, `"before":"soon"`, "os.before"},
		"program":             {`"/usr/bin/monitor"`, `"monitor"`, "service.program"},
		"environment":         {`"A=b"`, `"A"`, "service.env"},
		"zero":                {`"--all"`, `"\u0000"`, "service.args"},
		"root":                {`"user":2001`, `"user":0`, "service.user"},
		"etcd's user":         {`"user":2001`, `"user":3000`, "service.user"},
		"module loading":      {`"CAP_NET_RAW"`, `"CAP_SYS_MODULE"`, "service.capabilities"},
		"everything":          {`"CAP_NET_RAW"`, `"CAP_SYS_ADMIN"`, "service.capabilities"},
		"twice":               {`"CAP_NET_RAW"`, `"CAP_NET_RAW","CAP_NET_RAW"`, "service.capabilities"},
		"secrets":             {`"/etc/resolv.conf"`, `"/state"`, "service.paths"},
		"order":               {`"name":"image.erofs"`, `"name":"image.verity"`, "file 1"},
		"half a block":        {`"bytes":8192`, `"bytes":8191`, "whole blocks"},
		"size":                {`"bytes":8192`, `"bytes":-4096`, "not between"},
		"unknown field":       {`"name":"nlmon"`, `"name":"nlmon","devices":[]`, "unknown field"},
		"trailing garbage":    {`]}`, `]}]`, ""},
	} {
		bad := strings.Replace(string(good), test.old, test.new, 1)
		if bad == string(good) {
			t.Errorf("%s: nothing was changed", name)
		}
		if _, err := ParseManifest([]byte(bad)); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.says)
		}
	}
	if _, err := ParseManifest(make([]byte, release.MaxManifestBytes+1)); err == nil {
		t.Error("a manifest that is too large was read")
	}
	if _, err := ParseDescription([]byte(`{"name": "x", "version": "1.0.0"}`)); err == nil || !strings.Contains(err.Error(), "neither modules nor a service") {
		t.Errorf("an extension of nothing: %v", err)
	}
}

func TestFits(t *testing.T) {
	node := Node{Architecture: "amd64", Kernel: "6.12.57+deb13-cloud-amd64", OS: "0.2.0"}
	for name, test := range map[string]struct {
		change func(*Node)
		says   string
	}{
		"as it is":             {func(*Node) {}, ""},
		"another architecture": {func(n *Node) { n.Architecture = "arm64" }, "for amd64, not for arm64"},
		"a newer kernel":       {func(n *Node) { n.Kernel = "6.12.58+deb13-cloud-amd64" }, "for kernel 6.12.57"},
		"the oldest":           {func(n *Node) { n.OS = "0.1.0" }, ""},
		"too old":              {func(n *Node) { n.OS = "0.0.9" }, "0.1.0 of the operating system and newer"},
		"too new":              {func(n *Node) { n.OS = "1.0.0" }, "before 1.0.0"},
		"a pre-release of it":  {func(n *Node) { n.OS = "1.0.0-rc.1" }, ""},
	} {
		n := node
		test.change(&n)
		err := manifest().Fits(n)
		if (err == nil) != (test.says == "") || err != nil && (!strings.Contains(err.Error(), test.says) || !errors.Is(err, ErrUnfit)) {
			t.Errorf("%s: got %v, want %q", name, err, test.says)
		}
	}
}

// TestWhatServicesMayHave: the lists hold nothing that leads out of a service, and every service's name is one that the runtime takes.
func TestWhatServicesMayHave(t *testing.T) {
	for _, c := range []string{"CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_DAC_READ_SEARCH", "CAP_MKNOD", "CAP_BPF", "CAP_SETUID"} {
		for _, allowed := range confine.ExtensionCapabilities() {
			if c == allowed {
				t.Errorf("a service may have %s", c)
			}
		}
	}
	for path, source := range confine.ExtensionPaths() {
		if strings.HasPrefix(source, "/state") || strings.HasPrefix(source, "/var") || strings.HasPrefix(source, "/dev") || !strings.HasPrefix(path, "/") {
			t.Errorf("a service may have %s of the node at %s", source, path)
		}
	}
	name := "a" + strings.Repeat("b", 39)
	spec := container.Spec{Name: ServiceName(name), Rootfs: "/x", Args: []string{"/x"}, Cgroup: "/x"}
	if err := spec.Validate(); err != nil || !IsName(name) || IsName(name+"b") || !IsServiceName(spec.Name) || IsServiceName("etcd") {
		t.Errorf("the longest name: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(pack(f, testKey(1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, got, err := read(data, public(testKey(1)))
		if err == nil && (!cmp.Equal(m, manifest()) || !bytes.Equal(got[Image].Bytes(), content()[Image])) {
			t.Error("another extension was taken")
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	good, err := json.Marshal(manifest())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			return
		}
		if s := m.Service; s != nil && (s.User < confine.ExtensionUserFirst || s.User > confine.ExtensionUserLast) {
			t.Errorf("a service with the user %d", s.User)
		}
		if strings.ContainsAny(m.Name+m.Kernel, "/,") || strings.ContainsAny(m.Version, "/,") {
			t.Errorf("%s cannot be the name of a directory", m)
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseManifest(again); err != nil || !cmp.Equal(m, back, cmpopts.EquateEmpty()) {
			t.Errorf("written again it is another: %v", err)
		}
	})
}
