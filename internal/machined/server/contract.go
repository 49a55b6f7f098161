package server

import (
	"context"
	"errors"
	"net/netip"
	"time"

	filev1 "github.com/cyvive/cyvive/api/proto/file/v1"
	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
	"github.com/cyvive/cyvive/internal/audit"
)

// Error classes an implementation of the interfaces below wraps, so that the
// caller gets the gRPC status that fits. Anything else is INTERNAL, save
// context errors, which keep their meaning.
var (
	// ErrNotFound: what the request names does not exist. NOT_FOUND.
	ErrNotFound = errors.New("not found")
	// ErrInvalid: the request cannot be right on any node. INVALID_ARGUMENT.
	ErrInvalid = errors.New("invalid request")
	// ErrPrecondition: the node is not one that can do this, now or ever,
	// without someone acting first. FAILED_PRECONDITION.
	ErrPrecondition = errors.New("precondition failed")
	// ErrUnavailable: trying again later may do. UNAVAILABLE.
	ErrUnavailable = errors.New("unavailable")
	// ErrDenied: nobody may have it, whatever the role, or this caller may not.
	// PERMISSION_DENIED.
	ErrDenied = errors.New("denied")
	// ErrIncomplete comes with a list of what could be read, where an interface says so;
	// the caller gets the list, and the text in IncompleteHeader.
	ErrIncomplete = errors.New("not all could be listed")
)

// IncompleteHeader is the header of an answer, or of a stream that begins with one, that
// lacks something; its value says what, in words for a person.
const IncompleteHeader = "cyvive-incomplete-bin"

// Machine is the node as a whole. Implementations are safe for concurrent use.
type Machine interface {
	// Version describes the software of the node. It works in maintenance mode.
	Version(ctx context.Context) (Version, error)
	// Health returns the checks in the order in which the node brings its parts
	// up. It works in maintenance mode, and then the check "config" carries the
	// configuration's errors.
	Health(ctx context.Context) ([]Check, error)
	// Node returns the facts of the node; the server adds readiness (from
	// Health) and the versions (from Version).
	Node(ctx context.Context) (Node, error)
	// Reboot begins an ordered restart and returns once it has begun, without
	// waiting for it. ErrPrecondition when one is under way.
	Reboot(ctx context.Context) error
	// Shutdown is Reboot, to power-off.
	Shutdown(ctx context.Context) error
}

// Version is what the node runs.
type Version struct {
	OS            string // release.json
	KernelRelease string // uname(2)
	RootHash      string // 64 hexadecimal digits, or empty
	Slot          string // "a", "b" or empty
	Components    []Component
}

// Component is one third-party program on the image, as release.json has it.
type Component struct {
	Name, Version, Source string
}

// Check is the health of one part of the node.
type Check struct {
	Name    string
	Healthy bool
	Reason  string    // what the part waits for; empty when healthy
	Since   time.Time // last change of Healthy or Reason; zero when unknown
	// Aside says that the node is ready without it: what is wrong is not the node's,
	// and its work goes on.
	Aside bool
	// Again is when the node tries what the Reason is about again by itself; zero where
	// it does so all the time, or never. It is told behind the Reason, and its change is
	// none of the check.
	Again time.Time
}

// why is the reason with when it is tried again.
func (c Check) why() string {
	if c.Again.IsZero() || c.Reason == "" {
		return c.Reason
	}
	return c.Reason + "; tried again at " + c.Again.UTC().Format(time.RFC3339)
}

// Role is the part a node plays in its cluster.
type Role int

// The roles. RoleStandalone is a node without a Cluster document.
const (
	RoleStandalone Role = iota + 1
	RoleControlPlane
	RoleWorker
)

// Node is the facts of the node that are neither versions nor health.
type Node struct {
	Hostname    string
	Addresses   []netip.Prefix // without loopback and link-local
	Role        Role
	ClusterName string // empty on a standalone node
	BootID      string // /proc/sys/kernel/random/boot_id
	BootedAt    time.Time
}

// StreamOptions says which part of a log is wanted.
type StreamOptions struct {
	Follow bool // go on with what is new until the context ends
	Tail   int  // newest entries to begin with; negative: all that are kept
}

// Dmesg is the kernel's log. Package server/kmsg implements it on /dev/kmsg.
type Dmesg interface {
	// Stream calls send for each record, oldest first, from one goroutine, and
	// returns send's first error as it is. A cancelled context ends a
	// following stream with a nil error.
	Stream(ctx context.Context, o StreamOptions, send func(Record) error) error
}

// Record is one record of the kernel's log.
type Record struct {
	Sequence  uint64
	Level     uint8         // syslog(3): 0 emergency … 7 debug
	Facility  uint8         // syslog(3)
	SinceBoot time.Duration // monotonic clock of the kernel
	Message   string        // valid UTF-8, without the final newline
}

// ServiceState is where a service is in its life.
type ServiceState int

// The states of a service.
const (
	ServiceStopped ServiceState = iota + 1
	ServiceStarting
	ServiceRunning
	ServiceStopping
	ServiceFailed // ended by itself; a restart is due
)

// Service is one long-running program of the node.
type Service struct {
	Name     string
	State    ServiceState
	PID      uint32 // 0 when it does not run
	Restarts uint32
	LastExit string // for a person; empty when it never ended
	Since    time.Time
	Reason   string // what keeps it from running; empty while it runs
}

// Services lists the long-running programs of the node: init's children, the
// system plane's containers and the workload plane's own programs, in the
// order in which they are started. Safe for concurrent use.
type Services interface {
	Services(ctx context.Context) ([]Service, error)
	// StopService ends a service and keeps it from being started until
	// StartService or the next boot; RestartService ends it, and it starts anew.
	// Both return once it has ended, RestartService for the agent itself just
	// before. An unknown service is ErrNotFound, one that cannot be treated so
	// ErrPrecondition; both errors say what can be done.
	StopService(ctx context.Context, name string) error
	StartService(ctx context.Context, name string) error
	RestartService(ctx context.Context, name string) error
}

// Logs reads what services wrote. Package server/ringlog implements it on the
// ring files of /run/cyvive/log and /run/cyvive/plane/log.
type Logs interface {
	// Stream calls send for each line, without its newline, oldest first, from
	// one goroutine; line is valid during the call only. An unknown service is
	// ErrNotFound and the error names those there are. The end of the context
	// and send's error are as in Dmesg.
	Stream(ctx context.Context, service string, o StreamOptions, send func(line []byte) error) error
}

// PastLogs reads what services and the kernel wrote before the running boot, as far as it
// is kept. The kernel's log has the name KernelLog, and lines as server/kmsg.Cursor has them.
// Package keptlog implements it. Until the node has looked for it, both methods are
// ErrUnavailable, and ErrNotFound where nothing is kept. Safe for concurrent use.
type PastLogs interface {
	// PastServices returns the names of the logs that there are.
	PastServices(ctx context.Context) ([]string, error)
	// PastLog is Logs.Stream for a log that has ended. It calls lacks once, before it
	// sends, if the log is not whole or not of the boot before: what says so in words
	// for a person. A negative tail is all that is kept.
	PastLog(ctx context.Context, service string, tail int, lacks func(what string), send func(line []byte) error) error
}

// ContainerState is where a container is in its life.
type ContainerState int

// The states of a container.
const (
	ContainerCreated ContainerState = iota + 1
	ContainerRunning
	ContainerStopped
	ContainerPaused
)

// Container is one container of either plane.
type Container struct {
	Namespace    string // containerd's: system, kubelet or k8s.io
	Name, ID     string
	Image        string // empty for roots that are directories of the image
	Pod          string // empty outside k8s.io
	PodNamespace string // empty outside k8s.io
	PID          uint32 // 0 when it does not run
	State        ContainerState
	StartedAt    time.Time // zero when it never started
	ExitCode     uint32
	Restarts     uint32
}

// Containers lists the containers of both planes, in any order: the server
// sorts. A containerd that does not run contributes nothing and is no error; for
// one that answers with an error, there is ErrIncomplete beside the others'
// containers. Safe for concurrent use.
type Containers interface {
	Containers(ctx context.Context) ([]Container, error)
}

// BootEnd is how a boot ended.
type BootEnd int

// The ends of a boot.
const (
	BootRunning BootEnd = iota + 1
	BootClean
	BootUnclean
)

// Boot is one entry of the boot ledger.
type Boot struct {
	ID         string
	StartedAt  time.Time
	End        BootEnd
	Uptime     time.Duration // to the last entry of that boot, or to now
	Version    string
	Slot       string // "a", "b" or empty
	Milestones []Milestone
	Reason     string // why it ended, for a person; may be empty
}

// Milestone is a point of a boot that was reached.
type Milestone struct {
	Name  string
	Since time.Duration // since the kernel's start, CLOCK_BOOTTIME
}

// Boots reads the boot ledger. Safe for concurrent use.
type Boots interface {
	// Boots returns the entries newest first, beginning with the running boot.
	Boots(ctx context.Context) ([]Boot, error)
}

// Crash is what the kernel left of one boot that ended badly.
type Crash struct {
	FoundBy   string    // the ID of the boot that found it
	Time      time.Time // when the first record was written
	Summary   string    // the kernel's last words; empty where none is known
	Records   int
	SizeBytes int64
}

// CrashLine is one line of a dead kernel's log.
type CrashLine struct {
	Level           uint8          // syslog(3)
	Since           *time.Duration // since that kernel's start; nil where the line has none
	Message, Record string         // valid UTF-8; the record that the line is from
}

// Crashes reads what dead kernels left. Package crash implements it. Until the boot
// has looked for more of it on the state volume, both are ErrUnavailable. Safe for
// concurrent use.
type Crashes interface {
	// Crashes returns them newest first.
	Crashes(ctx context.Context) ([]Crash, error)
	// CrashLog calls send for each line, oldest first, or for the newest so many
	// if tail is not negative, and returns send's first error as it is. An empty
	// foundBy is the running boot. Where that found no log, it is ErrNotFound.
	CrashLog(ctx context.Context, foundBy string, tail int, send func(CrashLine) error) error
}

// Kernel reads what the kernel shows, in the messages of the API: they are plain
// records. Package server/procfs implements it. Safe for concurrent use.
type Kernel interface {
	// Processes returns the processes by PID, without the kernel's threads.
	Processes(ctx context.Context) ([]*kernelv1.Process, error)
	// Mounts returns the mounts in the order in which they were made.
	Mounts(ctx context.Context) ([]*kernelv1.Mount, error)
	// Cgroups returns the groups, each before those in it, and whether there are
	// more than were read.
	Cgroups(ctx context.Context) (groups []*kernelv1.Cgroup, truncated bool, err error)
	// Stats returns all counters of one moment; what this kernel does not have
	// is left out.
	Stats(ctx context.Context) (*kernelv1.Stats, error)
}

// Inventory reads what the machine is made of, in the messages of the API. Package
// server/inventory implements it. Safe for concurrent use.
type Inventory interface {
	// Inventory leaves out what the machine does not tell, and says so in the
	// message's problems. Without diskHealth no disk is asked for anything.
	Inventory(ctx context.Context, diskHealth bool) (*inventoryv1.Inventory, error)
}

// Events is what happened. Package server/eventlog implements it. Safe for
// concurrent use.
type Events interface {
	// Stream calls send for each event, oldest first, from one goroutine. The
	// end of the context and send's error are as in Dmesg.
	Stream(ctx context.Context, o StreamOptions, send func(Event) error) error
}

// EventKind is what an event is about.
type EventKind int

// The kinds of events; see the protos for what they mean.
const (
	EventAgent EventKind = iota + 1
	EventHealth
	EventMilestone
	EventService
	EventRequest
	EventConfiguration
)

// Event is something that happened.
type Event struct {
	Sequence               uint64 // grows by one with each event
	Time                   time.Time
	Kind                   EventKind
	Subject, State, Reason string // for a person; Reason may be empty
}

// Files looks at files. Package server/files implements it. Safe for concurrent
// use. What is not there is ErrNotFound, what holds secrets ErrDenied, and a path
// that cannot be followed, or is of the wrong kind, ErrPrecondition.
type Files interface {
	List(ctx context.Context, path string) (files []*filev1.File, truncated bool, err error)
	// Read calls send with the bytes from offset on, at most limit; data is
	// valid during the call only. It returns send's first error as it is.
	Read(ctx context.Context, path string, offset, limit uint64, send func(data []byte) error) error
}

// Audit is the audit log. Package server/auditlog implements it. Safe for
// concurrent use.
type Audit interface {
	// Append adds an entry; its sequence, hash and boot are the log's to set.
	// With sync, it is on the disk when Append returns.
	Append(e audit.Entry, sync bool) error
	// Read calls send for each line of the log, without its newline, oldest
	// first, from one goroutine; line is valid during the call only. It returns
	// send's first error as it is.
	Read(ctx context.Context, send func(line []byte) error) error
}
