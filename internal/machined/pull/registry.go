package pull

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
)

// The types of an artifact that holds a release.
const (
	// ArtifactType is the manifest's.
	ArtifactType = "application/vnd.cyvive.release.v1"
	// LayerType is that of its one layer, which is the file.
	LayerType = "application/vnd.cyvive.release.v1.tar"
)

// Types of the OCI image specification 1.1.
const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
)

// authorizer asks a registry, and gets the token that it wants (distribution.github.io/distribution/spec/auth). On a web server it does nothing.
type authorizer struct {
	client *client
	tokens docker.Authorizer
}

func newAuthorizer(c *client) *authorizer {
	return &authorizer{c, docker.NewDockerAuthorizer(docker.WithAuthClient(c.small()), docker.WithAuthCreds(c.credentials))}
}

// credentials are those for a host that the configuration has some for.
func (c *client) credentials(host string) (name, secret string, err error) {
	if s := c.server(host); s != nil && s.Username != "" && s.Password != nil {
		return s.Username, s.Password.Reveal(), nil
	}
	return "", "", nil
}

// do sends a request, and once more with what the server asks for.
func (a *authorizer) do(with *http.Client, request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	// The password of a known server goes over TLS only, whatever the source says.
	mayAuthorize := request.URL.Scheme == "https" || a.client.server(request.URL.Host) == nil
	if mayAuthorize {
		if err := a.tokens.Authorize(ctx, request); err != nil {
			return nil, a.refused(err)
		}
	}
	response, err := with.Do(request)
	if err != nil || response.StatusCode != http.StatusUnauthorized || !mayAuthorize || len(response.Header.Values("WWW-Authenticate")) == 0 {
		return response, err
	}
	_ = response.Body.Close() // it is only words
	if err := a.tokens.AddResponses(ctx, []*http.Response{response}); err != nil {
		return nil, a.refused(err)
	}
	again := request.Clone(ctx)
	if err := a.tokens.Authorize(ctx, again); err != nil {
		return nil, a.refused(err)
	}
	return with.Do(again)
}

// refused is why there is no token. A failure of the connection to who gives it out may pass.
func (a *authorizer) refused(err error) error {
	if !a.isConnection(err) {
		return troublef(ErrRefused, "it wants to know who asks, and that cannot be told: %s", printable(err.Error()))
	}
	t := a.client.connectionTrouble(err)
	return &trouble{class: ErrRefused, reason: "it wants a token of another server: " + t.reason, passing: t.passing}
}

// isConnection tells a connection that failed from an answer that is of no use.
func (a *authorizer) isConnection(err error) bool {
	var timeout interface{ Timeout() bool }
	return lasting(err) || errors.As(err, &timeout) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// descriptor is the part of a content descriptor (OCI image specification, descriptor.md) that matters here.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	Platform  *struct {
		Architecture string `json:"architecture"`
	} `json:"platform"`
}

// manifest is an image manifest or an index.
type manifest struct {
	MediaType    string       `json:"mediaType"`
	ArtifactType string       `json:"artifactType"`
	Layers       []descriptor `json:"layers"`
	Manifests    []descriptor `json:"manifests"`
}

// resolve finds the layer that is the file of a release.
func (a *authorizer) resolve(ctx context.Context, s Source) (*file, *trouble) {
	data, t := a.manifest(ctx, s, s.ref, s.digest)
	if t != nil {
		return nil, t
	}
	m, err := parseManifest(data)
	if err == nil && len(m.Manifests) > 0 {
		var of descriptor
		if of, err = m.choose(a.client.Architecture); err == nil {
			if data, t = a.manifest(ctx, s, of.Digest, of.Digest); t != nil {
				return nil, t
			}
			m, err = parseManifest(data)
		}
	}
	if err != nil {
		return nil, troublef(ErrUnfit, "%v", err)
	}
	layer, err := m.layer()
	if err != nil {
		return nil, troublef(ErrUnfit, "%v", err)
	}
	return &file{url: s.base.JoinPath("v2", s.repo, "blobs", layer.Digest).String(), size: layer.Size, digest: layer.Digest}, nil
}

// manifest fetches one manifest; with a digest, it has to be that one.
func (a *authorizer) manifest(ctx context.Context, s Source, ref, digest string) ([]byte, *trouble) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base.JoinPath("v2", s.repo, "manifests", ref).String(), nil)
	if err != nil {
		return nil, troublef(ErrSource, "%v", err)
	}
	request.Header.Set("User-Agent", "cyvive")
	request.Header.Set("Accept", manifestType+", "+indexType)
	response, err := a.do(a.client.small(), request)
	if err != nil {
		return nil, a.client.connectionTrouble(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, statusTrouble(response)
	}
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, a.client.connectionTrouble(err)
	}
	if sum := sha256.Sum256(data); digest != "" && digest != "sha256:"+hex.EncodeToString(sum[:]) {
		return nil, troublef(ErrUnfit, "the manifest that the server has sent is not %s", digest)
	}
	return data, nil
}

// parseManifest reads a manifest or an index.
func parseManifest(data []byte) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return manifest{}, errors.New("the manifest is not JSON of the OCI image specification")
	}
	for _, d := range append(m.Layers[:len(m.Layers):len(m.Layers)], m.Manifests...) {
		if !digestForm.MatchString(d.Digest) || d.Size < 0 {
			return manifest{}, fmt.Errorf("the manifest names %.80q of %d bytes, expected sha256: and 64 hexadecimal digits", d.Digest, d.Size)
		}
	}
	return m, nil
}

// choose takes the release for an architecture out of an index.
func (m manifest) choose(architecture string) (descriptor, error) {
	var have []string
	for _, d := range m.Manifests {
		if d.Platform == nil {
			continue
		}
		if d.Platform.Architecture == architecture {
			return d, nil
		}
		have = append(have, printable(d.Platform.Architecture))
	}
	return descriptor{}, fmt.Errorf("it is an index with nothing for %s: it has %d manifests, for %s", architecture, len(m.Manifests), orNone(have))
}

// layer is the one that holds the file.
func (m manifest) layer() (descriptor, error) {
	if len(m.Layers) == 1 && m.Layers[0].MediaType == LayerType && m.Layers[0].Size > 0 {
		return m.Layers[0], nil
	}
	var have []string
	for _, l := range m.Layers[:min(len(m.Layers), 4)] {
		have = append(have, printable(l.MediaType))
	}
	return descriptor{}, fmt.Errorf("expected one layer of the type %s; it has %d, of the types %s", LayerType, len(m.Layers), orNone(have))
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
