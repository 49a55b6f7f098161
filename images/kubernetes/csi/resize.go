package csi

import (
	"context"
	"errors"
	"fmt"

	provisioner "github.com/kubernetes-csi/external-provisioner/v6/pkg/controller"
	"github.com/kubernetes-csi/external-resizer/v2/pkg/controller"
	"github.com/kubernetes-csi/external-resizer/v2/pkg/csi"
	"github.com/kubernetes-csi/external-resizer/v2/pkg/modifier"
	"github.com/kubernetes-csi/external-resizer/v2/pkg/modifycontroller"
	"github.com/kubernetes-csi/external-resizer/v2/pkg/resizer"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
)

// resizing grows volumes, and changes what their class of attributes says, as far as the driver can.
func (c *controllers) resizing(ctx context.Context) ([]func(context.Context), error) {
	client, err := csi.New(ctx, c.driver.socket, askTimeout, nil)
	if err != nil {
		return nil, fmt.Errorf("connect to CSI driver at %s: %w", c.driver.socket, err)
	}
	var runs []func(context.Context)
	resize, err := resizer.NewResizerFromClient(client, workTimeout, c.core, c.driver.name)
	switch {
	case err == nil:
		// Volumes grow in use, so no pods are watched for what is in use.
		rc := controller.NewResizeController(c.driver.name, reachable{resize, c.driver}, c.core, resync, c.informers, backOff(), false, retryMost)
		runs = append(runs, func(ctx context.Context) { rc.Run(workers, ctx, nil) })
	case !errors.Is(err, resizer.ResizeNotSupportErr):
		return nil, fmt.Errorf("ask CSI driver whether volumes can grow: %w", err)
	}
	modify, err := modifier.NewModifierFromClient(client, workTimeout, c.core, c.informers, false, c.driver.name)
	switch {
	case err == nil:
		mc := modifycontroller.NewModifyController(c.driver.name, modify, c.core, resync, retryMost, false, c.informers, backOff())
		runs = append(runs, func(ctx context.Context) { mc.Run(workers, ctx, nil) })
	case !errors.Is(err, modifier.ModifyNotSupportErr):
		return nil, fmt.Errorf("ask CSI driver whether volumes can be modified: %w", err)
	}
	return runs, nil
}

// reachable is a resizer of the volumes that this node reaches, by the rule by which the provisioner deletes them.
type reachable struct {
	resizer.Resizer
	driver *driver
}

// CanSupport implements resizer.Resizer.
func (r reachable) CanSupport(volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	if !r.Resizer.CanSupport(volume, claim) {
		return false
	}
	here, err := provisioner.VolumeIsAccessible(volume.Spec.NodeAffinity, r.driver.node.GetAccessibleTopology())
	if err != nil {
		klog.ErrorS(err, "Leave a volume alone whose node affinity cannot be read", "volume", volume.Name)
	}
	return err == nil && here
}
