package kube

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"
)

const (
	// revisionAnnotation is on the object that is applied last, of cluster DNS its Deployment, and identifies all of them.
	revisionAnnotation = "cyvive.dev/revision"

	dnsNamespace      = "kube-system"
	dnsName           = "coredns"
	dnsRole           = "system:coredns"
	dnsDeploymentPath = "/apis/apps/v1/namespaces/" + dnsNamespace + "/deployments/" + dnsName
	// dnsPort is where CoreDNS listens: a port that needs no capability.
	dnsPort = 1053
	// dnsUser is that of the image.
	dnsUser = 65532
)

// Manifest is one object of the Kubernetes API, whole.
type Manifest struct {
	// Path is the object's own.
	Path   string
	Object map[string]any
}

// dnsAddress is the service address of cluster DNS.
func dnsAddress(spec Spec) string { return ServiceIP(spec.ServiceCIDR, 10).String() }

// DNSManifests returns the objects of cluster DNS in the order in which they are applied, and what identifies them. Upstreams are the servers
// that are asked for names outside of the cluster; without any, such names do not exist.
func DNSManifests(spec Spec, upstreams []netip.Addr) ([]Manifest, string) {
	in := func(api, resource string) string { return api + "/namespaces/" + dnsNamespace + "/" + resource + "/" }
	const rbac = "/apis/rbac.authorization.k8s.io/v1"
	manifests := []Manifest{
		{in("/api/v1", "serviceaccounts") + dnsName, dnsObject("v1", "ServiceAccount", dnsName, nil)},
		{rbac + "/clusterroles/" + dnsRole, dnsObject("rbac.authorization.k8s.io/v1", "ClusterRole", dnsRole, object{"rules": []object{
			{"apiGroups": []string{""}, "resources": []string{"services", "pods", "namespaces"}, "verbs": []string{"list", "watch"}},
			{"apiGroups": []string{"discovery.k8s.io"}, "resources": []string{"endpointslices"}, "verbs": []string{"list", "watch"}},
		}})},
		{rbac + "/clusterrolebindings/" + dnsRole, dnsObject("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", dnsRole, object{
			"roleRef":  object{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": dnsRole},
			"subjects": []object{{"kind": "ServiceAccount", "name": dnsName, "namespace": dnsNamespace}},
		})},
		{in("/api/v1", "configmaps") + dnsName, dnsObject("v1", "ConfigMap", dnsName, object{
			"data": object{"Corefile": corefile(spec, upstreams)},
		})},
		// Its name is what everybody looks for.
		{in("/api/v1", "services") + "kube-dns", dnsObject("v1", "Service", "kube-dns", object{"spec": dnsService(spec)})},
	}
	deployment := dnsObject("apps/v1", "Deployment", dnsName, object{"spec": dnsDeployment(spec)})
	manifests = append(manifests, Manifest{dnsDeploymentPath, deployment})
	revision := revisionOf(manifests)
	annotate(deployment, revisionAnnotation, revision)
	return manifests, revision
}

// revisionOf identifies manifests by all that is in them.
func revisionOf(manifests []Manifest) string {
	var all bytes.Buffer
	for _, m := range manifests {
		all.Write(encode(m.Object))
	}
	sum := sha256.Sum256(all.Bytes())
	return hex.EncodeToString(sum[:8])
}

// annotate gives an object, which has metadata, an annotation.
func annotate(o object, name, value string) {
	metadata := o["metadata"].(object)
	annotations, _ := metadata["annotations"].(object)
	if annotations == nil {
		annotations = object{}
		metadata["annotations"] = annotations
	}
	annotations[name] = value
}

func dnsLabels() object { return object{"k8s-app": "kube-dns"} }

func dnsObject(version, kind, name string, rest object) object {
	metadata := object{"name": name, "labels": object{"k8s-app": "kube-dns", "app.kubernetes.io/managed-by": "cyvive"}}
	if !strings.HasPrefix(kind, "ClusterRole") {
		metadata["namespace"] = dnsNamespace
	}
	o := object{"apiVersion": version, "kind": kind, "metadata": metadata}
	for name, value := range rest {
		o[name] = value
	}
	return o
}

// corefile is CoreDNS's configuration. An upstream on a loopback address would be CoreDNS itself, and cluster DNS would ask itself for ever.
func corefile(spec Spec, upstreams []netip.Addr) string {
	lines := []string{
		".:1053 {",
		"    errors",
		"    health {",
		"        lameduck 5s",
		"    }",
		"    ready",
		"    kubernetes " + spec.DNSDomain + " in-addr.arpa ip6.arpa {",
		"        pods insecure",
		"        fallthrough in-addr.arpa ip6.arpa",
		"    }",
		"    prometheus :9153",
	}
	var servers []string
	for _, a := range upstreams {
		if !a.IsLoopback() && a.Zone() == "" && a.String() != dnsAddress(spec) {
			servers = append(servers, a.String())
		}
	}
	if len(servers) > 0 {
		lines = append(lines, "    forward . "+strings.Join(servers, " "))
	}
	lines = append(lines, "    cache 30", "    reload", "    loadbalance", "}")
	return strings.Join(lines, "\n") + "\n"
}

func dnsService(spec Spec) object {
	port := func(name, protocol string, port int, target any) object {
		return object{"name": name, "protocol": protocol, "port": port, "targetPort": target}
	}
	return object{
		"clusterIP": dnsAddress(spec),
		"selector":  dnsLabels(),
		"ports": []object{
			port("dns", "UDP", 53, dnsPort), port("dns-tcp", "TCP", 53, dnsPort), port("metrics", "TCP", 9153, 9153),
		},
	}
}

// dnsDeployment leaves the number of replicas to the user; it begins with one.
func dnsDeployment(spec Spec) object {
	probe := func(path string, port int) object {
		// Without KVM, a second is not much.
		return object{"httpGet": object{"path": path, "port": port}, "timeoutSeconds": 10, "periodSeconds": 5, "failureThreshold": 5}
	}
	liveness := probe("/health", 8080)
	liveness["initialDelaySeconds"] = 60
	return object{
		"selector": object{"matchLabels": dnsLabels()},
		"strategy": object{"type": "RollingUpdate", "rollingUpdate": object{"maxUnavailable": 1}},
		"template": object{
			"metadata": object{"labels": dnsLabels()},
			"spec": object{
				"serviceAccountName": dnsName,
				"priorityClassName":  "system-cluster-critical",
				// The node's own resolver, and not itself.
				"dnsPolicy":          "Default",
				"enableServiceLinks": false,
				"tolerations":        []object{{"key": roleLabel, "effect": "NoSchedule"}},
				"securityContext": object{
					"runAsNonRoot": true, "runAsUser": dnsUser, "runAsGroup": dnsUser, "seccompProfile": object{"type": "RuntimeDefault"},
				},
				"containers": []object{{
					"name":  dnsName,
					"image": "cyvive.dev/coredns:" + spec.Version,
					// It is on the node; there is no registry to pull from.
					"imagePullPolicy": "Never",
					"args":            []string{"-conf", "/etc/coredns/Corefile"},
					"resources":       object{"requests": object{"cpu": "50m", "memory": "32Mi"}, "limits": object{"memory": "170Mi"}},
					"ports": []object{
						{"name": "dns", "containerPort": dnsPort, "protocol": "UDP"},
						{"name": "dns-tcp", "containerPort": dnsPort, "protocol": "TCP"},
						{"name": "metrics", "containerPort": 9153, "protocol": "TCP"},
					},
					"livenessProbe":  liveness,
					"readinessProbe": probe("/ready", 8181),
					"securityContext": object{
						"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": object{"drop": []string{"ALL"}},
					},
					"volumeMounts": []object{{"name": "config", "mountPath": "/etc/coredns", "readOnly": true}},
				}},
				"volumes": []object{{"name": "config", "configMap": object{"name": dnsName}}},
			},
		},
	}
}

// parseNameservers returns the servers that a resolv.conf(5) names.
func parseNameservers(resolvConf string) []netip.Addr {
	var servers []netip.Addr
	for line := range strings.Lines(resolvConf) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, a)
		}
	}
	return servers
}
