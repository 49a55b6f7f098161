package kube

import (
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/pki/store"
)

const (
	// lifetime of the certificates on the node. All programs read renewed files
	// by themselves.
	lifetime   = 365 * 24 * time.Hour
	renewAfter = lifetime * 2 / 3

	adminGroup = "system:masters"
)

// inputs identifies everything that the secrets and configuration files are made
// from. When it changes, the files are written anew. Registries have files of their own.
func inputs(spec Spec) string {
	spec.Registries = Registries{}
	spec.Volumes = false // they add a program, and are nothing to the others
	return store.Fingerprint([]any{
		spec, // the authorities and keys in it encode as fixed texts, hence:
		string(spec.CA.CertificatePEM()), string(spec.FrontProxyCA.CertificatePEM()),
		string(spec.EtcdCA.CertificatePEM()), string(spec.ServiceAccountKey), string(spec.EncryptionKey),
	})
}

// revision identifies what the containers read only at their start. Names and
// addresses in certificates are not part of it, the primary address apart: all
// programs read a new certificate by themselves, and an address that comes late
// must not restart the cluster.
func revision(spec Spec) string {
	spec.Addresses = []netip.Addr{primary(spec)}
	spec.CertSANs, spec.Endpoint = nil, ""
	spec.CacheBytes = 0 // kubelet alone reads it
	return inputs(spec)
}

// issuer issues certificates and keeps the first error.
type issuer struct {
	now time.Time
	err error
}

// pair adds a certificate and its key to files, as name.crt and name.key.
func (i *issuer) pair(files map[string][]byte, name string, a *pki.Authority, r pki.Request) {
	if i.err != nil {
		return
	}
	r.Lifetime = lifetime
	var p pki.Pair
	if p, i.err = a.Issue(r, i.now); i.err == nil {
		files[name+".crt"], files[name+".key"] = p.CertificatePEM, p.KeyPEM
	}
}

// Secrets returns the files of each container by its name. Paths inside the files
// are those that the container sees: dirs maps a container to the directory.
func Secrets(spec Spec, dirs map[string]string, now time.Time) (map[string]map[string][]byte, error) {
	public, err := pki.PublicKey(spec.ServiceAccountKey)
	if err != nil {
		return nil, fmt.Errorf("read service account key: %w", err)
	}
	kubelets, err := kubeletAuthority(spec)
	if err != nil {
		return nil, err
	}
	i := &issuer{now: now}
	sets := map[string]map[string][]byte{
		apiServer:         apiServerFiles(i, spec, kubelets, public),
		controllerManager: controllerManagerFiles(i, spec, kubelets, dirs[controllerManager]),
		scheduler:         clientFiles(i, spec, dirs[scheduler], "system:kube-scheduler"),
		plane:             planeFiles(i, spec, kubelets),
	}
	if spec.Volumes {
		sets[csiControllers] = clientFiles(i, spec, dirs[csiControllers], csiUser)
	}
	return sets, i.err
}

func apiServerFiles(i *issuer, spec Spec, kubelets *pki.Authority, public []byte) map[string][]byte {
	files := map[string][]byte{
		"ca.crt":              spec.CA.CertificatePEM(),
		"kubelet-ca.crt":      kubelets.CertificatePEM(),
		"etcd-ca.crt":         spec.EtcdCA.CertificatePEM(),
		"front-proxy-ca.crt":  spec.FrontProxyCA.CertificatePEM(),
		"service-account.key": spec.ServiceAccountKey,
		"service-account.pub": public,
		"encryption.json":     encode(encryptionConfig(spec)),
		"authentication.json": encode(authenticationConfig()),
		"audit.json":          encode(auditPolicy()),
	}
	names, addresses := apiServerNames(spec)
	i.pair(files, "server", spec.CA, pki.Request{
		CommonName: "kube-apiserver", DNSNames: names, Addresses: addresses, Server: true,
	})
	i.pair(files, "kubelet-client", spec.CA, pki.Request{
		CommonName: "kube-apiserver-kubelet-client", Organizations: []string{adminGroup}, Client: true,
	})
	i.pair(files, "etcd-client", spec.EtcdCA, pki.Request{CommonName: "kube-apiserver", Client: true})
	i.pair(files, "front-proxy-client", spec.FrontProxyCA, pki.Request{CommonName: "front-proxy-client", Client: true})
	return files
}

func controllerManagerFiles(i *issuer, spec Spec, kubelets *pki.Authority, dir string) map[string][]byte {
	files := map[string][]byte{
		"ca.crt":              spec.CA.CertificatePEM(),
		"ca.key":              spec.CA.KeyPEM(),
		"kubelet-ca.crt":      kubelets.CertificatePEM(),
		"kubelet-ca.key":      kubelets.KeyPEM(),
		"service-account.key": spec.ServiceAccountKey,
		"kubeconfig":          kubeconfigOfFiles(dir, "client"),
	}
	i.pair(files, "client", spec.CA, pki.Request{CommonName: "system:kube-controller-manager", Client: true})
	return files
}

// clientFiles are those of a program that is a client of the API server and nothing else, by the name user.
func clientFiles(i *issuer, spec Spec, dir, user string) map[string][]byte {
	files := map[string][]byte{
		"ca.crt":     spec.CA.CertificatePEM(),
		"kubeconfig": kubeconfigOfFiles(dir, "client"),
	}
	i.pair(files, "client", spec.CA, pki.Request{CommonName: user, Client: true})
	return files
}

// planeFiles are within the reach of a privileged pod. The only key of a server among
// them is for a certificate that clients of the API server do not take.
func planeFiles(i *issuer, spec Spec, kubelets *pki.Authority) map[string][]byte {
	files := map[string][]byte{
		"ca.crt":             spec.CA.CertificatePEM(),
		"kubelet.kubeconfig": kubeconfigOfFiles("/etc/kubernetes", "kubelet-client"),
		// JSON is YAML.
		"kubelet.yaml": encode(kubeletConfig(spec)),
		"args":         encode(kubeletArgs(spec)),
	}
	i.pair(files, "kubelet-client", spec.CA, pki.Request{
		CommonName: "system:node:" + spec.NodeName, Organizations: []string{"system:nodes"}, Client: true,
	})
	i.pair(files, "kubelet", kubelets, pki.Request{
		CommonName: "system:node:" + spec.NodeName, Organizations: []string{"system:nodes"},
		DNSNames: []string{spec.NodeName}, Addresses: spec.Addresses, Server: true,
	})
	return files
}

// apiServerNames returns what clients may call the API server by.
func apiServerNames(spec Spec) (names []string, addresses []netip.Addr) {
	names = []string{
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc." + spec.DNSDomain, spec.NodeName,
	}
	addresses = append([]netip.Addr{
		netip.AddrFrom4([4]byte{127, 0, 0, 1}), ServiceIP(spec.ServiceCIDR, 1),
	}, spec.Addresses...)
	further := spec.CertSANs
	if u, err := url.Parse(spec.Endpoint); err == nil && u.Hostname() != "" {
		further = append([]string{u.Hostname()}, further...)
	}
	for _, san := range further {
		if a, err := netip.ParseAddr(san); err == nil {
			addresses = append(addresses, a)
		} else {
			names = append(names, san)
		}
	}
	return names, addresses
}
