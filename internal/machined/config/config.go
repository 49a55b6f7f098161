package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// APIVersion is the version of the configuration documents that this package reads and writes.
const APIVersion = "cyvive.dev/v1alpha1"

// Config is the whole configuration of one node, validated and with defaults filled in. It is not changed after Parse.
type Config struct {
	Machine Machine
	// Network always has at least one link: without a Network document it is the first physical link with DHCP.
	Network Network
	// Cluster is nil on a node that runs no Kubernetes.
	Cluster *Cluster
	// Registries is the zero value without a Registries document.
	Registries Registries
	// What follows is by the order of the documents; no two of one list have the same name.
	Pools             []Pool
	Datasets          []Dataset
	SnapshotSchedules []SnapshotSchedule
	ReplicationJobs   []ReplicationJob
}

// Machine is the identity of the node and the authority of its API.
type Machine struct {
	// Hostname is an RFC 1123 label or name in lower case.
	Hostname string
	// CA signs the API's server certificate and the client certificates that the API accepts.
	CA KeyPair
	// CertSANs are further names and addresses under which clients reach the API.
	CertSANs []string
	// Profile is what pods may use of the kernel's wider surfaces.
	Profile Profile
	Disk    Disk
	Upgrade Upgrade
	Time    Time
	// Extensions are used in this order; no name is there twice.
	Extensions []Extension
}

// Time is how the node keeps its clock.
type Time struct {
	// Servers, names or addresses, if not empty, are asked in the place of those learnt by DHCP.
	Servers []string
}

// Extension is one that the node uses: name and version of one that was pushed to it.
type Extension struct{ Name, Version string }

// Disk is how the node's own volumes are made.
type Disk struct{ Encryption Encryption }

// Encryption is how what the node writes is encrypted.
type Encryption struct {
	// Mode holds from the making of the volumes on, and is not changed afterwards.
	Mode EncryptionMode
	// KMS is the key server of the mode EncryptionKMS. It may be given in another mode, and is of no use there.
	KMS *KeyServer
}

// KeyServer is a server that keeps half of the key of a disk.
type KeyServer struct {
	// Endpoint is its URL: https, a host, and a port unless that is 443.
	Endpoint string
	// CA are the authorities of its certificate, PEM.
	CA string
	// Client is what the node shows it; nil for a server that asks for nothing.
	Client *KeyPair
}

// EncryptionMode says what opens the node's disk.
type EncryptionMode string

// The modes.
const (
	// EncryptionNone leaves the disk as it is: whoever has it can read it.
	EncryptionNone EncryptionMode = "none"
	// EncryptionTPM is opened by the TPM of the machine it was made in, for releases of the same signer.
	EncryptionTPM EncryptionMode = "tpm"
	// EncryptionKMS is opened by a key server, together with what lies on the disk, as long as that answers.
	EncryptionKMS EncryptionMode = "kms"
	// EncryptionPassphrase is opened by a passphrase that the machine is given at each boot, in a document of kind DiskPassphrase.
	EncryptionPassphrase EncryptionMode = "passphrase"
)

// encryptionModes are all of them, as texts.
func encryptionModes() []string {
	return []string{string(EncryptionNone), string(EncryptionTPM), string(EncryptionKMS), string(EncryptionPassphrase)}
}

// Upgrade is how a new release is tried.
type Upgrade struct {
	// Deadline is how long after the kernel's start a release has to be well before the node goes back. One that is too short sends good releases
	// back; until it a bad one keeps the node from work.
	Deadline time.Duration
	// Gates are what it has to fulfil besides.
	Gates []Gate
	// Sources are the servers of releases that are known by more than their name.
	Sources []UpgradeSource
}

// Gate is one condition of a good release.
type Gate struct {
	// Name is for people, and different from that of each other gate.
	Name string
	Kind GateKind
	// Target is what is looked at; its form is that of the kind.
	Target string
}

// GateKind says how a gate is looked at.
type GateKind string

// The kinds.
const (
	// GateHTTP holds while a GET of the URL, http and asked by the node itself, is answered with a status of success.
	GateHTTP GateKind = "http"
	// GateTCP holds while the node can connect to host:port.
	GateTCP GateKind = "tcp"
	// GateService is GateHTTP for namespace/name:port/path of a Service, through the API server.
	GateService GateKind = "service"
	// GateDeployment holds while the condition Available of namespace/name is true.
	GateDeployment GateKind = "deployment"
	// GateCondition holds while a condition of the node's own Node object is true.
	GateCondition GateKind = "condition"
)

// UpgradeSource is a server of releases, whose certificate is judged.
type UpgradeSource struct {
	// Host is a name or address, with a port unless that is 443.
	Host string
	// CA is the authority of its certificate, PEM.
	CA string
	// Credentials are nil for a server that asks for none.
	Credentials *Credentials
}

// Credentials are a name and a password.
type Credentials struct {
	Username string
	Password Secret
}

// Profile chooses how much of the kernel pods can reach.
type Profile string

// The profiles. Both have all walls around the workload plane; strict takes away what most flaws of the kernel need besides, and what some
// pods need: user namespaces (hostUsers: false) and eBPF programs (network plug-ins).
const (
	ProfileStandard Profile = "standard"
	ProfileStrict   Profile = "strict"
)

// Network is the configuration of the host's links.
type Network struct {
	Links []Link
	// Nameservers, if not empty, replace those learnt by DHCP.
	Nameservers []netip.Addr
}

// FirstLink, as the name of a link, means the first physical one in the order of the kernel's interface index.
const FirstLink = "first"

// Link configures one network interface.
type Link struct {
	// Name is FirstLink, an interface name or a MAC address in colon notation.
	Name      string
	DHCP      bool
	Addresses []netip.Prefix
	// Gateway is the next hop of the default route; the zero Addr means none.
	Gateway netip.Addr
}

// Role says what a node does in its cluster.
type Role string

// RoleControlPlane runs etcd and the control plane beside kubelet. It is the only role so far.
const RoleControlPlane Role = "controlplane"

// VolumeMaker says who makes the persistent volumes of a cluster.
type VolumeMaker string

// The makers of volumes: nobody of the node's, and the node's CSI driver, on its ZFS pools.
const (
	VolumesNone VolumeMaker = "none"
	VolumesZFS  VolumeMaker = "zfs"
)

// Cluster is what the node needs to know of its Kubernetes cluster.
type Cluster struct {
	Name string
	// Endpoint is the URL, with scheme https and a port, under which clients outside reach the Kubernetes API.
	Endpoint    string
	Role        Role
	PodCIDR     netip.Prefix
	ServiceCIDR netip.Prefix
	DNSDomain   string
	// CertSANs are further names and addresses in kube-apiserver's certificate.
	CertSANs []string
	// Volumes is who makes persistent volumes; parsed, it is never empty.
	Volumes      VolumeMaker
	CA           KeyPair
	FrontProxyCA KeyPair
	EtcdCA       KeyPair
	// ServiceAccountKey is the PEM private key that signs service account tokens.
	ServiceAccountKey Secret
	// EncryptionKey is the base64 form of the 32-byte key that encrypts secrets in etcd.
	EncryptionKey Secret
}

// KeyPair is a certificate and its private key, both PEM.
type KeyPair struct {
	Certificate string
	Key         Secret
}

// Secret is a text that formats, logs and encodes as "[redacted]". Only Reveal gives the text out.
type Secret struct{ text string }

// Redacted stands for a secret wherever one is shown.
const Redacted = redacted

const redacted = "[redacted]"

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the secret text, for the place that uses it.
func (s Secret) Reveal() string { return s.text }

// IsZero reports whether the secret is the empty text.
func (s Secret) IsZero() bool { return s.text == "" }

// Equal reports whether both hold the same text; go-cmp uses it. It is not constant in time.
func (s Secret) Equal(o Secret) bool { return s.text == o.text }

// String returns a fixed text in place of the secret.
func (s Secret) String() string { return redacted }

// Format writes a fixed text for every verb, so that %x and %#v give nothing away either.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the secret out of JSON and other text encodings.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
