package containerd

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/task"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cyvive/cyvive/internal/container"
)

// foreign answers at a socket as containerd does, but for what a test has it say.
type foreign struct {
	containersapi.UnimplementedContainersServer
	list  func(send func(*containersapi.ListContainerMessage) error) error
	tasks []*task.Process

	mu      sync.Mutex
	images  []*imagesapi.Image
	updated []*imagesapi.Image
}

func (f *foreign) ListStream(_ *containersapi.ListContainersRequest, stream containersapi.Containers_ListStreamServer) error {
	return f.list(stream.Send)
}

type foreignTasks struct {
	tasks.UnimplementedTasksServer
	of *foreign
}

func (f foreignTasks) List(context.Context, *tasks.ListTasksRequest) (*tasks.ListTasksResponse, error) {
	return &tasks.ListTasksResponse{Tasks: f.of.tasks}, nil
}

type foreignImages struct {
	imagesapi.UnimplementedImagesServer
	of *foreign
}

// List pays no heed to filters.
func (f foreignImages) List(context.Context, *imagesapi.ListImagesRequest) (*imagesapi.ListImagesResponse, error) {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	return &imagesapi.ListImagesResponse{Images: f.of.images}, nil
}

func (f foreignImages) Update(_ context.Context, r *imagesapi.UpdateImageRequest) (*imagesapi.UpdateImageResponse, error) {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	f.of.updated = append(f.of.updated, r.GetImage())
	return &imagesapi.UpdateImageResponse{}, nil
}

// Get finds an image, and says nothing of it.
func (foreignImages) Get(context.Context, *imagesapi.GetImageRequest) (*imagesapi.GetImageResponse, error) {
	return &imagesapi.GetImageResponse{}, nil
}

// serve returns a runtime at whose socket f answers.
func serve(t *testing.T, f *foreign) *Runtime {
	t.Helper()
	dir := listen(t, f)
	return connect(t, dir, filepath.Join(dir, "socket"))
}

// listen makes a folder in which f answers at "socket".
func listen(t *testing.T, f *foreign) (folder string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "foreign") // the path of a socket has 108 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	containersapi.RegisterContainersServer(s, f)
	tasks.RegisterTasksServer(s, foreignTasks{of: f})
	imagesapi.RegisterImagesServer(s, foreignImages{of: f})
	go s.Serve(listener)
	t.Cleanup(s.Stop)
	return dir
}

// connect returns a runtime with a socket below a folder.
func connect(t *testing.T, folder, socket string) *Runtime {
	t.Helper()
	r, err := New(Config{Socket: socket, Within: folder, Namespace: "k8s.io"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// TestForeignLink: a link in the place of the socket, or of its folder, does not lead to
// the socket of somebody else.
func TestForeignLink(t *testing.T) {
	f := &foreign{list: func(func(*containersapi.ListContainerMessage) error) error { return nil }}
	dir := listen(t, f)
	plane := filepath.Join(dir, "plane")
	err := errors.Join(os.Mkdir(plane, 0o755), os.Symlink(filepath.Join(dir, "socket"), filepath.Join(plane, "socket")), os.Symlink(dir, filepath.Join(plane, "folder")))
	if err != nil {
		t.Fatal(err)
	}
	for _, socket := range []string{"socket", "folder/socket"} {
		r := connect(t, plane, filepath.Join(plane, socket))
		if _, err := r.List(t.Context()); !errors.Is(err, container.ErrUnavailable) {
			t.Errorf("%s: got %v, want %v", socket, err, container.ErrUnavailable)
		}
	}
	if _, err := connect(t, dir, filepath.Join(dir, "socket")).List(t.Context()); err != nil {
		t.Errorf("the socket itself: %v", err)
	}
}

// TestForeignList: what answers at the plane's socket can end neither the agent nor
// its memory.
func TestForeignList(t *testing.T) {
	f := &foreign{}
	r := serve(t, f)
	send := func(n int, m *containersapi.ListContainerMessage) func(func(*containersapi.ListContainerMessage) error) error {
		return func(send func(*containersapi.ListContainerMessage) error) error {
			for range n {
				if err := send(m); err != nil {
					return err
				}
			}
			return nil
		}
	}
	web := &containersapi.ListContainerMessage{Container: &containersapi.Container{ID: "0a", Labels: map[string]string{labelPod: "web"}}}
	f.list = send(2, web)
	if got, err := r.List(t.Context()); err != nil || len(got) != 2 || got[0].Pod != "web" {
		t.Errorf("two containers: got %+v, %v", got, err)
	}
	f.list = send(1, &containersapi.ListContainerMessage{})
	if got, err := r.List(t.Context()); err != nil || len(got) != 1 || got[0].ID != "" {
		t.Errorf("a message without a container: got %+v, %v", got, err)
	}
	large := &containersapi.ListContainerMessage{Container: &containersapi.Container{Image: strings.Repeat("x", 1<<20)}}
	for name, list := range map[string]func(func(*containersapi.ListContainerMessage) error) error{
		"many": send(maxContainers+1, web), "large": send(maxListBytes>>20+1, large),
	} {
		f.list = list
		if got, err := r.List(t.Context()); err == nil || !strings.Contains(err.Error(), errLongList.Error()) {
			t.Errorf("%s: got %d containers, %v; want %v", name, len(got), err, errLongList)
		}
	}
}

// TestForeignFields: what is small when it comes, and large in memory, is not decoded.
func TestForeignFields(t *testing.T) {
	f := &foreign{}
	r := serve(t, f)
	labels := func(n int) map[string]string {
		all := map[string]string{labelPod: "web"}
		for i := range n {
			all[strconv.Itoa(i)] = ""
		}
		return all
	}
	list := func(labels map[string]string) {
		f.list = func(send func(*containersapi.ListContainerMessage) error) error {
			return send(&containersapi.ListContainerMessage{Container: &containersapi.Container{ID: "0a", Labels: labels}})
		}
	}
	list(labels(1000))
	f.tasks = []*task.Process{{ID: "0a", Pid: 7, Status: task.Status_RUNNING}}
	if got, err := r.List(t.Context()); err != nil || len(got) != 1 || got[0].Pod != "web" || got[0].PID != 7 {
		t.Errorf("a container of many labels, and its task: got %+v, %v", got, err)
	}
	f.tasks = slices.Repeat([]*task.Process{{}}, maxContainers+1)
	if got, err := r.List(t.Context()); !errors.Is(err, errManyFields) {
		t.Errorf("many tasks: got %d containers, %v; want %v", len(got), err, errManyFields)
	}
	f.tasks = nil
	list(labels(maxFields))
	if got, err := r.List(t.Context()); !errors.Is(err, errManyFields) {
		t.Errorf("many labels: got %d containers, %v; want %v", len(got), err, errManyFields)
	}
	if got := known(labels(1000)); len(got) != 1 {
		t.Errorf("of other labels, %d are kept", len(got)-1)
	}
}

// TestForeignErrors: the text of an error is one that the API can say, whatever came.
func TestForeignErrors(t *testing.T) {
	for text, want := range map[string]string{
		"no space left":             "list: no space left",
		"\xffone\ntwo\x1b[31m":      "list: \uFFFDone two [31m",
		strings.Repeat("ä", 10_000): "list: " + strings.Repeat("ä", maxErrorBytes/2) + "…",
	} {
		err := errors.New(text)
		if got := wrap("list", err); got.Error() != want || !errors.Is(got, err) {
			t.Errorf("%.20q: got %.200q, want %.200q", text, got, want)
		}
	}
	f := &foreign{list: func(func(*containersapi.ListContainerMessage) error) error {
		return status.Error(codes.Unavailable, "not\nnow")
	}}
	if _, err := serve(t, f).List(t.Context()); !errors.Is(err, container.ErrUnavailable) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %q, want %v in one line", err, container.ErrUnavailable)
	}
}

// TestForeignImage: an image of which nothing is said is an error.
func TestForeignImage(t *testing.T) {
	r := serve(t, &foreign{})
	file := filepath.Join(t.TempDir(), "images.tar")
	index := `{"schemaVersion":2,"manifests":[{"digest":"sha256:aa","annotations":{"io.containerd.image.name":"web"}}]}`
	if err := os.WriteFile(file, archive([2]string{"index.json", index}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Import(t.Context(), file); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("got %v, want an error", err)
	}
}

// TestUnpin: of all images, those lose their pin which the node brought in before and
// that are in no archive of its now.
func TestUnpin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "images.tar")
	index := `{"schemaVersion":2,"manifests":[{"digest":"sha256:aa","annotations":{"io.containerd.image.name":"pause:2"}}]}`
	if err := os.WriteFile(file, archive([2]string{"index.json", index}), 0o600); err != nil {
		t.Fatal(err)
	}
	unpinned := imageLabels()
	delete(unpinned, labelPinned)
	users := imageLabels()
	delete(users, labelBundle)
	f := &foreign{images: []*imagesapi.Image{
		{Name: "pause:1", Labels: imageLabels()}, {Name: "pause:2", Labels: imageLabels()},
		{Name: "coredns:1", Labels: unpinned}, {Name: "web:1", Labels: users}, {},
	}}
	r := serve(t, f)
	if err := r.Unpin(t.Context(), []string{file}); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	if len(f.updated) != 1 || f.updated[0].GetName() != "pause:1" || !maps.Equal(f.updated[0].GetLabels(), unpinned) {
		t.Errorf("updated: got %v, want pause:1 with %v", f.updated, unpinned)
	}
	f.mu.Unlock()
	annotations := map[string]string{}
	for i := range maxFields {
		annotations[strconv.Itoa(i)] = ""
	}
	for what, images := range map[string][]*imagesapi.Image{
		"many images":      slices.Repeat([]*imagesapi.Image{{}}, maxFields+1),
		"many annotations": {{Name: "pause:1", Target: &types.Descriptor{Annotations: annotations}}},
	} {
		f.mu.Lock()
		f.images = images
		f.mu.Unlock()
		if err := r.Unpin(t.Context(), []string{file}); !errors.Is(err, errManyFields) {
			t.Errorf("%s: got %v, want %v", what, err, errManyFields)
		}
	}
}
