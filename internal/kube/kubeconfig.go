package kube

import (
	"encoding/base64"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/pki"
)

// AdminLifetime is how long the certificate in an administrator's kubeconfig
// lives. Kubernetes cannot revoke a client certificate, so it is short: a week
// outlasts a working week, and nodectl fetches the next one in a second.
const AdminLifetime = 7 * 24 * time.Hour

// AdminKubeconfig returns a kubeconfig file, with a new key, that may do
// everything in the cluster; for GetKubeconfig of the node API. The caller is
// named in the certificate, so that Kubernetes' audit log tells callers apart.
func AdminKubeconfig(spec Spec, caller string, now time.Time) ([]byte, error) {
	pair, err := spec.CA.Issue(pki.Request{
		CommonName: "nodectl:" + caller, Organizations: []string{adminGroup}, Client: true, Lifetime: AdminLifetime,
	}, now)
	if err != nil {
		return nil, fmt.Errorf("issue administrator's certificate: %w", err)
	}
	inline := func(data []byte) string { return base64.StdEncoding.EncodeToString(data) }
	return kubeconfig{
		cluster: spec.ClusterName,
		user:    "admin@" + spec.ClusterName,
		server:  spec.Endpoint,
		ca:      "certificate-authority-data: " + inline(spec.CA.CertificatePEM()),
		cert:    "client-certificate-data: " + inline(pair.CertificatePEM),
		key:     "client-key-data: " + inline(pair.KeyPEM),
	}.render(), nil
}

// kubeconfigOfFiles returns the kubeconfig of a program on this node: the
// certificates stay files beside it, which client-go reads again when they
// change.
func kubeconfigOfFiles(dir, certificate string) []byte {
	return kubeconfig{
		cluster: "local",
		user:    certificate,
		server:  localEndpoint,
		ca:      "certificate-authority: " + path.Join(dir, "ca.crt"),
		cert:    "client-certificate: " + path.Join(dir, certificate+".crt"),
		key:     "client-key: " + path.Join(dir, certificate+".key"),
	}.render()
}

// kubeconfig is a file with one cluster, one user, and one context that has the
// cluster's name.
type kubeconfig struct {
	cluster, user, server string
	ca, cert, key         string // whole lines
}

func (k kubeconfig) render() []byte {
	cluster, user := strconv.Quote(k.cluster), strconv.Quote(k.user)
	return []byte(strings.Join([]string{
		"apiVersion: v1",
		"kind: Config",
		"clusters:",
		"- name: " + cluster,
		"  cluster:",
		"    server: " + strconv.Quote(k.server),
		"    " + k.ca,
		"users:",
		"- name: " + user,
		"  user:",
		"    " + k.cert,
		"    " + k.key,
		"contexts:",
		"- name: " + cluster,
		"  context:",
		"    cluster: " + cluster,
		"    user: " + user,
		"current-context: " + cluster,
		"",
	}, "\n"))
}
