package csi

import (
	"context"
	"time"

	provisioner "github.com/kubernetes-csi/external-provisioner/v6/pkg/controller"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/util/workqueue"
	csitrans "k8s.io/csi-translation-lib"
	library "sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const (
	// ownFirst and ownMost are how long a node waits until it takes a claim that is for any node, so that not all of them try at once. It is drawn at random
	// from the first, which grows with each conflict.
	ownFirst, ownMost = time.Second, 30 * time.Second
	// sweep is how often snapshots are looked for that a volume was being made of when its claim went away.
	sweep = 5 * time.Minute
)

// provisioning makes and deletes volumes.
func (c *controllers) provisioning(ctx context.Context) ([]func(context.Context), error) {
	claims, volumes, classes := c.informers.Core().V1().PersistentVolumeClaims(), c.informers.Core().V1().PersistentVolumes(), c.informers.Storage().V1().StorageClasses()
	nodes, csiNodes, err := c.thisNode()
	if err != nil {
		return nil, err
	}
	var topologies *provisioner.InMemoryStore
	if provisioner.SupportsTopology(c.driver.plugin) {
		topologies = provisioner.NewInMemoryStore()
	}
	csi := provisioner.NewCSIProvisioner(
		c.core, workTimeout, c.driver.name+"-"+c.node,
		"pvc", -1, // the usual names, with the whole UID of the claim
		c.driver.conn, c.snapshots, c.driver.name, c.driver.plugin, c.driver.controller,
		"",         // no driver in Kubernetes' own tree had this one's part
		true, true, // strict topology, so that a volume is on the node that was chosen; and a topology for claims that are bound at once
		csitrans.New(), classes.Lister(), csiNodes, nodes, claims.Lister(),
		nil, nil, // no attachments; no references to other namespaces, which is alpha
		true, // names of claim and volume as parameters, for the driver to note
		"",   // the driver's own default file system
		&provisioner.NodeDeployment{
			NodeName: c.node, NodeInfo: c.driver.node, ClaimInformer: claims, ImmediateBinding: true, BaseDelay: ownFirst, MaxDelay: ownMost,
		},
		false, true, // nothing is published by the controller; a snapshot is not restored as another kind of volume
		topologies,
	)
	controller := library.NewProvisionController(ctx, c.core, c.driver.name, csi,
		library.LeaderElection(false),
		library.FailedProvisionThreshold(0), library.FailedDeleteThreshold(0), // for ever
		library.RateLimiter(backOff()), library.RetryIntervalMax(retryMost),
		library.CreateProvisionedPVLimiter(workqueue.DefaultTypedControllerRateLimiter[string]()),
		library.Threadiness(workers), library.AddFinalizer(true),
		library.ClaimsInformer(claims.Informer()), library.VolumesInformer(volumes.Informer()), library.ClassesInformer(classes.Informer()),
	)
	runs := []func(context.Context){controller.Run}
	queue := workqueue.NewTypedRateLimitingQueueWithConfig(backOff(), workqueue.TypedRateLimitingQueueConfig[string]{Name: "clones"})
	if p := provisioner.NewCloningProtectionController(c.core, claims.Lister(), claims.Informer(), queue, c.driver.controller); p != nil {
		runs = append(runs, func(ctx context.Context) { p.Run(ctx, 1, nil) })
	}
	if p := provisioner.NewSnapshotFinalizerController(c.snapshots, claims.Lister(), c.driver.controller, sweep); p != nil {
		runs = append(runs, func(ctx context.Context) { p.Run(ctx, nil) })
	}
	return runs, nil
}

// thisNode returns listers that know this node and no other, as external-provisioner makes them: what the driver says of its node, without waiting for kubelet
// to have said it to Kubernetes, and without watching nodes.
func (c *controllers) thisNode() (corelisters.NodeLister, storagelisters.CSINodeLister, error) {
	driver := storagev1.CSINodeDriver{Name: c.driver.name, NodeID: c.driver.node.GetNodeId()}
	segments := c.driver.node.GetAccessibleTopology().GetSegments()
	for key := range segments {
		driver.TopologyKeys = append(driver.TopologyKeys, key)
	}
	never := informers.NewSharedInformerFactory(c.core, 0)
	nodes, csiNodes := never.Core().V1().Nodes(), never.Storage().V1().CSINodes()
	if err := nodes.Informer().GetStore().Add(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: c.node, Labels: segments}}); err != nil {
		return nil, nil, err
	}
	err := csiNodes.Informer().GetStore().Add(&storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{Name: c.node}, Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{driver}},
	})
	return nodes.Lister(), csiNodes.Lister(), err
}

// backOff is between the attempts of one operation. Each queue needs one of its own.
func backOff() workqueue.TypedRateLimiter[string] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[string](retryFirst, retryMost)
}
