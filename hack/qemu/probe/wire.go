package probe

// Names in the guest.
const (
	// PortName is the virtio-serial port of the probe.
	PortName = "cyvive.probe"
	// GuestPath is the guest program, which the kernel starts instead of /init
	// for its parameter rdinit (Documentation/admin-guide/kernel-parameters.txt).
	GuestPath = "/probe/init"
	// StagePath is the image's own stage 1, which the guest program becomes.
	StagePath = "/init"
	// ModuleDir holds the modules to load, named so that their order is the one
	// to load them in.
	ModuleDir = "/probe/modules"
	// FilesDir holds files that the probe gets into its root, each below its path there.
	FilesDir = "/probe/files"
)

// Op is what a request asks for.
type Op string

// The operations.
const (
	// OpProcesses lists all processes of the machine.
	OpProcesses Op = "processes"
	// OpRead returns the content of the file Path, of which only pseudo file
	// systems can be seen: /proc, /sys and /sys/fs/cgroup.
	OpRead Op = "read"
	// OpWalk returns the folders below Path, itself included.
	OpWalk Op = "walk"
	// OpKill sends Signal to the process PID.
	OpKill Op = "kill"
	// OpWrite writes Data to the file Path, which it makes executable. By way of
	// /proc/PID/root this is a file of any mount namespace.
	OpWrite Op = "write"
	// OpRun runs the program Path with Args, as a process of the machine in no
	// cgroup of the node, and returns its standard output in Data.
	OpRun Op = "run"
	// OpBeneath returns all that is in the mount on Path, as PID 1 sees it, but folders,
	// by paths from there: what lies beneath further mounts, too.
	OpBeneath Op = "beneath"
)

// Request is one line from the host.
type Request struct {
	Op     Op       `json:"op"`
	Path   string   `json:"path,omitempty"`
	PID    int      `json:"pid,omitempty"`
	Signal int      `json:"signal,omitempty"`
	Data   []byte   `json:"data,omitempty"`
	Args   []string `json:"args,omitempty"`
}

// Response is one line from the guest.
type Response struct {
	// Error is empty where the request was fulfilled.
	Error string `json:"error,omitempty"`
	Data  []byte `json:"data,omitempty"`
	// PeakBytes is the most memory that the program of OpRun took.
	PeakBytes int64     `json:"peak_bytes,omitempty"`
	Names     []string  `json:"names,omitempty"`
	Processes []Process `json:"processes,omitempty"`
}

// Process is one process, as the machine's root PID namespace sees it.
type Process struct {
	PID    int `json:"pid"`
	Parent int `json:"parent"`
	// Started is field 22 of proc_pid_stat(5): clock ticks since the kernel's
	// start. Together with the PID it is one process's identity.
	Started uint64 `json:"started"`
	// State is proc_pid_stat(5)'s letter; Z is a zombie.
	State string `json:"state"`
	// Args is empty for kernel threads and zombies.
	Args []string `json:"args,omitempty"`
	// Cgroup is the path in the cgroup2 tree (proc_pid_cgroup(5)).
	Cgroup string `json:"cgroup"`
	// ResidentBytes is field 24 of proc_pid_stat(5), in bytes.
	ResidentBytes uint64 `json:"resident_bytes"`
}
