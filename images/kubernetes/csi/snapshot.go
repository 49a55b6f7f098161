package csi

import (
	"context"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	snapshotscheme "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned/scheme"
	common "github.com/kubernetes-csi/external-snapshotter/v8/pkg/common-controller"
	"github.com/kubernetes-csi/external-snapshotter/v8/pkg/group_snapshotter"
	"github.com/kubernetes-csi/external-snapshotter/v8/pkg/metrics"
	sidecar "github.com/kubernetes-csi/external-snapshotter/v8/pkg/sidecar-controller"
	"github.com/kubernetes-csi/external-snapshotter/v8/pkg/snapshotter"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
)

// snapshotting makes snapshots of volumes and of groups of them, as far as the driver can. The custom resources may come later: its caches wait for them, and
// nothing else does.
func (c *controllers) snapshotting(context.Context) ([]func(context.Context), error) {
	if !c.driver.can(spec.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT) {
		klog.InfoS("The CSI driver makes no snapshots")
		return nil, nil
	}
	// So that events can be about them.
	if err := snapshotscheme.AddToScheme(scheme.Scheme); err != nil {
		return nil, err
	}
	one, group := c.snapshotInformers.Snapshot().V1(), c.snapshotInformers.Groupsnapshot().V1()
	claims, volumes := c.informers.Core().V1().PersistentVolumeClaims(), c.informers.Core().V1().PersistentVolumes()
	toContents := common.NewCSISnapshotCommonController(c.snapshots, c.core,
		one.VolumeSnapshots(), one.VolumeSnapshotContents(), one.VolumeSnapshotClasses(),
		group.VolumeGroupSnapshots(), group.VolumeGroupSnapshotContents(), group.VolumeGroupSnapshotClasses(),
		claims, volumes, nil, metrics.NewMetricsManager(), resync,
		backOff(), backOff(), backOff(), backOff(),
		false, true, // contents are not divided among nodes; a snapshot is not restored as another kind of volume
		c.driver.groups,
	)
	var groups group_snapshotter.GroupSnapshotter
	if c.driver.groups {
		groups = group_snapshotter.NewGroupSnapshotter(c.driver.conn)
	}
	toDriver := sidecar.NewCSISnapshotSideCarController(c.snapshots, c.core, c.driver.name,
		one.VolumeSnapshotContents(), one.VolumeSnapshotClasses(), snapshotter.NewSnapshotter(c.driver.conn), groups,
		workTimeout, resync,
		"snapshot", -1, "groupsnapshot", -1, // the usual names, with the whole UID
		true, // names of snapshot and content as parameters, for the driver to note
		backOff(), c.driver.groups, group.VolumeGroupSnapshotContents(), group.VolumeGroupSnapshotClasses(), backOff(),
	)
	return []func(context.Context){
		func(ctx context.Context) { toContents.Run(workers, ctx.Done(), nil) },
		func(ctx context.Context) { toDriver.Run(workers, ctx.Done(), nil) },
	}, nil
}
