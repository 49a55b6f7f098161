package kube

import (
	"context"
	"io/fs"
	"time"

	"github.com/cyvive/cyvive/internal/container"
)

// Images is the workload plane's own container runtime.
type Images interface {
	// List returns the pods' containers, or container.ErrUnavailable.
	List(ctx context.Context) ([]container.Info, error)
	// Import brings the images of an archive in, if they are not there.
	Import(ctx context.Context, archive string) error
	// Unpin lets go of images that were brought in from other archives than these.
	Unpin(ctx context.Context, archives []string) error
}

// APIServer is the API server, as the node's agent asks it.
type APIServer interface {
	// Observe asks for readiness, this node and its pods. The error says what
	// is not ready; the API is then as far as it is known.
	Observe(ctx context.Context, spec Spec) (API, error)
	// MarkControlPlane sets the label by which kubectl shows the node's role.
	MarkControlPlane(ctx context.Context, spec Spec) error
	// Apply makes the objects of the manifests, in their order, or changes what is other in them. What a manifest leaves open it leaves alone.
	Apply(ctx context.Context, spec Spec, manifests []Manifest) error
}

// FileSystem is one in memory that the workload plane has to itself.
type FileSystem struct {
	// Dir is where it is mounted, and Mode its root's.
	Dir  string
	Mode fs.FileMode
	// SizeBytes is the most that it holds; 0 is a fifth of the machine's memory.
	SizeBytes int64
}

// Config is what a Reconciler is made of.
type Config struct {
	// System and Kubelet are the namespaces of those names of the system
	// containerd; Images is namespace k8s.io of the plane's.
	System, Kubelet container.Runtime
	Images          Images
	Layout          Layout
	// Empty puts an empty file system in the place of what is at its folder: of another
	// such one, with whatever is in it, or of a plain folder. It is called while no
	// workload plane runs, and follows no link that lies in the folder.
	Empty func(FileSystem) error
	// Held names the containers that are not to be started now; nil: none.
	Held func() []string
	// API is nil for the real one, over HTTPS on loopback.
	API APIServer
	// Answers asks a part of the control plane whether it answers; nil is [Answers].
	Answers func(ctx context.Context, name string) error
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Reconciler is the kube domain. Its methods are called from one goroutine.
type Reconciler struct {
	system, kubelet container.Runtime
	layout          Layout
	empty           func(FileSystem) error
	held            func() []string
	api             APIServer
	now             func() time.Time
	asker           asker
	apiAsker        apiAsker
	importer        importer
	planeSince      since
	// dnsApplied and volumesApplied are when this agent last applied cluster DNS, and the objects of volumes.
	dnsApplied, volumesApplied time.Time
	// volumes has the zero value until the image's definitions are read.
	volumes VolumeObjects
}

// New returns the domain.
func New(c Config) *Reconciler {
	r := &Reconciler{system: c.System, kubelet: c.Kubelet, layout: c.Layout, empty: c.Empty, held: c.Held, api: c.API, now: c.Now}
	if r.now == nil {
		r.now = time.Now
	}
	if r.held == nil {
		r.held = func() []string { return nil }
	}
	r.asker = newAsker(c.Images)
	r.importer.images = c.Images
	alive := &liveness{answers: c.Answers, last: map[string]lastAnswer{}}
	if c.Answers == nil {
		alive.answers = Answers
	}
	if r.api == nil {
		r.api = newRESTClient(r.now)
	}
	r.apiAsker = apiAsker{api: r.api, liveness: alive, now: r.now}
	return r
}

// secretSets are the containers that have a secrets directory.
func secretSets(spec Spec) []string {
	sets := []string{apiServer, controllerManager, scheduler, plane}
	if spec.Volumes {
		sets = append(sets, csiControllers)
	}
	return sets
}
