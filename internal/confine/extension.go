package confine

// ExtensionCapabilities are what a service of an extension may ask for beyond
// nothing. None of them leads to files of others, to code in the kernel, or out of
// a namespace: a service runs as a user of its own, and stays it.
//
//	CAP_IPC_LOCK          memory that is not swapped, for keys
//	CAP_NET_ADMIN         links, routes and rules of the node's network
//	CAP_NET_BIND_SERVICE  ports below 1024
//	CAP_NET_RAW           packets as they are
//	CAP_SYS_NICE          to run before others
func ExtensionCapabilities() []string {
	return []string{"CAP_IPC_LOCK", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_NICE"}
}

// ExtensionPaths are the files of the node that a service of an extension may ask
// for, by the path at which it sees them, and where the node has them. Each holds
// what every pod can know as well. They are read-only.
func ExtensionPaths() map[string]string {
	return map[string]string{
		"/etc/machine-id":     "/run/cyvive/machine-id",
		"/etc/resolv.conf":    "/run/cyvive/resolv.conf",
		"/usr/lib/os-release": "/usr/lib/os-release",
	}
}

// The users that services of extensions run as: the image has none of them.
const (
	ExtensionUserFirst = 2000
	ExtensionUserLast  = 2999
)
