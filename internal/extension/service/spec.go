package service

import (
	"path/filepath"
	"slices"

	"github.com/cyvive/cyvive/internal/confine"
	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/extension"
)

// Spec is the services that are to run, in their order.
type Spec struct{ Services []Service }

// Service is one of them.
type Service struct {
	// Extension is the name of its extension, Version that one's version.
	Extension, Version string
	// Dir is where the extension's image is mounted, RootHash what that is checked by.
	Dir, RootHash string
	extension.Service
}

// Layout is where the domain finds and puts things on the node.
type Layout struct {
	// Data holds a directory for each service that has data.
	Data string
	// Paths are the files of the node that services may have, as confine.ExtensionPaths has them.
	Paths map[string]string
	// Cgroup is the group of all services.
	Cgroup string
}

// NodeLayout is the layout of a node.
func NodeLayout() Layout {
	return Layout{Data: "/var/extensions/data", Paths: confine.ExtensionPaths(), Cgroup: "/extensions"}
}

const (
	// tmpBytes is how large a service's /tmp and /run can be.
	tmpBytes = 16 << 20
	// oomScore has the kernel kill a service before the system plane, and after pods.
	oomScore = -500
)

// container returns the container of a service: what its manifest asks for, which was checked with it, and nothing else.
func (l Layout) container(s Service) container.Spec {
	name := extension.ServiceName(s.Extension)
	spec := container.Spec{
		Name: name, Rootfs: filepath.Join(s.Dir, extension.RootDir),
		Args: append([]string{s.Program}, s.Args...), Env: slices.Clone(s.Env),
		UID: s.User, GID: s.User, Capabilities: slices.Clone(s.Capabilities),
		Mounts:      []container.Mount{container.Tmpfs("/tmp", tmpBytes, "1777"), container.Tmpfs("/run", tmpBytes, "1777")},
		Cgroup:      l.Cgroup + "/" + s.Extension,
		OOMScoreAdj: oomScore,
		Revision:    s.RootHash,
	}
	for _, p := range s.Paths {
		spec.Mounts = append(spec.Mounts, container.Bind(l.Paths[p], p, "ro", "nosuid", "nodev", "noexec"))
	}
	if s.Data {
		spec.Mounts = append(spec.Mounts, container.Bind(l.data(s), extension.DataDir, "nosuid", "nodev", "noexec"))
	}
	return spec
}

func (l Layout) data(s Service) string { return filepath.Join(l.Data, s.Extension) }
