// Package oci writes container images as archives in the OCI image layout
// (image-spec v1.1, image-layout.md), with the annotations by which containerd
// names them at import. The same tree gives the same bytes.
package oci

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/cyvive/cyvive/images/internal/tree"
)

// Media types of image-spec's media-types.md.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// Image says what to write.
type Image struct {
	// Name is the full reference, for example "cyvive.dev/pause:0.1.0".
	Name string
	// Tag is the part behind the colon.
	Tag        string
	Arch       string
	Root       *tree.Tree
	Entrypoint []string
	// User is "uid:gid".
	User string
	At   time.Time
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type config struct {
	platform
	Created time.Time    `json:"created"`
	Config  configRun    `json:"config"`
	RootFS  configRootFS `json:"rootfs"`
}

type configRun struct {
	User       string   `json:"User"`
	Entrypoint []string `json:"Entrypoint"`
	Env        []string `json:"Env"`
	WorkingDir string   `json:"WorkingDir"`
}

type configRootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// archive collects the files of the layout.
type archive struct {
	out *tar.Writer
	at  time.Time
}

// Write writes the image's archive to w.
func Write(w io.Writer, i Image) error {
	var layer bytes.Buffer
	if err := i.Root.WriteTar(&layer, i.At); err != nil {
		return fmt.Errorf("write image %s: %w", i.Name, err)
	}
	a := &archive{out: tar.NewWriter(w), at: i.At}
	if err := a.image(i, layer.Bytes()); err != nil {
		return fmt.Errorf("write image %s: %w", i.Name, err)
	}
	return a.out.Close()
}

func (a *archive) image(i Image, layer []byte) error {
	if err := a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	l, err := a.blob(typeLayer, layer)
	if err != nil {
		return err
	}
	p := platform{Architecture: i.Arch, OS: "linux"}
	c, err := a.jsonBlob(typeConfig, config{
		platform: p, Created: i.At.UTC(),
		Config: configRun{User: i.User, Entrypoint: i.Entrypoint, Env: []string{"PATH=/usr/bin"}, WorkingDir: "/"},
		RootFS: configRootFS{Type: "layers", DiffIDs: []string{l.Digest}},
	})
	if err != nil {
		return err
	}
	m, err := a.jsonBlob(typeManifest, manifest{SchemaVersion: 2, MediaType: typeManifest, Config: c, Layers: []descriptor{l}})
	if err != nil {
		return err
	}
	m.Platform = &p
	m.Annotations = map[string]string{
		"io.containerd.image.name":          i.Name,
		"org.opencontainers.image.ref.name": i.Tag,
	}
	b, err := json.Marshal(index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{m}})
	if err != nil {
		return err
	}
	return a.file("index.json", b)
}

func (a *archive) jsonBlob(mediaType string, v any) (descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return a.blob(mediaType, b)
}

func (a *archive) blob(mediaType string, b []byte) (descriptor, error) {
	sum := fmt.Sprintf("%x", sha256.Sum256(b))
	return descriptor{MediaType: mediaType, Digest: "sha256:" + sum, Size: len(b)}, a.file("blobs/sha256/"+sum, b)
}

func (a *archive) file(name string, b []byte) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(b)), Mode: 0o644, ModTime: a.at, Format: tar.FormatPAX}
	if err := a.out.WriteHeader(h); err != nil {
		return err
	}
	_, err := a.out.Write(b)
	return err
}
