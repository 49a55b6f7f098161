package pull

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func strangersAuthority(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stranger"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// registry is one of the distribution specification 1.1, with the tokens of its authentication specification.
type registry struct {
	*httptest.Server
	// manifests are by tag and digest, blobs by digest.
	manifests, blobs map[string][]byte
	// realm is where tokens are given out; empty is by the registry itself. Wants is the user that gets one, empty for anybody.
	realm, wants string
	// blobsAt redirects to another server for blobs, tokensAt for tokens, with whatever was sent.
	blobsAt, tokensAt string
	// log has one line for each request.
	log []string
	// cut is after how many bytes the next blob is cut off; 0 is not.
	cut int
}

func newRegistry(t *testing.T, start func(*httptest.Server)) *registry {
	t.Helper()
	r := &registry{manifests: map[string][]byte{}, blobs: map[string][]byte{}}
	r.Server = httptest.NewUnstartedServer(r)
	start(r.Server)
	t.Cleanup(r.Close)
	return r
}

// add puts a release under a tag, and returns the manifest's digest.
func (r *registry) add(tag string, data []byte, change func(map[string]any)) string {
	layer := map[string]any{"mediaType": LayerType, "digest": digestOf(data), "size": len(data)}
	m := map[string]any{"schemaVersion": 2, "mediaType": manifestType, "artifactType": ArtifactType, "layers": []any{layer}}
	if change != nil {
		change(m)
	}
	r.blobs[digestOf(data)] = data
	return r.put(tag, m)
}

func (r *registry) put(tag string, m any) string {
	encoded, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	r.manifests[tag], r.manifests[digestOf(encoded)] = encoded, encoded
	return digestOf(encoded)
}

// ServeHTTP implements http.Handler.
func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	name, secret, _ := q.BasicAuth()
	r.log = append(r.log, strings.TrimSpace(q.Method+" "+q.URL.Path+" "+name))
	if q.URL.Path == "/token" && r.tokensAt != "" {
		http.Redirect(w, q, r.tokensAt, http.StatusTemporaryRedirect)
		return
	}
	if q.URL.Path == "/token" {
		if q.Method == http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed) // as registries without OAuth2
			return
		}
		if r.wants != "" && name+":"+secret != r.wants {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"token":"t-%s","expires_in":300}`, q.URL.Query().Get("scope"))
		return
	}
	if q.Header.Get("Authorization") != "Bearer t-repository:cyvive/node:pull" {
		realm := r.realm
		if realm == "" {
			realm = r.URL + "/token"
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`",service="registry",scope="repository:cyvive/node:pull"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	kind, ref, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/v2/cyvive/node/"), "/")
	switch {
	case kind == "manifests" && r.manifests[ref] != nil && strings.Contains(q.Header.Get("Accept"), manifestType):
		_, _ = w.Write(r.manifests[ref])
	case kind == "blobs" && r.blobsAt != "":
		http.Redirect(w, q, r.blobsAt, http.StatusTemporaryRedirect)
	case kind == "blobs" && r.blobs[ref] != nil:
		if r.cut > 0 {
			w = &cutWriter{w, r.cut}
			r.cut = 0
		}
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(r.blobs[ref]))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// source is where a registry has a release.
func (r *registry) source(suffix string) string {
	return strings.Replace(strings.Replace(r.URL, "https:", "oci:", 1), "http:", "oci+http:", 1) + "/cyvive/node" + suffix
}

func TestRegistry(t *testing.T) {
	r := newRegistry(t, plain)
	data := content()
	digest := r.add("1.1.0", data, nil)
	blob := "GET /v2/cyvive/node/blobs/" + digestOf(data)
	f := fetch(t, t.Context(), Config{}, r.source(":1.1.0"), "")
	if f.err != nil || !bytes.Equal(f.data, data) || f.last.TotalBytes != int64(len(data)) {
		t.Errorf("%d bytes, %+v, %v", len(f.data), f.last, f.err)
	}
	want := []string{"GET /v2/cyvive/node/manifests/1.1.0", "GET /token", "GET /v2/cyvive/node/manifests/1.1.0", blob}
	if d := cmp.Diff(want, r.log); d != "" {
		t.Errorf("requests (-want +got):\n%s", d)
	}
	r.log, r.cut = nil, 1<<20
	f = fetch(t, t.Context(), Config{}, r.source(":whatever@"+digest), "")
	if f.err != nil || !bytes.Equal(f.data, data) || len(f.waits) != 1 {
		t.Errorf("by its digest, and cut: %d bytes, %v, waits %q", len(f.data), f.err, f.waits)
	}
	want = []string{"GET /v2/cyvive/node/manifests/" + digest, "GET /token", "GET /v2/cyvive/node/manifests/" + digest, blob, blob}
	if d := cmp.Diff(want, r.log); d != "" {
		t.Errorf("requests (-want +got):\n%s", d)
	}
}

// TestRegistryIndex: of an artifact for several architectures the node takes its own.
func TestRegistryIndex(t *testing.T) {
	r := newRegistry(t, plain)
	data := content()
	entry := func(digest, architecture string) map[string]any {
		return map[string]any{"mediaType": manifestType, "digest": digest, "size": 1, "platform": map[string]any{"os": "cyvive", "architecture": architecture}}
	}
	arm, amd := r.add("arm", []byte("for arm64"), nil), r.add("amd", data, nil)
	r.put("1.1.0", map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": []any{entry(arm, "arm64"), entry(amd, "amd64")}})
	if f := fetch(t, t.Context(), Config{Architecture: "amd64"}, r.source(":1.1.0"), ""); f.err != nil || !bytes.Equal(f.data, data) {
		t.Errorf("amd64: %d bytes, %v", len(f.data), f.err)
	}
	f := fetch(t, t.Context(), Config{Architecture: "riscv64"}, r.source(":1.1.0"), "")
	if !errors.Is(f.err, ErrUnfit) || !strings.Contains(f.err.Error(), "nothing for riscv64: it has 2 manifests, for arm64, amd64") {
		t.Errorf("riscv64: %v", f.err)
	}
}

// TestRegistryRefusals: what is not the artifact that was asked for.
func TestRegistryRefusals(t *testing.T) {
	data := content()
	layers := func(list ...any) func(map[string]any) { return func(m map[string]any) { m["layers"] = list } }
	layer := func(kind string, size int) map[string]any {
		return map[string]any{"mediaType": kind, "digest": digestOf(data), "size": size}
	}
	for name, test := range map[string]struct {
		change func(*registry)
		suffix string
		class  error
		words  string
	}{
		"no such tag": {func(*registry) {}, ":1.1.0", ErrNone, "it answers 404 Not Found"},
		"an image": {
			func(r *registry) {
				r.add("1.1.0", data, layers(layer("application/vnd.oci.image.layer.v1.tar+gzip", 5), layer("x\x1b[31m", 5)))
			},
			":1.1.0", ErrUnfit, "it has 2, of the types application/vnd.oci.image.layer.v1.tar+gzip, x[31m",
		},
		"no layer": {func(r *registry) { r.add("1.1.0", data, layers()) }, ":1.1.0", ErrUnfit, "it has 0, of the types none"},
		"no JSON":  {func(r *registry) { r.manifests["1.1.0"] = []byte("<html>") }, ":1.1.0", ErrUnfit, "is not JSON"},
		"another digest than the one that was asked for": {
			func(r *registry) { r.manifests["sha256:"+strings.Repeat("0", 64)] = []byte("{}") }, "@sha256:" + strings.Repeat("0", 64), ErrUnfit, "is not sha256:000",
		},
		"a digest of nothing": {
			func(r *registry) {
				r.add("1.1.0", data, layers(map[string]any{"mediaType": LayerType, "digest": "sha256:../../x", "size": 5}))
			}, ":1.1.0", ErrUnfit, `the manifest names "sha256:../../x"`,
		},
		"a manifest without end": {
			func(r *registry) { r.manifests["1.1.0"] = make([]byte, maxSmallBytes+100) }, ":1.1.0", ErrServer, "more than 4194304 bytes",
		},
		"another file": {
			func(r *registry) {
				r.add("1.1.0", data, nil)
				r.blobs[digestOf(data)] = bytes.Repeat([]byte("x"), len(data))
			}, ":1.1.0", ErrUnfit, "and should be " + digestOf(data),
		},
		"another length": {
			func(r *registry) { r.add("1.1.0", data, layers(layer(LayerType, 5))) }, ":1.1.0", ErrUnfit, "the file has 3145728 bytes, and 5 belong to the artifact",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t, plain)
			test.change(r)
			f := fetch(t, t.Context(), Config{}, r.source(test.suffix), "")
			if !errors.Is(f.err, test.class) || !strings.Contains(f.err.Error(), test.words) {
				t.Errorf("got %v, want %v with %q", f.err, test.class, test.words)
			}
		})
	}
}

// TestRegistryCredentials: they go to servers of the configuration alone, with the token's server among them, and blobs elsewhere come without.
func TestRegistryCredentials(t *testing.T) {
	r, tokens := newRegistry(t, secure), newRegistry(t, secure)
	data := content()
	store := newWeb(t, secure, func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(data))
	})
	r.add("1.1.0", data, nil)
	r.blobsAt, r.wants, tokens.wants = store.URL, "node:hunter2", "node:hunter2"
	server := func(of *registry) Server {
		return Server{Host: strings.TrimPrefix(of.URL, "https://"), CA: authorityOf(of.Server), Username: "node", Password: password("hunter2")}
	}
	f := fetch(t, t.Context(), Config{Servers: []Server{server(r)}}, r.source(":1.1.0"), "")
	if f.err != nil || !bytes.Equal(f.data, data) {
		t.Errorf("%d bytes, %v", len(f.data), f.err)
	}
	if f := fetch(t, t.Context(), Config{}, r.source(":1.1.0"), ""); !errors.Is(f.err, ErrRefused) {
		t.Errorf("without a password: %v", f.err)
	}
	r.realm, r.blobsAt = tokens.URL+"/token", ""
	f = fetch(t, t.Context(), Config{Servers: []Server{server(r)}}, r.source(":1.1.0"), "")
	if !errors.Is(f.err, ErrRefused) || !strings.Contains(f.err.Error(), "not among upgrade.sources") || strings.Contains(f.err.Error(), "hunter2") {
		t.Errorf("tokens of a stranger: %v", f.err)
	}
	if len(tokens.log) > 0 {
		t.Errorf("the stranger was asked: %q", tokens.log)
	}
	if f := fetch(t, t.Context(), Config{Servers: []Server{server(r), server(tokens)}}, r.source(":1.1.0"), ""); f.err != nil {
		t.Errorf("tokens of a server that is known too: %v", f.err)
	}
	r.realm, r.tokensAt, tokens.log = "", tokens.URL+"/token", nil
	f = fetch(t, t.Context(), Config{Servers: []Server{server(r), server(tokens)}}, r.source(":1.1.0"), "")
	if !errors.Is(f.err, ErrRefused) || !strings.Contains(f.err.Error(), "a redirect to another host of what may hold the password") || len(tokens.log) > 0 {
		t.Errorf("a password that is sent elsewhere: %v, and there arrived %q", f.err, tokens.log)
	}
}
