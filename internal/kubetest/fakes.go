package kubetest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/kube"
)

// APIServer is a kube.APIServer that a test plays. It is safe for concurrent use.
type APIServer struct {
	mu      sync.Mutex
	api     kube.API
	problem string
	silent  bool
}

var _ kube.APIServer = (*APIServer)(nil)

// NewAPIServer returns one that does not answer.
func NewAPIServer() *APIServer { return &APIServer{problem: "connection refused"} }

// Serve makes it answer with api, which may say that it is not ready; what was applied stays so.
func (a *APIServer) Serve(api kube.API) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if api.DNSRevision == "" {
		api.DNSRevision = a.api.DNSRevision
	}
	if api.VolumesRevision == "" {
		api.VolumesRevision = a.api.VolumesRevision
	}
	a.api, a.problem = api, ""
}

// Fail makes it not answer, for a reason.
func (a *APIServer) Fail(problem string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.api, a.problem = kube.API{DNSRevision: a.api.DNSRevision, VolumesRevision: a.api.VolumesRevision}, problem
}

// Silence makes it take questions and not answer them until they are given up, or
// answer those that come from now on.
func (a *APIServer) Silence(silent bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.silent = silent
}

// Observe implements kube.APIServer.
func (a *APIServer) Observe(ctx context.Context, _ kube.Spec) (kube.API, error) {
	a.mu.Lock()
	silent := a.silent
	a.mu.Unlock()
	if silent {
		<-ctx.Done()
		return kube.API{}, ctx.Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.problem != "" {
		return kube.API{}, errors.New(a.problem)
	}
	api := a.api
	if api.Node != nil {
		node := *api.Node
		api.Node = &node
	}
	if !api.Ready {
		return api, errors.New("it is not")
	}
	return api, nil
}

// MarkControlPlane implements kube.APIServer.
func (a *APIServer) MarkControlPlane(context.Context, kube.Spec) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.api.Node == nil {
		return errors.New("no such node")
	}
	node := *a.api.Node
	node.ControlPlane = true
	a.api.Node = &node
	return nil
}

// Apply implements kube.APIServer. Of what it is given it keeps the revisions of cluster DNS and of volumes.
func (a *APIServer) Apply(_ context.Context, _ kube.Spec, manifests []kube.Manifest) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.problem != "" {
		return errors.New(a.problem)
	}
	for _, m := range manifests {
		annotations, _ := m.Object["metadata"].(map[string]any)["annotations"].(map[string]any)
		revision, ok := annotations["cyvive.dev/revision"].(string)
		switch {
		case !ok:
		case m.Object["kind"] == "Deployment":
			a.api.DNSRevision = revision
		default:
			a.api.VolumesRevision = revision
		}
	}
	return nil
}

// Images is a kube.Images in memory. It is safe for concurrent use.
type Images struct {
	mu       sync.Mutex
	up       bool
	silent   bool
	problem  error
	archives []string
}

var _ kube.Images = (*Images)(nil)

// SetUp makes it answer, or not; it keeps its images.
func (i *Images) SetUp(up bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.up = up
}

// Fail makes it answer with an error; nil is none any more.
func (i *Images) Fail(problem error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.problem = problem
}

// Silence makes it take questions and not answer them until they are given up, or
// answer those that come from now on.
func (i *Images) Silence(silent bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.silent = silent
}

// List implements kube.Images.
func (i *Images) List(ctx context.Context) ([]container.Info, error) {
	i.mu.Lock()
	silent := i.silent
	i.mu.Unlock()
	if silent {
		<-ctx.Done()
		return nil, fmt.Errorf("list containers: %w: %w", container.ErrUnavailable, ctx.Err())
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.problem != nil {
		return nil, fmt.Errorf("list containers: %w", i.problem)
	}
	if !i.up {
		return nil, fmt.Errorf("list containers: %w", container.ErrUnavailable)
	}
	return nil, nil
}

// Import implements kube.Images.
func (i *Images) Import(_ context.Context, archive string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.up {
		return fmt.Errorf("import images: %w", container.ErrUnavailable)
	}
	if name := filepath.Base(archive); !slices.Contains(i.archives, name) {
		i.archives = append(i.archives, name)
	}
	return nil
}

// Unpin implements kube.Images: other archives are as if they had not been imported.
func (i *Images) Unpin(_ context.Context, archives []string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.up {
		return fmt.Errorf("unpin images: %w", container.ErrUnavailable)
	}
	i.archives = slices.DeleteFunc(i.archives, func(name string) bool {
		return !slices.ContainsFunc(archives, func(a string) bool { return filepath.Base(a) == name })
	})
	return nil
}

// String lists the archives that were imported, and not let go of, in order.
func (i *Images) String() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return strings.Join(i.archives, " ")
}
