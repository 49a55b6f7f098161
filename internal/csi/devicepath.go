package csi

import "strings"

// Where kubelet has volumes that are devices, below its directory (pkg/volume/csi/csi_block.go of Kubernetes 1.36).
const (
	devicesDir   = "plugins/kubernetes.io/csi/volumeDevices/"
	publishedDir = devicesDir + "publish/"
)

// DeviceLock is the file on which kubelet binds a device that was published on a target, in the plane alone: for publish/VOLUME/POD it is VOLUME/dev/POD. A target
// that is none of kubelet's is its own. Both are relative to kubelet's directory. Kubelet wants a loop device of that file, and asks for usage by its name.
func DeviceLock(target string) string {
	if published, ok := strings.CutPrefix(target, publishedDir); ok {
		if volume, pod, ok := strings.Cut(published, "/"); ok && volume != "" && pod != "" && !strings.Contains(pod, "/") {
			return devicesDir + volume + "/dev/" + pod
		}
	}
	return target
}

// isLock says whether a path is the lock of another target. What is held by its name is that target's.
func isLock(path string) bool { return DeviceLock(path) == path && publishedAt(path) != path }

// publishedAt is the target that a path of kubelet's stands for: what [DeviceLock] makes of one, or else the path itself.
func publishedAt(path string) string {
	if lock, ok := strings.CutPrefix(path, devicesDir); ok {
		if volume, rest, ok := strings.Cut(lock, "/"); ok {
			if pod, ok := strings.CutPrefix(rest, "dev/"); ok && pod != "" && !strings.Contains(pod, "/") {
				return publishedDir + volume + "/" + pod
			}
		}
	}
	return path
}
