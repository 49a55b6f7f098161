package e2e

const (
	// sourceDataset is on the first node, and replicaDataset on the second; both are mounted on poolsDir where they are primaries.
	sourceDataset  = "tank/data"
	replicaTarget  = "backup/node1"
	replicaDataset = replicaTarget + "/" + sourceDataset

	replicationUUID = "2f5c7f0e-8f43-4f0a-9a3d-5b8a3b1c7e10"
)

// sourcePool and replicaPool are what the nodes have, each on a disk of its own.
const (
	sourcePool = `
apiVersion: cyvive.dev/v1alpha1
kind: Pool
name: tank
data: [{layout: single, disks: [{serial: one}]}]
---
apiVersion: cyvive.dev/v1alpha1
kind: Dataset
name: tank/data
properties: {mountpoint: /var/mnt/data, sync: always}
`
	replicaPool = `
apiVersion: cyvive.dev/v1alpha1
kind: Pool
name: backup
data: [{layout: single, disks: [{serial: one}]}]
`
)

// The job as each node has it. The limit makes a run long enough to be cut, and it runs when it is asked, when it has failed, and when the node has started.
const (
	sendingJob = `
apiVersion: cyvive.dev/v1alpha1
kind: ReplicationJob
name: offsite
uuid: ` + replicationUUID + `
direction: push
run: here
peer: {address: 10.5.0.2, identity: node2}
sources: [{name: tank/data}]
target: backup/node1
bandwidth: 512KiB
schedule: yearly
`
	receivingJob = `
apiVersion: cyvive.dev/v1alpha1
kind: ReplicationJob
name: offsite
uuid: ` + replicationUUID + `
direction: pull
run: peer
peer: {address: 10.5.0.1, identity: node1}
sources: [{name: tank/data}]
target: backup/node1
`
)

// steadySchedule is oftenSchedule with more time between: a snapshot that goes between the plan of a run and its step has the run fail. Whenever it was applied, each is
// there for half a minute at least, and a run begins with the first.
const steadySchedule = twoSnapshots + "schedule: every 30s\n"
