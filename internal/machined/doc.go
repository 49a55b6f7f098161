// Package machined is the machine agent: it makes tasks of the configuration and the adapters that it is given, and runs them.
//
// Everything the agent knows is one snapshot in a store: the configuration, what each domain reported, and the desired state that
// package plan computed from both. Tasks change the snapshot, and each change computes the desired state anew; a change of that wakes the
// loops of the domains. The tasks are:
//
//	configuration   takes the documents of the state volume, or looks for some until it has valid ones; then ends trials of others
//	loops           one for each domain: network, storage, etcd, Kubernetes, services of extensions; where there is OpenZFS also pools, datasets and
//	                snapshots
//	identity        once state is mounted: machine ID, boot ledger
//	certificate     the API's own certificate, for the addresses of the moment; whom the node answers without a configuration
//	                (package maintenance), and what its console says then
//	confinement     puts up the LSM programs, for which the plane waits
//	extensions      puts those of the configuration to use, once in a boot, for which Kubernetes waits
//	runtime         asks init for the system containerd when containers are wanted, or will be
//	services        once Kubernetes is wanted: the service addresses of the cluster
//	upgrades        once state is mounted: leads the trial of a new release to its end
//	gates           looks at the gates of the configuration
//	cordon          has pods placed on the node again, after a reboot for which it was drained
//	reset           goes on with one whose agent ended before the machine did
//	clock           has time servers keep the node's clock
//	service events  makes events of what services do
//	volumes         once Kubernetes wants them: the CSI driver
//	pools           where there is OpenZFS: what the kernel reports of them, disks that fail, and how much memory ZFS has
//	replication     where there is OpenZFS: runs the jobs of the configuration, and answers the nodes that they name
//	milestones      writes the boot's timeline, once for each name
//	server          the node API, from the first moment on
//
// The agent may be killed at any time: what runs goes on, and the next agent adopts it. Only [Agent.Teardown], which init asks for when the
// machine goes down, stops anything.
//
// The package makes no system calls of its own, so that it runs in a test on fakes.
package machined
