package containerd

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

const (
	// labelBundle is on images that the node brought in.
	labelBundle = "cyvive.dev/bundle"
	// labelPinned is on images that kubelet never removes to win space.
	labelPinned = "io.cri-containerd.pinned"
)

// imageLabels are those of the node's images: beside its own, those by which the CRI
// plugin knows managed images, which it shows to kubelet, and pinned ones.
func imageLabels() map[string]string {
	return map[string]string{
		"io.cri-containerd.image": "managed",
		labelPinned:               "pinned",
		labelBundle:               "default",
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

// Unpin lets kubelet remove the images that the node brought in from other archives than
// these, as those of the release before: when it needs room, and no container uses them.
// They are not removed here: a cluster of which some nodes have the release before may
// want them still.
func (r *Runtime) Unpin(ctx context.Context, archives []string) error {
	ctx, cancel := context.WithTimeout(r.in(ctx), listTimeout)
	defer cancel()
	keep := map[string]bool{}
	for _, archive := range archives {
		names, err := imagesOf(archive)
		if err != nil {
			return err
		}
		for name := range names {
			keep[name] = true
		}
	}
	conn, ok := r.client.Conn().(grpc.ClientConnInterface)
	if !ok {
		return errNoConn
	}
	list, err := bundled(ctx, conn)
	if err != nil {
		return wrap("list images of "+r.namespace, err)
	}
	n := 0
	for _, image := range list {
		if image.GetLabels()[labelBundle] == "" || image.GetLabels()[labelPinned] == "" || keep[image.GetName()] {
			continue
		}
		delete(image.Labels, labelPinned)
		request := &imagesapi.UpdateImageRequest{Image: image, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}}}
		if _, err := imagesapi.NewImagesClient(conn).Update(ctx, request); err != nil {
			return wrap("unpin image", errgrpc.ToNative(err))
		}
		n++
	}
	if n > 0 {
		r.log.Info("unpinned images of another release", "images", n)
	}
	return nil
}

// bundled lists the images that the node brought in.
func bundled(ctx context.Context, conn grpc.ClientConnInterface) ([]*imagesapi.Image, error) {
	var answer emptypb.Empty
	request := &imagesapi.ListImagesRequest{Filters: []string{fmt.Sprintf("labels.%q", labelBundle)}}
	if err := conn.Invoke(ctx, "/containerd.services.images.v1.Images/List", request, &answer); err != nil {
		return nil, errgrpc.ToNative(err)
	}
	var list imagesapi.ListImagesResponse
	// Three levels: an image has annotations in its target, as many as whoever answers likes.
	if err := decode(&answer, &list, 3, maxFields); err != nil {
		return nil, err
	}
	return list.GetImages(), nil
}

// imagesOf returns name and digest of the images of an archive.
func imagesOf(archive string) (map[string]string, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, fmt.Errorf("open image archive: %w", err)
	}
	defer f.Close()
	names, err := archiveImages(f)
	if err != nil {
		return nil, fmt.Errorf("read image archive %s: %w", archive, err)
	}
	return names, nil
}

// present reports whether every wanted image (name to digest) is there, with its labels,
// and unpacked.
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
		for key, value := range imageLabels() {
			if image.Labels()[key] != value {
				return false, nil // it was another release's in between
			}
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
