package push

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/cyvive/cyvive/internal/machined/pull"
	"github.com/cyvive/cyvive/internal/release"
)

// registryServer takes what is pushed to it and gives it out again, by the distribution specification 1.1.
type registryServer struct {
	*httptest.Server
	mu    sync.Mutex
	kept  map[string][]byte // by the path under which it is given out
	kinds map[string]string
}

func newRegistry(t *testing.T) *registryServer {
	t.Helper()
	s := &registryServer{kept: map[string][]byte{}, kinds: map[string]string{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// ServeHTTP implements http.Handler.
func (s *registryServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const base = "/v2/cyvive/node/"
	switch {
	case r.Method == http.MethodPost && r.URL.Path == base+"blobs/uploads/":
		w.Header().Set("Location", base+"upload")
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodPut:
		data, err := io.ReadAll(r.Body)
		at := r.URL.Path
		if at == base+"upload" {
			at = base + "blobs/" + r.URL.Query().Get("digest")
		} else {
			s.keep(base+"manifests/"+digest.FromBytes(data).String(), data, r)
		}
		if err != nil || strings.HasPrefix(at, base+"blobs/") && at != base+"blobs/"+digest.FromBytes(data).String() {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.keep(at, data, r)
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(data).String())
		w.WriteHeader(http.StatusCreated)
	case s.kept[r.URL.Path] != nil:
		w.Header().Set("Content-Type", s.kinds[r.URL.Path])
		w.Header().Set("Content-Length", fmt.Sprint(len(s.kept[r.URL.Path])))
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(s.kept[r.URL.Path]).String())
		if r.Method == http.MethodGet {
			_, _ = w.Write(s.kept[r.URL.Path])
		}
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (s *registryServer) keep(path string, data []byte, r *http.Request) {
	s.kept[path], s.kinds[path] = data, r.Header.Get("Content-Type")
}

func key() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
}

// bundle writes a release.
func bundle(t *testing.T, architecture string) (path string, data []byte) {
	t.Helper()
	part := bytes.Repeat([]byte(architecture), 10000)
	m := release.Manifest{Version: "1.1.0", Architecture: architecture, RootHash: strings.Repeat("0c", 32), RootBytes: 4096}
	for _, name := range []string{release.Kernel, release.Verity, release.Root} {
		m.Files = append(m.Files, release.File{Name: name, Bytes: int64(len(part)), SHA256: digest.FromBytes(part).Encoded()})
	}
	envelope, err := release.Sign(m, key())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := release.Write(&out, envelope, m, func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(part)), nil }); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), architecture+".cyvive")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, out.Bytes()
}

// pulled is what a node of an architecture gets.
func pulled(t *testing.T, source, architecture string) ([]byte, error) {
	t.Helper()
	s, err := pull.ParseSource(source)
	if err != nil {
		t.Fatal(err)
	}
	r, err := pull.NewReader(t.Context(), pull.Config{Architecture: architecture}, s, "", func(pull.Progress) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return io.ReadAll(r)
}

// TestFiles pushes releases and pulls them as nodes do: one by its tag and by its digest, and each of two that share a tag.
func TestFiles(t *testing.T) {
	s := newRegistry(t)
	name := strings.Replace(s.URL, "http:", "oci+http:", 1) + "/cyvive/node"
	amd, amdData := bundle(t, "amd64")
	arm, armData := bundle(t, "arm64")
	o := Options{Source: name + ":1.1.0", Keys: []ed25519.PublicKey{key().Public().(ed25519.PublicKey)}}
	pin, err := Files(t.Context(), o, []string{amd})
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{o.Source, name + "@" + pin} {
		if got, err := pulled(t, source, "amd64"); err != nil || !bytes.Equal(got, amdData) {
			t.Errorf("%s: %d bytes, %v", source, len(got), err)
		}
	}
	o.Source = name + ":both"
	if pin, err = Files(t.Context(), o, []string{amd, arm}); err != nil {
		t.Fatal(err)
	}
	for architecture, want := range map[string][]byte{"amd64": amdData, "arm64": armData} {
		if got, err := pulled(t, name+":both@"+pin, architecture); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", architecture, len(got), err)
		}
	}
	if _, err := pulled(t, o.Source, "riscv64"); !errors.Is(err, pull.ErrUnfit) {
		t.Errorf("riscv64: %v", err)
	}
}

func TestFilesRefuses(t *testing.T) {
	s := newRegistry(t)
	name := strings.Replace(s.URL, "http:", "oci+http:", 1) + "/cyvive/node"
	amd, data := bundle(t, "amd64")
	cut := filepath.Join(t.TempDir(), "cut.cyvive")
	if err := os.WriteFile(cut, data[:len(data)-3000], 0o600); err != nil {
		t.Fatal(err)
	}
	ours := []ed25519.PublicKey{key().Public().(ed25519.PublicKey)}
	for what, test := range map[string]struct {
		o     Options
		paths []string
		want  string
	}{
		"a stranger's release":   {Options{Source: name + ":1"}, []string{amd}, "not signed by a key"},
		"half a release":         {Options{Source: name + ":1", Keys: ours}, []string{cut}, "not a whole release"},
		"one architecture twice": {Options{Source: name + ":1", Keys: ours}, []string{amd, amd}, "a second release for amd64"},
		"a web server":           {Options{Source: "https://host/x", Keys: ours}, []string{amd}, "expected oci://host/repository:tag"},
		"no tag":                 {Options{Source: name, Keys: ours}, []string{amd}, "neither tag nor digest"},
		"no file":                {Options{Source: name + ":1", Keys: ours}, []string{"nosuch"}, "no such file"},
		"no repository there":    {Options{Source: name + "s:1", Keys: ours}, []string{amd}, "404"},
	} {
		if _, err := Files(t.Context(), test.o, test.paths); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", what, err, test.want)
		}
	}
	for path := range s.kept {
		if strings.Contains(path, "manifests/1") && strings.HasSuffix(path, "/1") {
			t.Errorf("something has the tag: %s", path)
		}
	}
}

// TestPasswordStays: the password is shown to the registry, and to nobody to whom it leads.
func TestPasswordStays(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	note := func(r *http.Request, who string) {
		mu.Lock()
		defer mu.Unlock()
		_ = r.ParseForm()
		name, password, _ := r.BasicAuth()
		seen = append(seen, strings.TrimSpace(fmt.Sprint(who, " ", r.Method, " ", name, password, r.PostForm.Get("password"))))
	}
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note(r, "stranger")
		fmt.Fprint(w, `{"access_token":"t","token":"t"}`)
	}))
	t.Cleanup(stranger.Close)
	inner := &registryServer{kept: map[string][]byte{}, kinds: map[string]string{}}
	var realm, elsewhere string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token" && elsewhere != "":
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
		case r.URL.Path == "/token":
			note(r, "registry")
			fmt.Fprint(w, `{"access_token":"t"}`)
		case r.Header.Get("Authorization") != "Bearer t":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`",service="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	amd, _ := bundle(t, "amd64")
	o := Options{
		Source: strings.Replace(s.URL, "http:", "oci+http:", 1) + "/cyvive/node:1", Username: "ci", Password: "hunter2",
		Keys: []ed25519.PublicKey{key().Public().(ed25519.PublicKey)},
	}
	for name, place := range map[string][2]string{
		"another realm": {stranger.URL + "/token", ""}, "a redirect": {s.URL + "/token", stranger.URL + "/token"},
	} {
		realm, elsewhere = place[0], place[1]
		if _, err := Files(t.Context(), o, []string{amd}); !errors.Is(err, ErrPassword) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(seen) > 0 {
		t.Errorf("what was asked for tokens: %q", seen)
	}
	o.TokenHost, realm, elsewhere = strings.TrimPrefix(stranger.URL, "http://"), stranger.URL+"/token", ""
	if _, err := Files(t.Context(), o, []string{amd}); !errors.Is(err, ErrPassword) || len(seen) > 0 {
		t.Errorf("tokens without TLS: %v, %q", err, seen)
	}
	realm = s.URL + "/token"
	if _, err := Files(t.Context(), o, []string{amd}); err != nil || len(seen) == 0 || seen[0] != "registry POST hunter2" {
		t.Errorf("tokens of the registry itself: %v, %q", err, seen)
	}
}
