package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/pki/store"
)

// Observed is what the domain finds on the node.
type Observed struct {
	// Now is when the rest was observed.
	Now time.Time
	// SecretsCurrent says of each container whether its files serve for the spec.
	SecretsCurrent map[string]bool
	// Unavailable is set when the system container runtime does not answer; the
	// containers are not known then.
	Unavailable bool
	// Containers are those of namespaces system and kubelet, by name.
	Containers map[string]container.Info
	// PlaneSince is when the running plane started, at the latest: by a clock that was set back since then, that is not before now.
	PlaneSince time.Time
	// Held names the containers that are not to be started now.
	Held []string
	// Silent is for how long parts of the control plane that run, and answered
	// before, have not answered.
	Silent map[string]time.Duration
	// PlaneUp says that the workload plane's container runtime answers as one does;
	// PlaneProblem is what it answers else.
	PlaneUp      bool
	PlaneProblem string
	// ImagesMissing are the archives of the default bundle that were not
	// brought into the plane since it started. Importing says that they are
	// being brought in now; ImportProblem is why the last attempt failed.
	ImagesMissing []string
	Importing     bool
	ImportProblem string
	// StaleFiles are the plane's copies that differ from what they should be, by
	// path; the value is what they should hold.
	StaleFiles map[string]string
	// RegistriesStale says that the plane's containerd is told something else of registries than it should.
	RegistriesStale bool
	// KeptRange is the pod range that the node had when it was last told of one; the zero Prefix if none was kept.
	KeptRange netip.Prefix
	// PodNetwork says that the plane has the CNI configuration for the node's range.
	PodNetwork bool
	// API is what the API server answered; the zero value if it did not.
	API API
	// DNSApplied is when this agent last applied cluster DNS; Upstreams are the servers for names outside of the cluster.
	DNSApplied time.Time
	Upstreams  []netip.Addr
	// VolumesApplied is when this agent last applied VolumeObjects. Both are the zero value for a spec without volumes.
	VolumesApplied time.Time
	VolumeObjects  VolumeObjects
	// APIProblem is why the API server is not ready, in words; empty when it is.
	APIProblem string
}

// API is what the API server knows of this node.
type API struct {
	// Ready is the API server's own /readyz. Serves says that there was an answer to that
	// question, whatever it was.
	Ready, Serves bool
	// Node is nil until kubelet registered.
	Node *Node
	// PodStarts has one entry for each of this node's pods in phase Running:
	// when its longest running container started; the zero Time if none runs.
	PodStarts []time.Time
	// DNSRevision identifies what cluster DNS was last made from; empty if it is not there.
	DNSRevision string
	// VolumesRevision is the same for the objects of volumes.
	VolumesRevision string
}

// Observe looks at files, containers and, if it runs, the API server.
func (r *Reconciler) Observe(ctx context.Context, spec Spec) (Observed, error) {
	obs := Observed{Now: r.now(), Held: r.held(), DNSApplied: r.dnsApplied, SecretsCurrent: map[string]bool{}, Containers: map[string]container.Info{}}
	wanted := inputs(spec)
	for _, name := range secretSets(spec) {
		stamp, err := store.Read(filepath.Join(r.layout.Secrets, name))
		if err != nil {
			return Observed{}, fmt.Errorf("observe secrets of %s: %w", name, err)
		}
		obs.SecretsCurrent[name] = stamp.Current(wanted, obs.Now)
	}
	if err := r.observeContainers(ctx, &obs); err != nil || obs.Unavailable {
		return obs, err
	}
	if p := obs.Containers[plane]; p.State == container.Running {
		obs.PlaneSince = r.planeSince.of(p.StartedAt, obs.Now)
	}
	if err := r.observeVolumes(spec, &obs); err != nil {
		return obs, err
	}
	answer := r.apiAsker.ask(ctx, spec, obs.Containers)
	obs.Silent = answer.silence(obs.Containers)
	if obs.Containers[apiServer].State == container.Running {
		obs.API, obs.APIProblem = answer.api, answer.problem
	}
	if err := r.observeImages(ctx, &obs); err != nil {
		return obs, err
	}
	obs.RegistriesStale = registriesStale(r.layout.PlaneRegistries, registryFiles(spec.Registries))
	obs.KeptRange = readPodRange(r.layout.PodRange, spec)
	return obs, r.observeFiles(&obs)
}

// observeVolumes reads what the image has of custom resources, once: it does not change, and is large.
func (r *Reconciler) observeVolumes(spec Spec, obs *Observed) error {
	if !spec.Volumes {
		return nil
	}
	if r.volumes.Revision == "" {
		definitions, err := ReadDefinitions(r.layout.Definitions)
		if err != nil {
			return err
		}
		r.volumes = NewVolumeObjects(definitions)
	}
	obs.VolumeObjects, obs.VolumesApplied = r.volumes, r.volumesApplied
	return nil
}

// since follows the start of a container by a clock that may be set back. What was started by the clock before, in what is the future now, was there when
// it was first seen after that.
type since struct{ started, first time.Time }

func (s *since) of(started, now time.Time) time.Time {
	if !s.started.Equal(started) {
		*s = since{started, started}
	}
	if now.Before(s.first) {
		s.first = now
	}
	return s.first
}

// observeContainers reads both namespaces of the system containerd.
func (r *Reconciler) observeContainers(ctx context.Context, obs *Observed) error {
	for _, runtime := range []container.Runtime{r.system, r.kubelet} {
		list, err := runtime.List(ctx)
		if errors.Is(err, container.ErrUnavailable) {
			obs.Unavailable = true
			return nil
		}
		if err != nil {
			return err
		}
		for _, info := range list {
			obs.Containers[info.Name] = info
		}
	}
	return nil
}

// observeImages lists the archives that this plane has not got yet.
func (r *Reconciler) observeImages(ctx context.Context, obs *Observed) error {
	p, ok := obs.Containers[plane]
	if !ok || p.State != container.Running {
		return nil
	}
	if err := r.asker.ask(ctx, p.StartedAt); err != nil {
		// Whatever is wrong in the plane, the control plane is looked after.
		if !errors.Is(err, container.ErrUnavailable) {
			obs.PlaneProblem = err.Error()
		}
		return nil
	}
	obs.PlaneUp = true
	archives, err := filepath.Glob(filepath.Join(r.layout.Images, "*.tar"))
	if err != nil {
		return fmt.Errorf("list image archives: %w", err)
	}
	r.importer.observe(p.StartedAt, archives, obs)
	return nil
}

// observeFiles compares the plane's copies of node files, and its CNI
// configuration, with what they should hold.
func (r *Reconciler) observeFiles(obs *Observed) error {
	wanted, err := r.nodeCopies()
	if err != nil {
		return err
	}
	obs.Upstreams = parseNameservers(wanted[filepath.Join(r.layout.PlaneRun, "resolv.conf")])
	pods := obs.KeptRange
	if obs.API.Node != nil {
		pods = obs.API.Node.PodCIDR
	}
	cni := filepath.Join(r.layout.PlaneCNI, cniFile)
	if pods.IsValid() {
		wanted[cni] = cniConfig(pods)
	}
	obs.StaleFiles = map[string]string{}
	for path, content := range wanted {
		if !holds(path, content) {
			obs.StaleFiles[path] = content
		}
	}
	_, stale := obs.StaleFiles[cni]
	obs.PodNetwork = obs.PlaneUp && pods.IsValid() && !stale
	return nil
}

// nodeCopies returns what the plane's copies of node files should hold, by path.
func (r *Reconciler) nodeCopies() (map[string]string, error) {
	files := map[string]string{}
	for name, source := range map[string]string{"resolv.conf": r.layout.ResolvConf, "machine-id": r.layout.MachineID} {
		data, err := os.ReadFile(source)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read file for the workload plane: %w", err)
		}
		files[filepath.Join(r.layout.PlaneRun, name)] = string(data)
	}
	return files, nil
}

// hasPlane tells whether there are processes of the plane, or may be.
func hasPlane(info container.Info) bool {
	return info.State == container.Running || info.State == container.Paused || info.State == container.Unknown
}

// holds tells whether a file of the plane has this content. The plane's root can put
// anything in its place: what is no regular file, or cannot be read, has not.
func holds(path, content string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return false
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(len(content))+1))
	return err == nil && string(data) == content
}
