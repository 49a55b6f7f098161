package etcd

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"time"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/pki/store"
)

// UID is the member's user and group. It has no entry in any passwd file; its
// data and secrets are its own.
const UID = 900

const (
	name     = "etcd"
	peerPort = 2380

	// lifetime of the member's certificates; they are renewed after renewAfter
	// of it. etcd reads its certificates anew for each connection.
	lifetime   = 365 * 24 * time.Hour
	renewAfter = lifetime * 2 / 3

	// memoryMinBytes is what the kernel leaves to the member under pressure: a
	// small cluster's database and its page cache.
	memoryMinBytes = 128 << 20
	// quotaBytes bounds the database: beyond it etcd takes deletions only.
	quotaBytes = 4 << 30
)

// Layout is where the domain finds and puts things on the node.
type Layout struct {
	// Rootfs is the container's root.
	Rootfs string
	// Secrets is the directory for the member's certificates, in memory.
	Secrets string
	// Data is the member's data directory.
	Data string
	// Processors of the node.
	Processors int
}

// NodeLayout is the layout of a node.
func NodeLayout() Layout {
	return Layout{
		Rootfs:  "/usr/lib/cyvive/rootfs/etcd",
		Secrets: "/run/cyvive/secrets/etcd",
		Data:    "/var/etcd",

		Processors: runtime.NumCPU(),
	}
}

// member returns the container of the member.
func member(spec Spec, l Layout) container.Spec {
	return container.Spec{
		Name:   name,
		Rootfs: l.Rootfs,
		Args:   append([]string{"/usr/bin/etcd"}, Args(spec, "/secrets", "/var/lib/etcd")...),
		Env:    append([]string{"PATH=/usr/bin"}, container.GoEnv(l.Processors)...),
		UID:    UID,
		GID:    UID,
		Mounts: []container.Mount{
			container.Tmpfs("/tmp", 16<<20, "1777"),
			container.Bind(l.Secrets, "/secrets", "ro", "nosuid", "nodev", "noexec"),
			container.Bind(l.Data, "/var/lib/etcd", "nosuid", "nodev", "noexec"),
		},
		Cgroup:         "/system/" + name,
		MemoryMinBytes: memoryMinBytes,
		CPUWeight:      500,
		OOMScoreAdj:    -999,
		StopTimeout:    20 * time.Second,
		Revision:       inputs(spec),
	}
}

// Args returns the arguments of etcd 3.6 and later, with certificates in secrets
// and the database in data. What is not here has etcd's default.
func Args(spec Spec, secrets, data string) []string {
	peer := peerURL(spec.Address)
	file := func(name string) string { return secrets + "/" + name }
	return []string{
		"--name=" + spec.Name,
		"--data-dir=" + data,
		"--listen-client-urls=" + ClientURL,
		"--advertise-client-urls=" + ClientURL,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=" + spec.Name + "=" + peer,
		"--initial-cluster-state=new",
		"--initial-cluster-token=cyvive",
		"--client-cert-auth=true",
		"--trusted-ca-file=" + file("ca.crt"),
		"--cert-file=" + file("server.crt"),
		"--key-file=" + file("server.key"),
		"--peer-client-cert-auth=true",
		"--peer-trusted-ca-file=" + file("ca.crt"),
		"--peer-cert-file=" + file("peer.crt"),
		"--peer-key-file=" + file("peer.key"),
		"--tls-min-version=TLS1.3",
		// The HTTP gateway would reach the member with its server certificate,
		// which is no client's, and nobody uses it.
		"--enable-grpc-gateway=false",
		fmt.Sprintf("--quota-backend-bytes=%d", int64(quotaBytes)),
		// kube-apiserver compacts by itself; this holds if it cannot.
		"--auto-compaction-mode=periodic",
		"--auto-compaction-retention=8h",
		"--strict-reconfig-check=true",
		"--log-level=warn",
		"--logger=zap",
		"--log-outputs=stderr",
	}
}

func peerURL(a netip.Addr) string {
	return "https://" + net.JoinHostPort(a.String(), fmt.Sprint(peerPort))
}

// inputs identifies what the certificates are made from.
func inputs(spec Spec) string {
	return store.Fingerprint([]string{spec.Name, spec.Address.String(), string(spec.CA.CertificatePEM())})
}

// Secrets issues the member's certificates.
func Secrets(spec Spec, now time.Time) (map[string][]byte, error) {
	loopback := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	files := map[string][]byte{"ca.crt": spec.CA.CertificatePEM()}
	for file, request := range map[string]pki.Request{
		"server": {
			CommonName: spec.Name, DNSNames: []string{"localhost"}, Addresses: loopback,
			Server: true, Lifetime: lifetime,
		},
		"peer": {
			CommonName: spec.Name, DNSNames: []string{spec.Name}, Addresses: []netip.Addr{spec.Address},
			Client: true, Server: true, Lifetime: lifetime,
		},
	} {
		pair, err := spec.CA.Issue(request, now)
		if err != nil {
			return nil, err
		}
		files[file+".crt"], files[file+".key"] = pair.CertificatePEM, pair.KeyPEM
	}
	return files, nil
}
