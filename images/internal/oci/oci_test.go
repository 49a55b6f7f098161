package oci

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cyvive/cyvive/images/internal/tree"
)

func read(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if out[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func decode[T any](t *testing.T, b []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("decode %q: %v", b, err)
	}
	return v
}

func TestWrite(t *testing.T) {
	root := tree.New()
	root.Write("/usr/bin/pause", 0o755, []byte("program"))
	i := Image{
		Name: "cyvive.dev/pause:1", Tag: "1", Arch: "amd64", Root: root,
		Entrypoint: []string{"/usr/bin/pause"}, User: "1:1", At: time.Unix(1_700_000_000, 0),
	}
	var first, second bytes.Buffer
	for _, b := range []*bytes.Buffer{&first, &second} {
		if err := Write(b, i); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same image gave two different archives")
	}
	files := read(t, first.Bytes())
	for name, b := range files {
		if sum, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && sum != fmt.Sprintf("%x", sha256.Sum256(b)) {
			t.Errorf("%s holds other bytes than its name says", name)
		}
	}
	blob := func(d descriptor) []byte {
		b := files["blobs/"+strings.Replace(d.Digest, ":", "/", 1)]
		if len(b) != d.Size {
			t.Fatalf("%s has %d bytes, its descriptor says %d", d.Digest, len(b), d.Size)
		}
		return b
	}
	top := decode[index](t, files["index.json"])
	if len(top.Manifests) != 1 || top.Manifests[0].Annotations["io.containerd.image.name"] != i.Name {
		t.Fatalf("index is %+v", top)
	}
	m := decode[manifest](t, blob(top.Manifests[0]))
	c := decode[config](t, blob(m.Config))
	if c.RootFS.DiffIDs[0] != m.Layers[0].Digest || c.Config.Entrypoint[0] != "/usr/bin/pause" || c.Architecture != "amd64" {
		t.Errorf("configuration is %+v", c)
	}
	if got := read(t, blob(m.Layers[0]))["usr/bin/pause"]; string(got) != "program" {
		t.Errorf("layer holds %q", got)
	}
}
