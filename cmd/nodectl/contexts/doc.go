// Package contexts is the file in which nodectl keeps how to reach clusters:
//
//	current: demo
//	contexts:
//	  demo:
//	    nodes: ["127.0.0.1:50000"]
//	    ca: PEM
//	    certificate: PEM
//	    key: PEM
//
// It is $NODECTL_CONFIG, or cyvive/nodectl.yaml in the user's configuration
// folder. It holds private keys.
package contexts
