package programs

// Stock returns the Kubernetes programs of the baseline that make bench measures
// beside the node: unchanged, one binary each. Their names begin with "stock-".
func Stock() []Program {
	var all []Program
	for _, name := range []string{
		"kubeadm", "kubectl", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler",
	} {
		all = append(all, Program{
			Name: "stock-" + name, Module: "baseline", Package: "k8s.io/kubernetes/cmd/" + name,
			Component: "k8s.io/kubernetes", Stamps: kubeStamps,
		})
	}
	return all
}
