package contexts

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/pki"
)

// newContext makes a context that is whole.
func newContext(t testing.TB, nodes ...string) *Context {
	t.Helper()
	authority, err := pki.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue(pki.Request{CommonName: "admin", Client: true, Lifetime: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &Context{Nodes: nodes, CA: string(authority.CertificatePEM()), Certificate: string(pair.CertificatePEM), Key: string(pair.KeyPEM)}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1": "127.0.0.1:50000", "127.0.0.1:1": "127.0.0.1:1", "node1": "node1:50000", "node1.example:65535": "node1.example:65535",
		"::1": "[::1]:50000", "[::1]:7": "[::1]:7", "fd00::2": "[fd00::2]:50000",
		"vsock://3": "vsock://3:50000", "vsock://4294967294:4294967295": "vsock://4294967294:4294967295", "vsock:3": "vsock:3",
	} {
		if got, err := Address(in); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", ":", ":50000", "a:", "a:0", "a:65536", "a:b", "[::1]", "[::1", "a b", "a/b:1", "https://a:1",
		"vsock://", "vsock://2", "vsock://4294967295", "vsock://4294967296", "vsock://a", "vsock://-3", "vsock://3:", "vsock://3:0", "vsock://3:1:2", "vsock://3/"} {
		if got, err := Address(in); err == nil {
			t.Errorf("%q: got %q, want an error", in, got)
		}
	}
}

func TestVsock(t *testing.T) {
	if cid, port, ok := Vsock("vsock://7:50000"); cid != 7 || port != 50000 || !ok {
		t.Errorf("got %d, %d, %t", cid, port, ok)
	}
	for _, in := range []string{"", "10.5.0.7:50000", "vsock:50000", "vsock://7", "vsock://a:1"} {
		if cid, port, ok := Vsock(in); ok {
			t.Errorf("%q: got %d, %d", in, cid, port)
		}
	}
}

func TestPath(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"NODECTL_CONFIG": "/x.yaml", "HOME": "/h"}, "/x.yaml"},
		{map[string]string{"HOME": "/h"}, "/h/.config/cyvive/nodectl.yaml"},
		{map[string]string{"HOME": "/h", "XDG_CONFIG_HOME": "/c"}, "/c/cyvive/nodectl.yaml"},
		{nil, ""},
	} {
		got, err := Path(func(name string) string { return test.env[name] })
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%v: got %q, %v, want %q", test.env, got, err, test.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	whole := newContext(t, "127.0.0.1")
	other := newContext(t, "127.0.0.1")
	tests := []struct {
		name   string
		change func(*Context)
		want   string
	}{
		{"no nodes", func(c *Context) { c.Nodes = nil }, `context "a": nodes is empty`},
		{"bad node", func(c *Context) { c.Nodes = []string{"x:y"} }, `context "a": nodes: address "x:y"`},
		{"no authority", func(c *Context) { c.CA = "" }, `context "a": ca: no certificate`},
		{"no certificate", func(c *Context) { c.Certificate = "x" }, `context "a": certificate and key`},
		{"another's key", func(c *Context) { c.Key = other.Key }, `context "a": certificate and key`},
	}
	for _, test := range tests {
		c := *whole
		test.change(&c)
		data, err := (&File{Contexts: map[string]*Context{"a": &c}}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		_, err = Parse(data)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s: the error shows a key: %v", test.name, err)
		}
	}
	for text, want := range map[string]string{
		"contexts: {a: }": "nodes is empty", "x: 1": "field x not found", "[": "did not find", "contexts: 3": "cannot unmarshal",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "nodectl.yaml")
	empty, err := Load(path)
	if err != nil || len(empty.Contexts) != 0 {
		t.Fatalf("without a file: got %v, %v", empty, err)
	}
	want := &File{Current: "a", Contexts: map[string]*Context{"a": newContext(t, "127.0.0.1:50000"), "b": newContext(t, "::1")}}
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestSelectMergeRemove(t *testing.T) {
	a, b := newContext(t, "a"), newContext(t, "b")
	f := &File{Contexts: map[string]*Context{"a": a}}
	if _, _, err := f.Select(""); !errors.Is(err, ErrNoContext) {
		t.Errorf("none chosen: got %v, want ErrNoContext", err)
	}
	if _, _, err := f.Select("b"); !errors.Is(err, ErrNoContext) {
		t.Errorf("unknown: got %v, want ErrNoContext", err)
	}
	if err := f.Merge(&File{Current: "b", Contexts: map[string]*Context{"a": a, "b": b}}, false); err != nil {
		t.Fatal(err)
	}
	if name, c, err := f.Select(""); err != nil || name != "b" || c != b {
		t.Errorf("after merging: got %q, %v, want b", name, err)
	}
	if err := f.Merge(&File{Contexts: map[string]*Context{"a": b}}, false); err == nil || f.Contexts["a"] != a {
		t.Errorf("another of the same name: got %v, want an error and no change", err)
	}
	if err := f.Merge(&File{Contexts: map[string]*Context{"a": b}}, true); err != nil || f.Contexts["a"] != b || f.Current != "b" {
		t.Errorf("with force: %v", err)
	}
	if err := f.Remove("b"); err != nil || f.Current != "" {
		t.Errorf("remove the current one: %v, current is %q", err, f.Current)
	}
	if err := f.Remove("b"); !errors.Is(err, ErrNoContext) {
		t.Errorf("remove again: got %v, want ErrNoContext", err)
	}
}

// FuzzParse: what is accepted can be written and read again.
func FuzzParse(f *testing.F) {
	whole, err := (&File{Current: "a", Contexts: map[string]*Context{"a": newContext(f, "127.0.0.1")}}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte("current: x\ncontexts: {}\n"))
	f.Add([]byte("contexts: {a: {nodes: [x]}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err != nil {
			return
		}
		again, err := file.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse(again)
		if diff := cmp.Diff(file, back); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}
