package kube

import (
	"fmt"

	"github.com/cyvive/cyvive/internal/pki"
)

// kubeletTrust is the ConfigMap of namespace kube-system that holds the certificate of
// the kubelets' authority, as ca.crt.
const kubeletTrust = "kubelet-serving-ca"

// kubeletAuthority vouches for kubelets' servers, and for nothing else. The key of such
// a server lies in the workload plane, where a privileged pod can read it, and its
// certificate names the node's addresses, where on a node of the control plane the API
// server listens too. Signed by the authority of the cluster, which every kubeconfig and
// every pod trusts, it would do for posing as the API server there, and for being handed
// the tokens of whoever falls for it. So it is signed by one that kube-apiserver alone
// trusts, and only for calling kubelets.
//
// That one is derived from the authority of the cluster, and is no document's: every
// node of the control plane comes to the same without being told, clusters have it that
// were made before there was one, and there is no further secret to keep or to replace.
// Whoever could derive it has the key of the cluster's authority, and could do more with
// that. It is no intermediate of the cluster's, which would be trusted wherever the
// cluster's is.
func kubeletAuthority(spec Spec) (*pki.Authority, error) {
	kubelets, err := spec.CA.Derive("kubelet serving")
	if err != nil {
		return nil, fmt.Errorf("make the authority of kubelets: %w", err)
	}
	return kubelets, nil
}

// kubeletManifests is for programs in pods that call kubelets themselves, and hand them
// their token: the certificate by which they know the API server is of no use there. It
// is empty where there is no authority, of which [Secrets] tells.
func kubeletManifests(spec Spec) []Manifest {
	kubelets, err := kubeletAuthority(spec)
	if err != nil {
		return nil
	}
	return []Manifest{{
		Path: "/api/v1/namespaces/" + dnsNamespace + "/configmaps/" + kubeletTrust,
		Object: object{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": object{
				"name": kubeletTrust, "namespace": dnsNamespace, "labels": object{"app.kubernetes.io/managed-by": "cyvive"},
			},
			"data": object{"ca.crt": string(kubelets.CertificatePEM())},
		},
	}}
}
