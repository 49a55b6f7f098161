package kube

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// object is a JSON object of a Kubernetes configuration file. All of them are
// read as YAML, of which JSON is a part.
type object = map[string]any

// kubeletConfig returns kubelet's KubeletConfiguration (kubelet.config.k8s.io/v1beta1).
func kubeletConfig(spec Spec) object {
	return object{
		"apiVersion":               "kubelet.config.k8s.io/v1beta1",
		"kind":                     "KubeletConfiguration",
		"containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
		"cgroupDriver":             "cgroupfs",
		"cgroupRoot":               "/",
		"authentication": object{
			"anonymous": object{"enabled": false},
			"webhook":   object{"enabled": true},
			"x509":      object{"clientCAFile": "/etc/kubernetes/ca.crt"},
		},
		"authorization":     object{"mode": "Webhook"},
		"tlsCertFile":       "/etc/kubernetes/kubelet.crt",
		"tlsPrivateKeyFile": "/etc/kubernetes/kubelet.key",
		"tlsMinVersion":     "VersionTLS13",
		// The node's agent renews both certificates in place.
		"rotateCertificates": false,
		"serverTLSBootstrap": false,
		"readOnlyPort":       0,
		"healthzBindAddress": "127.0.0.1",
		// The default is on the read-only root.
		"volumePluginDir":        "/var/lib/kubelet/volumeplugins",
		"clusterDomain":          spec.DNSDomain,
		"clusterDNS":             []string{dnsAddress(spec)},
		"resolvConf":             "/run/resolv.conf",
		"registerNode":           true,
		"failSwapOn":             true,
		"seccompDefault":         true,
		"enableServer":           true,
		"makeIPTablesUtilChains": false,
		// Sysctls that kubelet wants are set by init; kubelet sees the plane's.
		"protectKernelDefaults": false,
		// The plane's init ends kubelet after the pods (see StopTimeout).
		"shutdownGracePeriod":             "0s",
		"shutdownGracePeriodCriticalPods": "0s",
		"containerLogMaxSize":             "10Mi",
		"containerLogMaxFiles":            3,
		"enforceNodeAllocatable":          []string{"pods"},
		// What the node itself needs beside the plane: the system plane's
		// containers, the agent and the page cache they work with; and what ZFS
		// keeps of what it has read, which no cgroup is charged for.
		"systemReserved": object{"cpu": "200m", "memory": fmt.Sprintf("%dMi", 768+roundedMiB(spec.CacheBytes)), "pid": "4000"},
		// Of the plane's own limit, what kubelet and its containerd need: pods must
		// meet theirs first, so that one of them is killed and nothing else starves.
		"kubeReserved": object{"memory": "256Mi"},
		// One pod's runaway forks are not all pods' (the default is no limit).
		"podPidsLimit": 4096,
		"evictionHard": object{
			"memory.available": "100Mi", "nodefs.available": "5%", "nodefs.inodesFree": "5%", "imagefs.available": "5%",
		},
		"imageGCHighThresholdPercent": 85,
		"imageGCLowThresholdPercent":  80,
	}
}

// roundedMiB is a size in MiB, rounded up.
func roundedMiB(n uint64) uint64 { return n>>20 + min(n&(1<<20-1), 1) }

// authenticationConfig lets a caller without credentials ask for health and
// nothing else.
func authenticationConfig() object {
	return object{
		"apiVersion": "apiserver.config.k8s.io/v1",
		"kind":       "AuthenticationConfiguration",
		"anonymous": object{
			"enabled": true,
			"conditions": []object{
				{"path": "/livez"}, {"path": "/readyz"}, {"path": "/healthz"},
			},
		},
	}
}

// encryptionConfig seals secrets in etcd with XSalsa20 and Poly1305. The identity
// provider reads what was stored before.
func encryptionConfig(spec Spec) object {
	return object{
		"apiVersion": "apiserver.config.k8s.io/v1",
		"kind":       "EncryptionConfiguration",
		"resources": []object{{
			"resources": []string{"secrets"},
			"providers": []object{
				{"secretbox": object{"keys": []object{{
					"name": "key1", "secret": base64.StdEncoding.EncodeToString(spec.EncryptionKey),
				}}}},
				{"identity": object{}},
			},
		}},
	}
}

// auditPolicy records who changed what, without bodies, and no reading at all.
func auditPolicy() object {
	return object{
		"apiVersion": "audit.k8s.io/v1",
		"kind":       "Policy",
		"omitStages": []string{"RequestReceived"},
		"rules": []object{
			{"level": "None", "userGroups": []string{"system:nodes"}},
			{"level": "None", "users": []string{"system:kube-controller-manager", "system:kube-scheduler", "system:apiserver"}},
			{"level": "None", "resources": []object{{"group": "", "resources": []string{"events"}}, {"group": "coordination.k8s.io", "resources": []string{"leases"}}}},
			{"level": "Metadata", "verbs": []string{"create", "update", "patch", "delete", "deletecollection"}},
		},
	}
}

// encode renders a configuration file.
func encode(o any) []byte {
	data, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("kube: encode configuration: %v", err)) // plain values only
	}
	return append(data, '\n')
}
