package plan

import (
	"net/netip"
	"reflect"
	"slices"

	csi "github.com/cyvive/cyvive/internal/csi/node"
	"github.com/cyvive/cyvive/internal/etcd"
	extensions "github.com/cyvive/cyvive/internal/extension/service"
	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/service"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/dataset"
	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/snapshots"
)

// The domains, as keys of Desired.Waits.
const (
	Network    = "network"
	Storage    = "storage"
	Pools      = "pools"
	Datasets   = "datasets"
	Snapshots  = "snapshots"
	Etcd       = "etcd"
	Kubernetes = "kubernetes"
	Extensions = "extensions"
)

// Input is what changes only when somebody wants it to.
type Input struct {
	// Disk is the device of the system disk.
	Disk string
	// Medium says that the system disk is that of an installation medium, in memory, which has no volumes.
	Medium bool
	// TPM says that the machine has a TPM 2.0, and Encrypts that it can make encrypted volumes, which it can with one anyway.
	TPM, Encrypts bool
	// Version is that of the operating system, and so of the default bundle.
	Version string
	// Searched is set when the search for a configuration came to a result: one was found, valid or not, or none for some time.
	Searched bool
	// Encryption is how a configuration that cannot be stored before there are volumes has them made, with its key server; empty if there is none.
	Encryption config.EncryptionMode
	KeyServer  *config.KeyServer
	// Passphrase is what the machine was given for its disk; the zero Secret if nothing.
	Passphrase config.Secret
	// Lost says that Config is nil because what is stored could not be had: an agent before this one may have had it.
	Lost bool
	// Kept says that the state volume holds a configuration.
	Kept bool
	// Config is nil while there is no valid configuration; Trust belongs to it.
	Config *config.Config
	Trust  *Trust
}

// Facts are what other domains reached.
type Facts struct {
	Network network.Status
	Storage storage.Status
	Etcd    etcd.Status
	// Identity is set when the machine ID and the boot's entry in the ledger are on the state volume.
	Identity bool
	// Confined is set when the kernel's walls around the workload plane are in force.
	Confined bool
	// Extensions are the services of those extensions that are in use; nil until all have been put to use that can be.
	Extensions *extensions.Spec
	// Services are the cluster's service addresses; nil until they are known.
	Services *service.Table
	// Pooled says that the node has OpenZFS, PoolsSeen that its pools have been reached, as far as they can be, once. CacheBytes is what kubelet is to leave to
	// what ZFS keeps in memory, 0 until that is decided.
	Pooled     bool
	PoolsSeen  bool
	CacheBytes uint64
}

// Desired is what every domain is to reach. A nil specification holds its domain back; Waits then has the reason.
type Desired struct {
	Network *network.Spec
	Storage *storage.Spec
	// Pools are those that are declared: the node's own is of Storage.
	Pools *pool.Spec
	// Datasets and Snapshots are those that are declared.
	Datasets  *dataset.Spec
	Snapshots *snapshots.Spec
	Etcd      *etcd.Spec
	Kube      *kube.Spec
	// CSI is the node's CSI driver. It is wanted with Kubernetes, and is no domain: it has no reason to wait of its own.
	CSI *csi.Spec
	// Extensions are the services of extensions.
	Extensions *extensions.Spec
	// Waits holds a reason for each domain that is held back, by the names above.
	Waits map[string]string
}

// Differs reports whether o has a domain reach something else than d, or hold back for another reason.
func (d Desired) Differs(o Desired, domain string) bool {
	of := func(d Desired) any {
		switch domain {
		case Network:
			return d.Network
		case Storage:
			return d.Storage
		case Pools:
			return d.Pools
		case Datasets:
			return d.Datasets
		case Snapshots:
			return d.Snapshots
		case Etcd:
			return d.Etcd
		case Kubernetes:
			return d.Kube
		case Extensions:
			return d.Extensions
		}
		panic("plan: unknown domain " + domain)
	}
	return d.Waits[domain] != o.Waits[domain] || !reflect.DeepEqual(of(d), of(o))
}

// Build computes the desired state. It is pure.
func Build(in Input, facts Facts) Desired {
	d := Desired{Waits: map[string]string{}}
	if in.Medium {
		d.Waits[Storage] = OnMedium
	} else {
		d.Storage = storageSpec(in)
	}
	d.planPools(in, facts)
	if d.Extensions = facts.Extensions; d.Extensions == nil {
		d.Waits[Extensions] = waitForExtensions
	}
	if !in.Searched {
		wait := "looking for the configuration"
		d.Waits[Network], d.Waits[Etcd], d.Waits[Kubernetes] = wait, wait, wait
		return d
	}
	d.Network = networkSpec(in.Config, in.Lost)
	if in.Config == nil || in.Config.Cluster == nil {
		wait := "no Cluster document is configured"
		if in.Config == nil {
			wait = "waiting for a valid configuration"
		}
		d.Waits[Etcd], d.Waits[Kubernetes] = wait, wait
		return d
	}
	c := in.Config.Cluster
	d.Network.Services, d.Network.Unreachable, d.Network.Reserved = facts.Services, []netip.Prefix{c.ServiceCIDR}, []netip.Prefix{c.PodCIDR, c.ServiceCIDR}
	if in.Medium {
		d.Waits[Etcd], d.Waits[Kubernetes] = OnMedium, OnMedium
		return d
	}
	address, wait := ready(facts, OwnAddresses(in.Config, facts.Network.Addresses))
	if wait != "" {
		d.Waits[Etcd], d.Waits[Kubernetes] = wait, wait
		return d
	}
	d.Etcd = &etcd.Spec{Name: in.Config.Machine.Hostname, Address: address, CA: in.Trust.Etcd}
	// Not for its health: the API server has much to do before it needs etcd, and waits for it by itself.
	if !facts.Etcd.Running {
		d.Waits[Kubernetes] = "waiting for etcd to run"
		return d
	}
	if !facts.Confined {
		d.Waits[Kubernetes] = "waiting for the confinement of the workload plane"
		return d
	}
	// Pods may need what a module brings, and must not be there when the kernel is told where modules may come from.
	if facts.Extensions == nil {
		d.Waits[Kubernetes] = waitForExtensions
		return d
	}
	// kubelet reads what it leaves to others at its start only.
	if facts.Pooled && facts.CacheBytes == 0 {
		d.Waits[Kubernetes] = "waiting for the pools to be known, by which it is decided how much memory ZFS may use"
		return d
	}
	d.Kube = KubeSpec(in, facts.Network.Addresses)
	d.Kube.CacheBytes = facts.CacheBytes
	if d.Kube.Volumes {
		d.CSI = csiSpec(in.Config)
	}
	return d
}

const waitForExtensions = "waiting for the extensions to be put to use"

// OnMedium is what a system waits for that runs from an installation medium: it comes up no further than to be told where to install itself.
const OnMedium = "this system runs from an installation medium, in memory: it has no volumes, and nothing of it outlives a restart; `nodectl install` puts it onto a disk"

// OwnAddresses are those of the node's addresses that can be its own, and so can be in its certificates: addresses of the cluster's pods and services cannot. It
// may have one that it was leased before it knew their ranges, until that is given up. A configuration may be nil, or have no cluster.
func OwnAddresses(cfg *config.Config, addresses []netip.Prefix) []netip.Prefix {
	if cfg == nil || cfg.Cluster == nil {
		return addresses
	}
	return slices.DeleteFunc(slices.Clone(addresses), func(p netip.Prefix) bool {
		address := p.Addr().Unmap()
		return cfg.Cluster.PodCIDR.Contains(address) || cfg.Cluster.ServiceCIDR.Contains(address)
	})
}

// ready returns the address to advertise, the first of own of IPv4, or what etcd and all above it wait for.
func ready(facts Facts, own []netip.Prefix) (netip.Addr, string) {
	switch {
	case !facts.Storage.Ready:
		return netip.Addr{}, "waiting for storage: " + orUnknown(facts.Storage.Reason)
	case !facts.Identity:
		return netip.Addr{}, "waiting for the node's identity on the state volume"
	}
	for _, p := range own {
		if p.Addr().Is4() {
			return p.Addr(), ""
		}
	}
	return netip.Addr{}, "waiting for an IPv4 address: " + orUnknown(facts.Network.Reason)
}

func orUnknown(reason string) string {
	if reason == "" {
		return "not looked at yet"
	}
	return reason
}

// storageSpec is the layout of every node. How blank volumes are made is for the configuration to say, once there is one; a machine that could not encrypt
// them does not wait for it. An encrypted volume beside state is not made before the configuration is stored: that state has its key tells the next boot that
// there was one.
func storageSpec(in Input) *storage.Spec {
	spec := storage.DefaultSpec(in.Disk)
	spec.Cap = in.TPM
	wanted := config.Encryption{Mode: in.Encryption, KMS: in.KeyServer}
	if in.Config != nil {
		wanted = in.Config.Machine.Disk.Encryption
	}
	encryption := Encryption(wanted, in.Passphrase)
	if in.Config == nil && in.Encryption == "" && (in.TPM || in.Encrypts) {
		encryption.Mode = storage.Undecided
	}
	for i := range spec.Volumes {
		spec.Volumes[i].Encryption = encryption
		spec.Volumes[i].Encryption.Held = encryption.Mode.Encrypts() && spec.Volumes[i].Name != storage.State && !in.Kept
	}
	return &spec
}

// Encryption is how volumes are encrypted that are made by a configuration, on a machine that was given a passphrase, or none.
func Encryption(e config.Encryption, passphrase config.Secret) storage.Encryption {
	out := storage.Encryption{Passphrase: storage.NewSecret(passphrase.Reveal())}
	if s := e.KMS; s != nil {
		out.Server = storage.KeyServer{Endpoint: s.Endpoint, CA: s.CA}
		if s.Client != nil {
			out.Server.Certificate, out.Server.Key = s.Client.Certificate, storage.NewSecret(s.Client.Key.Reveal())
		}
	}
	switch e.Mode {
	case config.EncryptionTPM:
		out.Mode = storage.TPM
	case config.EncryptionKMS:
		out.Mode = storage.KMS
	case config.EncryptionPassphrase:
		out.Mode = storage.Passphrase
	}
	return out
}

// networkSpec is by DHCP without a configuration. Where that was lost, what a node has of its network is left to it.
func networkSpec(cfg *config.Config, lost bool) *network.Spec {
	source := config.DefaultNetwork()
	spec := &network.Spec{Keep: cfg == nil && lost}
	if cfg != nil {
		source = cfg.Network
		spec.Hostname = cfg.Machine.Hostname
	}
	for _, l := range source.Links {
		spec.Links = append(spec.Links, network.Link{Name: l.Name, DHCP: l.DHCP, Addresses: l.Addresses, Gateway: l.Gateway})
	}
	spec.Nameservers = source.Nameservers
	return spec
}

// KubeSpec returns the specification of Kubernetes for a node with the given addresses, of which it takes its own; in must have a Cluster document.
func KubeSpec(in Input, addresses []netip.Prefix) *kube.Spec {
	c := in.Config.Cluster
	spec := &kube.Spec{
		ClusterName: c.Name, NodeName: in.Config.Machine.Hostname, Endpoint: c.Endpoint, CertSANs: c.CertSANs,
		PodCIDR: c.PodCIDR, ServiceCIDR: c.ServiceCIDR, DNSDomain: c.DNSDomain, Version: in.Version,
		CA: in.Trust.Kubernetes, FrontProxyCA: in.Trust.FrontProxy, EtcdCA: in.Trust.Etcd,
		ServiceAccountKey: in.Trust.ServiceAccountKey, EncryptionKey: in.Trust.EncryptionKey, Volumes: c.Volumes == config.VolumesZFS,
	}
	for _, p := range OwnAddresses(in.Config, addresses) {
		spec.Addresses = append(spec.Addresses, p.Addr())
	}
	spec.Registries = registries(in.Config.Registries)
	return spec
}

func registries(r config.Registries) kube.Registries {
	out := kube.Registries{CA: r.CA}
	for _, e := range r.Registries {
		entry := kube.Registry{Name: e.Name, Mirrors: e.Mirrors, CA: e.CA}
		if e.Credentials != nil {
			entry.Username, entry.Password = e.Credentials.Username, pki.Secret(e.Credentials.Password.Reveal())
		}
		out.Entries = append(out.Entries, entry)
	}
	return out
}
