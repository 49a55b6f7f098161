package container

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"time"
)

// Spec is one container as it should run. All of it counts for Hash.
type Spec struct {
	// Name is the container's identity in its namespace.
	Name string
	// Rootfs is an absolute directory of the node's root file system. The
	// container sees it read-only.
	Rootfs string
	// Args is the program, by absolute path in Rootfs, and its arguments.
	Args       []string
	Env        []string
	WorkingDir string
	UID, GID   uint32
	// Mounts are made in order, after those every container has (/proc, /dev,
	// /sys read-only; the plane has its own set).
	Mounts []Mount
	// Capabilities is the bounding, effective and permitted set, and the ambient
	// one of a user who is not root. Empty means none at all, for root as well.
	Capabilities []string
	// Cgroup is an absolute path of the cgroup2 tree, such as /system/etcd.
	Cgroup string
	// MemoryMinBytes is memory.min: what the kernel never reclaims.
	MemoryMinBytes uint64
	// CPUWeight is cpu.weight, 1 to 10000; 0 leaves the kernel's 100.
	CPUWeight uint64
	// OOMScoreAdj is -1000 (never chosen) to 1000.
	OOMScoreAdj int
	// Hostname is set where the container has its own UTS namespace.
	Hostname string
	// Plane makes this the workload plane: besides its own PID, mount and IPC
	// namespaces it gets its own UTS and cgroup namespace, shared mount
	// propagation, and the walls of package confine in place of Capabilities.
	Plane bool
	// StopSignal is the name of the signal that ends it; empty is SIGTERM.
	StopSignal string
	// StopTimeout is how long after StopSignal it is killed; zero is 10 s.
	StopTimeout time.Duration
	// Revision is opaque; a change replaces the container. It stands for the
	// content of files that the container reads only at its start.
	Revision string
}

// Mount is one mount of a container, as in fstab(5).
type Mount struct {
	Source, Destination, Type string
	Options                   []string
}

// Bind returns a recursive bind mount; options such as "ro" follow.
func Bind(source, destination string, options ...string) Mount {
	return Mount{
		Source: source, Destination: destination, Type: "bind",
		Options: append([]string{"rbind"}, options...),
	}
}

// Tmpfs returns an empty in-memory file system of at most sizeBytes.
func Tmpfs(destination string, sizeBytes int64, mode string) Mount {
	return Mount{
		Source: "tmpfs", Destination: destination, Type: "tmpfs",
		Options: []string{"nosuid", "nodev", "noexec", "mode=" + mode, fmt.Sprintf("size=%d", sizeBytes)},
	}
}

// Hash identifies the spec: two specs with the same hash need no replacement.
func (s Spec) Hash() string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("container: encode spec: %v", err)) // plain fields only
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// Signal returns StopSignal or its default.
func (s Spec) Signal() string {
	if s.StopSignal == "" {
		return "SIGTERM"
	}
	return s.StopSignal
}

// Timeout returns StopTimeout or its default.
func (s Spec) Timeout() time.Duration {
	if s.StopTimeout == 0 {
		return 10 * time.Second
	}
	return s.StopTimeout
}

// namePattern is what containerd takes for an identifier, less upper case.
var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Validate reports the first thing that is wrong with the spec.
func (s Spec) Validate() error {
	switch {
	case !namePattern.MatchString(s.Name):
		return fmt.Errorf("check container %q: the name is not valid", s.Name)
	case !cleanAbs(s.Rootfs):
		return fmt.Errorf("check container %s: root %q is not a clean absolute path", s.Name, s.Rootfs)
	case len(s.Args) == 0 || !cleanAbs(s.Args[0]):
		return fmt.Errorf("check container %s: the program is not an absolute path", s.Name)
	case !cleanAbs(s.Cgroup):
		return fmt.Errorf("check container %s: cgroup %q is not a clean absolute path", s.Name, s.Cgroup)
	case s.OOMScoreAdj < -1000 || s.OOMScoreAdj > 1000:
		return fmt.Errorf("check container %s: OOM score %d is not within ±1000", s.Name, s.OOMScoreAdj)
	case s.CPUWeight > 10000:
		return fmt.Errorf("check container %s: CPU weight %d is above 10000", s.Name, s.CPUWeight)
	}
	for _, m := range s.Mounts {
		if !cleanAbs(m.Destination) {
			return fmt.Errorf("check container %s: mount on %q is not a clean absolute path", s.Name, m.Destination)
		}
	}
	return nil
}

func cleanAbs(p string) bool { return path.IsAbs(p) && path.Clean(p) == p && p != "/" }
