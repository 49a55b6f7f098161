// Package baseline pins the Kubernetes programs of the machine that make bench
// measures beside the node: the stock programs of the same release that the image
// has, one binary each, as a distribution ships them. It is a module of its own so
// that the image's does not list what only kubeadm and kube-proxy need.
package baseline
