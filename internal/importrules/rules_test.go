package importrules

import "strings"

// rule bans imports. Paths are relative to the module for its own packages, and
// whole for others. A pattern that ends in "/..." covers a folder and all below.
type rule struct {
	// name and reason appear in the failure.
	name, reason string
	// packages the rule is for, and those it leaves out.
	packages, except []string
	// only, where set, are the packages of this module that may be imported.
	only []string
	// ban may not be imported, save what allow has.
	ban, allow []string
	// deep looks at all that is linked, not only at direct imports.
	deep bool
}

var domains = []string{"internal/network/...", "internal/storage/...", "internal/etcd/...", "internal/kube/..."}

// systemCalls are the packages made for talking to the kernel: adapters of the
// domains, and what runs as PID 1.
var systemCalls = []string{
	"cmd/init/...", "cmd/machined/...",
	"internal/cni/...",
	"internal/confine/lsm",
	"internal/container/containerd/...",
	"internal/network/rtnl/...", "internal/network/dhcp/...", "internal/network/bpf/...",
	"internal/storage/blockdev/...", "internal/storage/mount/...", "internal/storage/luks", "internal/storage/zfs/command",
	"internal/extension/kernel",
	"internal/csi/mounter",
	"internal/machined/boot/...", "internal/machined/supervise/...",
	"internal/machined/server/files", "internal/machined/server/inventory/device",
	"hack/...",
}

func rules() []rule {
	return []rule{
		{
			name:     "PID 1 stays small",
			reason:   "cmd/init is PID 1 and the initramfs: what it links is read at each boot and stays in memory for good, and a panic in any of its goroutines is a kernel panic",
			packages: []string{"cmd/init"},
			ban: []string{
				"google.golang.org/grpc/...", "google.golang.org/protobuf/...", "github.com/containerd/containerd/...",
				"go.etcd.io/...", "net/http", "github.com/cilium/ebpf/...", "internal/machined", "internal/machined/server/...", "api/...",
				"internal/storage/...",
			},
			allow: []string{"internal/storage/zfs/kstat"},
			deep:  true,
		},
		{
			name:     "domains know nothing above them",
			reason:   "a domain takes its whole Spec and gives its Status; were it to see the configuration or the API, it could no longer be run and tested alone",
			packages: domains,
			ban:      []string{"internal/machined/...", "api/...", "cmd/..."},
		},
		{
			name:     "network stands alone",
			reason:   "domains do not call each other: what one needs of another is a condition in Status, which the plan reads; the terms of service addresses are no domain",
			packages: []string{"internal/network/..."},
			only:     []string{"internal/network/...", "internal/service"},
		},
		{
			name:     "storage stands alone",
			reason:   "domains do not call each other: what one needs of another is a condition in Status, which the plan reads",
			packages: []string{"internal/storage/..."},
			only:     []string{"internal/storage/...", "internal/size"},
		},
		{
			name:     "snapshots and datasets are decided by values",
			reason:   "what is made, kept and never destroyed is a function of what is declared and what was found; what changes it is behind zfs.System",
			packages: []string{"internal/storage/snapshots", "internal/storage/dataset"},
			only:     []string{"internal/storage/zfs", "internal/size"},
			ban:      []string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "etcd and kube share containers and certificates only",
			reason:   "domains do not call each other; the terms of containers and certificates are no domain",
			packages: []string{"internal/etcd/..."},
			only:     []string{"internal/etcd/...", "internal/container", "internal/pki/..."},
		},
		{
			name:     "kube shares terms only",
			reason:   "domains do not call each other; the terms of containers, certificates and service addresses are no domain",
			packages: []string{"internal/kube/..."},
			only:     []string{"internal/kube/...", "internal/container", "internal/pki/...", "internal/service"},
		},
		{
			name:     "terms import nothing",
			reason:   "container terms, certificates, service addresses, sizes, the audit log's form and configuration are used on both sides of many borders; each import of theirs would cross all of them",
			packages: []string{"internal/container", "internal/pki/...", "internal/service", "internal/size", "internal/audit", "internal/machined/config", "internal/machined/state", "internal/machined/ledger"},
			only:     []string{"internal/pki/...", "internal/size"},
		},
		{
			name:     "what pods may never do is data",
			reason:   "the tables of confine are reviewed as a whole and applied by others; a table that computes is harder to read",
			packages: []string{"internal/confine"},
			only:     []string{},
			ban:      []string{"os", "net", "syscall", "golang.org/x/sys/...", "github.com/cilium/ebpf/..."},
		},
		{
			name:     "the reconcile loop knows no domain",
			reason:   "every domain runs in the same loop, so the loop must not bend to one of them",
			packages: []string{"internal/machined/reconcile"},
			only:     []string{"internal/machined/state"},
		},
		{
			name:     "the plan is pure",
			reason:   "what a node should be is a function of configuration and facts; without system calls in reach it stays one",
			packages: []string{"internal/machined/plan"},
			ban:      []string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/...", "internal/network/rtnl/...", "internal/network/bpf/...", "internal/storage/mount/...", "internal/storage/blockdev/...", "internal/storage/luks", "internal/storage/zfs/command", "internal/container/containerd/..."},
		},
		{
			name:     "a release is a stream",
			reason:   "whoever builds, signs, sends or takes a release has files and connections of its own; the format knows none of them",
			packages: []string{"internal/release"},
			only:     []string{},
			ban:      []string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "an extension is a stream",
			reason:   "as a release is; and what a service may have is decided by the tables of confine, and by nothing that is found on a machine",
			packages: []string{"internal/extension"},
			only:     []string{"internal/release", "internal/confine"},
			ban:      []string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "extensions run on fakes",
			reason:   "the kernel is behind an interface, and so is the container runtime, so that what is taken, refused and put to use is tried without either",
			packages: []string{"internal/extension/keeper", "internal/extension/service"},
			only:     []string{"internal/extension", "internal/release", "internal/confine", "internal/container"},
			ban:      []string{"os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "what is predicted and shown is computed",
			reason:   "the value that a release will be measured with is a function of its image, and the text of a recovery key one of its bits; who signs the one and shows the other is elsewhere",
			packages: []string{"internal/trust/pcr", "internal/trust/recovery"},
			only:     []string{},
			ban:      []string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "what firmware starts is read from readers",
			reason:   "the node decides by it, before it writes anything, and a release is signed by it: the same bytes have to give the same answer to both, and in tests",
			packages: []string{"internal/trust/secureboot"},
			only:     []string{},
			ban:      []string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "volumes run on fakes",
			reason:   "programs and the device-mapper are behind an interface, so that the whole life of a disk is tried with a software TPM and files",
			packages: []string{"internal/trust/volumes"},
			only: []string{
				"internal/storage", "internal/storage/luks", "internal/trust/kms", "internal/trust/passphrase", "internal/trust/pcr", "internal/trust/recovery",
				"internal/trust/tpm", "internal/trust/wrap",
			},
			ban: []string{"os/exec", "net", "golang.org/x/sys/..."},
		},
		{
			name:     "a key server keeps half a key",
			reason:   "what is sealed is 32 bytes, as with the TPM; the configuration that names the server, and the volume that is opened, are above",
			packages: []string{"internal/trust/kms"},
			only:     []string{"api/proto/sidero/kms", "internal/trust/wrap"},
			ban:      []string{"os", "os/exec", "golang.org/x/sys/..."},
		},
		{
			name:     "keys are wrapped in memory",
			reason:   "how a key is made of its parts is one page, and the same in every release: it has no use for a file, a program or a connection",
			packages: []string{"internal/trust/wrap", "internal/trust/passphrase"},
			only:     []string{"internal/trust/wrap"},
			ban:      []string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "the TPM knows no volume",
			reason:   "what is sealed is 32 bytes: which volume they open, and who is shown what, is decided above",
			packages: []string{"internal/trust/tpm"},
			only:     []string{"internal/trust/pcr"},
			ban:      []string{"os/exec", "net", "golang.org/x/sys/..."},
		},
		{
			name:     "the guard of a trial is small",
			reason:   "PID 1 links it, and decides by it whether the machine starts again: it reads one variable and a clock that it is given",
			packages: []string{"internal/machined/boot/trial"},
			only:     []string{},
			ban:      []string{"os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "upgrades run on fakes",
			reason:   "slots and boot entries are interfaces, so that every cut of the power can be tried in a test",
			packages: []string{"internal/machined/upgrade"},
			only:     []string{"internal/machined/ledger", "internal/release"},
			ban:      []string{"os/exec", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "a pull is a stream",
			reason:   "it fetches, and whether what it fetches is a release, and what becomes of it, is decided where a push is taken",
			packages: []string{"internal/machined/pull"},
			only:     []string{},
			ban:      []string{"os/exec", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "gates are looked at",
			reason:   "what is asked of a release is in the configuration, and what becomes of the answer is decided in the upgrade",
			packages: []string{"internal/machined/gate"},
			only:     []string{"internal/machined/config"},
			ban:      []string{"os/exec", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "the clock is the kernel's",
			reason:   "whom to believe and what to do about it is tried with servers and a clock that are played; a test must never set the clock of the machine it runs on",
			packages: []string{"internal/machined/timesync"},
			only:     []string{},
			ban:      []string{"os/exec", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "installations run on fakes",
			reason:   "a disk is an interface, so that every write of an installation can be cut in a test; what lies on it is written by this package alone, without the kernel's help",
			packages: []string{"internal/machined/install"},
			only: []string{
				"internal/machined/configstore", "internal/machined/boot/verity",
				"internal/storage/disk", "internal/storage/loader", "internal/storage/notes", "internal/storage/signature",
			},
			ban: []string{"os/exec", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "a reset is a record",
			reason:   "it decides which volumes are wiped, and has to be read as a whole",
			packages: []string{"internal/machined/reset"},
			only:     []string{},
			ban:      []string{"os", "os/exec", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "replication is values and interfaces",
			reason:   "what is sent, kept and refused is decided the same for a machine beside this one and for a model of it in memory, and each cut of the work can be tried",
			packages: []string{"internal/storage/replication/..."},
			only:     []string{"internal/storage/zfs", "internal/storage/replication/..."},
			ban:      []string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "the CSI driver runs on fakes",
			reason:   "each call to ZFS and to the kernel can fail in a test, and the driver be started again after it; what Kubernetes asks for reaches neither but by the interfaces",
			packages: []string{"internal/csi"},
			only:     []string{"internal/storage/zfs"},
			ban:      []string{"os", "os/exec", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "the driver's mounts know no ZFS but its terms",
			reason:   "they are handed names of datasets and give them to the kernel; what is made and destroyed is decided in the driver",
			packages: []string{"internal/csi/mounter"},
			only:     []string{"internal/csi", "internal/machined/boot/loopdev", "internal/storage/mount", "internal/storage/signature", "internal/storage/zfs"},
		},
		{
			name:     "a registrar knows no driver",
			reason:   "kubelet's registry is the same for any; and what lies in kubelet's directory is opened by the package that is made for it",
			packages: []string{"internal/csi/registrar"},
			only:     []string{},
			ban:      []string{"os", "os/exec", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "the driver's pools are asked for",
			reason:   "what a pool is, its own package knows; here is only where to ask, and that it costs nothing where it is asked often",
			packages: []string{"internal/csi/pools"},
			only:     []string{"internal/csi", "internal/storage/pool/zpool", "internal/storage/zfs"},
			ban:      []string{"os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "the driver is run on fakes, too",
			reason:   "sockets are made by others, so that a test is kubelet, and whatever fails on a node fails in it",
			packages: []string{"internal/csi/node"},
			only:     []string{"internal/csi", "internal/csi/registrar"},
			ban:      []string{"os", "os/exec", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "programs link no frameworks of tests",
			reason:   "csi-sanity brings ginkgo and gomega, for tests of the CSI driver alone: they would make a program larger and add flags to it",
			packages: []string{"cmd/...", "internal/...", "api/..."},
			except:   []string{"internal/csi/csitest/sanitytest"},
			ban:      []string{"github.com/kubernetes-csi/...", "github.com/onsi/...", "k8s.io/klog/..."},
			deep:     true,
		},
		{
			name:     "the terms of OpenZFS run nothing",
			reason:   "they are on both sides of the border at which programs are called; a model of them must never reach the machine that it runs on",
			packages: []string{"internal/storage/zfs", "internal/storage/zfs/zfstest"},
			only:     []string{"internal/storage/zfs", "internal/size"},
			ban:      []string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "what lies on disks is read from readers",
			reason:   "whether a disk may be overwritten is decided by what is read of it, and tested on memory",
			packages: []string{"internal/storage/notes", "internal/storage/signature"},
			only:     []string{},
			ban:      []string{"os", "os/exec", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "names and properties of ZFS are values",
			reason:   "what ZFS takes as a name or a property is decided before anything runs, the same on a node, in the configuration and in a test",
			packages: []string{"internal/storage/zfs"},
			only:     []string{"internal/size"},
			ban:      []string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "which disk is meant is computed",
			reason:   "an installation and a pool choose disks by the same words, and have to mean the same by them",
			packages: []string{"internal/storage/disk"},
			only:     []string{"internal/size"},
			ban:      []string{"os", "os/exec", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "pools run on fakes",
			reason:   "what is done to a pool is decided by what was found, and shown before it is done; programs, disks and the clock are behind interfaces, so that all of it is tried without any",
			packages: []string{"internal/storage/pool"},
			only:     []string{"internal/storage/disk", "internal/storage/zfs", "internal/storage/zfs/label"},
			ban:      []string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "zpool is run by others",
			reason:   "the one wrapper of OpenZFS's programs has the environment, deadlines and errors of them all; here are arguments and texts",
			packages: []string{"internal/storage/pool/zpool", "internal/storage/pool/events"},
			only:     []string{"internal/storage/pool", "internal/storage/zfs"},
			ban:      []string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "a diagnosis is computed",
			reason:   "which disk is taken out of a pool follows from events, the pools' state and the time, all of which a test can give",
			packages: []string{"internal/storage/pool/diagnose"},
			only:     []string{"internal/storage/pool", "internal/storage/pool/events", "internal/storage/zfs"},
			ban:      []string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "labels are read from readers",
			reason:   "which device of which pool a disk is decides what may be done to it, and is tested on memory",
			packages: []string{"internal/storage/zfs/label"},
			only:     []string{},
			ban:      []string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "the ARC's limit is computed",
			reason:   "how much memory is given to ZFS, and taken back under pressure, has to hold for every machine, so it is tried with numbers and a clock that are given",
			packages: []string{"internal/storage/arc"},
			only:     []string{},
			ban:      []string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:   "ZFS is run in one place",
			reason: "zfs and zpool are called by one wrapper, which alone knows how their arguments are made safe, how they are ended and what they say; all that decides is tried with a model of them",
			packages: []string{
				"internal/storage/zfs/...", "internal/storage/pool/...", "internal/storage/nodepool", "internal/storage/replication/...", "internal/storage/snapshots/...",
			},
			except: []string{"internal/storage/zfs/command"},
			ban:    []string{"os/exec", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "the wrapper of ZFS knows its terms only",
			reason:   "it turns methods into command lines and texts into errors; what for is decided above it",
			packages: []string{"internal/storage/zfs/command"},
			only:     []string{"internal/storage/zfs"},
			ban:      []string{"net"},
		},
		{
			name:     "the agent starts on fakes",
			reason:   "internal/machined is put together with fakes in its tests; only cmd/machined picks the adapters that talk to the kernel",
			packages: []string{"internal/machined"},
			ban:      []string{"internal/network/rtnl/...", "internal/network/bpf/...", "internal/storage/mount/...", "internal/storage/blockdev/...", "internal/storage/luks", "internal/storage/zfs/command", "internal/container/containerd/...", "internal/confine/lsm", "internal/extension/kernel", "internal/csi/mounter", "internal/csi/pools", "golang.org/x/sys/..."},
		},
		{
			name:     "sources run on fakes",
			reason:   "a configuration comes from volumes, servers and files of sysfs: the first are interfaces, and with the two others all sources can be tried in a test",
			packages: []string{"internal/machined/source"},
			only:     []string{"internal/machined", "internal/machined/config", "internal/machined/boot/cmdline", "internal/machined/maintenance", "internal/pki"},
			ban:      []string{"os/exec", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "who may configure a new node is decided by values",
			reason:   "the argument why a stranger cannot is one page, and holds for what the page is about only as long as nothing else has a say",
			packages: []string{"internal/machined/maintenance"},
			only:     []string{"internal/pki"},
			ban:      []string{"os", "os/exec", "net", "time", "syscall", "golang.org/x/sys/..."},
		},
		{
			name:     "the server sees interfaces",
			reason:   "it is an adapter between gRPC and what its consumers implement; it could not be tested with fakes if it reached past them; the terms of keys and of the audit log are no consumer",
			packages: []string{"internal/machined/server/..."},
			only:     []string{"internal/machined/server/...", "api/...", "internal/audit", "internal/pki"},
			except:   []string{"internal/machined/server/servertest"},
		},
		{
			name:     "protos depend on nothing here",
			reason:   "they are the contract with other programs, which take nothing else of this module",
			packages: []string{"api/..."},
			only:     []string{"api/..."},
		},
		{
			name:     "nodectl is a client",
			reason:   "it runs on other machines and must not grow into the node's code; certificates, the configuration it generates and the form of the audit log it verifies are the exception",
			packages: []string{"cmd/nodectl/..."},
			only:     []string{"cmd/nodectl/...", "api/...", "internal/pki/...", "internal/machined/config", "internal/audit"},
		},
		{
			name:     "the node does not use development programs",
			reason:   "hack and test run on a developer's machine and may take liberties that the node must not",
			packages: []string{"internal/...", "cmd/..."},
			ban:      []string{"hack/...", "test/..."},
		},
		{
			name:     "system calls have their places",
			reason:   "a fake can stand for the kernel only where all of it lies behind an adapter",
			packages: []string{"internal/...", "cmd/..."},
			except:   append(systemCalls[:len(systemCalls):len(systemCalls)], "internal/keep", "cmd/nodectl/editor", "internal/trust/tpmtest"),
			ban:      []string{"golang.org/x/sys/...", "os/exec", "unsafe", "github.com/vishvananda/netlink/...", "github.com/cilium/ebpf/..."},
		},
		{
			name:     "fakes stay in tests",
			reason:   "a fake in the program would be a stub that nobody notices",
			packages: []string{"cmd/...", "internal/..."},
			except:   []string{"internal/networktest", "internal/storagetest", "internal/storage/pool/pooltest", "internal/storage/zfs/zfstest", "internal/csi/csitest", "internal/csi/csitest/sanitytest", "internal/etcdtest", "internal/kubetest", "internal/containertest", "internal/machined/server/servertest", "internal/machined/source/sourcetest", "internal/trust/tpmtest", "internal/trust/kmstest"},
			ban:      []string{"internal/networktest", "internal/storagetest", "internal/storage/pool/pooltest", "internal/storage/zfs/zfstest", "internal/csi/csitest", "internal/csi/csitest/sanitytest", "internal/etcdtest", "internal/kubetest", "internal/containertest", "internal/machined/server/servertest", "internal/machined/source/sourcetest", "internal/trust/tpmtest", "internal/trust/kmstest", "testing"},
		},
	}
}

// covers tells whether a pattern covers a path.
func covers(pattern, path string) bool {
	if folder, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == folder || strings.HasPrefix(path, folder+"/")
	}
	return pattern == path
}

func coversAny(patterns []string, path string) bool {
	for _, pattern := range patterns {
		if covers(pattern, path) {
			return true
		}
	}
	return false
}

// violation returns whether a package may not import another. Own tells whether
// the other is of this module.
func (r rule) violation(imported string, own bool) bool {
	if coversAny(r.allow, imported) {
		return false
	}
	return coversAny(r.ban, imported) || own && r.only != nil && !coversAny(r.only, imported)
}

func (r rule) applies(path string) bool {
	return coversAny(r.packages, path) && !coversAny(r.except, path)
}
