package containerd

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cyvive/cyvive/internal/container"
)

// The labels that kubelet's CRI calls leave on a pod's containers
// (k8s.io/kubelet/pkg/types and containerd's internal/cri).
const (
	labelPod          = "io.kubernetes.pod.name"
	labelPodNamespace = "io.kubernetes.pod.namespace"
	labelPodContainer = "io.kubernetes.container.name"
	labelCRIKind      = "io.cri-containerd.kind"
)

// listTimeout is how long containerd may take to answer before it counts as
// unavailable.
const listTimeout = 15 * time.Second

// Bounds of a list. At the plane's socket whoever is root in the plane can answer,
// with whatever it likes.
const (
	maxContainers = 8192
	maxListBytes  = 2 << 20 // so that a client of the API takes the list (4 MiB, gRPC)
)

var (
	errLongList = errors.New("it names more containers than a node runs")
	errNoConn   = errors.New("the client has no connection of gRPC")
)

// List implements container.Runtime.
func (r *Runtime) List(ctx context.Context) ([]container.Info, error) {
	ctx, cancel := context.WithTimeout(r.in(ctx), listTimeout)
	defer cancel()
	records, err := r.records(ctx)
	if err != nil {
		return nil, wrap("list containers of "+r.namespace, err)
	}
	processes, err := r.processes(ctx)
	if err != nil {
		return nil, wrap("list tasks of "+r.namespace, err)
	}
	infos := make([]container.Info, 0, len(records))
	for _, record := range records {
		infos = append(infos, info(r.namespace, record, processes[record.ID]))
	}
	slices.SortFunc(infos, func(a, b container.Info) int {
		return cmp.Or(cmp.Compare(a.PodNamespace, b.PodNamespace), cmp.Compare(a.Pod, b.Pod),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return infos, nil
}

// processes returns the process of each task, by the container's ID.
func (r *Runtime) processes(ctx context.Context) (map[string]*task.Process, error) {
	conn, ok := r.client.Conn().(grpc.ClientConnInterface)
	if !ok {
		return nil, errNoConn
	}
	var answer emptypb.Empty
	err := conn.Invoke(ctx, "/containerd.services.tasks.v1.Tasks/List", &tasks.ListTasksRequest{}, &answer, grpc.MaxCallRecvMsgSize(maxRecordBytes))
	if err != nil {
		return nil, errgrpc.ToNative(err)
	}
	var running tasks.ListTasksResponse
	if err := decode(&answer, &running, 1, maxContainers); err != nil {
		return nil, err
	}
	processes := make(map[string]*task.Process, len(running.Tasks))
	for _, p := range running.Tasks {
		processes[p.GetID()] = p
	}
	return processes, nil
}

// records returns what info needs of each container. The client's own list keeps all
// that comes, without an end, and panics at a message that holds no container.
func (r *Runtime) records(ctx context.Context) ([]containers.Container, error) {
	conn, ok := r.client.Conn().(grpc.ClientConnInterface)
	if !ok {
		return nil, errNoConn
	}
	stream, err := containersapi.NewContainersClient(conn).ListStream(ctx, &containersapi.ListContainersRequest{}, grpc.MaxCallRecvMsgSize(maxRecordBytes))
	if err != nil {
		return nil, errgrpc.ToNative(err)
	}
	var out []containers.Container
	for bytes := 0; ; {
		var answer emptypb.Empty
		err := stream.RecvMsg(&answer)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, errgrpc.ToNative(err)
		}
		var m containersapi.ListContainerMessage
		if err := decode(&answer, &m, 2, maxFields); err != nil {
			return nil, err
		}
		c := m.GetContainer()
		labels := known(c.GetLabels())
		bytes += 2*len(c.GetID()) + len(c.GetImage()) // it may stand for the name, too
		for _, value := range labels {
			bytes += len(value)
		}
		if len(out) == maxContainers || bytes > maxListBytes {
			return nil, errLongList
		}
		out = append(out, containers.Container{
			ID: c.GetID(), Image: c.GetImage(), Labels: labels, CreatedAt: c.GetCreatedAt().AsTime(),
		})
	}
}

// known returns those labels that info reads.
func known(labels map[string]string) map[string]string {
	out := map[string]string{}
	for _, key := range []string{
		labelPod, labelPodNamespace, labelPodContainer, labelCRIKind, labelHash, labelStarted, labelRestarts, labelFailures,
	} {
		if value, ok := labels[key]; ok {
			out[key] = value
		}
	}
	return out
}

// info joins containerd's record of a container with its process, which is nil
// where there is no task.
func info(namespace string, record containers.Container, process *task.Process) container.Info {
	past := parseHistory(record.Labels)
	i := container.Info{
		Namespace:    namespace,
		Name:         record.ID,
		ID:           record.ID,
		Image:        record.Image,
		Pod:          record.Labels[labelPod],
		PodNamespace: record.Labels[labelPodNamespace],
		State:        container.Created,
		StartedAt:    past.started,
		Hash:         record.Labels[labelHash],
		Restarts:     past.restarts,
	}
	if i.StartedAt.IsZero() {
		i.StartedAt = record.CreatedAt
	}
	switch {
	case record.Labels[labelPodContainer] != "":
		i.Name = record.Labels[labelPodContainer]
	case record.Labels[labelCRIKind] == "sandbox":
		i.Name = "pause"
	}
	if process == nil {
		if i.Hash == "" {
			// A pod's container without a process is left from an earlier boot.
			i.State = container.Exited
		}
		return i
	}
	i.PID = process.Pid
	i.State = state(process.Status)
	if i.State == container.Exited {
		i.PID = 0
		i.ExitCode = process.ExitStatus
		i.ExitedAt = process.ExitedAt.AsTime()
		if i.Hash != "" {
			i.NextStart = nextStart(past, i.ExitedAt)
		}
	}
	return i
}

// nextStart returns when a container that exited may start again.
func nextStart(past history, exited time.Time) time.Time {
	return exited.Add(container.BackOff(failures(past, exited)))
}

// failures counts the run that has just ended.
func failures(past history, exited time.Time) int {
	if container.Settled(exited.Sub(past.started)) {
		return 0
	}
	return past.failures + 1
}

func state(s task.Status) container.State {
	switch s {
	case task.Status_CREATED:
		return container.Created
	case task.Status_RUNNING:
		return container.Running
	case task.Status_PAUSED, task.Status_PAUSING:
		return container.Paused
	case task.Status_STOPPED:
		return container.Exited
	}
	return container.Unknown
}
