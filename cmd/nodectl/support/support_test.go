package support

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// sshLine is a public key as SSH's files have it.
func sshLine(public ed25519.PublicKey) string {
	const kind = "ssh-ed25519"
	var wire []byte
	for _, part := range [][]byte{[]byte(kind), public} {
		wire = append(binary.BigEndian.AppendUint32(wire, uint32(len(part))), part...)
	}
	return kind + " " + base64.StdEncoding.EncodeToString(wire) + " someone@example.com"
}

// read returns the files of an archive.
func read(t *testing.T, data []byte, id age.Identity) map[string]string {
	t.Helper()
	r, err := age.Decrypt(bytes.NewReader(data), id)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := zstd.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	out := map[string]string{}
	for archive := tar.NewReader(packed); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		out[header.Name] = string(text)
	}
}

// TestArchive: each recipient opens it, an age key and one of SSH, and nobody else.
func TestArchive(t *testing.T) {
	own, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	ssh, err := agessh.NewEd25519Identity(private)
	if err != nil {
		t.Fatal(err)
	}
	recipients, err := ReadRecipients(strings.NewReader("# the team\n" + own.Recipient().String() + "\n\n" + sshLine(public) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer
	at := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	a, err := New(&data, recipients, "top", at)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Add("node/version.json", []byte("{}\n")); err != nil {
		t.Fatal(err)
	}
	m := Manifest{Program: "x", Time: at, Nodes: []Node{{Address: "a:1", Folder: "node", Items: []Item{{Name: "version", File: "version.json", Bytes: 3}, {Name: "y", Failed: "z"}}}}}
	if err := a.Close(m); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data.Bytes(), []byte("version.json")) {
		t.Error("the archive is not encrypted")
	}
	for _, id := range []age.Identity{own, ssh} {
		files := read(t, data.Bytes(), id)
		var got Manifest
		if err := json.Unmarshal([]byte(files["top/manifest.json"]), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got); diff != "" || files["top/node/version.json"] != "{}\n" || len(files) != 2 {
			t.Errorf("%d files, manifest (-want +got):\n%s", len(files), diff)
		}
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := age.Decrypt(bytes.NewReader(data.Bytes()), other); err == nil {
		t.Error("another key opens it")
	}
	if n := m.Nodes[0]; !n.Taken() || len(n.Failures()) != 1 || (Node{Items: n.Items[1:]}).Taken() {
		t.Errorf("taken %v, failures %v", n.Taken(), n.Failures())
	}
}

// brokenWriter takes so many bytes.
type brokenWriter struct{ room int }

var errFull = errors.New("no space left on device")

func (b *brokenWriter) Write(p []byte) (int, error) {
	if b.room -= len(p); b.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestFullDisk(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 7
	}
	for room := 0; room < 400; room += step {
		a, err := New(&brokenWriter{room}, nil, "top", time.Now())
		if err == nil {
			err = a.Close(Manifest{Program: strings.Repeat("x", 10)})
		}
		if err != nil && !errors.Is(err, errFull) {
			t.Fatalf("with room for %d bytes: got %v", room, err)
		}
		if err == nil && room < 100 {
			t.Errorf("an archive in %d bytes", room)
		}
	}
}

func TestRecipients(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "expected a public key",
		"alice":                         "expected a public key",
		"age1":                          "no public key of age",
		"age1yubikey1qwt50d05nh5vutpdz": "no public key of age",
		"ssh-ed25519 AAAA":              "recipient",
		"ssh-dss AAAA":                  "recipient",
		"AGE-SECRET-KEY-1XYZ":           "this is a private key",
		"age-secret-key-1xyz":           "this is a private key",
		"-----BEGIN OPENSSH PRIVATE KEY-----\nxyz": "this is a private key",
	} {
		if r, err := ParseRecipient(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(strings.ToLower(err.Error()), "xyz") {
			t.Errorf("%q: got %v, %v, want %q", text, r, err, want)
		}
	}
	if _, err := ReadRecipients(strings.NewReader("# x\nage1nonsense\n")); err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
		t.Errorf("got %v, want the line", err)
	}
	own, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRecipients(strings.NewReader(strings.Repeat(own.Recipient().String()+"\n", maxRecipients+1))); err == nil {
		t.Error("recipients without end")
	}
}

func TestLines(t *testing.T) {
	l := Lines{MaxBytes: 10}
	if text, dropped := l.Text(); text != "" || dropped != 0 {
		t.Errorf("nothing: %q, %d", text, dropped)
	}
	for _, line := range []string{"one", "two", "three"} {
		l.Add(line)
	}
	if text, dropped := l.Text(); text != "two\nthree\n" || dropped != 1 {
		t.Errorf("got %q, %d", text, dropped)
	}
	l.Add("a line that is long")
	if text, dropped := l.Text(); text != "a line th\n" || dropped != 4 {
		t.Errorf("got %q, %d", text, dropped)
	}
}

func TestFileName(t *testing.T) {
	for text, want := range map[string]string{
		"etcd": "etcd", "plane/kubelet": "plane-kubelet", "../../etc/passwd": "etc-passwd", "[2001:db8::1]:50000": "2001-db8--1--50000",
		"": "unnamed", "...": "unnamed", "a b\x00\n$(c)": "a-b----c-", strings.Repeat("x", 300): strings.Repeat("x", maxNameBytes),
	} {
		if got := FileName(text); got != want {
			t.Errorf("FileName(%q) = %q, want %q", text, got, want)
		}
	}
	taken := map[string]bool{}
	for _, want := range []string{"a", "a-2", "a-3"} {
		if got := Unique(taken, "a"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func FuzzFileName(f *testing.F) {
	f.Add("../../etc/passwd")
	f.Fuzz(func(t *testing.T, text string) {
		name := FileName(text)
		if !filepath.IsLocal(name) || strings.ContainsAny(name, "/\\ \n") || name == "" || len(name) > maxNameBytes {
			t.Errorf("FileName(%q) = %q", text, name)
		}
	})
}

func FuzzRecipients(f *testing.F) {
	f.Add("age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\n# x\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ReadRecipients(strings.NewReader(text))
		if (err == nil) != (len(list) > 0) {
			t.Errorf("%q: %v, %v", text, list, err)
		}
		if err == nil {
			if _, err := New(io.Discard, list, "top", time.Now()); err != nil && utf8.ValidString(text) && !strings.Contains(err.Error(), "incompatible") {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}
