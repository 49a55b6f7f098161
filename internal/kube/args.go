package kube

import (
	"net/netip"
	"path"
)

// APIServerPort is where the API server listens, on every address of the node.
const APIServerPort = 6443

// localEndpoint is the API server as every client on this node reaches it.
const localEndpoint = "https://127.0.0.1:6443"

// APIServerArgs returns the arguments of kube-apiserver. What is not here has its
// default. The API server's client certificate for kubelets is in
// system:masters: kubelet asks the API server itself whether a caller may use
// it, and only that group is allowed without a role binding that must exist
// first.
func APIServerArgs(spec Spec, secrets, audit string) []string {
	file := func(name string) string { return path.Join(secrets, name) }
	return []string{
		"--advertise-address=" + primary(spec).String(),
		"--allow-privileged=true",
		"--secure-port=6443",
		"--tls-cert-file=" + file("server.crt"),
		"--tls-private-key-file=" + file("server.key"),
		"--tls-min-version=VersionTLS13",
		"--client-ca-file=" + file("ca.crt"),
		"--authentication-config=" + file("authentication.json"),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--etcd-servers=https://127.0.0.1:2379",
		"--etcd-cafile=" + file("etcd-ca.crt"),
		"--etcd-certfile=" + file("etcd-client.crt"),
		"--etcd-keyfile=" + file("etcd-client.key"),
		"--encryption-provider-config=" + file("encryption.json"),
		"--kubelet-certificate-authority=" + file("kubelet-ca.crt"),
		"--kubelet-client-certificate=" + file("kubelet-client.crt"),
		"--kubelet-client-key=" + file("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP,Hostname",
		"--proxy-client-cert-file=" + file("front-proxy-client.crt"),
		"--proxy-client-key-file=" + file("front-proxy-client.key"),
		"--requestheader-client-ca-file=" + file("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--service-account-issuer=https://kubernetes.default.svc." + spec.DNSDomain,
		"--service-account-key-file=" + file("service-account.pub"),
		"--service-account-signing-key-file=" + file("service-account.key"),
		"--service-cluster-ip-range=" + spec.ServiceCIDR.String(),
		"--audit-policy-file=" + file("audit.json"),
		"--audit-log-path=" + path.Join(audit, "audit.log"),
		"--audit-log-maxsize=20",
		"--audit-log-maxbackup=3",
		// Together these bound the requests at work; priority and fairness
		// divides them.
		"--max-requests-inflight=400",
		"--max-mutating-requests-inflight=200",
		"--profiling=false",
		// There is one API server: it needs no lease by which others know it, and
		// renews none every 10 s on an idle node's disk. The second gate is of what
		// reads such leases.
		"--feature-gates=APIServerIdentity=false,UnknownVersionInteroperabilityProxy=false",
		// No service address is translated in the system plane: the server goes
		// to the endpoints of webhooks and further APIs itself.
		"--enable-aggregator-routing=true",
	}
}

// ControllerManagerArgs returns the arguments of kube-controller-manager. It does
// not elect a leader: there is one member, and an election would make every
// restart wait until the lease of its predecessor ends. What it signs on request by
// the authority of the cluster are certificates of clients, and nothing else: a
// kubelet's for its server is signed by that of kubelets, and the signer of anything
// (kubernetes.io/legacy-unknown) is off.
func ControllerManagerArgs(spec Spec, secrets string) []string {
	file := func(name string) string { return path.Join(secrets, name) }
	return []string{
		"--kubeconfig=" + file("kubeconfig"),
		"--authentication-kubeconfig=" + file("kubeconfig"),
		"--authorization-kubeconfig=" + file("kubeconfig"),
		"--bind-address=127.0.0.1",
		"--tls-min-version=VersionTLS13",
		"--cluster-name=" + spec.ClusterName,
		"--allocate-node-cidrs=true",
		"--cluster-cidr=" + spec.PodCIDR.String(),
		"--service-cluster-ip-range=" + spec.ServiceCIDR.String(),
		"--cluster-signing-kube-apiserver-client-cert-file=" + file("ca.crt"),
		"--cluster-signing-kube-apiserver-client-key-file=" + file("ca.key"),
		"--cluster-signing-kubelet-client-cert-file=" + file("ca.crt"),
		"--cluster-signing-kubelet-client-key-file=" + file("ca.key"),
		"--cluster-signing-kubelet-serving-cert-file=" + file("kubelet-ca.crt"),
		"--cluster-signing-kubelet-serving-key-file=" + file("kubelet-ca.key"),
		"--root-ca-file=" + file("ca.crt"),
		"--service-account-private-key-file=" + file("service-account.key"),
		"--use-service-account-credentials=true",
		"--leader-elect=false",
		"--profiling=false",
	}
}

// SchedulerArgs returns the arguments of kube-scheduler; for the election see
// ControllerManagerArgs.
func SchedulerArgs(secrets string) []string {
	kubeconfig := path.Join(secrets, "kubeconfig")
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=127.0.0.1",
		"--tls-min-version=VersionTLS13",
		"--leader-elect=false",
		"--profiling=false",
	}
}

// kubeletArgs returns the arguments of kubelet beside --config and --kubeconfig,
// which the plane's init gives it.
func kubeletArgs(spec Spec) []string {
	return []string{
		"--hostname-override=" + spec.NodeName,
		"--node-ip=" + primary(spec).String(),
		"--cert-dir=/var/lib/kubelet/pki",
	}
}

// primary returns the address to advertise: the node's first of the family of the
// service range, since the API server's own service points to it.
func primary(spec Spec) netip.Addr {
	for _, a := range spec.Addresses {
		if a.Is4() == spec.ServiceCIDR.Addr().Is4() && !a.IsLinkLocalUnicast() {
			return a
		}
	}
	return netip.Addr{}
}

// ServiceIP returns the nth address of the service range: 1 is the API server's
// own service, 10 by custom that of cluster DNS.
func ServiceIP(services netip.Prefix, n int) netip.Addr {
	a := services.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}
