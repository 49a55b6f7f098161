package kube

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// VolumeDriver is the CSI driver of the node, by the name that it registers with kubelet. It listens for csi-controllers at VolumeSocket, in Layout.CSI.
const (
	VolumeDriver = "zfs.csi.cyvive.dev"
	VolumeSocket = "zfs.sock"
)

const (
	// csiUser is who csi-controllers is to the API server.
	csiUser = "system:cyvive:csi-controllers"
	// volumeClass names the classes of volumes, of snapshots, and of snapshots of groups.
	volumeClass = "zfs"

	snapshotAPI      = "snapshot.storage.k8s.io"
	groupSnapshotAPI = "groupsnapshot.storage.k8s.io"
	groupClassPath   = "/apis/" + groupSnapshotAPI + "/v1/volumegroupsnapshotclasses/" + volumeClass
)

// ReadDefinitions reads the CustomResourceDefinitions of snapshots from a directory of the image: JSON files, each with one definition.
func ReadDefinitions(dir string) ([]Manifest, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json")) // sorted
	if err != nil {
		return nil, fmt.Errorf("list definitions of custom resources: %w", err)
	}
	var definitions []Manifest
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read definition of a custom resource: %w", err)
		}
		var o object
		if err := json.Unmarshal(data, &o); err != nil {
			return nil, fmt.Errorf("read definition of a custom resource in %s: %w", file, err)
		}
		metadata, _ := o["metadata"].(object)
		name, _ := metadata["name"].(string)
		if o["kind"] != "CustomResourceDefinition" || name == "" {
			return nil, fmt.Errorf("read definition of a custom resource in %s: got a %v, expected a CustomResourceDefinition with a name", file, o["kind"])
		}
		definitions = append(definitions, Manifest{"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + name, o})
	}
	if len(definitions) == 0 {
		return nil, fmt.Errorf("read definitions of custom resources: there are none in %s, where the image has them", dir)
	}
	return definitions, nil
}

// CSIControllersArgs returns the arguments of csi-controllers. It has no flag for an election, which it never holds; and no metrics.
func CSIControllersArgs(spec Spec, secrets, sockets string) []string {
	return []string{
		"--kubeconfig=" + path.Join(secrets, "kubeconfig"),
		"--csi-address=" + path.Join(sockets, VolumeSocket),
		"--node-name=" + spec.NodeName,
		"--health-address=" + csiHealth,
	}
}

// VolumeObjects are the objects that Kubernetes needs for volumes.
type VolumeObjects struct {
	// Manifests are in the order in which they are applied. The definitions come first: the API server takes the last two some moments after them.
	Manifests []Manifest
	// Revision identifies all of them.
	Revision string
}

// NewVolumeObjects returns those that come after the definitions of snapshots, and the definitions.
func NewVolumeObjects(definitions []Manifest) VolumeObjects {
	const rbac, storage = "rbac.authorization.k8s.io/v1", "/apis/storage.k8s.io/v1/"
	rules := object{"rules": csiRules()}
	binding := object{
		"roleRef":  object{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": csiUser},
		"subjects": []object{{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": csiUser}},
	}
	snapshots := volumeObject(snapshotAPI+"/v1", "VolumeSnapshotClass", volumeClass, object{"driver": VolumeDriver, "deletionPolicy": "Delete"})
	annotate(snapshots, "snapshot.storage.kubernetes.io/is-default-class", "true")
	groups := volumeObject(groupSnapshotAPI+"/v1", "VolumeGroupSnapshotClass", volumeClass, object{"driver": VolumeDriver, "deletionPolicy": "Delete"})
	annotate(groups, "groupsnapshot.storage.kubernetes.io/is-default-class", "true")
	manifests := append(slices.Clone(definitions),
		Manifest{"/apis/" + rbac + "/clusterroles/" + csiUser, volumeObject(rbac, "ClusterRole", csiUser, rules)},
		Manifest{"/apis/" + rbac + "/clusterrolebindings/" + csiUser, volumeObject(rbac, "ClusterRoleBinding", csiUser, binding)},
		Manifest{storage + "csidrivers/" + VolumeDriver, csiDriver()},
		Manifest{storage + "storageclasses/" + volumeClass, storageClass()},
		Manifest{"/apis/" + snapshotAPI + "/v1/volumesnapshotclasses/" + volumeClass, snapshots},
		Manifest{groupClassPath, groups},
	)
	revision := revisionOf(manifests)
	annotate(groups, revisionAnnotation, revision)
	return VolumeObjects{manifests, revision}
}

func volumeObject(version, kind, name string, rest object) object {
	o := object{"apiVersion": version, "kind": kind, "metadata": object{"name": name, "labels": object{"app.kubernetes.io/managed-by": "cyvive"}}}
	for name, value := range rest {
		o[name] = value
	}
	return o
}

// csiDriver tells kubelet and kube-controller-manager what the driver does and what not. Most of it cannot be changed once it is there
// (kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/csi-driver-v1).
func csiDriver() object {
	return volumeObject("storage.k8s.io/v1", "CSIDriver", VolumeDriver, object{"spec": object{
		// A volume is on the node; there is nothing to attach.
		"attachRequired":       false,
		"podInfoOnMount":       false,
		"volumeLifecycleModes": []string{"Persistent"},
		// All of its file systems have owners and modes.
		"fsGroupPolicy":     "File",
		"requiresRepublish": false,
		// With one node there is no other that the scheduler could choose, and no controller here makes CSIStorageCapacity objects: with true it would wait for one.
		"storageCapacity": false,
	}})
}

// storageClass is the one that claims without a class get, unless a newer one is marked so. A volume is made when it is known which node its pod goes to. Its
// parameters are the driver's defaults.
func storageClass() object {
	class := volumeObject("storage.k8s.io/v1", "StorageClass", volumeClass, object{
		"provisioner":          VolumeDriver,
		"reclaimPolicy":        "Delete",
		"allowVolumeExpansion": true,
		"volumeBindingMode":    "WaitForFirstConsumer",
	})
	annotate(class, "storageclass.kubernetes.io/is-default-class", "true")
	return class
}

// csiRules are what csi-controllers may do: what external-provisioner, -resizer and -snapshotter ask for in their own deployments (v6.3.0, v2.2.0, v8.6.0),
// without what they need for elections, attachments, secrets of drivers and pods in use, none of which is used here.
func csiRules() []object {
	rule := func(api, resources string, verbs ...string) object {
		return object{"apiGroups": []string{api}, "resources": strings.Fields(resources), "verbs": verbs}
	}
	watch := []string{"get", "list", "watch"}
	with := func(more ...string) []string { return append(slices.Clone(watch), more...) }
	return []object{
		rule("", "persistentvolumes", with("create", "patch", "delete")...),
		rule("", "persistentvolumeclaims", with("update")...),
		rule("", "persistentvolumeclaims/status", "patch"),
		rule("", "events", "create", "update", "patch"),
		rule("storage.k8s.io", "storageclasses volumeattributesclasses", watch...),
		rule(snapshotAPI, "volumesnapshotclasses", watch...),
		rule(snapshotAPI, "volumesnapshots volumesnapshotcontents", with("create", "update", "patch", "delete")...),
		rule(snapshotAPI, "volumesnapshots/status volumesnapshotcontents/status", "update", "patch"),
		rule(groupSnapshotAPI, "volumegroupsnapshotclasses", watch...),
		rule(groupSnapshotAPI, "volumegroupsnapshots", with("update", "patch")...),
		rule(groupSnapshotAPI, "volumegroupsnapshotcontents", with("create", "update", "patch", "delete")...),
		rule(groupSnapshotAPI, "volumegroupsnapshots/status volumegroupsnapshotcontents/status", "update", "patch"),
	}
}
