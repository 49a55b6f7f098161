// Package push puts releases into a registry, as the artifacts that nodes pull (internal/machined/pull): a manifest of the OCI image specification 1.1 with
// one layer, which is the file of the release. Releases for several architectures share a tag under an index.
package push

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cyvive/cyvive/internal/machined/pull"
	"github.com/cyvive/cyvive/internal/release"
)

// Options say where releases go.
type Options struct {
	// Source is what nodes will be given: oci://host/repository:tag, or oci+http:// for a registry without TLS.
	Source string
	// Username and Password are empty where the registry asks for none. They are for the registry alone, and for TokenHost, which gives out its tokens if it
	// does not do that itself.
	Username, Password, TokenHost string
	// Keys are those of nodes: what they do not trust is not pushed.
	Keys []ed25519.PublicKey
}

// system is the operating system in the platform of an index. Nodes look at the architecture only.
const system = "cyvive"

// Files pushes releases, and returns the digest by which nodes can pin what they pull.
func Files(ctx context.Context, o Options, paths []string) (string, error) {
	r, err := open(o)
	if err != nil {
		return "", err
	}
	var list []ocispec.Descriptor
	for _, path := range paths {
		d, err := r.release(ctx, path, o.Keys, len(paths) == 1)
		if err != nil {
			return "", fmt.Errorf("push %s: %w", path, err)
		}
		for _, other := range list {
			if other.Platform.Architecture == d.Platform.Architecture {
				return "", fmt.Errorf("push %s: a second release for %s", path, d.Platform.Architecture)
			}
		}
		list = append(list, d)
	}
	if len(list) == 1 {
		return list[0].Digest.String(), nil
	}
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, ArtifactType: pull.ArtifactType, Manifests: list,
	}
	d, err := r.document(ctx, ocispec.MediaTypeImageIndex, index, true)
	return d.Digest.String(), err
}

// registry is one repository of a registry.
type registry struct {
	// tagged pushes manifests under the tag, and bare by their digest.
	tagged, bare remotes.Pusher
}

func open(o Options) (*registry, error) {
	if _, err := pull.ParseSource(o.Source); err != nil {
		return nil, err
	}
	scheme, ref, _ := strings.Cut(o.Source, "://")
	if !strings.HasPrefix(scheme, "oci") || strings.Contains(ref, "@") {
		return nil, fmt.Errorf("push to %s: expected oci://host/repository:tag", o.Source)
	}
	host, _, _ := strings.Cut(ref, "/")
	host, err := docker.DefaultHost(host)
	if err != nil {
		return nil, err
	}
	g := guard{host: host, tokens: o.TokenHost, plain: scheme == "oci+http"}
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: docker.ConfigureDefaultRegistries(
		docker.WithPlainHTTP(func(string) (bool, error) { return g.plain, nil }),
		docker.WithClient(&http.Client{Transport: registryTransport{g}}),
		docker.WithAuthorizer(docker.NewDockerAuthorizer(
			docker.WithAuthClient(&http.Client{Transport: tokenTransport{g}}),
			docker.WithAuthCreds(func(of string) (string, string, error) {
				if of != g.host {
					return "", "", nil
				}
				return o.Username, o.Password, nil
			}),
		)),
	)})
	var r registry
	if r.tagged, err = resolver.Pusher(context.Background(), ref); err != nil {
		return nil, err
	}
	name := ref[:strings.LastIndexByte(ref, ':')]
	if r.bare, err = resolver.Pusher(context.Background(), name+"@"+ocispec.DescriptorEmptyJSON.Digest.String()); err != nil {
		return nil, err
	}
	return &r, nil
}

// release pushes one file with its manifest.
func (r *registry) release(ctx context.Context, path string, keys []ed25519.PublicKey, tagged bool) (ocispec.Descriptor, error) {
	file, err := os.Open(path)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer file.Close()
	m, layer, err := inspect(file, keys)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := r.put(ctx, r.tagged, layer, file); err != nil {
		return ocispec.Descriptor{}, err
	}
	empty := ocispec.DescriptorEmptyJSON
	if err := r.put(ctx, r.tagged, empty, bytes.NewReader(empty.Data)); err != nil {
		return ocispec.Descriptor{}, err
	}
	empty.Data = nil
	d, err := r.document(ctx, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: pull.ArtifactType,
		Config: empty, Layers: []ocispec.Descriptor{layer}, Annotations: map[string]string{ocispec.AnnotationVersion: m.Version},
	}, tagged)
	d.ArtifactType, d.Platform = pull.ArtifactType, &ocispec.Platform{Architecture: m.Architecture, OS: system}
	return d, err
}

// inspect reads all of a release, as a node would.
func inspect(file io.Reader, keys []ed25519.PublicKey) (release.Manifest, ocispec.Descriptor, error) {
	sum := digest.SHA256.Digester()
	counted := &counter{}
	b, err := release.Open(io.TeeReader(file, io.MultiWriter(sum.Hash(), counted)), keys)
	if err != nil {
		return release.Manifest{}, ocispec.Descriptor{}, err
	}
	if err := b.Extract(func(release.File) (io.WriteCloser, error) { return nowhere{io.Discard}, nil }); err != nil {
		return release.Manifest{}, ocispec.Descriptor{}, err
	}
	return b.Manifest, ocispec.Descriptor{MediaType: pull.LayerType, Digest: sum.Digest(), Size: counted.n}, nil
}

type counter struct{ n int64 }

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

type nowhere struct{ io.Writer }

// Close implements io.Closer.
func (nowhere) Close() error { return nil }

// document pushes a manifest or an index.
func (r *registry) document(ctx context.Context, mediaType string, v any, tagged bool) (ocispec.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	to := r.bare
	if tagged {
		to = r.tagged
	}
	return d, r.put(ctx, to, d, bytes.NewReader(data))
}

// put pushes what is not there yet.
func (r *registry) put(ctx context.Context, to remotes.Pusher, d ocispec.Descriptor, from io.Reader) error {
	ctx = remotes.WithMediaTypeKeyPrefix(ctx, d.MediaType, "cyvive") // or it warns of a type that it does not know
	w, err := to.Push(ctx, d)
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return err
	}
	err = content.Copy(ctx, w, from, d.Size, d.Digest)
	return errors.Join(err, w.Close())
}
