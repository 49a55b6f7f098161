// Package kubetest has fakes of what the kube domain works with beside its
// containers: the API server and the workload plane's own runtime.
package kubetest
