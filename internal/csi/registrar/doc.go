// Package registrar makes a CSI driver known to kubelet, by the API of its plugin registry (k8s.io/kubelet/pkg/apis/pluginregistration/v1).
//
// kubelet watches a directory, calls what listens on a socket in it, asks the driver for its node, and says what came of it. It does so once for each
// socket that appears. So a socket is made again where kubelet did not take the driver, where the socket is gone (the directory was made anew), and
// where the topology of the node has changed, which kubelet asks for at no other time:
//
//	          kubelet takes it
//	listening ───────────────▶ registered ──┐ socket gone, topology changed
//	    ▲  │                                │
//	    │  └ kubelet refuses ─▶ waiting ◀───┘
//	    └────────── pause ─────────┘
package registrar
