package kube

import (
	"net/netip"

	"github.com/cyvive/cyvive/internal/pki"
)

// Spec is Kubernetes on this node as it should be.
type Spec struct {
	// ClusterName names the cluster in kubeconfig files.
	ClusterName string
	// NodeName is the node's name in Kubernetes: its host name.
	NodeName string
	// Addresses are the node's own; the first is the one to advertise.
	Addresses []netip.Addr
	// Endpoint is the URL that clients outside use, for kubeconfig files.
	Endpoint string
	// CertSANs are further names and addresses in the API server's
	// certificate. The host of Endpoint is always one.
	CertSANs []string
	// PodCIDR is divided among the nodes, ServiceCIDR among the services.
	PodCIDR, ServiceCIDR netip.Prefix
	// DNSDomain is the domain of services, such as cluster.local.
	DNSDomain string
	// Version is the version of the default bundle, the tag of its images.
	Version string
	// Volumes says that persistent volumes are made by the node's CSI driver, VolumeDriver: csi-controllers runs, and what Kubernetes needs of objects is kept
	// applied. Neither is taken away when it becomes false; see plan, change.go.
	Volumes bool
	// CacheBytes is the most that ZFS keeps in memory of what it has read, which pods cannot have: kubelet reserves it. It is read when kubelet starts; nothing
	// is started anew for another.
	CacheBytes uint64

	// CA signs API server and all clients of Kubernetes, and the authority of
	// kubelets' own servers is derived from it; FrontProxyCA signs the requests
	// that the API server passes on; EtcdCA its client certificate for etcd.
	CA, FrontProxyCA, EtcdCA *pki.Authority
	// ServiceAccountKey is a PEM private key: it signs service accounts' tokens.
	ServiceAccountKey pki.Secret
	// EncryptionKey is 32 bytes: secrets are sealed with it in etcd.
	EncryptionKey pki.Secret
	// Registries are where the images of pods come from.
	Registries Registries
}
