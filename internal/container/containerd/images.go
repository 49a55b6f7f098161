package containerd

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// imageLabels are those by which the CRI plugin knows its images: managed ones it
// shows to kubelet, pinned ones kubelet never removes to win space.
func imageLabels() map[string]string {
	return map[string]string{
		"io.cri-containerd.image":  "managed",
		"io.cri-containerd.pinned": "pinned",
	}
}

// snapshotter is the CRI containerd's.
const snapshotter = "overlayfs"

// Import brings the images of an OCI archive (a tar of an OCI image layout) into
// the namespace and unpacks them. Images that are there already, by the digest
// of their manifests, cost one look-up each.
//
// Whoever is root in the plane can answer in its containerd's place; the client
// panics at some answers that no containerd gives, and that is an error here.
func (r *Runtime) Import(ctx context.Context, archive string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = plain(fmt.Errorf("import image archive %s: the runtime's answers cannot be read: %v", archive, p))
		}
	}()
	ctx = r.in(ctx)
	f, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("open image archive: %w", err)
	}
	defer f.Close()
	wanted, err := archiveImages(f)
	if err != nil {
		return fmt.Errorf("read image archive %s: %w", archive, err)
	}
	present, err := r.present(ctx, wanted)
	if err != nil || present {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewind image archive: %w", err)
	}
	r.log.Info("importing images", "archive", archive)
	imported, err := r.client.Import(ctx, f, client.WithImageLabels(imageLabels()))
	if err != nil {
		return wrap("import image archive "+archive, err)
	}
	for _, i := range imported {
		if err := client.NewImage(r.client, i).Unpack(ctx, snapshotter); err != nil {
			return plain(wrap("unpack image "+i.Name, err))
		}
	}
	return nil
}

// present reports whether every wanted image (name to digest) is there and
// unpacked.
func (r *Runtime) present(ctx context.Context, wanted map[string]string) (bool, error) {
	for name, digest := range wanted {
		image, err := r.client.GetImage(ctx, name)
		if errdefs.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, wrap("look up image "+name, err)
		}
		if image.Target().Digest.String() != digest {
			return false, nil
		}
		unpacked, err := image.IsUnpacked(ctx, snapshotter)
		if err != nil || !unpacked {
			// Content that a power cut took is imported anew.
			return false, nil
		}
	}
	return true, nil
}

// maxIndexBytes bounds the index of an image layout; ours have a few hundred
// bytes.
const maxIndexBytes = 1 << 20

var (
	errNoIndex  = errors.New("no index.json")
	errNoImages = errors.New("index.json names no image")
)

// archiveImages returns name and digest of the images of an OCI image layout
// (image-spec/image-layout.md).
func archiveImages(r io.Reader) (map[string]string, error) {
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil, errNoIndex
		}
		if err != nil {
			return nil, err
		}
		if header.Name != ocispec.ImageIndexFile && header.Name != "./"+ocispec.ImageIndexFile {
			continue
		}
		var index ocispec.Index
		if err := json.NewDecoder(io.LimitReader(archive, maxIndexBytes)).Decode(&index); err != nil {
			return nil, fmt.Errorf("decode index.json: %w", err)
		}
		names := map[string]string{}
		for _, m := range index.Manifests {
			name := m.Annotations[images.AnnotationImageName]
			if name == "" {
				name = m.Annotations[ocispec.AnnotationRefName]
			}
			if name != "" {
				names[name] = m.Digest.String()
			}
		}
		if len(names) == 0 {
			return nil, errNoImages
		}
		return names, nil
	}
}
